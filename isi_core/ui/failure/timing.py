"""How long a benchmark will take, before its first run: a few of its questions are asked and timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isi_core.studies.failure.explainers import EXPLAINERS
from isi_core.studies.failure.plan import PICTURE_TASKS, FailurePlan
from isi_core.studies.failure.results import BenchmarkResult

if TYPE_CHECKING:
    from isi_core.models.shelf import Shelf

ASKED = 24
"""Questions that are timed."""
_SAMPLED = ("semantic_entropy", "predictive_entropy")


@dataclass(frozen=True)
class Timing:
    """What a few questions took.

    Attributes
    ----------
    seconds : wall time a question.
    wrong : how many of them the model got wrong.
    """

    seconds: float
    asked: int
    wrong: int


def about(plan: FailurePlan) -> tuple[object, ...]:
    """What a timing holds for: plans that differ in k, layers, explainers or seed alone share it."""
    return plan.task, plan.source, plan.model, plan.quantization, plan.contexts


def can_time(plan: FailurePlan) -> bool:
    """Whether a few questions can be asked beforehand."""
    return plan.task in PICTURE_TASKS


def measure(plan: FailurePlan, shelf: Shelf, progress: Callable[[str, float], None]) -> Timing:
    """Ask the first inputs of a plan.

    Raises
    ------
    InputError, ModelError : what opening the task or the model raises.
    """
    from isi_core.studies.failure.collection import DECODING
    from isi_core.studies.failure.pools import open_pool

    progress("Drawing a few questions", 0.0)
    inputs = open_pool(plan).chunk(0)[:ASKED]
    with shelf.vlm(plan.model, plan.quantization, progress) as vlm:
        trials = [given.trial for given in inputs]
        vlm.evaluate(trials[:1], DECODING, {"answer"})  # the first of a fresh model is slow
        progress(f"Timing {len(trials)} questions", 0.3)
        begun = time.monotonic()
        outputs = vlm.evaluate(trials, DECODING, {"answer"})
        seconds = (time.monotonic() - begun) / len(trials)
    wrong = sum(
        output.answer is None or output.answer.verdict != trial.truth_word
        for trial, output in zip(trials, outputs, strict=True)
    )
    return Timing(seconds, len(trials), wrong)


def expected(timing: Timing, plan: FailurePlan) -> float:
    """Seconds that a plan takes to ask its questions: until there are k of the rarer class, and 2 k read once more.

    The share of failures is that of the timed questions, with one more of each (Laplace); probes are not in it.
    """
    share = (timing.wrong + 1) / (timing.asked + 2)
    collected = plan.k / min(share, 1 - share)
    again = 2.0 * plan.k + 2 * min(plan.k, plan.sampling_k) * _answers_each(plan)
    return timing.seconds * (collected + again)


def _answers_each(plan: FailurePlan) -> int:
    """Answers a case that explainers ask for beyond the first."""
    extras = {extra for key in plan.explainers if key in EXPLAINERS for extra in EXPLAINERS[key].extras}
    return plan.samples * any(e in extras for e in _SAMPLED) + len(extras - set(_SAMPLED))


def scaled(result: BenchmarkResult, plan: FailurePlan) -> float:
    """The time of another run in seconds, stage by stage, scaled to a plan's cases, layers and explainers."""
    known, cases = result.plan, plan.k / result.plan.k
    scales = {
        "probes": cases * _fits(plan, len(result.layers)) / max(1, _fits(known, len(result.layers))),
        "controls": cases * plan.permutations / known.permutations,
        "black box": _asked_again(plan) / max(1, _asked_again(known)),
    }
    return sum(seconds * scales.get(stage, cases) for stage, seconds in result.seconds.items())


def _fits(plan: FailurePlan, layers: int) -> int:
    """Probes that are fitted, one a layer where an explainer reads layers."""
    rows = [EXPLAINERS[key] for key in plan.explainers if key in EXPLAINERS]
    return sum(layers if row.by_layer else 1 for row in rows)


def _asked_again(plan: FailurePlan) -> int:
    return _answers_each(plan) * min(plan.k, plan.sampling_k)
