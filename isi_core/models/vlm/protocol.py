"""What every vision-language model (VLM) offers, whichever library or server stands behind it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from PIL import Image

from isi_core.domain.decoding import Decoding
from isi_core.domain.evaluation import Measure, ModelOutput, ModelRecord
from isi_core.domain.progress import Progress
from isi_core.domain.trial import Trial


@dataclass(frozen=True)
class Capabilities:
    """What a model can be asked for beside its answer.

    Attributes
    ----------
    attention : the attention record of an answer.
    hidden_states : the output of each decoder block.
    likelihoods : log-likelihoods of the generated tokens.
    beam : beam search.
    several_pictures : more than one picture in a prompt (`Trial.further_images`).
    """

    attention: bool
    hidden_states: bool
    likelihoods: bool
    beam: bool
    several_pictures: bool = False


class VisionLanguageModel(Protocol):
    """Answers questions about pictures and tells how it came to the answer.

    One caller at a time: whoever shares a model between threads holds a lock (the shelf does).
    """

    @property
    def record(self) -> ModelRecord:
        """Which model exactly."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can be asked for."""
        ...

    def evaluate(
        self,
        trials: Sequence[Trial],
        decoding: Decoding,
        measures: Collection[Measure],
        progress: Progress | None = None,
    ) -> list[ModelOutput]:
        """One output a trial, with what `measures` names; `attention` brings the answer it belongs to."""
        ...

    def model_sees(self, image: Image.Image) -> Image.Image:
        """The picture as it reaches the vision tower, for display."""
        ...

    def close(self) -> None:
        """Give the memory back; the model cannot be used afterwards."""
        ...


@runtime_checkable
class AnswerLikelihoods(Protocol):
    """A model that also tells how likely an answer is that it did not choose itself (teacher forcing)."""

    def likelihoods(
        self, trials: Sequence[Trial], token_ids: Sequence[int], progress: Progress | None = None
    ) -> list[tuple[float, ...]]:
        """For each trial, log p of each of these answer tokens after the ones before it, in nats."""
        ...
