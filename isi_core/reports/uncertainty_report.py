"""The semantic uncertainty of one set of answers as a short A4 PDF: measures, clusters, charts, settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from reportlab.platypus import Flowable, KeepTogether, Spacer, Table

from isi_core.measures.side_by_side import MeasureRow
from isi_core.reports.charts import Figure
from isi_core.reports.pages import chart, settings_table, typeset
from isi_core.reports.typeset import (
    CELL,
    CELL_BOLD,
    NOTE,
    NUMBER,
    NUMBER_BOLD,
    RULED,
    SMALL,
    SUBHEADING,
    TITLE,
    WIDTH,
    labelled,
    paragraph,
    register_fonts,
)
from isi_core.reports.uncertainty_tables import ClusterRow, measure_range
from isi_core.reports.wording import number, one_line

_LONGEST = 300
_MOST_CLUSTERS = 40


def build_uncertainty_report(
    label: str,
    question: str,
    rows: Sequence[MeasureRow],
    clusters: Sequence[ClusterRow],
    figures: Sequence[Figure],
    settings: Sequence[tuple[str, str]],
    notes: Sequence[tuple[str, str]] = (),
) -> bytes:
    """The PDF; `settings` and `notes` are pairs of a name and words: how everything came about, what was found."""
    register_fonts()
    story: list[Flowable] = [
        paragraph("Semantic uncertainty", TITLE),
        *labelled("Answers", one_line(label, _LONGEST)),
        *labelled("Question", one_line(question, _LONGEST) or "not given"),
        *[part for name, words in notes for part in labelled(name, one_line(words, 900))],
        KeepTogether([paragraph("Every measure", SUBHEADING), _measures(rows)]),
        paragraph("Semantic clusters", SUBHEADING),
        _clusters(clusters),
    ]
    if len(clusters) > _MOST_CLUSTERS:
        story.append(paragraph(f"The first {_MOST_CLUSTERS} of {len(clusters)} clusters; the CSV has all.", NOTE))
    for figure in figures:
        story += [Spacer(1, 8), KeepTogether(chart(replace(figure, chart=figure.chart.properties(width=440))))]
    story.append(KeepTogether([paragraph("Settings", SUBHEADING), settings_table(settings)]))
    return typeset(story, f"Semantic uncertainty: {one_line(label, 80)}")


def _measures(rows: Sequence[MeasureRow]) -> Table:
    head = [paragraph(t, CELL_BOLD) for t in ("Measure", "Value", "Range and unit", "Meaning")]
    head[1] = paragraph("Value", NUMBER_BOLD)
    body = [
        [
            paragraph(row.name, CELL),
            paragraph(number(row.value), NUMBER),
            paragraph(measure_range(row), SMALL),
            paragraph(f"{row.meaning} ({row.source})", SMALL),
        ]
        for row in rows
    ]
    return Table([head, *body], colWidths=[138, 48, 92, WIDTH - 278], style=RULED, repeatRows=1, hAlign="LEFT")


def _clusters(clusters: Sequence[ClusterRow]) -> Table:
    head = [
        paragraph("Cluster", CELL_BOLD),
        paragraph("Probability", NUMBER_BOLD),
        paragraph("Share", NUMBER_BOLD),
        paragraph("Answers", CELL_BOLD),
    ]
    body: list[list[Any]] = [
        [
            paragraph(str(place), CELL),
            paragraph(number(cluster.probability), NUMBER),
            paragraph(number(cluster.share), NUMBER),
            paragraph(_texts(cluster), SMALL),
        ]
        for place, cluster in enumerate(clusters[:_MOST_CLUSTERS], start=1)
    ]
    return Table([head, *body], colWidths=[46, 62, 52, WIDTH - 160], style=RULED, repeatRows=1, hAlign="LEFT")


def _texts(cluster: ClusterRow) -> str:
    shown = "; ".join(f"{one_line(text, 120) or '(empty answer)'} ({count}×)" for text, count in cluster.texts[:8])
    return shown + (f"; and {len(cluster.texts) - 8} more" if len(cluster.texts) > 8 else "")
