"""Decoding: every setting that shapes an answer, explicit, none inherited from a checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from isi_core.domain.errors import InputError

Strategy = Literal["greedy", "sample", "beam"]


@dataclass(frozen=True)
class Decoding:
    """How answers are generated.

    The main answer follows `strategy`; the `n_samples` samples of an uncertainty
    measure are always drawn at `temperature`, `top_k` and `top_p`.

    Attributes
    ----------
    strategy : how the main answer is decoded.
    temperature : softmax temperature of sampling, > 0.
    top_k : number of tokens kept when sampling; 0 keeps all.
    top_p : nucleus mass kept when sampling, in (0, 1].
    repetition_penalty : 1.0 is none.
    num_beams : used by `beam` only.
    max_new_tokens : upper bound of an answer's length, in tokens.
    n_samples : number of sampled answers.
    seed : seeds the sampling; the same seed gives the same answers.
    """

    strategy: Strategy = "greedy"
    temperature: float = 0.9
    top_k: int = 50
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    num_beams: int = 4
    max_new_tokens: int = 40
    n_samples: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.strategy not in ("greedy", "sample", "beam"):
            raise InputError(f"Decoding strategy {self.strategy!r} is unknown: choose greedy, sample or beam.")
        if not 0.0 < self.temperature <= 10.0:
            raise InputError("The temperature must lie above 0 and at most 10.")
        if self.top_k < 0:
            raise InputError("top_k must be 0 (keep every token) or more.")
        if not 0.0 < self.top_p <= 1.0:
            raise InputError("top_p must lie above 0 and at most 1.")
        if not 0.1 <= self.repetition_penalty <= 10.0:
            raise InputError("The repetition penalty must lie between 0.1 and 10.")
        if not 1 <= self.num_beams <= 64:
            raise InputError("The number of beams must lie between 1 and 64.")
        if not 1 <= self.max_new_tokens <= 2048:
            raise InputError("The answer length must lie between 1 and 2048 tokens.")
        if not 1 <= self.n_samples <= 500:
            raise InputError("The number of samples must lie between 1 and 500.")

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Decoding:
        """The settings from `to_json`'s form; unknown keys are refused by name."""
        unknown = set(data) - set(cls.__dataclass_fields__)
        if unknown:
            raise InputError(f"Unknown decoding settings: {', '.join(sorted(unknown))}.")
        return cls(**data)
