"""The database file: opened, checked, brought up to date, and used by one thread at a time."""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from isi_core.domain.errors import InputError

FILE_NAME = "studio.db"
APPLICATION_ID = 0x49534953  # "ISIS": marks the file as ours
_WAIT = 30.0  # seconds for another process to finish writing

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        f"PRAGMA application_id = {APPLICATION_ID}",
        """
        CREATE TABLE runs (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            created TEXT NOT NULL,
            dataset TEXT NOT NULL,
            observation_id TEXT NOT NULL,
            label TEXT NOT NULL,
            session TEXT NOT NULL,
            digest TEXT NOT NULL,
            image_digest TEXT NOT NULL,
            model TEXT NOT NULL,
            decoding TEXT NOT NULL,
            settings TEXT NOT NULL,
            model_name TEXT NOT NULL,
            image_kind TEXT NOT NULL,
            context_kind TEXT NOT NULL,
            question TEXT NOT NULL,
            answer TEXT,
            verdict TEXT,
            truth TEXT NOT NULL,
            semantic_entropy REAL,
            n_clusters INTEGER,
            attention_image REAL,
            attention_context REAL,
            attention_question REAL,
            data TEXT NOT NULL
        )
        """,
        "CREATE INDEX runs_by_digest ON runs (digest)",
        "CREATE INDEX runs_by_picture ON runs (image_digest)",
        "CREATE INDEX runs_by_session ON runs (session, id)",
        """
        CREATE TABLE jobs (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            kind TEXT NOT NULL,
            title TEXT NOT NULL,
            key TEXT NOT NULL,
            owner TEXT NOT NULL,
            state TEXT NOT NULL,
            message TEXT NOT NULL DEFAULT '',
            fraction REAL NOT NULL DEFAULT 0,
            error TEXT NOT NULL DEFAULT '',
            started TEXT NOT NULL DEFAULT '',
            seconds REAL NOT NULL DEFAULT 0,
            cancel INTEGER NOT NULL DEFAULT 0
        )
        """,
        "CREATE UNIQUE INDEX one_live_job_a_key ON jobs (key) WHERE key <> '' AND state IN ('queued', 'running')",
        "CREATE TABLE finished_items (job_key TEXT, item TEXT, PRIMARY KEY (job_key, item)) WITHOUT ROWID",
    ),
    (
        # What a person says about a run, the bin, and how far a run is from a plain preset.
        "ALTER TABLE runs ADD COLUMN tags TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE runs ADD COLUMN note TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE runs ADD COLUMN deleted TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE runs ADD COLUMN drawn INTEGER NOT NULL DEFAULT 0",
        """
        UPDATE runs SET drawn = (
            SELECT count(*) FROM json_each(runs.data, '$.trial.interventions')
            WHERE json_extract(json_each.value, '$.type') NOT IN ('image_preset', 'context_preset', 'question_preset')
        ) WHERE json_valid(data)
        """,
        "CREATE INDEX runs_by_observation ON runs (dataset, model_name, observation_id)",
    ),
    (
        """
        CREATE TABLE sweeps (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            title TEXT NOT NULL,
            created TEXT NOT NULL,
            dataset TEXT NOT NULL,
            plan TEXT NOT NULL,
            planned TEXT NOT NULL,
            wish TEXT NOT NULL,
            models TEXT NOT NULL DEFAULT '{}'
        )
        """,
        # A result is also the mark that its item is finished: the key makes sure that none is done twice.
        """
        CREATE TABLE sweep_results (
            sweep TEXT NOT NULL,
            item TEXT NOT NULL,
            model TEXT NOT NULL,
            condition TEXT NOT NULL,
            observation TEXT NOT NULL,
            place INTEGER NOT NULL,
            family TEXT NOT NULL,
            truth TEXT NOT NULL,
            verdict TEXT,
            measured TEXT NOT NULL DEFAULT '{}',
            seconds REAL NOT NULL DEFAULT 0,
            run INTEGER,
            reused INTEGER NOT NULL DEFAULT 0,
            error TEXT NOT NULL DEFAULT '',
            finished TEXT NOT NULL,
            PRIMARY KEY (sweep, item)
        ) WITHOUT ROWID
        """,
    ),
)


class Database:
    """One SQLite file in WAL mode behind a lock, so that any thread may use it; several processes may share the file.

    Attributes
    ----------
    path : the file.
    """

    def __init__(self, folder: Path) -> None:
        """Open or make the file, and bring its tables up to date.

        Raises
        ------
        InputError : the folder cannot be written, or the file is damaged, another program's or
            a newer version's; the file is left as it is then.
        """
        self.path = folder / FILE_NAME
        self._lock = threading.RLock()
        self._depth = 0
        with self._explained():
            folder.mkdir(parents=True, exist_ok=True)
            self._check()
            self._connection = sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                # Safe in WAL mode: a power cut may cost the last runs, never the file.
                self._connection.execute("PRAGMA synchronous = NORMAL")
                self._migrate()
            except BaseException:
                self._connection.close()
                raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection that writes all of the block or, when it raises, none of it. Blocks of a thread may nest.

        Raises
        ------
        InputError : the disk is full, the file cannot be written or is damaged.
        """
        with self._lock, self._explained():
            if self._depth:
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may have ended it already
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to read from; does not wait for other processes that write."""
        with self._lock, self._explained():
            yield self._connection

    def close(self) -> None:
        """Close the file; nothing can be read or written afterwards."""
        with self._lock:
            self._connection.close()

    def _check(self) -> None:
        """Look at an existing file without writing to it."""
        if not self.path.exists() or self.path.stat().st_size == 0:
            return
        with closing(sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True, timeout=_WAIT)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application != APPLICATION_ID and (version or tables):
            raise InputError(f"{self.path} belongs to another program: set ISI_HOME to another folder.")
        if version > len(MIGRATIONS):
            raise InputError(
                f"{self.path} was written by a newer ISI Studio (its version {version}, known up to "
                f"{len(MIGRATIONS)}): update ISI Studio, or set ISI_HOME to another folder."
            )

    def _migrate(self) -> None:
        with self.transaction() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            for statements in MIGRATIONS[version:]:
                for statement in statements:
                    connection.execute(statement)
            if version < len(MIGRATIONS):
                connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what SQLite and the system raise into one sentence with the way out."""
        try:
            yield
        except sqlite3.Error as error:
            raise InputError(_explain(error, self.path)) from error
        except OSError as error:
            raise InputError(explain_os_error(error, self.path.parent)) from error


def explain_os_error(error: OSError, folder: Path) -> str:
    """What is wrong with a folder, and the way out."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"The disk with {folder} is full: free some space, or set ISI_HOME to a folder on another disk."
    return (
        f"{folder} cannot be used ({error.strerror or type(error).__name__}): "
        "make it writable, or set ISI_HOME to another folder."
    )


def _explain(error: sqlite3.Error, path: Path) -> str:
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_FULL"):
        return f"The disk with {path.parent} is full: free some space, or set ISI_HOME to a folder on another disk."
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return f"{path} cannot be written: make it writable, or set ISI_HOME to another folder."
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"{path} is in use by another program: wait for it to finish and try again."
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or "decode" in str(error):
        return f"{path} is damaged: restore it from a copy, move it away, or set ISI_HOME to another folder."
    return f"{path} cannot be used ({error}): check the disk, or set ISI_HOME to another folder."
