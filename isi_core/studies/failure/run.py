"""A failure benchmark from its plan to its result: collect, lint, capture, explain, score."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.progress import Progress, part_of
from isi_core.models.vlm.part import never_back
from isi_core.studies.failure.explainers import Evidence, ExplainerRow, Extra, find_explainer
from isi_core.studies.failure.lending import lender, same_model
from isi_core.studies.failure.linter import items_of_cases, lint
from isi_core.studies.failure.plan import PICTURE_TASKS, FailurePlan
from isi_core.studies.failure.results import BenchmarkResult, Case, ExplainerScore, load_result, save_result
from isi_core.studies.failure.scoring import (
    Table,
    correct,
    label_shuffle_control,
    make_table,
    paired_tests,
    permutation_null,
    score,
)

if TYPE_CHECKING:
    from isi_core.models.shelf import Shelf
    from isi_core.studies.failure.activations import Activations
    from isi_core.studies.failure.collection import Collection


_LIBRARIES = ("torch", "transformers", "numpy", "scipy", "scikit-learn")


def run(plan: FailurePlan, shelf: Shelf, folder: Path, progress: Progress | None = None) -> BenchmarkResult:
    """Run a benchmark; `folder` keeps cases, pictures, activations and at last `result.json`.

    A run that was stopped goes on where it was when it is started again with the same plan and folder;
    a finished one is read from its file. Plans that differ in layers, explainers or intervals alone share
    a folder: their cases are the same.

    Raises
    ------
    InputError : too few failures (the message says what k is possible), a layer that does not exist,
        an explainer that is unknown, a task file that cannot be read, a folder of another plan.
    ModelError : the model cannot be loaded or does not tell its hidden states.
    """
    rows = [find_explainer(key) for key in dict.fromkeys(plan.explainers)]
    if plan.permuted and plan.permuted not in plan.explainers:
        plan = replace(plan, permuted="")
    _claim(folder, plan)
    if (finished := _finished(folder, plan)) is not None:
        return finished
    progress = never_back(progress) if progress is not None else None  # waiting for the model again does not go back
    seconds: dict[str, float] = {}
    skipped = {row.key: reason for row in rows if (reason := row.lacks(plan.task))}
    rows = [row for row in rows if row.key not in skipped]
    if not rows:
        raise InputError(f"None of these explainers can be used: {'; '.join(skipped.values())}. Choose others.")
    gather = _gather_pictures if plan.task in PICTURE_TASKS else _gather_texts
    gathered = gather(plan, rows, shelf, folder, seconds, part_of(progress, 0.0, 0.75))
    features = 0 if gathered.evidence.states is None else int(gathered.evidence.states.shape[-1])
    findings = lint(items_of_cases(gathered.cases), features or None)
    with timed(seconds, "probes"):
        scores, tables, failed = _score_all(rows, gathered.evidence, plan, part_of(progress, 0.75, 0.9))
    skipped |= failed
    with timed(seconds, "controls"):
        null, control = _controls(scores, tables, plan, part_of(progress, 0.9, 1.0))
    labels = {case.id: case.success for case in gathered.cases}
    result = BenchmarkResult(
        plan=plan,
        model=gathered.model,
        pool=gathered.collection.pool,
        cases=gathered.cases,
        findings=tuple(findings),
        layers=gathered.evidence.layers,
        scores=correct(scores),
        comparisons=(),
        permutation=null,
        control=tuple(control),
        skipped=skipped,
        seconds={name: round(value, 3) for name, value in seconds.items()},
        library_versions=_versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    bests = [best for row in rows if (best := result.best(row.key)) is not None]
    result = replace(result, comparisons=tuple(paired_tests(bests, labels, plan.level)))
    save_result(result, folder)
    if progress is not None:
        progress("Done", 1.0)
    return result


class _Gathered:
    """What a model was asked and read."""

    def __init__(
        self, collection: Collection, cases: Sequence[Case], evidence: Evidence, model: dict[str, Any]
    ) -> None:
        self.collection = collection
        self.cases = tuple(cases)
        self.evidence = evidence
        self.model = model


def _gather_pictures(
    plan: FailurePlan,
    rows: Sequence[ExplainerRow],
    shelf: Shelf,
    folder: Path,
    seconds: dict[str, float],
    progress: Progress | None,
) -> _Gathered:
    from isi_core.models.vlm.hugging_face import HuggingFaceVLM
    from isi_core.studies.failure.activations import capture_picture_tokens, capture_pictures, layers_of
    from isi_core.studies.failure.collection import collect_pictures, drop_pictures
    from isi_core.studies.failure.extras import measured_cases, take_extras

    wanted: list[Extra] = list(dict.fromkeys(extra for row in rows for extra in row.extras))
    lend = lender(plan, shelf, folder, progress)
    with lend() as vlm:  # a layer that does not exist is told before anything is asked
        layers = _layers(plan, rows, layers_of(vlm))
        record, readable = vlm.record, isinstance(vlm, HuggingFaceVLM)
    with timed(seconds, "collection"):
        collection = collect_pictures(plan, lend, folder, part_of(progress, 0.0, 0.6))
    drop_pictures(folder, collection.cases)
    cases, captured = list(collection.cases), None
    if readable:
        with timed(seconds, "activations"):
            captured = capture_pictures(lend, record.revision, cases, layers, folder, part_of(progress, 0.6, 0.8))
        if captured.words is not None:
            cases = [
                replace(case, option_likelihoods=tuple(words))
                for case, words in zip(cases, captured.words.tolist(), strict=True)
            ]
    with timed(seconds, "black box"):
        words = None if captured is None else captured.words
        judge = partial(shelf.entailment, plan.entailment)
        extras, rationales = take_extras(wanted, plan, cases, words, lend, judge, folder, part_of(progress, 0.8, 0.95))
    tokens: dict[int, Any] = {}
    if readable and any(row.tokens for row in rows):
        with timed(seconds, "tokens"):
            chosen = measured_cases(cases, plan.sampling_k, plan.seed)
            tokens = capture_picture_tokens(
                lend, record.revision, cases, chosen, layers, folder, part_of(progress, 0.95, 1.0)
            )
    evidence = replace(_evidence(cases, captured, extras), rationales=rationales, tokens=tokens)
    return _Gathered(collection, cases, evidence, record.to_json())


def _gather_texts(
    plan: FailurePlan,
    rows: Sequence[ExplainerRow],
    _shelf: Shelf,
    folder: Path,
    seconds: dict[str, float],
    progress: Progress | None,
) -> _Gathered:
    from isi_core.datasets.failure_tasks import read_task
    from isi_core.models.language.hugging_face import open_language_model
    from isi_core.studies.failure.activations import capture_text_tokens, capture_texts
    from isi_core.studies.failure.collection import collect_texts
    from isi_core.studies.failure.extras import measured_cases

    items = read_task(Path(plan.source).expanduser(), plan.task)  # before the model, which takes longer to load
    model = open_language_model(plan.model)
    try:
        layers = _layers(plan, rows, model.layers)
        same_model(folder, model.record.to_json())
        with timed(seconds, "collection"):
            collection = collect_texts(plan, model, folder, part_of(progress, 0.0, 0.7))
        with timed(seconds, "activations"):
            captured = capture_texts(model, collection.cases, items, layers, folder, part_of(progress, 0.7, 1.0))
        tokens: dict[int, Any] = {}
        if any(row.tokens for row in rows):
            with timed(seconds, "tokens"):
                chosen = measured_cases(collection.cases, plan.sampling_k, plan.seed)
                tokens = capture_text_tokens(model, collection.cases, chosen, items, layers, folder)
        record = model.record.to_json()
    finally:
        model.close()
    cases = [
        replace(case, prompt_tokens=int(tokens), cut=bool(cut))
        for case, tokens, cut in zip(collection.cases, captured.tokens, captured.cut, strict=True)
    ]
    return _Gathered(collection, cases, replace(_evidence(cases, captured, {}), tokens=tokens), record)


def _layers(plan: FailurePlan, rows: Sequence[ExplainerRow], available: int) -> tuple[int, ...]:
    if not any(row.by_layer for row in rows):
        return ()
    if not available:
        raise ModelError(f"{plan.model} does not tell its hidden states: choose another model, or no probes.")
    return plan.chosen_layers(available)


def _evidence(cases: Sequence[Case], captured: Activations | None, extras: dict[Extra, Any]) -> Evidence:
    return Evidence(
        cases=tuple(cases),
        states=None if captured is None else captured.states,
        layers=() if captured is None else captured.layers,
        pools=() if captured is None else captured.pools,
        extras=extras,
    )


Tables = dict[str, dict[int | None, Table]]


def _score_all(
    rows: Sequence[ExplainerRow], evidence: Evidence, plan: FailurePlan, progress: Progress | None
) -> tuple[list[ExplainerScore], Tables, dict[str, str]]:
    """Every explainer at every layer; what cannot be scored is left out with its reason, and the rest goes on."""
    todo: list[tuple[ExplainerRow, int | None]] = [
        (row, layer) for row in rows for layer in (evidence.layers if row.by_layer else (None,))
    ]
    scores: list[ExplainerScore] = []
    tables: Tables = {}
    failed: dict[str, str] = {}
    for i, (row, layer) in enumerate(todo):
        if progress is not None:
            where = "" if layer is None else f", layer {layer}"
            progress(f"{row.title}{where}", i / len(todo))
        if row.key in failed:
            continue
        try:
            table = make_table(row, evidence, layer)
            scores.append(score(row, table, layer, plan))
        except InputError as error:
            failed[row.key] = str(error)
            continue
        if row.key == plan.permuted:
            tables.setdefault(row.key, {})[layer] = table
    return scores, tables, failed


def _controls(
    scores: Sequence[ExplainerScore], tables: Tables, plan: FailurePlan, progress: Progress | None
) -> tuple[Any, list[ExplainerScore]]:
    mine = [s for s in scores if s.explainer == plan.permuted]
    if not mine:
        return None, []
    row = find_explainer(plan.permuted)
    control = label_shuffle_control(row, tables[row.key], plan)
    observed = max(s.auc.estimate for s in mine)
    return permutation_null(row, tables[row.key], plan, observed, progress), control


def _claim(folder: Path, plan: FailurePlan) -> None:
    """Make the folder, or see that it is one of the same cases."""
    path = folder / "plan.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            known = FailurePlan.from_json(json.loads(path.read_text(encoding="utf-8")))
            if known.collection_digest != plan.collection_digest:
                raise InputError(f"{folder} holds a run with other settings: choose a new folder.")
        elif any(folder.iterdir()):
            raise InputError(f"{folder} is not empty and holds no failure run: choose a new folder.")
        path.write_text(json.dumps(plan.to_json(), indent=1), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}): choose another folder.") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path} is damaged: choose a new folder.") from None


def _finished(folder: Path, plan: FailurePlan) -> BenchmarkResult | None:
    if not (folder / "result.json").is_file():
        return None
    try:
        result = load_result(folder)
    except InputError:
        return None
    return result if result.plan == plan else None


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Within it, time is taken; `seconds[name]` has it afterwards."""
    begun = time.monotonic()
    try:
        yield
    finally:
        seconds[name] = time.monotonic() - begun


def _versions() -> dict[str, str]:
    import importlib.metadata

    return {name: importlib.metadata.version(name) for name in _LIBRARIES}
