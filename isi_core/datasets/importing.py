"""Import: a folder, zip file or table from anywhere becomes a dataset of the catalogue; what is wrong is reported."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from isi_core.datasets.archive import unpack_zip
from isi_core.datasets.catalogue import new_dataset_folder, write_import_report
from isi_core.datasets.column_mapping import Mapping, mapped_rows
from isi_core.datasets.hub import HubChoice, read_hub
from isi_core.datasets.isi_folder import (
    CSV_NAME,
    NO_ANNOTATED,
    FolderRow,
    folder_rows,
    load_isi_folder,
    write_isi_folder,
)
from isi_core.datasets.multiple_choice import is_multiple_choice, yes_no_table
from isi_core.datasets.pictures import open_picture
from isi_core.datasets.tables import STATE, SUFFIXES, Table, read_table
from isi_core.domain.errors import InputError
from isi_core.domain.home import home_folder
from isi_core.domain.observation import Dataset
from isi_core.domain.progress import Progress

_DEPTH = 3  # folders that a zip file may wrap around a dataset
_LISTED = 200_000
_FORGOTTEN = 2 * 24 * 3600.0  # seconds


@dataclass(frozen=True)
class Source:
    """What there is to import.

    Attributes
    ----------
    name : of the file or folder it came from.
    isi_folder : the folder in the published format; None where it is a table.
    table : read whole, where it is one.
    pictures : the folder that the table's pictures are looked for in; None for a table that came alone.
    problems : what was left out so far.
    note : what was made of it before it could be imported; "" for nothing.
    origin : of a dataset of the hub its repository, config, split, revision and the library that read it.
    """

    name: str
    isi_folder: Path | None
    table: Table | None
    pictures: Path | None
    problems: tuple[str, ...] = ()
    note: str = ""
    origin: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Imported:
    """A dataset that was imported, and what was left out of it or disabled, row by row."""

    name: str
    observations: int
    annotated: int
    problems: tuple[str, ...]


@contextmanager
def staging_folder() -> Iterator[Path]:
    """A folder in the home folder for what is being imported; gone when the block ends."""
    folder = home_folder() / "imports" / uuid4().hex
    try:
        folder.mkdir(parents=True)
        for left in folder.parent.iterdir():
            # What a session left that ended before its import did.
            if left.stat().st_mtime < time.time() - _FORGOTTEN:
                shutil.rmtree(left, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{folder.parent} cannot be written ({error.strerror}): set ISI_HOME.") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def open_source(path: Path, staging: Path, alone: bool = False, progress: Progress | None = None) -> Source:
    """Look into a folder, zip file or table; a zip file is unpacked into `staging`.

    Parameters
    ----------
    alone : the file was uploaded by itself, so that nothing beside it belongs to it.

    Raises
    ------
    InputError : there is nothing that can be imported.
    """
    return _converted(_opened(path.expanduser(), staging, alone, progress))


def open_hub(choice: HubChoice, progress: Progress | None = None) -> Source:
    """The first rows of a dataset of the hub.

    Raises
    ------
    InputError : what `read_hub` raises.
    """
    found = read_hub(choice, progress)
    name = choice.repository.strip().rstrip("/").rsplit("/", 1)[-1]
    return _converted(Source(name, None, found.table, found.folder, origin=found.origin))


def _converted(source: Source) -> Source:
    """Multiple choice as yes/no questions; anything else as it is."""
    if source.table is None or not is_multiple_choice(source.table.columns):
        return source
    table = yes_no_table(source.table)
    note = (
        f"These are multiple-choice questions in MMMU's form: {len(table.rows):,} of {len(source.table.rows):,} can be "
        "asked as yes/no questions, each about its right option or a wrong one, drawn by lot."
    )
    return replace(source, table=table, note=note)


def _opened(path: Path, staging: Path, alone: bool, progress: Progress | None) -> Source:
    if path.is_dir():
        return _folder(path, path.resolve().name, [])
    if not path.is_file():
        raise InputError(f"There is no file or folder {path}: check the path.")
    if path.suffix.lower() == ".zip":
        problems = unpack_zip(path, staging, progress)
        return _folder(staging, path.stem, problems)
    return Source(path.stem, None, read_table(path), None if alone else path.resolve().parent)


def _folder(folder: Path, name: str, problems: list[str]) -> Source:
    """The dataset in a folder, the shallowest one where it is wrapped in others."""
    levels = [folder]
    for _ in range(_DEPTH):
        for level in levels:
            if (level / CSV_NAME).is_file():
                return Source(name, level, None, None, tuple(problems))
        levels = [child for level in levels for child in _children(level) if child.is_dir()]
    levels = [folder]
    for _ in range(_DEPTH):
        for level in levels:
            saved = [child.name for child in _children(level) if (child / STATE).is_file()]
            if len(saved) > 1:
                raise InputError(f"{name} holds several splits: give the folder of {' or '.join(saved[:20])}.")
            if (level / STATE).is_file():
                return Source(name, None, read_table(level), level, tuple(problems))
            tables = [child for child in _children(level) if child.suffix.lower() in SUFFIXES and child.is_file()]
            if len(tables) > 1:
                names = ", ".join(t.name for t in tables[:8])
                raise InputError(f"{name} holds several tables ({names}): give the path of one, or keep one.")
            if tables:
                return Source(name, None, read_table(tables[0]), folder, tuple(problems))
        levels = [child for level in levels for child in _children(level) if child.is_dir()]
    raise InputError(f"{name} holds no {CSV_NAME} and no other table: see the format described above.")


def _children(folder: Path) -> list[Path]:
    try:
        children = (c for c in folder.iterdir() if not c.is_symlink() and not c.name.startswith((".", "__MACOSX")))
        return sorted(child for child, _ in zip(children, range(_LISTED), strict=False))
    except OSError:
        return []


def import_source(
    source: Source, name: str, mapping: Mapping | None = None, progress: Progress | None = None
) -> Imported:
    """Copy everything that can be used into a new dataset of the catalogue.

    Raises
    ------
    InputError : the name is taken, a table has no mapping, or nothing in it can be used; no dataset is made then.
    """
    problems = list(source.problems)
    with new_dataset_folder(name) as folder:
        if source.isi_folder is not None:
            rows = _checked(load_isi_folder(source.isi_folder), problems, progress)
        elif source.table is not None:
            if mapping is None:
                raise InputError("Choose the columns of the picture and the question first.")
            problems += source.table.problems
            rows = mapped_rows(source.table, mapping, source.pictures, problems, progress)
        else:
            raise InputError("There is nothing to import: choose a file or folder.")
        write_isi_folder(rows, folder)
        made = load_isi_folder(folder)
        if not made.observations:
            reason = f" First of {len(problems)} reasons: {problems[0]}" if problems else ""
            raise InputError(f"Nothing in {source.name} can be imported.{reason}")
        report = {
            "source": _source_words(source),
            "imported": datetime.now(UTC).isoformat(timespec="seconds"),
            "observations": len(made),
            "problems": problems,
            **({"note": source.note} if source.note else {}),
            **({"origin": source.origin} if source.origin else {}),
        }
        write_import_report(folder, report)
    annotated = sum(o.annotated is not None for o in made.observations)
    return Imported(name, len(made), annotated, tuple(problems))


def _source_words(source: Source) -> str:
    """The source's name, of the hub with what pins it."""
    if not source.origin:
        return source.name
    origin = source.origin
    at = f"revision {origin['revision'][:12]}" if origin["revision"] else "a local folder"
    return f"{origin['repository']} ({origin['config']}, {origin['split']}, {at})"


def _checked(dataset: Dataset, problems: list[str], progress: Progress | None) -> Iterator[FolderRow]:
    """The rows of a folder in the published format whose pictures open."""
    problems += dataset.problems
    total = max(len(dataset), 1)
    kept: dict[Path, str] = {}
    for number, observation in enumerate(dataset.observations):
        if progress is not None and number % 5 == 0:
            progress(f"Picture {number + 1:,} of {total:,}", number / total)
        single = Dataset(dataset.name, dataset.folder, (observation,))
        try:
            (row,) = folder_rows(single)
            _open_once(observation.image, row.natural, kept)
        except InputError as error:
            problems.append(f"Row {observation.row}: {error} The row is left out.")
            continue
        if row.annotated is not None and observation.annotated is not None:
            try:
                _open_once(observation.annotated, row.annotated, kept)
            except InputError as error:
                problems.append(f"Row {observation.row}: {error} {NO_ANNOTATED}")
                row = FolderRow(**{**row.__dict__, "annotated": None, "annotated_name": ""})
        yield row


def _open_once(path: Path, raw: bytes, kept: dict[Path, str]) -> None:
    """Make sure that a picture opens; what was found out of a path that several rows name is kept."""
    if path not in kept:
        try:
            open_picture(raw, path.name)
            kept[path] = ""
        except InputError as error:
            kept[path] = str(error)
    if kept[path]:
        raise InputError(kept[path])


def name_from(source: str) -> str:
    """What a file or folder would be called as a dataset."""
    return re.sub(r"\.(zip|csv|tsv|jsonl|parquet)$", "", source, flags=re.IGNORECASE)
