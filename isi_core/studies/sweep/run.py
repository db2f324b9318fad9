"""Does what is missing of a sweep, one evaluation after the other; each is stored together with its mark of being done.

Whatever ends the work (a cancel, a crash, a full disk), what is stored is whole; the next run does exactly the rest.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from isi_core.domain.errors import Cancelled, InputError, ModelError, StudioError
from isi_core.domain.evaluation import Evaluation
from isi_core.domain.observation import Dataset
from isi_core.domain.progress import Progress
from isi_core.domain.trial import Trial
from isi_core.models.entailment.protocol import EntailmentModel
from isi_core.models.shelf import Shelf
from isi_core.models.vlm.protocol import VisionLanguageModel
from isi_core.store.pictures import to_png
from isi_core.store.runs import Store
from isi_core.store.sweeps import SweepRecords, SweepResult
from isi_core.studies.averaging import measure_values
from isi_core.studies.sweep.plan import ModelChoice, SweepItem, SweepPlan
from isi_core.studies.vqa import Wanted, evaluate_together

_log = logging.getLogger(__name__)

TURN = 2.0
"""Seconds after which a sweep gives its model to whoever waits for it, between two evaluations."""
BATCH, BATCH_SECONDS = 16, 6.0
"""Evaluations done side by side: so many at most, and no more than take so long, since others wait meanwhile."""
FAILURES_IN_A_ROW = 25
"""So many failures of the model one after the other end the work: its server is down, not one trial at fault."""
_LOOK = 1.0  # seconds between two looks at whether the sweep is to stop, while it waits for a model


@dataclass(frozen=True, eq=False)
class SweepRun:
    """The work of one job on one sweep.

    Attributes
    ----------
    probe : evaluations a model that are done before anybody wished the sweep to run, so that its time can be told;
        0 does all that are missing.
    """

    plan: SweepPlan
    dataset: Dataset
    store: Store
    shelf: Shelf
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
                self._do_model(choice, _spread(list(group), limit), watched)
            except ModelError as error:
                told.append(str(error))
        if told:
            raise ModelError(" ".join(told))
        progress(f"{watched.done} of {every} done", watched.done / max(every, 1))
        return watched.done - (every - len(items))

    def _do_model(self, choice: ModelChoice, items: Sequence[SweepItem], watched: _Watched) -> None:
        failures, size = 0, 1
        rest = list(reversed(items))
        while rest:
            # Between two turns others may use the model: somebody who asks one question must not wait for the sweep.
            with self._models(choice, watched.waiting) as (vlm, entailment):
                until = time.monotonic() + TURN
                while True:
                    batch = [rest.pop() for _ in range(min(size, len(rest)))]
                    watched.look()
                    began = time.monotonic()
                    for failed in self._do(batch, vlm, entailment, watched.of(len(batch))):
                        failures = failures + 1 if failed else 0
                        watched.done += 1
                        if failures >= FAILURES_IN_A_ROW:
                            raise ModelError(
                                f"{choice.label} failed {failures} times in a row, so its part was stopped: {failed}"
                            )
                    each = (time.monotonic() - began) / len(batch)
                    size = max(1, min(BATCH, int(BATCH_SECONDS / max(each, 1e-3))))
                    if not rest or time.monotonic() >= until:
                        break

    @contextmanager
    def _models(
        self, choice: ModelChoice, progress: Progress
    ) -> Iterator[tuple[VisionLanguageModel, EntailmentModel | None]]:
        """The models of a turn, checked to be those that made the sweep's earlier results."""
        with self.shelf.vlm(choice.name, choice.quantization, progress) as vlm:
            self._same_model(choice.label, vlm.record.to_json())
            if "uncertainty" not in self.plan.measures:
                yield vlm, None
                return
            name = self.plan.settings.entailment_model
            with self.shelf.entailment(name, progress) as entailment:
                self._same_model(f"entailment: {name}", entailment.record.to_json())
                yield vlm, entailment

    def _same_model(self, label: str, record: dict[str, str]) -> None:
        first = self.records.set_model(self.plan.id, label, record)
        if any(first.get(key) != record[key] for key in ("revision", "dtype", "quantization")):
            raise ModelError(f"{label} is not the model that began this sweep (its weights changed): plan a new sweep.")

    def _do(
        self,
        items: Sequence[SweepItem],
        vlm: VisionLanguageModel,
        entailment: EntailmentModel | None,
        progress: Progress,
    ) -> Iterator[str]:
        """Evaluate items side by side and store what came of them; for each a sentence, "" unless the model failed."""
        began = time.monotonic()
        wanted = self._wanted(vlm)
        # Stored runs name the entailment model as its record does, whatever it was found by.
        settings = replace(self.plan.settings, entailment_model=entailment.record.name) if entailment else None
        asked: list[tuple[SweepItem, Trial]] = []
        for item in items:
            try:
                trial = self.plan.trial(self.dataset, item)
                known = self.store.find_measured(
                    trial.digest, vlm.record, self.plan.decoding, settings, "attention" in wanted
                )
                found = self._known(known, trial)
            except Exception as error:  # one bad trial must not cost the others
                yield self._failed(item, error, began)
                continue
            if found is None:
                asked.append((item, trial))
                continue
            self._save(item, found, known, time.monotonic() - began)
            yield ""
        if not asked:
            return
        began = time.monotonic()
        try:
            made = evaluate_together(
                [trial for _, trial in asked],
                vlm,
                self.plan.decoding,
                wanted,
                entailment,
                self.plan.settings,
                progress,
            )
        except Cancelled:
            raise
        except Exception as error:
            if len(asked) == 1:
                yield self._failed(asked[0][0], error, began)
                return
            for item, _ in asked:  # one of them is at fault: asked alone, it cannot take the others with it
                yield from self._do([item], vlm, entailment, progress)
            return
        seconds = (time.monotonic() - began) / len(made)
        for (item, _), evaluation in zip(asked, made, strict=True):
            self._save(item, evaluation, None, seconds)
            yield ""

    def _failed(self, item: SweepItem, error: Exception, began: float) -> str:
        """Store that an item failed, and say it where the model may be at fault."""
        if isinstance(error, Cancelled):
            raise error
        if isinstance(error, StudioError):
            sentence = str(error)
        else:
            _log.error("The evaluation of %s failed", item.observation.id, exc_info=error)
            sentence = f"Something went wrong: {' '.join(str(error).split())[:200] or type(error).__name__}"
        self._fail(item, sentence, began)
        return "" if isinstance(error, InputError) else sentence  # bad input says nothing about the next one

    def _wanted(self, vlm: VisionLanguageModel) -> set[Wanted]:
        """What is measured; a model that does not tell its attention is measured without."""
        return {m for m in self.plan.measures if m != "attention" or vlm.capabilities.attention}

    def _known(self, run: int | None, trial: Trial) -> Evaluation | None:
        """A stored evaluation of the same trial; None where it cannot be read any more."""
        if run is None:
            return None
        try:
            found = self.store.load(run)
        except InputError:
            return None
        return found if found.trial.digest == trial.digest else None

    def _save(self, item: SweepItem, made: Evaluation, known: int | None, seconds: float) -> None:
        pictures, digest = self.store.pictures, made.trial.image_digest
        if known is None and not pictures.path(digest).exists():
            pictures.save(digest, to_png(made.trial.image))  # here, so that no other thread waits for the drawing
        # One transaction: there is never an evaluation without its mark, nor a mark without its evaluation.
        with self.store.database.transaction():
            run = known
            if run is None:
                label = f"sweep {self.plan.id}: {item.condition.key}"
                run = self.store.save(made, dataset=self.dataset.name, label=label, session=session(self.plan.id))
            self.records.add_result(
                self.plan.id,
                SweepResult(
                    **_about(item),
                    verdict=made.answer.verdict if made.answer else "unclear",
                    measured=measure_values(made),
                    seconds=seconds,
                    run=run,
                    reused=known is not None,
                ),
            )

    def _fail(self, item: SweepItem, sentence: str, began: float) -> None:
        seconds = time.monotonic() - began
        self.records.add_result(self.plan.id, SweepResult(**_about(item), seconds=seconds, error=sentence))


class _Watched:
    """Progress of the whole sweep; looks whether the sweep is to stop."""

    def __init__(self, run: SweepRun, progress: Progress, every: int, done: int, heeds_pause: bool) -> None:
        self._records, self._sweep, self._progress = run.records, run.plan.id, progress
        self._every, self._heeds_pause = max(every, 1), heeds_pause
        self._looked = 0.0
        self.done = done

    def of(self, count: int) -> Progress:
        """Progress of so many evaluations: a part of one counts, so that slow models show that they work."""
        return lambda message, fraction: self.within(message, fraction * count)

    def within(self, message: str, fraction: float) -> None:
        """Progress in evaluations."""
        self._progress(f"{self.done} of {self._every} done", (self.done + 0.99 * fraction) / self._every)

    def waiting(self, message: str, fraction: float) -> None:
        """The model is waited for or loaded."""
        self._progress(message, self.done / self._every)
        if time.monotonic() - self._looked >= _LOOK:
            self.look()

    def look(self) -> None:
        """Stop where somebody asked for it."""
        self._looked = time.monotonic()
        self.within("", 0.0)
        wish = self._records.wish(self._sweep)
        if wish == "cancel" or (wish == "pause" and self._heeds_pause):
            raise Cancelled("The sweep was stopped.")


def _spread(items: list[SweepItem], limit: int | None) -> list[SweepItem]:
    """So many of the items, from the first to the last, so that a probe meets every kind of condition."""
    if limit is None or len(items) <= limit:
        return items
    return [items[i * len(items) // limit] for i in range(limit)]


def session(sweep: str) -> str:
    """The session under which a sweep's runs are stored."""
    return f"sweep {sweep}"


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
