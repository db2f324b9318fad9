"""The one engine for work that takes longer than a page's script run: progress, cancel, resume.

Work runs in threads of its own and is not bound to the tab that asked for it: its state is in the store,
where any tab and the next process find it.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import uuid4

from isi_core.domain.errors import Cancelled, InputError, StudioError
from isi_core.domain.progress import Progress
from isi_core.store.job_records import LIVE, JobRecord, JobRecords, JobState
from isi_core.store.runs import Store

_log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Progress], T]

WORKERS = 2
RESULTS = 50
"""Results that are kept in memory, the last ones."""
_WRITE_EVERY = 0.3  # seconds between two writes of a job's progress


@dataclass(frozen=True)
class Job:
    """A piece of work and how far it is.

    Attributes
    ----------
    state : queued, running, done, failed, cancelled, or interrupted (the process died).
    message : what is being done, or was last; the place in the queue of one that this process has queued.
    fraction : done, in [0, 1].
    error : one sentence where it failed, else "".
    started : ISO 8601 time, UTC; "" while it is queued.
    seconds : how long it has run.
    result : what the work returned; None where it is not done, was another process's, or has been
        forgotten for newer results.
    key : as it was submitted.
    """

    id: str
    kind: str
    title: str
    state: JobState
    message: str
    fraction: float
    error: str
    started: str
    seconds: float
    result: Any
    key: str = ""

    @property
    def live(self) -> bool:
        """It is queued or running."""
        return self.state in LIVE


@dataclass(eq=False)
class _Task:
    """A job that this engine runs; fields are guarded by the engine's lock."""

    record: JobRecord
    work: Work[Any] | None
    began: float = 0.0
    written: float = 0.0


class Jobs:
    """The engine; one serves a process (several on one store know of each other's jobs)."""

    def __init__(self, store: Store, workers: int = WORKERS) -> None:
        self._records = JobRecords(store.database)
        self._lock = threading.RLock()
        self._tasks: dict[str, _Task] = {}
        self._results: OrderedDict[str, Any] = OrderedDict()
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()
        # Daemons, so that a stopped server does not wait for a long job, which is resumed at its next start.
        for number in range(workers):
            threading.Thread(target=self._serve, name=f"job worker {number + 1}", daemon=True).start()

    def submit(self, kind: str, title: str, work: Work[Any], *, key: str = "") -> str:
        """Queue `work(progress)` and return the job's id at once.

        A live job of the same `key`, in this process or another, is returned instead.

        Raises
        ------
        InputError : the store cannot be written.
        """
        record = JobRecord(uuid4().hex[:12], kind, title, key, self._records.owner)
        with self._lock:
            job_id = self._records.add(record)
            if job_id == record.id:
                self._tasks[job_id] = _Task(record, work)
                self._queue.put(job_id)
        return job_id

    def cancel(self, job_id: str) -> None:
        """Ask a job to end: at once where it is queued, at its next progress where it runs. Finished ones stay so."""
        with self._lock:
            task = self._tasks.get(job_id)
            if task is not None:
                task.record = replace(task.record, cancel=True)
                if task.record.state == "queued":
                    self._finish(task, "cancelled")
        if task is None or task.record.state in LIVE:
            self._records.ask_to_cancel(job_id)

    def get(self, job_id: str) -> Job:
        """The job as it is now.

        Raises
        ------
        InputError : there is no such job.
        """
        with self._lock:
            task = self._tasks.get(job_id)
            if task is not None:
                return self._job(self._told(task))
        self._records.find_interrupted()
        record = self._records.get(job_id)
        if record is None:
            raise InputError(f"There is no job {job_id[:40]!r}: it may have been too long ago.")
        with self._lock:
            return self._job(record)

    def list(self, kind: str | None = None) -> list[Job]:
        """The last jobs, newest first, of this process and others; of one kind where it is given."""
        self._records.find_interrupted()
        records = self._records.list(kind)
        with self._lock:
            return [self._job(self._told(self._tasks[r.id]) if r.id in self._tasks else r) for r in records]

    def wait(self, job_id: str, seconds: float | None = None) -> Job:
        """The job once it is finished, or as it is after so many seconds."""
        limit = None if seconds is None else time.monotonic() + seconds
        while (job := self.get(job_id)).live and (limit is None or time.monotonic() < limit):
            time.sleep(0.02)
        return job

    def finished_items(self, job_key: str) -> set[str]:
        """Items of resumable work that were marked as done, by whichever process."""
        return self._records.finished_items(job_key)

    def mark_finished(self, job_key: str, item: str) -> None:
        """Remember for good that an item is done."""
        self._records.mark_finished(job_key, [item])

    def forget_items(self, job_key: str) -> None:
        """Forget which items are done, so that the work starts anew."""
        self._records.forget_items(job_key)

    def _serve(self) -> None:
        while True:
            job_id = self._queue.get()
            with self._lock:
                task = self._tasks.get(job_id)
                if task is None or task.record.state != "queued" or task.work is None:
                    continue  # cancelled while it waited
                work, task.work = task.work, None
                task.began = time.monotonic()
                started = datetime.now(UTC).isoformat(timespec="seconds")
                task.record = replace(task.record, state="running", started=started)
                self._write(task)
            self._run(task, work)
            del work, task  # what they hold (pictures, results) must not live until the next job

    def _run(self, task: _Task, work: Work[Any]) -> None:
        try:
            result = work(lambda message, fraction: self._progress(task, message, fraction))
        except Cancelled:
            self._finish(task, "cancelled")
        except StudioError as error:
            self._finish(task, "failed", str(error))
        except BaseException as error:  # a worker outlives whatever its work raises
            _log.exception("The job %r failed", task.record.title)
            self._finish(task, "failed", f"Something went wrong: {_one_line(error)}")
        else:
            with self._lock:
                self._results[task.record.id] = result
                while len(self._results) > RESULTS:
                    self._results.popitem(last=False)
                self._finish(task, "done")

    def _progress(self, task: _Task, message: str, fraction: float) -> None:
        with self._lock:
            done = min(1.0, max(0.0, float(fraction)))
            task.record = replace(task.record, message=message, fraction=done)
            if not task.record.cancel and time.monotonic() - task.written >= _WRITE_EVERY:
                self._write(task)
            if task.record.cancel:
                raise Cancelled("The job was cancelled.")

    def _finish(self, task: _Task, state: JobState, error: str = "") -> None:
        with self._lock:
            record = self._now(task)
            fraction = 1.0 if state == "done" else record.fraction
            task.record = replace(record, state=state, error=error, fraction=fraction)
            task.work = None
            if self._write(task):
                del self._tasks[task.record.id]  # the store tells of it from now on

    def _write(self, task: _Task) -> bool:
        """Write a job's state down; a full disk must not end work that could still succeed."""
        try:
            asked = self._records.write(self._now(task))
        except StudioError as error:
            _log.warning("The state of the job %r could not be stored: %s", task.record.title, error)
            return False
        task.written = time.monotonic()
        task.record = replace(task.record, cancel=task.record.cancel or asked)
        return True

    def _told(self, task: _Task) -> JobRecord:
        """The job as it is now; one that is queued says how many come before it, as the shelf does of a model."""
        if task.record.state != "queued":
            return self._now(task)
        before = 0
        for other in self._tasks.values():  # in the order in which they came
            if other is task:
                break
            before += other.record.state in LIVE
        return replace(task.record, message=f"Waiting in the queue: {before} before you")

    def _now(self, task: _Task) -> JobRecord:
        if task.record.state != "running":
            return task.record
        return replace(task.record, seconds=time.monotonic() - task.began)

    def _job(self, record: JobRecord) -> Job:
        return Job(
            id=record.id,
            kind=record.kind,
            title=record.title,
            state=record.state,
            message=record.message,
            fraction=record.fraction,
            error=record.error,
            started=record.started,
            seconds=record.seconds,
            result=self._results.get(record.id),
            key=record.key,
        )


@dataclass(frozen=True)
class Checkpointed:
    """Resumable work: items that are done once each, over however many jobs and processes it takes.

    An item whose process dies before it is marked is done again, so doing one must be safe to
    repeat (storing a run under what was asked is).

    Attributes
    ----------
    key : names the work; also the key to submit its job with, so that it does not run twice at a time.
    """

    jobs: Jobs
    key: str

    def missing(self, items: Iterable[str]) -> list[str]:
        """The items that are still to be done, in order."""
        done = self.jobs.finished_items(self.key)
        return [item for item in items if item not in done]

    def run(self, items: Iterable[str], do: Callable[[str], object], progress: Progress) -> int:
        """Do what is missing, one item after the other, and return how many that were.

        Raises
        ------
        Cancelled : between two items; what is done stays done.
        """
        every = list(items)
        missing = self.missing(every)
        done = len(every) - len(missing)
        for item in missing:
            progress(f"{done} of {len(every)} done", done / len(every))
            do(item)
            self.jobs.mark_finished(self.key, item)
            done += 1
        progress(f"{done} of {len(every)} done", 1.0)
        return len(missing)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
