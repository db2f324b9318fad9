"""The state of background jobs in the database, so that every tab and the next process see it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal
from uuid import uuid4

from isi_core.domain.errors import InputError
from isi_core.store.database import Database, explain_os_error

JobState = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
LIVE: tuple[JobState, ...] = ("queued", "running")

KEPT = 1000
"""Finished jobs that are remembered."""


@dataclass(frozen=True)
class JobRecord:
    """A job as it was last written down.

    Attributes
    ----------
    owner : token of the engine that runs it.
    fraction : done, in [0, 1].
    error : one sentence; "" where nothing went wrong.
    started : ISO 8601 time, UTC; "" while it is queued.
    seconds : how long it has run.
    cancel : somebody asked for its end.
    """

    id: str
    kind: str
    title: str
    key: str
    owner: str
    state: JobState = "queued"
    message: str = ""
    fraction: float = 0.0
    error: str = ""
    started: str = ""
    seconds: float = 0.0
    cancel: bool = False


_COLUMNS = tuple(JobRecord.__dataclass_fields__)
_NAMES = ", ".join(_COLUMNS)


class JobRecords:
    """Job records of one engine among all that share the database.

    An engine holds a lock on a file of its own for as long as it lives. The system drops
    the lock when the process dies, however it dies, and its jobs are then found interrupted.

    Attributes
    ----------
    owner : this engine's token.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._folder = database.path.parent / "engines"
        self.owner = uuid4().hex
        self._lock = self._take_lock()
        self.find_interrupted()
        self._forget_old()

    def close(self) -> None:
        """Let go of the lock; live jobs of this engine count as interrupted from now on."""
        self._lock.close()

    def add(self, record: JobRecord) -> str:
        """Write a new job down, unless one of the same key is live; the id of the one that is then there."""
        self.find_interrupted()
        with self._database.transaction() as connection:
            if record.key:
                live = connection.execute(
                    "SELECT id FROM jobs WHERE key = ? AND state IN (?, ?)", [record.key, *LIVE]
                ).fetchone()
                if live is not None:
                    return str(live[0])
            marks = ", ".join("?" * len(_COLUMNS))
            values = [getattr(record, name) for name in _COLUMNS]
            connection.execute(f"INSERT INTO jobs ({_NAMES}) VALUES ({marks})", values)
        return record.id

    def write(self, record: JobRecord) -> bool:
        """Update a job; True when somebody asked for its end."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = ?, message = ?, fraction = ?, error = ?, started = ?, seconds = ? "
                "WHERE id = ?",
                [
                    record.state,
                    record.message,
                    record.fraction,
                    record.error,
                    record.started,
                    record.seconds,
                    record.id,
                ],
            )
            row = connection.execute("SELECT cancel FROM jobs WHERE id = ?", [record.id]).fetchone()
        return bool(row and row[0])

    def ask_to_cancel(self, job_id: str) -> None:
        """Leave word that a job shall end; whoever runs it reads it at its next progress."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE jobs SET cancel = 1 WHERE id = ? AND state IN (?, ?)", [job_id, *LIVE])

    def get(self, job_id: str) -> JobRecord | None:
        """One job."""
        with self._database.reading() as connection:
            row = connection.execute(f"SELECT {_NAMES} FROM jobs WHERE id = ?", [job_id]).fetchone()
        return _record(row) if row else None

    def list(self, kind: str | None = None, limit: int = 100) -> list[JobRecord]:
        """The last jobs, newest first; of one kind where it is given."""
        where, values = ("WHERE kind = ?", [kind]) if kind is not None else ("", [])
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT {_NAMES} FROM jobs {where} ORDER BY number DESC LIMIT ?", [*values, limit]
            ).fetchall()
        return [_record(row) for row in rows]

    def find_interrupted(self) -> None:
        """Mark the live jobs of engines that are gone."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT DISTINCT owner FROM jobs WHERE state IN (?, ?)", LIVE).fetchall()
        for owner in {str(row[0]) for row in rows} - {self.owner}:
            if self._is_gone(owner):
                with self._database.transaction() as connection:
                    connection.execute(
                        "UPDATE jobs SET state = 'interrupted' WHERE owner = ? AND state IN (?, ?)", [owner, *LIVE]
                    )

    def finished_items(self, job_key: str) -> set[str]:
        """Items of resumable work that are done."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT item FROM finished_items WHERE job_key = ?", [job_key]).fetchall()
        return {str(row[0]) for row in rows}

    def mark_finished(self, job_key: str, items: Iterable[str]) -> None:
        """Remember that items are done, all of them or none; ones that were already are no error."""
        with self._database.transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO finished_items VALUES (?, ?)", [(job_key, i) for i in items])

    def forget_items(self, job_key: str) -> None:
        """Forget what is done, so that the work starts anew."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM finished_items WHERE job_key = ?", [job_key])

    def _take_lock(self) -> IO[str]:
        """Open and lock this engine's file."""
        path = self._file(self.owner)
        try:
            self._folder.mkdir(exist_ok=True)
            while True:
                file = path.open("w")
                fcntl.flock(file, fcntl.LOCK_EX)
                # Between the two lines another engine may have taken the file for a dead one's and removed it.
                if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                    return file
                file.close()
        except OSError as error:
            raise InputError(explain_os_error(error, self._folder)) from error

    def _forget_old(self) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM jobs WHERE state NOT IN (?, ?) AND number <= (SELECT max(number) FROM jobs) - ?",
                [*LIVE, KEPT],
            )
        for path in self._folder.glob("*.lock"):
            if path != self._file(self.owner) and self._is_gone(path.stem):
                path.unlink(missing_ok=True)

    def _file(self, owner: str) -> Path:
        return self._folder / f"{owner}.lock"

    def _is_gone(self, owner: str) -> bool:
        """Nobody holds the engine's lock."""
        try:
            descriptor = os.open(self._file(owner), os.O_RDONLY)
        except OSError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True


def _record(row: tuple[object, ...]) -> JobRecord:
    values = dict(zip(_COLUMNS, row, strict=True))
    return JobRecord(**{**values, "cancel": bool(values["cancel"])})  # type: ignore[arg-type]
