"""What a failure benchmark is to do, as data: the same plan finds the same numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from isi_core.domain.errors import InputError

Task = Literal["scenes", "dataset", "boolq", "piqa", "winogrande", "social-iqa"]
TASKS: tuple[Task, ...] = get_args(Task)
PICTURE_TASKS: tuple[Task, ...] = ("scenes", "dataset")
CONTEXTS = ("none", "complementary", "contradictory", "random")
QUICK = ("majority", "option-margin", "context-kind", "question-family", "last-token")
MOST_CASES = 100_000
_FORMAT = 1


@dataclass(frozen=True)
class FailurePlan:
    """Every setting that shapes a benchmark's numbers.

    Attributes
    ----------
    task : `scenes` (generated, never runs out), `dataset` (any VQA dataset of the app) or one of the text tasks.
    source : `dataset`: its name or folder; text tasks: the task's file or a folder of them; "" for `scenes`.
    model : catalogue name, hub id or folder; a vision-language model for pictures, a causal language model for text.
    k : successes and failures collected, each; split 50 / 25 / 25.
    layers : `five` evenly spaced ones, `all`, or their numbers (1-based).
    explainers : keys of the registry, in the order of the tables.
    contexts : context kinds that pictures are shown with, in equal parts.
    labels : `model` asks the model; `given` takes the labels of a file with classes `correct` and `incorrect`.
    sampling_k : cases of each class, at most, for explainers that sample answers.
    samples, temperature : how those draw.
    entailment : model that compares sampled answers.
    permuted : explainer whose permutation null and label-shuffle control are taken; "" for none.
    permutations : shuffles of that null.
    level : confidence level of every interval.
    resamples : of the bootstrap.
    most_asked : inputs put to the model at most; 0 for 50 k.
    seed : draws the inputs, the choice of cases, the splits, the fits and the resamples.
    """

    task: Task = "scenes"
    source: str = ""
    model: str = "tiny-llava"
    quantization: str = "none"
    k: int = 200
    layers: Literal["five", "all"] | tuple[int, ...] = "five"
    explainers: tuple[str, ...] = QUICK
    contexts: tuple[str, ...] = CONTEXTS
    labels: Literal["model", "given"] = "model"
    sampling_k: int = 200
    samples: int = 10
    temperature: float = 0.9
    entailment: str = "tiny-nli"
    permuted: str = "last-token"
    permutations: int = 100
    level: float = 0.999
    resamples: int = 20_000
    most_asked: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise InputError(f"Task {str(self.task)[:40]!r} is unknown: choose {', '.join(TASKS)}.")
        if self.task != "scenes" and not self.source.strip():
            raise InputError(f"The task {self.task} needs its data: name a file or folder.")
        if not self.model.strip():
            raise InputError("A benchmark needs a model: choose one.")
        _check_count("k", self.k, 8, MOST_CASES)
        _check_count("sampling_k", self.sampling_k, 8, 2_000)
        _check_count("samples", self.samples, 2, 100)
        _check_count("permutations", self.permutations, 1, 10_000)
        _check_count("resamples", self.resamples, 1_000, 1_000_000)
        _check_count("most_asked", self.most_asked, 0, 10_000_000)
        _check_count("seed", self.seed, 0, 2**31)
        if isinstance(self.layers, str):
            if self.layers not in ("five", "all"):
                raise InputError(f"Layers {self.layers[:40]!r} are unknown: choose five, all, or their numbers.")
        else:
            if not self.layers or any(layer < 1 for layer in self.layers):
                raise InputError("Layers are counted from 1: give at least one.")
            object.__setattr__(self, "layers", tuple(sorted(set(self.layers))))
        if not self.explainers:
            raise InputError("A benchmark needs at least one explainer: choose one.")
        if self.task in PICTURE_TASKS and (not self.contexts or set(self.contexts) - set(CONTEXTS)):
            raise InputError(f"Contexts must be among {', '.join(CONTEXTS)}, at least one.")
        if self.labels not in ("model", "given"):
            raise InputError("Labels are `model` or `given`.")
        if self.labels == "given" and self.task in PICTURE_TASKS:
            raise InputError("Given labels are for text tasks: let the model answer the pictures.")
        if not 0.0 < self.temperature <= 10.0:
            raise InputError("The temperature must lie above 0 and at most 10.")
        if not 0.0 < self.level < 1.0:
            raise InputError("The confidence level must lie between 0 and 1, such as 0.999.")

    @property
    def digest(self) -> str:
        """SHA-256 of every setting, in hex."""
        return _digest(self.to_json())

    @property
    def collection_digest(self) -> str:
        """SHA-256 of what shapes the collected cases alone; plans that share it share their cases."""
        keys = ("task", "source", "model", "quantization", "k", "contexts", "labels", "most_asked", "seed")
        data = self.to_json()
        return _digest({key: data[key] for key in keys})

    def chosen_layers(self, available: int) -> tuple[int, ...]:
        """Layers to probe (1-based, ascending) of a model with `available` decoder blocks.

        Raises
        ------
        InputError : a layer does not exist.
        """
        if self.layers == "all":
            return tuple(range(1, available + 1))
        if self.layers == "five":
            count = min(5, available)
            return tuple(sorted({round(available * (i + 1) / count) for i in range(count)}))
        missing = [layer for layer in self.layers if layer > available]
        if missing:
            raise InputError(f"{self.model} has {available} layers, no layer {missing[0]}: choose 1 to {available}.")
        return self.layers

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        data = asdict(self)
        return {"format": _FORMAT, **{k: list(v) if isinstance(v, tuple) else v for k, v in data.items()}}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> FailurePlan:
        """The plan from `to_json`'s form.

        Raises
        ------
        InputError : unknown settings, or values out of range.
        """
        known = {f.name for f in fields(cls)}
        if not isinstance(data, dict) or set(data) - known - {"format"} or data.get("format") != _FORMAT:
            raise InputError("These are not the settings of a failure benchmark: make a new plan.")
        lists: Sequence[str] = ("explainers", "contexts", "layers")
        given: dict[str, Any] = {k: v for k, v in data.items() if k != "format"}
        given |= {k: tuple(v) for k, v in given.items() if k in lists and isinstance(v, list)}
        try:
            return cls(**given)
        except (TypeError, AttributeError) as error:
            raise InputError("The settings of this failure benchmark cannot be read: make a new plan.") from error


def quick_look(**changes: Any) -> FailurePlan:
    """A minute on the embedded model: 100 + 100 cases, five layers, baselines and the published probe."""
    return FailurePlan(**{"k": 100, "explainers": QUICK, "permutations": 20, **changes})


def paper(**changes: Any) -> FailurePlan:
    """The published protocol: 2,000 + 2,000 cases, five layers, last-token probes, with the baselines beside them."""
    explainers = ("majority", "option-margin", "prompt-length", "last-token", "last-token-released")
    return FailurePlan(**{"k": 2_000, "explainers": explainers, **changes})


def all_explainers(**changes: Any) -> FailurePlan:
    """Every explainer at every layer, 1,000 + 1,000 cases."""
    from isi_core.studies.failure.explainers import EXPLAINERS

    return FailurePlan(**{"k": 1_000, "layers": "all", "explainers": tuple(EXPLAINERS), **changes})


PRESETS = {"quick look": quick_look, "paper": paper, "all explainers": all_explainers}
"""Name of a preset to the function that makes its plan; keyword arguments change single settings."""


def _check_count(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InputError(f"{name} must be a whole number from {least} to {most:,}; got {str(value)[:40]}.")


def _digest(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
