"""Repair (DiffEx, section S6.3 and Table C): counterfactuals join the training set, and the classifier is fitted again.

Three classifiers are fitted from the same start: on the biased pictures, on these with counterfactuals of the
attribute, and, to tell what is due to the counterfactuals, on these with as many further pictures of the biased kind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from isi_core.domain.attributes import Attribute, Edit
from isi_core.domain.errors import InputError
from isi_core.domain.progress import Progress, part_of, told_at
from isi_core.models.classifiers.fitting import FitSettings, fitted, pixels_of
from isi_core.models.classifiers.hugging_face import HuggingFaceClassifier
from isi_core.models.editors.protocol import Edited, ImageEditor, Picture, told_steps
from isi_core.studies.counterfactuals.bank import EditBank
from isi_core.studies.counterfactuals.repair_results import RepairResult, Trial
from isi_core.studies.counterfactuals.repair_task import Examination, Labelled, checked_labels


class RepairTask(Protocol):
    """Training pictures with a bias, and what they are examined by (`WorldTask`)."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes."""
        ...

    @property
    def attribute(self) -> Attribute:
        """What goes along with a class in training."""
        ...

    @property
    def examination(self) -> Examination:
        """Held-out pictures, the same for every seed."""
        ...

    def training(self, seed: int, count: int = 0, part: str = "training") -> Labelled:
        """Training pictures by the seed; others of the same kind by another `part`."""
        ...

    def candidates(self, labelled: Labelled) -> list[int]:
        """Numbers of the pictures that counterfactuals are made of."""
        ...

    def to_json(self) -> Mapping[str, Any]:
        """Its settings."""
        ...


@dataclass(frozen=True)
class RepairSettings:
    """How much is repaired, and how often it is tried.

    Attributes
    ----------
    counterfactuals : how many join the training set.
    seeds : trials, each with training pictures, counterfactuals and an order of its own.
    control : also fit with as many further pictures of the biased kind.

    Raises
    ------
    InputError : a number out of its range.
    """

    counterfactuals: int = 100
    seeds: int = 5
    first_seed: int = 0
    control: bool = True
    fit: FitSettings = field(default_factory=FitSettings)

    def __post_init__(self) -> None:
        if not 1 <= self.counterfactuals <= 10_000 or not 1 <= self.seeds <= 100 or not 0 <= self.first_seed < 2**31:
            raise InputError("A repair takes 1 to 10,000 counterfactuals and 1 to 100 seeds.")


def repair(
    task: RepairTask,
    classifier: HuggingFaceClassifier,
    editor: ImageEditor,
    settings: RepairSettings | None = None,
    bank: EditBank | None = None,
    progress: Progress | None = None,
) -> RepairResult:
    """Fit before and after, over several seeds, and examine each on the same held-out pictures.

    Raises
    ------
    InputError : classifier and task do not fit, or no picture can be made a counterfactual of.
    ModelError : classifier or editor failed. Cancelled : by `progress`.
    """
    settings = settings or RepairSettings()
    checked_labels(task.labels, classifier.labels)
    began = time.monotonic()
    _tell(progress, "Drawing the held-out pictures", 0.0)
    examination = task.examination
    examined = pixels_of(classifier, [picture.image for picture in examination.labelled.pictures])
    truth = np.array(examination.labelled.labels)

    def accuracies(found: HuggingFaceClassifier) -> dict[str, float]:
        return examination.accuracies(found.logits_of(examined).argmax(axis=1) == truth)

    trials = []
    for number in range(settings.seeds):
        part = part_of(progress, number / settings.seeds, (number + 1) / settings.seeds)
        trials.append(_trial(task, classifier, editor, settings, bank, settings.first_seed + number, accuracies, part))
    return RepairResult(
        settings={
            "task": dict(task.to_json()),
            "counterfactuals": settings.counterfactuals,
            "seeds": settings.seeds,
            "first_seed": settings.first_seed,
            "fit": asdict(settings.fit),
            "classifier": dict(classifier.record),
            "editor": dict(editor.record),
        },
        sizes={group: examination.size(group) for group in examination.weights},
        start=None if settings.fit.fresh or "head" in classifier.record else accuracies(classifier),
        trials=tuple(trials),
        seconds=time.monotonic() - began,
    )


def _trial(
    task: RepairTask,
    classifier: HuggingFaceClassifier,
    editor: ImageEditor,
    settings: RepairSettings,
    bank: EditBank | None,
    seed: int,
    accuracies: Any,
    progress: Progress | None,
) -> Trial:
    _tell(progress, f"Seed {seed}: drawing training pictures", 0.0)
    training = task.training(seed)
    made = _counterfactuals(task, training, editor, settings.counterfactuals, seed, bank, part_of(progress, 0.05, 0.2))
    further: dict[str, Labelled] = {"before": Labelled((), ()), "with counterfactuals": made}
    if settings.control:
        further["with further pictures"] = task.training(seed, len(made.labels), "control")
    pixels = pixels_of(classifier, [picture.image for picture in training.pictures])
    found = {}
    for place, (arm, more) in enumerate(further.items()):
        stretch = part_of(progress, 0.2 + 0.8 * place / len(further), 0.2 + 0.8 * (place + 1) / len(further))

        def on_step(step: int, of: int, arm: str = arm, stretch: Progress | None = stretch) -> None:
            _tell(stretch, f"Seed {seed}: fitting {arm}", step / of)

        joined = pixels
        if more.pictures:
            joined = torch.cat([pixels, pixels_of(classifier, [picture.image for picture in more.pictures])])
        labels: NDArray[np.int64] = np.array([*training.labels, *more.labels])
        found[arm] = accuracies(fitted(classifier, joined, labels, settings.fit, seed, on_step))
    return Trial(seed, len(made.labels), found)


def _counterfactuals(
    task: RepairTask,
    training: Labelled,
    editor: ImageEditor,
    count: int,
    seed: int,
    bank: EditBank | None,
    progress: Progress | None,
) -> Labelled:
    """Training pictures of the other classes with the attribute added; the class stays what it was."""
    numbers = task.candidates(training)
    if not numbers:
        raise InputError(
            "There is no training picture of another class without the attribute: use more pictures, or another one."
        )
    chosen = Random(f"repair counterfactuals {seed}").sample(numbers, min(count, len(numbers)))
    pictures = []
    for place, number in enumerate(chosen):
        _tell(progress, f"Seed {seed}: making counterfactuals", place / len(chosen))
        tell = None if progress is None else told_at(progress, place / len(chosen))
        edited = _edited(editor, training.pictures[number], task.attribute, seed, bank, tell)
        pictures.append(Picture.of(edited.image, training.pictures[number].name, edited.subject))
    return Labelled(tuple(pictures), tuple(training.labels[number] for number in chosen))


def _edited(
    editor: ImageEditor,
    picture: Picture,
    attribute: Attribute,
    seed: int,
    bank: EditBank | None,
    tell: Callable[[str], None] | None = None,
) -> Edited:
    edits = (Edit(attribute),)
    kept = bank.get(picture.digest, edits, editor.record, seed) if bank is not None else None
    if kept is not None:
        return kept
    what = f"Seed {seed}: making counterfactuals, {picture.name}"
    made = editor.edit(picture, edits, seed, told_steps(tell, what) if tell is not None else None)
    if bank is not None:
        bank.put(picture.digest, edits, editor.record, seed, made)
    return made


def _tell(progress: Progress | None, message: str, fraction: float) -> None:
    if progress is not None:
        progress(message, fraction)
