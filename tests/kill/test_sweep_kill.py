"""`kill -9` at random moments: what was stored is whole, and resuming does exactly the missing evaluations.

The quick form kills forked workers of a very small sweep. The slow one (`make test-all`, or ISI_SLOW_TESTS=1) kills
the command itself, wherever it is: importing, loading its models, evaluating, writing.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from isi_core.models.shelf import Shelf
from isi_core.store.runs import Store
from isi_core.store.sweeps import SweepRecords
from isi_core.studies.jobs import Jobs
from isi_core.studies.sweep.control import Sweeps
from isi_core.studies.sweep.plan import grid
from tests.kill.child import BATCH
from tests.sweeps import make_world, world_dataset, world_plan

ROOT = Path(__file__).resolve().parents[2]
KILLS = 10
SLOW = os.environ.get("ISI_SLOW_TESTS", "") not in ("", "0")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"), observations=8)


class Ledger:
    """What the store holds of a sweep, checked after every kill: it grows, and nothing in it is ever done anew."""

    def __init__(self, folder: Path, sweep: str, keys: set[str]) -> None:
        self._folder, self._sweep, self._keys = folder, sweep, keys
        self.known: dict[str, int] = {}

    def count(self) -> int:
        """How many items are finished, while the sweep runs."""
        store = Store(self._folder)
        try:
            return len(SweepRecords(store.database).finished_items(self._sweep))
        finally:
            store.close()

    def check(self) -> int:
        """How many items are finished, once nothing runs."""
        store = Store(self._folder)
        with store.database.reading() as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            made = {int(run) for (run,) in connection.execute("SELECT id FROM runs")}
            (ever,) = connection.execute(
                "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'runs'"
            ).fetchone()
        results = Sweeps(store, Jobs(store, workers=1), Shelf).results(self._sweep)
        found = {result.item: result.run for result in results}
        assert len(found) == len(results) and set(found) <= self._keys
        assert not any(result.error or result.reused for result in results)
        assert set(found.values()) == made and len(made) == len(found), "an evaluation without its mark, or the reverse"
        assert ever == len(made), "an evaluation was stored a second time"
        assert self.known.items() <= found.items(), "an evaluation was lost or done again"
        self.known = {item: run for item, run in found.items() if run is not None}
        store.close()
        return len(found)

    def check_whole(self) -> None:
        """Every stored evaluation can be read, picture and all."""
        store = Store(self._folder)
        for result in Sweeps(store, Jobs(store, workers=1), Shelf).results(self._sweep):
            assert result.run is not None
            stored = store.load(result.run)
            assert stored.answer is not None and stored.answer.verdict == result.verdict
            assert stored.trial.observation_id == result.observation
        leftovers = list(self._folder.rglob("*.part"))
        assert len(leftovers) <= KILLS, "at most one picture was being written at each kill"


def planned(world: Path, folder: Path) -> tuple[str, Ledger, int]:
    """A sweep of its own for a store: its id, its ledger, how many evaluations."""
    dataset = world_dataset(world)
    plan = world_plan(world, grid(("natural", "annotated", "random"), ("none", "complementary", "contradictory")))
    items = plan.items(dataset)
    store = Store(folder)
    sweep = Sweeps(store, Jobs(store, workers=1), Shelf).create(plan, dataset)
    store.close()
    return sweep, Ledger(folder, sweep, {item.key for item in items}), len(items)


def test_ten_kills_cost_at_most_the_evaluations_in_flight(world: Path, tmp_path: Path) -> None:
    sweep, ledger, count = planned(world, tmp_path / "home")
    log = tmp_path / "log"
    log.touch()
    lot = random.Random(4)
    command = [sys.executable, "-m", "tests.kill.child", str(tmp_path / "home"), sweep, str(log)]
    with subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        done = kills = 0
        while kills < KILLS:
            begun = len(log.read_text().splitlines())
            parent.stdin.write("\n")
            parent.stdin.flush()
            child = int(parent.stdout.readline())
            # Anywhere within the next few evaluations; the clock adds a moment that no loop can choose.
            wanted = begun + lot.randrange(0, max(2, (count - done) // (KILLS - kills + 2)))
            limit = time.monotonic() + 60
            while len(log.read_text().splitlines()) < wanted and time.monotonic() < limit:
                time.sleep(0.002)
            time.sleep(lot.random() * 0.03)
            os.kill(child, signal.SIGKILL)
            assert int(parent.stdout.readline()) == -signal.SIGKILL, "the sweep was done before the last kill"
            kills += 1
            before, done = done, ledger.check()
            assert before <= done < count
        parent.stdin.write("\n")
        parent.stdin.flush()
        parent.stdout.readline()
        assert int(parent.stdout.readline()) == 0
        parent.stdin.close()
    assert ledger.check() == count
    ledger.check_whole()
    begun_items = Counter(log.read_text().splitlines())
    assert len(begun_items) == count
    assert count <= sum(begun_items.values()) <= count + BATCH * KILLS, "more was done again than was in flight"
    assert done > 0, "the kills came before anything was done"


@pytest.mark.skipif(not SLOW, reason="the slow form: make test-all, or ISI_SLOW_TESTS=1")
@pytest.mark.timeout(1_200)
def test_ten_kills_of_the_command(world: Path, tmp_path: Path) -> None:
    sweep, ledger, count = planned(world, tmp_path / "home")
    lot = random.Random(5)
    command = [sys.executable, "-m", "isi_core", "sweep", "resume", sweep, "--store", str(tmp_path / "home"), "--json"]
    status = [*command[:4], "status", *command[5:]]
    for _ in range(KILLS):
        done = ledger.check()
        process = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        limit = time.monotonic() + 120
        aim = done + lot.randrange(0, 6)
        while ledger.count() < aim and time.monotonic() < limit:
            time.sleep(0.02)
        time.sleep(lot.random() * (6.0 if aim == done else 0.3))
        process.kill()
        assert process.wait() == -signal.SIGKILL
    told = json.loads(subprocess.run(status, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True).stdout)
    assert told["state"] == "interrupted" and told["running"] is False
    assert told["done"] == ledger.check() < count == told["planned"]
    last = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
    told = json.loads(last.stdout)
    assert (told["state"], told["done"], told["failed"], told["seconds_left"]) == ("done", count, 0, 0)
    assert ledger.check() == count
    ledger.check_whole()
