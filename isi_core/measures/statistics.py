"""Intervals and tests: the one place where a number gets its uncertainty.

Every function is deterministic (seeds are explicit), takes plain sequences and raises
`InputError` where it is given nothing, or values that are not numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from isi_core.domain.errors import InputError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Statistic = Callable[..., Any]
"""Takes an array and `axis`, as np.mean and np.median do."""
BootstrapMethod = Literal["percentile", "BCa", "basic"]

_BATCH_VALUES = 4_000_000  # values resampled at once: 32 MB
_NO_VARIANCE = 1e-8  # a standard error that is only rounding


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    Attributes
    ----------
    estimate : the value on the data itself.
    low, high : bounds; NaN where the data are too few for any.
    level : confidence level, such as 0.95.
    n : number of observations (pairs, trials) it rests on.
    """

    estimate: float
    low: float
    high: float
    level: float
    n: int

    @property
    def bounded(self) -> bool:
        """Whether there are bounds."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; bounds that are not known are None."""
        return {key: None if np.isnan(value) else value for key, value in asdict(self).items()}


@dataclass(frozen=True)
class McNemar:
    """Exact McNemar test of two raters on the same items.

    Attributes
    ----------
    first_only, second_only : items that only the first, only the second got right.
    p_value : two-sided.
    """

    first_only: int
    second_only: int
    p_value: float


@dataclass(frozen=True)
class AucComparison:
    """Two scores for the same labels; `difference` is first minus second."""

    first: Interval
    second: Interval
    difference: Interval
    p_value: float


@dataclass(frozen=True)
class Rank:
    """Where a value lies in a population: how many of its `n` values are below, and how many are the same."""

    below: int
    same: int
    n: int


def bootstrap_interval(
    values: ArrayLike,
    statistic: Statistic = np.mean,
    level: float = 0.95,
    n: int = 10_000,
    seed: int = 0,
    method: BootstrapMethod = "percentile",
) -> Interval:
    """Bootstrap interval of a statistic of independent values (Efron & Tibshirani 1993), from `n` resamples."""
    return _bootstrap((_numbers(values, "values"),), statistic, level, n, seed, method)


def paired_bootstrap(
    first: ArrayLike,
    second: ArrayLike,
    statistic: Statistic = np.mean,
    level: float = 0.95,
    n: int = 10_000,
    seed: int = 0,
    method: BootstrapMethod = "percentile",
) -> Interval:
    """Bootstrap interval of statistic(first) - statistic(second), pairs resampled together."""
    pair = (_numbers(first, "first values"), _numbers(second, "second values"))
    if len(pair[0]) != len(pair[1]):
        raise InputError(f"Paired values must be equally many; got {len(pair[0])} and {len(pair[1])}.")

    def difference(a: Floats, b: Floats, axis: int = -1) -> Any:
        return statistic(a, axis=axis) - statistic(b, axis=axis)

    return _bootstrap(pair, difference, level, n, seed, method)


def _bootstrap(
    data: tuple[Floats, ...], statistic: Statistic, level: float, n: int, seed: int, method: BootstrapMethod
) -> Interval:
    _check_level(level)
    size = len(data[0])
    estimate = float(statistic(*data, axis=-1))
    if size == 1:  # one value says nothing about its spread
        return Interval(estimate, float("nan"), float("nan"), level, size)
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            data,
            statistic,
            n_resamples=n,
            batch=max(1, _BATCH_VALUES // size),
            paired=len(data) > 1,
            vectorized=True,
            confidence_level=level,
            method=method,
            rng=np.random.default_rng(seed),
        )
    low, high = (float(bound) for bound in result.confidence_interval)
    if not (np.isfinite(low) and np.isfinite(high)):  # BCa has no answer where all resamples agree
        low, high = map(float, np.quantile(result.bootstrap_distribution, [(1 - level) / 2, (1 + level) / 2]))
    return Interval(estimate, low, high, level, size)


def half_sample_difference(
    first: Callable[[Indices], Floats],
    n_first: int,
    second: Callable[[Indices], Floats],
    n_second: int,
    level: float = 0.95,
    n: int = 2_000,
    seed: int = 0,
) -> Interval:
    """first(all) - second(all) of two independent samples, its interval from half-samples without repeats.

    For statistics that count what is alike, such as entropies: a bootstrap's resample repeats values, repeats are
    alike, and so every resample looks surer than the sample (its interval then misses the truth far too often).
    A half drawn without repeats spreads around the whole as the whole does around the truth (McCarthy, Rev. Int.
    Stat. Inst. 37, 1969; Politis & Romano, Ann. Statist. 22, 1994); the interval is estimate +- z times that spread.

    Parameters
    ----------
    first, second : take (b, m) indices of values, each row one subset, and give its (b,) statistic.
    n_first, n_second : how many values there are; bounds are NaN where one has fewer than 4.
    """
    _check_level(level)
    if min(n_first, n_second) < 1:
        raise InputError("A difference needs at least one value on each side.")
    rng = np.random.default_rng(seed)
    estimate = 0.0
    variance = 0.0
    for sign, statistic, size in ((1, first, n_first), (-1, second, n_second)):
        estimate += sign * float(statistic(np.arange(size)[None, :])[0])
        if size < 4:
            variance = float("nan")
            continue
        half = size // 2
        subsets = np.sort(rng.permuted(np.tile(np.arange(size), (n, 1)), axis=1)[:, :half], axis=1)
        variance += float(np.var(statistic(subsets))) * half / (size - half)
    reach = float(stats.norm.ppf((1 + level) / 2)) * float(np.sqrt(variance))
    return Interval(estimate, estimate - reach, estimate + reach, level, n_first + n_second)


def mean_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Student's t interval of a mean: for a handful of runs, where a bootstrap's interval comes out too narrow."""
    _check_level(level)
    found = _numbers(values, "values")
    mean, size = float(found.mean()), len(found)
    if size == 1:
        return Interval(mean, float("nan"), float("nan"), level, size)
    reach = float(stats.t.ppf((1 + level) / 2, size - 1)) * float(found.std(ddof=1)) / float(np.sqrt(size))
    return Interval(mean, mean - reach, mean + reach, level, size)


def wilson_interval(successes: int, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion (JASA 22, 1927)."""
    _check_level(level)
    if n < 1 or not 0 <= successes <= n:
        raise InputError(
            f"A proportion needs at least one trial and no more successes than trials; got {successes}/{n}."
        )
    bounds = stats.binomtest(int(successes), int(n)).proportion_ci(confidence_level=level, method="wilson")
    return Interval(successes / n, float(bounds.low), float(bounds.high), level, int(n))


def paired_rate_difference(
    first_right: Sequence[bool] | ArrayLike, second_right: Sequence[bool] | ArrayLike, level: float = 0.95
) -> Interval:
    """Share of the first minus share of the second, on the same items, with Newcombe's score interval.

    Method 10 of Newcombe (Statist. Med. 17, 2635-2650, 1998): the Wilson intervals of both shares, squared and added,
    with the correlation of the pairs (cut by n/2 where it is positive; 0 where all of one side are alike). It has a
    width where no pair differs or all do, where a bootstrap's resamples never differ and pretend to be certain.
    """
    first, second = _flags(first_right, "first outcomes"), _flags(second_right, "second outcomes")
    if len(first) != len(second):
        raise InputError(f"Paired outcomes must be equally many; got {len(first)} and {len(second)}.")
    n, successes = len(first), (int(first.sum()), int(second.sum()))
    one, other = (wilson_interval(count, n, level) for count in successes)
    difference = one.estimate - other.estimate
    correlation = _cut_correlation(first, second)

    def reach(a: float, b: float) -> float:
        return float(np.sqrt(max(0.0, a * a + b * b - 2 * correlation * a * b)))

    low = difference - reach(one.estimate - one.low, other.high - other.estimate)
    high = difference + reach(one.high - one.estimate, other.estimate - other.low)
    return Interval(difference, max(-1.0, low), min(1.0, high), level, n)


def _cut_correlation(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Newcombe's phi of a fourfold table, its numerator cut by n/2 where it is positive."""
    n = len(first)
    margins = [int(side.sum()) for side in (first, ~first, second, ~second)]
    if not all(margins):
        return 0.0
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    excess = both * neither - int((first & ~second).sum()) * int((second & ~first).sum())
    if excess > 0:
        return float(max(excess - n / 2, 0.0) / np.sqrt(np.prod(margins, dtype=float)))
    return float(excess / np.sqrt(np.prod(margins, dtype=float)))


def mcnemar(first_right: Sequence[bool] | ArrayLike, second_right: Sequence[bool] | ArrayLike) -> McNemar:
    """Exact test that two raters are right equally often on the same items (McNemar 1947)."""
    first, second = _flags(first_right, "first outcomes"), _flags(second_right, "second outcomes")
    if len(first) != len(second):
        raise InputError(f"Paired outcomes must be equally many; got {len(first)} and {len(second)}.")
    first_only, second_only = int((first & ~second).sum()), int((second & ~first).sum())
    disagreements = first_only + second_only
    p_value = float(stats.binomtest(first_only, disagreements).pvalue) if disagreements else 1.0
    return McNemar(first_only, second_only, p_value)


_ROUNDING = 1e-6
"""Measures of one answer differ by less than this, whether it was asked alone or in a batch."""


def rank_among(value: float, population: ArrayLike) -> Rank:
    """Where a value lies in a population; what differs only by rounding counts as the same."""
    values, own = _numbers(population, "values"), _numbers([value], "value")[0]
    below, upto = int((values < own - _ROUNDING).sum()), int((values <= own + _ROUNDING).sum())
    return Rank(below, upto - below, len(values))


def holm(p_values: ArrayLike) -> Floats:
    """(m,) p-values adjusted for m tests, in their own order (Holm, Scand. J. Statist. 6, 1979)."""
    p = _numbers(p_values, "p-values")
    if (p < 0).any() or (p > 1).any():
        raise InputError("p-values must lie between 0 and 1.")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def auc_interval(truth: ArrayLike, scores: ArrayLike, level: float = 0.95) -> Interval:
    """Area under the ROC curve with DeLong's interval, cut to [0, 1].

    DeLong, DeLong & Clarke-Pearson (Biometrics 44, 1988); structural components by
    mid-ranks (Sun & Xu, IEEE Signal Process. Lett. 21, 2014), so ties count half.
    Its variance is zero where the classes are fully apart, and not known (NaN bounds)
    where a class has a single member.
    """
    return _auc_interval(*_auc_covariance(truth, scores), 0, level)


def auc_bootstrap(truth: ArrayLike, scores: ArrayLike, level: float = 0.95, n: int = 20_000, seed: int = 0) -> Interval:
    """Area under the ROC curve with the percentile interval of `n` resamples, drawn within each class.

    A resample is two rows of counts over the sorted scores, so that its area is one cumulative sum: ties count half.
    The bounds are NaN where a class has a single member.
    """
    _check_level(level)
    positive = _flags(truth, "labels")
    values = _numbers(scores, "scores")
    if len(values) != len(positive):
        raise InputError(f"There must be one score a label; got {len(values)} scores and {len(positive)} labels.")
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not (n_positive and n_negative):
        raise InputError("An AUC needs both classes among the labels.")
    places = np.unique(values, return_inverse=True)[1]
    size = int(places.max()) + 1

    def areas(winners: Floats, losers: Floats) -> Floats:
        """(b,) areas of (b, size) counts at each distinct score."""
        below = np.cumsum(losers, axis=1) - losers / 2
        found: Floats = np.einsum("ij,ij->i", winners, below) / (n_positive * n_negative)
        return found

    def counts(of: Indices, rows: int) -> Floats:
        drawn = of[rng.integers(len(of), size=(rows, len(of)))] + size * np.arange(rows)[:, None]
        return np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size).astype(float)

    rng = np.random.default_rng(seed)
    winners, losers = places[positive], places[~positive]
    whole = [np.bincount(of, minlength=size).astype(float)[None, :] for of in (winners, losers)]
    estimate = float(areas(whole[0], whole[1])[0])
    if min(n_positive, n_negative) == 1:
        return Interval(estimate, float("nan"), float("nan"), level, len(positive))
    batch = max(1, _BATCH_VALUES // (4 * len(positive)))
    parts = [min(batch, n - start) for start in range(0, n, batch)]
    resampled = np.concatenate([areas(counts(winners, rows), counts(losers, rows)) for rows in parts])
    low, high = map(float, np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2]))
    return Interval(estimate, low, high, level, len(positive))


def auc_p_value(truth: ArrayLike, scores: ArrayLike) -> float:
    """Two-sided p-value of an area of 0.5 by DeLong's variance; NaN where that is zero or not known.

    1 for scores that are all equal: they are at chance by construction.
    """
    areas, covariance, _ = _auc_covariance(truth, scores)
    if len(np.unique(np.asarray(scores, dtype=float))) == 1:
        return 1.0
    error = float(np.sqrt(max(0.0, covariance[0, 0])))
    return float(2 * stats.norm.sf(abs(areas[0] - 0.5) / error)) if error > _NO_VARIANCE else float("nan")


def compare_aucs(truth: ArrayLike, first: ArrayLike, second: ArrayLike, level: float = 0.95) -> AucComparison:
    """DeLong's test of two scores on the same items, with the interval of the difference.

    The p-value is 1 for equal areas and NaN where the variance is zero or unknown.
    """
    areas, covariance, n = _auc_covariance(truth, first, second)
    gap = float(areas[0] - areas[1])
    # Clipped: for two scores that rank alike, zero comes out as a rounding error of either sign.
    error = float(np.sqrt(max(0.0, covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])))
    if np.isnan(covariance).any():
        error = float("nan")
    reach = float(stats.norm.ppf((1 + level) / 2)) * error
    if gap == 0.0:
        p_value = 1.0
    else:
        p_value = float(2 * stats.norm.sf(abs(gap) / error)) if error > _NO_VARIANCE else float("nan")
    return AucComparison(
        first=_auc_interval(areas, covariance, n, 0, level),
        second=_auc_interval(areas, covariance, n, 1, level),
        difference=Interval(gap, max(-1.0, gap - reach), min(1.0, gap + reach), level, n),
        p_value=p_value,
    )


def _auc_interval(areas: Floats, covariance: Floats, n: int, which: int, level: float) -> Interval:
    _check_level(level)
    area = float(areas[which])
    reach = float(stats.norm.ppf((1 + level) / 2) * np.sqrt(covariance[which, which]))
    low, high = (float(b) for b in np.clip([area - reach, area + reach], 0.0, 1.0))
    return Interval(area, low, high, level, n)


def _auc_covariance(truth: ArrayLike, *scores: ArrayLike) -> tuple[Floats, Floats, int]:
    """(s,) areas of s scores and their (s, s) covariance by DeLong; the number of items."""
    positive = _flags(truth, "labels")
    table = np.stack([_numbers(s, "scores") for s in scores])
    if table.shape[1] != len(positive):
        raise InputError(f"There must be one score a label; got {table.shape[1]} scores and {len(positive)} labels.")
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not (n_positive and n_negative):
        raise InputError("An AUC needs both classes among the labels.")
    ranks = stats.rankdata(table, axis=1)
    # Share of the other class that each item beats; the means of both are the area.
    wins = (ranks[:, positive] - stats.rankdata(table[:, positive], axis=1)) / n_negative
    losses = 1.0 - (ranks[:, ~positive] - stats.rankdata(table[:, ~positive], axis=1)) / n_positive
    if min(n_positive, n_negative) == 1:
        covariance = np.full((len(scores), len(scores)), np.nan)
    else:
        covariance = np.atleast_2d(np.cov(wins)) / n_positive + np.atleast_2d(np.cov(losses)) / n_negative
    return wins.mean(axis=1), covariance, len(positive)


def _numbers(values: ArrayLike, what: str) -> Floats:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or not len(array):
        raise InputError(f"At least one number is needed ({what}).")
    if not np.isfinite(array).all():
        raise InputError(f"There are values that are not numbers ({what}): leave them out first.")
    return array


def _flags(values: ArrayLike, what: str) -> NDArray[np.bool_]:
    array = _numbers(values, what)
    if not np.isin(array, (0, 1)).all():
        raise InputError(f"Only true and false, or 1 and 0, are allowed ({what}).")
    return array.astype(bool)


def _check_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise InputError(f"The confidence level must lie between 0 and 1, such as 0.95; got {level}.")
