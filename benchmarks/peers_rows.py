"""What `benchmarks.peers` holds beside the peers: cases, our measures of them, and why theirs differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isi_core.domain.answer import Answer
from isi_core.domain.uncertainty import Rule
from isi_core.measures.answer_groups import ComparedAnswers, Grouping, group
from isi_core.measures.clustering import Assignment, cluster
from isi_core.measures.entailment_graph import degree_uncertainty, eigenvalue_uncertainty
from isi_core.measures.lexical_similarity import lexical_similarity
from isi_core.measures.semantic_entropy import (
    answer_log_likelihoods,
    cluster_assignment_entropy,
    entropy,
    monte_carlo_entropy,
    predictive_entropy,
)
from isi_core.models.entailment.protocol import CONTRADICTION, ENTAILMENT

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Case:
    """Answers to one question.

    Attributes
    ----------
    log_likelihoods : of each answer's tokens, in nats.
    probabilities : (n, n, 3) of contradiction, neutral, entailment, row to column.
    """

    name: str
    texts: tuple[str, ...]
    log_likelihoods: tuple[tuple[float, ...], ...]
    probabilities: Floats

    def to_json(self) -> dict[str, Any]:
        """As the peers' script reads it."""
        likelihoods = [list(tokens) for tokens in self.log_likelihoods]
        return {
            "texts": list(self.texts),
            "log_likelihoods": likelihoods,
            "probabilities": self.probabilities.tolist(),
        }

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The answers as this project has them."""
        given = zip(self.texts, self.log_likelihoods, strict=True)
        return tuple(Answer(text, tuple(range(len(t))), ("",) * len(t), t, t) for text, t in given)

    @property
    def compared(self) -> ComparedAnswers:
        """The same with their implications."""
        return ComparedAnswers(
            self.answers, self.probabilities.argmax(axis=-1), np.ascontiguousarray(self.probabilities[..., ENTAILMENT])
        )

    @property
    def sums(self) -> Floats:
        """(n,) log-likelihood of each answer, summed over its tokens."""
        return np.array([sum(tokens) for tokens in self.log_likelihoods])

    @property
    def strict(self) -> tuple[int, ...]:
        """Clusters by both directions' entailment, the first cluster wins: lm-polygraph's rule."""
        return cluster(self.compared.implications, "strict", "first wins")


Measure = Callable[[Case], float]


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes
    ----------
    ours : this project's measure of a case.
    key : the peer's result.
    theirs : reads it as a number.
    cause : the peer's value from this project's own parts, once the stated cause is taken into account.
    """

    measure: str
    peer: str
    ours: Measure
    key: str
    cause: Measure
    why: str
    theirs: Callable[[Any], float] = float


def grouped(case: Case, assignment: Assignment = "last wins", rule: Rule = "loose") -> tuple[int, ...]:
    return cluster(case.compared.implications, rule, assignment)


def _discrete(case: Case) -> float:
    return cluster_assignment_entropy(case.strict)


def _semantic_entropy(case: Case, ids: Sequence[int]) -> float:
    return group(case.compared, Grouping(), ids).semantic_entropy


def _monte_carlo(case: Case) -> float:
    groups = group(case.compared, Grouping(normalized=False), case.strict)
    return monte_carlo_entropy(groups.probabilities, groups.ids)


def _total(case: Case) -> float:
    """Log of all answers' likelihoods together, each drawn one counted: what normalizing divides by."""
    return float(np.logaddexp.reduce(case.sums))


def _direct(case: Case) -> float:
    """-sum over answers of m log m, m the unnormalized mass of the answer's cluster."""
    mass = [float(np.logaddexp.reduce(case.sums[np.array(case.strict) == k])) for k in case.strict]
    return -float(sum(m * math.exp(m) for m in mass))


def _threshold_sets(case: Case) -> float:
    """Connected components where entailment is likelier than contradiction both ways."""
    likelier = case.probabilities[..., ENTAILMENT] > case.probabilities[..., CONTRADICTION]
    return float(len(set(cluster(np.where(likelier & likelier.T, 2, 0), "strict", "components"))))


def _eigenvalues(case: Case) -> float:
    """`eigenvalue_uncertainty` with the model's word on whether an answer entails itself."""
    entails = case.compared.entailment_probabilities
    weights = (entails + entails.T) / 2
    scale = 1 / np.sqrt(weights.sum(axis=1))
    return float(np.maximum(np.linalg.eigvalsh(scale[:, None] * weights * scale), 0).sum())


def either_way(case: Case) -> list[list[int]]:
    """uqlm's clusters: an answer joins *every* cluster whose first answer it entails or is entailed by."""
    implies = case.probabilities.argmax(axis=-1) == ENTAILMENT
    clusters: list[list[int]] = []
    for i, text in enumerate(case.texts):
        joined = False
        for members in clusters:
            first = members[0]
            if text == case.texts[first] or implies[i, first] or implies[first, i]:
                members.append(i)
                joined = True
        if not joined:
            clusters.append([i])
    return clusters


def _overlapping(case: Case, weights: Floats) -> float:
    masses = np.array([weights[members].sum() for members in either_way(case)])
    return entropy(masses / masses.sum())


def _means(case: Case) -> Floats:
    return answer_log_likelihoods(case.answers, "model")[0]


def _uqlm_discrete(case: Case) -> float:
    return _overlapping(case, np.ones(len(case.texts)))


ROWS = (
    Row(
        "Semantic sets, by our default (loose, last wins)",
        "lm-polygraph, SemanticClasses",
        lambda case: float(len(set(grouped(case)))),
        "polygraph_ids",
        lambda case: float(len(set(case.strict))),
        "rule: theirs is strict, and an answer stays in the first cluster that takes it",
        lambda ids: float(len(set(ids))),
    ),
    Row(
        "Discrete semantic entropy, strict, first wins (nats)",
        "lm-polygraph, SemanticEntropyEmpirical",
        _discrete,
        "polygraph_frequency",
        _discrete,
        "the same",
    ),
    Row(
        "Semantic entropy, Monte-Carlo form, sums of log-likelihoods (nats)",
        "lm-polygraph, SemanticEntropy (mean)",
        _monte_carlo,
        "polygraph_mean",
        lambda case: _monte_carlo(case) - _total(case),
        "theirs leaves the clusters' masses unnormalized: ours less the log of their sum, below 0 when samples repeat",
    ),
    Row(
        "Semantic entropy, likelihood-weighted, sums (nats)",
        "lm-polygraph, SemanticEntropy (direct)",
        lambda case: group(case.compared, Grouping(normalized=False), case.strict).semantic_entropy,
        "polygraph_direct",
        _direct,
        "theirs sums over answers, not clusters, and over unnormalized masses",
    ),
    Row(
        "Predictive entropy, plain (nats)",
        "lm-polygraph, MonteCarloSequenceEntropy",
        lambda case: predictive_entropy(case.sums),
        "polygraph_sequence",
        lambda case: predictive_entropy(case.sums),
        "the same",
    ),
    Row(
        "Predictive entropy, length-normalized (nats per token)",
        "lm-polygraph, MonteCarloNormalizedSequenceEntropy",
        lambda case: predictive_entropy(_means(case)),
        "polygraph_normalized",
        lambda case: predictive_entropy(_means(case)),
        "the same",
    ),
    Row(
        "Semantic sets, strict, connected components",
        "lm-polygraph, NumSemSets",
        lambda case: float(len(set(grouped(case, "components", "strict")))),
        "polygraph_sets",
        _threshold_sets,
        "theirs joins where entailment is likelier than contradiction both ways, even if neutral is likelier still",
    ),
    Row(
        "Eigenvalues of the entailment graph",
        "lm-polygraph, EigValLaplacian",
        lambda case: eigenvalue_uncertainty(case.compared.entailment_probabilities),
        "polygraph_eigenvalue",
        _eigenvalues,
        "theirs asks the model whether an answer entails itself, which is certain here",
    ),
    Row(
        "Degree of the entailment graph",
        "lm-polygraph, DegMat",
        lambda case: degree_uncertainty(case.compared.entailment_probabilities),
        "polygraph_degree",
        lambda case: 1 - float(case.compared.entailment_probabilities.mean()),
        "theirs asks the model whether an answer entails itself, which is certain here",
    ),
    Row(
        "Lexical similarity, ROUGE-L F1",
        "lm-polygraph, LexicalSimilarity",
        lambda case: lexical_similarity(case.texts),
        "polygraph_lexical",
        lambda case: -lexical_similarity(case.texts),
        "sign: theirs is minus the similarity; what is left is their stemming of words",
    ),
    Row(
        "Semantic sets, strict, first wins",
        "uqlm, SemanticClusterer",
        lambda case: float(len(set(case.strict))),
        "uqlm_clusters",
        lambda case: float(len(either_way(case))),
        "entailment one way is enough for theirs",
        lambda clusters: float(len(clusters)),
    ),
    Row(
        "Answers counted, over all sets",
        "uqlm, SemanticClusterer",
        lambda case: float(len(case.texts)),
        "uqlm_clusters",
        lambda case: float(sum(map(len, either_way(case)))),
        "an answer may be in several of their clusters and counts in each",
        lambda clusters: float(sum(map(len, clusters))),
    ),
    Row(
        "Discrete semantic entropy, strict, first wins (nats)",
        "uqlm, discrete",
        _discrete,
        "uqlm_discrete",
        _uqlm_discrete,
        "their clusters",
    ),
    Row(
        "Semantic entropy, likelihood-weighted, length-normalized (nats)",
        "uqlm, tokenprob",
        lambda case: _semantic_entropy(case, case.strict),
        "uqlm_tokenprob",
        lambda case: _overlapping(case, np.exp(_means(case))),
        "their clusters; the same length-normalized weights",
    ),
    Row(
        "Discrete semantic entropy, strict, first wins (nats)",
        "uqlm, confidence",
        _discrete,
        "uqlm_confidence",
        lambda case: 1 - _uqlm_discrete(case) / math.log(len(case.texts)),
        "opposite direction and scale: theirs is 1 less the entropy over log n, high where sure",
    ),
)


def made_by_hand() -> list[Case]:
    """Cases on which the rules part."""
    same, unlike, entails = [0.02, 0.03, 0.95], [0.95, 0.03, 0.02], [0.1, 0.2, 0.7]
    neutral, leaning = [0.05, 0.9, 0.05], [0.1, 0.6, 0.3]
    texts = ("A red car.", "A blue boat.", "Something red or blue.")
    tokens = ((-0.2, -0.1, -0.3), (-0.5, -0.4, -0.2), (-0.9, -0.7, -0.2, -0.1))

    def case(name: str, table: list[list[list[float]]]) -> Case:
        return Case(name, texts, tokens, np.array(table))

    return [
        case(
            "0 like 2, 1 like 2, 0 unlike 1",
            [[same, unlike, entails], [unlike, same, entails], [entails, entails, same]],
        ),
        case(
            "2 entailed by 0 and by 1, neutral back",
            [[same, unlike, entails], [unlike, same, entails], [neutral, neutral, same]],
        ),
        case(
            "neutral, but entailment likelier than contradiction",
            [[same, leaning, unlike], [leaning, same, unlike], [unlike, unlike, same]],
        ),
        Case("one likely answer, ten times", ("Yes.",) * 10, ((-0.05, -0.01),) * 10, np.array([[same] * 10] * 10)),
    ]
