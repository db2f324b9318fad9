"""Tables from anywhere as rows of plain values: CSV, JSON lines, Parquet, and a Hugging Face folder on disk."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isi_core.domain.errors import InputError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
MAX_ROWS = 200_000
MAX_COLUMNS = 500
MAX_TEXT_BYTES = 500_000_000
MAX_UNPACKED_BYTES = 4_000_000_000
STATE = "state.json"
"""The file that marks a folder written by the `datasets` library's `save_to_disk`."""


@dataclass(frozen=True)
class Table:
    """Rows by column.

    Attributes
    ----------
    rows : (number in the file from 1 on, cells by column); a cell is text, a number, a truth value, None, or what the
        file holds beside (a picture's bytes and path as a dictionary).
    problems : one sentence for each row that was left out.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, Any]], ...]
    problems: tuple[str, ...] = ()


def read_table(path: Path) -> Table:
    """The table in a file, by its extension, or in a folder that the `datasets` library wrote.

    Raises
    ------
    InputError : it cannot be read, has too many rows, or is of another kind.
    """
    try:
        if path.is_dir():
            return _arrow_folder(path)
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise InputError(f"{path.name} is not a table that can be read: give {', '.join(SUFFIXES)}.")
        if suffix == ".parquet":
            return _parquet(path)
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise InputError(f"{path.name} is larger than {MAX_TEXT_BYTES // 1_000_000} MB: split it.")
        text, problems = decode(path.read_bytes(), path.name)
    except OSError as error:
        raise InputError(f"{path.name} cannot be read ({error.strerror}): check the file.") from None
    return _json_lines(path.name, text, problems) if suffix == ".jsonl" else _csv(path.name, text, problems)


def decode(raw: bytes, name: str) -> tuple[str, list[str]]:
    """Text of any usual encoding, and a sentence where it is not UTF-8."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", "replace"), [f"{name} is UTF-16: save it as UTF-8 to share it."]
    try:
        return raw.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        sentence = f"{name} is not UTF-8: it was read as Windows-1252, so check accents and save it as UTF-8."
        return raw.decode("cp1252", "replace"), [sentence]


def _csv(name: str, text: str, problems: list[str]) -> Table:
    first = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    columns: tuple[str, ...] = ()
    rows: list[tuple[int, dict[str, Any]]] = []
    number = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            problems.append(f"Row {number + 1} and those behind it cannot be read ({error}).")
            break
        if not any(cell.strip() for cell in cells):
            continue
        if not columns:
            columns = checked_columns(name, cells)
            continue
        number += 1
        while len(cells) > len(columns) and not cells[-1]:
            cells.pop()
        if len(cells) != len(columns):
            count = f"{len(cells)} cells instead of {len(columns)}"
            problems.append(f"Row {number} has {count}: it is left out, check its quotation marks.")
            continue
        _check_count(name, len(rows))
        rows.append((number, dict(zip(columns, cells, strict=True))))
    if not columns:
        raise InputError(f"{name} is empty: give a table with a line of column names.")
    return Table(name, columns, tuple(rows), tuple(problems))


def _json_lines(name: str, text: str, problems: list[str]) -> Table:
    rows: list[tuple[int, dict[str, Any]]] = []
    columns: dict[str, None] = {}
    number = 0
    # Only real line ends: a string in JSON may hold U+2028.
    for line in text.split("\n"):
        if not line.strip():
            continue
        number += 1
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            problems.append(f"Row {number} is not a JSON object: it is left out.")
            continue
        _check_count(name, len(rows))
        columns.update(dict.fromkeys(row))
        rows.append((number, row))
    named = checked_columns(name, columns)
    return Table(name, named, tuple((i, {c: row.get(c) for c in named}) for i, row in rows), tuple(problems))


def _parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            unpacked = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
            _check_size(path.name, file.metadata.num_rows, unpacked)
            return _batches(path.name, file.schema_arrow.names, file.iter_batches(1_000))
    except (pa.ArrowException, OSError, ValueError):
        raise InputError(f"{path.name} is damaged or not a Parquet file: save it again.") from None


def _arrow_folder(folder: Path) -> Table:
    """The shards that `state.json` names, in order, as the `datasets` library writes them (Arrow streams)."""
    import pyarrow as pa

    try:
        if (folder / STATE).stat().st_size > 10_000_000:
            raise ValueError
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        names = [str(shard["filename"]) for shard in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        splits = sorted(p.parent.name for p in folder.glob(f"*/{STATE}"))
        if splits:
            raise InputError(f"{folder.name} holds several splits: give the folder of {' or '.join(splits)}.") from None
        raise InputError(f"{folder.name} is neither in the ISI VQA format nor a saved dataset: check it.") from None
    if any(not name or "/" in name or "\\" in name or name in (".", "..") for name in names):
        raise InputError(f"{STATE} names a file outside of its folder: do not use it.")
    root = folder.resolve()
    paths = [folder / name for name in names]
    if any(not path.resolve().is_relative_to(root) or not path.is_file() for path in paths):
        raise InputError(f"{folder.name} lacks a part that its {STATE} names: copy the whole folder.")
    _check_size(folder.name, 0, sum(path.stat().st_size for path in paths))
    columns: list[str] = []
    rows: list[tuple[int, dict[str, Any]]] = []
    try:
        for path in paths:
            with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
                part = _batches(folder.name, stream.schema.names, stream, len(rows))
            columns, rows = list(part.columns), [*rows, *part.rows]
    except (pa.ArrowException, OSError, ValueError):
        raise InputError(f"A part of {folder.name} is damaged: save the dataset again.") from None
    return Table(folder.name, tuple(columns), tuple(rows))


def _batches(name: str, columns: Iterable[str], batches: Iterable[Any], before: int = 0) -> Table:
    named = checked_columns(name, columns)
    rows: list[tuple[int, dict[str, Any]]] = []
    for batch in batches:
        for row in batch.to_pylist():
            _check_count(name, before + len(rows))
            rows.append((before + len(rows) + 1, row))
    return Table(name, named, tuple(rows))


def checked_columns(name: str, columns: Iterable[str]) -> tuple[str, ...]:
    """The column names without spaces around them.

    Raises
    ------
    InputError : there are too many, or two of the same name.
    """
    named = tuple(str(column).strip() for column in columns)
    if len(named) > MAX_COLUMNS:
        raise InputError(f"{name} has more than {MAX_COLUMNS} columns: leave out those that are not needed.")
    if len(set(named)) < len(named):
        twice = next(column for column in named if named.count(column) > 1)
        raise InputError(f"{name} has two columns called {twice[:60]!r}: rename one.")
    return named


def _check_count(name: str, count: int) -> None:
    if count >= MAX_ROWS:
        raise InputError(f"{name} has more than {MAX_ROWS:,} rows: split it.")


def _check_size(name: str, rows: int, unpacked: int) -> None:
    if rows > MAX_ROWS:
        raise InputError(f"{name} has more than {MAX_ROWS:,} rows: split it.")
    if unpacked > MAX_UNPACKED_BYTES:
        raise InputError(f"{name} unpacks to more than {MAX_UNPACKED_BYTES // 10**9} GB: split it.")


def text_of(cell: Any) -> str:
    """A cell as text: "" for nothing, numbers as they are written, anything that has parts as JSON."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bytes):
        return f"({len(cell):,} bytes)"
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    if isinstance(cell, (dict, list)):
        return json.dumps(cell, ensure_ascii=False, default=str)[:10_000]
    return str(cell)
