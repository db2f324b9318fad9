"""One prefill, shared prompts and recorded attention rows against the published procedure: times and memory.

`python -m benchmarks.vlm` builds randomly initialized LLaVA-1.5- and LLaVA-NeXT-shaped models (float32, 2 threads) and
prints every ratio beside its target. `--json OUT` also writes the ratios; `--quick` is a small form for trying out,
whose numbers mean nothing. Times are medians of interleaved pairs: the reference, then this project, again and again.
Memory is the peak above the loaded model, in processes of their own. Nothing passes or fails here.

The reference prepares every prompt anew, draws samples with one `generate` call each, and returns eager attention as
matrices. Single samples and answers are compared with `generate` over scaled-dot-product attention, which is faster
than the eager attention that the published tool uses throughout; only its three buttons together run all eager.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.growth import draw_growth
from benchmarks.peak_memory import cost
from benchmarks.vlm_models import FULL, QUESTION, QUICK, make_nli, studio_nli, ten_answers, texts_of
from benchmarks.vlm_reference import compare_pairwise
from benchmarks.vlm_ways import Setup, Way, make_way
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.measures.semantic_entropy import measure

ATTENTION_PAIRS = 7


@dataclass(frozen=True)
class Row:
    """A line of the table: `value` is a ratio, or None where it could not be measured; no key, no place in the JSON."""

    key: str
    what: str
    value: float | None
    target: str
    detail: str


@dataclass(frozen=True)
class Pairs:
    """Seconds of interleaved runs."""

    reference: list[float]
    here: list[float]

    @property
    def ratio(self) -> float:
        """Median over the pairs of reference time / time here."""
        return statistics.median(a / b for a, b in zip(self.reference, self.here, strict=True))

    def __str__(self) -> str:
        reference, here = statistics.median(self.reference), statistics.median(self.here)
        return f"{reference:.2f} s : {here:.2f} s, median of {len(self.here)}"


def interleave(reference: Callable[[], object], here: Callable[[], object], pairs: int) -> Pairs:
    """Time both, in turn."""
    found = Pairs([], [])
    for _ in range(pairs):
        found.reference.append(_seconds(reference))
        found.here.append(_seconds(here))
    return found


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def time_ways(reference: Way, here: Way, setup: Setup, pairs: int) -> Pairs:
    """Time two ways, each with a model of its own of the same weights."""
    ways = [make_way(way, setup) for way in (reference, here)]
    for way in ways:
        way.warm_up()
    return interleave(ways[0].run, ways[1].run, pairs)


def sampling_rows(small: Setup, large: Setup, pairs: int) -> list[Row]:
    """Ten samples: time and memory."""
    rows = []
    for setup, name, target in ((small, "576", "≥ 5"), (large, "2900", "≥ 8")):
        found = time_ways("plain samples", "samples", setup, pairs)
        what = f"{setup.samples} samples × {setup.tokens} tokens, {name} image tokens: times faster"
        rows.append(Row(f"samples_{name}", what, found.ratio, target, str(found)))
    one, ten = cost("plain answer", large), cost("samples", large)
    what = f"memory of {large.samples} samples over one greedy answer, 2900"
    value = ten.peak / one.peak if one and ten else None
    detail = f"{_mb(ten.peak)} : {_mb(one.peak)}" if one and ten else ""
    return [*rows, Row("sampling_memory_2900", what, value, "≤ 1.3", detail)]


def attention_rows(large: Setup, quick: bool) -> list[Row]:
    """The attention run: time and memory."""
    plain, here, eager = (cost(way, large) for way in ("plain answer", "attention", "eager attention"))
    over_plain = here.peak / plain.peak if here and plain else None
    under_eager = eager.peak / here.peak if eager and here else None
    detail = f"{_mb(here.peak)} : {_mb(plain.peak)}" if here and plain else ""
    against = f"{_mb(eager.peak)} : {_mb(here.peak)}" if here and eager else ""
    times = time_ways("plain answer", "attention", large, 2 if quick else ATTENTION_PAIRS)
    slower = statistics.median(b / a for a, b in zip(times.reference, times.here, strict=True))
    matrices = time_ways("eager attention", "attention", large, 1)
    return [
        Row("attention_memory_2900", "attention run: memory over plain generation, 2900", over_plain, "≤ 1.1", detail),
        Row("attention_memory_vs_eager_2900", "attention run: times less than eager", under_eager, "≥ 12", against),
        Row("attention_time_2900", "attention run: time over plain generation, 2900", slower, "≤ 1.15", str(times)),
        Row("", "attention run: times faster than eager, 2900", matrices.ratio, "≥ 3", str(matrices)),
    ]


def entailment_row(setup: Setup, pairs: int) -> Row:
    """Ten answers, five texts twice each."""
    model, tokenizer = make_nli(QUICK if setup.quick else FULL)
    here = studio_nli(model, tokenizer)
    answers = ten_answers()
    asked = compare_pairwise(model, tokenizer, texts_of(answers))
    found = interleave(
        lambda: compare_pairwise(model, tokenizer, texts_of(answers)),
        lambda: measure(answers, QUESTION, here, UncertaintySettings()),
        pairs,
    )
    what = "entailment of 10 answers with 5 distinct texts: times faster"
    return Row("entailment", what, found.ratio, "≥ 4", f"{found}; {asked} single pairs")


def measure_all_rows(small: Setup, large: Setup, pairs: int) -> list[Row]:
    """*Measure all* against the three buttons, and a second click."""
    rows = []
    for setup, name, target in ((small, "576", "≥ 5"), (large, "2900", "≥ 12")):
        found = time_ways("three buttons", "all", setup, pairs)
        what = f"Measure all against the three buttons, {name}: times faster"
        rows.append(Row(f"measure_all_{name}", what, found.ratio, target, str(found)))
    return [*rows, second_click_row(large)]


def second_click_row(setup: Setup) -> Row:
    """How often the picture is read when count, temperature and measure change."""
    way = make_way("samples", setup)
    passes: list[int] = []
    tower = way.model.model.vision_tower
    tower.register_forward_hook(lambda *_: passes.append(1))
    way.run()
    first = len(passes)
    assert way.vlm is not None and way.trial is not None
    changed = replace(setup.decoding, n_samples=max(1, setup.samples // 2), temperature=0.5)
    way.vlm.evaluate([way.trial], changed, ["samples"])
    way.vlm.evaluate([way.trial], changed, ["attention"])
    detail = f"{first} at the first click"
    return Row("", "prefills of a second and third click, other settings", len(passes) - first, "0", detail)


def _mb(peak: int) -> str:
    return f"{peak / (1 << 20):.0f} MB"


def print_table(rows: list[Row]) -> None:
    """The rows as Markdown."""
    print("| what | found | at least / at most | detail |\n| --- | --- | --- | --- |")
    for row in rows:
        value = "not measured" if row.value is None else f"{row.value:.3g}"
        print(f"| {row.what} | {value} | {row.target} | {row.detail} |")


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description="Vision-language models here against the published procedure.")
    parser.add_argument("--json", type=Path, help="file for the ratios")
    parser.add_argument("--quick", action="store_true", help="tiny models and few tokens: to try out, not to quote")
    parser.add_argument("--pairs", type=int, default=3, help="interleaved pairs of each time (attention: 7)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-curve", action="store_true", help="leave the growth curve out")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pairs = 1 if arguments.quick else arguments.pairs
    small = Setup("llava", threads=arguments.threads)
    if arguments.quick:
        print("QUICK FORM: tiny models, few tokens, one pair; these numbers mean nothing.\n")
        small = replace(small, tokens=4, samples=3, quick=True)
    large = replace(small, kind="next")
    rows = [
        *sampling_rows(small, large, pairs),
        *attention_rows(large, arguments.quick),
        entailment_row(small, pairs),
        *measure_all_rows(small, large, pairs),
    ]
    print_table(rows)
    if arguments.json is not None:
        found = {row.key: row.value for row in rows if row.key}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if not arguments.no_curve:
        print(f"\nGrowth curve: benchmarks/results/{draw_growth(small).name}")


if __name__ == "__main__":
    main()
