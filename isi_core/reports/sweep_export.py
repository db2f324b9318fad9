"""A sweep as a folder or a zip file of everything: what made it, its tables, its charts."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from isi_core import __version__
from isi_core.datasets.isi_folder import require_empty
from isi_core.domain.errors import InputError
from isi_core.reports import sweep_breakdowns, sweep_figures
from isi_core.reports.charts import Figure, figure_png, figure_svg
from isi_core.reports.sweep_part import WHOLE, Part
from isi_core.reports.sweep_tables import (
    calibration_csv,
    conditions_csv,
    effects_csv,
    families_csv,
    flips_csv,
    results_csv,
    risk_csv,
)
from isi_core.store.sweeps import SweepRecord, SweepResult
from isi_core.studies.sweep.analysis import MEANS, RATES, Analysis
from isi_core.studies.sweep.calibration import Calibration
from isi_core.studies.sweep.plan import SweepPlan


def sweep_json(plan: SweepPlan, record: SweepRecord, part: Part = WHOLE) -> dict[str, Any]:
    """What made the results: plan, models with their revisions, dataset; enough to plan the same sweep again.

    `slice` tells which of its observations the files are of; null for all.
    """
    return {
        "isi_studio": __version__,
        "sweep": record.id,
        "title": record.title,
        "created": record.created,
        "dataset": record.dataset,
        "slice": part.to_json(),
        "plan": plan.to_json(),
        "models": record.models,
    }


def every_figure(analysis: Analysis, found: Sequence[Calibration], plan: SweepPlan) -> list[Figure]:
    """Every chart that the results allow."""
    makers: list[Callable[[], Figure]] = []
    for measure in (*RATES, *MEANS):
        makers += [
            lambda measure=measure: sweep_figures.condition_figure(analysis, measure),  # type: ignore[misc]
            lambda measure=measure: sweep_figures.effect_figure(analysis, measure),  # type: ignore[misc]
        ]
    makers.append(lambda: sweep_breakdowns.auroc_figure(found, analysis.models, analysis.conditions))
    kinds = dict.fromkeys(c.perturbation.kind for c in plan.conditions if c.perturbation)
    for model in analysis.models:
        makers += [
            lambda model=model: sweep_breakdowns.flip_figure(analysis, model),  # type: ignore[misc]
            lambda model=model: sweep_figures.attention_figure(analysis, model),  # type: ignore[misc]
            lambda model=model: sweep_breakdowns.family_figure(analysis, model),  # type: ignore[misc]
            lambda model=model: sweep_breakdowns.risk_figure(found, analysis.reference, model),  # type: ignore[misc]
        ]
        for kind in kinds:
            for measure in ("accuracy", "semantic_entropy"):
                makers.append(
                    lambda kind=kind, measure=measure, model=model: sweep_figures.schedule_figure(  # type: ignore[misc]
                        analysis, plan.conditions, kind, measure, model
                    )
                )
    figures = []
    for make in makers:
        try:
            figures.append(make())
        except InputError:  # not measured, or too little of it
            continue
    return figures


def sweep_files(
    plan: SweepPlan,
    record: SweepRecord,
    results: Sequence[SweepResult],
    answers: Mapping[str, str],
    analysis: Analysis,
    found: Sequence[Calibration],
    pictures: bool = True,
    part: Part = WHOLE,
) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every file of an export: what made it, tables, charts as PNG and SVG with their readings.

    `part` is the slice that results, analysis and calibrations were narrowed to; every file tells it.
    """
    yield "sweep.json", (json.dumps(sweep_json(plan, record, part), indent=1, ensure_ascii=True) + "\n").encode()
    yield "results.csv", results_csv(results, answers, part)
    yield "conditions.csv", conditions_csv(analysis, part)
    yield "effects.csv", effects_csv(analysis, part)
    yield "flips.csv", flips_csv(analysis, part)
    yield "families.csv", families_csv(analysis, part)
    yield "calibration.csv", calibration_csv(found, part)
    yield "risk_coverage.csv", risk_csv(found, part)
    if pictures:
        readings = [f"Of the slice {part.label}.", *filter(None, [part.warning]), ""] if part.name else []
        for figure in every_figure(analysis, found, plan):
            name = f"{figure.name}{part.infix}"
            yield f"figures/{name}.png", figure_png(figure)
            yield f"figures/{name}.svg", figure_svg(figure)
            readings.append(f"{name}: {figure.reading}")
        yield "figures/readings.txt", ("\n".join(readings) + "\n").encode()


def write_sweep(files: Iterator[tuple[str, bytes]], folder: Path) -> int:
    """Write an export into a new or empty folder; how many files.

    Raises
    ------
    InputError : the folder holds something already or cannot be written.
    """
    require_empty(folder)
    count = 0
    try:
        for name, content in files:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            count += 1
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}): choose another folder.") from None
    return count


def zip_sweep(files: Iterator[tuple[str, bytes]]) -> bytes:
    """An export as one zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()
