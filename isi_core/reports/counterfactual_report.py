"""A ranking as an A4 PDF: Table A, the picture figure, charts, joint attributes, settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reportlab.platypus import Flowable, KeepTogether, Spacer, Table

from isi_core.domain.errors import InputError
from isi_core.reports.charts import Figure, figure_png
from isi_core.reports.counterfactual_classes import classes_note
from isi_core.reports.counterfactual_figures import unit_of
from isi_core.reports.counterfactual_plate import Plate, PlateFlowable
from isi_core.reports.counterfactual_tables import Agreement, RankedList, beside_rows, top_rows
from isi_core.reports.pages import HEIGHT, chart, settings_table, typeset
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
from isi_core.reports.wording import duration, number, one_line
from isi_core.studies.counterfactuals.results import Result


def build_counterfactual_report(
    result: Result,
    plates: Sequence[Plate],
    figures: Sequence[Figure],
    notes: Sequence[tuple[str, str]] = (),
    beside: tuple[RankedList, RankedList, Agreement] | None = None,
) -> bytes:
    """The PDF of a ranking.

    Parameters
    ----------
    plates : picture figures; a long one in parts, which fill the pages better, its reading with the last.
    notes : pairs of a name and words: what else was found.
    beside : another ranked list and how far the two agree, for Table 1.
    """
    register_fonts()
    settings = result.settings
    story: list[Flowable] = [
        paragraph("Counterfactual ranking", TITLE),
        *labelled(
            "Question", f"Which attributes move the classifier's score for “{one_line(result.class_label, 80)}”?"
        ),
        *labelled("Classifier", _record_words(settings.get("classifier"))),
        *labelled("Editor", _record_words(settings.get("editor"))),
        *labelled("Result", _summary(result)),
        *(labelled("Classes", note) if (note := classes_note(result)) else []),
        *[part for name, words in notes for part in labelled(name, one_line(words, 900))],
    ]
    rows = top_rows(result)
    if rows:
        story += [
            paragraph(f"Strongest attributes ({unit_of(result)})", SUBHEADING),
            _table(rows, (30, 0, 62, 52, 66, 84, 58)),
        ]
    if result.apart:
        names = "; ".join(found.attribute.text for found in result.apart[:12])
        more = f"; and {len(result.apart) - 12} more" if len(result.apart) > 12 else ""
        story.append(
            paragraph(f"Not ranked, since most of their edits were flagged: {one_line(names, 600)}{more}.", NOTE)
        )
    for plate in plates:
        story += [Spacer(1, 8), *_plate(plate)]
    for figure in figures:
        story += [Spacer(1, 8), KeepTogether(chart(figure, points=0.72, tallest=600.0))]
    if beside is not None:
        story += [Spacer(1, 6), KeepTogether(_beside(*beside))]
    if settings:
        table = settings_table(settings_rows(settings))
        story.append(KeepTogether([paragraph("Settings", SUBHEADING), table]))
    return typeset(story, f"Counterfactual ranking: {one_line(result.class_label, 60)}")


def _record_words(record: Any) -> str:
    if isinstance(record, Mapping):
        return one_line(", ".join(f"{k} {v}" for k, v in record.items() if isinstance(v, (str, int, float))), 300)
    return one_line(str(record), 300) if record else "not recorded"


def _summary(result: Result) -> str:
    cost = result.cost
    parts = [
        f"{len(result.ranking)} attributes ranked on {len(result.pictures)} pictures",
        f"{cost.edits:,} edits, {cost.edits_made:,} of them made now",
        *([f"{cost.denoiser_evaluations:,} denoiser evaluations"] if cost.denoiser_evaluations else []),
        duration(cost.seconds),
    ]
    stopped = "; cancelled before its end, what had been finished is shown" if result.stopped else ""
    return f"{', '.join(parts)}{stopped}."


def settings_rows(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every setting as a pair of words; records of models in one line each."""
    rows = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            words = ", ".join(f"{k}: {v}" for k, v in value.items())
        elif isinstance(value, (list, tuple)):
            words = ", ".join(map(str, value))
        else:
            words = "not set" if value is None or value == "" else str(value)
        rows.append((key.replace("_", " "), words))
    return rows


def _table(rows: Sequence[Mapping[str, str]], widths: Sequence[float]) -> Table:
    """A table of words and numbers; a width of 0 takes what is left."""
    columns = list(rows[0])
    left = WIDTH - sum(widths)
    numeric = {"influence", "signed mean"}
    head = [paragraph(c, NUMBER_BOLD if c in numeric else CELL_BOLD) for c in columns]
    body = [[paragraph(row[c], NUMBER if c in numeric else CELL) for c in columns] for row in rows]
    return Table([head, *body], colWidths=[w or left for w in widths], style=RULED, repeatRows=1, hAlign="LEFT")


def _plate(plate: Plate) -> list[Flowable]:
    """A plate and its reading on one page."""
    points = min(WIDTH / plate.width, (HEIGHT - 60) / plate.height)
    reading = [Spacer(1, 4), paragraph(plate.reading, NOTE)] if plate.reading else []
    return [KeepTogether([PlateFlowable(plate, plate.width * points), *reading])]


def _beside(first: RankedList, second: RankedList, found: Agreement) -> list[Flowable]:
    rows = beside_rows(first, second)
    if not rows:
        raise InputError("Neither list holds an attribute: rank first, or give another list.")
    half = (WIDTH - 36) / 2
    return [
        paragraph("Side by side", SUBHEADING),
        _table(rows, (36, half, half)),
        Spacer(1, 3),
        paragraph(agreement_words(found), NOTE),
    ]


def agreement_words(found: Agreement) -> str:
    """How far two lists agree, as a sentence."""
    if not found.shared:
        return "The two lists have no attribute in common, so there is no rank correlation."
    return (
        f"{found.top} of the first {found.of} stand in both lists; over the {found.shared} attributes that both have, "
        f"Spearman's rank correlation is {number(found.spearman)} (1: the same order, 0: none)."
    )


def export_files(
    result: Result,
    plates: Sequence[Plate],
    figures: Sequence[Figure],
    report: bytes,
    beside: tuple[RankedList, RankedList] | None = None,
) -> list[tuple[str, bytes]]:
    """(name, content) of every file of an export: JSON, tables, figures as PNG and SVG with their readings, the PDF.

    Parameters
    ----------
    beside : the ranking's list and another one, for Table 1.
    """
    import json

    from isi_core.reports.charts import figure_svg
    from isi_core.reports.counterfactual_classes import classes_csv, turned_csv
    from isi_core.reports.counterfactual_plate import plate_png, plate_svg
    from isi_core.reports.counterfactual_tables import deltas_csv, joint_csv, ranking_csv
    from isi_core.reports.run_tables import csv_bytes

    files = [
        ("ranking.json", (json.dumps(result.to_json(), indent=1, ensure_ascii=True, default=str) + "\n").encode()),
        ("ranking.csv", ranking_csv(result)),
        ("edits.csv", deltas_csv(result)),
        ("joint.csv", joint_csv(result)),
        ("table_a.csv", csv_bytes(top_rows(result))),
        ("report.pdf", report),
    ]
    if beside is not None:
        files.append(("table_1.csv", csv_bytes(beside_rows(*beside))))
    if result.per_class:
        files += [("turned.csv", turned_csv(result)), ("classes.csv", classes_csv(result))]
    readings = [f"classes: {note}"] if (note := classes_note(result)) else []
    for plate in plates:
        files += [(f"figures/{plate.name}.png", plate_png(plate)), (f"figures/{plate.name}.svg", plate_svg(plate))]
        readings.append(f"{plate.name}: {plate.reading}")
    for figure in figures:
        files += [
            (f"figures/{figure.name}.png", figure_png(figure)),
            (f"figures/{figure.name}.svg", figure_svg(figure)),
        ]
        readings.append(f"{figure.name}: {figure.reading}")
    return [*files, ("figures/readings.txt", ("\n".join(readings) + "\n").encode())]
