"""Sweeps on a real Ray of two workers: what comes out, a worker killed at work, the driver killed, pause, refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isi_core.models.shelf import Shelf
from isi_core.store.runs import Store
from isi_core.studies.jobs import Jobs
from isi_core.studies.sweep import asking, ray_engine
from isi_core.studies.sweep.control import Sweeps, SweepStatus
from isi_core.studies.sweep.plan import grid
from isi_core.studies.sweep.ray_engine import Cluster
from tests.kill.fragile_worker import WORD, Fragile
from tests.kill.ray_cluster import ray_cluster
from tests.kill.test_sweep_kill import ENVIRONMENT, ROOT, planned
from tests.sweeps import make_world, world_dataset, world_plan

PATIENCE = 400.0
# Ray is not imported here: it reads its token, which the fixture sets, when it first is.
pytestmark = [
    pytest.mark.skipif(not ray_engine.is_installed(), reason="pip install -r requirements-ray.txt"),
    pytest.mark.timeout(900),  # a minute where the machine is free; processes that start are slow where it is not
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"), observations=6)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ray_cluster(cpus=2) as found:
        yield found


def opened(folder: Path) -> Sweeps:
    store = Store(folder)
    return Sweeps(store, Jobs(store, workers=1), Shelf)


class Watch:
    """Sees which tasks go to workers, and what comes back; may do something after each answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[list[str]] = []
        self.pids: dict[int, int] = {}
        self.lost = 0
        self.after: Any = lambda answers: None
        self.answers = 0
        pack, unpack, read, lose = ray_engine.pack, ray_engine.unpack, ray_engine.read_loaded, ray_engine._Crew._lose

        def packed(tasks):  # type: ignore[no-untyped-def]
            self.sent.append([task.item.key for task in tasks])
            return pack(tasks)

        def unpacked(told, tasks):  # type: ignore[no-untyped-def]
            self.answers += 1
            found = unpack(told, tasks)
            self.after(self.answers)
            return found

        def loaded(told):  # type: ignore[no-untyped-def]
            self.pids[json.loads(told)["pid"]] = len(self.pids)
            return read(told)

        def lost(*arguments):  # type: ignore[no-untyped-def]
            self.lost += 1
            return lose(*arguments)

        monkeypatch.setattr(ray_engine, "pack", packed)
        monkeypatch.setattr(ray_engine, "unpack", unpacked)
        monkeypatch.setattr(ray_engine, "read_loaded", loaded)
        monkeypatch.setattr(ray_engine._Crew, "_lose", lost)
        monkeypatch.setattr(asking, "BATCH", 3)

    @property
    def times(self) -> Counter[str]:
        """How often each item was sent to a worker."""
        return Counter(key for keys in self.sent for key in keys)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


def finish(sweeps: Sweeps, sweep: str, address: str | None) -> SweepStatus:
    """Run a sweep to its end, on the cluster or here."""
    engine = None if address is None else ray_engine.ray_engine(Cluster(address, 2))
    sweeps.start(sweep, engine=engine)
    return sweeps.wait(sweep, PATIENCE)


def whole(folder: Path, sweep: str) -> dict[str, Any]:
    """What the store holds of each item."""
    sweeps = opened(folder)
    found = {}
    for result in sweeps.results(sweep):
        assert result.run is not None
        stored = sweeps._store.load(result.run)
        assert stored.answer is not None and stored.uncertainty is not None
        texts = [stored.prompt, stored.answer.text, *(a.text for a in stored.uncertainty.samples)]
        same = stored.trial.digest, stored.model, stored.decoding, result.verdict, result.condition, texts
        found[result.item] = (same, result.measured)
    return found


def test_a_killed_workers_tasks_are_done_again_and_all_comes_out_as_on_local(
    world: Path, address: str, tmp_path: Path, watch: Watch
) -> None:
    sweep, ledger, count = planned(world, tmp_path / "ray")

    def kill(answers: int) -> None:
        if answers == 4:  # both are at work by then or have been
            os.kill(next(iter(watch.pids)), signal.SIGKILL)

    watch.after = kill
    status = finish(opened(tmp_path / "ray"), sweep, address)
    assert (status.state, status.done, status.failed, status.error) == ("done", count, 0, "")
    assert ledger.check() == count
    ledger.check_whole()
    assert watch.lost == 1 and len(watch.pids) >= 2
    times = watch.times
    assert len(times) == count and 0 < sum(times.values()) - count <= asking.BATCH, "only the lost batch is done again"
    assert status.rate is not None and status.seconds_left == 0

    again, _, _ = planned(world, tmp_path / "local")
    assert again == sweep and finish(opened(tmp_path / "local"), sweep, None).done == count
    here, there = whole(tmp_path / "local", sweep), whole(tmp_path / "ray", sweep)
    assert here.keys() == there.keys()
    for item, (same, measures) in here.items():
        assert there[item][0] == same
        assert there[item][1] == pytest.approx(measures, abs=1e-5)


def test_the_command_killed_then_paused_then_ended_on_local(
    world: Path, address: str, tmp_path: Path, watch: Watch
) -> None:
    sweep, ledger, count = planned(world, tmp_path / "home")
    options = ["--store", str(tmp_path / "home"), "--engine", "ray", "--address", address, "--workers", "2", "--json"]
    command = [sys.executable, "-m", "isi_core", "sweep", "resume", sweep, *options]
    with subprocess.Popen(command, cwd=ROOT, env={**ENVIRONMENT, **os.environ}, stdout=subprocess.DEVNULL) as process:
        limit = time.monotonic() + PATIENCE
        while ledger.count() < 3 and time.monotonic() < limit and process.poll() is None:
            time.sleep(0.02)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    killed = ledger.check()
    assert 3 <= killed < count

    sweeps = opened(tmp_path / "home")
    assert sweeps.status(sweep).state == "interrupted"
    watch.after = lambda answers: sweeps.pause(sweep) if answers == 2 else None
    status = finish(sweeps, sweep, address)
    paused = ledger.check()
    assert status.state == "paused" and killed < paused < count
    assert sum(watch.times.values()) == len(watch.times) == paused - killed, "a pause drops nothing that was begun"
    watch.after = lambda answers: None
    assert finish(sweeps, sweep, None).state == "done" and ledger.check() == count
    ledger.check_whole()


def test_an_evaluation_that_kills_its_worker_is_given_up_and_costs_the_others_nothing(
    world: Path, address: str, tmp_path: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = world_dataset(world)
    deadly = dataset.observations[2].id
    monkeypatch.setattr(ray_engine, "Worker", Fragile)
    monkeypatch.setattr(ray_engine, "_found_by", lambda name, find: deadly)
    sweeps = opened(tmp_path / "home")
    sweep = sweeps.create(world_plan(world, grid(("natural",), ("none",)), measures=("answer",)), dataset)
    status = finish(sweeps, sweep, address)
    assert (status.state, status.done, status.failed, status.error) == ("done", 0, 6, "")
    told = {result.observation: result.error for result in sweeps.results(sweep)}
    assert told.pop(deadly).startswith(f"The worker was lost {ray_engine.LOSSES_OF_ONE} times at this evaluation")
    assert set(told.values()) == {WORD} and len(told) == 5
    assert ray_engine.LOSSES_OF_ONE <= watch.lost <= ray_engine.LOSSES_OF_ONE + 1
