"""Everything of a run to take along: PDF and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from isi_core.studies.failure.results import BenchmarkResult
from isi_core.ui.frame import Download, downloads


def show(key: str, result: BenchmarkResult, curves: Sequence[str]) -> None:
    """The buttons; every file is made when it is asked for."""
    from isi_core.reports import failure_tables as tables

    def pdf() -> bytes:
        from isi_core.reports.failure_report import build_failure_report

        return build_failure_report(result, curves)

    files: list[tuple[str, str, str, Callable[[], bytes]]] = [
        ("CSV: scores", "scores", "table", partial(tables.scores_csv, result)),
        ("CSV: cases", "cases", "table_rows", partial(tables.cases_csv, result)),
        ("CSV: paired tests", "paired_tests", "difference", partial(tables.comparisons_csv, result)),
        ("CSV: test scores", "test_scores", "scatter_plot", partial(tables.predictions_csv, result)),
        ("CSV: linter", "linter", "rule", partial(tables.findings_csv, result.findings)),
    ]
    downloads(
        [
            Download("PDF", f"failure_{key[:8]}.pdf", "failure_download_pdf", pdf, "picture_as_pdf"),
            *(
                Download(label, f"failure_{kind}_{key[:8]}.csv", f"failure_download_{kind}", make, icon)
                for label, kind, icon, make in files
            ),
        ]
    )
