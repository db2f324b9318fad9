"""A causal test of a finished benchmark, from its plan to its result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.progress import Progress, part_of
from isi_core.domain.trial import Trial
from isi_core.models.vlm.part import never_back
from isi_core.studies.failure.causal import PARTS, CausalPlan, CausalResult, Part, Risk, Steered, Tuned
from isi_core.studies.failure.explainers import Evidence, find_explainer
from isi_core.studies.failure.lending import Lender, lender, same_model
from isi_core.studies.failure.plan import PICTURE_TASKS
from isi_core.studies.failure.results import BenchmarkResult, Case
from isi_core.studies.failure.run import timed
from isi_core.studies.failure.scoring import make_table, train_probe

if TYPE_CHECKING:
    from isi_core.models.shelf import Shelf
    from isi_core.models.steering import Where
    from isi_core.studies.failure.causal_steering import Ask

STEERABLE: dict[str, tuple[str, Where]] = {
    "last-token-tuned": ("last", "last"),
    "last-token": ("last", "last"),
    "last-token-released": ("last", "last"),
    "mean-token": ("mean", "all"),
}
"""Explainers with a direction, the pool they read, and the tokens at which the activations are moved."""
_TEXTS_AT_ONCE = 64
_PICTURES_AT_ONCE = 32


def steerable(result: BenchmarkResult) -> list[str]:
    """Explainers of a benchmark whose direction can be steered, those with a direction in the order of `STEERABLE`."""
    scored = {score.explainer for score in result.scores}
    return [key for key in STEERABLE if key in scored]


def run_causal(
    plan: CausalPlan, result: BenchmarkResult, shelf: Shelf, folder: Path, progress: Progress | None = None
) -> CausalResult:
    """Try what the plan names; what cannot be tried is left out with its reason, and the rest goes on.

    Parameters
    ----------
    folder : that of the benchmark's cases, with their pictures and activations.

    Raises
    ------
    InputError : the explainer was not scored, or nothing could be tried.
    ModelError : the model cannot be loaded.
    """
    if plan.run != result.plan.digest:
        raise InputError("This causal test is for another benchmark: choose its own.")
    if result.best(plan.explainer) is None:
        raise InputError(
            f"The benchmark has no explainer {plan.explainer[:40]}: choose one of "
            f"{', '.join(dict.fromkeys(s.explainer for s in result.scores))}."
        )
    progress = never_back(progress) if progress is not None else None
    try_them = _try_pictures if result.plan.task in PICTURE_TASKS else _try_texts
    tried = try_them(plan, result, shelf, folder, progress)
    if not (tried.steering or tried.risk or tried.tuning):
        raise InputError(" ".join(dict.fromkeys(tried.skipped.values())) or "There was nothing to try.")
    return CausalResult(
        plan=plan,
        model=result.model,
        task=result.plan.task,
        layer=tried.layer,
        spread=tried.spread,
        n=tried.n,
        accuracy=tried.accuracy,
        steering=tuple(tried.steering),
        risk=tuple(tried.risk),
        tuning=tried.tuning,
        skipped=tried.skipped,
        seconds={name: round(value, 3) for name, value in tried.seconds.items()},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


class _Tried:
    """What has been tried so far."""

    def __init__(self, layer: int | None) -> None:
        self.layer = layer
        self.spread = self.accuracy = float("nan")
        self.n = 0
        self.steering: list[Steered] = []
        self.risk: list[Risk] = []
        self.tuning: Tuned | None = None
        self.skipped: dict[str, str] = {}
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: Part) -> Iterator[None]:
        """Take the time of a part; what it refuses is noted."""
        with timed(self.seconds, name):
            try:
                yield
            except (InputError, ModelError) as error:
                self.skipped[name] = str(error)


class Steering(NamedTuple):
    """Along what activations are moved: (hidden,) unit vector towards success, and the training cases' spread."""

    direction: NDArray[np.float64]
    spread: float
    where: Where


def _layer(plan: CausalPlan, result: BenchmarkResult) -> int | None:
    if plan.layer is not None:
        if plan.layer not in result.layers:
            raise InputError(
                f"The benchmark read layers {', '.join(map(str, result.layers))}, not {plan.layer}: choose one of them."
            )
        return plan.layer
    best = result.best(plan.explainer)
    return best.layer if best is not None else None


def find_direction(plan: CausalPlan, result: BenchmarkResult, layer: int | None, known: Evidence) -> Steering:
    """The explainer's direction at a layer, learned from the training cases.

    Raises
    ------
    InputError : the explainer has no direction.
    """
    row = find_explainer(plan.explainer)
    if plan.explainer not in STEERABLE or layer is None:
        raise InputError(f"{row.title} has no direction to steer along: choose {', '.join(STEERABLE)}.")
    table = make_table(row, known, layer)
    direction = train_probe(table, result.plan.seed).direction
    if direction is None:
        raise InputError(f"{row.title} found no direction at layer {layer}: choose another layer.")
    spread = float(np.std(table.part("train")[0] @ direction))
    return Steering(direction, spread, STEERABLE[plan.explainer][1])


def steered_cases(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    """At most `count` test cases, as many of each class as there may be, by lot."""
    found: list[Case] = []
    for success in (True, False):
        members = [case for case in cases if case.split == "test" and case.success is success]
        Random(f"failure steering {seed} {success}").shuffle(members)
        found += members[: count // 2]
    return sorted(found, key=lambda case: case.id)


def _try_pictures(
    plan: CausalPlan, result: BenchmarkResult, shelf: Shelf, folder: Path, progress: Progress | None
) -> _Tried:
    from isi_core.studies.failure.activations import capture_pictures, case_trial
    from isi_core.studies.failure.causal_risk import find_risk
    from isi_core.studies.failure.causal_steering import steer
    from isi_core.studies.failure.causal_tuning import tune

    tried = _Tried(_layer(plan, result))
    lend = lender(result.plan, shelf, folder, progress)
    revision = str(result.model["revision"])
    captured = capture_pictures(lend, revision, result.cases, result.layers, folder, part_of(progress, 0.0, 0.1))
    known = Evidence(result.cases, captured.states, captured.layers, captured.pools, {})
    cases = steered_cases(result.cases, plan.cases, plan.seed)
    trials = [case_trial(case, folder) for case in cases]
    tried.n = len(cases)
    if "steer" in plan.parts:
        with tried.part("steer"):
            along = find_direction(plan, result, tried.layer, known)
            tried.spread = along.spread
            assert tried.layer is not None
            ask = ask_pictures(lend, trials, tried.layer, along.where)
            truth = [0 if trial.truth else 1 for trial in trials]
            tried.accuracy, tried.steering = steer(
                ask, truth, along.direction, along.spread, plan, part_of(progress, 0.1, 0.5)
            )
    if "inputs" in plan.parts:
        with tried.part("inputs"):
            tried.risk = find_risk(plan, result, known, lend, part_of(progress, 0.5, 0.7))
    if "tune" in plan.parts:
        with tried.part("tune"):
            tried.tuning = tune(plan, result, tried.layer, known, trials, lend, part_of(progress, 0.7, 1.0))
    return tried


def ask_pictures(lend: Lender, trials: Sequence[Trial], layer: int, where: Where) -> Ask:
    """Asks the trials, the activations moved by what it is given."""
    from isi_core.models.steering import steering
    from isi_core.models.vlm.hugging_face import HuggingFaceVLM
    from isi_core.models.vlm.prefill import decoder_blocks
    from isi_core.models.vlm.states import read_states

    def ask(vector: NDArray[np.float64] | None) -> NDArray[np.float64]:
        found = []
        for begin in range(0, len(trials), _PICTURES_AT_ONCE):
            with lend() as vlm:
                assert isinstance(vlm, HuggingFaceVLM)
                with steering(decoder_blocks(vlm.network), layer, vector, where):
                    found.append(read_states(vlm, trials[begin : begin + _PICTURES_AT_ONCE], ()).words)
        return np.concatenate(found)

    return ask


def _try_texts(
    plan: CausalPlan, result: BenchmarkResult, _shelf: Shelf, folder: Path, progress: Progress | None
) -> _Tried:
    from isi_core.datasets.failure_tasks import read_task
    from isi_core.models.language.hugging_face import open_language_model
    from isi_core.models.steering import steering
    from isi_core.studies.failure.activations import capture_texts
    from isi_core.studies.failure.causal_steering import steer

    tried = _Tried(_layer(plan, result))
    for part in PARTS[1:]:
        if part in plan.parts:
            tried.skipped[part] = "Inputs are changed and models trained for picture tasks only."
    if "steer" not in plan.parts:
        return tried
    items = read_task(Path(result.plan.source).expanduser(), result.plan.task)
    by_id = {item.id: item for item in items}
    cases = steered_cases(result.cases, plan.cases, plan.seed)
    if missing := [case.item for case in result.cases if case.item not in by_id]:
        raise InputError(f"The task's file has no item {missing[0][:60]} any more: put the file back.")
    tried.n = len(cases)
    model = open_language_model(result.plan.model)
    try:
        same_model(folder, model.record.to_json())
        captured = capture_texts(model, result.cases, items, result.layers, folder, part_of(progress, 0.0, 0.2))
        known = Evidence(result.cases, captured.states, captured.layers, captured.pools, {})
        with tried.part("steer"):
            along = find_direction(plan, result, tried.layer, known)
            tried.spread = along.spread
            layer = tried.layer
            assert layer is not None
            chosen = [by_id[case.item] for case in cases]

            def ask(vector: NDArray[np.float64] | None) -> NDArray[np.float64]:
                # At every token: an option's tokens stand behind the prompt's last one, and all are read.
                found: list[tuple[float, ...]] = []
                with steering(model.blocks, layer, vector, "all"):
                    for begin in range(0, len(chosen), _TEXTS_AT_ONCE):
                        part = chosen[begin : begin + _TEXTS_AT_ONCE]
                        found += model.option_likelihoods([item.continuations for item in part])
                return np.array(found)

            truth = [item.gold for item in chosen]
            tried.accuracy, tried.steering = steer(
                ask, truth, along.direction, along.spread, plan, part_of(progress, 0.2, 1.0)
            )
    finally:
        model.close()
    return tried


def causal_plan(result: BenchmarkResult, **changes: object) -> CausalPlan:
    """A plan for a benchmark: its first explainer with a direction, settings changed by name.

    Raises
    ------
    InputError : no explainer of it has a direction, and none is named.
    """
    able = steerable(result)
    if "explainer" not in changes and not able:
        raise InputError(
            f"No explainer of this run has a direction to steer along: run it with {next(iter(STEERABLE))} too."
        )
    base = CausalPlan(run=result.plan.digest, explainer=able[0] if able else "majority")
    return replace(base, **changes)  # type: ignore[arg-type]
