"""Which column of a foreign table is which part of an observation, and the observations that come of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from isi_core.datasets.isi_folder import NO_ANNOTATED, FolderRow
from isi_core.datasets.pictures import MAX_BYTES, open_picture
from isi_core.datasets.tables import Table, text_of
from isi_core.domain.errors import InputError
from isi_core.domain.progress import Progress

PARTS = ("image", "question", "answer", "complementary", "contradictory", "description", "family", "annotated")
NEEDED = ("image", "question")
MAX_FILES = 500_000
"""Files below the table's folder that are looked through for a picture."""
_GUESSES: dict[str, tuple[str, ...]] = {
    "image": (
        "image",
        "img",
        "picture",
        "photo",
        "image_path",
        "img_path",
        "image_file",
        "filename",
        "file_name",
        "image_1",
    ),
    "question": ("question", "query", "prompt", "text"),
    "answer": ("answer", "label", "truth", "ground_truth", "gt", "target", "answers"),
    "complementary": ("complementary", "helpful", "supporting_context", "context", "hint"),
    "contradictory": ("contradictory", "misleading", "misleading_context"),
    "description": ("img_text_description", "description", "caption"),
    "family": ("family", "category", "type", "question_type", "topic", "subject"),
    "annotated": ("annotated", "annotated_image"),
}
_TRUTHS = {"1": True, "yes": True, "true": True, "y": True, "0": False, "no": False, "false": False, "n": False}
_SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"RIFF": ".webp", b"BM": ".bmp"}


@dataclass(frozen=True)
class Mapping:
    """The column of each of `PARTS`; "" for a part that the table does not have."""

    image: str
    question: str
    answer: str = ""
    complementary: str = ""
    contradictory: str = ""
    description: str = ""
    family: str = ""
    annotated: str = ""


def guess_mapping(columns: Sequence[str]) -> dict[str, str]:
    """A column for each part by its name; "" where none looks like it."""
    by_name = {column.casefold().replace(" ", "_"): column for column in reversed(columns)}
    return {part: next((by_name[g] for g in _GUESSES[part] if g in by_name), "") for part in PARTS}


def truth_of(cell: Any) -> bool | None:
    """yes, no, true, false, y, n, 1, 0 in any spelling; None for anything else."""
    if isinstance(cell, bool):
        return cell
    return _TRUTHS.get(text_of(cell).strip().strip(".").casefold())


def mapped_rows(
    table: Table, mapping: Mapping, pictures: Path | None, problems: list[str], progress: Progress | None = None
) -> Iterator[FolderRow]:
    """The table's rows as observations; what is wrong with one goes into `problems`, and the rest goes on.

    Parameters
    ----------
    pictures : the folder that the picture column's paths are relative to, and below which a file of that
        name is looked for; None where pictures can only lie in the table itself.

    Raises
    ------
    InputError : a column is not in the table, or picture and question have none.
    """
    for part in PARTS:
        column = getattr(mapping, part)
        if column and column not in table.columns:
            raise InputError(f"{table.name} has no column {column[:60]!r}: choose another for {part}.")
        if part in NEEDED and not column:
            raise InputError(f"No column was chosen for the {part}: nothing can be imported without it.")
    found = _Files(pictures)
    names: dict[str, bytes] = {}
    for place, (number, cells) in enumerate(table.rows):
        if progress is not None and place % 20 == 0:
            progress(f"Row {place + 1:,} of {len(table.rows):,}", place / len(table.rows))
        try:
            yield _row(number, cells, mapping, found, names, problems)
        except InputError as error:
            problems.append(f"Row {number}: {error} The row is left out.")


def _row(
    number: int, cells: dict[str, Any], mapping: Mapping, found: _Files, names: dict[str, bytes], problems: list[str]
) -> FolderRow:
    def text(part: str) -> str:
        column = getattr(mapping, part)
        return text_of(cells[column]) if column else ""

    question = text("question")
    if not question.strip():
        raise InputError("the question is empty.")
    raw, wish = found.picture(cells[mapping.image], number)
    truth = truth_of(cells[mapping.answer]) if mapping.answer else None
    if mapping.answer and truth is None:
        problems.append(f"Row {number}: the answer is {text('answer')[:60]!r}, not yes or no: its truth is unknown.")
    annotated = None
    if mapping.annotated and text("annotated"):
        try:
            annotated, _ = found.picture(cells[mapping.annotated], number)
        except InputError as error:
            problems.append(f"Row {number}: {error} {NO_ANNOTATED}")
    name = _name(wish, raw, number)
    both = hashlib.sha256(raw).digest() + (hashlib.sha256(annotated).digest() if annotated is not None else b"")
    # The annotated picture is found by its stem: one stem, one pair of pictures.
    if names.setdefault(Path(name).stem.casefold(), both) != both:
        name = f"{Path(name).stem}_{hashlib.sha256(both).hexdigest()[:8]}{Path(name).suffix}"
        names[Path(name).stem.casefold()] = both
    return FolderRow(
        image=name,
        natural=raw,
        annotated=annotated,
        question=question,
        truth=truth,
        complementary=text("complementary"),
        contradictory=text("contradictory"),
        description=text("description"),
        family=text("family").strip()[:200],
        annotated_name=_name(name, annotated, number, marked=True) if annotated is not None else "",
    )


def _name(wish: str, raw: bytes, number: int, marked: bool = False) -> str:
    """A plain file name that says what the file is."""
    known = next((suffix for start, suffix in _SUFFIXES.items() if raw.startswith(start)), ".png")
    stem = re.sub(r"[^\w. -]+", "_", Path(wish).stem).strip(" .")[:100] or f"row_{number}"
    suffix = Path(wish).suffix.lower()
    usual = {".jpeg": ".jpg"}.get(suffix, suffix)
    return f"{stem}{suffix if usual == known and not marked else known}"


class _Files:
    """The pictures below a folder, by path and, where it is the only one, by name; links are not followed."""

    def __init__(self, folder: Path | None) -> None:
        self._root = folder.resolve() if folder is not None else None
        self._by_name: dict[str, list[Path]] | None = None

    def picture(self, cell: Any, number: int) -> tuple[bytes, str]:
        """A picture's bytes, checked that it opens, and the name it wishes for.

        Raises
        ------
        InputError : there is none, it leads out of the folder, or it is no picture.
        """
        if isinstance(cell, dict) and isinstance(cell.get("bytes"), bytes):
            raw, wish = cell["bytes"], str(cell.get("path") or "")
        elif isinstance(cell, bytes):
            raw, wish = cell, ""
        else:
            inner = cell.get("path") if isinstance(cell, dict) else cell
            wish = text_of(inner).strip()
            raw = self._read(wish)
        wish = wish.replace("\\", "/").rsplit("/", 1)[-1]
        open_picture(raw, wish or f"the picture of row {number}")
        return raw, wish

    def _read(self, name: str) -> bytes:
        shown = repr(name[:80])
        if not name:
            raise InputError("there is no picture.")
        if name.startswith(("http://", "https://", "data:")):
            raise InputError(f"{shown} is an address: download the pictures and name their files.")
        if self._root is None:
            raise InputError(f"{shown} is not in the table: zip the table together with its pictures.")
        try:
            path = self._root / name.replace("\\", "/")
            if not path.is_file():
                others = self._named(Path(name.replace("\\", "/")).name)
                if len(others) != 1:
                    raise InputError(f"{shown} is {'there several times' if others else 'missing'}.")
                path = others[0]
            if not path.resolve(strict=True).is_relative_to(self._root):
                raise InputError(f"{shown} lies outside of the table's folder.")
            if path.stat().st_size > MAX_BYTES:
                raise InputError(f"{shown} is larger than {MAX_BYTES // 1_000_000} MB.")
            return path.read_bytes()
        except (OSError, ValueError, RuntimeError):
            raise InputError(f"{shown} cannot be read.") from None

    def _named(self, name: str) -> list[Path]:
        if self._root is None:
            return []
        if self._by_name is None:
            self._by_name = {}
            for path in sorted(islice(self._root.rglob("*"), MAX_FILES)):
                if path.is_file() and not path.is_symlink():
                    self._by_name.setdefault(path.name, []).append(path)
        return self._by_name.get(name, [])
