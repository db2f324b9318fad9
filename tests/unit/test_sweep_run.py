"""Sweeps on real classes with random weights: progress, pause, cancel, resume, failures, a full disk."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.observation import Dataset
from isi_core.models.shelf import Shelf
from isi_core.store.runs import Store
from isi_core.store.sweeps import SweepResult
from isi_core.studies.averages import load_averages
from isi_core.studies.averaging import measure_averages, measure_values
from isi_core.studies.jobs import Jobs
from isi_core.studies.sweep import asking, local_engine, run
from isi_core.studies.sweep.control import PROBE, Sweeps
from isi_core.studies.sweep.plan import Condition, ModelChoice, Perturbation, SweepPlan, dataset_digest, grid
from isi_core.studies.vqa import WANTED, evaluate
from tests.sweeps import DECODING, make_world, world_dataset, world_plan

PATIENCE = 120.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def dataset(world: Path) -> Dataset:
    return world_dataset(world)


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ISI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home)


@pytest.fixture
def sweeps(store: Store, shelf: Shelf) -> Sweeps:
    return Sweeps(store, Jobs(store, workers=1), lambda: shelf)


class Gate:
    """Stands in front of every evaluation, one at a time: counts what is asked, and lets it through or raises."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.before: Callable[[int], None] = lambda number: None
        real = asking.evaluate_together
        monkeypatch.setattr(asking, "BATCH", 1)

        def evaluate(trials, *arguments, **options):  # type: ignore[no-untyped-def]
            [trial] = trials
            self.asked.append((trial.observation_id, trial.image_kind, trial.context_kind))
            self.before(len(self.asked))
            return real(trials, *arguments, **options)

        monkeypatch.setattr(asking, "evaluate_together", evaluate)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    yield Gate(monkeypatch)


def test_every_planned_evaluation_is_made_once_and_stored_whole(
    world: Path, dataset: Dataset, store: Store, sweeps: Sweeps, shelf: Shelf, gate: Gate
) -> None:
    plan = world_plan(world)
    sweep = sweeps.create(plan, dataset)
    assert sweeps.create(plan, dataset) == sweep == plan.id
    assert (sweeps.status(sweep).state, sweeps.status(sweep).planned) == ("planned", 12)
    assert sweeps.status(sweep).seconds_left is None
    sweeps.start(sweep)
    status = sweeps.wait(sweep, PATIENCE)
    assert (status.state, status.done, status.failed, status.missing, status.error) == ("done", 12, 0, 0, "")
    assert status.rate is not None and status.rate > 0 and status.seconds_left == 0
    assert [(g.condition, g.planned, g.done) for g in status.groups] == [(c.key, 3, 3) for c in plan.conditions]
    assert max(Counter(gate.asked).values()) == 1 and store.count() == 12
    results = sweeps.results(sweep)
    assert len({r.run for r in results}) == 12 and not any(r.reused for r in results)
    for result in results:
        assert result.run is not None
        stored = store.load(result.run)
        assert (stored.trial.observation_id, stored.trial.truth_word) == (result.observation, result.truth)
        assert f"{stored.trial.image_kind}/{stored.trial.context_kind}" == result.condition
        assert stored.answer is not None and stored.answer.verdict == result.verdict
        assert measure_values(stored) == result.measured and "semantic_entropy" in result.measured
    # What the pages show beside each value is this sweep's from now on, and is what the averages' command measures.
    own = load_averages("llava", "data")
    assert own is not None
    with shelf.vlm(str(world / "llava")) as vlm, shelf.entailment(str(world / "nli")) as entailment:
        measured = measure_averages(dataset, vlm, entailment, DECODING, presets=plan.condition_keys)
    assert replace(own, created="", presets={}) == replace(measured, created="", presets={})
    for key, preset in measured.presets.items():
        assert (own.presets[key].n, own.presets[key].accuracy) == (preset.n, preset.accuracy)
        for name, average in preset.measures.items():
            assert own.presets[key].measures[name].values == pytest.approx(average.values, abs=1e-5), name

    sweeps.start(sweep)
    assert sweeps.wait(sweep, PATIENCE).state == "done" and len(gate.asked) == 12


def test_side_by_side_a_bad_trial_fails_alone_and_the_others_come_out_as_ever(
    world: Path, dataset: Dataset, store: Store, sweeps: Sweeps, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = asking.evaluate_together

    def evaluate(trials, *arguments, **options):  # type: ignore[no-untyped-def]
        sizes.append(len(trials))
        if any(t.observation_id == dataset.observations[1].id for t in trials):
            raise ModelError("This one is too much.")
        return real(trials, *arguments, **options)

    monkeypatch.setattr(asking, "evaluate_together", evaluate)
    sweep = sweeps.create(world_plan(world, measures=("answer", "attention")), dataset)
    sweeps.start(sweep)
    status = sweeps.wait(sweep, PATIENCE)
    assert (status.state, status.done, status.failed) == ("done", 8, 4)
    assert max(sizes) > 1
    results = sweeps.results(sweep)
    assert {r.observation for r in results if r.error} == {dataset.observations[1].id}
    monkeypatch.setattr(asking, "evaluate_together", real)
    monkeypatch.setattr(asking, "BATCH", 1)
    again = sweeps.create(world_plan(world, measures=("answer", "attention", "uncertainty")), dataset)
    sweeps.start(again)
    assert sweeps.wait(again, PATIENCE).state == "done"
    alone = {r.item: r for r in sweeps.results(again)}
    for result in results:
        if not result.error:
            other = alone[result.item]
            assert result.verdict == other.verdict
            for name, value in result.measured.items():
                assert value == pytest.approx(other.measured[name], abs=1e-5), name


def test_a_probe_counts_and_tells_the_time_that_is_left(
    world: Path, dataset: Dataset, store: Store, sweeps: Sweeps, gate: Gate
) -> None:
    sweep = sweeps.create(world_plan(world, measures=("answer",)), dataset)
    sweeps.probe(sweep)
    status = sweeps.wait(sweep, PATIENCE)
    assert (status.state, status.done) == ("planned", PROBE)
    assert len(set(gate.asked)) == PROBE == len({o for o, _, _ in gate.asked})
    seconds = [r.seconds for r in sweeps.results(sweep)]
    assert status.seconds_left is not None
    assert min(seconds) * 9 <= status.seconds_left <= max(seconds) * 9
    sweeps.start(sweep)
    assert sweeps.wait(sweep, PATIENCE).state == "done"
    assert len(gate.asked) == 12 == store.count()


def test_start_during_a_probe_goes_on_after_it(world: Path, dataset: Dataset, sweeps: Sweeps, gate: Gate) -> None:
    sweep = sweeps.create(world_plan(world, measures=("answer",)), dataset)
    begun, go = threading.Event(), threading.Event()

    def hold(number: int) -> None:
        begun.set()
        assert go.wait(PATIENCE)

    gate.before = hold
    job = sweeps.probe(sweep)
    assert begun.wait(PATIENCE) and sweeps.status(sweep).state == "probing"
    assert sweeps.start(sweep) == job
    go.set()
    assert sweeps.wait(sweep, PATIENCE).state == "done" and len(gate.asked) == 12


def test_pause_ends_after_an_evaluation_and_resume_does_the_rest(
    world: Path, dataset: Dataset, store: Store, sweeps: Sweeps, gate: Gate
) -> None:
    sweep = sweeps.create(world_plan(world, measures=("answer",)), dataset)
    other_tab = Sweeps(store, Jobs(store, workers=1), lambda: pytest.fail("only one engine runs it"))

    def pause(number: int) -> None:
        if number == 5:
            other_tab.pause(sweep)
            assert other_tab.status(sweep).state == "pausing" and other_tab.status(sweep).running

    gate.before = pause
    sweeps.start(sweep)
    status = sweeps.wait(sweep, PATIENCE)
    assert (status.state, status.done, status.running) == ("paused", 5, False)
    assert len(gate.asked) == 5
    gate.before = lambda number: None
    sweeps.start(sweep)
    assert sweeps.wait(sweep, PATIENCE).state == "done"
    assert len(gate.asked) == 12 == len(set(gate.asked)) == store.count()


def test_cancel_drops_the_evaluation_in_flight_and_keeps_the_others(
    world: Path, dataset: Dataset, store: Store, sweeps: Sweeps, gate: Gate
) -> None:
    sweep = sweeps.create(world_plan(world, measures=("answer",)), dataset)
    gate.before = lambda number: sweeps.cancel(sweep) if number == 4 else None
    sweeps.start(sweep)
    status = sweeps.wait(sweep, PATIENCE)
    assert (status.state, status.done, status.failed) == ("cancelled", 3, 0)
    with pytest.raises(InputError, match="no sweep"):
        sweeps.status("unknown")
    sweeps.start(sweep)
    assert sweeps.wait(sweep, PATIENCE).state == "done"
    assert len(gate.asked) == 13 and store.count() == 12
    sweeps.delete(sweep)
    assert sweeps.all() == [] and store.count() == 12


def test_whoever_changes_their_mind_is_heeded(
    world: Path, dataset: Dataset, store: Store, sweeps: Sweeps, gate: Gate
) -> None:
    sweep = sweeps.create(world_plan(world, measures=("answer",)), dataset)

    def waver(number: int) -> None:
        if number == 3:
            sweeps.pause(sweep)
            sweeps.start(sweep)  # before the evaluation in flight has ended: the same job goes on
        if number == 6:
            sweeps.cancel(sweep)
            threading.Thread(target=sweeps.start, args=[sweep]).start()  # waits for the job that was told to end

    gate.before = waver
    first = sweeps.start(sweep)
    deadline = time.monotonic() + PATIENCE
    while sweeps.status(sweep).state != "done" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sweeps.status(sweep).state == "done" and store.count() == 12
    assert len(gate.asked) == 13, "only the evaluation in flight at the cancel was made again"
    assert sweeps._job(sweep).id != first  # type: ignore[union-attr]


def test_a_sweep_gives_its_model_to_who_waits(
    world: Path, dataset: Dataset, sweeps: Sweeps, shelf: Shelf, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_engine, "TURN", 0.0)
    sweep = sweeps.create(world_plan(world, measures=("answer",)), dataset)
    asked_by_then: list[int] = []

    def visitor() -> None:
        with shelf.vlm(str(world / "llava")):
            asked_by_then.append(len(gate.asked))

    threads: list[threading.Thread] = []

    def come(number: int) -> None:
        if number == 2:
            threads.append(threading.Thread(target=visitor))
            threads[0].start()
            while not any(status.waiting for status in shelf.status()):
                time.sleep(0.001)

    gate.before = come
    sweeps.start(sweep)
    assert sweeps.wait(sweep, PATIENCE).state == "done"
    threads[0].join(PATIENCE)
    assert asked_by_then == [2], "the visitor had to wait for one evaluation, not for the sweep"


def test_what_was_asked_before_is_taken_from_the_store(
    world: Path, dataset: Dataset, store: Store, sweeps: Sweeps, gate: Gate
) -> None:
    first = sweeps.create(world_plan(world, grid(("natural",), ("none",))), dataset)
    sweeps.start(first)
    assert sweeps.wait(first, PATIENCE).state == "done"
    second = sweeps.create(world_plan(world, grid(("natural",), ("none", "contradictory"))), dataset)
    sweeps.start(second)
    assert sweeps.wait(second, PATIENCE).done == 6
    assert len(gate.asked) == 6 == store.count()
    reused = {r.condition: r.reused for r in sweeps.results(second)}
    assert reused == {"natural/none": True, "natural/contradictory": False}
    before = {(r.observation, r.verdict, r.run, *r.measured.items()) for r in sweeps.results(first)}
    again = {(r.observation, r.verdict, r.run, *r.measured.items()) for r in sweeps.results(second) if r.reused}
    assert before == again
    assert [status.id for status in sweeps.all()] == [second, first] and sweeps.latest() == second


def test_a_sweep_keeps_of_earlier_runs_what_it_planned_alone(
    world: Path, dataset: Dataset, store: Store, sweeps: Sweeps, shelf: Shelf, gate: Gate
) -> None:
    conditions = grid(("natural",), ("none",))
    plans = {
        measures: world_plan(world, conditions, measures)
        for measures in (("answer",), ("answer", "uncertainty"), ("answer", "attention"))
    }
    # Somebody measured all of two observations by hand before: of one by the strict rule, of the other by the loose.
    by_hand = []
    with shelf.vlm(str(world / "llava")) as vlm, shelf.entailment(str(world / "nli")) as entailment:
        for rule, item in zip(("strict", "loose"), plans["answer",].items(dataset), strict=False):
            settings = replace(plans["answer",].settings, rule=rule, entailment_model=entailment.record.name)
            trial = plans["answer",].trial(dataset, item)
            made = evaluate(trial, vlm, DECODING, WANTED, entailment, settings)
            by_hand.append(store.save(made, dataset=dataset.name))
    for measures, plan in plans.items():
        sweep = sweeps.create(plan, dataset)
        sweeps.start(sweep)
        assert sweeps.wait(sweep, PATIENCE).done == 3
        results = sweeps.results(sweep)
        reused = {r.run for r in results if r.reused} & set(by_hand)
        # The entropy by the other rule is no answer to a plan of entropies; to one without it the answer is the same.
        assert reused == ({by_hand[1]} if "uncertainty" in measures else set(by_hand))
        kinds = [{name.split("_")[0] for name in r.measured} for r in results]
        planned = {"uncertainty": {"semantic", "predictive", "n"}, "attention": {"attention"}}
        assert kinds == [planned.get(measures[-1], set())] * 3, measures


def test_failures_are_counted_and_do_not_stop_the_rest(
    world: Path, dataset: Dataset, sweeps: Sweeps, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    errors = {2: ModelError("It ran out of memory."), 3: InputError("The text is too long."), 6: RuntimeError("a\nbug")}

    def fail(number: int) -> None:
        if number in errors:
            raise errors[number]

    gate.before = fail
    sweep = sweeps.create(world_plan(world, measures=("answer",)), dataset)
    sweeps.start(sweep)
    status = sweeps.wait(sweep, PATIENCE)
    assert (status.state, status.done, status.failed, status.missing) == ("done", 9, 3, 0)
    assert dict(status.failures) == {
        "It ran out of memory.": 1,
        "The text is too long.": 1,
        "Something went wrong: a bug": 1,
    }
    assert "Traceback" in caplog.text
    errors.clear()
    sweeps.start(sweep)
    assert sweeps.wait(sweep, PATIENCE).failed == 3 and len(gate.asked) == 12
    assert sweeps.retry_failures(sweep) == 3
    sweeps.start(sweep)
    status = sweeps.wait(sweep, PATIENCE)
    assert (status.state, status.done, status.failed) == ("done", 12, 0) and len(gate.asked) == 15


def test_a_model_that_is_down_or_missing_ends_its_own_part_only(
    world: Path, dataset: Dataset, sweeps: Sweeps, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "FAILURES_IN_A_ROW", 3)
    plan = world_plan(world, measures=("answer",))
    lost = ModelChoice(str(world / "data"))  # a folder, but of no model
    sweep = sweeps.create(replace(plan, models=(lost, *plan.models)), dataset)
    sweeps.start(sweep)
    status = sweeps.wait(sweep, PATIENCE)
    assert (status.state, status.done, status.failed, status.missing) == ("failed", 12, 0, 12)
    assert status.error.count(".") >= 1 and "\n" not in status.error

    def down(number: int) -> None:
        raise ModelError("The server is down.")

    gate.before, gate.asked = down, []
    other = sweeps.create(world_plan(world, measures=("answer",), decoding=replace(DECODING, top_k=9)), dataset)
    sweeps.start(other)
    status = sweeps.wait(other, PATIENCE)
    assert (status.state, status.failed, len(gate.asked)) == ("failed", 3, 3)
    assert "3 times in a row" in status.error and "The server is down." in status.error


def test_a_full_disk_stops_it_and_nothing_is_half_stored(
    world: Path, dataset: Dataset, store: Store, sweeps: Sweeps, gate: Gate
) -> None:
    sweep = sweeps.create(world_plan(world, measures=("answer",)), dataset)
    for item in ("PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA journal_mode = DELETE"):
        with store.database.reading() as connection:
            connection.execute(item)

    def fill(number: int) -> None:
        if number == 4:
            with store.database.reading() as connection:
                pages = connection.execute("PRAGMA page_count").fetchone()[0]
                connection.execute(f"PRAGMA max_page_count = {pages}")

    gate.before = fill
    sweeps.start(sweep)
    status = sweeps.wait(sweep, PATIENCE)
    assert status.state == "failed" and "The disk with" in status.error and "is full" in status.error
    assert status.failed == 0 and 3 <= status.done < 12
    assert store.count() == status.done == len(sweeps.results(sweep))
    with store.database.reading() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
    asked = len(gate.asked)
    gate.before = lambda number: None
    sweeps.start(sweep)
    assert sweeps.wait(sweep, PATIENCE).state == "done"
    assert store.count() == 12 and len(gate.asked) == asked + 12 - status.done


def test_a_result_and_its_evaluation_are_stored_together_or_not_at_all(
    world: Path, dataset: Dataset, store: Store, sweeps: Sweeps, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweeps.create(world_plan(world, grid(), measures=("answer",)), dataset)
    other = dataset.observations[1].id

    def overtake(number: int) -> None:
        if number == 2:  # what another process would do
            item = next(i for i in world_plan(world, grid()).items(dataset) if i.observation.id == other)
            sweeps.records.add_result(sweep, SweepResult(item.key, "llava", "natural/none", other, 2, "", "yes"))

    gate.before = overtake
    sweeps.start(sweep)
    status = sweeps.wait(sweep, PATIENCE)
    assert status.state == "failed" and "another process" in status.error
    assert store.count() == 1 and len(sweeps.results(sweep)) == 2


def test_another_dataset_or_other_weights_are_refused(
    world: Path, dataset: Dataset, sweeps: Sweeps, tmp_path: Path
) -> None:
    from tests.checkpoints import save_llava

    save_llava(tmp_path / "model")
    plan = replace(world_plan(world, measures=("answer",)), models=(ModelChoice(str(tmp_path / "model")),))
    sweep = sweeps.create(plan, dataset)
    changed = replace(dataset, observations=(replace(dataset.observations[0], question="Why?"),))
    with pytest.raises(InputError, match="has changed"):
        sweeps.start(sweep, changed)
    sweeps.probe(sweep)
    assert sweeps.wait(sweep, PATIENCE).done == PROBE
    save_llava(tmp_path / "model", seed=5)
    fresh = Sweeps(sweeps._store, Jobs(sweeps._store, workers=1), Shelf)
    fresh.start(sweep)
    status = fresh.wait(sweep, PATIENCE)
    assert (status.state, status.done) == ("failed", PROBE) and "weights changed" in status.error


def test_a_plan_is_data_and_deterministic(world: Path, dataset: Dataset) -> None:
    plan = world_plan(world, grid(("natural",), ("none",), [Perturbation("noise", 25), Perturbation("occlusion", 0.3)]))
    assert SweepPlan.from_json(plan.to_json()) == plan and SweepPlan.from_json(plan.to_json()).id == plan.id
    assert plan.condition_keys == ["natural/none", "natural/none, noise 25", "natural/none, occlusion 0.3"]
    items = plan.items(dataset)
    assert [i.key for i in items] == [i.key for i in plan.items(dataset)] and len({i.key for i in items}) == 9
    trials = [plan.trial(dataset, item) for item in items]
    assert [t.digest for t in trials] == [plan.trial(dataset, item).digest for item in items]
    assert len({t.image_digest for t in trials}) == 9
    noises = [t.interventions[-1] for t in trials[1::3]]
    assert len({noise.seed for noise in noises}) == 3, "each observation has its own noise"
    assert trials[0].image_digest != replace(plan, seed=1).trial(dataset, items[1]).image_digest
    # The place of a small occlusion lies within a schedule, at the same relative place.
    small, large = (Perturbation("occlusion", s).change("x", 0) for s in (0.1, 0.5))
    assert 0 <= small.left < small.right <= 1 and 0 <= large.top < large.bottom <= 1
    assert small.left / (1 - 0.1**0.5) == pytest.approx(large.left / (1 - 0.5**0.5))
    assert (large.right - large.left) * (large.bottom - large.top) == pytest.approx(0.5)
    # The order in which measures were named makes no other sweep; another seed does.
    assert replace(plan, measures=("attention", "uncertainty")).id == plan.id != replace(plan, seed=1).id


def test_observations_that_lack_something_are_left_out_and_told(world: Path, dataset: Dataset, sweeps: Sweeps) -> None:
    rows = dataset.observations
    bare = (replace(rows[0], annotated=None), replace(rows[1], contradictory=""), rows[2])
    short = replace(dataset, observations=bare)
    plan = replace(
        world_plan(world, grid(("natural", "annotated"), ("none", "contradictory"))),
        dataset_digest=dataset_digest(short),
    )
    status = sweeps.status(sweeps.create(plan, short))
    assert [(g.planned, g.left_out) for g in status.groups] == [(3, 0), (2, 1), (2, 1), (1, 2)]
    assert status.planned == 8 == len(plan.items(short))
    only = replace(plan, conditions=(Condition("annotated"),), observations=(bare[0].id,))
    with pytest.raises(InputError, match="Nothing in data"):
        sweeps.create(only, short)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 9}, "another version"),
        ({"conditions": []}, "at least one"),
        ({"conditions": [{"image": "x-ray", "context": "none", "perturbation": None}]}, "Unknown image"),
        ({"measures": ["beauty"]}, "beauty"),
        ({"models": [{"name": "", "quantization": "none"}]}, "name"),
        ({"models": [{"name": "a", "quantization": "1-bit"}]}, "quantization"),
        ({"observations": []}, "at least one"),
        ({"decoding": None}, "plan"),
        ({"seed": "x"}, "plan"),
    ],
)
def test_a_plan_that_is_not_one_is_refused(world: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SweepPlan.from_json({**world_plan(world).to_json(), **change})


@pytest.mark.parametrize(("kind", "strength"), [("noise", 0), ("noise", 256), ("occlusion", 1.1), ("fog", 1.0)])
def test_perturbations_out_of_range_are_refused(kind: str, strength: float) -> None:
    with pytest.raises(InputError):
        Perturbation(kind, strength)  # type: ignore[arg-type]
