"""Is a model less sure where it is wrong? Area under the ROC curve of the entropy, and the risk-coverage curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from isi_core.measures.statistics import Interval, auc_interval
from isi_core.store.sweeps import SweepResult
from isi_core.studies.sweep.analysis import is_right

_NO_WIDTH = 1e-6
SCORES = ("semantic_entropy", "predictive_entropy")


@dataclass(frozen=True)
class Coverage:
    """Of the surest answers, `coverage` is their share of all and `risk` the share of wrong ones among them."""

    coverage: float
    risk: float
    threshold: float


@dataclass(frozen=True)
class Calibration:
    """How well an entropy tells wrong answers from right ones.

    Attributes
    ----------
    score : one of `SCORES`, in nats.
    n, wrong : answers whose truth is known, and those of them that are wrong; an unclear answer is wrong.
    auroc : probability that a wrong answer has the higher entropy (ties count half), DeLong's interval; None where
        all answers are right or all are wrong, no bounds where the entropies of the two are fully apart.
    curve : from the surest answers to all; equally sure ones come together, since no threshold parts them.
    area : area under that curve, the mean risk over coverages from 0 to 1; below `wrong / n` where entropy helps.
    """

    model: str
    condition: str
    score: str
    n: int
    wrong: int
    auroc: Interval | None
    curve: tuple[Coverage, ...]
    area: float


def calibrations(
    results: Sequence[SweepResult], models: Sequence[str], conditions: Sequence[str], score: str = "semantic_entropy"
) -> list[Calibration]:
    """The calibration of each model under each condition where a truth is known and the score was measured."""
    found = []
    for model in models:
        for condition in conditions:
            pairs = [
                (not right, r.measured[score])
                for r in results
                if (r.model, r.condition, r.error) == (model, condition, "")
                and (right := is_right(r)) is not None
                and score in r.measured
            ]
            if pairs:
                wrong, scores = [w for w, _ in pairs], [s for _, s in pairs]
                found.append(_calibration(model, condition, score, wrong, scores))
    return found


def _calibration(model: str, condition: str, score: str, wrong: Sequence[bool], scores: Sequence[float]) -> Calibration:
    both = 0 < sum(wrong) < len(wrong)
    curve = risk_coverage(wrong, scores)
    return Calibration(
        model=model,
        condition=condition,
        score=score,
        n=len(wrong),
        wrong=sum(wrong),
        auroc=_auroc(wrong, scores) if both else None,
        curve=curve,
        area=area_under(curve),
    )


def _auroc(wrong: Sequence[bool], scores: Sequence[float]) -> Interval:
    """DeLong's interval, without bounds where its variance is zero: a few answers that are apart prove nothing."""
    found = auc_interval(wrong, scores)
    return replace(found, low=math.nan, high=math.nan) if found.high - found.low < _NO_WIDTH else found


def risk_coverage(wrong: Sequence[bool], scores: Sequence[float]) -> tuple[Coverage, ...]:
    """Risk among the answers of at most each entropy, lowest first (El-Yaniv & Wiener, JMLR 11, 2010)."""
    order = sorted(range(len(scores)), key=lambda i: scores[i])
    curve = []
    mistakes = 0
    for count, i in enumerate(order, start=1):
        mistakes += wrong[i]
        if count == len(order) or scores[order[count]] != scores[i]:
            curve.append(Coverage(count / len(order), mistakes / count, float(scores[i])))
    return tuple(curve)


def area_under(curve: Sequence[Coverage]) -> float:
    """Mean risk over coverages from 0 to 1; within a tie answers are taken in a random order, on average.

    Taken so, the area of a score that is the same for every answer is the share of wrong ones.
    """
    area = before = risk_mass = 0.0
    for point in curve:
        # Wrong answers' share of all grows in a straight line within a tie, and risk is that share by coverage.
        step = point.coverage - before
        mass = point.coverage * point.risk
        slope = (mass - risk_mass) / step
        area += slope * step + (risk_mass - slope * before) * _log_ratio(point.coverage, before)
        before, risk_mass = point.coverage, mass
    return area


def _log_ratio(high: float, low: float) -> float:
    """Integral of 1/x from low to high; at 0 it is multiplied by a mass of 0."""
    return math.log(high / low) if low > 0 else 0.0
