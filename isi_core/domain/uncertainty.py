"""Uncertainty: sampled answers, how they imply each other, their clusters and entropies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from isi_core.domain.answer import Answer

Rule = Literal["loose", "strict"]
LikelihoodKind = Literal["sampling", "model"]


@dataclass(frozen=True)
class UncertaintySettings:
    """What shapes the measure beside the answers themselves.

    Attributes
    ----------
    rule : when two answers mean the same (see `measures.semantic_entropy`).
    likelihood : `sampling` = after temperature and top-k, as ISI and the Nature code
        publish; `model` = the model's own distribution.
    entailment_model : name of the entailment model.
    """

    rule: Rule = "loose"
    likelihood: LikelihoodKind = "sampling"
    entailment_model: str = "tiny-nli"


@dataclass(frozen=True)
class Uncertainty:
    """Semantic uncertainty of one trial. All entropies in nats.

    Attributes
    ----------
    samples : the n sampled answers.
    implications : (n, n) of 0 contradiction, 1 neutral, 2 entailment; row implies column.
    entailment_probabilities : (n, n) probability that row entails column.
    semantic_ids : (n,) cluster of each answer.
    cluster_probabilities : (k,) in order of cluster id; sums to one.
    semantic_entropy : -sum p log p over the clusters.
    cluster_assignment_entropy : the same with p = share of the answers (discrete).
    predictive_entropy : minus the mean of the answers' mean token log-likelihoods.
    rao_entropy : Rao's quadratic entropy, in [0, 1).
    likelihoods_available : False where cluster counts had to stand in for likelihoods.
    settings : rule, likelihood kind, entailment model.
    """

    samples: tuple[Answer, ...]
    implications: tuple[tuple[int, ...], ...]
    entailment_probabilities: tuple[tuple[float, ...], ...]
    semantic_ids: tuple[int, ...]
    cluster_probabilities: tuple[float, ...]
    semantic_entropy: float
    cluster_assignment_entropy: float
    predictive_entropy: float
    rao_entropy: float
    settings: UncertaintySettings
    likelihoods_available: bool = True

    @property
    def n_clusters(self) -> int:
        """Number of semantic clusters."""
        return len(self.cluster_probabilities)

    def cluster_answers(self, cluster: int) -> list[Answer]:
        """The answers of one cluster, in sampling order."""
        return [a for a, i in zip(self.samples, self.semantic_ids, strict=True) if i == cluster]

    def clusters_json(self) -> list[dict[str, Any]]:
        """One entry a cluster: id, probability, distinct answer texts with their counts."""
        result = []
        for cluster, probability in enumerate(self.cluster_probabilities):
            texts: dict[str, int] = {}
            for answer in self.cluster_answers(cluster):
                texts[answer.text] = texts.get(answer.text, 0) + 1
            result.append(
                {
                    "id": cluster,
                    "probability": probability,
                    "answers": [{"text": text, "count": count} for text, count in texts.items()],
                }
            )
        return result
