"""What a kept study is, and how it is read: its plan, its results, the verdicts on every test pair.

A study lies in a folder of its own in the user's home, named by what was asked. Pages and other processes read it
while it grows.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from isi_core.domain.errors import InputError
from isi_core.domain.home import home_folder
from isi_core.store.whole_file import write_whole
from isi_core.studies.step_order.flips import Flips, PairFlips
from isi_core.studies.step_order.results import (
    MODALITIES,
    GapResult,
    GridResult,
    Modality,
    PairVerdict,
    TrainingCurve,
)

PLAN, RESULT, GAPS, LIVE = "plan.json", "result.json", "gaps.json", "live.json"
TESTED, FLIPS = "tested.json", "flips.json"
"""Files of a study's folder; the last two lie beside each training's weights."""


@dataclass(frozen=True)
class StudyPlan:
    """Everything that a study is asked for.

    Attributes
    ----------
    data : a name of the catalogue of how-tos.
    encoders : catalogue names, hub ids or folders.
    sizes : pairs of each category for training, validation and test.
    per_category : one model a category instead of one of all.
    epochs : 0 is each encoder's own number.
    """

    data: str
    encoders: tuple[str, ...]
    modalities: tuple[Modality, ...] = MODALITIES
    sizes: tuple[int, int, int] = (200, 40, 100)
    per_category: bool = False
    epochs: int = 0
    seed: int = 0

    @property
    def id(self) -> str:
        """Names the plan: the same choices have the same id."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:12]

    @property
    def folder(self) -> Path:
        """Where the study lies."""
        return studies_folder() / self.id

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StudyPlan:
        """The plan from plain values; `InputError` where it is none."""
        try:
            values = dict(data)
            for name in ("encoders", "modalities", "sizes"):
                values[name] = tuple(values[name])
            if not set(values["modalities"]) <= set(MODALITIES) or len(values["sizes"]) != 3:
                raise ValueError("modalities or sizes")
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"This study cannot be read ({error}): start it again.") from None


@dataclass(frozen=True)
class Verdicts:
    """What one fine-tuned encoder said of every test pair."""

    encoder: str
    modality: Modality
    verdicts: tuple[PairVerdict, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """A study as far as it is; `flips` are missing where an earlier version made it."""

    plan: StudyPlan
    grid: GridResult
    gaps: tuple[GapResult, ...]
    verdicts: tuple[Verdicts, ...]
    flips: tuple[Flips, ...] = ()

    @property
    def complete(self) -> bool:
        """Every training and test that was asked for is in it."""
        return self.grid.complete


def studies_folder() -> Path:
    """Where the user's studies lie; it may not be there yet."""
    return home_folder() / "step_order"


def study_ids() -> list[str]:
    """Studies with a result, the last one first."""
    try:
        found = [path.parent for path in studies_folder().glob(f"*/{RESULT}")]
        return [f.name for f in sorted(found, key=lambda f: (f / RESULT).stat().st_mtime_ns, reverse=True)]
    except OSError:
        return []


def study_stamp(study_id: str) -> int:
    """Tells one state of a study from the next; 0 where there is none."""
    try:
        return (studies_folder() / study_id / RESULT).stat().st_mtime_ns
    except OSError:
        return 0


def read_study(study_id: str) -> Study:
    """A study from its folder.

    Raises
    ------
    InputError : there is none, or it is damaged.
    """
    folder = studies_folder() / study_id
    try:
        plan = StudyPlan.from_json(read_json(folder / PLAN))
        grid = GridResult.from_json(read_json(folder / RESULT))
        gaps = tuple(GapResult.from_json(entry) for entry in read_json(folder / GAPS, []))
        verdicts = tuple(verdicts_from_json(read_json(path)) for path in sorted(folder.glob(f"runs/*/{TESTED}")))
        flips = tuple(Flips.from_json(read_json(path)) for path in sorted(folder.glob(f"runs/*/{FLIPS}")))
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"The study {study_id[:20]} cannot be read: start it again.") from None
    return Study(plan, grid, gaps, joined_verdicts(verdicts), _joined_flips(flips))


def live_curve(study_id: str) -> TrainingCurve | None:
    """The training that runs just now, as far as it is; None where none does."""
    try:
        return TrainingCurve.from_json(read_json(studies_folder() / study_id / LIVE))
    except (OSError, ValueError, InputError):
        return None


def forget_study(study_id: str) -> None:
    """Delete a study with its weights."""
    if study_id in study_ids():
        shutil.rmtree(studies_folder() / study_id, ignore_errors=True)


def joined_verdicts(parts: Sequence[Verdicts]) -> tuple[Verdicts, ...]:
    """One entry an encoder and modality; those of single categories are put together."""
    grouped: dict[tuple[str, Modality], list[Verdicts]] = {}
    for part in parts:
        grouped.setdefault((part.encoder, part.modality), []).append(part)
    return tuple(
        Verdicts(
            encoder,
            modality,
            tuple(sorted((v for part in group for v in part.verdicts), key=lambda v: v.idx)),
            tuple(dict.fromkeys(p for part in group for p in part.problems)),
        )
        for (encoder, modality), group in grouped.items()
    )


def _joined_flips(parts: Sequence[Flips]) -> tuple[Flips, ...]:
    """One entry an encoder and modality."""
    grouped: dict[tuple[str, Modality], list[PairFlips]] = {}
    for part in parts:
        grouped.setdefault((part.encoder, part.modality), []).extend(part.pairs)
    return tuple(Flips(*key, tuple(sorted(pairs, key=lambda pair: pair.idx))) for key, pairs in grouped.items())


def verdicts_from_json(data: Mapping[str, Any]) -> Verdicts:
    """The verdicts from plain values."""
    return Verdicts(
        str(data["encoder"]),
        data["modality"],
        tuple(PairVerdict(**entry) for entry in data["verdicts"]),
        tuple(str(problem) for problem in data["problems"]),
    )


def read_json(path: Path, otherwise: Any = None) -> Any:
    """A JSON file; `otherwise` where there is none, if one is given."""
    if otherwise is not None and not path.is_file():
        return otherwise
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, data: Any) -> None:
    """Never half written: whoever reads sees the state before or after."""
    write_whole(path, json.dumps(data))
