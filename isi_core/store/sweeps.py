"""Sweeps in the database: what was planned, what somebody wishes of it, and each result as it is made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from isi_core.domain.errors import InputError
from isi_core.store.database import Database

Wish = Literal["plan", "run", "pause", "cancel"]
"""What is to become of a sweep: nothing yet, go on, stop for now, stop for good."""


@dataclass(frozen=True)
class PlannedGroup:
    """How many evaluations one model has under one condition; `left_out` observations lack what it needs."""

    model: str
    condition: str
    count: int
    left_out: int = 0


@dataclass(frozen=True)
class SweepRecord:
    """A sweep as it was planned.

    Attributes
    ----------
    created : ISO 8601 time, UTC.
    dataset : the dataset's name.
    plan : as plain JSON values.
    planned : in the order in which models and conditions come.
    models : the records of the models that made results, by the plan's label, and of the entailment model.
    """

    id: str
    title: str
    created: str
    dataset: str
    plan: dict[str, Any]
    planned: tuple[PlannedGroup, ...]
    wish: Wish = "plan"
    models: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of planned evaluations."""
        return sum(group.count for group in self.planned)


@dataclass(frozen=True)
class SweepResult:
    """What came of one planned evaluation.

    Attributes
    ----------
    item : its key in the plan.
    model, condition : labels in the plan.
    observation, place : id and 1-based row in the dataset.
    family, truth : the observation's; truth is yes, no or unknown.
    verdict : yes, no or unclear; None where it failed.
    measured : numbers by measure's name.
    seconds : wall time, without waiting for the model.
    run : number of the stored evaluation; None where it failed.
    reused : the evaluation had been made before the sweep.
    error : one sentence where it failed, else "".
    finished : ISO 8601 time, UTC.
    """

    item: str
    model: str
    condition: str
    observation: str
    place: int
    family: str
    truth: str
    verdict: str | None = None
    measured: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    run: int | None = None
    reused: bool = False
    error: str = ""
    finished: str = ""


@dataclass(frozen=True)
class GroupProgress:
    """How far one model is under one condition."""

    model: str
    condition: str
    done: int
    failed: int


_RESULT = tuple(SweepResult.__dataclass_fields__)
_RESULT_NAMES = ", ".join(_RESULT)
_SWEEP = "id, title, created, dataset, plan, planned, wish, models"


class SweepRecords:
    """The sweeps of one database; any thread and several processes may use it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, record: SweepRecord) -> None:
        """Write a sweep down; one of the same id is left as it is."""
        with self._database.transaction() as connection:
            connection.execute(
                f"INSERT OR IGNORE INTO sweeps ({_SWEEP}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    record.id,
                    _text(record.title),
                    record.created or datetime.now(UTC).isoformat(timespec="seconds"),
                    _text(record.dataset),
                    json.dumps(record.plan),
                    json.dumps([[g.model, g.condition, g.count, g.left_out] for g in record.planned]),
                    record.wish,
                    json.dumps(record.models),
                ],
            )

    def get(self, sweep: str) -> SweepRecord:
        """One sweep.

        Raises
        ------
        InputError : there is none of this id.
        """
        with self._database.reading() as connection:
            row = connection.execute(f"SELECT {_SWEEP} FROM sweeps WHERE id = ?", [sweep]).fetchone()
        if row is None:
            raise InputError(f"There is no sweep {sweep[:40]!r}: it may have been deleted.")
        return _record(row)

    def all(self) -> list[SweepRecord]:
        """Every sweep, the newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(f"SELECT {_SWEEP} FROM sweeps ORDER BY number DESC").fetchall()
        return [_record(row) for row in rows]

    def set_wish(self, sweep: str, wish: Wish) -> None:
        """Leave word what is to become of a sweep; whoever runs it reads it before the next evaluation."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE sweeps SET wish = ? WHERE id = ?", [wish, sweep])

    def wish(self, sweep: str) -> Wish:
        """What is to become of a sweep; one that was deleted is cancelled."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT wish FROM sweeps WHERE id = ?", [sweep]).fetchone()
        return row[0] if row else "cancel"

    def set_model(self, sweep: str, label: str, record: dict[str, str]) -> dict[str, str]:
        """Remember which model stands behind a label, and return the one that stood there first."""
        with self._database.transaction() as connection:
            row = connection.execute("SELECT models FROM sweeps WHERE id = ?", [sweep]).fetchone()
            models: dict[str, dict[str, str]] = json.loads(row[0]) if row else {}
            if label not in models:
                models[label] = record
                connection.execute("UPDATE sweeps SET models = ? WHERE id = ?", [json.dumps(models), sweep])
            return models[label]

    def add_result(self, sweep: str, result: SweepResult) -> None:
        """Write a result down, which marks its item as finished.

        In one transaction with what was stored of the evaluation, so that there is never the one without the other.

        Raises
        ------
        InputError : the item has a result already, the sweep was deleted, or the disk is full; nothing is stored then.
        """
        values = [getattr(result, name) for name in _RESULT]
        values[_RESULT.index("measured")] = json.dumps(result.measured)
        if not result.finished:
            values[_RESULT.index("finished")] = datetime.now(UTC).isoformat(timespec="seconds")
        marks = ", ".join("?" * (len(_RESULT) + 1))
        with self._database.transaction() as connection:
            if connection.execute("SELECT 1 FROM sweeps WHERE id = ?", [sweep]).fetchone() is None:
                raise InputError("The sweep was deleted while it ran: nothing more is stored of it.")
            known = connection.execute("SELECT 1 FROM sweep_results WHERE sweep = ? AND item = ?", [sweep, result.item])
            if known.fetchone() is not None:
                raise InputError(f"{result.observation[:60]} was evaluated by another process at the same time.")
            connection.execute(
                f"INSERT INTO sweep_results (sweep, {_RESULT_NAMES}) VALUES ({marks})",
                [sweep, *(_text(v) if isinstance(v, str) else v for v in values)],
            )

    def finished_items(self, sweep: str) -> set[str]:
        """Keys of the items that have a result, failures among them."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT item FROM sweep_results WHERE sweep = ?", [sweep]).fetchall()
        return {str(row[0]) for row in rows}

    def results(self, sweep: str) -> list[SweepResult]:
        """Every result, failures among them, by model, row and condition."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT {_RESULT_NAMES} FROM sweep_results WHERE sweep = ? ORDER BY model, place, condition", [sweep]
            ).fetchall()
        return [_result(row) for row in rows]

    def stamp(self, sweep: str) -> tuple[int, int, str, float]:
        """Tells whether a sweep's results changed since: how many done and failed, the newest one, seconds in all.

        The counts are not enough: a sweep that was deleted and planned again has the same id, and may be as far.
        """
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT total(error = ''), total(error <> ''), coalesce(max(finished), ''), total(seconds) "
                "FROM sweep_results WHERE sweep = ?",
                [sweep],
            ).fetchone()
        return int(row[0]), int(row[1]), str(row[2]), float(row[3])

    def answers(self, sweep: str) -> dict[str, str]:
        """The words of each item's answer, where its run is still stored."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT item, answer FROM sweep_results JOIN runs ON runs.id = sweep_results.run WHERE sweep = ?",
                [sweep],
            ).fetchall()
        return {str(item): str(answer or "") for item, answer in rows}

    def progress(self, sweep: str) -> list[GroupProgress]:
        """How far each model is under each condition; those without a result are not listed."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT model, condition, sum(error = ''), sum(error <> '') FROM sweep_results WHERE sweep = ? "
                "GROUP BY model, condition",
                [sweep],
            ).fetchall()
        return [GroupProgress(str(m), str(c), int(done), int(failed)) for m, c, done, failed in rows]

    def recent_seconds(self, sweep: str, count: int = 20) -> dict[str, list[float]]:
        """Wall times of each model's last evaluations, newest first, without failures and reused ones."""
        with self._database.reading() as connection:
            rows = connection.execute(
                """
                SELECT model, seconds FROM (
                    SELECT model, seconds, row_number() OVER (PARTITION BY model ORDER BY run DESC) AS age
                    FROM sweep_results WHERE sweep = ? AND error = '' AND reused = 0
                ) WHERE age <= ? ORDER BY age
                """,
                [sweep, count],
            ).fetchall()
        found: dict[str, list[float]] = {}
        for model, seconds in rows:
            found.setdefault(str(model), []).append(float(seconds))
        return found

    def failures(self, sweep: str) -> list[tuple[str, int]]:
        """Why evaluations failed, each sentence once with its number, the most frequent first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT error, count(*) FROM sweep_results WHERE sweep = ? AND error <> '' "
                "GROUP BY error ORDER BY 2 DESC, 1",
                [sweep],
            ).fetchall()
        return [(str(error), int(count)) for error, count in rows]

    def forget_failures(self, sweep: str) -> int:
        """Take failures for missing again, so that they are tried once more; how many they were."""
        with self._database.transaction() as connection:
            row = connection.execute("DELETE FROM sweep_results WHERE sweep = ? AND error <> ''", [sweep])
            return int(row.rowcount)

    def delete(self, sweep: str) -> Sequence[int]:
        """Remove a sweep and its results; returns the runs that it made, which stay in the store."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT run FROM sweep_results WHERE sweep = ? AND run IS NOT NULL AND reused = 0", [sweep]
            ).fetchall()
            connection.execute("DELETE FROM sweep_results WHERE sweep = ?", [sweep])
            connection.execute("DELETE FROM sweeps WHERE id = ?", [sweep])
        return [int(row[0]) for row in rows]


def _record(row: tuple[Any, ...]) -> SweepRecord:
    try:
        return SweepRecord(
            id=row[0],
            title=row[1],
            created=row[2],
            dataset=row[3],
            plan=json.loads(row[4]),
            planned=tuple(PlannedGroup(*group) for group in json.loads(row[5])),
            wish=row[6],
            models=json.loads(row[7]),
        )
    except (ValueError, TypeError, RecursionError):
        raise InputError(f"The sweep {row[0]} is damaged in the database: plan it again.") from None


def _result(row: tuple[Any, ...]) -> SweepResult:
    values = dict(zip(_RESULT, row, strict=True))
    try:
        measured = {str(name): float(value) for name, value in json.loads(values["measured"]).items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        measured = {}
    return SweepResult(**{**values, "measured": measured, "reused": bool(values["reused"])})


def _text(text: str) -> str:
    """Text that SQLite takes: it takes no lone surrogates."""
    return text.encode("utf-8", "replace").decode()
