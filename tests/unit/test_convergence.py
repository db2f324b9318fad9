"""Convergence with the number of samples, and intervals of differences of entropies."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isi_core.domain.answer import Answer
from isi_core.domain.errors import InputError
from isi_core.measures.answer_groups import ComparedAnswers, Grouping
from isi_core.measures.convergence import convergence, verdict
from isi_core.measures.statistics import half_sample_difference


def drawn(meanings: list[int] | np.ndarray) -> ComparedAnswers:
    """Answers of known meanings, all equally likely."""
    ids = np.asarray(meanings)
    same = ids[:, None] == ids
    return ComparedAnswers(
        tuple(Answer(f"meaning {k}") for k in ids), np.where(same, 2, 0).astype(np.int64), same.astype(float)
    )


def entropy_of(meanings: np.ndarray, k: int):
    """Discrete entropies of subsets."""

    def of(subsets: np.ndarray) -> np.ndarray:
        p = (meanings[subsets][..., None] == np.arange(k)).mean(axis=1)
        return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)

    return of


def test_the_last_step_is_all_answers_and_smaller_ones_scatter() -> None:
    answers = drawn(np.random.default_rng(1).integers(0, 3, 50))
    steps = convergence(answers, Grouping())
    assert [s.n for s in steps][:3] == [2, 3, 4] and steps[-1].n == 50 and 10 in [s.n for s in steps]
    whole = steps[-1]
    assert whole.mean == whole.low == whole.high and whole.close == 1.0
    means = [s.mean for s in steps]
    assert means == sorted(means)  # more answers never show less on average: the estimate rises from below
    widths = {s.n: s.high - s.low for s in steps}
    assert widths[5] > widths[20] > widths[40] > 0
    assert convergence(answers, Grouping()) == steps


def test_subsets_never_hold_an_answer_twice() -> None:
    # With every answer of a meaning of its own, a repeat would show as an entropy below ln n.
    for step in convergence(drawn(list(range(20))), Grouping()):
        assert step.low == pytest.approx(math.log(step.n)) and step.high == pytest.approx(math.log(step.n))


def test_clusters_by_hand_stay_in_subsets() -> None:
    steps = convergence(drawn(list(range(12))), Grouping(), ids=[0] * 12)
    assert all(s.high == pytest.approx(0.0, abs=1e-12) for s in steps)


def test_subsets_are_clustered_anew() -> None:
    # 0 and 1 are alike only through 2: without it they are two meanings.
    implications = np.array([[2, 0, 2], [0, 2, 2], [2, 2, 2]])
    answers = ComparedAnswers(tuple(Answer(t) for t in "abc"), implications, (implications == 2).astype(float))
    steps = convergence(answers, Grouping(assignment="components"))
    assert steps[-1].mean == 0.0 and steps[0].high == pytest.approx(math.log(2))


def test_verdicts_in_words() -> None:
    sure = verdict(convergence(drawn([0] * 50), Grouping()))
    assert sure.startswith("Yes, 10 samples are enough here")
    unsure = verdict(convergence(drawn(list(range(50))), Grouping()))
    assert unsure.startswith("No, 10 samples are not enough here") and "more than 25" in unsure
    # A hub that is like all others joins them when it comes first: subsets without it show more meanings.
    implications = np.zeros((50, 50), dtype=np.int64)
    implications[0] = implications[:, 0] = 2
    np.fill_diagonal(implications, 2)
    hub = ComparedAnswers(drawn([0] * 50).samples, implications, (implications == 2).astype(float))
    assert "Subsets show more than all 50" in verdict(convergence(hub, Grouping()))
    assert "more than 25 would be needed" in verdict(convergence(hub, Grouping()))
    assert verdict(convergence(drawn([0, 1] * 5), Grouping())).startswith("10 answers cannot say")
    assert "too few" in verdict(convergence(drawn([0, 1] * 10), Grouping()))
    assert "too few" in verdict([])


def test_half_samples_cover_the_truth_where_a_bootstrap_does_not() -> None:
    rng = np.random.default_rng(0)
    first, second = np.full(6, 1 / 6), np.array([0.7, 0.2, 0.1])
    truth = -(first * np.log(first)).sum() + (second * np.log(second)).sum()
    rounds, size = 150, 20
    covered = plain = 0
    for seed in range(rounds):
        a, b = rng.choice(6, size, p=first), rng.choice(3, size, p=second)
        interval = half_sample_difference(entropy_of(a, 6), size, entropy_of(b, 3), size, n=300, seed=seed)
        covered += interval.low <= truth <= interval.high
        with_repeats = [entropy_of(x, 6)(rng.integers(0, size, (300, size))) for x in (a, b)]
        low, high = np.quantile(with_repeats[0] - with_repeats[1], [0.025, 0.975])
        plain += low <= truth <= high
    assert covered / rounds >= 0.9
    assert plain < covered


def test_half_samples_by_hand() -> None:
    a, b = np.array([0, 0, 1, 1, 2]), np.zeros(4, dtype=int)
    found = half_sample_difference(entropy_of(a, 3), 5, entropy_of(b, 3), 4)
    whole = entropy_of(a, 3)(np.arange(5)[None])[0]
    assert found.estimate == pytest.approx(whole) and found.n == 9
    assert found.estimate - found.low == pytest.approx(found.high - found.estimate)
    # Of the 10 pairs of five answers 2 agree: entropies 0 and ln 2; 2 of 3 for the uneven half.
    spread = math.log(2) * math.sqrt(0.2 * 0.8) * math.sqrt(2 / 3)
    assert found.high - found.estimate == pytest.approx(1.96 * spread, rel=0.05)
    assert half_sample_difference(entropy_of(a, 3), 5, entropy_of(b, 3), 4) == found
    same = half_sample_difference(entropy_of(b, 1), 4, entropy_of(b, 1), 4)
    assert (same.low, same.high) == (0.0, 0.0)


def test_too_few_for_bounds() -> None:
    few = half_sample_difference(entropy_of(np.array([0, 1, 1]), 2), 3, entropy_of(np.zeros(9, int), 2), 9)
    assert not few.bounded and few.estimate > 0
    with pytest.raises(InputError):
        half_sample_difference(entropy_of(np.array([0]), 1), 0, entropy_of(np.array([0]), 1), 1)
