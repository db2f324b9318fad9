"""What the engine `ray` is made of, without a cluster: addresses, shares, a worker's texts, refusals in a sentence.

`tests/kill/test_sweep_ray.py` has the real cluster.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from isi_core.cli import main
from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.evaluation import Evaluation
from isi_core.models.shelf import Shelf
from isi_core.studies.averaging import measure_values
from isi_core.studies.sweep import asking, ray_engine
from isi_core.studies.sweep.asking import Failure, ask
from isi_core.studies.sweep.ray_engine import Cluster, Share, share_of
from isi_core.studies.sweep.ray_worker import Worker, code_digest, pack, read_loaded, unpack
from isi_core.studies.sweep.run import Task
from tests.sweeps import make_world, world_dataset, world_plan

GB = 1 << 30


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"), observations=2)


def job(world: Path, **changes: Any) -> str:
    plan = world_plan(world)
    return json.dumps(
        {
            "code": code_digest(),
            "model": str(world / "llava"),
            "quantization": "none",
            "entailment": str(world / "nli"),
            "decoding": plan.decoding.to_json(),
            "measures": plan.measures,
            "settings": plan.settings.to_json(),
            **changes,
        }
    )


def tasks_of(world: Path) -> list[Task]:
    plan, dataset = world_plan(world), world_dataset(world)
    return [Task(item, plan.trial(dataset, item)) for item in plan.items(dataset)]


def test_a_workers_answers_are_those_of_this_process(world: Path) -> None:
    plan, tasks, worker = world_plan(world), tasks_of(world), Worker()
    loaded = read_loaded(worker.load(job(world)))
    text, pictures = pack(tasks)
    assert len(pictures) == len({task.trial.image_digest for task in tasks}) < len(tasks), "each picture goes once"
    outcomes = unpack(worker.ask(text, pictures), tasks)
    assert [outcome.place for outcome in outcomes] == list(range(len(tasks)))
    trials = [task.trial for task in tasks]
    with Shelf().vlm(str(world / "llava")) as vlm, Shelf().entailment(str(world / "nli")) as entailment:
        assert (loaded.vlm, loaded.entailment, loaded.attention) == (vlm.record, entailment.record, True)
        here = list(ask(trials, vlm, entailment, plan.decoding, plan.measures, plan.settings))
    for outcome, own in zip(outcomes, here, strict=True):
        assert isinstance(outcome.made, Evaluation) and isinstance(own.made, Evaluation)
        assert outcome.made.trial.digest == own.made.trial.digest
        assert outcome.made.trial.image is trials[outcome.place].image, "pictures do not travel back"
        assert outcome.made.answer == own.made.answer and outcome.made.model == own.made.model
        assert measure_values(outcome.made) == pytest.approx(measure_values(own.made), abs=1e-9)


def test_a_workers_failures_come_back_in_words(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, worker = tasks_of(world), Worker()
    read_loaded(worker.load(job(world)))
    bad = tasks[1].trial
    real = asking.evaluate_together

    def evaluate(trials, *arguments, **options):  # type: ignore[no-untyped-def]
        if any(trial.digest == bad.digest for trial in trials):
            raise InputError("This picture is too large.")
        return real(trials, *arguments, **options)

    monkeypatch.setattr(asking, "evaluate_together", evaluate)
    outcomes = unpack(worker.ask(*pack(tasks)), tasks)
    failed = {tasks[o.place].trial.digest: o.made for o in outcomes if isinstance(o.made, Failure)}
    assert failed == {bad.digest: Failure("This picture is too large.", of_model=False)}
    told = json.loads(worker.ask(*pack(tasks[:1])))
    told[0]["evaluation"]["trial"]["digest"] = "0" * 64
    with pytest.raises(InputError, match="changed"):
        unpack(json.dumps(told), tasks[:1])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"code": "another"}, "another version of ISI Studio"),
        ({"model": "/nowhere/llava"}, "there is no folder /nowhere/llava"),
        ({"entailment": "/nowhere/nli"}, "there is no folder /nowhere/nli"),
        ({"model": "no model"}, "No model 'no model'"),
    ],
)
def test_a_worker_that_cannot_serve_says_why(world: Path, changes: dict[str, str], words: str) -> None:
    with pytest.raises(ModelError, match=f"The worker on .* cannot be used: .*{words}"):
        read_loaded(Worker().load(job(world, **changes)))


def test_what_is_no_address_is_refused() -> None:
    for address in ("", "here", "host", "host:0", "host:70000", "ray://host:10001", "host:1;x", "-h:1 2"):
        with pytest.raises(InputError, match="no address"):
            Cluster(address)
    for address in ("auto", "local", "first-machine:6379", "10.0.0.1:6379", "[::1]:6379"):
        assert Cluster(address).address == address
    for workers in (0, -1, 5000):
        with pytest.raises(InputError, match="workers"):
            Cluster("auto", workers)


@pytest.mark.parametrize(
    ("nodes", "workers", "expected"),
    [
        ([(16, 4), (16, 4)], None, (8, Share(4, 1, 0))),
        ([(2, 4)], None, (4, Share(0.5, 1, 0))),
        ([(16, 4), (8, 0)], 12, (12, Share(4, 1, 0))),
        ([(8, 0)], None, (8, Share(1, 0, GB))),
        ([(8, 0)], 2, (2, Share(4, 0, GB))),
        ([(8, 0), (8, 0)], 3, (3, Share(4, 0, GB))),
        ([(2, 0)], 8, (8, Share(0.25, 0, GB))),
    ],
)
def test_each_worker_gets_a_gpu_or_its_share_of_the_cpus(
    nodes: list[tuple[float, float]], workers: int | None, expected: tuple[int, Share]
) -> None:
    assert share_of(nodes, workers, GB) == expected


def test_refusals_of_the_command_are_one_sentence(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and nobody answers there
        silent = f"127.0.0.1:{nobody.getsockname()[1]}"
        command = ["sweep", "run", "--store", str(tmp_path), "--dataset", str(world / "data"), "--measure", "answer"]
        for options, words in (
            (["--engine", "ray", "--address", silent], f"No Ray cluster answers at {silent}"),
            (["--engine", "ray", "--address", "ray://x"], "no address of a Ray cluster"),
            (["--engine", "ray", "--workers", "0"], "1 to 4,096 workers"),
            (["--workers", "2"], "add --engine ray"),
            (["--address", "auto"], "add --engine ray"),
        ):
            if "answers" in words and not ray_engine.is_installed():
                continue
            capsys.readouterr()
            assert main([*command, *options]) == 2, options
            _, err = capsys.readouterr()
            assert err.count("\n") == 1 and words in err, err
        monkeypatch.setattr(ray_engine, "is_installed", lambda: False)
        assert main([*command, "--engine", "ray"]) == 2
        assert "pip install -r requirements-ray.txt" in capsys.readouterr().err


def test_batches_of_one_picture_are_not_parted(world: Path) -> None:
    from isi_core.store.runs import Store
    from isi_core.studies.sweep.plan import grid
    from isi_core.studies.sweep.run import ModelPart, SweepRun, _Watched

    dataset = world_dataset(world)
    plan = world_plan(world, grid(("natural", "random"), ("none", "complementary", "contradictory")))
    store = Store(world / "store")
    run = SweepRun(plan, dataset, store, lambda part: None)
    items = plan.items(dataset)
    part = ModelPart(run, plan.models[0], items, _Watched(run, lambda m, f: None, len(items), 0, True))
    taken = [[item.key for item in part._next_items(size)] for size in (4, 5, 2, 2, 16)]
    assert [len(keys) for keys in taken] == [3, 3, 2, 1, 3]
    assert [key for keys in taken for key in keys] == [item.key for item in items] and part.left == 0
    store.close()
