"""What every entailment model offers, whichever library or server stands behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from isi_core.domain.evaluation import ModelRecord
from isi_core.domain.progress import Progress

CLASSES = ("contradiction", "neutral", "entailment")
CONTRADICTION, NEUTRAL, ENTAILMENT = range(3)

Pair = tuple[str, str]


class EntailmentModel(Protocol):
    """Says whether a first text (premise) implies a second (hypothesis)."""

    @property
    def record(self) -> ModelRecord:
        """Which model exactly."""
        ...

    def classify(self, pairs: Sequence[Pair], progress: Progress | None = None) -> NDArray[np.float64]:
        """(n, 3) probabilities of `CLASSES` for each pair; every row sums to one."""
        ...

    def implications(self, pairs: Sequence[Pair], progress: Progress | None = None) -> NDArray[np.int64]:
        """(n,) most probable class of each pair: 0 contradiction, 1 neutral, 2 entailment."""
        ...


@runtime_checkable
class ReadsQuestion(Protocol):
    """An entailment model that is told the question apart from the answers, instead of in front of each (a judge)."""

    def about(self, question: str) -> EntailmentModel:
        """This model, told the question that the pairs' texts answer."""
        ...


def told_question(entailment: EntailmentModel, question: str | None) -> tuple[EntailmentModel, str | None]:
    """The model that compares answers to a question, and what is to stand in front of each answer (None: nothing)."""
    if question is not None and isinstance(entailment, ReadsQuestion):
        return entailment.about(question), None
    return entailment, question
