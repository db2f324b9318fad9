"""How good predicted probabilities of success are: ranking, calibration, and what abstaining buys."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isi_core.domain.errors import InputError
from isi_core.measures.statistics import auc_interval

Floats = NDArray[np.float64]


class Bin(NamedTuple):
    """Cases whose score lies in [low, high): their number, mean score and share of successes."""

    low: float
    high: float
    n: int
    mean_score: float
    success_rate: float


class Point(NamedTuple):
    """Share of failures among the `coverage` share of cases with the highest scores."""

    coverage: float
    risk: float


def average_precision(truth: ArrayLike, scores: ArrayLike) -> float:
    """Area under precision over recall by steps, success as the positive class (scikit-learn's)."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(np.asarray(truth), np.asarray(scores, dtype=float)))


def brier(truth: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared difference of probability and outcome (Brier 1950); 0.25 for always saying one half."""
    p, y = _pairs(truth, probabilities)
    if (p < 0).any() or (p > 1).any():
        raise InputError("Probabilities must lie between 0 and 1.")
    return float(np.mean((p - y) ** 2))


def calibration(truth: ArrayLike, probabilities: ArrayLike, bins: int = 10) -> list[Bin]:
    """Bins of equal width over [0, 1], empty ones left out; the last one holds 1.0 too."""
    p, y = _pairs(truth, probabilities)
    place = np.minimum((p * bins).astype(int), bins - 1)
    found = []
    for i in range(bins):
        inside = place == i
        if inside.any():
            found.append(
                Bin(i / bins, (i + 1) / bins, int(inside.sum()), float(p[inside].mean()), float(y[inside].mean()))
            )
    return found


def risk_coverage(truth: ArrayLike, scores: ArrayLike, points: int = 50) -> list[Point]:
    """Risk at evenly spaced coverages, the surest cases first; cases of one score are covered in equal parts.

    El-Yaniv & Wiener (JMLR 11, 2010). At coverage 1 the risk is the share of failures.
    """
    p, y = _pairs(truth, scores)
    values, place, counts = np.unique(-p, return_inverse=True, return_counts=True)
    failures = np.bincount(place, weights=1.0 - y, minlength=len(values))
    # Cumulated at the ends of groups of equal scores; straight lines between are what random order gives on average.
    covered = np.concatenate([[0.0], np.cumsum(counts)])
    failed = np.concatenate([[0.0], np.cumsum(failures)])
    wanted = np.unique(np.maximum(1, np.round(np.linspace(0, 1, points + 1)[1:] * len(p))).astype(int))
    risks = np.interp(wanted, covered, failed) / wanted
    return [Point(float(n / len(p)), float(risk)) for n, risk in zip(wanted, risks, strict=True)]


def delong_caveat(truth: ArrayLike, scores: ArrayLike) -> str:
    """Why DeLong's interval means nothing for these scores, in words; "" where it does."""
    p, y = _pairs(truth, scores)
    if min(y.sum(), len(y) - y.sum()) < 2:
        return "a class has a single case: DeLong's variance is not known"
    if len(np.unique(p)) == 1:
        return "all scores are equal: the AUC is 0.5 by construction and DeLong's variance is zero"
    if auc_interval(y, p).estimate in (0.0, 1.0):
        return "the classes are fully apart: DeLong's variance is zero and both intervals are too narrow"
    return ""


def _pairs(truth: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    p, y = np.asarray(scores, dtype=float), np.asarray(truth, dtype=float)
    if p.shape != y.shape or p.ndim != 1 or not len(p):
        raise InputError("There must be one score a label, and at least one.")
    if not np.isfinite(p).all():
        raise InputError("There are scores that are not numbers: leave them out first.")
    return p, y
