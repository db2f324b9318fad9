"""The shelf: real models shared by many threads, in turn, loaded once and released for others."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import Cancelled, ModelError
from isi_core.models import memory
from isi_core.models.catalogue import find_vlm
from isi_core.models.shelf import Shelf
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from tests.checkpoints import make_trial, save_llava
from tests.unit.test_entailment import save_model

DECODING = Decoding(max_new_tokens=4, n_samples=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def names(folder: Path) -> list[str]:
    """Three vision-language models of different weights."""
    return [str(save_llava(folder / f"llava-{i}", seed=i, layers=2)) for i in range(3)]


@pytest.fixture(scope="module")
def nli(folder: Path) -> str:
    return str(save_model(folder / "random-nli", ("contradiction", "neutral", "entailment")))


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.005)


def resident(shelf: Shelf) -> list[str]:
    return [s.name for s in shelf.status() if s.state != "loading"]


def waiting(shelf: Shelf) -> int:
    return sum(s.waiting for s in shelf.status())


class Holder:
    """A thread that holds a model until it is let go."""

    def __init__(self, shelf: Shelf, name: str, told: list[str] | None = None) -> None:
        self._go, self.inside, self.told = threading.Event(), threading.Event(), told if told is not None else []
        self._work = (shelf, name)
        self.thread = threading.Thread(target=self._hold, daemon=True)
        self.thread.start()

    def _hold(self) -> None:
        shelf, name = self._work
        with shelf.vlm(name, progress=lambda message, _: self.told.append(message)):
            self.inside.set()
            self._go.wait(30)

    def let_go(self) -> None:
        self._go.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


def test_a_model_is_loaded_on_first_need_and_stays(shelf: Shelf, names: list[str]) -> None:
    told: list[tuple[str, float]] = []
    assert shelf.record(names[0]) is None
    with shelf.vlm(names[0], progress=lambda *step: told.append(step)) as first:
        assert [(s.name, s.state, s.kind, s.waiting) for s in shelf.status()] == [("llava-0", "busy", "vlm", 0)]
    assert told == [("Loading llava-0", 0.0)]
    with shelf.vlm(names[0], progress=lambda *step: told.append(step)) as second:
        assert second is first
    assert len(told) == 1
    assert [s.state for s in shelf.status()] == ["ready"]
    assert shelf.record(names[0]) == first.record
    assert shelf.record(names[0], "4-bit") is None
    assert shelf.record("owner/other") is None
    shelf.clear()
    assert shelf.status() == []


def test_many_threads_get_their_own_answers(shelf: Shelf, names: list[str], nli: str) -> None:
    """Twelve threads on two models that push each other out, with the entailment model beside them."""
    alone = {}
    for name in names[:2]:
        vlm = HuggingFaceVLM.load(Path(name), "x")
        for i in range(6):
            [output] = vlm.evaluate([make_trial("Red.", seed=i)], DECODING, ["answer", "samples"])
            alone[name, i] = (output.answer, output.samples)
    assert len({answer.token_ids for answer, _ in alone.values() if answer}) > 6  # a mix-up would show
    barrier = threading.Barrier(12)

    def ask(job: tuple[str, int]) -> Any:
        name, i = job
        barrier.wait(20)
        with shelf.vlm(name) as vlm:
            [output] = vlm.evaluate([make_trial("Red.", seed=i)], DECODING, ["answer", "samples"])
            with shelf.entailment(nli) as entailment:
                assert entailment.classify([("a", "b")]).shape == (1, 3)
        return output.answer, output.samples

    with ThreadPoolExecutor(12) as pool:
        answers = dict(zip(alone, pool.map(ask, alone), strict=True))
    assert answers == alone
    assert len([s for s in shelf.status() if s.kind == "vlm"]) == 1
    assert all(s.state == "ready" and s.waiting == 0 for s in shelf.status())


def test_callers_are_served_in_the_order_they_came_and_told_their_place(shelf: Shelf, names: list[str]) -> None:
    first = Holder(shelf, names[0])
    until(first.inside.is_set)
    order: list[int] = []
    told: dict[int, list[str]] = {}

    def come(i: int) -> None:
        told[i] = []
        with shelf.vlm(names[0], progress=lambda message, _: told[i].append(message)):
            order.append(i)
            time.sleep(0.25)  # longer than between two tellings

    threads = []
    for i in range(4):
        threads.append(threading.Thread(target=come, args=(i,)))
        threads[-1].start()
        until(lambda i=i: waiting(shelf) == i + 1)  # type: ignore[misc]
    first.let_go()
    for thread in threads:
        thread.join(30)
    assert order == [0, 1, 2, 3]
    places = list(dict.fromkeys(told[3]))
    assert places == [f"Waiting for llava-0: {n} before you" for n in (4, 3, 2, 1)]


def test_whoever_needs_room_is_not_overtaken_by_later_callers(shelf: Shelf, names: list[str]) -> None:
    holder = Holder(shelf, names[0])
    until(holder.inside.is_set)
    order: list[str] = []
    told: list[str] = []

    def come(name: str) -> None:
        with shelf.vlm(name, progress=lambda message, _: told.append(message)) as vlm:
            order.append(vlm.record.name)

    threads = []
    for n, name in enumerate((names[1], names[0], names[1])):
        threads.append(threading.Thread(target=come, args=(name,)))
        threads[-1].start()
        until(lambda n=n: waiting(shelf) == n + 1)  # type: ignore[misc]
    until(lambda: "Waiting for llava-1: another model is in use" in told)
    assert holder.thread.is_alive() and resident(shelf) == ["llava-0"]  # a model in use is not released
    holder.let_go()
    for thread in threads:
        thread.join(30)
    assert order == ["llava-1", "llava-0", "llava-1"]


def test_the_least_recently_used_model_goes(
    shelf: Shelf, names: list[str], nli: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISI_RESIDENT_MODELS", "2")
    gone = []
    for name in names[:2]:
        with shelf.vlm(name) as vlm:
            gone.append(weakref.ref(vlm._model))  # type: ignore[attr-defined]
            del vlm
    with shelf.entailment(nli):
        pass
    with shelf.vlm(names[0]):
        pass
    with shelf.vlm(names[2]):
        assert sorted(resident(shelf)) == ["llava-0", "llava-2", "random-nli"]
    assert gone[1]() is None  # its memory is free
    assert gone[0]() is not None


def test_two_models_are_used_at_the_same_time_where_both_may_stay(
    shelf: Shelf, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISI_RESIDENT_MODELS", "2")
    holders = [Holder(shelf, name) for name in names[:2]]
    for holder in holders:
        until(holder.inside.is_set)
    assert sorted((s.name, s.state) for s in shelf.status()) == [("llava-0", "busy"), ("llava-1", "busy")]
    for holder in holders:
        holder.let_go()
    monkeypatch.setenv("ISI_RESIDENT_MODELS", "many")
    with shelf.vlm(names[2]):
        assert resident(shelf) == ["llava-2"]


def test_quantizations_are_models_of_their_own(shelf: Shelf, names: list[str]) -> None:
    with shelf.vlm(names[0]):
        pass
    with shelf.vlm(names[0], "4-bit") as vlm:
        assert vlm.record.quantization == "4-bit"
    record = shelf.record(names[0])
    assert record is not None and record.quantization == "4-bit"
    with pytest.raises(ModelError, match="unknown"), shelf.vlm(names[0], "3-bit"):
        pass


def test_a_load_that_fails_wakes_the_others(shelf: Shelf, names: list[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    (broken / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    holder = Holder(shelf, names[0])
    until(holder.inside.is_set)
    errors: list[str] = []

    def come() -> None:
        try:
            with shelf.vlm(str(broken)):
                pass
        except ModelError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=come) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: waiting(shelf) == 3)
    holder.let_go()
    for thread in threads:
        thread.join(30)
    assert len(errors) == 3 and all("broken could not be loaded" in error for error in errors)
    assert all(s.name != "broken" for s in shelf.status())
    with shelf.vlm(names[1]) as vlm:
        assert vlm.evaluate([make_trial()], DECODING, ["answer"])[0].answer is not None


def test_an_error_in_use_frees_the_model(shelf: Shelf, names: list[str]) -> None:
    with pytest.raises(ValueError, match="mine"), shelf.vlm(names[0]):
        raise ValueError("mine")
    with shelf.vlm(names[0]):
        pass


def test_cancel_leaves_the_queue(shelf: Shelf, names: list[str]) -> None:
    holder = Holder(shelf, names[0])
    until(holder.inside.is_set)
    stop = threading.Event()
    ended: list[str] = []

    def cancelling(message: str, fraction: float) -> None:
        if stop.is_set():
            raise Cancelled("stop")

    def come(name: str) -> None:
        try:
            with shelf.vlm(name, progress=cancelling):
                ended.append("used")
        except Cancelled:
            ended.append("cancelled")

    threads = [threading.Thread(target=come, args=(name,)) for name in (names[0], names[1])]
    for thread in threads:
        thread.start()
    until(lambda: waiting(shelf) == 2)
    behind = Holder(shelf, names[0])
    until(lambda: waiting(shelf) == 3)
    stop.set()
    for thread in threads:
        thread.join(10)
    assert ended == ["cancelled", "cancelled"]
    assert waiting(shelf) == 1 and not behind.inside.is_set()
    holder.let_go()
    until(behind.inside.is_set)
    behind.let_go()
    assert resident(shelf) == ["llava-0"]


def test_cancel_while_loading(shelf: Shelf, names: list[str]) -> None:
    def cancelling(message: str, fraction: float) -> None:
        raise Cancelled("stop")

    with pytest.raises(Cancelled), shelf.vlm(names[0], progress=cancelling):
        pass
    assert shelf.status() == []
    with shelf.vlm(names[0]):
        pass


def test_a_thread_does_not_wait_for_itself(shelf: Shelf, names: list[str], nli: str) -> None:
    with shelf.vlm(names[0]):
        for name in names[:2]:
            with pytest.raises(RuntimeError, match="wait for"), shelf.vlm(name):
                pass
        with shelf.entailment(nli):
            pass
    with shelf.entailment(nli), pytest.raises(RuntimeError, match="first"), shelf.vlm(names[0]):
        pass


def test_what_does_not_fit_is_refused_before_anything_is_released(
    shelf: Shelf, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with shelf.vlm(names[0]):
        pass
    monkeypatch.setattr(memory, "free_memory", lambda: 2 << 30)
    with pytest.raises(ModelError, match=r"needs about .* GB of memory and 2.0 GB are free: choose tiny-llava"):  # noqa: SIM117
        with shelf.vlm("llava-next-34b"):
            pass
    assert resident(shelf) == ["llava-0"]
    assert shelf.readiness("llava-next-34b").state == "too large"
    assert shelf.readiness(names[1]).state == "on disk"


def test_idle_models_go_when_memory_is_short(
    shelf: Shelf, names: list[str], nli: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for three models of a kind, but memory for one: the free bytes count what is on the shelf."""
    monkeypatch.setenv("ISI_RESIDENT_MODELS", "3")
    row = find_vlm(names[1])
    need, own = memory.memory_need(row), memory.weight_bytes(row)

    def free() -> int:
        return need + own // 2 - own * len([s for s in shelf.status() if s.kind == "vlm" and s.state == "ready"])

    monkeypatch.setattr(memory, "free_memory", free)
    for name in names:
        with shelf.vlm(name):
            assert [s.name for s in shelf.status()] == [Path(name).name]


def test_a_missing_embedded_model_says_so(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = replace(find_vlm("tiny-llava"), source=tmp_path / "tiny-llava")
    monkeypatch.setattr("isi_core.models.shelf.find_vlm", lambda name: row)
    with pytest.raises(ModelError, match="restore that folder"), shelf.vlm("tiny-llava"):
        pass
    assert shelf.status() == []
