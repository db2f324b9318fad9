"""A VQA dataset of generated scenes that no training has seen, drawn from a seed."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from PIL import Image

from isi_core.datasets.isi_folder import FolderRow, require_empty, write_isi_folder
from isi_core.domain.errors import InputError
from isi_core.domain.progress import Progress
from isi_core.worlds.scenes.drawing import render_annotated, render_scene
from isi_core.worlds.scenes.graph import Scene, SceneObject, draw_held_out_scene
from isi_core.worlds.scenes.language import describe, nudge
from isi_core.worlds.scenes.questions import FAMILIES, Question, draw_question

MAX_COUNT = 10_000
HARD_OBJECTS = 6
"""Objects in the scenes of the hardest tenth."""
_OBJECTS = (2, 3, 3, 4, 4)


@dataclass(frozen=True)
class SceneObservation:
    """A scene, a question about it and what is said beside it.

    Attributes
    ----------
    name : file name of its pictures; it names an object in the scene.
    complementary, contradictory : a sentence that nudges towards, away from the truth.
    """

    name: str
    scene: Scene
    question: Question
    complementary: str
    contradictory: str


def draw_scene_observations(count: int, seed: int) -> list[SceneObservation]:
    """`count` observations of different held-out scenes; the same count and seed give the same ones.

    Yes and no, and the families within each, differ by one observation at most; a tenth has six objects.

    Raises
    ------
    InputError : `count` is not between 1 and `MAX_COUNT`.
    """
    if not 1 <= count <= MAX_COUNT:
        raise InputError(f"The number of scenes must lie between 1 and {MAX_COUNT:,}.")
    rng = Random(f"scene dataset {seed}")
    # Each round of families starts with the other truth, so that twelve observations are balanced in every family.
    cells = [(FAMILIES[i % 6], (i + i // 6) % 2 == 0) for i in range(count)]
    rng.shuffle(cells)
    hard = set(rng.sample(range(count), round(count / 10)))
    width = max(3, len(str(count)))
    seen: set[str] = set()
    observations = []
    for i, (family, truth) in enumerate(cells):
        scene, question = _draw(rng, family, truth, i in hard, seen)
        first = scene.objects[question.objects[0]] if question.objects else _first(scene)
        observations.append(
            SceneObservation(
                name=f"scene_{i + 1:0{width}}_{first.colour}_{first.kind}.png",
                scene=scene,
                question=question,
                complementary=nudge(rng, question.claim, towards=truth),
                contradictory=nudge(rng, question.claim, towards=not truth),
            )
        )
    return observations


def _draw(rng: Random, family: str, truth: bool, hard: bool, seen: set[str]) -> tuple[Scene, Question]:
    """A scene that is not in `seen` (it is added) and allows such a question."""
    while True:
        scene = draw_held_out_scene(rng, HARD_OBJECTS if hard else rng.choice(_OBJECTS))
        question = draw_question(rng, scene, family, truth)
        if question is not None and scene.digest() not in seen:
            seen.add(scene.digest())
            return scene, question


def _first(scene: Scene) -> SceneObject:
    """The object that comes first in reading order."""
    return min(scene.objects, key=lambda o: (o.row, o.column))


def annotated_picture(observation: SceneObservation) -> Image.Image:
    """The scene with the objects of its question marked, and an arrow where it asks for a relation."""
    objects = observation.question.objects
    arrow = (objects[0], objects[1]) if observation.question.family == "relation" else None
    return render_annotated(observation.scene, highlight=objects, arrow=arrow)


def scene_rows(observations: Sequence[SceneObservation], progress: Progress | None = None) -> Iterator[FolderRow]:
    """The observations with their pictures drawn, one at a time."""
    for i, o in enumerate(observations):
        if progress is not None:
            progress(f"Drawing {o.name}", i / len(observations))
        yield FolderRow(
            image=o.name,
            natural=_png(render_scene(o.scene)),
            annotated=_png(annotated_picture(o)),
            question=o.question.text,
            truth=o.question.truth,
            complementary=o.complementary,
            contradictory=o.contradictory,
            description=describe(o.scene),
            family=o.question.family,
        )


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


def write_scene_dataset(count: int, seed: int, folder: Path, progress: Progress | None = None) -> None:
    """Draw a dataset into a new or empty folder, with a README that says how it was made.

    Raises
    ------
    InputError : the count is out of range, or the folder holds something already.
    """
    require_empty(folder)
    observations = draw_scene_observations(count, seed)
    write_isi_folder(scene_rows(observations, progress), folder)
    (folder / "README.md").write_text(_readme(count, seed), encoding="utf-8")


def _readme(count: int, seed: int) -> str:
    return f"""# ISI scenes

{count} generated pictogram scenes, each with one yes/no question whose truth is known from the scene graph, in the
published ISI VQA format: `vlm_dataset.csv`, `natural_images/`, `annotated_images/`. The column `family` names the
question's family: {", ".join(FAMILIES)}.

- Yes and no are balanced, and so are the families; one scene in ten has six objects, the others two to four.
- `complementary` nudges towards the truth, `contradictory` away from it; neither states the answer.
- The annotated pictures mark the objects that the question is about; an arrow joins the two of a relation.
- No scene was ever used in training: every scene whose digest begins with 0 is held out, and all of these do.

Made by this command, from this seed; the same command makes the same files:

    python -m isi_core scenes --count {count} --seed {seed} --out FOLDER

Licence: CC-BY-4.0.
"""
