"""The user's own datasets: one folder each in the published format, below `datasets` in the home folder."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from isi_core.datasets.isi_folder import CSV_NAME
from isi_core.domain.errors import InputError
from isi_core.domain.home import home_folder

BUILT_IN = "isi_scenes"
BUILT_IN_FOLDER = Path(__file__).parents[2] / "data" / BUILT_IN
REPORT_NAME = "import.json"
"""Beside the CSV: where a dataset came from and what was left out of it."""
MAX_REPORT_BYTES = 20_000_000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


def datasets_folder() -> Path:
    """Where the user's datasets lie; it may not be there yet."""
    return home_folder() / "datasets"


def dataset_names() -> list[str]:
    """The built-in dataset first, then the user's own by name."""
    try:
        own = sorted(
            path.name
            for path in datasets_folder().iterdir()
            if _NAME.fullmatch(path.name) and not path.is_symlink() and (path / CSV_NAME).is_file()
        )
    except OSError:
        own = []
    return [BUILT_IN, *(name for name in own if name != BUILT_IN)]


def is_own(name: str) -> bool:
    """Whether it is one of the user's own datasets."""
    return name != BUILT_IN and name in dataset_names()


def dataset_path(name: str) -> Path:
    """The folder of a dataset of the catalogue.

    Raises
    ------
    InputError : there is none of this name.
    """
    if name == BUILT_IN:
        return BUILT_IN_FOLDER
    if name not in dataset_names():
        raise InputError(f"There is no dataset {name[:60]!r}: choose one of {', '.join(dataset_names()[:20])}.")
    return datasets_folder() / name


def dataset_stamp(name: str) -> int:
    """Tells one version of a dataset from the next; 0 where there is none."""
    try:
        return (dataset_path(name) / CSV_NAME).stat().st_mtime_ns
    except (OSError, InputError):
        return 0


def proposed_name(wish: str) -> str:
    """A name that is free, made from any text such as a file's name."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", wish).strip("._-")[:50] or "dataset"
    taken = {name.casefold() for name in dataset_names()}
    names = (stem if i == 1 else f"{stem}_{i}" for i in range(1, 10_000))
    return next((name for name in names if name.casefold() not in taken), f"{stem}_{uuid4().hex[:6]}")


def free_name(name: str) -> str:
    """The name as it may be given to a new dataset.

    Raises
    ------
    InputError : it is taken, or cannot be the name of a folder.
    """
    name = name.strip()
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name[:60]!r} cannot name a dataset: use up to 60 letters, digits, dots, dashes and underscores."
        )
    if name.casefold() in {known.casefold() for known in dataset_names()} or (datasets_folder() / name).exists():
        raise InputError(f"There is a dataset {name} already: choose another name.")
    return name


@contextmanager
def new_dataset_folder(name: str) -> Iterator[Path]:
    """An empty folder that becomes the dataset when the block ends, and vanishes when it raises.

    Raises
    ------
    InputError : the name is taken or no name, or the folder cannot be made.
    """
    name = free_name(name)
    staging = datasets_folder() / f".{uuid4().hex}"
    try:
        staging.mkdir(parents=True)
        yield staging
        staging.rename(datasets_folder() / name)
    except OSError as error:
        raise InputError(f"{datasets_folder()} cannot be written ({error.strerror}): set ISI_HOME.") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def changing(name: str) -> Iterator[Path]:
    """The folder of an own dataset, for one writer at a time in any process.

    Raises
    ------
    InputError : it is the built-in dataset, which stays as it is, or there is none of this name.
    """
    if name == BUILT_IN:
        raise InputError("The built-in dataset stays as it is: copy it under a name of your own and change the copy.")
    folder = dataset_path(name)
    with (datasets_folder() / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def remove_dataset(name: str) -> None:
    """Delete an own dataset with its pictures.

    Raises
    ------
    InputError : it is the built-in one, there is none of this name, or its files cannot be deleted.
    """
    with changing(name) as folder:
        try:
            doomed = folder.with_name(f".{uuid4().hex}")
            folder.rename(doomed)
            shutil.rmtree(doomed)
        except OSError as error:
            raise InputError(f"{name} cannot be deleted ({error.strerror}): check its folder.") from None
    (datasets_folder() / f".{name}.lock").unlink(missing_ok=True)


def write_import_report(folder: Path, report: dict[str, Any]) -> None:
    """Keep beside a dataset where it came from and what was left out."""
    (folder / REPORT_NAME).write_text(json.dumps(report, indent=1), encoding="utf-8")


def import_problems(name: str) -> tuple[str, list[str]]:
    """Where a dataset was imported from ("" where it was not), and what was left out or disabled then, row by row."""
    try:
        path = dataset_path(name) / REPORT_NAME
        if path.stat().st_size > MAX_REPORT_BYTES:
            return "", []
        report = json.loads(path.read_text(encoding="utf-8"))
        return str(report["source"]), [str(problem) for problem in report["problems"]]
    except (OSError, InputError, ValueError, KeyError, TypeError, RecursionError):
        return "", []
