"""Plan, start, pause, resume and cancel sweeps, from whichever tab or process; what runs is a background job."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from isi_core.datasets.built_in import load_dataset
from isi_core.domain.errors import InputError
from isi_core.domain.observation import Dataset
from isi_core.domain.progress import Progress
from isi_core.models.shelf import Shelf
from isi_core.store.runs import Store
from isi_core.store.sweeps import PlannedGroup, SweepRecord, SweepRecords, SweepResult
from isi_core.studies.jobs import Job, Jobs
from isi_core.studies.sweep.averages import keep_averages
from isi_core.studies.sweep.local_engine import local_engine
from isi_core.studies.sweep.plan import SweepPlan, dataset_digest, left_out
from isi_core.studies.sweep.run import Engine, SweepRun

KIND = "sweep"
PROBE = 3
"""Evaluations a model that a probe takes; they count as done."""

State = Literal[
    "planned", "probing", "queued", "running", "pausing", "paused", "stopping", "cancelled", "interrupted", "failed",
    "done",
]  # fmt: skip
_PATIENCE = 20.0  # seconds
_LIVE = ("probing", "queued", "running", "pausing", "stopping")


@dataclass(frozen=True)
class GroupStatus:
    """How far one model is under one condition."""

    model: str
    condition: str
    planned: int
    done: int
    failed: int
    left_out: int


@dataclass(frozen=True)
class SweepStatus:
    """How far a sweep is.

    Attributes
    ----------
    state : what it does; an interrupted one lost its process, and what was stored until then is whole.
    message : what is being done just now.
    error : one sentence where the work ended early, else "".
    planned, done, failed : evaluations; those that are missing are neither done nor failed.
    rate : evaluations a second of the model that is asked; None until one is known.
    seconds_left : at that rate; None until one is known.
    failures : each sentence with its number.
    """

    id: str
    title: str
    dataset: str
    created: str
    state: State
    message: str
    error: str
    planned: int
    done: int
    failed: int
    rate: float | None
    seconds_left: float | None
    groups: tuple[GroupStatus, ...]
    failures: tuple[tuple[str, int], ...]

    @property
    def running(self) -> bool:
        """A job works on it."""
        return self.state in _LIVE

    @property
    def missing(self) -> int:
        """Evaluations that are still to be made."""
        return max(0, self.planned - self.done - self.failed)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "id": self.id,
            "title": self.title,
            "dataset": self.dataset,
            "state": self.state,
            "planned": self.planned,
            "done": self.done,
            "failed": self.failed,
            "running": self.running,
            "rate": self.rate,
            "seconds_left": self.seconds_left,
            "error": self.error,
            "conditions": [vars(group) for group in self.groups],
            "failures": [{"error": error, "count": count} for error, count in self.failures],
        }


class Sweeps:
    """The sweeps of one store.

    Attributes
    ----------
    records : the sweeps in the store.
    """

    def __init__(self, store: Store, jobs: Jobs, shelf: Callable[[], Shelf]) -> None:
        """`shelf` is asked for only when a sweep runs; `jobs` should be an engine of one worker of its own, so that
        a long sweep does not keep pages waiting."""
        self._store, self._jobs, self._shelf = store, jobs, shelf
        self.records = SweepRecords(store.database)

    def create(self, plan: SweepPlan, dataset: Dataset, title: str = "") -> str:
        """Write a plan down and return its id; the same plan again is the same sweep.

        Raises
        ------
        InputError : nothing in the dataset can be evaluated, or the store cannot be written.
        """
        counts: dict[tuple[str, str], int] = {}
        for item in plan.items(dataset):
            place = item.model.label, item.condition.key
            counts[place] = counts.get(place, 0) + 1
        if not counts:
            raise InputError(f"Nothing in {dataset.name} has what these conditions need: choose others.")
        without = left_out(plan.conditions, plan.chosen(dataset))
        groups = tuple(
            PlannedGroup(label, key, counts.get((label, key), 0), without.get(key, 0))
            for label in plan.model_labels
            for key in plan.condition_keys
        )
        name = " ".join(title.split())[:200] or _title(plan, dataset)
        self.records.add(SweepRecord(plan.id, name, "", dataset.name, plan.to_json(), groups))
        return plan.id

    def probe(self, sweep: str, dataset: Dataset | None = None, engine: Engine | None = None) -> str:
        """Do a few of the evaluations, so that the status can tell how long the rest takes; the job's id."""
        return self._submit_run(self._run(sweep, dataset, PROBE, engine))

    def start(self, sweep: str, dataset: Dataset | None = None, engine: Engine | None = None) -> str:
        """Do everything that is missing; also resumes what was paused, cancelled or interrupted; the job's id.

        Parameters
        ----------
        engine : makes the evaluations; by default this process, with the models on its shelf.

        Raises
        ------
        InputError : the dataset is gone or is not the one that was planned for, or the store cannot be written.
        """
        run = self._run(sweep, dataset, 0, engine)
        if self.records.wish(sweep) == "cancel" and (job := self._job(sweep)) is not None and job.live:
            self._jobs.wait(job.id, _PATIENCE)  # a job that was told to end cannot be told to go on
        self.records.set_wish(sweep, "run")
        return self._submit_run(run)

    def pause(self, sweep: str, at_once: bool = False) -> None:
        """Stop after the evaluation that is being made, or drop it and stop at once; `start` goes on."""
        self.records.set_wish(sweep, "pause")
        if at_once:
            self._end_job(sweep)

    def cancel(self, sweep: str) -> None:
        """Stop at once; what was made stays."""
        self.records.set_wish(sweep, "cancel")
        self._end_job(sweep)

    def retry_failures(self, sweep: str) -> int:
        """Take failed evaluations for missing again; `start` tries them once more. How many they were."""
        return self.records.forget_failures(sweep)

    def delete(self, sweep: str) -> None:
        """Forget a sweep and its results; the evaluations stay among the stored runs.

        Raises
        ------
        InputError : it is running.
        """
        if self.status(sweep).running:
            raise InputError("The sweep is running: cancel it first.")
        self.records.delete(sweep)

    def plan(self, sweep: str) -> SweepPlan:
        """A sweep's plan.

        Raises
        ------
        InputError : there is no such sweep, or its plan is damaged.
        """
        return SweepPlan.from_json(self.records.get(sweep).plan)

    def results(self, sweep: str) -> list[SweepResult]:
        """Every result so far, failures among them."""
        return self.records.results(sweep)

    def all(self) -> list[SweepStatus]:
        """Every sweep, the newest first."""
        jobs = self._jobs.list(KIND)
        return [self._status(record, _of(jobs, record.id)) for record in self.records.all()]

    def status(self, sweep: str) -> SweepStatus:
        """How far a sweep is.

        Raises
        ------
        InputError : there is no such sweep.
        """
        return self._status(self.records.get(sweep), self._job(sweep))

    def latest(self) -> str:
        """The id of the newest sweep.

        Raises
        ------
        InputError : there is none.
        """
        records = self.records.all()
        if not records:
            raise InputError("There is no sweep in this store yet: plan one.")
        return records[0].id

    def wait(self, sweep: str, seconds: float | None = None) -> SweepStatus:
        """The status once no job works on the sweep, or as it is after so many seconds."""
        job = self._job(sweep)
        if job is not None and job.live:
            self._jobs.wait(job.id, seconds)
        return self.status(sweep)

    def _run(self, sweep: str, dataset: Dataset | None, probe: int, engine: Engine | None) -> SweepRun:
        plan = self.plan(sweep)
        found = dataset if dataset is not None else load_dataset(plan.dataset)
        if dataset_digest(found) != plan.dataset_digest:
            raise InputError(f"{found.name} has changed since this sweep was planned: plan a new one.")
        return SweepRun(plan, found, self._store, engine or local_engine(self._shelf()), probe)

    def _submit_run(self, run: SweepRun) -> str:
        sweep = run.plan.id

        def work(progress: Progress) -> int:
            count = run(progress)
            if not run.missing():
                keep_averages(run.plan, self.records.get(sweep), self.results(sweep), self._store.folder)
            return count

        return self._jobs.submit(KIND, self.records.get(sweep).title, work, key=_key(sweep))

    def _end_job(self, sweep: str) -> None:
        job = self._job(sweep)
        if job is not None and job.live:
            self._jobs.cancel(job.id)

    def _job(self, sweep: str) -> Job | None:
        return _of(self._jobs.list(KIND), sweep)

    def _status(self, record: SweepRecord, job: Job | None) -> SweepStatus:
        made = {(g.model, g.condition): g for g in self.records.progress(record.id)}
        groups = []
        for group in record.planned:
            own = made.get((group.model, group.condition))
            done, failed = (own.done, own.failed) if own else (0, 0)
            groups.append(GroupStatus(group.model, group.condition, group.count, done, failed, group.left_out))
        done, failed = sum(g.done for g in groups), sum(g.failed for g in groups)
        rate, left = _speed(groups, self.records.recent_seconds(record.id))
        live = job is not None and job.live
        return SweepStatus(
            id=record.id,
            title=record.title,
            dataset=record.dataset,
            created=record.created,
            state=_state(record, job, record.count - done - failed),
            message=job.message if job is not None and live else "",
            error=job.error if job is not None and job.state == "failed" else "",
            planned=record.count,
            done=done,
            failed=failed,
            rate=rate,
            seconds_left=left,
            groups=tuple(groups),
            failures=tuple(self.records.failures(record.id)) if failed else (),
        )


def _key(sweep: str) -> str:
    return f"sweep {sweep}"


def _of(jobs: Iterable[Job], sweep: str) -> Job | None:
    """A sweep's last job."""
    return next((job for job in jobs if job.key == _key(sweep)), None)


def _state(record: SweepRecord, job: Job | None, missing: int) -> State:
    if job is not None and job.live:
        if record.wish == "pause":
            return "pausing"
        if record.wish == "cancel":
            return "stopping"
        if job.state == "queued":
            return "queued"
        return "probing" if record.wish == "plan" else "running"
    if missing <= 0:
        return "done"
    if job is not None and job.state == "failed":
        return "failed"
    if record.wish == "run":
        return "paused" if job is not None and job.state == "cancelled" else "interrupted"
    states: dict[str, State] = {"plan": "planned", "pause": "paused", "cancel": "cancelled"}
    return states[record.wish]


def _speed(groups: Iterable[GroupStatus], recent: dict[str, list[float]]) -> tuple[float | None, float | None]:
    """(evaluations a second of the model whose turn it is, seconds left); None where no time is known."""
    means = {}
    for model, seconds in recent.items():
        # A model's first evaluation warms it up and says little about the rest.
        counted = seconds[:-1] if 1 < len(seconds) < 20 else seconds
        means[model] = sum(counted) / len(counted)
    missing: dict[str, int] = {}
    for group in groups:
        missing[group.model] = missing.get(group.model, 0) + max(0, group.planned - group.done - group.failed)
    waiting = [model for model, count in missing.items() if count]
    if not means:
        return None, None if waiting else 0.0
    other = sum(means.values()) / len(means)
    now = means.get(waiting[0] if waiting else list(missing)[-1], other)
    return 1 / max(now, 1e-9), sum(missing[model] * means.get(model, other) for model in waiting)


def _title(plan: SweepPlan, dataset: Dataset) -> str:
    counts = (len(plan.chosen(dataset)), "observation"), (len(plan.conditions), "condition")
    words = [f"{count:,} {what}{'s' * (count != 1)}" for count, what in counts]
    return f"{dataset.name}: {', '.join([*words, *plan.model_labels])}"
