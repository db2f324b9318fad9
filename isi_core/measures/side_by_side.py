"""Every measure of the uncertainty of sampled answers, side by side, each with its unit, range and meaning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from isi_core.domain.p_true import PTrue
from isi_core.measures.answer_groups import ComparedAnswers, Grouping, Groups
from isi_core.measures.entailment_graph import degree_uncertainty, eigenvalue_uncertainty
from isi_core.measures.lexical_similarity import lexical_similarity
from isi_core.measures.semantic_entropy import (
    answer_log_likelihoods,
    answer_weights,
    cluster_assignment_entropy,
    monte_carlo_entropy,
    predictive_entropy,
    rao_entropy,
)


@dataclass(frozen=True)
class MeasureRow:
    """One measure of one set of answers.

    Attributes
    ----------
    value : NaN where it was not measured; `meaning` then says why.
    low, high : its range; `high` is infinite where there is no bound.
    unsure : which end an unsure model is at.
    source : where it was published.
    """

    key: str
    name: str
    value: float
    unit: str
    low: float
    high: float
    unsure: Literal["high", "low"]
    meaning: str
    source: str

    @property
    def measured(self) -> bool:
        """Whether there is a value."""
        return not math.isnan(self.value)


_NOT_ASKED = "Not measured: the model has not been asked whether its answer is true."
_LITTLE = 0.5  # of the probability: with less on A and B together, a reply does not take the question's form


def side_by_side(
    answers: ComparedAnswers,
    groups: Groups,
    grouping: Grouping,
    p_true: PTrue | None = None,
    why_not: str = _NOT_ASKED,
) -> list[MeasureRow]:
    """Every measure, in the order in which a page shows them; `why_not` says why there is no p(True)."""
    n = len(answers)
    most = math.log(n)
    kind = grouping.likelihood
    means, available = answer_log_likelihoods(answers.samples, kind, normalized=True)
    sums, _ = answer_log_likelihoods(answers.samples, kind, normalized=False)
    weights = answer_weights(groups.log_likelihoods)
    entails = answers.entailment_probabilities
    weighed = "by likelihood" if groups.available else "by count (there are no likelihoods)"
    no_likelihoods = "Not measured: these answers come without likelihoods."
    nan, inf = float("nan"), float("inf")
    return [
        MeasureRow(
            "semantic_entropy",
            "Semantic entropy",
            groups.semantic_entropy,
            "nats",
            0.0,
            most,
            "high",
            f"How spread the answers are over meanings, each weighed {weighed}; 0 is one meaning.",
            "Farquhar et al. 2024; ISI",
        ),
        MeasureRow(
            "semantic_entropy_monte_carlo",
            "Semantic entropy, Monte-Carlo form",
            monte_carlo_entropy(groups.probabilities, groups.ids),
            "nats",
            0.0,
            inf,
            "high",
            "Mean surprise at the meaning of an answer as it was drawn; never below the discrete form.",
            "Kuhn et al. 2023, eq. 4",
        ),
        MeasureRow(
            "discrete_semantic_entropy",
            "Discrete semantic entropy",
            cluster_assignment_entropy(groups.ids),
            "nats",
            0.0,
            most,
            "high",
            "The same spread from counting answers alone (cluster assignment); works where likelihoods are missing.",
            "Farquhar et al. 2024",
        ),
        MeasureRow(
            "rao_entropy",
            "Rao's quadratic entropy",
            rao_entropy(entails, weights),
            "",
            0.0,
            1 - 1 / n,
            "high",
            "Expected difference in meaning of two answers, by degrees of entailment instead of clusters.",
            "Rao 1982",
        ),
        MeasureRow(
            "n_clusters",
            "Number of semantic sets",
            float(len(groups.probabilities)),
            "sets",
            1.0,
            float(n),
            "high",
            "How many meanings the answers have, however rare.",
            "Kuhn et al. 2023; Lin et al. 2024",
        ),
        MeasureRow(
            "eigenvalue_uncertainty",
            "Eigenvalues of the entailment graph",
            eigenvalue_uncertainty(entails),
            "sets",
            1.0,
            float(n),
            "high",
            "A number of meanings that need not be whole: half-alike answers count in part.",
            "Lin et al. 2024, U_EigV",
        ),
        MeasureRow(
            "degree_uncertainty",
            "Degree of the entailment graph",
            degree_uncertainty(entails),
            "",
            0.0,
            1 - 1 / n,
            "high",
            "Mean difference in meaning of two answers, each answer weighing the same.",
            "Lin et al. 2024, U_Deg",
        ),
        MeasureRow(
            "predictive_entropy",
            "Predictive entropy, plain",
            predictive_entropy(sums) if available else nan,
            "nats",
            0.0,
            inf,
            "high",
            "Mean surprise at an answer's words, summed over its tokens: long answers score high."
            if available
            else no_likelihoods,
            "Malinin & Gales 2021",
        ),
        MeasureRow(
            "predictive_entropy_normalized",
            "Predictive entropy, length-normalized",
            predictive_entropy(means) if available else nan,
            "nats per token",
            0.0,
            inf,
            "high",
            "The same per token; paraphrases count as uncertainty, whatever they mean."
            if available
            else no_likelihoods,
            "Malinin & Gales 2021; ISI",
        ),
        MeasureRow(
            "lexical_similarity",
            "Lexical similarity",
            lexical_similarity(answers.texts),
            "",
            0.0,
            1.0,
            "low",
            "Mean ROUGE-L F1 of the n(n−1)/2 pairs of answers: shared words in order; repeats are pairs too."
            if n > 1
            else "Not measured: it needs two answers.",
            "Lin 2004; Kuhn et al. 2023",
        ),
        MeasureRow(
            "p_true",
            "p(True)",
            nan if p_true is None else p_true.p_true,
            "",
            0.0,
            1.0,
            "low",
            why_not if p_true is None else _p_true_meaning(p_true),
            "Kadavath et al. 2022; Farquhar et al. 2024",
        ),
    ]


def _p_true_meaning(found: PTrue) -> str:
    """What the number says; of the model's words none is repeated here."""
    examples = f"after {found.shots} solved examples" if found.shots else "without examples"
    words = (
        f"Probability that the model, shown its {found.n_answers} answers, calls its main one true ({examples}); "
        f"between “true” and “false” alone it is {found.between:.3g}."
    )
    both = found.p_true + found.p_false
    if both < _LITTLE:
        words += f" Both together have {both:.3g}: this model hardly replies in this form, so read it with care."
    return words
