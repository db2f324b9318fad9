"""The published ISI VQA format, read and written: `vlm_dataset.csv`, `natural_images/`, `annotated_images/`.

Everything in such a folder is taken for hostile: a name must be that of a regular file in its own folder, no cell is
evaluated, and whatever is wrong with one row leaves the others alone.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from isi_core.domain.errors import InputError
from isi_core.domain.observation import Dataset, Observation

CSV_NAME = "vlm_dataset.csv"
NATURAL = "natural_images"
ANNOTATED = "annotated_images"
COLUMNS = ("image", "question", "contradictory", "complementary", "answer", "img_text_description")
FAMILY = "family"
"""A column of our own; the published dataset does not have it."""
NO_ANNOTATED = "It has no annotated preset."
NO_ANSWER = "the answer is '', not 0 or 1: its truth is unknown."
"""How the problem of a row ends whose cells are empty where they may be: writing it again loses nothing."""
MAX_CSV_BYTES = 50_000_000

_ANSWERS = {"0": False, "1": True}
_DISABLED_WITHOUT = {
    "contradictory": "the contradictory context is not offered",
    "complementary": "the complementary and random contexts are not offered",
    "answer": "the truth of every question is unknown",
    "img_text_description": "there are no descriptions",
}


def load_isi_folder(folder: Path) -> Dataset:
    """The observations of a folder in the published format; what is wrong with it goes into `problems`.

    Texts are kept as they stand in the file, spaces at their ends included. A natural or annotated picture may have
    another extension than the `image` column says, as long as its stem is clear.

    Raises
    ------
    InputError : there is no such folder, or no `vlm_dataset.csv` in it that can be read.
    """
    folder = folder.expanduser()
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}: check the path.")
    problems: list[str] = []
    rows = _read_rows(folder, problems)
    names = {cells.get("image", "").strip() for _, cells in rows}
    natural = _Pictures(folder, NATURAL, names)
    annotated = _Pictures(folder, ANNOTATED, names)
    if not natural.exists:
        problems.append(f"The folder {NATURAL} is missing or a link to elsewhere: nothing can be shown without it.")
        rows = []
    if not annotated.exists:
        problems.append(f"The folder {ANNOTATED} is missing or a link to elsewhere: there is no annotated preset.")
    observations: list[Observation] = []
    seen: dict[tuple[tuple[str, str], ...], int] = {}
    for number, cells in rows:
        first = seen.setdefault(tuple(cells.items()), number)
        if first != number:
            problems.append(f"Row {number} repeats row {first}: it is left out.")
            continue
        try:
            observations.append(_observation(number, cells, natural, annotated, problems))
        except InputError as error:
            problems.append(f"Row {number}: {error}")
    return Dataset(folder.resolve().name, folder, tuple(_with_ids(observations)), tuple(problems))


def _observation(
    number: int, cells: dict[str, str], natural: _Pictures, annotated: _Pictures, problems: list[str]
) -> Observation:
    name = cells["image"].strip()
    if not cells["question"].strip():
        raise InputError(f"the question of {_quoted(name)} is empty: the row is left out.")
    try:
        image = natural.find(name)
    except InputError as error:
        raise InputError(f"{error} The row is left out.") from None
    marked = None
    if annotated.exists:
        try:
            marked = annotated.find(name)
        except InputError as error:
            problems.append(f"Row {number}: {error} {NO_ANNOTATED}")
    answer = cells.get("answer", "").strip()
    if "answer" in cells and answer not in _ANSWERS:
        problems.append(f"Row {number}: the answer is {_quoted(answer)}, not 0 or 1: its truth is unknown.")
    return Observation(
        id=image.stem,
        row=number,
        image=image,
        annotated=marked,
        question=cells["question"],
        truth=_ANSWERS.get(answer),
        complementary=cells.get("complementary", ""),
        contradictory=cells.get("contradictory", ""),
        description=cells.get("img_text_description", ""),
        family=cells.get(FAMILY, "").strip(),
    )


def _with_ids(observations: list[Observation]) -> Iterator[Observation]:
    """Each with an id of its own: the stem, else the file name, else the file name and the row."""
    stems = Counter(o.image.stem for o in observations)
    names = Counter(o.image.name for o in observations)
    for observation in observations:
        if stems[observation.image.stem] == 1:
            yield observation
        elif names[observation.image.name] == 1:
            yield replace(observation, id=observation.image.name)
        else:
            yield replace(observation, id=f"{observation.image.name}#{observation.row}")


def _quoted(text: str) -> str:
    """A cell as it may stand in a message: one line, not long, without markup of its own."""
    return repr(text if len(text) <= 80 else text[:79] + "…")


def _is_plain(name: str) -> bool:
    """Whether it is the name of a file and nothing that could lead elsewhere."""
    return name not in ("", ".", "..") and not any(c in "/\\\0" for c in name)


class _Pictures:
    """One folder of pictures, listed once; gives out only regular files that lie in it."""

    def __init__(self, folder: Path, name: str, claimed: set[str]) -> None:
        self._name = name
        self._folder = folder / name
        self._root = self._folder.resolve()
        try:
            files = sorted(self._folder.iterdir()) if self._root.is_relative_to(folder.resolve()) else None
        except OSError:
            files = None
        self.exists = files is not None
        # A file that another row names is that row's, whatever its stem.
        self._by_stem: dict[str, list[str]] = {}
        for path in files or ():
            if path.name not in claimed:
                self._by_stem.setdefault(path.stem.casefold(), []).append(path.name)

    def find(self, name: str) -> Path:
        """The picture of this name, or the only free one of this stem.

        Raises
        ------
        InputError : the name is not that of a file in the folder.
        """
        shown = _quoted(name)
        if not name:
            raise InputError("the image column is empty.")
        if not _is_plain(name):
            raise InputError(f"{shown} is not a plain file name in {self._name}.")
        try:
            path = self._folder / name
            if not path.exists() and not path.is_symlink():
                others = self._by_stem.get(path.stem.casefold(), [])
                if len(others) != 1:
                    raise InputError(f"{shown} is missing in {self._name}.")
                path = self._folder / others[0]
            if not path.resolve(strict=True).is_relative_to(self._root):
                raise InputError(f"{shown} in {self._name} is a link out of the folder.")
            if not path.is_file():
                raise InputError(f"{shown} in {self._name} is not a file.")
        except (OSError, RuntimeError, ValueError):
            raise InputError(f"{shown} in {self._name} cannot be read.") from None
        return path


def _read_rows(folder: Path, problems: list[str]) -> list[tuple[int, dict[str, str]]]:
    """(1-based number, cells by column) of every row that has the columns nothing works without."""
    # Only real line ends: str.splitlines would also cut at U+2028 inside a cell.
    lines = list(io.StringIO(_read_text(folder, problems), newline=""))
    delimiter = max(",;\t", key=(lines[0] if lines else "").count)
    header, start, _ = _record(lines, 0, delimiter)
    columns = [name.strip().lower() for name in header]
    missing = [c for c in COLUMNS if c not in columns]
    for column in missing:
        what = _DISABLED_WITHOUT.get(column, "no row can be read without it")
        problems.append(f"{CSV_NAME} has no column {column}: {what}.")
    if "image" in missing or "question" in missing:
        return []
    rows: list[tuple[int, dict[str, str]]] = []
    number = 0
    while start < len(lines):
        cells, end, fault = _record(lines, start, delimiter)
        if not fault and not any(cell.strip() for cell in cells):
            start = end
            continue
        number += 1
        while len(cells) > len(columns) and not cells[-1]:
            cells.pop()
        if not fault and len(cells) != len(columns):
            fault = f"has {len(cells)} cells instead of {len(columns)}"
        if fault:
            # A quote that is never closed swallows the rows behind it: go on at the very next line.
            start += 1
            problems.append(f"Row {number} {fault}: it is left out, check its quotation marks.")
            continue
        start = end
        rows.append((number, dict(zip(columns, cells, strict=True))))
    return rows


def _record(lines: Sequence[str], start: int, delimiter: str) -> tuple[list[str], int, str]:
    """The cells of the row that begins at a line, the line behind it, and what is wrong with it ("" if nothing)."""
    reader = csv.reader((lines[i] for i in range(start, len(lines))), delimiter=delimiter)
    try:
        cells = next(reader, [])
    except csv.Error as error:
        return [], start + 1, f"cannot be read ({error})"
    return cells, start + reader.line_num, ""


def _read_text(folder: Path, problems: list[str]) -> str:
    path = folder / CSV_NAME
    try:
        if not path.is_file():
            raise InputError(f"{folder} has no {CSV_NAME}: choose a folder in the ISI VQA format.")
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{CSV_NAME} is a link out of its folder: put a copy in its place.")
        if path.stat().st_size > MAX_CSV_BYTES:
            raise InputError(f"{CSV_NAME} is larger than {MAX_CSV_BYTES // 1_000_000} MB: split the dataset.")
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{CSV_NAME} cannot be read ({error.strerror}): check the file.") from None
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        problems.append(f"{CSV_NAME} is UTF-16: save it as UTF-8 to share it.")
        return raw.decode("utf-16", "replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        problems.append(f"{CSV_NAME} is not UTF-8: it was read as Windows-1252, so check accents and save it as UTF-8.")
        return raw.decode("cp1252", "replace")


@dataclass(frozen=True)
class FolderRow:
    """One observation as it is written: its pictures are the bytes of whole files.

    Attributes
    ----------
    image : file name of the natural picture.
    annotated : None where there is none.
    annotated_name : where it is not called like the natural one.
    """

    image: str
    natural: bytes
    annotated: bytes | None
    question: str
    truth: bool | None
    complementary: str = ""
    contradictory: str = ""
    description: str = ""
    family: str = ""
    annotated_name: str = ""


def folder_rows(dataset: Dataset) -> Iterator[FolderRow]:
    """A loaded dataset as rows to write, one picture at a time in memory."""
    for o in dataset.observations:
        try:
            natural = o.image.read_bytes()
            annotated = o.annotated.read_bytes() if o.annotated else None
        except OSError as error:
            raise InputError(f"The pictures of {o.id} cannot be read ({error.strerror}): check the files.") from None
        yield FolderRow(
            image=o.image.name,
            natural=natural,
            annotated=annotated,
            question=o.question,
            truth=o.truth,
            complementary=o.complementary,
            contradictory=o.contradictory,
            description=o.description,
            family=o.family,
            annotated_name=o.annotated.name if o.annotated else "",
        )


def write_isi_folder(rows: Iterable[FolderRow], folder: Path) -> None:
    """Write rows in the published format; `load_isi_folder` gives back the same texts, truths and picture files.

    The column `family` is written only where a row has one. The CSV comes last, so that a folder that was
    interrupted is not taken for a whole one.

    Raises
    ------
    InputError : the folder holds something already or cannot be written, a name is not a plain file name, or two
        rows want different pictures under one name.
    """
    require_empty(folder)
    written: dict[Path, bytes] = {}
    lines: list[list[str]] = []
    families = False
    try:
        for row in rows:
            for kind, name, content in (
                (NATURAL, row.image, row.natural),
                (ANNOTATED, row.annotated_name or row.image, row.annotated),
            ):
                (folder / kind).mkdir(parents=True, exist_ok=True)
                if content is not None:
                    _write_picture(folder / kind, name, content, written)
            truth = "" if row.truth is None else str(int(row.truth))
            texts = [row.question, row.contradictory, row.complementary, truth, row.description]
            lines.append([row.image, *texts, row.family])
            families = families or bool(row.family)
        width = len(COLUMNS) + families
        with (folder / CSV_NAME).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows(line[:width] for line in [[*COLUMNS, FAMILY], *lines])
    except UnicodeEncodeError:
        raise InputError("A text holds half a character (a lone surrogate): type it again.") from None
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}): choose another folder.") from None


def _write_picture(folder: Path, name: str, content: bytes, written: dict[Path, bytes]) -> None:
    if not _is_plain(name):
        raise InputError(f"{_quoted(name)} is not a plain file name: rename the picture.")
    digest = hashlib.sha256(content).digest()
    path = folder / name
    if written.setdefault(path, digest) != digest:
        raise InputError(f"Two different pictures are called {_quoted(name)}: rename one.")
    path.write_bytes(content)


def require_empty(folder: Path) -> None:
    """Make sure that nothing is overwritten.

    Raises
    ------
    InputError : the path is a file or a folder that holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not an empty folder: choose a new one, nothing was overwritten.")
