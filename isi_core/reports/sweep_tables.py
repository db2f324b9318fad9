"""A sweep as tables for a spreadsheet and a terminal; no cell is a formula, and each row of a slice says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from isi_core.measures.statistics import Interval
from isi_core.reports import sweep_figures
from isi_core.reports.run_tables import csv_bytes
from isi_core.reports.sweep_part import WHOLE, Part
from isi_core.reports.wording import number
from isi_core.store.sweeps import SweepResult
from isi_core.studies.averages import MEASURES
from isi_core.studies.sweep.analysis import MEANS, RATES, Analysis, is_right
from isi_core.studies.sweep.calibration import Calibration

NO_INTERVAL = "no interval"
"""In the place of bounds where there are too few values, or no spread among them that could tell any."""


def results_csv(results: Sequence[SweepResult], answers: Mapping[str, str] | None = None, part: Part = WHOLE) -> bytes:
    """One row an evaluation (UTF-8), failures with their sentence; empty cells for what was not measured."""
    return _csv(
        [
            {
                "model": r.model,
                "condition": r.condition,
                "row": r.place,
                "observation": r.observation,
                "family": r.family,
                "truth": r.truth,
                "verdict": r.verdict,
                "right": None if r.error else is_right(r),
                "answer": (answers or {}).get(r.item),
                **{name: r.measured.get(name) for name in MEASURES},
                "seconds": r.seconds,
                "run": r.run,
                "reused": r.reused,
                "error": r.error,
                "finished": r.finished,
            }
            for r in results
        ],
        part,
    )


def conditions_csv(analysis: Analysis, part: Part = WHOLE) -> bytes:
    """One row a model and condition (UTF-8), each measure with its 95 % interval."""
    rows = []
    for s in analysis.summaries:
        row: dict[str, Any] = {"model": s.model, "condition": s.condition, "n": s.n}
        for name in (*RATES, *MEANS):
            row |= _interval(name, s.values.get(name))
        rows.append(row)
    return _csv(rows, part)


def effects_csv(analysis: Analysis, part: Part = WHOLE) -> bytes:
    """One row a model and condition (UTF-8): differences to the reference on the same observations, and McNemar.

    Bounds are empty where there are too few values, or no spread among their differences that could tell any.
    """
    rows = []
    for e in analysis.effects:
        row: dict[str, Any] = {"model": e.model, "condition": e.condition, "reference": e.reference, "n": e.n}
        row |= {"flips": e.flips}
        for name in (*RATES, *MEANS):
            row |= _interval(f"change_of_{name}", e.differences.get(name))
        row |= {
            "right_only_here": e.mcnemar.first_only if e.mcnemar else None,
            "right_only_in_reference": e.mcnemar.second_only if e.mcnemar else None,
            "mcnemar_p": e.mcnemar.p_value if e.mcnemar else None,
            "mcnemar_p_holm": e.p_adjusted,
        }
        rows.append(row)
    return _csv(rows, part)


def flips_csv(analysis: Analysis, part: Part = WHOLE) -> bytes:
    """One row a model and ordered pair of conditions (UTF-8)."""
    return _csv(
        [
            {"model": f.model, "first": f.first, "second": f.second, "n": f.n, "flips": f.flips, "share": f.share}
            for f in analysis.flips
        ],
        part,
    )


def families_csv(analysis: Analysis, part: Part = WHOLE) -> bytes:
    """One row a model, condition and family of questions (UTF-8), Wilson's 95 % interval."""
    return _csv(
        [
            {"model": f.model, "condition": f.condition, "family": f.family, "n": f.accuracy.n}
            | _interval("accuracy", f.accuracy)
            for f in analysis.families
        ],
        part,
    )


def calibration_csv(found: Sequence[Calibration], part: Part = WHOLE) -> bytes:
    """One row a model and condition (UTF-8): AUROC of the entropy for wrong answers, area under risk-coverage."""
    return _csv(
        [
            {"model": c.model, "condition": c.condition, "score": c.score, "n": c.n, "wrong": c.wrong}
            | _interval("auroc", c.auroc)
            | {"area_under_risk_coverage": c.area}
            for c in found
        ],
        part,
    )


def risk_csv(found: Sequence[Calibration], part: Part = WHOLE) -> bytes:
    """One row a point of a risk-coverage curve (UTF-8)."""
    return _csv(
        [
            {"model": c.model, "condition": c.condition, "score": c.score}
            | {"coverage": p.coverage, "risk": p.risk, "threshold": p.threshold}
            for c in found
            for p in c.curve
        ],
        part,
    )


def summary_rows(analysis: Analysis) -> list[dict[str, str]]:
    """The conditions as a table to read: value and interval in each cell."""
    rows = []
    for s in analysis.summaries:
        row = {"model": s.model, "condition": s.condition, "n": str(s.n)}
        for name in (*RATES, *MEANS):
            found = s.values.get(name)
            row[name] = _words(found) if found is not None else "–"
        rows.append(row)
    return rows


def mcnemar_rows(analysis: Analysis) -> list[dict[str, str | int]]:
    """McNemar's exact tests as a table to read; empty where no truth is known."""
    return [
        {
            "model": e.model,
            "condition": e.condition,
            "observations": e.n,
            "verdicts that differ": e.flips,
            "right only here": e.mcnemar.first_only,
            "right only in the reference": e.mcnemar.second_only,
            "McNemar p": number(e.mcnemar.p_value),
            "p by Holm": number(e.p_adjusted),
        }
        for e in analysis.effects
        if e.mcnemar is not None
    ]


def analysis_json(analysis: Analysis, found: Sequence[Calibration]) -> dict[str, Any]:
    """The analysis as plain JSON values; bounds that are not known are null."""
    return {
        "reference": analysis.reference,
        "conditions": [
            {"model": s.model, "condition": s.condition, "n": s.n} | {k: v.to_json() for k, v in s.values.items()}
            for s in analysis.summaries
        ],
        "effects": [
            {
                "model": e.model,
                "condition": e.condition,
                "reference": e.reference,
                "n": e.n,
                "flips": e.flips,
                "differences": {k: v.to_json() for k, v in e.differences.items()},
                "mcnemar": vars(e.mcnemar) if e.mcnemar else None,
                "p_adjusted": e.p_adjusted,
            }
            for e in analysis.effects
        ],
        "calibration": [
            {
                "model": c.model,
                "condition": c.condition,
                "score": c.score,
                "n": c.n,
                "wrong": c.wrong,
                "auroc": c.auroc.to_json() if c.auroc else None,
                "area_under_risk_coverage": c.area,
                "curve": [vars(p) for p in c.curve],
            }
            for c in found
        ],
        "flips": [vars(f) for f in analysis.flips],
        "families": [
            {"model": f.model, "condition": f.condition, "family": f.family, "accuracy": f.accuracy.to_json()}
            for f in analysis.families
        ],
    }


def analysis_text(analysis: Analysis, found: Sequence[Calibration]) -> str:
    """The analysis in lines for a terminal."""
    aurocs = {(c.model, c.condition): c.auroc for c in found}
    effects = {(e.model, e.condition): e for e in analysis.effects}
    lines = []
    for s in analysis.summaries:
        lines.append(f"{s.condition} · {s.model} · {s.n} observations")
        for name, interval in s.values.items():
            lines.append(f"  {sweep_figures.TITLES[name]:<36}{_words(interval)}")
        if (auroc := aurocs.get((s.model, s.condition))) is not None:
            lines.append(f"  {'AUROC of entropy for wrong answers':<36}{_words(auroc)}")
        if (effect := effects.get((s.model, s.condition))) is not None:
            lines.append(f"  against {effect.reference}: {effect.flips} of {effect.n} verdicts differ")
            for name in ("accuracy", "semantic_entropy"):
                if name in effect.differences:
                    lines.append(
                        f"    {'change of ' + sweep_figures.TITLES[name]:<34}{_words(effect.differences[name])}"
                    )
            if effect.mcnemar is not None:
                lines.append(
                    f"    {'McNemar':<34}p = {number(effect.mcnemar.p_value)}, {number(effect.p_adjusted)} by Holm"
                )
    return "\n".join(lines)


def _csv(rows: Sequence[Mapping[str, Any]], part: Part) -> bytes:
    return csv_bytes(part.marked(rows))


def _words(found: Interval) -> str:
    bounds = f"{number(found.low)} to {number(found.high)}" if found.bounded else NO_INTERVAL
    return f"{number(found.estimate)} ({bounds})"


def _interval(name: str, found: Interval | None) -> dict[str, float | None]:
    bounded = found is not None and found.bounded
    return {
        name: found.estimate if found else None,
        f"{name}_low": found.low if found and bounded else None,
        f"{name}_high": found.high if found and bounded else None,
    }
