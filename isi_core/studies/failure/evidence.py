"""The evidence of a finished benchmark, from its folder: what was read once is not read again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from isi_core.domain.progress import Progress
from isi_core.studies.failure.explainers import Evidence
from isi_core.studies.failure.lending import lender, same_model
from isi_core.studies.failure.plan import PICTURE_TASKS
from isi_core.studies.failure.results import BenchmarkResult

if TYPE_CHECKING:
    from isi_core.models.shelf import Shelf


def evidence_of(result: BenchmarkResult, folder: Path, shelf: Shelf, progress: Progress | None = None) -> Evidence:
    """Cases and activations of a run; the model is asked only where its folder has lost them.

    Raises
    ------
    InputError : the task's file is gone, or the model has other weights now.
    ModelError : the model cannot be loaded.
    """
    if not result.layers:
        return Evidence(result.cases, None, (), (), {})
    from isi_core.studies.failure.activations import capture_pictures, capture_texts, is_captured

    if result.plan.task in PICTURE_TASKS:
        lend = lender(result.plan, shelf, folder, progress)
        read = capture_pictures(lend, str(result.model["revision"]), result.cases, result.layers, folder, progress)
        return Evidence(result.cases, read.states, read.layers, read.pools, {})
    from isi_core.datasets.failure_tasks import read_task
    from isi_core.models.language.hugging_face import open_language_model

    if (known := is_captured(result.cases, result.layers, str(result.model["revision"]), folder)) is not None:
        return Evidence(result.cases, known.states, known.layers, known.pools, {})
    items = read_task(Path(result.plan.source).expanduser(), result.plan.task)
    model = open_language_model(result.plan.model)
    try:
        same_model(folder, model.record.to_json())
        read = capture_texts(model, result.cases, items, result.layers, folder, progress)
    finally:
        model.close()
    return Evidence(result.cases, read.states, read.layers, read.pools, {})
