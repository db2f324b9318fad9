"""The explainers, one row each: what it reads of a case and how it learns from it. Nothing heavy is loaded here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
Extra = Literal["semantic_entropy", "predictive_entropy", "image_attention", "noise_shift"]


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
    """

    cases: tuple[Case, ...]
    states: NDArray[np.float32] | None
    layers: tuple[int, ...]
    pools: tuple[str, ...]
    extras: dict[Extra, Floats]

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

    def lacks(self, task: Task) -> str:
        """Why it cannot be used for a task, in words; "" where it can."""
        if self.pictures_only and task not in PICTURE_TASKS:
            return f"{self.title} needs pictures"
        return ""


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
