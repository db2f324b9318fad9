"""What every text-only language model offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from isi_core.domain.evaluation import ModelRecord
from isi_core.domain.progress import Progress

Continuation = tuple[str, str]
"""A text and what follows it, whose likelihood is asked for."""


@dataclass(frozen=True, eq=False)
class PromptStates:
    """What was read of n prompts.

    Attributes
    ----------
    states : (n, 2, layers, hidden) float32: at the last token, and the mean over tokens.
    tokens : (n,) length of each prompt as it was read.
    cut : (n,) whether it had to lose its beginning.
    """

    states: NDArray[np.float32]
    tokens: NDArray[np.int64]
    cut: NDArray[np.bool_]


class LanguageModel(Protocol):
    """Tells how likely texts are and what it makes of them. One caller at a time."""

    @property
    def record(self) -> ModelRecord:
        """Which model exactly."""
        ...

    @property
    def layers(self) -> int:
        """Number of decoder blocks."""
        ...

    def option_likelihoods(
        self, items: Sequence[Sequence[Continuation]], progress: Progress | None = None
    ) -> list[tuple[float, ...]]:
        """For each item log p of each of its continuations, summed over tokens, in nats."""
        ...

    def read_states(self, prompts: Sequence[str], layers: Sequence[int]) -> PromptStates:
        """The prompts' pooled states at `layers` (1-based, ascending)."""
        ...

    def close(self) -> None:
        """Give the memory back; the model cannot be used afterwards."""
        ...
