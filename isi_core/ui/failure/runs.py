"""Benchmarks on disk: one folder for each set of collected cases, and in it the results of the plans that share them.

Plans that differ in layers, explainers or intervals alone have the same cases: another explainer asks nothing again.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from isi_core.domain.errors import InputError
from isi_core.domain.home import home_folder

if TYPE_CHECKING:
    from isi_core.studies.failure.plan import FailurePlan
    from isi_core.studies.failure.results import BenchmarkResult

_DIGITS = 16
_CASES, _RESULTS, _CAUSAL, _QUIZ = "cases", "results", "causal", "quiz"


@dataclass(frozen=True)
class Finished:
    """A plan whose result is on disk; `key` names it and holds the names of its folder and file."""

    key: str
    plan: FailurePlan
    finished: float


def _base() -> Path:
    return home_folder() / "failure" / "runs"


def key_of(plan: FailurePlan) -> str:
    """What a plan's result is found by."""
    return f"{plan.collection_digest[:_DIGITS]}-{plan.digest[:_DIGITS]}"


def short_name(key: str) -> str:
    """The first digits of the plan's digest: tells runs apart that share their cases.

    Streamlit finds a choice by its label, so that two with one label would be the same choice.
    """
    return key.rpartition("-")[2][:8]


def cases_folder(key: str) -> Path:
    """Where the cases, pictures and activations of a run are."""
    return _base() / key.partition("-")[0] / _CASES


def result_file(key: str) -> Path:
    """Where the result of a run is, once it is finished."""
    collection, _, digest = key.partition("-")
    return _base() / collection / _RESULTS / f"{digest}.json"


def causal_file(key: str) -> Path:
    """Where the latest causal test of a run is, once there is one."""
    collection, _, digest = key.partition("-")
    return _base() / collection / _CAUSAL / f"{digest}.json"


def quiz_folder(key: str) -> Path:
    """Where the quizzes on the runs with these cases are."""
    return _base() / key.partition("-")[0] / _QUIZ


def prepare(plan: FailurePlan) -> Path:
    """The folder that a plan's cases are kept in, made where it is not there.

    Raises
    ------
    InputError : it cannot be written.
    """
    folder = cases_folder(key_of(plan))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}): set ISI_HOME.") from None
    return folder


def keep(plan: FailurePlan) -> None:
    """Keep the result that the run has just written, beside those of other plans on the same cases.

    Raises
    ------
    InputError : it cannot be written.
    """
    key = key_of(plan)
    path = result_file(key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        shutil.copyfile(cases_folder(key) / "result.json", unfinished)
        unfinished.replace(path)
    except OSError as error:
        raise InputError(f"{path.parent} cannot be written ({error.strerror}): set ISI_HOME.") from None


def is_finished(key: str) -> bool:
    """Whether the run's result is there."""
    return result_file(key).is_file()


def begun(key: str) -> bool:
    """Whether cases were collected that the run can use."""
    folder = cases_folder(key) / "asked"
    return folder.is_dir() and any(folder.iterdir())


def finished_keys() -> list[str]:
    """Keys of the finished runs, the newest first."""
    base = _base()
    found: list[tuple[float, str]] = []
    for path in base.glob(f"*/{_RESULTS}/*.json") if base.is_dir() else ():
        try:
            found.append((path.stat().st_mtime, f"{path.parent.parent.name}-{path.stem}"))
        except OSError:  # deleted meanwhile
            continue
    return [key for _, key in sorted(found, reverse=True)]


def finished_runs() -> list[Finished]:
    """Runs with a result that can be read, the newest first."""
    found = []
    for key in finished_keys():
        try:
            found.append(Finished(key, load(key).plan, result_file(key).stat().st_mtime))
        except (InputError, OSError):
            continue
    return found


def load(key: str) -> BenchmarkResult:
    """The result of a finished run, read once.

    Raises
    ------
    InputError : there is none, or its file cannot be read.
    """
    path = result_file(key)
    try:
        stamp = path.stat().st_mtime_ns
    except OSError:
        raise InputError("This run has no result yet: start it.") from None
    return _load(str(path), stamp)


@st.cache_resource(show_spinner=False, max_entries=24)
def _load(path: str, stamp: int) -> BenchmarkResult:
    import json

    from isi_core.studies.failure.results import BenchmarkResult

    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise InputError("The result of this run is damaged: delete it and run again.") from None
    return BenchmarkResult.from_json(data)


def forget(key: str) -> None:
    """Delete a run's result, and the cases with their pictures and activations where no other result has them.

    Raises
    ------
    InputError : its files cannot be deleted.
    """
    path = result_file(key)
    try:
        path.unlink(missing_ok=True)
        causal_file(key).unlink(missing_ok=True)
        if not any(path.parent.glob("*.json")):
            shutil.rmtree(path.parent.parent, ignore_errors=False)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise InputError(f"The run cannot be deleted ({error.strerror}): check its folder.") from None


def picture_of(key: str, name: str) -> Path | None:
    """A picture file of a run; None where the name leads elsewhere or there is no file."""
    try:
        folder = cases_folder(key).resolve()
        path = (folder / name).resolve()
        return path if name and path.is_relative_to(folder) and path.is_file() else None
    except (OSError, ValueError):
        return None
