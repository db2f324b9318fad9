"""Evaluation: a trial, a model, a decoding and the measures taken; what is stored and reported."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from isi_core.domain.answer import Answer
from isi_core.domain.attribution import AttentionRecord, Attribution
from isi_core.domain.decoding import Decoding
from isi_core.domain.trial import Trial
from isi_core.domain.uncertainty import Uncertainty

Measure = Literal["answer", "samples", "attention", "hidden_states"]


@dataclass(frozen=True)
class ModelRecord:
    """Which model exactly: enough to load it again.

    Attributes
    ----------
    name : short name, such as `tiny-llava`.
    source : hub id or folder name it was loaded from.
    revision : commit hash of a hub model; SHA-256 of the weights for a folder.
    dtype, quantization, attention : how it was loaded (`float32`, `none`, `sdpa`).
    device : cpu, cuda:0, mps ...
    """

    name: str
    source: str
    revision: str
    dtype: str
    quantization: str = "none"
    attention: str = "sdpa"
    device: str = "cpu"

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ModelRecord:
        """The record from `to_json`'s form."""
        return cls(**{name: str(value) for name, value in data.items()})


@dataclass(frozen=True, eq=False)
class ModelOutput:
    """What a vision-language model returns for one trial; None for what was not asked for.

    Attributes
    ----------
    prompt : the rendered prompt text, image tokens not expanded.
    answer : the main answer, decoded by the decoding's strategy.
    samples : n sampled answers.
    attention : the attention record of the main answer.
    hidden_states : (layers, hidden) output of each decoder block at the last prompt token.
    prompt_tokens : length of the prompt, image tokens included.
    """

    prompt: str
    prompt_tokens: int
    answer: Answer | None = None
    samples: tuple[Answer, ...] | None = None
    attention: AttentionRecord | None = None
    hidden_states: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One trial put to one model, with the measures that were taken.

    Attributes
    ----------
    created : ISO 8601 time, UTC.
    seconds : wall time of each part (`answer`, `uncertainty`, `attention`).
    versions : library versions.
    """

    trial: Trial
    model: ModelRecord
    decoding: Decoding
    prompt: str
    answer: Answer | None = None
    uncertainty: Uncertainty | None = None
    attribution: Attribution | None = None
    created: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
