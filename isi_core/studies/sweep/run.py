"""Does what is missing of a sweep: hands it to an engine, and stores each evaluation together with its mark of being
done.

Whatever ends the work (a cancel, a crash, a full disk), what is stored is whole; the next run does exactly the rest,
on whichever engine. Only this process writes into the store.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any

from isi_core.domain.errors import Cancelled, InputError, ModelError
from isi_core.domain.evaluation import Evaluation, ModelRecord
from isi_core.domain.observation import Dataset
from isi_core.domain.progress import Progress
from isi_core.domain.trial import Trial
from isi_core.store.pictures import to_png
from isi_core.store.runs import Store
from isi_core.store.sweeps import SweepRecords, SweepResult
from isi_core.studies.averaging import measure_values
from isi_core.studies.sweep.asking import Failure, failure_of, measured
from isi_core.studies.sweep.plan import ModelChoice, SweepItem, SweepPlan
from isi_core.studies.vqa import Wanted

FAILURES_IN_A_ROW = 25
"""So many failures of the model one after the other end the work: its server is down, not one trial at fault."""
_LOOK = 1.0  # seconds between two looks at whether the sweep is to stop, while it waits for a model


@dataclass(frozen=True)
class Task:
    """An item of a sweep that a model has to be asked about."""

    item: SweepItem
    trial: Trial


@dataclass(frozen=True)
class LoadedModels:
    """What an engine has loaded; `attention`: the vision-language model tells it."""

    vlm: ModelRecord
    entailment: ModelRecord | None
    attention: bool


Engine = Callable[["ModelPart"], None]
"""Does one model's part of a sweep: takes tasks from it until none is left, and has it store what comes of them.

Raises `Cancelled` where somebody wants the work to stop, `ModelError` where the model cannot be used."""


@dataclass(frozen=True, eq=False)
class SweepRun:
    """The work of one job on one sweep.

    Attributes
    ----------
    engine : how evaluations are made.
    probe : evaluations a model that are done before anybody wished the sweep to run, so that its time can be told;
        0 does all that are missing.
    """

    plan: SweepPlan
    dataset: Dataset
    store: Store
    engine: Engine
    probe: int = 0

    @property
    def records(self) -> SweepRecords:
        """The sweeps in the store."""
        return SweepRecords(self.store.database)

    def missing(self) -> list[SweepItem]:
        """The items without a result, in order."""
        done = self.records.finished_items(self.plan.id)
        return [item for item in self.plan.items(self.dataset) if item.key not in done]

    def __call__(self, progress: Progress) -> int:
        """Do what is missing, and return how many evaluations that were.

        A model that cannot be loaded, or fails many times in a row, ends its own part; the others are still asked.

        Raises
        ------
        Cancelled : between two evaluations, once somebody asked for a pause or for the end.
        ModelError : a model could not be used; told when everything else is done.
        InputError : the store cannot be written, such as on a full disk.
        """
        count = 0
        if self.probe and self.records.wish(self.plan.id) != "run":
            count += self._do_some(progress, self.probe)
        # Whoever presses start while a probe runs need not press it again.
        if not self.probe or self.records.wish(self.plan.id) == "run":
            count += self._do_some(progress, None)
        return count

    def _do_some(self, progress: Progress, limit: int | None) -> int:
        items = self.missing()
        every = len(self.plan.items(self.dataset))
        watched = _Watched(self, progress, every, every - len(items), heeds_pause=limit is None)
        told = []
        for choice, group in groupby(items, lambda item: item.model):
            try:
                self.engine(ModelPart(self, choice, _spread(list(group), limit), watched))
            except ModelError as error:
                told.append(str(error))
        if told:
            raise ModelError(" ".join(dict.fromkeys(told)))
        progress(f"{watched.done} of {every} done", watched.done / max(every, 1))
        return watched.done - (every - len(items))


class ModelPart:
    """What is missing of one model's evaluations: tells what is to be asked, and stores what comes of it.

    Its methods are called by one thread.
    """

    def __init__(self, run: SweepRun, choice: ModelChoice, items: Sequence[SweepItem], watched: _Watched) -> None:
        self.plan, self.choice = run.plan, choice
        self._run, self._watched = run, watched
        self._rest = list(reversed(items))
        self._failures = 0

    @property
    def left(self) -> int:
        """How many items were not taken yet."""
        return len(self._rest)

    @cached_property
    def entailment_name(self) -> str | None:
        """The entailment model that is needed beside; None for none."""
        return self.plan.settings.entailment_model if "uncertainty" in self.plan.measures else None

    def check_models(self, loaded: LoadedModels) -> None:
        """Remember which models the results come from.

        Raises
        ------
        ModelError : they are not those that made the sweep's earlier results.
        """
        self._same_model(self.choice.label, loaded.vlm)
        if loaded.entailment is not None:
            self._same_model(f"entailment: {self.entailment_name}", loaded.entailment)

    def _same_model(self, label: str, record: ModelRecord) -> None:
        known = record.to_json()
        first = self._run.records.set_model(self.plan.id, label, known)
        if any(first.get(key) != known[key] for key in ("revision", "dtype", "quantization")):
            raise ModelError(f"{label} is not the model that began this sweep (its weights changed): plan a new sweep.")

    def take(self, size: int, loaded: LoadedModels) -> list[Task]:
        """The next items, at most so many, as tasks; what the store knows already, or cannot be shown, is stored as
        such and left out.

        Raises
        ------
        ModelError : the model failed too often in a row.
        """
        plan, store = self.plan, self._run.store
        # Stored runs name the entailment model as its record does, whatever it was found by.
        settings = replace(plan.settings, entailment_model=loaded.entailment.name) if loaded.entailment else None
        attention = "attention" in measured(plan.measures, loaded.attention)
        tasks = []
        for item in self._next_items(size):
            began = time.monotonic()
            try:
                trial = plan.trial(self._run.dataset, item)
                known = store.find_measured(trial.digest, loaded.vlm, plan.decoding, settings, attention)
                found = self._known(known, trial)
            except Exception as error:  # one bad trial must not cost the others
                self._ended(item, failure_of(error, item.observation.id), time.monotonic() - began)
                continue
            if found is None:
                tasks.append(Task(item, trial))
            else:
                self._save(item, found, known, time.monotonic() - began)
        return tasks

    def _next_items(self, size: int) -> list[SweepItem]:
        """The next items; those that show the same picture are not parted where that can be avoided."""
        size = min(size, len(self._rest))
        if size < len(self._rest):
            whole = size
            while whole and _shown(self._rest[-whole]) == _shown(self._rest[-whole - 1]):
                whole -= 1
            size = whole or size
        return [self._rest.pop() for _ in range(size)]

    def store(self, task: Task, made: Evaluation | Failure, seconds: float) -> None:
        """Store what came of a task.

        Raises
        ------
        ModelError : the model failed too often in a row; this failure is stored.
        InputError : the store cannot be written.
        """
        if isinstance(made, Failure):
            self._ended(task.item, made, seconds)
        else:
            self._save(task.item, made, None, seconds)

    def _ended(self, item: SweepItem, failure: Failure, seconds: float) -> None:
        result = SweepResult(**_about(item), seconds=seconds, error=failure.sentence)
        self._run.records.add_result(self.plan.id, result)
        self._watched.done += 1
        self._failures = self._failures + 1 if failure.of_model else 0
        if self._failures >= FAILURES_IN_A_ROW:
            raise ModelError(
                f"{self.choice.label} failed {self._failures} times in a row, so its part was stopped: "
                f"{failure.sentence}"
            )

    def _known(self, run: int | None, trial: Trial) -> Evaluation | None:
        """A stored evaluation of the same trial; None where it cannot be read any more."""
        if run is None:
            return None
        try:
            found = self._run.store.load(run)
        except InputError:
            return None
        return found if found.trial.digest == trial.digest else None

    def _save(self, item: SweepItem, made: Evaluation, known: int | None, seconds: float) -> None:
        store = self._run.store
        pictures, digest = store.pictures, made.trial.image_digest
        if known is None and not pictures.path(digest).exists():
            pictures.save(digest, to_png(made.trial.image))  # here, so that no other thread waits for the drawing
        # One transaction: there is never an evaluation without its mark, nor a mark without its evaluation.
        with store.database.transaction():
            run = known
            if run is None:
                label = f"sweep {self.plan.id}: {item.condition.key}"
                run = store.save(made, dataset=self._run.dataset.name, label=label, session=session(self.plan.id))
            self._run.records.add_result(
                self.plan.id,
                SweepResult(
                    **_about(item),
                    verdict=made.answer.verdict if made.answer else "unclear",
                    measured=planned_values(made, self.plan.measures),
                    seconds=seconds,
                    run=run,
                    reused=known is not None,
                ),
            )
        self._watched.done += 1
        self._failures = 0

    @property
    def stopping(self) -> bool:
        """Somebody wants it to stop: what is being asked may be finished, nothing more is to be begun."""
        return self._watched.stopping

    def look(self) -> None:
        """Raise `Cancelled` where somebody asked for a stop."""
        self._watched.look()

    def waiting(self, message: str, fraction: float) -> None:
        """Progress while the model is waited for or loaded; may raise `Cancelled`."""
        self._watched.waiting(message, fraction)

    def progress_of(self, count: int) -> Progress:
        """Progress of so many evaluations: a part of one counts, so that slow models show that they work."""
        return lambda message, fraction: self._watched.within(message, fraction * count)


class _Watched:
    """Progress of the whole sweep; looks whether the sweep is to stop."""

    def __init__(self, run: SweepRun, progress: Progress, every: int, done: int, heeds_pause: bool) -> None:
        self._records, self._sweep, self._progress = run.records, run.plan.id, progress
        self._every, self._heeds_pause = max(every, 1), heeds_pause
        self._looked = 0.0
        self.done = done

    def within(self, message: str, fraction: float) -> None:
        """Progress in evaluations."""
        self._progress(f"{self.done} of {self._every} done", (self.done + 0.99 * fraction) / self._every)

    def waiting(self, message: str, fraction: float) -> None:
        """The model is waited for or loaded."""
        self._progress(message, self.done / self._every)
        if time.monotonic() - self._looked >= _LOOK:
            self.look()

    @property
    def stopping(self) -> bool:
        """Somebody asked for a pause that is heeded, or for the end."""
        wish = self._records.wish(self._sweep)
        return wish == "cancel" or (wish == "pause" and self._heeds_pause)

    def look(self) -> None:
        """Stop where somebody asked for it."""
        self._looked = time.monotonic()
        self.within("", 0.0)
        if self.stopping:
            raise Cancelled("The sweep was stopped.")


def planned_values(evaluation: Evaluation, measures: Collection[Wanted]) -> dict[str, float]:
    """`measure_values` of what a plan measures alone.

    A stored evaluation may hold more than was planned. Kept, it would give the sweep means over the few observations
    that somebody happened to ask about, and entropies under another rule than the plan's.
    """
    return measure_values(
        replace(
            evaluation,
            uncertainty=evaluation.uncertainty if "uncertainty" in measures else None,
            attribution=evaluation.attribution if "attention" in measures else None,
        )
    )


def _spread(items: list[SweepItem], limit: int | None) -> list[SweepItem]:
    """So many of the items, from the first to the last, so that a probe meets every kind of condition."""
    if limit is None or len(items) <= limit:
        return items
    return [items[i * len(items) // limit] for i in range(limit)]


def session(sweep: str) -> str:
    """The session under which a sweep's runs are stored."""
    return f"sweep {sweep}"


def _shown(item: SweepItem) -> tuple[Any, ...]:
    """What decides which picture an item shows."""
    return item.observation.id, item.condition.image, item.condition.perturbation


def _about(item: SweepItem) -> dict[str, Any]:
    observation = item.observation
    return {
        "item": item.key,
        "model": item.model.label,
        "condition": item.condition.key,
        "observation": observation.id,
        "place": observation.row,
        "family": observation.family,
        "truth": observation.truth_word,
    }
