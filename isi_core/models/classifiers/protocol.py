"""What every image classifier offers, whichever library or rule stands behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from isi_core.domain.attributes import Attribute

if TYPE_CHECKING:
    from isi_core.worlds.attributed import Subject


class ImageClassifier(Protocol):
    """Tells the classes of pictures. A classifier with a single output is given as two classes, the first of logit 0.

    Attributes are read-only properties.
    """

    @property
    def record(self) -> Mapping[str, Any]:
        """Which classifier exactly (name, source, revision, settings), as plain JSON values."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """One name a class, in the order of the logits; at least two."""
        ...

    @property
    def exclusive(self) -> bool:
        """A picture is of one class (softmax); False where each class is a question of its own (sigmoid)."""
        ...

    def logits(self, images: Sequence[Image.Image]) -> NDArray[np.float64]:
        """(n, classes) logits of RGB pictures of any sizes, in batches of its own choosing.

        Raises
        ------
        ModelError : the model failed, or there is no memory even for one picture. Values that are not numbers are
            passed on: whoever scores them tells.
        """
        ...


@runtime_checkable
class SubjectClassifier(Protocol):
    """A classifier that is computed straight from an embedded world's subject, without pixels (`rule.py`)."""

    @property
    def record(self) -> Mapping[str, Any]:
        """Which classifier exactly, as plain JSON values."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """One name a class, in the order of the logits."""
        ...

    @property
    def exclusive(self) -> bool:
        """A picture is of one class (softmax)."""
        ...

    def subject_logits(self, subjects: Sequence[Subject]) -> NDArray[np.float64]:
        """(n, classes) logits of subjects."""
        ...


Classifier = ImageClassifier | SubjectClassifier
"""What a ranking explains. A `SubjectClassifier` needs pictures and edits that carry their subject."""


class AttributeReader(Protocol):
    """Reads which attributes a picture shows, to check that an edit did what it says."""

    @property
    def record(self) -> Mapping[str, Any]:
        """Which reader exactly, as plain JSON values."""
        ...

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """The attributes it can read."""
        ...

    @property
    def rough(self) -> bool:
        """Only differences between two pictures mean something, not a probability by itself (CLIP)."""
        ...

    def read(self, images: Sequence[Image.Image]) -> Mapping[Attribute, NDArray[np.float64]]:
        """For each of its attributes the (n,) probabilities that the pictures show it."""
        ...
