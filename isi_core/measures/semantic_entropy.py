"""Semantic entropy: how much sampled answers differ in meaning. All entropies in nats.

Farquhar, Kossen, Kuhn & Gal, "Detecting hallucinations in large language models using
semantic entropy", Nature 630 (2024). An answer's log-likelihood is the mean of its token
log-likelihoods (length-normalized); answers that imply each other share a cluster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr, softmax

from isi_core.domain.answer import Answer
from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.progress import Progress
from isi_core.domain.uncertainty import LikelihoodKind, Rule, Uncertainty, UncertaintySettings
from isi_core.measures.clustering import RULES, cluster
from isi_core.measures.representatives import MANY, representative_probabilities
from isi_core.models.entailment.protocol import CLASSES, ENTAILMENT, EntailmentModel, told_question

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def answer_weights(log_likelihoods: ArrayLike) -> Floats:
    """(n,) exp of the answers' log-likelihoods, normalized to sum to one."""
    weights: Floats = softmax(np.asarray(log_likelihoods, dtype=float))
    return weights


def cluster_probabilities(log_likelihoods: ArrayLike, ids: Sequence[int]) -> Floats:
    """(k,) probability of each cluster: the sum of its answers' normalized weights."""
    sums: Floats = np.bincount(np.asarray(ids), weights=answer_weights(log_likelihoods)).astype(float)
    return sums


def entropy(probabilities: ArrayLike) -> float:
    """-sum p log p in nats, with 0 log 0 = 0; what is below 1e-12 is rounding, and 0."""
    # A lone cluster's probability may round to just above or below one: its entropy is 0, not 1e-16.
    found = float(entr(np.asarray(probabilities, dtype=float)).sum())
    return found if found >= 1e-12 else 0.0


def cluster_assignment_entropy(ids: Sequence[int]) -> float:
    """Entropy of the clusters' shares of the answers, likelihoods left out (discrete semantic entropy)."""
    return entropy(np.bincount(np.asarray(ids)) / len(ids))


def monte_carlo_entropy(probabilities: ArrayLike, ids: Sequence[int]) -> float:
    """-1/n sum_i log P(C(s_i)) in nats: the mean surprise at the meaning of each of the n answers.

    The Monte-Carlo form of semantic entropy (Kuhn, Gal & Farquhar, "Semantic Uncertainty", ICLR 2023, eq. 4, as an
    average over the samples). `probabilities` (k,) sum to one, where peers leave them unnormalized and can fall below
    zero; so it is at least `cluster_assignment_entropy`, equal where the clusters' shares are their probabilities.
    """
    # A cluster whose likelihood underflows is as improbable as a double can say, not infinitely surprising.
    p = np.maximum(np.asarray(probabilities, dtype=float)[np.asarray(ids)], np.finfo(float).tiny)
    return max(0.0, -float(np.log(p).mean()))


def predictive_entropy(log_likelihoods: ArrayLike) -> float:
    """Minus the mean of the answers' log-likelihoods: the Monte-Carlo entropy of the answers themselves."""
    return -float(np.mean(np.asarray(log_likelihoods, dtype=float)))


def rao_entropy(entailment_probabilities: ArrayLike, weights: ArrayLike) -> float:
    """Rao's quadratic entropy: the expected distance in meaning of two answers, in [0, 1).

    sum_ij d_ij p_i p_j with d_ij = 1 - (P(i entails j) + P(j entails i)) / 2 and d_ii = 0
    (C. R. Rao, Theoretical Population Biology 21, 1982); p are the `weights`, normalized.
    """
    entails = np.asarray(entailment_probabilities, dtype=float)
    p = np.asarray(weights, dtype=float)
    p = p / p.sum()
    distance = 1.0 - (entails + entails.T) / 2.0
    np.fill_diagonal(distance, 0.0)
    return max(0.0, float(p @ distance @ p))


@dataclass(frozen=True)
class _Entropies:
    """Everything that follows from implications, a rule and log-likelihoods; field names as the oracle's keys."""

    semantic_ids: tuple[int, ...]
    cluster_probabilities: tuple[float, ...]
    semantic_entropy: float
    cluster_assignment_entropy: float

    @classmethod
    def of(cls, implications: ArrayLike, log_likelihoods: Floats, rule: Rule) -> _Entropies:
        ids = cluster(implications, rule)
        probabilities = cluster_probabilities(log_likelihoods, ids)
        return cls(ids, tuple(probabilities.tolist()), entropy(probabilities), cluster_assignment_entropy(ids))


def measure(
    samples: Sequence[Answer],
    question: str,
    entailment: EntailmentModel,
    settings: UncertaintySettings,
    progress: Progress | None = None,
) -> Uncertainty:
    """Cluster sampled answers by meaning and take every entropy; the entailment model reads the question too.

    Where more than 30 are different, only one of each meaning is compared with all (`measures.representatives`).
    `predictive_entropy` is NaN where the answers carry no likelihoods; the clusters then
    weigh by their counts. The settings returned name the entailment model that was used.

    Raises
    ------
    InputError : there are no samples.
    ModelError : a model gave values that are not numbers.
    """
    if not samples:
        raise InputError("There are no answers to compare: ask for at least one sample.")
    texts = [a.text for a in samples]
    few = len(set(texts)) <= MANY
    if few:
        probabilities = class_probabilities(texts, question, entailment, progress)
    else:
        probabilities = representative_probabilities(texts, question, entailment, settings.rule, progress)
    implications = probabilities.argmax(axis=-1)
    return _uncertainty(
        samples,
        implications,
        probabilities[..., ENTAILMENT],
        replace(settings, entailment_model=entailment.record.name),
        all_compared=few,
    )


def can_recluster(uncertainty: Uncertainty, settings: UncertaintySettings) -> bool:
    """Whether what is known of the answers is enough for `recluster`."""
    before = uncertainty.settings
    same_rule = uncertainty.all_compared or settings.rule == before.rule
    return settings.entailment_model == before.entailment_model and same_rule


def recluster(uncertainty: Uncertainty, settings: UncertaintySettings) -> Uncertainty:
    """The same answers and implications under another rule or kind of likelihood; asks no model.

    Raises
    ------
    InputError : the settings name another entailment model, whose implications are not known, or
        another rule for answers of which not all were compared.
    """
    if settings.entailment_model != uncertainty.settings.entailment_model:
        raise InputError(
            f"These answers were compared by {uncertainty.settings.entailment_model}: "
            f"measure the uncertainty again to compare them by {settings.entailment_model}."
        )
    if not can_recluster(uncertainty, settings):
        raise InputError(
            f"Of these many answers only one of each meaning was compared with all, by the {uncertainty.settings.rule} "
            f"rule: measure the uncertainty again to group them by the {settings.rule} one."
        )
    found = _uncertainty(
        uncertainty.samples,
        np.asarray(uncertainty.implications),
        np.asarray(uncertainty.entailment_probabilities),
        settings,
        uncertainty.all_compared,
    )
    return replace(found, p_true=uncertainty.p_true)


def _uncertainty(
    samples: Sequence[Answer],
    implications: Ints,
    entailment_probabilities: Floats,
    settings: UncertaintySettings,
    all_compared: bool,
) -> Uncertainty:
    log_likelihoods, available = answer_log_likelihoods(samples, settings.likelihood)
    found = _Entropies.of(implications, log_likelihoods, settings.rule)
    return Uncertainty(
        samples=tuple(samples),
        implications=tuple(tuple(row) for row in implications.tolist()),
        entailment_probabilities=tuple(tuple(row) for row in entailment_probabilities.tolist()),
        semantic_ids=found.semantic_ids,
        cluster_probabilities=found.cluster_probabilities,
        semantic_entropy=found.semantic_entropy,
        cluster_assignment_entropy=found.cluster_assignment_entropy,
        predictive_entropy=predictive_entropy(log_likelihoods) if available else float("nan"),
        rao_entropy=rao_entropy(entailment_probabilities, answer_weights(log_likelihoods)),
        settings=settings,
        likelihoods_available=available,
        all_compared=all_compared,
    )


def answer_log_likelihoods(
    samples: Sequence[Answer], kind: LikelihoodKind, normalized: bool = True
) -> tuple[Floats, bool]:
    """(n,) mean token log-likelihoods, or their sums; all equal, and False, where an answer has none.

    Raises
    ------
    InputError : the kind is unknown.
    ModelError : a likelihood is not a number.
    """
    if kind not in ("model", "sampling"):
        raise InputError(f"The kind of likelihood {kind!r} is unknown: choose sampling or model.")
    if not all(a.log_likelihoods if kind == "model" else a.sampling_log_likelihoods for a in samples):
        return np.zeros(len(samples)), False
    values = np.array([a.mean_log_likelihood(kind) for a in samples])
    if not normalized:
        values = values * [len(a.log_likelihoods if kind == "model" else a.sampling_log_likelihoods) for a in samples]
    if not np.isfinite(values).all():
        raise ModelError("The model gave a token likelihood that is not a number: load it in float32 or bfloat16.")
    return values, True


def class_probabilities(
    texts: Sequence[str], question: str | None, entailment: EntailmentModel, progress: Progress | None = None
) -> Floats:
    """(n, n, 3) class probabilities of every ordered pair of answers; on the diagonal, certain entailment.

    The model reads `question + " " + answer`, or the answer alone where `question` is None.
    Answers with the same words are asked about once; like the published code, also against
    themselves where they repeat.

    Raises
    ------
    ModelError : the model gave values that are not numbers.
    """
    entailment, question = told_question(entailment, question)
    counts = Counter(texts)  # keeps the order in which texts first come
    distinct = list(counts)
    places = range(len(distinct))
    asked = [(i, j) for i in places for j in places if i != j or counts[distinct[i]] > 1]
    certain = np.eye(len(CLASSES))[ENTAILMENT]
    table = np.broadcast_to(certain, (len(distinct), len(distinct), len(CLASSES))).copy()
    if asked:
        shown = distinct if question is None else [f"{question} {text}" for text in distinct]
        found = np.asarray(entailment.classify([(shown[i], shown[j]) for i, j in asked], progress), dtype=float)
        if found.shape != (len(asked), len(CLASSES)) or not np.isfinite(found).all():
            raise ModelError(f"{entailment.record.name} returned values that are not numbers: load it in float32.")
        rows, columns = np.array(asked).T
        table[rows, columns] = found
    number = {text: i for i, text in enumerate(distinct)}
    index = np.array([number[text] for text in texts])
    probabilities: Floats = table[index[:, None], index[None, :]]
    probabilities[np.arange(len(texts)), np.arange(len(texts))] = certain  # never used: an answer implies itself
    return probabilities


def entropy_cases(data: Any) -> list[dict[str, Any]]:
    """`entropy_case` for each case of a list (or for a lone case); errors name the case by its number."""
    cases = [data] if isinstance(data, dict) else data
    if not isinstance(cases, list):
        raise InputError("The file must hold a JSON list of cases with token_log_likelihoods and implications.")
    results = []
    for number, case in enumerate(cases, start=1):
        try:
            results.append(entropy_case(case))
        except InputError as error:
            raise InputError(f"Case {number}: {error}") from None
    return results


def entropy_case(case: dict[str, Any]) -> dict[str, Any]:
    """Entropies of answers given as numbers, under both rules, as plain JSON values.

    `case` holds `token_log_likelihoods`, a list of numbers an answer, and
    `implications`, n rows of n values 0, 1 or 2; other keys are left alone. Where every
    answer's list is empty, answers weigh the same and `predictive_entropy` is None.

    Raises
    ------
    InputError : a key is missing, or a value is not of this form.
    """
    if not isinstance(case, dict):
        raise InputError("a case must be an object with token_log_likelihoods and implications.")
    log_likelihoods = _read_log_likelihoods(case.get("token_log_likelihoods"))
    n = len(case["token_log_likelihoods"])
    implications = _read_implications(case.get("implications"), n)
    means = np.zeros(n) if log_likelihoods is None else log_likelihoods
    result: dict[str, Any] = {"predictive_entropy": None if log_likelihoods is None else predictive_entropy(means)}
    for rule in RULES:
        found = _Entropies.of(implications, means, rule)
        result[rule] = {
            "semantic_ids": list(found.semantic_ids),
            "cluster_probabilities": list(found.cluster_probabilities),
            "semantic_entropy": found.semantic_entropy,
            "cluster_assignment_entropy": found.cluster_assignment_entropy,
            "n_clusters": len(found.cluster_probabilities),
        }
    return result


def _read_log_likelihoods(answers: Any) -> Floats | None:
    """(n,) mean token log-likelihoods of a case; None where no answer has any."""
    if not isinstance(answers, list) or not answers or not all(isinstance(a, list) for a in answers):
        raise InputError("token_log_likelihoods must be a list with one list of numbers for each answer.")
    if not any(answers):
        return None
    for number, tokens in enumerate(answers, start=1):
        if not tokens:
            raise InputError(f"answer {number} has no token log-likelihoods: give them for every answer or for none.")
        # Barely above 0 is rounding of a certain token; no real token is as unlikely as e^-1000000.
        if not all(_is_number(t) and -1e6 <= t <= 1e-6 for t in tokens):
            raise InputError(f"answer {number}: every token log-likelihood must be a number of at most 0, in nats.")
    return np.array([float(np.mean(tokens)) for tokens in answers])


def _read_implications(rows: Any, n: int) -> Ints:
    if not isinstance(rows, list) or len(rows) != n or not all(isinstance(r, list) and len(r) == n for r in rows):
        raise InputError(f"implications must be a square list of {n} rows with {n} values, as there are {n} answers.")
    if not all(_is_number(value) and value in (0, 1, 2) for row in rows for value in row):
        raise InputError("implications must hold 0 (contradiction), 1 (neutral) or 2 (entailment) only.")
    return np.array(rows, dtype=np.int64)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
