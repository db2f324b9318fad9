"""A step-order study as an A4 PDF: data, accuracy table, paired tests, charts, settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from reportlab.platypus import Flowable, KeepTogether, Spacer, Table

from isi_core.datasets.step_statistics import CategoryCount
from isi_core.reports.charts import Figure
from isi_core.reports.order_cases import ReportCase, case_flowables
from isi_core.reports.order_tables import SHORT, accuracy_rows, p_words, significance, tested_columns
from isi_core.reports.pages import chart, settings_table, typeset
from isi_core.reports.typeset import (
    CELL,
    CELL_BOLD,
    NOTE,
    NUMBER,
    NUMBER_BOLD,
    RULED,
    SUBHEADING,
    TITLE,
    WIDTH,
    labelled,
    paragraph,
    register_fonts,
)
from isi_core.reports.wording import one_line
from isi_core.studies.step_order.results import ALL, CategoryAccuracy, GridResult

_MOST_COLUMNS = 9


def build_order_report(
    grid: GridResult,
    statistics: Sequence[CategoryCount],
    figures: Sequence[Figure],
    notes: Sequence[tuple[str, str]] = (),
    cases: Sequence[ReportCase] = (),
) -> bytes:
    """The PDF; `notes` are pairs of a name and words, `cases` are shown with their pictures."""
    register_fonts()
    story: list[Flowable] = [
        paragraph("Step order", TITLE),
        *labelled("Data", one_line(grid.data, 200)),
        *labelled("Question", "Are two steps of one how-to article shown in order? Chance is 0.5."),
        *[part for name, words in notes for part in labelled(name, one_line(words, 900))],
    ]
    columns = tested_columns(grid.accuracies)
    for start in range(0, len(columns), _MOST_COLUMNS):
        part = columns[start : start + _MOST_COLUMNS]
        story += [paragraph("Accuracy", SUBHEADING), _accuracies(grid.accuracies, part)]
    story.append(
        paragraph(
            "Bold is the best of its row over all columns; below each accuracy stands its 95 % Wilson interval.", NOTE
        )
    )
    if grid.comparisons:
        story += [
            paragraph("Does the other modality help?", SUBHEADING),
            _comparisons(grid),
            paragraph("Exact McNemar tests on the same test pairs, two-sided, not corrected for their number.", NOTE),
        ]
    if statistics:
        story += [KeepTogether([paragraph("Pairs", SUBHEADING), _statistics(statistics)])]
    for figure in figures:
        story += [Spacer(1, 8), KeepTogether(chart(figure))]
    story += case_flowables(cases)
    told = {"created": grid.created, "complete": grid.complete, **grid.settings}
    story.append(paragraph("Settings", SUBHEADING))
    story.append(settings_table((name.replace("_", " "), _plain(value)) for name, value in told.items()))
    return typeset(story, f"Step order: {one_line(grid.data, 80)}")


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _accuracies(accuracies: Sequence[CategoryAccuracy], columns: Sequence[tuple[str, Any]]) -> Table:
    head = [paragraph("Category", CELL_BOLD)]
    head += [paragraph(f"{one_line(encoder, 26)}\n{SHORT[modality]}", NUMBER_BOLD) for encoder, modality in columns]
    body = []
    for row in accuracy_rows(accuracies):
        name = "all" if row.category == ALL else one_line(row.category, 40)
        cells = [paragraph(f"{name}\n{row.kind}" if row.kind else name, CELL)]
        for key in columns:
            found = row.cells.get(key)
            text = f"{found.accuracy:.3f}\n{_bare(found.low)}–{_bare(found.high)}" if found else "–"
            cells.append(paragraph(text, NUMBER_BOLD if key in row.best else NUMBER))
        body.append(cells)
    first = 84.0
    widths = [first, *[min(70.0, (WIDTH - first) / len(columns))] * len(columns)]
    return Table([head, *body], colWidths=widths, style=RULED, repeatRows=1, hAlign="LEFT")


def _bare(share: float) -> str:
    """Two decimals without the zero in front, which narrow columns have no room for."""
    return f"{share:.2f}".removeprefix("0")


def _comparisons(grid: GridResult) -> Table:
    titles = ("Encoder", "Category", "V+T minus V", "p", "", "V+T minus T", "p", "")
    head = [paragraph(title, CELL_BOLD) for title in titles]
    found = {(row.encoder, row.category, row.other): row for row in grid.comparisons}
    body = []
    for encoder, category in dict.fromkeys((row.encoder, row.category) for row in grid.comparisons):
        cells = [paragraph(one_line(encoder, 30), CELL), paragraph(one_line(category, 30), CELL)]
        for other in ("v", "t"):
            row = found.get((encoder, category, other))
            texts = (
                (f"{row.difference:+.3f}", p_words(row.p).removeprefix("p "), significance(row))
                if row
                else ("–", "–", "")
            )
            cells += [paragraph(text, CELL) for text in texts]
        body.append(cells)
    widths = [84.0, 75.0, 64.0, 40.0, 66.0, 64.0, 40.0, 66.0]
    return Table([head, *body], colWidths=widths, style=RULED, repeatRows=1, hAlign="LEFT")


def _statistics(rows: Sequence[CategoryCount]) -> Table:
    titles = ("Category", "Titles", "Training", "Validation", "Test", "Words a headline")
    head = [paragraph(title, CELL_BOLD) for title in titles]
    body = [
        [
            paragraph(one_line(row.category, 40), CELL),
            *[paragraph(f"{n:,}", CELL) for n in (row.titles, row.train, row.validation, row.test)],
            paragraph(f"{row.headline_words:.1f}", CELL),
        ]
        for row in rows
    ]
    return Table([head, *body], colWidths=[130, 60, 66, 70, 60, 90], style=RULED, repeatRows=1, hAlign="LEFT")
