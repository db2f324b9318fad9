"""Intervals and tests against scikit-learn, resampling and numbers worked out by hand."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from isi_core.domain.errors import InputError
from isi_core.measures.statistics import (
    Interval,
    Rank,
    auc_interval,
    bootstrap_interval,
    compare_aucs,
    holm,
    mcnemar,
    paired_bootstrap,
    paired_rate_difference,
    rank_among,
    wilson_interval,
)

STEADY = settings(deadline=None, derandomize=True)

# -- bootstrap ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["percentile", "BCa", "basic"])
def test_bootstrap_of_a_mean_is_near_the_normal_interval(method: str) -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=400)
    found = bootstrap_interval(values, method=method)  # type: ignore[arg-type]
    reach = 1.96 * values.std(ddof=1) / 20
    assert found.estimate == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - reach, values.mean() + reach), abs=0.02)
    assert (found.level, found.n) == (0.95, 400)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        found = bootstrap_interval(rng.exponential(size=60), level=0.9, n=400)
        hits += found.low <= 1.0 <= found.high
    assert 165 <= hits <= 195  # 180 expected, minus a little for the skew


def test_bootstrap_is_seeded() -> None:
    values = np.random.default_rng(2).normal(size=30)
    assert bootstrap_interval(values, np.median, seed=1) == bootstrap_interval(values, np.median, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)
    assert bootstrap_interval(values, np.median).estimate == np.median(values)


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_constant_values_have_a_point_interval_and_no_warning(method: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = bootstrap_interval([2.0] * 5, method=method)  # type: ignore[arg-type]
    assert (found.low, found.high) == (2.0, 2.0)


def test_one_value_has_no_interval() -> None:
    found = bootstrap_interval([1.5])
    assert found.estimate == 1.5 and not found.bounded
    assert found.to_json() == {"estimate": 1.5, "low": None, "high": None, "level": 0.95, "n": 1}
    assert Interval(1, 0, 2, 0.95, 3).bounded


def test_pairs_are_resampled_together() -> None:
    rng = np.random.default_rng(3)
    difficulty = rng.normal(0, 10, size=80)  # shared by both, so that only pairing finds the small gap
    first, second = difficulty + rng.normal(0.5, 0.3, size=80), difficulty + rng.normal(0, 0.3, size=80)
    found = paired_bootstrap(first, second)
    on_differences = bootstrap_interval(first - second, seed=5)
    assert 0 < found.low < found.estimate < found.high
    assert (found.low, found.high) == pytest.approx((on_differences.low, on_differences.high), abs=0.02)
    assert paired_bootstrap(first, first).high == 0.0
    assert paired_bootstrap(first, second, np.median).estimate == pytest.approx(np.median(first) - np.median(second))


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf], [[1.0, 2.0]]])
def test_what_is_not_a_row_of_numbers_is_refused(values: list[float]) -> None:
    with pytest.raises(InputError):
        bootstrap_interval(values)


def test_levels_and_lengths_are_checked() -> None:
    with pytest.raises(InputError, match="level"):
        bootstrap_interval([1.0, 2.0], level=95)
    with pytest.raises(InputError, match="equally many"):
        paired_bootstrap([1.0, 2.0], [1.0])


# -- proportions ----------------------------------------------------------------------------


@STEADY
@given(st.integers(1, 300), st.data())
def test_wilson_bounds_solve_the_score_equation(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    found = wilson_interval(successes, n)
    share = successes / n
    assert found.estimate == share and 0.0 <= found.low <= share <= found.high <= 1.0
    for bound in (found.low, found.high):
        if 1e-9 < bound < 1 - 1e-9:
            assert abs(share - bound) == pytest.approx(1.959963985 * math.sqrt(bound * (1 - bound) / n), rel=1e-6)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 5)])
def test_impossible_proportions(successes: int, n: int) -> None:
    with pytest.raises(InputError):
        wilson_interval(successes, n)


def pairs(both: int, first_only: int, second_only: int, neither: int) -> tuple[list[bool], list[bool]]:
    """The two sides of a fourfold table."""
    first = [True] * (both + first_only) + [False] * (second_only + neither)
    return first, [True] * both + [False] * first_only + [True] * second_only + [False] * neither


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        # Altman et al., Statistics with Confidence, 2nd edition, 2000, table 6.2.
        ((14, 5, 0, 22), 0.011, 0.226),
        # Fagerland, Lydersen & Laake, Statistical Analysis of Contingency Tables, 2017, chapter 8.
        ((59, 6, 16, 80), -0.1186, -0.0046),
    ],
)
def test_difference_of_paired_rates_as_published(table: tuple[int, int, int, int], low: float, high: float) -> None:
    found = paired_rate_difference(*pairs(*table))
    assert found.estimate == pytest.approx((table[1] - table[2]) / sum(table)) and found.n == sum(table)
    places = 3 if low == 0.011 else 4
    assert (round(found.low, places), round(found.high, places)) == (low, high)


@STEADY
@given(*[st.integers(0, 25)] * 4)
def test_difference_of_paired_rates_is_an_interval_with_a_width(a: int, b: int, c: int, d: int) -> None:
    if a + b + c + d == 0:
        return
    found, other = paired_rate_difference(*pairs(a, b, c, d)), paired_rate_difference(*pairs(a, c, b, d))
    assert -1 <= found.low <= found.estimate <= found.high <= 1
    assert found.high - found.low > 0.05, "at most 100 pairs leave much open, also where none differs or all do"
    assert (other.low, other.high) == pytest.approx((-found.high, -found.low))
    wrong = paired_rate_difference(*pairs(d, b, c, a))  # right and wrong, and so the sides, change places
    assert (wrong.low, wrong.high) == pytest.approx((found.low, found.high))


def test_difference_of_paired_rates_covers_the_truth() -> None:
    """Its chance to hold the true difference, over every table that 10 pairs can give; a bootstrap's is far lower."""
    n, (both, first_only, second_only) = 10, (0.85, 0.1, 0.0)
    tables = [(a, b, c, n - a - b - c) for a in range(n + 1) for b in range(n + 1 - a) for c in range(n + 1 - a - b)]
    weights = stats.multinomial(n, [both, first_only, second_only, 1 - both - first_only - second_only]).pmf(tables)

    def coverage(interval: Callable[..., Interval]) -> float:
        held = 0.0
        for table, weight in zip(tables, weights, strict=True):
            if weight > 1e-9:
                found = interval(*pairs(*table))
                held += weight * (found.low <= first_only - second_only <= found.high)
        return held

    assert coverage(paired_rate_difference) > 0.95
    assert coverage(lambda a, b: paired_bootstrap(a, b, n=400)) < 0.75


def test_paired_rates_that_are_none_are_refused() -> None:
    for first, second in (([], []), ([True], [True, False]), ([0.5], [1.0])):
        with pytest.raises(InputError):
            paired_rate_difference(first, second)


def test_mcnemar_by_hand() -> None:
    first = [True] * 8 + [False] * 1 + [True] * 20 + [False] * 5
    second = [False] * 8 + [True] * 1 + [True] * 20 + [False] * 5
    found = mcnemar(first, second)
    assert (found.first_only, found.second_only) == (8, 1)
    assert found.p_value == pytest.approx(2 * (1 + 9) / 2**9)  # two-sided binomial of 1 or fewer in 9
    assert mcnemar(second, first).p_value == pytest.approx(found.p_value)
    assert mcnemar(first, first).p_value == 1.0
    with pytest.raises(InputError):
        mcnemar([0, 2], [0, 1])
    with pytest.raises(InputError):
        mcnemar([True], [True, False])


def test_a_rank_counts_what_is_below_and_what_is_the_same() -> None:
    assert rank_among(2.0, [1.0, 2.0, 3.0, 4.0]) == Rank(1, 1, 4)
    assert rank_among(0.0, [1.0, 2.0]) == Rank(0, 0, 2)
    assert rank_among(9.0, [1.0, 2.0]) == Rank(2, 0, 2)
    assert rank_among(1.0, [1.0, 1.0 + 1e-7, 2.0]) == Rank(0, 2, 3)
    with pytest.raises(InputError):
        rank_among(math.nan, [1.0])
    with pytest.raises(InputError):
        rank_among(1.0, [])


# -- several tests --------------------------------------------------------------------------


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])
    with pytest.raises(InputError):
        holm([1.2])


@STEADY
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0.001, 0.2))
def test_holm_rejects_step_by_step(p_values: list[float], alpha: float) -> None:
    adjusted = holm(p_values)
    assert (adjusted >= np.array(p_values)).all() and (adjusted <= 1).all()
    rejected = set()
    for step, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[i] * (len(p_values) - step) > alpha:
            break
        rejected.add(i)
    assert {i for i, p in enumerate(adjusted) if p <= alpha} == rejected


# -- AUC ------------------------------------------------------------------------------------


def scored(seed: int, n: int, ties: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4
    truth[:2], truth[2:4] = True, False
    common = rng.normal(size=n) + truth
    first, second = common + rng.normal(size=n), common + 2 * rng.normal(size=n)
    return (truth, first.round(0), second.round(0)) if ties else (truth, first, second)


def pairwise_wins(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(positives, negatives): 1 where the positive scores higher, 0.5 where they tie; its mean is the AUC."""
    gap = scores[truth][:, None] - scores[~truth][None, :]
    return (gap > 0) + 0.5 * (gap == 0)


@settings(STEADY, max_examples=40)
@given(st.integers(0, 10_000), st.integers(5, 60), st.booleans())
def test_auc_equals_scikit_learn(seed: int, n: int, ties: bool) -> None:
    truth, first, second = scored(seed, n, ties)
    compared = compare_aucs(truth, first, second)
    assert auc_interval(truth, first).estimate == pytest.approx(roc_auc_score(truth, first), abs=1e-12)
    assert compared.second.estimate == pytest.approx(roc_auc_score(truth, second), abs=1e-12)
    alone = auc_interval(truth, first)
    assert (compared.first.low, compared.first.high) == pytest.approx((alone.low, alone.high), nan_ok=True)
    assert compared.difference.estimate == pytest.approx(compared.first.estimate - compared.second.estimate)


@pytest.mark.parametrize("ties", [False, True])
def test_delong_intervals_agree_with_a_stratified_bootstrap(ties: bool) -> None:
    truth, first, second = scored(11, 400, ties)
    rng = np.random.default_rng(0)
    wins = [pairwise_wins(truth, scores) for scores in (first, second)]
    n_positive, n_negative = wins[0].shape
    draws = []
    for _ in range(2000):
        rows = np.ix_(rng.choice(n_positive, n_positive), rng.choice(n_negative, n_negative))
        draws.append([won[rows].mean() for won in wins])
    areas = np.array(draws)
    compared = compare_aucs(truth, first, second)
    for interval, samples in [
        (compared.first, areas[:, 0]),
        (compared.second, areas[:, 1]),
        (compared.difference, areas[:, 0] - areas[:, 1]),
    ]:
        assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(samples, [0.025, 0.975])), abs=0.008)
        assert (interval.high - interval.low) == pytest.approx(2 * 1.96 * samples.std(), rel=0.08)
    # pairing matters: the scores share most of their noise
    apart = math.hypot(compared.first.high - compared.first.low, compared.second.high - compared.second.low)
    assert compared.difference.high - compared.difference.low < 0.9 * apart


@pytest.mark.parametrize("ties", [False, True])
def test_delong_variance_by_its_definition(ties: bool) -> None:
    """Structural components by comparing every positive with every negative."""
    truth, first, second = scored(5, 23, ties)

    def components(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        wins = pairwise_wins(truth, scores)
        return wins.mean(axis=1), wins.mean(axis=0)

    (a_pos, a_neg), (b_pos, b_neg) = components(first), components(second)
    variance = np.var(a_pos - b_pos, ddof=1) / truth.sum() + np.var(a_neg - b_neg, ddof=1) / (~truth).sum()
    compared = compare_aucs(truth, first, second)
    assert compared.difference.high - compared.difference.estimate == pytest.approx(1.959963985 * math.sqrt(variance))
    z = compared.difference.estimate / math.sqrt(variance)
    assert compared.p_value == pytest.approx(math.erfc(abs(z) / math.sqrt(2)))


def test_delong_p_values_are_uniform_where_nothing_differs() -> None:
    rng = np.random.default_rng(4)
    small = 0
    for _ in range(400):
        truth = np.arange(120) < 50
        signal = rng.normal(size=120) + truth
        small += compare_aucs(truth, signal + rng.normal(size=120), signal + rng.normal(size=120)).p_value < 0.1
    assert 20 <= small <= 62  # 40 expected


def test_degenerate_aucs() -> None:
    perfect = auc_interval([0, 0, 1, 1], [1, 2, 3, 4])
    assert (perfect.estimate, perfect.low, perfect.high) == (1.0, 1.0, 1.0)
    lone = auc_interval([0, 0, 1], [1, 3, 2])
    assert lone.estimate == 0.5 and not lone.bounded
    scores = np.random.default_rng(0).normal(size=40)
    truth = np.tile([0, 1], 20)
    same = compare_aucs(truth, scores, np.exp(scores))  # ranks alike
    assert same.p_value == 1.0 and same.difference.low == pytest.approx(0, abs=1e-6)
    opposite = compare_aucs([0, 0, 1, 1], [1, 2, 3, 4], [4, 3, 2, 1])
    assert opposite.difference.estimate == 1.0 and math.isnan(opposite.p_value)
    assert math.isnan(compare_aucs([0, 0, 1], [1, 3, 2], [1, 2, 3]).p_value)


def test_auc_of_labels_it_cannot_use() -> None:
    for truth, scores in [([1, 1], [0.1, 0.2]), ([0, 2], [0.1, 0.2]), ([0, 1, 1], [0.1, 0.2]), ([0, 1], [math.nan, 1])]:
        with pytest.raises(InputError):
            auc_interval(truth, scores)


def test_auc_does_not_depend_on_the_order_of_items() -> None:
    truth, scores, _ = scored(8, 50, True)
    order = np.random.default_rng(0).permutation(50)
    shuffled, straight = auc_interval(truth[order], scores[order]), auc_interval(truth, scores)
    assert (shuffled.low, shuffled.high) == pytest.approx((straight.low, straight.high))
