"""Everything of a run to take along: PDF and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import streamlit as st

from isi_core.studies.failure.results import BenchmarkResult


def show(key: str, result: BenchmarkResult, curves: Sequence[str]) -> None:
    """The buttons; every file is made when it is asked for."""
    from isi_core.reports import failure_tables as tables

    def pdf() -> bytes:
        from isi_core.reports.failure_report import build_failure_report

        return build_failure_report(result, curves)

    files: list[tuple[str, str, str, str, Callable[[], bytes]]] = [
        ("PDF", "pdf", "picture_as_pdf", "application/pdf", pdf),
        ("CSV: scores", "scores", "table", "text/csv", partial(tables.scores_csv, result)),
        ("CSV: cases", "cases", "table_rows", "text/csv", partial(tables.cases_csv, result)),
        ("CSV: paired tests", "paired_tests", "difference", "text/csv", partial(tables.comparisons_csv, result)),
        ("CSV: test scores", "test_scores", "scatter_plot", "text/csv", partial(tables.predictions_csv, result)),
        ("CSV: linter", "linter", "rule", "text/csv", partial(tables.findings_csv, result.findings)),
    ]
    with st.container(horizontal=True, gap="small"):
        for label, kind, icon, mime, make in files:
            st.download_button(
                label,
                data=make,
                file_name=f"failure_{key[:8]}.pdf" if kind == "pdf" else f"failure_{kind}_{key[:8]}.csv",
                mime=mime,
                icon=f":material/{icon}:",
                key=f"failure_download_{kind}",
                on_click="ignore",
            )
