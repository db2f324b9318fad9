"""Stored runs found by what is known of them, marked by a person, put into the bin and taken out again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from isi_core.domain.errors import InputError
from isi_core.store.runs import BRIEF, Store, StoredRun

Judged = Literal["right", "wrong", "unclear", "not judged"]
JUDGED: tuple[Judged, ...] = ("right", "wrong", "unclear", "not judged")
ORDERS = {
    "Newest first": "id DESC",
    "Oldest first": "id",
    "Highest semantic entropy": "semantic_entropy DESC NULLS LAST, id DESC",
    "Lowest semantic entropy": "semantic_entropy NULLS LAST, id DESC",
    "Most attention on the image": "attention_image DESC NULLS LAST, id DESC",
    "Most attention on the context": "attention_context DESC NULLS LAST, id DESC",
    "Observation": "dataset, observation_id, id DESC",
}
MAX_NOTE, MAX_TAGS = 10_000, 20
BIN_DAYS = 7
"""How long a run in the bin can be taken out again."""

_TAG = re.compile(r"[^\s,;#]{1,40}")
_SEARCHED = ("question", "observation_id", "label", "note", "tags", "model_name")
_JUDGED = (
    "CASE WHEN verdict IS NULL OR truth NOT IN ('yes', 'no') THEN 'not judged' WHEN verdict = 'unclear' "
    "THEN 'unclear' WHEN verdict = truth THEN 'right' ELSE 'wrong' END"
)
_CHUNK = 500  # SQLite takes so many values a statement, and some more


@dataclass(frozen=True)
class RunFilter:
    """Which runs; an empty part lets everything through, the parts that are not empty must all hold.

    Attributes
    ----------
    words : each must occur in the question, answer, observation, label, note, tags or model.
    judged : right, wrong, unclear, not judged.
    tag : the whole word.
    since : ISO 8601 day or time.
    measured : any of `uncertainty`, `attention`; all named must have been measured.
    """

    words: str = ""
    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    judged: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    tag: str = ""
    since: str = ""
    measured: tuple[str, ...] = ()


def search_runs(
    store: Store, wanted: RunFilter, order: str = "Newest first", limit: int = 50, offset: int = 0
) -> tuple[list[StoredRun], int]:
    """One page of the runs that fit, and how many fit in all.

    Raises
    ------
    InputError : the database is damaged.
    """
    where, values = _where(wanted)
    with store.database.reading() as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM runs WHERE {where}", values).fetchone()
        rows = connection.execute(
            f"SELECT {BRIEF} FROM runs WHERE {where} ORDER BY {ORDERS[order]} LIMIT ? OFFSET ?",
            [*values, limit, offset],
        ).fetchall()
    return [StoredRun(*row) for row in rows], int(count)


def run_choices(store: Store) -> dict[str, list[str]]:
    """What there is to choose from: `datasets`, `models`, `images`, `contexts`, `tags`."""
    columns = {"datasets": "dataset", "models": "model_name", "images": "image_kind", "contexts": "context_kind"}
    with store.database.reading() as connection:
        found = {
            name: [
                str(row[0])
                for row in connection.execute(f"SELECT DISTINCT {column} FROM runs WHERE deleted = '' ORDER BY 1")
            ]
            for name, column in columns.items()
        }
        tags = connection.execute("SELECT DISTINCT tags FROM runs WHERE tags <> '' AND deleted = ''").fetchall()
    found["tags"] = sorted({tag for (joined,) in tags for tag in joined.split()})
    return found


def runs_of(store: Store, dataset: str, model: str) -> list[StoredRun]:
    """The runs of a model on the plain presets of a dataset's observations, oldest first."""
    with store.database.reading() as connection:
        rows = connection.execute(
            f"SELECT {BRIEF} FROM runs WHERE dataset = ? AND model_name = ? AND deleted = '' AND drawn = 0 ORDER BY id",
            [dataset, model],
        ).fetchall()
    return [StoredRun(*row) for row in rows]


def models_of(store: Store, dataset: str) -> list[str]:
    """The models that were asked about a dataset, the one with most runs first."""
    with store.database.reading() as connection:
        rows = connection.execute(
            "SELECT model_name FROM runs WHERE dataset = ? AND deleted = '' GROUP BY 1 ORDER BY count(*) DESC, 1",
            [dataset],
        ).fetchall()
    return [str(row[0]) for row in rows]


def runs_stamp(store: Store) -> tuple[int, int]:
    """Tells whether a run came, went or was put into the bin since."""
    with store.database.reading() as connection:
        last, count = connection.execute(
            "SELECT coalesce(max(id), 0), count(*) FROM runs WHERE deleted = ''"
        ).fetchone()
    return int(last), int(count)


def tag_runs(store: Store, run_ids: Iterable[int], tags: str) -> None:
    """Give runs these tags, words separated by spaces or commas, in the place of those they had.

    Raises
    ------
    InputError : a tag is too long, or there are too many.
    """
    words = list(dict.fromkeys(filter(None, re.split(r"[\s,;#]+", tags))))
    if len(words) > MAX_TAGS or not all(_TAG.fullmatch(word) for word in words):
        raise InputError(f"Tags are at most {MAX_TAGS} words of at most 40 characters, such as: figure-3 odd.")
    _update(store, run_ids, "tags", " ".join(words))


def note_run(store: Store, run_id: int, note: str) -> None:
    """Write a note on a run, in the place of the one it had.

    Raises
    ------
    InputError : the note is too long.
    """
    if len(note) > MAX_NOTE:
        raise InputError(f"The note is too long: at most {MAX_NOTE:,} characters fit.")
    _update(store, [run_id], "note", note.strip().encode("utf-8", "replace").decode())


def bin_runs(store: Store, run_ids: Iterable[int]) -> None:
    """Put runs into the bin: nothing finds them any more, but they can be taken out again."""
    _update(store, run_ids, "deleted", _now())


def unbin_runs(store: Store, run_ids: Iterable[int]) -> None:
    """Take runs out of the bin."""
    _update(store, run_ids, "deleted", "")


def binned_runs(store: Store) -> list[StoredRun]:
    """What lies in the bin, what was put there last first."""
    with store.database.reading() as connection:
        rows = connection.execute(f"SELECT {BRIEF} FROM runs WHERE deleted <> '' ORDER BY deleted DESC, id DESC")
        return [StoredRun(*row) for row in rows.fetchall()]


def empty_bin(store: Store, older_than_days: float = 0) -> int:
    """Remove for good what has lain in the bin for so long; how many runs that were."""
    limit = _now(-older_than_days)
    with store.database.reading() as connection:
        rows = connection.execute("SELECT id FROM runs WHERE deleted <> '' AND deleted <= ?", [limit]).fetchall()
    for (run_id,) in rows:
        store.delete(run_id)
    return len(rows)


def _now(days: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="microseconds")


def _update(store: Store, run_ids: Iterable[int], column: str, value: str) -> None:
    ids = list(run_ids)
    with store.database.transaction() as connection:
        connection.executemany(f"UPDATE runs SET {column} = ? WHERE id = ?", [(value, run_id) for run_id in ids])


def _where(wanted: RunFilter) -> tuple[str, list[Any]]:
    parts, values = ["deleted = ''"], []
    for word in wanted.words.lower().split():
        like = "%" + re.sub(r"([%_\\])", r"\\\1", word) + "%"
        columns = (*_SEARCHED, "coalesce(answer, '')")
        parts.append("(" + " OR ".join(f"lower({column}) LIKE ? ESCAPE '\\'" for column in columns) + ")")
        values += [like] * len(columns)
    chosen: Sequence[tuple[str, tuple[str, ...]]] = (
        ("dataset", wanted.datasets),
        ("model_name", wanted.models),
        (_JUDGED, wanted.judged),
        ("image_kind", wanted.images),
        ("context_kind", wanted.contexts),
    )
    for column, allowed in chosen:
        if allowed:
            parts.append(f"{column} IN ({', '.join('?' * len(allowed[:_CHUNK]))})")
            values += allowed[:_CHUNK]
    if wanted.tag:
        parts.append("instr(' ' || tags || ' ', ' ' || ? || ' ') > 0")
        values.append(wanted.tag)
    if wanted.since:
        parts.append("created >= ?")
        values.append(wanted.since)
    parts += [
        f"{column} IS NOT NULL"
        for name, column in (("uncertainty", "semantic_entropy"), ("attention", "attention_image"))
        if name in wanted.measured
    ]
    return " AND ".join(parts), values
