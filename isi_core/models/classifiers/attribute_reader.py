"""Attribute readers: which attributes a picture shows, from a multi-label classifier or from CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.special import expit

from isi_core.domain.attributes import Attribute
from isi_core.domain.errors import InputError
from isi_core.models.classifiers.clip import ClipClassifier
from isi_core.models.classifiers.presets import NOUNS
from isi_core.models.classifiers.protocol import ImageClassifier
from isi_core.worlds.attributed import WORLDS, world


class LabelReader:
    """A multi-label classifier whose labels are paths, "facial hair/beard/goatee" (the embedded `tiny-attributes`).

    Raises
    ------
    InputError : its classes exclude each other, or a label is no path.
    """

    rough = False

    def __init__(self, classifier: ImageClassifier) -> None:
        if classifier.exclusive:
            raise InputError("An attribute reader says yes or no to each attribute: choose a multi-label classifier.")
        self._classifier = classifier
        self.attributes = tuple(Attribute(tuple(label.split("/"))) for label in classifier.labels)

    @property
    def record(self) -> Mapping[str, Any]:
        """The classifier's record."""
        return self._classifier.record

    def read(self, images: Sequence[Image.Image]) -> Mapping[Attribute, NDArray[np.float64]]:
        """For each attribute the (n,) probabilities that the pictures show it."""
        shares = expit(self._classifier.logits(images))
        return {attribute: shares[:, i] for i, attribute in enumerate(self.attributes)}


class ClipReader:
    """CLIP asked for each attribute apart: "a photo of a face with a goatee beard" against "a photo of a face".

    CLIP hardly understands negation, so that the other text is the domain alone. Its likings lie at one end or the
    other whatever a picture shows, so that it is `rough`: what an edit moved says something, a value alone does not.

    Parameters
    ----------
    domain : a built-in world, whose own words are taken, a corpus's domain, or what all pictures show, as "face".
    """

    rough = True

    def __init__(self, clip: ClipClassifier, domain: str, attributes: Sequence[Attribute]) -> None:
        if not attributes:
            raise InputError("There is no attribute to read: choose a corpus with attributes.")
        self.attributes = tuple(attributes)
        plain, words = f"a photo of a {NOUNS.get(domain, domain)}", _words_of(domain)
        asked = {a.text: (f"{plain} with {words.get(a.path, a.phrase)}",) for a in attributes}
        self._clip = clip.with_classes({"": (plain,), **asked})

    @property
    def record(self) -> Mapping[str, Any]:
        """The model and its texts."""
        return self._clip.record

    def read(self, images: Sequence[Image.Image]) -> Mapping[Attribute, NDArray[np.float64]]:
        """For each attribute the (n,) probabilities against the domain alone."""
        logits = self._clip.logits(images)
        return {a: expit(logits[:, i + 1] - logits[:, 0]) for i, a in enumerate(self.attributes)}


def _words_of(domain: str) -> dict[tuple[str, ...], str]:
    """What a built-in world calls its leaves."""
    return {path: world(domain).phrase(path) for path in world(domain).leaves()} if domain in WORLDS else {}
