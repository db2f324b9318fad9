"""Everything on the page to take along: PDF, CSV, JSON; each file is made when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial

import streamlit as st

from isi_core.datasets.step_statistics import CategoryCount, TitleWords
from isi_core.reports.charts import Figure
from isi_core.reports.order_figures import accuracy_figure, curves_figure, words_figure
from isi_core.reports.order_gap_figures import gap_figure, gap_lengths_figure
from isi_core.reports.order_tables import accuracies_csv, comparisons_csv, curves_csv, gaps_csv, statistics_csv
from isi_core.studies.step_order.results import GapResult, GridResult
from isi_core.ui.wording import as_written


def show(
    name: str, grid: GridResult, gaps: Sequence[GapResult], rows: Sequence[CategoryCount], words: TitleWords
) -> None:
    """The buttons and the line that says where the results come from."""
    st.divider()
    files: list[tuple[str, str, str, str, Callable[[], bytes]]] = [
        ("PDF", "report.pdf", "picture_as_pdf", "application/pdf", partial(pdf, grid, gaps, rows, words)),
        ("CSV: accuracies", "accuracies.csv", "table", "text/csv", partial(accuracies_csv, grid)),
        ("CSV: tests", "tests.csv", "rule", "text/csv", partial(comparisons_csv, grid)),
        ("CSV: curves", "curves.csv", "show_chart", "text/csv", partial(curves_csv, grid)),
        ("CSV: gap", "gap.csv", "scatter_plot", "text/csv", partial(gaps_csv, gaps)),
        ("CSV: pairs", "pairs.csv", "table_rows", "text/csv", partial(statistics_csv, rows)),
        ("JSON", "result.json", "data_object", "application/json", partial(as_json, grid, gaps)),
    ]
    with st.container(horizontal=True, gap="small"):
        for label, file, icon, mime, make in files:
            st.download_button(
                label,
                data=make,
                file_name=f"step_order_{name}_{file}",
                mime=mime,
                icon=f":material/{icon}:",
                key=f"order_download_{file.replace('.', '_')}",
                on_click="ignore",
            )
    st.caption(as_written(provenance(name, grid)))


def provenance(name: str, grid: GridResult) -> str:
    """Where the results come from, on one line."""
    encoders = ", ".join(dict.fromkeys(row.encoder for row in grid.accuracies))
    seeds = ", ".join(str(seed) for seed in sorted({curve.seed for curve in grid.curves}))
    parts = (grid.data, encoders, f"seed {seeds}" if seeds else "", f"study {name}", grid.created)
    return " · ".join(part for part in parts if part)


def as_json(grid: GridResult, gaps: Sequence[GapResult]) -> bytes:
    """Everything as one JSON object."""
    return json.dumps({"grid": grid.to_json(), "gaps": [gap.to_json() for gap in gaps]}, indent=1).encode()


def figures_of(grid: GridResult, gaps: Sequence[GapResult], words: TitleWords) -> list[Figure]:
    """Every chart that the page can show for all categories."""
    made: list[Figure] = []
    for encoder in dict.fromkeys(row.encoder for row in grid.accuracies):
        made.append(accuracy_figure(grid.accuracies, encoder))
        if any(curve.encoder == encoder for curve in grid.curves):
            made.append(curves_figure(grid.curves, encoder))
        for gap in gaps:
            if gap.encoder == encoder:
                made += [gap_figure(gap), gap_lengths_figure(gap)]
    made.append(words_figure(words))
    return made


def pdf(grid: GridResult, gaps: Sequence[GapResult], rows: Sequence[CategoryCount], words: TitleWords) -> bytes:
    """The page as a PDF."""
    from isi_core.reports.order_report import build_order_report

    return build_order_report(grid, rows, figures_of(grid, gaps, words))
