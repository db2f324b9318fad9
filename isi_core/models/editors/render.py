"""The exact editor of the embedded worlds: switches attributes of the subject and draws it again."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from isi_core.domain.attributes import Attribute, Edit, EditSet
from isi_core.domain.errors import InputError
from isi_core.models.editors.protocol import NEUTRAL, Edited, OnStep, Picture
from isi_core.worlds.attributed import MASTER_SIDE, AttributeWorld, Subject, world


class RenderEditor:
    """Edits pictures of one embedded world by drawing them anew; needs the picture's subject.

    A group of level 1 or 2 is added as one leaf of it, chosen by the seed and the picture alone: the same leaf in
    every edit set of that picture. Of leaves, only ones that the subject does not have are chosen from.
    """

    def __init__(self, world_name: str, side: int = MASTER_SIDE) -> None:
        self.world: AttributeWorld = world(world_name)
        self.side = side
        # The unedited picture is drawn once, however many edits are compared with it.
        self._drawn = lru_cache(maxsize=256)(self._draw)

    def _draw(self, subject: Subject) -> Image.Image:
        return self.world.render(subject, self.side)

    @property
    def record(self) -> Mapping[str, Any]:
        """Name and settings."""
        return {"name": "render", "world": self.world.name, "side": self.side}

    def leaf_for(self, picture: Picture, attribute: Attribute, seed: int) -> Attribute:
        """The leaf that stands for an attribute in edits of this picture."""
        subject = self._subject(picture)
        choices = self.world.leaves(self.world.path(attribute.path))
        if len(choices) == 1:
            return Attribute(choices[0])
        new = [path for path in choices if not self.world.has(subject, path)] or list(choices)
        return Attribute(Random(f"{seed} {picture.digest} {'/'.join(attribute.path)}").choice(new))

    def subject_after(self, picture: Picture, edits: EditSet, seed: int) -> Subject:
        """The subject with all the edits made, in their order; the subject itself where there are none.

        Raises
        ------
        InputError : the picture is of no subject of this world, or an attribute is not one of it.
        """
        subject = self._subject(picture)
        for edit in edits:
            if edit == NEUTRAL:
                continue
            if edit.sign < 0:
                subject = self.world.with_attribute(subject, self.world.path(edit.attribute.path), present=False)
            else:
                leaf = self.leaf_for(picture, edit.attribute, seed)
                subject = self.world.with_attribute(subject, leaf.path, seed=seed)
        return subject

    def reconstruct(self, picture: Picture, on_step: OnStep | None = None) -> Edited:
        """The subject drawn again: exact, and in one step that is not told."""
        subject = self._subject(picture)
        return Edited(self._drawn(subject).copy(), None, 0, subject)

    def edit(self, picture: Picture, edits: EditSet, seed: int, on_step: OnStep | None = None) -> Edited:
        """The edited subject's picture; the mask is where its pixels differ from the unedited one's."""
        before = self._subject(picture)
        after = self.subject_after(picture, edits, seed)
        image, unedited = self._draw(after), self._drawn(before)
        mask = (np.asarray(image) != np.asarray(unedited)).any(axis=2)
        return Edited(image, mask, 0, after)

    def presence(self, subject: Subject, edit: Edit, picture: Picture, seed: int) -> bool:
        """Whether a subject shows what an edit of that picture is about (for a group that is added: its leaf)."""
        attribute = self.leaf_for(picture, edit.attribute, seed) if edit.sign > 0 else edit.attribute
        return self.world.has(subject, attribute.path)

    def _subject(self, picture: Picture) -> Subject:
        if picture.subject is None or picture.subject.world != self.world.name:
            raise InputError(
                f"The render editor edits pictures of the built-in world {self.world.name} only: choose those, or "
                "another editor."
            )
        return picture.subject
