"""What a model does on average over a dataset under every preset, so that one value can be told usual or not."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import InputError
from isi_core.domain.evaluation import Evaluation, ModelRecord
from isi_core.domain.home import home_folder
from isi_core.domain.trial import Trial
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.measures.statistics import Rank, rank_among
from isi_core.studies.trials import CONTEXT_KINDS, IMAGE_KINDS

AVERAGES_FOLDER = Path(__file__).parents[2] / "assets" / "averages"
BASELINE = "natural/none"
MEASURES = (
    "semantic_entropy",
    "predictive_entropy",
    "n_clusters",
    "attention_image",
    "attention_context",
    "attention_question",
    "attention_absolute_image",
    "attention_absolute_context",
    "attention_absolute_question",
    "attention_absolute_other",
)
"""Entropies in nats; `attention_*` are the relative shares, `attention_absolute_*` the absolute ones."""

MAX_FILE_BYTES = 50_000_000
_MAX_VALUES = 100_000
_FORMAT = 2  # 1 did not tell the settings of the uncertainty
_PRESETS = {f"{image}/{context}" for image in IMAGE_KINDS for context in CONTEXT_KINDS}


@dataclass(frozen=True)
class MeasureAverage:
    """One measure under one preset: its mean (None without values) and the value of each observation that has one."""

    mean: float | None
    values: tuple[float, ...]


@dataclass(frozen=True)
class PresetAverage:
    """What happened under one preset.

    Attributes
    ----------
    n : observations that were evaluated; those that lack the preset are left out.
    accuracy : share of right verdicts among those whose truth is known; an unclear one is not right.
    yes_rate, unclear_rate : share of these verdicts among all.
    changed_rate : share of the verdicts that differ from those under `BASELINE`; None where it was not measured.
    measures : by the names in `MEASURES`.
    """

    n: int
    accuracy: float | None
    yes_rate: float
    unclear_rate: float
    changed_rate: float | None
    measures: dict[str, MeasureAverage]


@dataclass(frozen=True)
class FamilyAverage:
    """Accuracy in one family of questions, natural picture and no context."""

    n: int
    accuracy: float


@dataclass(frozen=True)
class Averages:
    """A model's averages over a dataset.

    Attributes
    ----------
    model, entailment, decoding : the records that made them, as plain JSON values.
    created : ISO 8601 time, UTC.
    presets : by "image kind/context kind", in the order of `preset_grid`; without those nothing allows.
    families : by family name; empty where the dataset names none.
    settings : what shaped the entropies and the clusters beside the answers.
    """

    model: dict[str, Any]
    entailment: dict[str, Any]
    dataset: str
    decoding: dict[str, Any]
    created: str
    presets: dict[str, PresetAverage]
    families: dict[str, FamilyAverage]
    settings: UncertaintySettings = field(default_factory=UncertaintySettings)

    def rank(self, preset_key: str, measure: str, value: float) -> Rank | None:
        """Where a value lies among the dataset's; None where it was not measured."""
        preset = self.presets.get(preset_key)
        found = preset.measures.get(measure) if preset else None
        if found is None or not found.values or not math.isfinite(value):
            return None
        return rank_among(value, found.values)

    def to_json(self) -> dict[str, Any]:
        """The averages as plain JSON values."""
        return {"format": _FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, data: Any) -> Averages:
        """The averages from `to_json`'s form.

        Raises
        ------
        InputError : anything in it is not as `to_json` writes it.
        """
        if isinstance(data, dict) and data.get("format") == 1:
            raise InputError("These averages do not tell the rule that made them: make them again.")
        try:
            return _read(data)
        except (InputError, KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise InputError("These are no averages of ISI Studio: make them with the averages command.") from None


def preset_key(trial: Trial) -> str:
    """The preset that a trial belongs to, "image kind/context kind"; drawings do not count."""
    return f"{trial.image_kind}/{trial.context_kind}"


def averaged_preset(averages: Averages, trial: Trial) -> str:
    """The preset whose mean stands beside a trial: its own, or `BASELINE` where its own was not averaged."""
    key = preset_key(trial)
    return key if key in averages.presets else BASELINE


@dataclass(frozen=True)
class Usual:
    """What is usual for one measure beside one trial.

    Attributes
    ----------
    preset : the preset that was averaged, "image kind/context kind".
    own : it is the trial's own; else it stands in for one that was not averaged.
    mean, values : as in `MeasureAverage`.
    """

    preset: str
    own: bool
    mean: float
    values: tuple[float, ...]

    def rank(self, value: float) -> Rank | None:
        """Where a value lies among the dataset's; None where it is not a number."""
        return rank_among(value, self.values) if self.values and math.isfinite(value) else None


def usual(averages: Averages | None, evaluation: Evaluation, measure: str) -> Usual | None:
    """What is usual for a measure under a trial's preset; None where it is not known, or known of something else."""
    if averages is None or why_not_comparable(averages, evaluation, measure):
        return None
    key = averaged_preset(averages, evaluation.trial)
    preset = averages.presets.get(key)
    found = preset.measures.get(measure) if preset is not None else None
    if found is None or found.mean is None:
        return None
    return Usual(key, key == preset_key(evaluation.trial), found.mean, found.values)


def why_not_comparable(averages: Averages, evaluation: Evaluation, measure: str) -> str:
    """Why a measure's averages say nothing about this evaluation, in one sentence; "" where they do."""
    made, asked = averages.model, evaluation.model
    for name, title in (("name", "model"), ("revision", "revision of the model"), ("quantization", "quantization")):
        theirs, own = str(made.get(name, "")), str(getattr(asked, name))
        if theirs != own:
            return f"No dataset mean: the dataset was put to another {title} ({_brief(theirs)}, not {_brief(own)})."
    if measure.startswith("attention") or evaluation.uncertainty is None:
        return ""
    theirs_set, own_set = averages.settings.to_json(), evaluation.uncertainty.settings.to_json()
    titles = {"rule": "rule", "likelihood": "kind of likelihood", "entailment_model": "entailment model"}
    for name, title in titles.items():
        if theirs_set[name] != own_set[name]:
            kinds = f"{_brief(theirs_set[name])}, not {_brief(own_set[name])}"
            return f"No dataset mean: the dataset was measured with another {title} ({kinds})."
    return ""


def _brief(text: str) -> str:
    """A name or a hash, short enough for a sentence."""
    return text[:12] if re.fullmatch(r"[0-9a-f]{32,}", text) else text[:80] or "not told"


def averages_path(model_name: str) -> Path:
    """Where a model's averages are kept; whatever the name holds, the path stays in its folder."""
    return AVERAGES_FOLDER / f"{_file_name(model_name)}.json"


def own_averages_path(model_name: str, dataset_name: str, home: Path | None = None) -> Path:
    """Where the averages of a user's own sweep are kept; they stand before the ones that come with ISI Studio."""
    return (home or home_folder()) / "averages" / f"{_file_name(dataset_name)}--{_file_name(model_name)}.json"


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:100] or "model"


def save_averages(averages: Averages, path: Path) -> None:
    """Write the averages as JSON; the same averages give the same bytes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(averages.to_json(), separators=(",", ":"), allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): choose another file.") from None


def read_averages(path: Path) -> Averages:
    """The averages in a file.

    Raises
    ------
    InputError : it cannot be read or holds something else.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{path.name} is larger than {MAX_FILE_BYTES // 1_000_000} MB: it holds no averages.")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path.name} cannot be read ({error.strerror}): check the file.") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path.name} is not a JSON file: make it again with the averages command.") from None
    return Averages.from_json(data)


def averages_stamp(model_name: str, dataset_name: str) -> tuple[int, ...]:
    """Tells one version of the files that `load_averages` reads from the next; zeros where they are not."""
    stamps = []
    for path in (own_averages_path(model_name, dataset_name), averages_path(model_name)):
        try:
            stamps.append(path.stat().st_mtime_ns)
        except OSError:
            stamps.append(0)
    return tuple(stamps)


def load_averages(model_name: str, dataset_name: str) -> Averages | None:
    """A model's averages over a dataset, of a sweep of the user's own first; None where they were never made.

    `model_name` is the name in the model's record, `dataset_name` the dataset's.

    Raises
    ------
    InputError : the file holds something else.
    """
    for path in (own_averages_path(model_name, dataset_name), averages_path(model_name)):
        if path.is_file():
            averages = read_averages(path)
            if (averages.model["name"], averages.dataset) == (model_name, dataset_name):
                return averages
    return None


def _read(data: Any) -> Averages:
    """The averages in plain JSON values, every type and range checked; raises ValueError and its like."""
    _check(isinstance(data, dict) and data["format"] == _FORMAT)
    presets, families = data["presets"], data["families"]
    _check(isinstance(presets, dict) and isinstance(families, dict) and set(presets) <= _PRESETS)
    _check(len(families) <= 1_000)
    return Averages(
        model=_read_record(data["model"]),
        entailment=_read_record(data["entailment"]),
        dataset=_read_text(data["dataset"]),
        decoding=Decoding.from_json(data["decoding"]).to_json(),
        created=_read_text(data["created"]),
        presets={key: _read_preset(value) for key, value in presets.items()},
        families={
            _read_text(name): FamilyAverage(n=_read_count(value["n"]), accuracy=_read_share(value["accuracy"]))
            for name, value in families.items()
        },
        settings=_read_settings(data["settings"]),
    )


def _read_preset(data: Any) -> PresetAverage:
    n = _read_count(data["n"])
    measures = data["measures"]
    _check(isinstance(measures, dict) and set(measures) == set(MEASURES))
    read = {}
    for name in MEASURES:
        values = measures[name]["values"]
        _check(isinstance(values, list) and len(values) <= n)
        read[name] = MeasureAverage(
            mean=_read_optional(measures[name]["mean"], _read_number), values=tuple(_read_number(v) for v in values)
        )
    return PresetAverage(
        n=n,
        accuracy=_read_optional(data["accuracy"], _read_share),
        yes_rate=_read_share(data["yes_rate"]),
        unclear_rate=_read_share(data["unclear_rate"]),
        changed_rate=_read_optional(data["changed_rate"], _read_share),
        measures=read,
    )


def _read_record(data: Any) -> dict[str, Any]:
    _check(isinstance(data, dict) and set(data) == set(ModelRecord.__dataclass_fields__))
    return {key: _read_text(value) for key, value in data.items()}


def _read_settings(data: Any) -> UncertaintySettings:
    _check(isinstance(data, dict) and set(data) == set(UncertaintySettings.__dataclass_fields__))
    return UncertaintySettings.from_json({key: _read_text(value) for key, value in data.items()})


def _read_text(value: Any) -> str:
    _check(isinstance(value, str) and len(value) <= 1_000)
    return str(value)


def _read_number(value: Any) -> float:
    _check(isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value))
    return float(value)


def _read_share(value: Any) -> float:
    _check(0.0 <= _read_number(value) <= 1.0)
    return float(value)


def _read_count(value: Any) -> int:
    _check(isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MAX_VALUES)
    return int(value)


def _read_optional(value: Any, read: Callable[[Any], float]) -> float | None:
    return None if value is None else read(value)


def _check(holds: bool) -> None:
    if not holds:
        raise ValueError
