"""What a sweep is to do, as data: the same plan gives the same evaluations in the same order, wherever it runs."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args

from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import InputError
from isi_core.domain.interventions import (
    Blur,
    ContextPreset,
    GaussianNoise,
    ImagePreset,
    Intervention,
    Occlusion,
    PictureIntervention,
)
from isi_core.domain.observation import Dataset, Observation
from isi_core.domain.trial import Trial
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.studies.trials import CONTEXT_KINDS, IMAGE_KINDS, build_trial, preset_grid
from isi_core.studies.vqa import WANTED, Wanted

PerturbationKind = Literal["noise", "occlusion", "blur"]
_STRONGEST = {"noise": 255.0, "occlusion": 1.0, "blur": 0.5}
_QUANTIZATIONS = ("none", "4-bit", "8-bit")
MOST_EVALUATIONS = 1_000_000
_FORMAT = 1


@dataclass(frozen=True)
class Perturbation:
    """One step of a perturbation schedule.

    Attributes
    ----------
    strength : noise, its standard deviation in grey levels of 255; occlusion, the share of the picture that a grey
        rectangle hides; blur, its standard deviation as a fraction of the shorter side.
    """

    kind: PerturbationKind
    strength: float

    def __post_init__(self) -> None:
        if self.kind not in get_args(PerturbationKind):
            raise InputError(f"Perturbation {self.kind!r} is unknown: choose {', '.join(_STRONGEST)}.")
        most = _STRONGEST[self.kind]
        number = isinstance(self.strength, (int, float)) and not isinstance(self.strength, bool)
        if not number or not math.isfinite(self.strength) or not 0 < self.strength <= most:
            raise InputError(f"The strength of {self.kind} must lie above 0 and at most {most:g}.")

    @property
    def label(self) -> str:
        """Such as `noise 25`."""
        return f"{self.kind} {self.strength:g}"

    def change(self, observation_id: str, seed: int) -> PictureIntervention:
        """The intervention on an observation's picture; noise and places differ between observations.

        The place of an occlusion is the same at every strength, so that a schedule changes its size alone.
        """
        lot = Random(f"{seed} {self.kind} {observation_id}")
        if self.kind == "noise":
            return GaussianNoise(float(self.strength), lot.randrange(2**31))
        if self.kind == "blur":
            return Blur(radius=float(self.strength))
        side = math.sqrt(self.strength)
        left, top = lot.random() * (1 - side), lot.random() * (1 - side)
        return Occlusion(left, top, left + side, top + side)


@dataclass(frozen=True)
class Condition:
    """What is done to an observation: which picture, which context, which perturbation."""

    image: str = "natural"
    context: str = "none"
    perturbation: Perturbation | None = None

    def __post_init__(self) -> None:
        for what, kind, known in (("image", self.image, IMAGE_KINDS), ("context", self.context, CONTEXT_KINDS)):
            if kind not in known:
                raise InputError(f"Unknown {what} {str(kind)[:40]!r}: choose from {', '.join(known)}.")

    @property
    def key(self) -> str:
        """Names the condition, such as `natural/none` or `natural/none, noise 25`."""
        preset = f"{self.image}/{self.context}"
        return preset if self.perturbation is None else f"{preset}, {self.perturbation.label}"

    def interventions(self, observation_id: str, seed: int) -> tuple[Intervention, ...]:
        """The changes that make the trial of an observation; `seed` draws what is random."""
        presets = (ImagePreset(self.image, seed), ContextPreset(self.context, seed))  # type: ignore[arg-type]
        return presets if self.perturbation is None else (*presets, self.perturbation.change(observation_id, seed))

    def lacks(self, observation: Observation) -> str:
        """What of an observation this condition needs and it does not have; "" where nothing is missing."""
        if self.image == "annotated" and observation.annotated is None:
            return "no annotated picture"
        if self.context == "complementary" and not observation.complementary:
            return "no complementary context"
        if self.context == "contradictory" and not observation.contradictory:
            return "no contradictory context"
        return ""


def grid(
    images: Iterable[str] = ("natural",),
    contexts: Iterable[str] = ("none",),
    perturbations: Iterable[Perturbation] = (),
) -> tuple[Condition, ...]:
    """Every picture with every context, without a perturbation and then with each; all natural and none first."""
    changes = (None, *dict.fromkeys(perturbations))
    return tuple(Condition(i, c, p) for p in changes for i in dict.fromkeys(images) for c in dict.fromkeys(contexts))


def preset_conditions() -> tuple[Condition, ...]:
    """The twelve conditions of `preset_grid`, over which a model's averages are taken."""
    return tuple(Condition(image, context) for image, context, _ in preset_grid())


@dataclass(frozen=True)
class ModelChoice:
    """A model by its catalogue name, hub id, folder or endpoint."""

    name: str
    quantization: str = "none"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip() or len(self.name) > 1_000:
            raise InputError("A sweep needs the name of each model: choose one.")
        if self.quantization not in _QUANTIZATIONS:
            raise InputError(f"Unknown quantization {self.quantization!r}: choose from {', '.join(_QUANTIZATIONS)}.")

    @property
    def label(self) -> str:
        """Name, with the quantization where there is one."""
        return self.name if self.quantization == "none" else f"{self.name} ({self.quantization})"


@dataclass(frozen=True)
class SweepItem:
    """One evaluation of a sweep: a model, an observation, a condition."""

    model: ModelChoice
    observation: Observation
    condition: Condition

    @cached_property
    def key(self) -> str:
        """Names the item within its sweep, in every process."""
        perturbation = self.condition.perturbation
        named = [
            *asdict(self.model).values(),
            self.condition.image,
            self.condition.context,
            [perturbation.kind, float(perturbation.strength)] if perturbation else None,
            self.observation.id,
        ]
        return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class SweepPlan:
    """A sweep: dataset, conditions, models, decoding, measures.

    Attributes
    ----------
    dataset : what `load_dataset` finds it by.
    dataset_digest : of its texts and pictures' sizes, so that a sweep is not continued on another dataset.
    observations : ids of those that take part, in the dataset's order; None for all.
    seed : draws random pictures and contexts, noise and places; the decoding has its own.
    """

    dataset: str
    dataset_digest: str
    conditions: tuple[Condition, ...]
    models: tuple[ModelChoice, ...]
    decoding: Decoding = field(default_factory=Decoding)
    measures: tuple[Wanted, ...] = WANTED
    settings: UncertaintySettings = field(default_factory=UncertaintySettings)
    seed: int = 0
    observations: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.conditions or not self.models or (self.observations is not None and not self.observations):
            raise InputError("A sweep needs at least one condition, one model and one observation.")
        for what, chosen in (("condition", [c.key for c in self.conditions]), ("model", self.model_labels)):
            if len(set(chosen)) < len(chosen):
                raise InputError(f"A {what} is chosen twice: leave one out.")
        unknown = [str(m)[:40] for m in self.measures if m not in WANTED]
        if unknown or not self.measures:
            raise InputError(f"A sweep measures some of {', '.join(WANTED)}; got {', '.join(unknown) or 'none'}.")
        # The order in which measures were named must not make another sweep.
        object.__setattr__(self, "measures", tuple(m for m in WANTED if m in {"answer", *self.measures}))

    @property
    def model_labels(self) -> list[str]:
        """Labels of the models, in order."""
        return [model.label for model in self.models]

    @property
    def condition_keys(self) -> list[str]:
        """Keys of the conditions, in order."""
        return [condition.key for condition in self.conditions]

    @cached_property
    def id(self) -> str:
        """Names the sweep: the same plan is the same sweep."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:12]

    def chosen(self, dataset: Dataset) -> list[Observation]:
        """The observations that take part, in the dataset's order."""
        if self.observations is None:
            return list(dataset.observations)
        wanted = set(self.observations)
        return [o for o in dataset.observations if o.id in wanted]

    def items(self, dataset: Dataset) -> list[SweepItem]:
        """Every evaluation in order: models, then observations, then conditions.

        A model is loaded once; conditions of one picture stand together, so that it is read once; and whenever the
        sweep stops, the conditions have been measured on the same observations. What an observation lacks is left out.
        """
        chosen = self.chosen(dataset)
        if len(chosen) * len(self.conditions) * len(self.models) > MOST_EVALUATIONS:
            raise InputError(f"That is more than {MOST_EVALUATIONS:,} evaluations: leave out models or conditions.")
        return [
            SweepItem(model, observation, condition)
            for model in self.models
            for observation in chosen
            for condition in self.conditions
            if not condition.lacks(observation)
        ]

    def trial(self, dataset: Dataset, item: SweepItem) -> Trial:
        """What the model is shown.

        Raises
        ------
        InputError : what `build_trial` raises.
        """
        return build_trial(dataset, item.observation, item.condition.interventions(item.observation.id, self.seed))

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        return {
            "format": _FORMAT,
            "dataset": self.dataset,
            "dataset_digest": self.dataset_digest,
            "conditions": [asdict(condition) for condition in self.conditions],
            "models": [asdict(model) for model in self.models],
            "decoding": self.decoding.to_json(),
            "measures": list(self.measures),
            "settings": self.settings.to_json(),
            "seed": self.seed,
            "observations": None if self.observations is None else list(self.observations),
        }

    @classmethod
    def from_json(cls, data: Any) -> SweepPlan:
        """The plan from `to_json`'s form.

        Raises
        ------
        InputError : anything in it is not as `to_json` writes it, or is a newer version's.
        """
        try:
            if data["format"] != _FORMAT:
                raise InputError("This sweep was planned by another version of ISI Studio: plan it again.")
            observations = data["observations"]
            return cls(
                dataset=str(data["dataset"]),
                dataset_digest=str(data["dataset_digest"]),
                conditions=tuple(_condition(c) for c in data["conditions"]),
                models=tuple(ModelChoice(m["name"], m["quantization"]) for m in data["models"]),
                decoding=Decoding.from_json(data["decoding"]),
                measures=tuple(data["measures"]),
                settings=UncertaintySettings.from_json(data["settings"]),
                seed=int(data["seed"]),
                observations=None if observations is None else tuple(str(o) for o in observations),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError("This is no sweep's plan of ISI Studio: plan it again.") from None


def _condition(data: Any) -> Condition:
    made = data["perturbation"]
    return Condition(
        data["image"], data["context"], None if made is None else Perturbation(made["kind"], made["strength"])
    )


def dataset_digest(dataset: Dataset) -> str:
    """Names a dataset's content: texts, truths, and names and sizes of its picture files."""
    state = hashlib.sha256()
    for o in dataset.observations:
        texts = (o.id, o.question, o.truth_word, o.complementary, o.contradictory, o.family)
        files = [[p.name, _size(p)] if p is not None else None for p in (o.image, o.annotated)]
        state.update(json.dumps([texts, files]).encode())
    return state.hexdigest()[:24]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def first_observations(dataset: Dataset, count: int | None) -> tuple[str, ...] | None:
    """Ids of the first so many observations; None for all."""
    if count is None or count >= len(dataset):
        return None
    if count < 1:
        raise InputError("A sweep needs at least one observation.")
    return tuple(o.id for o in dataset.observations[:count])


def left_out(conditions: Sequence[Condition], observations: Sequence[Observation]) -> dict[str, int]:
    """How many observations lack what a condition needs, by condition; those that lack nothing are not listed."""
    counts = {c.key: sum(bool(c.lacks(o)) for o in observations) for c in conditions}
    return {key: count for key, count in counts.items() if count}
