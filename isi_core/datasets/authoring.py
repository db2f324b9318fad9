"""Datasets of one's own: made, added to, changed, copied, and given away as the published folder or as a zip file."""

from __future__ import annotations

import csv
import io
import os
import re
from pathlib import Path
from uuid import uuid4

from isi_core.datasets.archive import zip_folder
from isi_core.datasets.catalogue import changing, dataset_path, new_dataset_folder
from isi_core.datasets.isi_folder import (
    ANNOTATED,
    COLUMNS,
    CSV_NAME,
    FAMILY,
    NATURAL,
    NO_ANNOTATED,
    NO_ANSWER,
    FolderRow,
    folder_rows,
    load_isi_folder,
    write_isi_folder,
)
from isi_core.datasets.pictures import open_picture
from isi_core.domain.errors import InputError
from isi_core.domain.observation import Dataset, Observation

MAX_TEXT = 100_000
MAX_ZIP_BYTES = 2_000_000_000


def create_dataset(name: str) -> None:
    """An empty dataset of the user's own.

    Raises
    ------
    InputError : the name is taken or cannot be one.
    """
    with new_dataset_folder(name) as folder:
        for kind in (NATURAL, ANNOTATED):
            (folder / kind).mkdir()
        _write_table(folder, ())


def copy_dataset(source: Dataset, name: str) -> None:
    """A copy under another name, to change without touching the first.

    Raises
    ------
    InputError : the name is taken or cannot be one.
    """
    with new_dataset_folder(name) as folder:
        write_isi_folder(folder_rows(source), folder)


def save_observation(name: str, row: FolderRow, replaces: str | None = None) -> str:
    """Add an observation to an own dataset, or put it in the place of the one with the id `replaces`; its id.

    The pictures are written under a name that is free, then the table, at once or not at all.

    Raises
    ------
    InputError : the question is empty, a text is too long, a picture cannot be used, or the dataset has rows that
        cannot be used, which a change would lose.
    """
    _check(row)
    with changing(name) as folder:
        observations = list(_whole(folder).observations)
        at = _place(observations, replaces) if replaces is not None else len(observations)
        others = [o for i, o in enumerate(observations) if i != at]
        image, annotated = _write_pictures(folder, row, others)
        made = Observation(
            id="",
            row=at + 1,
            image=image,
            annotated=annotated,
            question=row.question,
            truth=row.truth,
            complementary=row.complementary,
            contradictory=row.contradictory,
            description=row.description,
            family=row.family.strip(),
        )
        for i, other in enumerate(observations):
            if i != at and _columns(other) == _columns(made):
                raise InputError(f"Observation {i + 1} is the same in every respect: change something.")
        observations[at : at + 1] = [made]
        _write_table(folder, observations)
        _drop_unused_pictures(folder, observations)
        return load_isi_folder(folder).observations[at].id


def delete_observation(name: str, observation_id: str) -> None:
    """Remove an observation from an own dataset, and its pictures where no other shows them.

    Raises
    ------
    InputError : there is none of this id.
    """
    with changing(name) as folder:
        observations = list(_whole(folder).observations)
        del observations[_place(observations, observation_id)]
        _write_table(folder, observations)
        _drop_unused_pictures(folder, observations)


def as_row(observation: Observation) -> FolderRow:
    """A stored observation as it would be written again, to be changed."""
    (row,) = folder_rows(Dataset("", None, (observation,)))
    return row


def export_folder(dataset: Dataset, folder: Path) -> None:
    """Write a dataset in the published format into a new or empty folder.

    Raises
    ------
    InputError : the folder holds something or cannot be written.
    """
    write_isi_folder(folder_rows(dataset), folder)


def export_zip(name: str) -> bytes:
    """A dataset of the catalogue as a zip file in the published format; importing it gives the same dataset.

    Raises
    ------
    InputError : there is none of this name, or a file cannot be read.
    """
    folder = dataset_path(name)
    dataset = load_isi_folder(folder)
    pictures = {p for o in dataset.observations for p in (o.image, o.annotated) if p is not None}
    if sum(path.stat().st_size for path in pictures) > MAX_ZIP_BYTES:
        raise InputError(f"{name} is larger than {MAX_ZIP_BYTES // 10**9} GB: copy its folder {folder} instead.")
    return zip_folder(folder, [folder / CSV_NAME, *sorted(pictures)], name)


def _check(row: FolderRow) -> None:
    if not row.question.strip():
        raise InputError("The question is empty: type one.")
    for what, text in (
        ("question", row.question),
        ("complementary context", row.complementary),
        ("contradictory context", row.contradictory),
        ("description", row.description),
    ):
        if len(text) > MAX_TEXT:
            raise InputError(f"The {what} is too long: at most {MAX_TEXT:,} characters fit.")
        if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
            raise InputError(f"The {what} holds a character that cannot be stored: type it again.")
    open_picture(row.natural, row.image)
    if row.annotated is not None:
        open_picture(row.annotated, row.annotated_name or row.image)


def _whole(folder: Path) -> Dataset:
    """The dataset, where nothing of it would be lost when it is written again."""
    dataset = load_isi_folder(folder)
    lost = [problem for problem in dataset.problems if not problem.endswith((NO_ANNOTATED, NO_ANSWER))]
    if lost:
        raise InputError(
            f"{dataset.name} has rows or columns that cannot be used ({lost[0]}) "
            "Import its folder again under another name and change that one."
        )
    return dataset


def _place(observations: list[Observation], observation_id: str) -> int:
    for i, observation in enumerate(observations):
        if observation.id == observation_id:
            return i
    raise InputError(f"There is no observation {observation_id[:60]!r}: it may have been deleted in another tab.")


def _write_pictures(folder: Path, row: FolderRow, others: list[Observation]) -> tuple[Path, Path | None]:
    """Put the pictures into the folder, and where: a picture that others show stays, and so does one that is equal."""
    stem = re.sub(r"[^\w. -]+", "_", Path(row.image).stem).strip(" .")[:80] or "picture"
    suffix = Path(row.image).suffix.lower() or ".png"
    taken = {o.image.stem.casefold(): o for o in others}
    for i in range(1, 100_000):
        name = f"{stem}{suffix}" if i == 1 else f"{stem}_{i}{suffix}"
        same = taken.get(Path(name).stem.casefold())
        if same is not None and not _shows(same, name, row):
            continue
        break
    image = folder / NATURAL / name
    annotated = None
    _put(image, row.natural)
    if row.annotated is not None:
        marked = Path(row.annotated_name or row.image).suffix.lower() or suffix
        annotated = folder / ANNOTATED / f"{Path(name).stem}{marked}"
        _put(annotated, row.annotated)
    return image, annotated


def _shows(other: Observation, name: str, row: FolderRow) -> bool:
    """Whether another observation's pictures are these, so that they can be shared."""
    known = as_row(other)
    return (known.image, known.natural, known.annotated) == (name, row.natural, row.annotated)


def _put(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        if not path.is_symlink() and path.is_file() and path.read_bytes() == content:
            return
        staging = path.with_name(f".{uuid4().hex}")
        staging.write_bytes(content)
        staging.replace(path)
    except OSError as error:
        raise InputError(f"{path.name} cannot be written ({error.strerror}): check the disk.") from None


def _columns(o: Observation) -> list[str]:
    truth = "" if o.truth is None else str(int(o.truth))
    return [o.image.name, o.question, o.contradictory, o.complementary, truth, o.description, o.family]


def _write_table(folder: Path, observations: list[Observation] | tuple[()]) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    width = len(COLUMNS) + any(o.family for o in observations)
    writer.writerows(line[:width] for line in [[*COLUMNS, FAMILY], *map(_columns, observations)])
    staging = folder / f".{uuid4().hex}"
    try:
        with staging.open("w", encoding="utf-8", newline="") as file:
            file.write(buffer.getvalue())
            file.flush()
            os.fsync(file.fileno())
        staging.replace(folder / CSV_NAME)
    except OSError as error:
        staging.unlink(missing_ok=True)
        raise InputError(f"{CSV_NAME} cannot be written ({error.strerror}): nothing was changed.") from None


def _drop_unused_pictures(folder: Path, observations: list[Observation]) -> None:
    """Remove the pictures that no row names any more, so that none is taken for a row's by its stem."""
    for kind, used in (
        (NATURAL, {o.image.name for o in observations}),
        (ANNOTATED, {o.annotated.name for o in observations if o.annotated is not None}),
    ):
        for path in (folder / kind).iterdir() if (folder / kind).is_dir() else ():
            if path.name not in used and (path.is_file() or path.is_symlink()):
                path.unlink(missing_ok=True)
