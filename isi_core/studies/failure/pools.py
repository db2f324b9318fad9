"""Where pictures with questions come from: generated scenes without end, or a dataset under its contexts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from isi_core.datasets.built_in import load_dataset
from isi_core.datasets.linter import near_duplicates
from isi_core.datasets.scene_dataset import SceneObservation, draw_scene_observations
from isi_core.domain.errors import InputError
from isi_core.domain.interventions import ContextPreset, ImagePreset
from isi_core.domain.observation import Dataset
from isi_core.domain.trial import Trial
from isi_core.studies.failure.plan import FailurePlan
from isi_core.studies.trials import build_trial
from isi_core.worlds.scenes.drawing import render_scene

CHUNK = 240
"""Inputs that are asked and stored together; a multiple of twelve, so that scenes are balanced within it."""


@dataclass(frozen=True, eq=False)
class PictureInput:
    """One input for a vision-language model.

    Attributes
    ----------
    family : the question's family, "" where not known.
    group : near-identical inputs share it, and so their split.
    """

    trial: Trial
    family: str
    group: str


class PicturePool(Protocol):
    """Gives inputs chunk by chunk, the same ones for the same plan."""

    def chunk(self, number: int) -> list[PictureInput]:
        """The inputs of a chunk; empty behind the last one."""
        ...


def open_pool(plan: FailurePlan) -> PicturePool:
    """The pool of a plan.

    Raises
    ------
    InputError : the dataset cannot be read or holds nothing that could be asked.
    """
    if plan.task == "scenes":
        return ScenePool(plan.seed, plan.contexts)
    return DatasetPool(load_dataset(plan.source), plan.seed, plan.contexts)


class ScenePool:
    """Held-out generated scenes, each shown once, its context by lot."""

    def __init__(self, seed: int, contexts: Sequence[str], size: int = CHUNK) -> None:
        self._seed = seed
        self._contexts = tuple(contexts)
        self._size = size

    def chunk(self, number: int) -> list[PictureInput]:
        """`size` scenes; there is always another chunk."""
        lot = hashlib.sha256(f"failure scenes {self._seed} {number}".encode()).digest()
        observations = draw_scene_observations(self._size, int.from_bytes(lot[:6], "big"))
        rng = Random(f"failure contexts {self._seed} {number}")
        kinds = [self._contexts[i % len(self._contexts)] for i in range(self._size)]
        rng.shuffle(kinds)
        return [
            PictureInput(
                Trial(
                    observation_id=f"{number}/{scene.name}",
                    image=render_scene(scene.scene),
                    context=_scene_context(observations, i, kind, rng),
                    question=scene.question.text,
                    truth=scene.question.truth,
                    interventions=(ImagePreset("natural"), ContextPreset(kind, self._seed)),  # type: ignore[arg-type]
                    context_kind=kind,
                ),
                family=scene.question.family,
                group=_scene_group(scene),
            )
            for i, (scene, kind) in enumerate(zip(observations, kinds, strict=True))
        ]


def _scene_context(observations: Sequence[SceneObservation], i: int, kind: str, rng: Random) -> str:
    if kind == "complementary":
        return observations[i].complementary
    if kind == "contradictory":
        return observations[i].contradictory
    if kind == "random":
        return observations[rng.choice([j for j in range(len(observations)) if j != i])].complementary
    return ""


def _scene_group(observation: SceneObservation) -> str:
    """The same objects and claim, wherever they lie, are nearly the same input."""
    objects = sorted(f"{o.colour} {o.kind}" for o in observation.scene.objects)
    claim = observation.question.claim
    return f"{objects} {claim.family} {claim.subject} {claim.value} {claim.reference}"


class DatasetPool:
    """Every observation of a dataset whose truth is known, under every context it has, in random order."""

    def __init__(self, dataset: Dataset, seed: int, contexts: Sequence[str]) -> None:
        self._dataset = dataset
        self._seed = seed
        known = [o for o in dataset.observations if o.truth is not None]
        inputs = [
            (o, kind)
            for o in known
            for kind in contexts
            if (kind != "complementary" or o.complementary) and (kind != "contradictory" or o.contradictory)
        ]
        if not inputs:
            raise InputError(f"{dataset.name} holds no question with a known answer and these contexts: choose others.")
        Random(f"failure dataset {seed}").shuffle(inputs)
        self._inputs = inputs
        self._groups = {o.id: str(o.image.name) for o in dataset.observations}
        for pair in near_duplicates(dataset):
            old, new = self._groups[pair.second], self._groups[pair.first]
            self._groups = {name: new if group == old else group for name, group in self._groups.items()}

    def chunk(self, number: int) -> list[PictureInput]:
        """The next `CHUNK` observations and contexts."""
        found = []
        for observation, kind in self._inputs[number * CHUNK : (number + 1) * CHUNK]:
            presets = (ImagePreset("natural", self._seed), ContextPreset(kind, self._seed))  # type: ignore[arg-type]
            trial = build_trial(self._dataset, observation, presets)
            found.append(PictureInput(trial, observation.family, self._groups[observation.id]))
        return found
