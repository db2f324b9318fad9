"""The resident models of this process: loaded on first need, used by one caller at a time, released for others.

One `Shelf` serves every session and every background job, so that no model is in memory twice.

A caller's turn follows the order in which callers came, per model and, where a model must be released for another
one, over all models of a kind: whoever waits for a model that has to be loaded is not overtaken by later
callers of the one that is in its place.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

from isi_core.domain.errors import ModelError
from isi_core.domain.evaluation import ModelRecord
from isi_core.domain.progress import Progress
from isi_core.models import memory
from isi_core.models.catalogue import CatalogueRow, Kind, find_entailment, find_vlm
from isi_core.models.entailment.protocol import EntailmentModel
from isi_core.models.vlm.protocol import VisionLanguageModel

_log = logging.getLogger(__name__)

Key = tuple[Kind, str, str]

RESIDENT_VARIABLE = "ISI_RESIDENT_MODELS"
_TELL_EVERY = 0.2  # seconds between two looks at whether a waiting caller was cancelled
_MOST_ENDPOINTS = 16  # idle ones that are remembered with what was found out of them; they take no memory to speak of


@dataclass(frozen=True)
class ShelfStatus:
    """A model that is on the shelf or on its way there; `waiting` callers stand in its queue."""

    name: str
    quantization: str
    kind: Kind
    state: Literal["loading", "ready", "busy"]
    waiting: int


@dataclass(eq=False)
class _Place:
    """One model's place on the shelf. All fields are guarded by the shelf's lock."""

    row: CatalogueRow
    quantization: str
    model: Any = None
    holder: int | None = None
    holder_thread: int | None = None
    queue: list[int] = field(default_factory=list)
    last_used: int = 0
    weight: int = 0

    @property
    def first(self) -> float:
        """The number of who is next; later than everybody where nobody waits."""
        return self.queue[0] if self.queue else float("inf")


class Shelf:
    """Holds the resident models; safe to use from any thread.

    A caller that needs both kinds takes the vision-language model first. A thread that
    holds a model cannot ask for another of its kind: it would wait for itself.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._places: dict[Key, _Place] = {}
        self._numbers = count(1)
        self._loading = False

    @contextmanager
    def vlm(
        self, name: str, quantization: str = "none", progress: Progress | None = None
    ) -> Iterator[VisionLanguageModel]:
        """A vision-language model for this caller alone, until the `with` block ends.

        `progress` is told of the loading and, several times a second, of the place in the queue;
        what it raises (`Cancelled`) leaves the queue.

        Raises
        ------
        ModelError : there is no such model, it cannot be loaded, or it is too large for the free memory.
        """
        with self._use(find_vlm(name), quantization, progress) as model:
            yield model

    @contextmanager
    def entailment(self, name: str, progress: Progress | None = None) -> Iterator[EntailmentModel]:
        """An entailment model for this caller alone; otherwise as `vlm`."""
        with self._use(find_entailment(name), "none", progress) as model:
            yield model

    def status(self) -> list[ShelfStatus]:
        """What is on the shelf, on its way there or waited for."""
        with self._changed:
            return [
                ShelfStatus(
                    place.row.name,
                    place.quantization,
                    place.row.kind,
                    "loading" if place.model is None else "ready" if place.holder is None else "busy",
                    len(place.queue),
                )
                for place in self._places.values()
            ]

    def record(self, name: str, quantization: str | None = None) -> ModelRecord | None:
        """Which model exactly, where one of this name is resident (in any quantization, or in this one)."""
        wanted = set()
        for find in (find_vlm, find_entailment):
            try:
                wanted.add(find(name).place)
            except ModelError:
                continue
        with self._changed:
            for (_, source, loaded_as), place in self._places.items():
                if source in wanted and quantization in (None, loaded_as) and place.model is not None:
                    record: ModelRecord = place.model.record
                    return record
        return None

    def readiness(self, name: str, quantization: str = "none") -> memory.Readiness:
        """`memory.readiness` of a vision-language model, with the memory counted that idle models would give back."""
        row = find_vlm(name)
        with self._changed:
            own = self._places.get(_key(row, quantization))
            idle = [place for place in self._places.values() if place.model is not None and place.holder is None]
            freed = sum(place.weight for place in {*idle, *([own] if own else [])})
        return memory.readiness(row, quantization, freed)

    def clear(self) -> None:
        """Release every model that nobody uses or waits for."""
        with self._changed:
            models = [self._take(place) for place in self._idle() if not place.queue]
        _give_back(models)

    @contextmanager
    def _use(self, row: CatalogueRow, quantization: str, progress: Progress | None) -> Iterator[Any]:
        memory.free_memory()  # where it has to import torch to tell, it shall do so before the lock is held
        place, released = self._wait(row, quantization, progress)
        try:
            if released is not None:
                self._load(place, released, progress)
            yield place.model
        finally:
            with self._changed:
                self._leave(place)

    def _wait(self, row: CatalogueRow, quantization: str, progress: Progress | None) -> tuple[_Place, list[Any] | None]:
        """Stand in the queue until it is this caller's turn.

        Returns the place, held by this caller, and the models taken off the shelf for it; None
        where it is loaded already. Nobody else loads until `_load` is through.
        """
        with self._changed:
            self._refuse_deadlock(row)
            place = self._places.setdefault(_key(row, quantization), _Place(row, quantization))
            number = next(self._numbers)
            place.queue.append(number)
            try:
                while not self._may_start(place, number):
                    if progress is not None:
                        before = place.queue.index(number) + (place.holder is not None)
                        self._tell(progress, _waiting(row.name, before))
                    # Somebody may have left while the lock was free to tell: look before sleeping.
                    if not self._may_start(place, number):
                        self._changed.wait(_TELL_EVERY)
                released = self._prepare(place, number) if place.model is None else None
            except BaseException:
                place.queue.remove(number)
                self._forget(place)
                self._changed.notify_all()
                raise
            place.queue.remove(number)
            place.holder, place.holder_thread = number, threading.get_ident()
            self._loading = self._loading or released is not None
            return place, released

    def _prepare(self, place: _Place, number: int) -> list[Any] | None:
        """The models taken off the shelf for one that is to be loaded; None for an endpoint, which is ready at once."""
        if place.row.endpoint is None:
            return self._make_room(place, number)
        memory.readiness(place.row, place.quantization)  # refuses a quantization
        place.model = _load_model(place.row, place.quantization)
        for old in [p for p in self._idle() if p.row.endpoint is not None and not p.queue][:-_MOST_ENDPOINTS]:
            self._take(old)
        return None

    def _leave(self, place: _Place) -> None:
        place.holder = place.holder_thread = None
        place.last_used = next(self._numbers)
        self._forget(place)
        self._changed.notify_all()

    def _tell(self, progress: Progress, message: str) -> None:
        """Call back without the lock: a callback may be slow, or look at the shelf."""
        self._changed.release()
        try:
            progress(message, 0.0)
        finally:
            self._changed.acquire()

    def _refuse_deadlock(self, row: CatalogueRow) -> None:
        held = {p.row.kind for p in self._places.values() if p.holder_thread == threading.get_ident()}
        if row.kind in held or (row.kind == "vlm" and held):
            raise RuntimeError(
                f"This thread asks for {row.name} while it holds a model it would wait for: "
                "use one model of a kind at a time, and take the vision-language model first."
            )

    def _may_start(self, place: _Place, number: int) -> bool:
        """It is this caller's turn: the model is free, and nobody who came earlier waits for its room."""
        if place.holder is not None or place.queue[0] != number:
            return False
        if place.row.endpoint is not None:  # takes nobody's room
            return True
        earlier = [p for p in self._to_load(place.row.kind) if p.first < number]
        if place.model is not None:
            return not any(self._too_many(p) > 0 for p in earlier)
        return not earlier and not self._loading and self._too_many(place) <= len(self._victims(place, number))

    def _to_load(self, kind: Kind) -> list[_Place]:
        """Places whose next caller has to load the model first."""
        return [p for p in self._of(kind) if p.model is None and p.holder is None]

    def _of(self, kind: Kind) -> list[_Place]:
        """Places of models that take memory here."""
        return [p for p in self._places.values() if p.row.kind == kind and p.row.endpoint is None]

    def _too_many(self, place: _Place) -> int:
        """How many models of the kind must go before this one may come."""
        resident = [p for p in self._of(place.row.kind) if p.model is not None]
        return len(resident) + 1 - _resident_models()

    def _idle(self) -> list[_Place]:
        """Places whose model nobody uses, least recently used first."""
        idle = [p for p in self._places.values() if p.model is not None and p.holder is None]
        return sorted(idle, key=lambda p: p.last_used)

    def _victims(self, place: _Place, number: int) -> list[_Place]:
        """Models of the kind that may be released for this caller: idle, and waited for by nobody who came earlier."""
        own = self._of(place.row.kind)
        return [p for p in self._idle() if p in own and p.first > number]

    def _make_room(self, place: _Place, number: int) -> list[Any]:
        """Take models off the shelf for a new one: as many as are too many, and more where memory needs it.

        Raises
        ------
        ModelError : the model would not fit even so; nothing is taken off then.
        """
        go = self._victims(place, number)[: max(0, self._too_many(place))]
        spare = [p for p in self._idle() if p not in go and p.first > number and p.row.endpoint is None]
        ready = memory.readiness(place.row, place.quantization, sum(p.weight for p in go))
        while ready.state == "too large" and spare:
            go.append(spare.pop(0))
            ready = memory.readiness(place.row, place.quantization, sum(p.weight for p in go))
        if not ready.usable:
            raise ModelError(ready.sentence)
        return [self._take(p) for p in go]

    def _load(self, place: _Place, released: list[Any], progress: Progress | None) -> None:
        """Load the model; the lock is not held meanwhile, so that others stay usable."""
        try:
            _give_back(released)
            if progress is not None:
                progress(f"Loading {place.row.name}", 0.0)
            model = _load_model(place.row, place.quantization)
            weight = memory.weight_bytes(place.row, place.quantization)
            with self._changed:
                place.model, place.weight = model, weight
        finally:
            with self._changed:
                self._loading = False
                self._changed.notify_all()

    def _take(self, place: _Place) -> Any:
        model, place.model, place.weight = place.model, None, 0
        self._forget(place)
        return model

    def _forget(self, place: _Place) -> None:
        """Drop a place without a model, a user or a queue."""
        key = _key(place.row, place.quantization)
        if place.model is None and place.holder is None and not place.queue and self._places.get(key) is place:
            del self._places[key]


def _key(row: CatalogueRow, quantization: str) -> Key:
    return row.kind, row.place, quantization


def _waiting(name: str, before: int) -> str:
    if before:
        return f"Waiting for {name}: {before} before you"
    return f"Waiting for {name}: another model is in use"


def _resident_models() -> int:
    """How many models of a kind may be resident."""
    try:
        return max(1, int(os.environ.get(RESIDENT_VARIABLE, "1")))
    except ValueError:
        _log.warning("%s is not a number: one model of a kind stays in memory", RESIDENT_VARIABLE)
        return 1


def _load_model(row: CatalogueRow, quantization: str) -> Any:
    # Imported on first need: torch takes seconds, and the landing page does not wait for them.
    if row.endpoint is not None and row.kind == "entailment":
        from isi_core.models.entailment.judge import JudgeEntailment

        return JudgeEntailment(row.endpoint)
    if row.endpoint is not None:
        from isi_core.models.vlm.endpoint import EndpointVLM

        return EndpointVLM(row.endpoint)
    if row.kind == "vlm":
        from isi_core.models.vlm.hugging_face import HuggingFaceVLM

        return HuggingFaceVLM.load(
            row.source,
            row.name,
            quantization=quantization,  # type: ignore[arg-type]  # checked there
            chat_template=row.chat_template,
            revision=row.revision,
        )
    from isi_core.models.entailment.hugging_face import HuggingFaceEntailment

    return HuggingFaceEntailment.load(row.source, row.name, revision=row.revision or "main")


def _give_back(models: list[Any]) -> None:
    """Close models that were taken off the shelf and return their memory."""
    if not models:
        return
    while models:
        model = models.pop()
        if hasattr(model, "close"):
            model.close()
        del model
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
