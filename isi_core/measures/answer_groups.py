"""Sampled answers with what is known of how they imply each other, and their clusters under choices that need no model.

All entropies in nats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isi_core.domain.answer import Answer
from isi_core.domain.errors import InputError
from isi_core.domain.uncertainty import LikelihoodKind, Rule, Uncertainty, UncertaintySettings
from isi_core.measures.clustering import Assignment, cluster
from isi_core.measures.semantic_entropy import (
    answer_log_likelihoods,
    answer_weights,
    cluster_assignment_entropy,
    cluster_probabilities,
    entropy,
    predictive_entropy,
    rao_entropy,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Grouping:
    """Every choice that shapes clusters and entropies without asking a model.

    Attributes
    ----------
    rule, assignment : see `measures.clustering`.
    likelihood : after temperature and top-k (`sampling`), or the model's own.
    normalized : an answer's log-likelihood is the mean over its tokens, not their sum.
    """

    rule: Rule = "loose"
    assignment: Assignment = "last wins"
    likelihood: LikelihoodKind = "sampling"
    normalized: bool = True


@dataclass(frozen=True, eq=False)
class ComparedAnswers:
    """n sampled answers and their comparison by an entailment model.

    Attributes
    ----------
    implications : (n, n) of 0 contradiction, 1 neutral, 2 entailment; row implies column.
    entailment_probabilities : (n, n) probability that row entails column.
    """

    samples: tuple[Answer, ...]
    implications: Ints
    entailment_probabilities: Floats

    def __post_init__(self) -> None:
        n = len(self.samples)
        if not n:
            raise InputError("There are no answers to compare: ask for at least one sample.")
        if self.implications.shape != (n, n) or self.entailment_probabilities.shape != (n, n):
            raise InputError(f"{n} answers need a comparison of {n} rows and columns: compare them again.")

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def texts(self) -> list[str]:
        """The answers' words."""
        return [answer.text for answer in self.samples]

    @classmethod
    def of(cls, uncertainty: Uncertainty) -> ComparedAnswers:
        """What a measured uncertainty knows of its answers."""
        return cls(
            uncertainty.samples,
            np.asarray(uncertainty.implications, dtype=np.int64),
            np.asarray(uncertainty.entailment_probabilities, dtype=float),
        )

    def subset(self, indices: Sequence[int] | Ints) -> ComparedAnswers:
        """Some of the answers, in the order of `indices`."""
        chosen = np.asarray(indices, dtype=np.int64)
        square = np.ix_(chosen, chosen)
        return ComparedAnswers(
            tuple(self.samples[i] for i in chosen), self.implications[square], self.entailment_probabilities[square]
        )


@dataclass(frozen=True, eq=False)
class Groups:
    """Clusters of answers and what they weigh.

    Attributes
    ----------
    ids : (n,) cluster of each answer.
    log_likelihoods : (n,) of each answer, in nats (per token where normalized); zeros where not available.
    probabilities : (k,) of each cluster by likelihood; sums to one.
    available : False where counts had to stand in for likelihoods.
    """

    ids: tuple[int, ...]
    log_likelihoods: Floats
    probabilities: Floats
    available: bool

    @property
    def shares(self) -> Floats:
        """(k,) share of the answers in each cluster; sums to one."""
        return np.bincount(self.ids) / len(self.ids)

    @property
    def semantic_entropy(self) -> float:
        """-sum p log p over the clusters' probabilities."""
        return entropy(self.probabilities)


def group(answers: ComparedAnswers, grouping: Grouping, ids: Sequence[int] | None = None) -> Groups:
    """Cluster the answers; `ids` are clusters set by hand instead, numbered 0 … k - 1."""
    chosen = tuple(ids) if ids is not None else cluster(answers.implications, grouping.rule, grouping.assignment)
    if len(chosen) != len(answers):
        raise InputError(f"{len(answers)} answers need as many cluster numbers, not {len(chosen)}.")
    log_likelihoods, available = answer_log_likelihoods(answers.samples, grouping.likelihood, grouping.normalized)
    return Groups(chosen, log_likelihoods, cluster_probabilities(log_likelihoods, chosen), available)


def entropies(groups: Groups) -> Callable[[Ints], Floats]:
    """Semantic entropy of subsets of the answers in the clusters of all: (b, m) indices to (b,) nats."""
    ids = np.asarray(groups.ids)
    k = int(ids.max()) + 1

    def of(subsets: Ints) -> Floats:
        values = groups.log_likelihoods[subsets]
        weights = np.exp(values - values.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        masses = np.zeros((len(subsets), k))
        np.add.at(masses, (np.arange(len(subsets))[:, None], ids[subsets]), weights)
        return np.array([entropy(row) for row in masses])

    return of


def as_uncertainty(answers: ComparedAnswers, groups: Groups, settings: UncertaintySettings) -> Uncertainty:
    """The clusters as an `Uncertainty`, for charts and reports; `settings` say how they came about."""
    return Uncertainty(
        samples=answers.samples,
        implications=tuple(tuple(row) for row in answers.implications.tolist()),
        entailment_probabilities=tuple(tuple(row) for row in answers.entailment_probabilities.tolist()),
        semantic_ids=groups.ids,
        cluster_probabilities=tuple(groups.probabilities.tolist()),
        semantic_entropy=groups.semantic_entropy,
        cluster_assignment_entropy=cluster_assignment_entropy(groups.ids),
        predictive_entropy=predictive_entropy(groups.log_likelihoods) if groups.available else float("nan"),
        rao_entropy=rao_entropy(answers.entailment_probabilities, answer_weights(groups.log_likelihoods)),
        settings=settings,
        likelihoods_available=groups.available,
    )
