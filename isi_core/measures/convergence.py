"""How semantic entropy settles as more answers are sampled, from subsets of the answers there are.

Subsets are drawn without repeats: an answer that comes twice always agrees with itself, so that resampling with
repeats makes every subset look surer than it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isi_core.measures.answer_groups import ComparedAnswers, Floats, Grouping, Ints, entropies, group
from isi_core.measures.clustering import cluster
from isi_core.measures.semantic_entropy import cluster_probabilities, entropy

SUBSETS = 200
BAND = 0.9
TOLERANCE = 0.2
"""Nats within which an entropy counts as the same; one against two equally likely meanings differ by 0.69."""
ENOUGH_TO_JUDGE = 30
"""Answers below which the subsets are too much the whole to say anything about more answers."""


@dataclass(frozen=True)
class Step:
    """Semantic entropy (nats) of subsets of `n` answers: mean, 90 % band, and the share of subsets that are close.

    Attributes
    ----------
    close : share of subsets whose entropy lies within `TOLERANCE` of that of all answers.
    """

    n: int
    mean: float
    low: float
    high: float
    close: float


def convergence(
    answers: ComparedAnswers,
    grouping: Grouping,
    ids: Sequence[int] | None = None,
    subsets: int = SUBSETS,
    seed: int = 0,
) -> list[Step]:
    """One step for each subset size from 2 to all n answers; every subset is clustered anew.

    `ids` are clusters set by hand, which the subsets keep.
    """
    n = len(answers)
    whole = group(answers, grouping, ids).semantic_entropy
    rng = np.random.default_rng(seed)
    steps = []
    for size in _sizes(n):
        if size == n:
            values = np.array([whole])
        else:
            drawn = np.sort(rng.permuted(np.tile(np.arange(n), (subsets, 1)), axis=1)[:, :size], axis=1)
            values = _entropies(answers, grouping, ids, drawn)
        low, high = np.quantile(values, [(1 - BAND) / 2, (1 + BAND) / 2])
        close = float((np.abs(values - whole) <= TOLERANCE).mean())
        steps.append(Step(size, float(values.mean()), float(low), float(high), close))
    return steps


def verdict(steps: Sequence[Step], n: int = 10) -> str:
    """Whether `n` samples are enough, in words; sizes beyond half of the answers are not judged."""
    if not steps:
        return "There are too few answers to say."
    total = steps[-1].n
    if total <= n:
        return f"{total} answers cannot say whether {n} samples are enough: 50 can."
    if total < max(ENOUGH_TO_JUDGE, 2 * n):
        return (
            f"{total} answers are too few to say whether {n} samples are enough, since subsets of {n} are nearly all "
            "of them: 50 answers can."
        )
    at = min(steps, key=lambda s: abs(s.n - n))
    found = (
        f"of subsets of {at.n}, {at.close:.0%} come within {TOLERANCE:g} nats of what all {total} say "
        f"({steps[-1].mean:.3g} nats); on average they give {at.mean:.3g}, and nine in ten lie between "
        f"{at.low:.3g} and {at.high:.3g}"
    )
    judged = [s for s in steps if n <= s.n <= total // 2]
    if all(s.close >= BAND for s in judged):
        return f"Yes, {n} samples are enough here: {found}."
    last_far = max(s.n for s in judged if s.close < BAND)
    enough = next((s.n for s in judged if s.n > last_far), None)
    more = f"about {enough} would be" if enough is not None else f"more than {total // 2} would be needed"
    return f"No, {n} samples are not enough here: {found}; {more}.{_order_matters(steps)}"


def _order_matters(steps: Sequence[Step]) -> str:
    """A warning where subsets show more meanings than the whole, which no settling estimate does."""
    highest = max(s.mean for s in steps)
    if highest <= steps[-1].mean + TOLERANCE:
        return ""
    return (
        f" Subsets show more than all {steps[-1].n} do (up to {highest:.3g} on average): one answer that is like "
        "several others joins them, and under a greedy rule it depends on which comes first."
    )


def _sizes(n: int) -> list[int]:
    """Every size up to 12, then ever wider steps, and n itself; 10 is always among them where there are as many."""
    sizes = {s for s in (*range(2, 13), 15, 20, 25, 30, 40, 50, 65, 80, 100, 130, 160, 200, 300, 400, 500) if s <= n}
    return sorted(sizes | {n})


def _entropies(answers: ComparedAnswers, grouping: Grouping, ids: Sequence[int] | None, drawn: Ints) -> Floats:
    """(b,) entropies of (b, m) subsets."""
    whole = group(answers, grouping, ids)
    if ids is not None:
        return entropies(whole)(drawn)
    # Order and members decide a greedy rule's clusters: a subset's are not the whole's.
    return np.array([_entropy(answers, grouping, whole.log_likelihoods[row], row) for row in drawn])


def _entropy(answers: ComparedAnswers, grouping: Grouping, log_likelihoods: Floats, subset: Ints) -> float:
    clusters = cluster(answers.implications[np.ix_(subset, subset)], grouping.rule, grouping.assignment)
    return entropy(cluster_probabilities(log_likelihoods, clusters))
