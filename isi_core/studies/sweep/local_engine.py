"""The engine `local`: this process asks its own shelf's model, several trials side by side, and shares it in turns."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from isi_core.models.entailment.protocol import EntailmentModel
from isi_core.models.shelf import Shelf
from isi_core.models.vlm.protocol import VisionLanguageModel
from isi_core.studies.sweep.asking import ask, batch_size
from isi_core.studies.sweep.run import Engine, LoadedModels, ModelPart

TURN = 2.0
"""Seconds after which a sweep gives its model to whoever waits for it, between two evaluations."""


def local_engine(shelf: Shelf) -> Engine:
    """Does a model's part of a sweep with the models on a shelf."""
    return lambda part: _do(part, shelf)


def _do(part: ModelPart, shelf: Shelf) -> None:
    plan, size = part.plan, 1
    while part.left:
        # Between two turns others may use the model: somebody who asks one question must not wait for the sweep.
        with _models(part, shelf) as (vlm, entailment):
            loaded = LoadedModels(
                vlm.record, entailment.record if entailment is not None else None, vlm.capabilities.attention
            )
            part.check_models(loaded)
            until = time.monotonic() + TURN
            while True:
                part.look()
                began, before = time.monotonic(), part.left
                tasks = part.take(size, loaded)
                told = part.progress_of(len(tasks))
                trials = [task.trial for task in tasks]
                for outcome in ask(trials, vlm, entailment, plan.decoding, plan.measures, plan.settings, told):
                    part.store(tasks[outcome.place], outcome.made, outcome.seconds)
                size = batch_size((time.monotonic() - began) / max(before - part.left, 1))
                if not part.left or time.monotonic() >= until:
                    break


@contextmanager
def _models(part: ModelPart, shelf: Shelf) -> Iterator[tuple[VisionLanguageModel, EntailmentModel | None]]:
    """The models of a turn."""
    with shelf.vlm(part.choice.name, part.choice.quantization, part.waiting) as vlm:
        if part.entailment_name is None:
            yield vlm, None
            return
        with shelf.entailment(part.entailment_name, part.waiting) as entailment:
            yield vlm, entailment
