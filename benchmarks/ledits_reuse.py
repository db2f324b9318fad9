"""What reuse beyond the inversion saves: a second classifier on a full edit bank, and racing.

Run by `python -m benchmarks.ledits bank` and `python -m benchmarks.ledits cost`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isi_core.domain.attributes import Attribute, Corpus, Edit, EditSet
from isi_core.models.classifiers.hugging_face import HuggingFaceClassifier
from isi_core.models.editors.ledits import LeditsEditor
from isi_core.models.editors.ledits_loading import LeditsModel
from isi_core.models.editors.ledits_settings import LeditsSettings
from isi_core.models.editors.protocol import Picture
from isi_core.studies.counterfactuals.bank import EditBank
from isi_core.studies.counterfactuals.effects import Effects
from isi_core.studies.counterfactuals.racing import Race, race
from isi_core.studies.counterfactuals.results import Result
from isi_core.studies.counterfactuals.run import Settings, rank
from isi_core.worlds.attributed import world

TOP = 5


@dataclass(frozen=True)
class Raced:
    """A race for the first five, by the study's own code; its `calls` are counted by whoever watches the denoiser."""

    race: Race
    top: tuple[Attribute, ...]
    effects: Effects


def raced(
    model: LeditsModel,
    settings: LeditsSettings,
    pictures: Sequence[Picture],
    attributes: Sequence[Attribute],
    classifier: Any,
) -> Raced:
    """Pictures go to the attributes whose place among the first five is open; nothing is known beforehand."""
    effects = Effects(pictures, LeditsEditor(model, settings), classifier, 1)
    sets: list[EditSet] = [(Edit(attribute),) for attribute in attributes]

    def sizes(edits: EditSet, numbers: Sequence[int]) -> list[float]:
        return [abs(delta.change) for delta in effects.deltas(edits, numbers)]

    went = race(sets, sizes, len(pictures), TOP)
    return Raced(went, tuple(edits[0].attribute for edits in went.top), effects)


def mean_sizes(
    found: Raced, editor: LeditsEditor, classifier: Any, attributes: Sequence[Attribute], bank: Path | None
) -> NDArray[np.float64]:
    """(attributes,) mean |change of log-odds| over all pictures: the race's own edits and, where it made none, others.

    Those come from the bank where they are there, and are made where they are not.
    """
    looked = found.effects.looked_at()
    pictures = found.effects.pictures
    rest = Effects(pictures, editor, classifier, 1, bank=EditBank(bank) if bank is not None else None)
    sizes = np.empty((len(attributes), len(pictures)))
    for number in range(len(pictures)):
        for place, attribute in enumerate(attributes):
            edits: EditSet = (Edit(attribute),)
            effects = found.effects if number in looked.get(edits, ()) else rest
            sizes[place, number] = abs(effects.deltas(edits, [number])[0].change)
    means: NDArray[np.float64] = sizes.mean(axis=1)
    return means


def small_corpus(attributes: Sequence[Attribute]) -> Corpus:
    """The corpus of these leaves of the face world."""
    categories: dict[str, dict[str, tuple[str, ...]]] = {}
    for attribute in attributes:
        one, two, leaf = attribute.path
        below = categories.setdefault(one, {})
        below[two] = (*below.get(two, ()), leaf)
    return Corpus("faces", categories)


def second_classifier(
    model: LeditsModel,
    settings: LeditsSettings,
    pictures: Sequence[Picture],
    classifiers: Sequence[HuggingFaceClassifier],
    count: int,
) -> list[dict[str, Any]]:
    """Rank by the first classifier into an empty bank, then by the others from it; a row each.

    Every ranking has an editor of its own without inversions, so that what is saved is the bank's.
    """
    corpus = small_corpus([Attribute(path) for path in world("faces").leaves()[:count]])
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for classifier in classifiers:
            begun = time.perf_counter()
            found: Result = rank(
                pictures,
                corpus,
                LeditsEditor(model, settings),
                classifier,
                Settings(search="exhaustive", joint=1),
                EditBank(Path(folder)),
            )
            rows.append(
                {
                    "classifier": classifier.record["name"],
                    "edits": found.cost.edits,
                    "edits made": found.cost.edits_made,
                    "denoiser evaluations": found.cost.denoiser_evaluations,
                    "seconds": time.perf_counter() - begun,
                }
            )
    return rows


def print_bank(rows: Sequence[dict[str, Any]]) -> None:
    """The table, with how much faster each ranking was than the first."""
    print("| ranking | edits | made now | denoiser evaluations | seconds | faster | target |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for place, row in enumerate(rows):
        row["faster"] = rows[0]["seconds"] / row["seconds"]
        print(
            f"| {place + 1}. {row['classifier']} | {row['edits']} | {row['edits made']} | "
            f"{row['denoiser evaluations']:,} | {row['seconds']:.3f} | {row['faster']:.1f} | "
            f"{'>= 50' if place else ''} |"
        )
