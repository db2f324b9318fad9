"""What every image editor offers: a picture with attributes added or removed, and everything else left as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from isi_core.domain.attributes import Attribute, Edit, EditSet
from isi_core.domain.trial import image_digest

if TYPE_CHECKING:
    from isi_core.worlds.attributed import Subject


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that is to be edited; make it with `Picture.of`.

    Attributes
    ----------
    image : RGB.
    name : for a person: a file's name, "face 7".
    digest : SHA-256 (hex) over the pixels, and the subject where there is one.
    subject : the embedded world's subject that the picture shows; None for pictures from elsewhere.
    """

    image: Image.Image
    name: str
    digest: str
    subject: Subject | None = None

    @classmethod
    def of(cls, image: Image.Image, name: str, subject: Subject | None = None) -> Picture:
        """The picture with its digest; the image is taken as RGB."""
        image = image if image.mode == "RGB" else image.convert("RGB")
        digest = image_digest(image)
        if subject is not None:
            # Two subjects may look alike (a colour under a hat) and still become different pictures when edited.
            digest = hashlib.sha256(f"{digest} {subject.digest()}".encode()).hexdigest()
        return cls(image, name, digest, subject)


@dataclass(frozen=True, eq=False)
class Edited:
    """What an editor made of a picture.

    Attributes
    ----------
    image : RGB, of any size (an editor may work at its own).
    mask : (height, width) bool of `image`, where the editor meant to change it; None where it does not tell.
    denoiser_evaluations : forward passes of a denoiser, counted by pictures in the batch; 0 without one.
    subject : the subject that the picture shows now; None where the editor does not know.
    """

    image: Image.Image
    mask: NDArray[np.bool_] | None = None
    denoiser_evaluations: int = 0
    subject: Subject | None = None


NEUTRAL = Edit(Attribute(("picture",)))
"""The edit that should do nothing: its effect on a classifier is the floor beside every influence.

Every editor takes it: one that goes by words edits towards "picture", as it would towards any attribute; an exact one
does nothing.
"""


OnStep = Callable[[int, int], None]
"""Told how many of how many steps of an edit are done; may raise `Cancelled` to stop it."""


def told_steps(tell: Callable[[str], None], what: str) -> OnStep:
    """For an editor: its steps told after what it makes, so that a long edit is seen to go on and can be cancelled."""
    return lambda done, total: tell(f"{what}, step {done + 1} of {total}")


class ImageEditor(Protocol):
    """Edits pictures by attributes. One caller at a time unless an editor says otherwise."""

    @property
    def record(self) -> Mapping[str, Any]:
        """Name and every setting that shapes its edits, as plain JSON values: part of the edit bank's key."""
        ...

    def reconstruct(self, picture: Picture, on_step: OnStep | None = None) -> Edited:
        """The picture gone through the editor with no edit: the base that edits are compared with.

        Parameters
        ----------
        on_step : told how far it is by an editor that works in steps; others do not call it.

        Raises
        ------
        InputError : the picture cannot be edited by it. ModelError : the model failed.
        """
        ...

    def edit(self, picture: Picture, edits: EditSet, seed: int, on_step: OnStep | None = None) -> Edited:
        """The picture with all the edits made together; the same arguments give the same pixels.

        Raises
        ------
        InputError : the picture or an attribute is not one it can edit. ModelError : the model failed.
        """
        ...


@runtime_checkable
class SubjectEditor(Protocol):
    """An editor that knows, without drawing anything, which subject its edit would show (`render`)."""

    def subject_after(self, picture: Picture, edits: EditSet, seed: int) -> Subject:
        """The subject that `edit` of the same arguments shows."""
        ...

    def presence(self, subject: Subject, edit: Edit, picture: Picture, seed: int) -> bool:
        """Whether a subject shows what an edit of that picture is about."""
        ...


@runtime_checkable
class StandInEditor(Protocol):
    """An editor of which some groups have no picture of their own: one of their leaves stands for them."""

    def stand_ins(self, picture: Picture, edits: EditSet) -> EditSet:
        """The edits as they are made of this picture; the same where no group is among them that needs it."""
        ...


def as_made(editor: ImageEditor, picture: Picture, edits: EditSet) -> EditSet:
    """What an editor makes of a picture when it is asked for these edits, as far as it is known beforehand."""
    return editor.stand_ins(picture, edits) if isinstance(editor, StandInEditor) else edits
