"""Gradient relevancy held against raw attention: which of the two peaks at the object asked about; and its memory.

`python -m benchmarks.relevancy --count 120` asks tiny-llava about held-out scenes whose objects and places are known,
and takes, while the answer's first word was chosen, both heat maps. A map *points* when its brightest patch touches the
bounding square of an object asked about (Zhang et al.'s pointing game, IJCV 2018); beside it, how much of the map lies
in those squares, over the share of the picture that they cover. `--memory` measures instead the peak memory of one
relevancy on a LLaVA-shaped random model of 576 image tokens beside the estimate that pages show (Linux only).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isi_core.datasets.scene_dataset import draw_scene_observations
from isi_core.domain.decoding import Decoding
from isi_core.domain.trial import Trial
from isi_core.measures import attention_views as views
from isi_core.measures.statistics import mcnemar, mean_interval, wilson_interval
from isi_core.models.shelf import Shelf
from isi_core.models.vlm.relevancy import relevancy
from isi_core.worlds.scenes.drawing import render_scene

Floats = NDArray[np.float64]
Box = tuple[float, float, float, float]
KINDS = ("attention", "relevancy")


@dataclass(frozen=True)
class Pointed:
    """What a map does with the objects asked about: whether its peak is on one, and its density there over chance."""

    hit: bool
    chance: float
    density: float


def points(heat_map: Floats, boxes: Sequence[Box]) -> Pointed:
    """Judge a (rows, columns) map by boxes (left, top, right, bottom) in fractions of the picture."""
    rows, columns = heat_map.shape
    covered = np.zeros((rows, columns))
    for left, top, right, bottom in boxes:
        across = _overlap(columns, left, right)
        down = _overlap(rows, top, bottom)
        covered = np.maximum(covered, down[:, None] * across[None, :])
    touched = covered > 0
    total = float(heat_map.sum())
    share = float((heat_map * covered).sum()) / total if total > 0 else 0.0
    hit = bool(touched.ravel()[int(heat_map.argmax())]) and total > 0
    return Pointed(hit, float(touched.mean()), share / float(covered.mean()))


def _overlap(cells: int, begin: float, end: float) -> Floats:
    """(cells,) the part of each cell of equal width that lies between begin and end."""
    edges = np.arange(cells) / cells
    return np.clip(np.minimum(edges + 1 / cells, end) - np.maximum(edges, begin), 0, None) * cells


def measure(count: int, seed: int, context: str = "") -> dict[str, list[Pointed]]:
    """Both maps of each scene whose question is about objects that are there."""
    found: dict[str, list[Pointed]] = {kind: [] for kind in KINDS}
    with Shelf().vlm("tiny-llava") as vlm:
        for drawn in draw_scene_observations(count, seed):
            if not drawn.question.objects:
                continue
            told = getattr(drawn, context) if context else ""
            trial = Trial(drawn.name, render_scene(drawn.scene), told, drawn.question.text, drawn.question.truth)
            [output] = vlm.evaluate([trial], Decoding(), ["attention"])
            if output.answer is None or output.attention is None or not len(output.attention.sums):
                continue
            steps = views.answer_words(output.answer.tokens[: len(output.attention.sums)])[0].tokens
            boxes = [drawn.scene.objects[i].box for i in drawn.question.objects]
            relevant = relevancy(vlm, trial, output.answer, steps)
            for kind, heat_map in zip(
                KINDS, (views.heat_map_of(output.attention, steps), views.heat_map_of(relevant)), strict=True
            ):
                found[kind].append(points(heat_map, boxes))
    return found


def table(found: dict[str, list[Pointed]]) -> str:
    """Both kinds of map as Markdown, with the paired test."""
    made = [
        "| map | peak on an object asked about | 95 % interval | chance | density on it over chance | 95 % interval |",
        "|" + " --- |" * 6,
    ]
    for kind, judged in found.items():
        hits = [p.hit for p in judged]
        rate, density = wilson_interval(sum(hits), len(hits)), mean_interval([p.density for p in judged])
        made.append(
            f"| {kind} | {np.mean(hits):.3f} | {rate.low:.3f} to {rate.high:.3f} "
            f"| {np.mean([p.chance for p in judged]):.3f} | {np.mean([p.density for p in judged]):.2f} "
            f"| {density.low:.2f} to {density.high:.2f} |"
        )
    both = [[p.hit for p in found[kind]] for kind in KINDS]
    test = mcnemar(both[0], both[1])
    return "\n".join([*made, "", f"{len(both[0])} scenes; McNemar's exact test: p = {test.p_value:.3g}"])


def memory() -> dict[str, float]:
    """Peak memory of one relevancy above the loaded model, and its estimate, in bytes; run in a process of its own."""
    from benchmarks.peak_memory import _resident
    from benchmarks.vlm_models import FULL, make_trial, make_vlm, studio
    from isi_core.models.vlm.relevancy import model_bytes

    vlm, trial = studio(*make_vlm("llava", FULL)), make_trial("llava")
    [output] = vlm.evaluate([trial], Decoding(max_new_tokens=4), ["answer"])
    if output.answer is None:
        raise RuntimeError("there is no answer")
    vlm.prefills.clear()
    gc.collect()
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    relevancy(vlm, trial, output.answer, [0])
    peak = _resident("VmHWM") - before
    return {"tokens": output.prompt_tokens, "peak": peak, "estimate": model_bytes(vlm.network, output.prompt_tokens)}


def main() -> None:
    """Print the table, or the memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=120, help="scenes drawn; those that name no object are left out")
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("--context", choices=["complementary", "contradictory"], default="")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        print(json.dumps(memory()))
    elif arguments.memory:
        from benchmarks.peak_memory import ENVIRONMENT

        command = [sys.executable, "-m", "benchmarks.relevancy", "--inside"]
        run = subprocess.run(command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=True)
        numbers = json.loads(run.stdout.splitlines()[-1])
        print(
            f"{numbers['tokens']} tokens: peak {numbers['peak'] / 2**20:.0f} MB above the model, "
            f"estimate {numbers['estimate'] / 2**20:.0f} MB"
        )
    else:
        print(table(measure(arguments.count, arguments.seed, arguments.context)))


if __name__ == "__main__":
    main()
