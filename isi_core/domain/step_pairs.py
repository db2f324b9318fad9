"""Step pairs: two steps of one how-to article, in order or reversed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

KINDS = ("picture", "words", "both")
"""What decides the order in a category of the built-in world; foreign categories have the kind ""."""

PictureSource = Path | Callable[[], Image.Image]
"""A picture file, or something that draws the picture when called; both can be hashed and compared."""


@dataclass(frozen=True)
class StepPair:
    """Two steps of one article, as they are shown to a model.

    Attributes
    ----------
    idx : the pair's number in its split, from 0.
    title : the article's title, which every modality is given.
    headlines : of the two steps, in the order shown.
    images : of the two steps, in the order shown; `isi_core.datasets.step_pairs.open_images` opens them.
    label : 1 when the steps are shown in order, 0 when they are reversed.
    category : the article's category.
    kind : what decides the order: picture, words, both, or "" where nobody knows.
    """

    idx: int
    title: str
    headlines: tuple[str, str]
    images: tuple[PictureSource, PictureSource]
    label: int
    category: str
    kind: str = ""

    def __post_init__(self) -> None:
        if self.label not in (0, 1):
            raise ValueError("The label of a step pair is 1 (in order) or 0 (reversed).")

    def record(self, images: tuple[str, str]) -> dict[str, Any]:
        """The record of the step-pair format, with the pictures' names as given."""
        return {
            "idx": self.idx,
            "title": self.title,
            "headlines": list(self.headlines),
            "images": list(images),
            "label": self.label,
            "category": self.category,
            **({"kind": self.kind} if self.kind else {}),
        }

    def reversed(self) -> StepPair:
        """The same two steps the other way round, with the other label."""
        return StepPair(
            self.idx, self.title, self.headlines[::-1], self.images[::-1], 1 - self.label, self.category, self.kind
        )


@dataclass(frozen=True)
class PairSplits:
    """Pairs for training, for choosing the best epoch and for the final figures; no article is in two of them.

    Attributes
    ----------
    name : where the pairs are from, for example "howto".
    problems : one sentence for each thing that was skipped, with its number.
    """

    name: str
    train: tuple[StepPair, ...]
    validation: tuple[StepPair, ...]
    test: tuple[StepPair, ...]
    problems: tuple[str, ...] = ()

    @property
    def categories(self) -> tuple[str, ...]:
        """Every category, in order of first appearance."""
        return tuple(dict.fromkeys(pair.category for pair in (*self.test, *self.train, *self.validation)))
