"""Uncertainty: sampled answers, how they imply each other, their clusters and entropies."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from isi_core.domain.answer import Answer
from isi_core.domain.errors import InputError
from isi_core.domain.p_true import PTrue

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

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> UncertaintySettings:
        """The settings from `to_json`'s form.

        Raises
        ------
        InputError : the rule or the kind of likelihood is unknown.
        """
        if data["rule"] not in get_args(Rule) or data["likelihood"] not in get_args(LikelihoodKind):
            raise InputError(f"Unknown uncertainty settings {data['rule']!r}, {data['likelihood']!r}.")
        return cls(**data)


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
    all_compared : False where, of very many answers, only one of each meaning was compared with all;
        clusters are exact under the settings' rule, and for pairs that were not asked about
        (in the matrices and Rao's entropy) one of the same meaning stands in.
    settings : rule, likelihood kind, entailment model.
    p_true : what the model said when it was asked whether its main answer is true; None where it was not.
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
    all_compared: bool = True
    p_true: PTrue | None = None

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

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values; an entropy that is not known (NaN) is null."""
        predictive = self.predictive_entropy
        return {
            "samples": [answer.to_json() for answer in self.samples],
            "implications": [list(row) for row in self.implications],
            "entailment_probabilities": [list(row) for row in self.entailment_probabilities],
            "semantic_ids": list(self.semantic_ids),
            "cluster_probabilities": list(self.cluster_probabilities),
            "semantic_entropy": self.semantic_entropy,
            "cluster_assignment_entropy": self.cluster_assignment_entropy,
            "predictive_entropy": None if math.isnan(predictive) else predictive,
            "rao_entropy": self.rao_entropy,
            "likelihoods_available": self.likelihoods_available,
            "all_compared": self.all_compared,
            "settings": self.settings.to_json(),
            **({} if self.p_true is None else {"p_true": self.p_true.to_json()}),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Uncertainty:
        """The uncertainty from `to_json`'s form."""
        predictive = data["predictive_entropy"]
        return cls(
            samples=tuple(Answer.from_json(answer) for answer in data["samples"]),
            implications=tuple(tuple(int(n) for n in row) for row in data["implications"]),
            entailment_probabilities=tuple(tuple(float(p) for p in row) for row in data["entailment_probabilities"]),
            semantic_ids=tuple(int(n) for n in data["semantic_ids"]),
            cluster_probabilities=tuple(float(p) for p in data["cluster_probabilities"]),
            semantic_entropy=float(data["semantic_entropy"]),
            cluster_assignment_entropy=float(data["cluster_assignment_entropy"]),
            predictive_entropy=float("nan") if predictive is None else float(predictive),
            rao_entropy=float(data["rao_entropy"]),
            settings=UncertaintySettings.from_json(data["settings"]),
            likelihoods_available=bool(data["likelihoods_available"]),
            all_compared=bool(data.get("all_compared", True)),
            p_true=None if data.get("p_true") is None else PTrue.from_json(data["p_true"]),
        )
