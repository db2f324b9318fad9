"""What a repair works on: a biased training set, and pictures that show whether the bias was learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isi_core.domain.attributes import Attribute
from isi_core.domain.errors import InputError
from isi_core.models.editors.protocol import Picture
from isi_core.worlds.attributed import Subject, world
from isi_core.worlds.rules import Rule

AFFECTED, AS_TRAINED, UNBIASED = "affected group", "overall, as trained", "overall, without bias"
GROUPS = (AFFECTED, AS_TRAINED, UNBIASED)
_MOST_TRIES = 200
SIDE = 64
"""Pixels of a drawn picture: what the embedded classifiers see."""


@dataclass(frozen=True)
class Labelled:
    """Pictures with their true classes, as indices."""

    pictures: tuple[Picture, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Examination:
    """Held-out pictures, and how much each counts in the accuracy on a group.

    Attributes
    ----------
    weights : by group (`GROUPS`) the (n,) weights of the pictures, at least 0; an accuracy is a weighted mean.
    """

    labelled: Labelled
    weights: Mapping[str, NDArray[np.float64]]

    def size(self, group: str) -> int:
        """Pictures that count in a group."""
        return int((self.weights[group] > 0).sum())

    def accuracies(self, right: NDArray[np.bool_]) -> dict[str, float]:
        """By group, the weighted share of the (n,) pictures that a classifier got right."""
        return {group: float(np.average(right, weights=weight)) for group, weight in self.weights.items()}


@dataclass(frozen=True)
class WorldTask:
    """A built-in world's pictures, labelled by a rule, in which an attribute goes along with a class.

    The label is the class that the rule holds likeliest: it has no noise, so that whatever is wrong is the
    classifier's. The attribute has no weight in the rule: a classifier that goes by it is wrong to.

    Attributes
    ----------
    rule : labels the pictures.
    attribute, along : what goes along with which class in the training pictures.
    share : how often the attribute is on in that class, and off in the others.
    size : training pictures.
    held_out : subjects of the examination; each is shown with the attribute and without.
    margin : log-odds by which the likeliest class leads; subjects with less are nobody's clear case and left out.

    Raises
    ------
    InputError : an unknown attribute or class, one that the rule weighs, or a number out of its range.
    """

    rule: Rule
    attribute: Attribute
    along: str
    share: float = 0.94
    size: int = 400
    held_out: int = 300
    margin: float = 2.0

    def __post_init__(self) -> None:
        if self.along not in self.rule.classes:
            raise InputError(f"The rule {self.rule.name} has the classes {', '.join(self.rule.classes)}: name one.")
        path = world(self.rule.world).path(self.attribute.path)
        if self.rule.influences(path):
            raise InputError(
                f"By the rule {self.rule.name}, {self.attribute.text} changes the class itself, so that nothing is "
                "wrong with a classifier that goes by it: choose an attribute without weight."
            )
        if not 0.5 <= self.share <= 1 or not 0 <= self.margin <= 20:
            raise InputError("The share lies between 0.5 and 1, the margin between 0 and 20.")
        if not 20 <= self.size <= 20_000 or not 20 <= self.held_out <= 20_000:
            raise InputError("Training and examination take 20 to 20,000 pictures each.")

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the rule."""
        return self.rule.classes

    def to_json(self) -> dict[str, Any]:
        """Every setting."""
        return {
            "rule": self.rule.name,
            "world": self.rule.world,
            "attribute": self.attribute.to_json(),
            "along": self.along,
            "share": self.share,
            "size": self.size,
            "held_out": self.held_out,
            "margin": self.margin,
        }

    def training(self, seed: int, count: int = 0, part: str = "training") -> Labelled:
        """Biased pictures by the seed, `size` of them without a `count`; another `part` draws others."""
        rng, place = Random(f"repair {part} {seed}"), world(self.rule.world)
        pictures: list[Picture] = []
        labels: list[int] = []
        for subject, label in self._draw(rng, count or self.size, held_out=False):
            on = rng.random() < (self.share if self.labels[label] == self.along else 1 - self.share)
            pictures.append(self._picture(place.with_attribute(subject, self.attribute.path, on), len(pictures)))
            labels.append(label)
        return Labelled(tuple(pictures), tuple(labels))

    def candidates(self, labelled: Labelled) -> list[int]:
        """Numbers of the pictures that a counterfactual is made of: of another class, and without the attribute."""
        place = world(self.rule.world)
        return [
            number
            for number, (picture, label) in enumerate(zip(labelled.pictures, labelled.labels, strict=True))
            if self.labels[label] != self.along
            and picture.subject is not None
            and not place.has(picture.subject, self.attribute.path)
        ]

    @cached_property
    def examination(self) -> Examination:
        """Held-out subjects, each with the attribute and without; weights put any bias upon them exactly."""
        rng, place, path = Random("repair examination"), world(self.rule.world), self.attribute.path
        drawn = self._draw(rng, self.held_out, held_out=True)
        labels = np.array([label for _, label in drawn])
        pictures: list[Picture] = []
        for present in (True, False):
            for subject, _ in drawn:
                pictures.append(self._picture(place.with_attribute(subject, path, present), len(pictures)))
        along = labels == self.labels.index(self.along)
        if along.all() or not along.any():
            raise InputError("All held-out pictures are of one class: use more of them, or a smaller margin.")
        chance = np.where(along, self.share, 1 - self.share)
        nothing = np.zeros(len(labels))
        weights = {
            AFFECTED: np.concatenate([(~along).astype(np.float64), nothing]),
            AS_TRAINED: np.concatenate([chance, 1 - chance]),
            UNBIASED: np.full(2 * len(labels), 0.5),
        }
        return Examination(Labelled(tuple(pictures), (*map(int, labels), *map(int, labels))), weights)

    def _draw(self, rng: Random, count: int, held_out: bool) -> list[tuple[Subject, int]]:
        place = world(self.rule.world)
        found: list[tuple[Subject, int]] = []
        for _ in range(count * _MOST_TRIES):
            subject = place.draw_subject(rng)
            if subject.held_out is held_out and self._lead(subject) >= self.margin:
                found.append((subject, self.rule.likeliest(subject)))
                if len(found) == count:
                    return found
        raise InputError("Hardly any subject is of one class by this margin: choose a smaller one.")

    def _lead(self, subject: Subject) -> float:
        best, second = sorted(self.rule.class_logits(subject), reverse=True)[:2]
        return best - second

    def _picture(self, subject: Subject, number: int) -> Picture:
        return Picture.of(world(subject.world).render(subject, SIDE), f"{subject.world} {number + 1}", subject)


def checked_labels(task_labels: Sequence[str], model_labels: Sequence[str]) -> None:
    """Refuse a classifier whose classes are not the task's.

    Raises
    ------
    InputError : they differ.
    """
    if tuple(task_labels) != tuple(model_labels):
        raise InputError(
            f"The classifier tells {', '.join(model_labels)[:100]}, the pictures are {', '.join(task_labels)[:100]}: "
            "choose a classifier and a rule of the same classes."
        )
