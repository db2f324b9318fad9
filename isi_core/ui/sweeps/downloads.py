"""What can be taken away of a sweep: the PDF, the zip file of everything, its tables; and the table of each chart."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from isi_core.reports import sweep_tables as tables
from isi_core.ui.frame import Download, downloads
from isi_core.ui.sweeps import engine
from isi_core.ui.sweeps.analysed import Analysed


def table(found: Analysed, view: str) -> Callable[[], bytes]:
    """What makes the CSV of a view's numbers."""
    by_view: dict[str, Callable[[], bytes]] = {
        "Effects": partial(tables.effects_csv, found.analysis, part=found.part),
        "Flips": partial(tables.flips_csv, found.analysis, part=found.part),
        "Families": partial(tables.families_csv, found.analysis, part=found.part),
        "Calibration": partial(tables.calibration_csv, found.calibration, part=found.part),
        "Risk": partial(tables.risk_csv, found.calibration, part=found.part),
    }
    return by_view.get(view, partial(tables.conditions_csv, found.analysis, part=found.part))


def show(found: Analysed, sweep: str) -> None:
    """Buttons for everything; each file is made when it is asked for."""
    records = engine.sweeps().records

    def pdf() -> bytes:
        from isi_core.reports.sweep_report import sweep_report

        return sweep_report(
            found.plan,
            records.get(sweep),
            found.results,
            found.analysis,
            found.calibration,
            found.part.label,
            found.part.warning,
        )

    def whole() -> bytes:
        from isi_core.reports import sweep_export

        files = sweep_export.sweep_files(
            found.plan,
            records.get(sweep),
            found.results,
            records.answers(sweep),
            found.analysis,
            found.calibration,
            part=found.part,
        )
        return sweep_export.zip_sweep(files)

    def rows() -> bytes:
        return tables.results_csv(found.results, records.answers(sweep), found.part)

    files: list[tuple[str, str, str, Callable[[], bytes]]] = [
        ("PDF", "picture_as_pdf", ".pdf", pdf),
        ("Everything (zip)", "folder_zip", ".zip", whole),
        ("CSV: rows", "table_rows", "_results.csv", rows),
        ("CSV: conditions", "table", "_conditions.csv", table(found, "Conditions")),
        ("CSV: effects", "difference", "_effects.csv", table(found, "Effects")),
    ]
    name = f"sweep_{sweep}{found.part.infix}"
    downloads(
        [
            Download(label, f"{name}{ending}", f"sweeps_download_{ending.strip('._')}", make, icon)
            for label, icon, ending, make in files
        ]
    )
