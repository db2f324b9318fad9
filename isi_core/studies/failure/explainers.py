"""The explainers, one row each: what it reads of a case and how it learns from it. Nothing heavy is loaded here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from isi_core.domain.errors import InputError
from isi_core.studies.failure.plan import PICTURE_TASKS, Task
from isi_core.studies.failure.results import Case

if TYPE_CHECKING:
    from isi_core.measures.probes import Trainer

Floats = NDArray[np.float64]
Kind = Literal["baseline", "probe", "black box", "combined"]
Extra = Literal["semantic_entropy", "predictive_entropy", "image_attention", "noise_shift", "p_true", "rationale"]
FEWEST_WORDS = 5
"""A rationale has at least so many; models that answer in a word give none."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What explainers may read of n cases, aligned.

    Attributes
    ----------
    cases : n.
    states : (n, pools, layers, hidden), on disk; None where no activations were captured.
    layers : of `states`, 1-based.
    pools : of `states`, as in `models.pools.POOLS`.
    extras : (n,) each; NaN for cases that were not measured.
    rationales : (n,) what the model said when it was asked to explain; None for cases that were not asked.
    tokens : layer to n arrays (tokens, hidden), every token of the prompt; None for cases that were not read.
    """

    cases: tuple[Case, ...]
    states: NDArray[np.float32] | None
    layers: tuple[int, ...]
    pools: tuple[str, ...]
    extras: dict[Extra, Floats]
    rationales: tuple[str | None, ...] = ()
    tokens: dict[int, Sequence[NDArray[np.float16] | None]] = field(default_factory=dict)

    def activations(self, pool: str, layer: int) -> NDArray[np.float32]:
        """(n, hidden) of one pool and layer.

        Raises
        ------
        InputError : they were not captured.
        """
        if self.states is None or layer not in self.layers or pool not in self.pools:
            raise InputError(f"No {pool} activations of layer {layer} were captured.")
        return np.asarray(self.states[:, self.pools.index(pool), self.layers.index(layer)])

    def text(self, of: Callable[[Case], str]) -> Floats:
        """(n, kinds) one-hot of a word of each case."""
        words = [of(case) for case in self.cases]
        kinds = sorted(set(words))
        return np.array([[word == kind for kind in kinds] for word in words], dtype=float)

    def number(self, of: Callable[[Case], float]) -> Floats:
        """(n, 1) of a number of each case."""
        return np.array([[of(case)] for case in self.cases], dtype=float)


def joined(parts: Sequence[Evidence], layer: int | None) -> Evidence:
    """All parts' cases, so that their words become the same columns; of the states the layer alone, no extras.

    Raises
    ------
    InputError : the layer was not read everywhere, or its states have other widths.
    """
    states, pools = None, tuple(pool for pool in parts[0].pools if all(pool in part.pools for part in parts))
    if layer is not None:
        found = []
        for part in parts:
            if part.states is None or layer not in part.layers:
                raise InputError(f"No activations of layer {layer} were read of every run: choose another layer.")
            found.append(
                np.asarray(part.states[:, [part.pools.index(p) for p in pools]])[:, :, [part.layers.index(layer)]]
            )
        if len({each.shape[-1] for each in found}) > 1:
            raise InputError("The models' activations have other widths: choose an explainer that reads none.")
        states = np.concatenate(found)
    cases = tuple(case for part in parts for case in part.cases)
    return Evidence(cases, states, () if layer is None else (layer,), pools, {})


@dataclass(frozen=True)
class ExplainerRow:
    """One explainer.

    Attributes
    ----------
    key : names it in plans, results and the command line.
    title : for tables.
    kind : which group of the table it stands in.
    reads : in one sentence, what it looks at.
    features : (n, d) of the evidence; a row with NaN is a case that was not measured.
    trainer : makes its probe; called late, since scikit-learn is heavy.
    by_layer : it reads activations, and is scored at every layer.
    extras : measures that have to be taken for it; they are expensive, and taken of `sampling_k` cases a class.
    pictures_only : it means nothing for a text task.
    tokens : it reads every token of the prompt, of `sampling_k` cases a class.
    trainer_for : makes the trainer of one that learns from the evidence itself; `features` are places in it then.
    """

    key: str
    title: str
    kind: Kind
    reads: str
    features: Callable[[Evidence, int | None], NDArray[np.floating]]
    trainer: Callable[[], Trainer]
    by_layer: bool = False
    extras: tuple[Extra, ...] = ()
    pictures_only: bool = False
    tokens: bool = False
    trainer_for: Callable[[Evidence, int | None], Trainer] | None = None

    def make_trainer(self, evidence: Evidence, layer: int | None) -> Trainer:
        """What trains its probe on this evidence."""
        return self.trainer() if self.trainer_for is None else self.trainer_for(evidence, layer)

    def lacks(self, task: Task) -> str:
        """Why it cannot be used for a task, in words; "" where it can."""
        if self.pictures_only and task not in PICTURE_TASKS:
            return f"{self.title} needs pictures"
        return ""


def context_words(kind: str) -> str:
    """A context kind as it is written: `no context`, `contradictory context`."""
    return f"{'no' if kind in {'', 'none'} else kind} context"


def option_margin(case: Case) -> float:
    """How far the best option's log-likelihood is above the next one's, in nats; NaN where not known."""
    if len(case.option_likelihoods) < 2 or not np.isfinite(case.option_likelihoods).all():
        return float("nan")
    best, second = sorted(case.option_likelihoods, reverse=True)[:2]
    return best - second


def option_entropy(case: Case) -> float:
    """Entropy of the options' likelihoods, normalized to sum to one, in nats; NaN where not known."""
    values = np.asarray(case.option_likelihoods, dtype=float)
    if len(values) < 2 or not np.isfinite(values).all():
        return float("nan")
    p = np.exp(values - values.max())
    p /= p.sum()
    return float(-np.sum(p * np.log(np.maximum(p, 1e-300))))


def _published(strength: float) -> Callable[[], Trainer]:
    def make() -> Trainer:
        from isi_core.measures.probes import published

        return published(strength)

    return make


def _standardized() -> Trainer:
    from isi_core.measures.probes import standardized

    return standardized()


def _ranked() -> Trainer:
    from isi_core.measures.probes import ranked

    return ranked


def _mlp() -> Trainer:
    from isi_core.measures.probes import small_mlp

    return small_mlp


def _majority() -> Trainer:
    from isi_core.measures.probes import majority

    return majority


def _sparse() -> Trainer:
    from isi_core.measures.sparse_features import sparse_head

    return sparse_head


def _attending(evidence: Evidence, layer: int | None) -> Trainer:
    from isi_core.measures.attention_probe import attention_pooled

    none = np.zeros((0, 0), np.float16)
    return attention_pooled([none if part is None else part for part in evidence.tokens[layer or 0]])


def _read_cases(evidence: Evidence, layer: int | None) -> Floats:
    """(n, 1) its own place for each case whose tokens were read, NaN else."""
    if layer not in evidence.tokens:
        raise InputError(f"No tokens of layer {layer} were read.")
    return np.array([[np.nan if part is None else i] for i, part in enumerate(evidence.tokens[layer])], dtype=float)


def _reading(evidence: Evidence, _layer: int | None) -> Trainer:
    from isi_core.measures.text_probe import of_texts

    return of_texts([text or "" for text in evidence.rationales])


def _rationales(evidence: Evidence, _layer: int | None) -> Floats:
    """(n, 1) its own place for each case that the model explained, NaN else."""
    given = [text for text in evidence.rationales if text is not None]
    long = sum(len(text.split()) >= FEWEST_WORDS for text in given)
    if 2 * long < len(given) or not given:
        raise InputError(
            f"The model gives no rationale: asked to explain, it says {FEWEST_WORDS} words or more in {long} of "
            f"{len(given)} cases. Choose a model that explains itself."
        )
    return np.array([[np.nan if text is None else i] for i, text in enumerate(evidence.rationales)], dtype=float)


def _activations(pool: str) -> Callable[[Evidence, int | None], NDArray[np.floating]]:
    def features(evidence: Evidence, layer: int | None) -> NDArray[np.floating]:
        assert layer is not None
        return evidence.activations(pool, layer)

    return features


def _extra(name: Extra) -> Callable[[Evidence, int | None], NDArray[np.floating]]:
    return lambda evidence, _layer: evidence.extras[name][:, None]


def _all_text(evidence: Evidence) -> Floats:
    """Everything that is known of every case without activations."""
    columns = [
        evidence.number(option_margin),
        evidence.number(option_entropy),
        evidence.number(lambda case: case.answer_likelihood),
        evidence.number(lambda case: case.prompt_tokens),
        evidence.text(lambda case: case.context_kind),
        evidence.text(lambda case: case.family),
        evidence.text(_answer_word),
    ]
    # What no case has (an endpoint's likelihoods) is no feature.
    return np.concatenate([c for c in columns if not np.isnan(c).all()], axis=1)


def _combined(evidence: Evidence, layer: int | None) -> NDArray[np.floating]:
    assert layer is not None
    return np.concatenate([_all_text(evidence), evidence.activations("last", layer)], axis=1)


def _answer_word(case: Case) -> str:
    """Which option was chosen: the first word for yes and no, else the option's place."""
    if case.answer in case.options:
        return str(case.options.index(case.answer))
    from isi_core.domain.answer import parse_verdict

    return parse_verdict(case.answer)


_ROWS = (
    ExplainerRow(
        "majority",
        "Majority",
        "baseline",
        "nothing: says the share of successes of every case",
        lambda evidence, _layer: np.zeros((len(evidence.cases), 1)),
        _majority,
    ),
    ExplainerRow(
        "option-margin",
        "Option margin",
        "baseline",
        "how far the likeliest option (yes or no for a picture) is above the next, in nats",
        lambda evidence, _layer: evidence.number(option_margin),
        _ranked,
    ),
    ExplainerRow(
        "answer-likelihood",
        "Answer log-likelihood",
        "baseline",
        "log-likelihood of the answer: mean over the tokens of a sentence, sum over those of an option, in nats",
        lambda evidence, _layer: evidence.number(lambda case: case.answer_likelihood),
        _ranked,
    ),
    ExplainerRow(
        "option-entropy",
        "Entropy of the options",
        "baseline",
        "entropy of the options' normalized likelihoods, in nats",
        lambda evidence, _layer: evidence.number(option_entropy),
        _ranked,
    ),
    ExplainerRow(
        "prompt-length",
        "Prompt length",
        "baseline",
        "number of tokens of the prompt",
        lambda evidence, _layer: evidence.number(lambda case: case.prompt_tokens),
        _ranked,
    ),
    ExplainerRow(
        "answer",
        "The answer itself",
        "baseline",
        "which option the model chose",
        lambda evidence, _layer: evidence.text(_answer_word),
        _standardized,
    ),
    ExplainerRow(
        "context-kind",
        "Context kind",
        "baseline",
        "which kind of context the picture was shown with",
        lambda evidence, _layer: evidence.text(lambda case: case.context_kind),
        _standardized,
        pictures_only=True,
    ),
    ExplainerRow(
        "question-family",
        "Question family",
        "baseline",
        "what the question asks for: existence, colour, position, ...",
        lambda evidence, _layer: evidence.text(lambda case: case.family),
        _standardized,
        pictures_only=True,
    ),
    ExplainerRow(
        "context-and-family",
        "Context kind and question family",
        "baseline",
        "the two together: one share of successes for each pair",
        lambda evidence, _layer: evidence.text(lambda case: f"{case.context_kind} {case.family}"),
        _standardized,
        pictures_only=True,
    ),
    ExplainerRow(
        "last-token",
        "Last-token probe, as published (C = 1)",
        "probe",
        "the residual stream at the last prompt token, unscaled, regularized as the paper states",
        _activations("last"),
        _published(1.0),
        by_layer=True,
    ),
    ExplainerRow(
        "last-token-released",
        "Last-token probe, as released (C = 100)",
        "probe",
        "the same with the regularization of the released metrics",
        _activations("last"),
        _published(100.0),
        by_layer=True,
    ),
    ExplainerRow(
        "last-token-tuned",
        "Last-token probe, standardized and tuned",
        "probe",
        "the same, standardized, the regularization chosen on the validation split",
        _activations("last"),
        _standardized,
        by_layer=True,
    ),
    ExplainerRow(
        "mean-token",
        "Mean-token probe",
        "probe",
        "the residual stream's mean over all prompt tokens, standardized and tuned",
        _activations("mean"),
        _standardized,
        by_layer=True,
    ),
    ExplainerRow(
        "image-tokens",
        "Image-token probe",
        "probe",
        "the residual stream's mean over the image's tokens, standardized and tuned",
        _activations("image"),
        _standardized,
        by_layer=True,
        pictures_only=True,
    ),
    ExplainerRow(
        "context-tokens",
        "Context-token probe",
        "probe",
        "the residual stream's mean over the context's tokens, standardized and tuned",
        _activations("context"),
        _standardized,
        by_layer=True,
        pictures_only=True,
    ),
    ExplainerRow(
        "question-tokens",
        "Question-token probe",
        "probe",
        "the residual stream's mean over the question's tokens, standardized and tuned",
        _activations("question"),
        _standardized,
        by_layer=True,
        pictures_only=True,
    ),
    ExplainerRow(
        "mlp",
        "Small MLP probe",
        "probe",
        "the residual stream at the last prompt token, through 32 hidden units",
        _activations("last"),
        _mlp,
        by_layer=True,
    ),
    ExplainerRow(
        "attention-pooled",
        "Attention-pooled probe",
        "probe",
        "the residual stream at every prompt token; which tokens count is learned (McKenzie et al. 2025)",
        _read_cases,
        _majority,
        by_layer=True,
        tokens=True,
        trainer_for=_attending,
    ),
    ExplainerRow(
        "sparse-features",
        "Sparse autoencoder features",
        "probe",
        "a few features of a top-k sparse autoencoder, trained on the last-token activations (Gao et al. 2024)",
        _activations("last"),
        _sparse,
        by_layer=True,
    ),
    ExplainerRow(
        "semantic-entropy",
        "Semantic entropy",
        "black box",
        "how much sampled answers differ in meaning, in nats",
        _extra("semantic_entropy"),
        _ranked,
        extras=("semantic_entropy",),
        pictures_only=True,
    ),
    ExplainerRow(
        "predictive-entropy",
        "Predictive entropy",
        "black box",
        "minus the sampled answers' mean log-likelihood, in nats a token",
        _extra("predictive_entropy"),
        _ranked,
        extras=("predictive_entropy",),
        pictures_only=True,
    ),
    ExplainerRow(
        "image-attention",
        "Attention on the image",
        "black box",
        "the share of the answer's attention that falls on the image",
        _extra("image_attention"),
        _ranked,
        extras=("image_attention",),
        pictures_only=True,
    ),
    ExplainerRow(
        "noise-sensitivity",
        "Sensitivity to image noise",
        "black box",
        "how far a little noise in the picture moves yes against no, in nats",
        _extra("noise_shift"),
        _ranked,
        extras=("noise_shift",),
        pictures_only=True,
    ),
    ExplainerRow(
        "p-true",
        "p(True)",
        "black box",
        "asked whether its own answer is right: how far yes is above no, in nats (Kadavath et al. 2022)",
        _extra("p_true"),
        _ranked,
        extras=("p_true",),
        pictures_only=True,
    ),
    ExplainerRow(
        "rationale",
        "The model's own rationale",
        "black box",
        "the words with which the model explains itself, read by a classifier (TF-IDF, logistic regression)",
        _rationales,
        _majority,
        extras=("rationale",),
        pictures_only=True,
        trainer_for=_reading,
    ),
    ExplainerRow(
        "combined",
        "All combined",
        "combined",
        "the last-token activations and every baseline together, standardized and tuned",
        _combined,
        _standardized,
        by_layer=True,
    ),
)

EXPLAINERS: dict[str, ExplainerRow] = {row.key: row for row in _ROWS}
"""Key to explainer, in the order of the tables."""


def find_explainer(key: str) -> ExplainerRow:
    """The explainer of that key.

    Raises
    ------
    InputError : there is none.
    """
    if key not in EXPLAINERS:
        raise InputError(f"Explainer {key[:40]!r} is unknown: choose from {', '.join(EXPLAINERS)}.")
    return EXPLAINERS[key]
