"""Trial: exactly what the model is shown, and the digest that names it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from PIL import Image

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

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over the pixels and the text that the model gets."""
        state = hashlib.sha256(image_digest(self.image).encode())
        for text in (self.context, self.question):
            raw = text.encode("utf-8", "surrogatepass")
            state.update(f" {len(raw)} ".encode())
            state.update(raw)
        return state.hexdigest()

    @property
    def truth_word(self) -> str:
        """`yes`, `no` or `unknown`."""
        return "unknown" if self.truth is None else ("yes" if self.truth else "no")
