"""What activation capture adds to the plain forward pass, and what probes cost, on the embedded model.

`python -m benchmarks.failure` reads the same prompts with and without capture at every layer, in interleaved pairs, and
prints the median ratio beside its target. `--json OUT` also writes it; `--quick` is a small form for trying out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

from isi_core.measures.probes import published, standardized
from isi_core.measures.statistics import auc_bootstrap
from isi_core.models.catalogue import DEFAULT_VLM, EMBEDDED
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.models.vlm.states import layer_count, read_states
from isi_core.studies.failure.plan import CONTEXTS
from isi_core.studies.failure.pools import ScenePool

TARGET = 1.15


def capture_ratio(trials: int, pairs: int) -> tuple[float, float]:
    """(median of process time with capture / without, plain seconds a trial) over interleaved pairs."""
    vlm = HuggingFaceVLM.load(EMBEDDED / DEFAULT_VLM, DEFAULT_VLM)
    inputs = [given.trial for given in ScenePool(0, CONTEXTS, trials).chunk(0)]
    layers = range(1, layer_count(vlm) + 1)

    def seconds(chosen: range) -> float:
        before = time.process_time()
        read_states(vlm, inputs, chosen)
        return time.process_time() - before

    seconds(layers)  # the first pass warms up
    plain: list[float] = []
    captured: list[float] = []
    for number in range(pairs):
        # Whoever comes first in a pair alternates, so that a drift of the machine favours neither.
        for chosen in (range(0), layers) if number % 2 else (layers, range(0)):
            (captured if len(chosen) else plain).append(seconds(chosen))
    ratio = statistics.median(c / p for c, p in zip(captured, plain, strict=True))
    return ratio, statistics.median(plain) / trials


def probe_seconds(cases: int, width: int) -> dict[str, float]:
    """Process time of one fit each, on random features, and of one bootstrap of the test split."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(cases, width)), np.arange(cases) % 2 == 0
    found = {}
    for name, train in (("published", published(1.0)), ("standardized and tuned", standardized())):
        before = time.process_time()
        train(x, y, x[: cases // 2], y[: cases // 2], 0)
        found[name] = time.process_time() - before
    before = time.process_time()
    auc_bootstrap(y[: cases // 2], x[: cases // 2, 0], 0.999, 20_000)
    found["bootstrap"] = time.process_time() - before
    return found


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a small form; its numbers mean nothing")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the numbers")
    arguments = parser.parse_args()
    ratio, plain = capture_ratio(24 if arguments.quick else 128, 2 if arguments.quick else 9)
    probes = probe_seconds(100 if arguments.quick else 1_000, 192)
    print(f"forward pass with capture at every layer / without: {ratio:.3f} (target: at most {TARGET})")
    print(f"plain forward pass, prompt included: {plain * 1_000:.1f} ms of processor time a trial")
    for name, value in probes.items():
        print(f"{name}: {value:.2f} s of processor time")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"capture_ratio": ratio, "plain_seconds": plain, **probes}, indent=1))


if __name__ == "__main__":
    main()
