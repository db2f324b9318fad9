"""What runs on a Ray cluster's machines: a worker that holds one model and answers small batches of a sweep's trials.

Nothing here needs Ray: it calls the worker's methods from afar. What goes in and out is text and pixels.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from pathlib import Path
from typing import Any

from PIL import Image

from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import ModelError
from isi_core.domain.evaluation import Evaluation, ModelRecord
from isi_core.domain.trial import Trial
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.models.shelf import Shelf
from isi_core.store.serialization import evaluation_from_json, evaluation_to_json
from isi_core.studies.sweep.asking import Failure, Outcome, ask, failure_of
from isi_core.studies.sweep.run import LoadedModels, Task

Pixels = tuple[int, int, bytes]
"""An RGB picture: width, height, pixels."""
_ROOT = Path(__file__).resolve().parents[2]
_FLOORS = ("domain", "worlds", "models", "datasets", "store", "measures", "studies")
"""The packages that shape an evaluation."""


def code_digest() -> str:
    """Names this version of the program, so that one sweep's results all come from the same one."""
    state = hashlib.sha256()
    for floor in _FLOORS:
        for path in sorted((_ROOT / floor).rglob("*.py")):
            state.update(f"{path.relative_to(_ROOT).as_posix()} ".encode())
            state.update(path.read_bytes())
    return state.hexdigest()[:24]


class Worker:
    """Holds one model and the entailment model beside it; Ray calls its methods one after the other."""

    def __init__(self) -> None:
        self._shelf = Shelf()
        self._job: dict[str, Any] = {}

    def load(self, job: str) -> str:
        """Load the models that a job names; what was loaded, or why it was not, in the form `read_loaded` reads."""
        place = socket.gethostname()
        told: dict[str, Any] = {"host": place, "pid": os.getpid()}
        self._job = json.loads(job)
        try:
            if self._job["code"] != code_digest():
                raise ModelError("it has another version of ISI Studio, so update its checkout")
            for name in (self._job["model"], self._job["entailment"]):
                # A hub id is no path, and a catalogue's name none that is absolute.
                if name is not None and Path(name).is_absolute() and not Path(name).is_dir():
                    raise ModelError(
                        f"there is no folder {name}, so put the model at that path on every machine, or give its hub id"
                    )
            told.update(self._load())
        except Exception as error:
            told["error"] = f"The worker on {place} cannot be used: {failure_of(error, 'the model').sentence}"
        return json.dumps(told)

    def _load(self) -> dict[str, Any]:
        job = self._job
        with self._shelf.vlm(job["model"], job["quantization"]) as vlm:
            told = {"vlm": vlm.record.to_json(), "attention": vlm.capabilities.attention, "entailment": None}
            if job["entailment"] is not None:
                with self._shelf.entailment(job["entailment"]) as entailment:
                    told["entailment"] = entailment.record.to_json()
        return told

    def ask(self, trials: str, pictures: dict[str, Pixels]) -> str:
        """What comes of trials made by `pack`, in the form that `unpack` reads."""
        job = self._job
        shown = {digest: Image.frombytes("RGB", (w, h), pixels) for digest, (w, h, pixels) in pictures.items()}
        asked = [Trial.from_json(data, shown[data["image_digest"]]) for data in json.loads(trials)]
        decoding, settings = Decoding.from_json(job["decoding"]), UncertaintySettings.from_json(job["settings"])
        with self._shelf.vlm(job["model"], job["quantization"]) as vlm:
            if job["entailment"] is None:
                outcomes = list(ask(asked, vlm, None, decoding, job["measures"], settings))
            else:
                with self._shelf.entailment(job["entailment"]) as entailment:
                    outcomes = list(ask(asked, vlm, entailment, decoding, job["measures"], settings))
        return json.dumps([_outcome_to_json(outcome) for outcome in outcomes])


def read_loaded(told: str) -> LoadedModels:
    """What a worker has loaded.

    Raises
    ------
    ModelError : why it has not.
    """
    data = json.loads(told)
    if "error" in data:
        raise ModelError(str(data["error"]))
    entailment = data["entailment"]
    return LoadedModels(
        ModelRecord.from_json(data["vlm"]),
        ModelRecord.from_json(entailment) if entailment is not None else None,
        bool(data["attention"]),
    )


def pack(tasks: list[Task]) -> tuple[str, dict[str, Pixels]]:
    """Tasks' trials as text, and each picture once."""
    pictures = {task.trial.image_digest: task.trial.image for task in tasks}
    text = json.dumps([task.trial.to_json() for task in tasks])
    return text, {digest: (image.width, image.height, image.tobytes()) for digest, image in pictures.items()}


def unpack(told: str, tasks: list[Task]) -> list[Outcome]:
    """What came of tasks, their pictures put back.

    Raises
    ------
    InputError : something is not as it was asked.
    """
    return [_outcome_from_json(data, tasks) for data in json.loads(told)]


def _outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    made = outcome.made
    told: dict[str, Any] = {"place": outcome.place, "seconds": outcome.seconds}
    if isinstance(made, Failure):
        return {**told, "failure": [made.sentence, made.of_model]}
    return {**told, "evaluation": evaluation_to_json(made)}


def _outcome_from_json(data: dict[str, Any], tasks: list[Task]) -> Outcome:
    place = int(data["place"])
    made: Evaluation | Failure
    if "failure" in data:
        sentence, of_model = data["failure"]
        made = Failure(str(sentence), bool(of_model))
    else:
        made = evaluation_from_json(data["evaluation"], tasks[place].trial.image)
    return Outcome(place, made, float(data["seconds"]))
