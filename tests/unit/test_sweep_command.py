"""The command `sweep`, run as a person would, on real classes with random weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isi_core.cli import main
from isi_core.store.runs import Store
from isi_core.studies.jobs import Jobs
from isi_core.studies.slices import Slice, save_slice
from isi_core.studies.sweep.control import PROBE
from tests.sweeps import make_world, world_dataset

Run = Callable[..., tuple[int, str, str]]
CONDITIONS = ("--images", "natural,random", "--contexts", "none,contradictory")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def planned(world: Path, *more: str) -> list[str]:
    options = ["--dataset", world / "data", "--model", world / "llava", "--entailment", world / "nli"]
    return [*map(str, options), "--samples", "3", *CONDITIONS, *more]


@pytest.fixture
def run(store: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(action: str, *arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["sweep", action, "--store", str(store), *arguments])
        return (code, *capsys.readouterr())

    return call


def read(found: tuple[int, str, str]) -> Any:
    code, out, err = found
    assert (code, err) == (0, ""), err
    return json.loads(out)


def test_plan_run_status_analyse_and_export(world: Path, store: Path, run: Run, tmp_path: Path) -> None:
    told = read(run("plan", *planned(world), "--no-probe", "--json"))
    assert (told["state"], told["planned"], told["done"], told["seconds_left"]) == ("planned", 12, 0, None)
    told = read(run("plan", *planned(world), "--json"))
    assert (told["state"], told["done"]) == ("planned", PROBE) and told["seconds_left"] > 0
    told = read(run("run", *planned(world), "--json", "--engine", "local"))
    assert {"planned", "done", "failed", "running", "rate", "seconds_left"} <= set(told)
    assert (told["planned"], told["done"], told["failed"], told["running"]) == (12, 12, 0, False)
    assert read(run("status", "--json"))["id"] == told["id"] == read(run("status", told["id"][:5], "--json"))["id"]
    assert Store(store).count() == 12
    assert (store / "averages" / "data--llava.json").is_file()

    found = read(run("analyse", "--json", "--reference", "random/none"))
    assert [c["condition"] for c in found["conditions"]] == [
        "natural/none",
        "natural/contradictory",
        "random/none",
        "random/contradictory",
    ]
    assert len(found["effects"]) == 3 and {"semantic_entropy", "accuracy"} <= set(found["conditions"][0])
    code, out, _ = run("analyse")
    assert code == 0 and "natural/contradictory · " in out and "verdicts differ" in out
    code, out, _ = run("export", "--out", str(tmp_path / "out"), "--no-figures")
    assert code == 0 and "8 files in" in out and (tmp_path / "out" / "results.csv").is_file()
    assert run("export", "--out", str(tmp_path / "out"))[0] == 2
    code, out, _ = run("status")
    assert code == 0 and "12" in out and "done" in out
    code, out, _ = run("list")
    assert code == 0 and "12 of 12" in out


def test_a_saved_slice_is_swept_and_analysed_and_the_analysis_is_a_pdf(
    world: Path, store: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISI_HOME", str(tmp_path / "home"))
    first, second, _ = world_dataset(world).observations
    save_slice("one", "data", Slice(words=first.image.name))
    save_slice("other", "data", Slice(words=second.image.name))
    save_slice("nothing", "data", Slice(words="no such word"))
    told = read(run("run", *planned(world), "--slice", "one", "--measure", "answer", "--json"))
    assert (told["planned"], told["done"]) == (4, 4)
    assert {r.observation_id for r in Store(store).recent(100, f"sweep {told['id']}")} == {first.id}
    report = tmp_path / "out" / "sweep.pdf"
    found = read(run("analyse", "--slice", "one", "--pdf", str(report), "--json"))
    assert found["slice"].startswith("one: ") and {c["n"] for c in found["conditions"]} == {1}
    assert report.read_bytes().startswith(b"%PDF")
    assert read(run("analyse", "--json"))["slice"] is None
    for arguments, words in (
        (("run", *planned(world), "--slice", "missing"), "There is no slice 'missing' of data (saved: one"),
        (("run", *planned(world), "--slice", "nothing"), "holds no observation"),
        (("analyse", "--slice", "other"), "No evaluation of this sweep lies in this slice"),
        (("analyse", "--pdf", str(world / "llava" / "config.json" / "x.pdf")), "config.json"),
    ):
        code, out, err = run(*arguments)
        assert code == 2 and out == "" and err.count("\n") == 1 and words in err, (arguments, err)


def test_wrong_arguments_are_one_line(world: Path, run: Run, store: Path) -> None:
    for arguments, words in (
        (("run", *planned(world), "--noise", "loud"), "no strength of noise"),
        (("run", *planned(world), "--noise", "999"), "noise must lie above 0"),
        (("run", *planned(world), "--images", "x-ray"), "Unknown image"),
        (("run", *planned(world), "--measure", "beauty"), "Unknown measure"),
        (("run", *planned(world), "--limit", "0"), "at least one observation"),
        (("status",), "no sweep in this store"),
        (("status", "zzz"), "0 sweeps fit"),
        (("analyse",), "no sweep in this store"),
    ):
        code, out, err = run(*arguments)
        assert code == 2 and out == "" and err.count("\n") == 1 and words in err, arguments
    run("plan", *planned(world), "--no-probe")
    code, _, err = run("analyse")
    assert code == 2 and "no result to analyse" in err


def test_failures_end_the_command_with_their_reason(world: Path, run: Run) -> None:
    missing = ["--model", str(world / "data"), "--measure", "answer"]  # no model lies in that folder
    code, out, err = run("run", "--dataset", str(world / "data"), *missing, *CONDITIONS, "--json")
    assert code == 2 and json.loads(out)["state"] == "failed" and err.count("\n") == 1


def test_another_process_sees_it_pauses_it_and_a_stop_by_keyboard_resumes(world: Path, store: Path, run: Run) -> None:
    # So many that none of the two runs can end before it is stopped, however fast the machine.
    noises = [str(sigma) for sigma in range(5, 80, 5)]
    options, total = planned(world, "--noise", ",".join(noises), "--measure", "answer"), 12 * (1 + len(noises))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "isi_core", "sweep", "run", "--store", str(store), *options, "--json"]
    # Tests started in a shell's background ignore the keyboard's stop, and so would the processes they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _pause_and_stop(command, environment, store, run, total)
    finally:
        signal.signal(signal.SIGINT, before)
    last = read(run("resume", "--json"))
    assert (last["state"], last["done"]) == ("done", total) and Store(store).count() == total


def _pause_and_stop(command: list[str], environment: dict[str, str], store: Path, run: Run, total: int) -> None:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        limit = time.monotonic() + 120
        while not (store / "studio.db").exists() or not Store(store).count():
            assert time.monotonic() < limit and process.poll() is None
            time.sleep(0.05)
        told = read(run("status", "--json"))
        assert told["running"] and told["state"] == "running" and told["planned"] == total
        told = read(run("pause", "--json"))
        assert told["state"] in ("pausing", "paused")
        out, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0
    told = json.loads(out)
    assert told["state"] == "paused" and 0 < told["done"] < total
    process = subprocess.Popen(
        [*command[:4], "resume", "--store", str(store), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        limit = time.monotonic() + 120
        while Store(store).count() <= told["done"]:
            assert time.monotonic() < limit and process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130 and err.strip().endswith("Stopped.")
    stopped = read(run("status", "--json"))
    assert stopped["state"] == "paused" and told["done"] < stopped["done"] < total
    assert {job.state for job in Jobs(Store(store)).list()} == {"cancelled"}
