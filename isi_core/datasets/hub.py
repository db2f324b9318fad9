"""Datasets of the Hugging Face hub as tables, read as a stream by the `datasets` library, at one pinned revision.

No code of a repository is ever run: the library dropped that in its version 4, and older ones are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from isi_core.datasets.pictures import MAX_BYTES
from isi_core.datasets.tables import MAX_ROWS, Table, checked_columns
from isi_core.domain.errors import InputError, StudioError
from isi_core.domain.progress import Progress

PACKAGE = "datasets==5.2.0"
"""What has to be installed for it."""
ROWS = 1_000
"""Rows that are read where no number is given."""
MAX_MEMORY = 2_000_000_000  # bytes of pictures that are held at once
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_LISTED = 40
_SECONDS = 20.0


@dataclass(frozen=True)
class HubChoice:
    """What to read.

    Attributes
    ----------
    repository : `owner/name` on the hub, or a local folder in a form that the library reads.
    config, split : "" where there is only one.
    revision : branch, tag or commit; "" for the newest. What is read is the commit that it names then.
    rows : at most so many, from the first on.
    """

    repository: str
    config: str = ""
    split: str = ""
    revision: str = ""
    rows: int = ROWS

    def __post_init__(self) -> None:
        if not 1 <= self.rows <= MAX_ROWS:
            raise InputError(f"From the hub 1 to {MAX_ROWS:,} rows can be read, not {self.rows:,}.")


@dataclass(frozen=True)
class HubTable:
    """The rows, and exactly what they are.

    Attributes
    ----------
    origin : repository, config, split, revision (the commit; "" for a folder), rows asked for, library.
    folder : the local folder; None on the hub.
    """

    table: Table
    origin: dict[str, str]
    folder: Path | None


def is_hub_id(text: str) -> bool:
    """Whether it has the form `owner/name` and no file or folder of that name lies here."""
    name = text.strip()
    return bool(_REPOSITORY.fullmatch(name)) and not Path(name).expanduser().exists()


def read_hub(choice: HubChoice, progress: Progress | None = None) -> HubTable:
    """The first rows of a dataset on the hub.

    Raises
    ------
    InputError : the library is missing or too old, there is no such dataset, config, split or revision, several are
        there and none was chosen, or it cannot be reached.
    """
    library = _library()
    name = choice.repository.strip()
    folder = Path(name).expanduser()
    local = folder if folder.is_dir() else None
    if local is None and not _REPOSITORY.fullmatch(name):
        raise InputError(f"{name[:80]!r} is no dataset of the hub: give it as owner/name.")
    source = str(local.resolve()) if local is not None else name
    if progress is not None:
        progress(f"Asking for {name[:80]}", 0.0)
    commit = "" if local is not None else _asked(name, lambda: _commit(name, choice.revision))
    pinned = {"revision": commit} if commit else {}
    configs = _asked(name, lambda: library.get_dataset_config_names(source, **pinned))
    config = _one_of(choice.config, configs, "config", name)
    splits = _asked(name, lambda: library.get_dataset_split_names(source, config, **pinned))
    split = _one_of(choice.split, splits, "split", name)
    stream = _asked(name, lambda: library.load_dataset(source, config, split=split, streaming=True, **pinned))
    columns = checked_columns(name, stream.column_names or list(stream.features or {}))
    # Pictures come as their files, and are opened as every foreign picture is.
    rows = list(_rows(stream.decode(False), choice, local, commit, progress))
    origin = {
        "repository": name,
        "config": config,
        "split": split,
        "revision": commit,
        "rows": str(choice.rows),
        "library": f"datasets {library.__version__}",
    }
    return HubTable(Table(f"{name} ({config}, {split})", columns, tuple(rows)), origin, local)


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise InputError(
            f"The hub is read by the package `datasets`, which is not installed: pip install {PACKAGE}, or download "
            "the dataset as Parquet and import that."
        ) from None
    if int(str(datasets.__version__).split(".")[0]) < 4:
        raise InputError(f"datasets {datasets.__version__} may run code of a repository: pip install {PACKAGE}.")
    return datasets


def _commit(name: str, revision: str) -> str:
    from huggingface_hub import HfApi

    return str(HfApi().dataset_info(name, revision=revision.strip() or None, timeout=_SECONDS).sha)


def _asked(name: str, ask: Any) -> Any:
    """What the library answers; whatever it raises is one sentence."""
    try:
        return ask()
    except StudioError:
        raise
    except Exception as error:  # the loaders of many file formats raise what they like
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{name[:80]} cannot be read: {reason}") from None


def _one_of(wanted: str, found: list[str], what: str, name: str) -> str:
    """The one that was asked for, or the only one."""
    listed = ", ".join(str(one) for one in found[:_LISTED]) + (" …" if len(found) > _LISTED else "")
    if wanted.strip():
        if wanted.strip() not in found:
            raise InputError(f"{name[:80]} has no {what} {wanted.strip()[:60]!r}: choose from {listed}.")
        return wanted.strip()
    if len(found) != 1:
        raise InputError(f"{name[:80]} has {len(found)} {what}s: choose one of {listed}.")
    return str(found[0])


def _rows(
    stream: Any, choice: HubChoice, local: Path | None, commit: str, progress: Progress | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    held = 0
    rows = iter(islice(stream, choice.rows))
    for number in range(1, choice.rows + 1):
        row = _asked(choice.repository, lambda: next(rows, None))
        if row is None:
            return
        cells = {str(column).strip(): _cell(value, choice, local, commit) for column, value in row.items()}
        held += sum(
            len(c["bytes"]) for c in cells.values() if isinstance(c, dict) and isinstance(c.get("bytes"), bytes)
        )
        if held > MAX_MEMORY:
            raise InputError(
                f"The first {number:,} rows hold more than {MAX_MEMORY // 10**9} GB of pictures: ask for fewer rows."
            )
        if progress is not None and number % 10 == 0:
            progress(f"Row {number:,} of at most {choice.rows:,}", 0.02 + 0.98 * number / choice.rows)
        yield number, cells


def _cell(value: Any, choice: HubChoice, local: Path | None, commit: str) -> Any:
    """A cell; of a picture that is only named its file, where it lies in the very same dataset."""
    if not isinstance(value, dict) or value.get("bytes") is not None or not isinstance(value.get("path"), str):
        return value
    path: str = value["path"]
    if local is not None:
        inside = Path(path).resolve()
        if inside.is_relative_to(local.resolve()) and inside.is_file() and inside.stat().st_size <= MAX_BYTES:
            return {"path": inside.name, "bytes": _asked(choice.repository, inside.read_bytes)}
        return {"path": inside.name, "bytes": None}
    # The library names files of a repository by its commit; other addresses are not followed.
    if not path.startswith(f"hf://datasets/{choice.repository.strip()}@{commit}/") or ".." in path.split("/"):
        return value
    raw = _asked(choice.repository, lambda: _hub_file(path))
    return {"path": path.rsplit("/", 1)[-1], "bytes": raw if len(raw) <= MAX_BYTES else None}


def _hub_file(path: str) -> bytes:
    from huggingface_hub import HfFileSystem

    with HfFileSystem().open(path.removeprefix("hf://"), "rb") as file:
        raw: bytes = file.read(MAX_BYTES + 1)
    return raw
