"""A failure benchmark as an A4 PDF: the linter's report, what may be concluded, charts, tables, cases, settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from reportlab.lib.colors import HexColor
from reportlab.platypus import Flowable, KeepTogether, Spacer, Table

from isi_core.domain.palette import WRONG
from isi_core.reports.charts import Figure
from isi_core.reports.failure_cases import FORESEEN, MISSED, surest_cases
from isi_core.reports.failure_figures import every_figure
from isi_core.reports.failure_tables import ranking_rows
from isi_core.reports.failure_words import (
    case_words,
    conclusions,
    explainer_title,
    plan_words,
    provenance,
    ranked,
    severe_words,
    task_title,
)
from isi_core.reports.pages import chart, typeset
from isi_core.reports.typeset import (
    BODY,
    CELL,
    CELL_BOLD,
    NOTE,
    RULE,
    RULED,
    SMALL,
    SMALL_BOLD,
    SUBHEADING,
    TITLE,
    WIDTH,
    labelled,
    paragraph,
    register_fonts,
)
from isi_core.reports.wording import duration, number, one_line
from isi_core.studies.failure.results import BenchmarkResult

_SIGNS = {"warning": "!", "evidence": "+", "none": "–"}
_RANKED = ("rank", "explainer", "layer", "AUC", "DeLong interval", "bootstrap interval", "p (Holm)", "train AUC")
_WIDTHS = (28, 138, 32, 38, 84, 84, 48, 47)
_MOST_CASES = 4


def build_failure_report(result: BenchmarkResult, curves: Sequence[str] = ()) -> bytes:
    """The PDF; `curves` are the explainers whose calibration and risk are drawn, the best ones where none is given."""
    register_fonts()
    title = f"Failure prediction: {task_title(result.plan)}, {one_line(result.plan.model, 60)}"
    chosen = list(curves) or [s.explainer for s in ranked(result)][:4]
    pool = result.pool
    asked = (
        f"{pool.asked:,} inputs: {pool.successes:,} successes and {pool.failures:,} failures"
        + (f", {pool.unclear:,} of them unclear answers" if pool.unclear else "")
        + f"; {len(result.cases):,} cases taken, half of each"
    )
    story: list[Flowable] = [
        paragraph(title, TITLE),
        Spacer(1, 5),
        *labelled("Benchmark", plan_words(result.plan)),
        *labelled("Asked", asked),
        *_linter(result),
        paragraph("What these numbers allow one to conclude", SUBHEADING),
        *[_said(c.strength, c.sentence) for c in conclusions(result)],
    ]
    for place, figure in enumerate(every_figure(result, chosen)):
        story += [Spacer(1, 8), KeepTogether(chart(_narrowed(figure), points=0.72))]
        if not place:
            story += _ranking(result)
    story += _cases(result)
    story += _settings(result)
    severe = severe_words(result)
    return typeset(story, title, f"Severe findings of the linter: {severe}" if severe else "", head=46.0)


def _linter(result: BenchmarkResult) -> list[Flowable]:
    """The linter's findings; that there are none is said too."""
    if not result.findings:
        return labelled("Linter", "Nothing found in these data.")
    head = [paragraph(t, CELL_BOLD) for t in ("Severity", "Check", "Count", "What it means and what to do")]
    body: list[list[Any]] = [
        [
            paragraph(f.severity, CELL_BOLD if f.severity == "severe" else CELL),
            paragraph(f.check, CELL),
            paragraph(f"{f.count:,}", CELL),
            paragraph(
                f.advice
                + (f" For example: {'; '.join(one_line(e, 70) for e in f.examples[:3])}." if f.examples else ""),
                SMALL,
            ),
        ]
        for f in result.findings
    ]
    style = [*_TOP]
    style += [
        ("TEXTCOLOR", (0, i), (0, i), HexColor(WRONG))
        for i, f in enumerate(result.findings, start=1)
        if f.severity == "severe"
    ]
    table = Table([head, *body], colWidths=[52, 120, 40, WIDTH - 212], style=style, repeatRows=1, hAlign="LEFT")
    return [paragraph("The linter's report", SUBHEADING), table]


_TOP: list[Any] = [*RULED, ("VALIGN", (0, 0), (-1, -1), "TOP")]
_CLOSE: list[Any] = [
    ("LINEBELOW", (0, 0), (-1, -1), 0.3, RULE),
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("TOPPADDING", (0, 0), (-1, -1), 0.5),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
    ("LEFTPADDING", (0, 0), (-1, -1), 4),
    ("RIGHTPADDING", (0, 0), (-1, -1), 4),
]


def _said(strength: str, sentence: str) -> Flowable:
    row: list[list[Any]] = [[paragraph(_SIGNS[strength], CELL_BOLD), paragraph(sentence, BODY)]]
    return Table(row, colWidths=[14, WIDTH - 14], style=[("VALIGN", (0, 0), (-1, -1), "TOP"), *_TIGHT], hAlign="LEFT")


_TIGHT: list[Any] = [
    ("LEFTPADDING", (0, 0), (-1, -1), 0),
    ("RIGHTPADDING", (0, 0), (-1, -1), 0),
    ("TOPPADDING", (0, 0), (-1, -1), 1),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
]


def _ranking(result: BenchmarkResult) -> list[Flowable]:
    rows = ranking_rows(result)
    if not rows:
        return []
    head = [paragraph(name, SMALL_BOLD) for name in _RANKED]
    body = [[paragraph(str(row[name]), SMALL) for name in _RANKED] for row in rows]
    table = Table([head, *body], colWidths=list(_WIDTHS), style=_TOP, repeatRows=1, hAlign="LEFT")
    note = (
        "Explainers at the layer that the validation cases chose; p is of AUC = 0.5, by Holm for everything tested. A "
        "training AUC near 1 beside a test AUC near 0.5 is memory, not prediction."
    )
    left_out = [
        paragraph(f"{explainer_title(key)} was left out: {one_line(why, 300)}", NOTE)
        for key, why in result.skipped.items()
    ]
    return [paragraph("Ranking", SUBHEADING), table, Spacer(1, 3), paragraph(note, NOTE), *left_out]


def _cases(result: BenchmarkResult) -> list[Flowable]:
    """The failures that the best explainer foresaw and missed most clearly."""
    best = next(iter(ranked(result)), None)
    if best is None:
        return []
    found = surest_cases(result, best, _MOST_CASES)
    rows: list[list[Any]] = [[paragraph(t, SMALL_BOLD) for t in ("", "Score", "Question", "Context", "Answer")]]
    for word, chosen in (("foreseen", found[FORESEEN]), ("missed", found[MISSED])):
        rows += [
            [
                paragraph(word, SMALL),
                paragraph(number(score), SMALL),
                paragraph(one_line(case.question, 200), SMALL),
                paragraph(one_line(case.context, 160) or "none", SMALL),
                paragraph(case_words(case), SMALL),
            ]
            for case, score in chosen
        ]
    table = Table(rows, colWidths=[46, 38, 165, 130, WIDTH - 379], style=_TOP, repeatRows=1, hAlign="LEFT")
    heading = f"Failures that {explainer_title(best.explainer)} foresaw and missed most clearly"
    return [KeepTogether([paragraph(heading, SUBHEADING), table])]


def _settings(result: BenchmarkResult) -> list[Flowable]:
    pairs = [(key, value) for key, value in result.plan.to_json().items() if key != "format"]
    pairs += [(f"model: {key}", value) for key, value in result.model.items()]
    pairs += [(f"time: {stage}", duration(seconds)) for stage, seconds in result.seconds.items()]
    pairs += [(f"version: {name}", version) for name, version in result.library_versions.items()]
    pairs.append(("provenance", provenance(result)))
    body = [
        [
            paragraph(key.replace("_", " "), SMALL_BOLD),
            paragraph(one_line(", ".join(map(str, v)) if isinstance(v, (list, tuple)) else str(v), 400), SMALL),
        ]
        for key, v in pairs
    ]
    table = Table(body, colWidths=[120, WIDTH - 120], style=_CLOSE, hAlign="LEFT")
    return [paragraph("Settings", SUBHEADING), table]


def _narrowed(figure: Figure) -> Figure:
    """One plot at the report's width; charts beside each other have their own."""
    single = hasattr(figure.chart, "layer") or hasattr(figure.chart, "mark")
    return replace(figure, chart=figure.chart.properties(width=430)) if single else figure
