"""Trial: exactly what the model is shown, and the digest that names it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from PIL import Image

from isi_core.domain import interventions
from isi_core.domain.errors import InputError
from isi_core.domain.interventions import Intervention


def image_digest(image: Image.Image) -> str:
    """SHA-256 (hex) over the size, the mode and the pixels of a picture."""
    state = hashlib.sha256(f"{image.mode} {image.width} {image.height} ".encode())
    state.update(image.tobytes())
    return state.hexdigest()


@dataclass(frozen=True, eq=False)
class Trial:
    """An observation after its interventions: the picture, context and question as shown.

    Attributes
    ----------
    observation_id : which observation it came from.
    image : RGB picture at native resolution, interventions rendered into it.
    context, question : the text as the model gets it.
    truth : the observation's truth; None where it is not known or no longer holds.
    interventions : what was done, in order.
    image_kind : natural, annotated, random or uploaded.
    context_kind : none, complementary, contradictory, random or edited.
    question_kind : original, random or edited.
    further_images : RGB pictures shown after the first, to models that take several in one prompt.
    """

    observation_id: str
    image: Image.Image
    context: str
    question: str
    truth: bool | None
    interventions: tuple[Intervention, ...] = ()
    image_kind: str = "natural"
    context_kind: str = "none"
    question_kind: str = "original"
    further_images: tuple[Image.Image, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over the pixels and the text that the model gets."""
        state = hashlib.sha256(self.image_digest.encode())
        for text in (self.context, self.question):
            raw = text.encode("utf-8", "surrogatepass")
            state.update(f" {len(raw)} ".encode())
            state.update(raw)
        for image in self.further_images:
            state.update(image_digest(image).encode())
        return state.hexdigest()

    @cached_property
    def image_digest(self) -> str:
        """SHA-256 (hex) of the picture alone; its file in the store goes by it."""
        return image_digest(self.image)

    @property
    def truth_word(self) -> str:
        """`yes`, `no` or `unknown`."""
        return "unknown" if self.truth is None else ("yes" if self.truth else "no")

    def to_json(self) -> dict[str, Any]:
        """The trial as plain JSON values; the picture by its digest."""
        return {
            "observation_id": self.observation_id,
            "image_digest": self.image_digest,
            "digest": self.digest,
            "context": self.context,
            "question": self.question,
            "truth": self.truth,
            "interventions": [interventions.to_json(change) for change in self.interventions],
            "image_kind": self.image_kind,
            "context_kind": self.context_kind,
            "question_kind": self.question_kind,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], image: Image.Image) -> Trial:
        """The trial from `to_json`'s form and its picture.

        Raises
        ------
        InputError : the picture or the text is not the one that was shown, or an intervention is unknown.
        """
        trial = cls(
            observation_id=data["observation_id"],
            image=image,
            context=data["context"],
            question=data["question"],
            truth=data["truth"],
            interventions=tuple(interventions.from_json(change) for change in data["interventions"]),
            image_kind=data["image_kind"],
            context_kind=data["context_kind"],
            question_kind=data["question_kind"],
        )
        if (trial.image_digest, trial.digest) != (data["image_digest"], data["digest"]):
            raise InputError("The picture or the text of this run was changed since it was stored: ask again.")
        return trial
