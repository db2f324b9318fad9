"""Everything of a ranking to take along: PDF, tables, and all of it with every figure as one zip file."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from functools import partial

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.reports.charts import Figure
from isi_core.reports.counterfactual_examples import counterfactual_plate, in_parts
from isi_core.reports.counterfactual_plate import Plate
from isi_core.reports.counterfactual_report import build_counterfactual_report, export_files
from isi_core.reports.counterfactual_tables import (
    Agreement,
    RankedList,
    agreement,
    deltas_csv,
    joint_csv,
    ranking_csv,
)
from isi_core.reports.counterfactual_truth import truth_sentences
from isi_core.studies.counterfactuals.results import SetResult
from isi_core.ui.counterfactuals import findings, lists, shown
from isi_core.ui.counterfactuals.desk import Desk
from isi_core.ui.counterfactuals.kept import Kept
from isi_core.ui.frame import Download, downloads
from isi_core.ui.wording import as_written
from isi_core.worlds.rules import shipped_rule

_ROWS = 10


def show(desk: Desk, made: Kept) -> None:
    """The buttons, each file made when it is asked for, and the line that says where the result comes from."""
    st.divider()
    name = made.key[:8]
    other = lists.other_list(desk)
    report = partial(pdf, desk, made, other)
    files: list[tuple[str, str, str, Callable[[], bytes]]] = [
        ("PDF", f"ranking_{name}.pdf", "picture_as_pdf", report),
        ("CSV: ranking", f"ranking_{name}.csv", "table", partial(ranking_csv, made.result)),
        ("CSV: every edit", f"edits_{name}.csv", "table_rows", partial(deltas_csv, made.result)),
    ]
    if made.result.joint:
        files.append(("CSV: joint", f"joint_{name}.csv", "grid_on", partial(joint_csv, made.result)))
    whole = Download(
        "Everything",
        f"ranking_{name}.zip",
        "ranking_download_folder_zip",
        partial(everything, desk, made, report, other),
        "folder_zip",
        "JSON, tables, every figure as PNG and SVG, and the PDF",
    )
    downloads(
        [
            *(Download(label, file, f"ranking_download_{icon}", make, icon) for label, file, icon, make in files),
            whole,
        ]
    )
    st.caption(as_written(provenance(made)))


def provenance(made: Kept) -> str:
    """The line every result carries: classifier, editor, search, seed, digest, time."""
    settings = made.result.settings
    classifier, editor = settings.get("classifier", {}), settings.get("editor", {})
    model = editor.get("model", {}) if isinstance(editor, dict) else {}
    return " · ".join(
        part
        for part in (
            f"{classifier.get('name', 'classifier')}, revision {str(classifier.get('revision', 'unknown'))[:8]}",
            str(classifier.get("dtype", "")),
            f"editor {editor.get('name') or editor.get('editor', 'unknown')}"
            + (f" ({model.get('name')}, revision {str(model.get('revision', ''))[:8]})" if model else ""),
            f"{settings.get('search', '')} search, {settings.get('scale', '')}, base {settings.get('base', '')}",
            f"seed {settings.get('seed', 0)}",
            f"digest {made.key[:8]}",
            made.created or "time not recorded",
        )
        if part
    )


def _parts(desk: Desk, made: Kept) -> tuple[list[SetResult], list[Plate], list[Figure]]:
    chosen = list(made.result.ranking[:_ROWS])
    pictures = shown.pictures_of(desk, made)
    place = {found.edits: i for i, found in enumerate(chosen, start=1)}

    def one(part: object) -> Plate:
        sets = list(part)  # type: ignore[call-overload]
        return counterfactual_plate(made.result, sets, pictures, 3, first=place[sets[0].edits])

    plates = in_parts(one, chosen) if chosen else []
    for joint in made.result.joint[:2]:
        try:
            plates.append(findings.joint_plate_of(desk, made, joint))
        except StudioError:  # its pictures are gone
            continue
    return chosen, plates, findings.figures_of(desk, made, chosen) if chosen else []


def pdf(desk: Desk, made: Kept, other: RankedList | None = None) -> bytes:
    """The ranking as a PDF; `other` is what it is compared with."""
    _, plates, drawn = _parts(desk, made)
    notes: list[tuple[str, str]] = []
    found = shown.truth(desk, made)
    if found is not None:
        exact = made.result.settings.get("classifier", {}).get("kind") == "rule"
        notes = [("Truth", " ".join(truth_sentences(found, shipped_rule(made.rule), exact)))]
    notes.append(("Provenance", provenance(made)))
    beside: tuple[RankedList, RankedList, Agreement] | None = None
    if other is not None:
        first = RankedList.of(made.result, made.title)
        beside = (first, other, agreement(first, other))
    return build_counterfactual_report(made.result, plates, drawn, notes, beside)


def everything(desk: Desk, made: Kept, report: Callable[[], bytes], other: RankedList | None = None) -> bytes:
    """All files as one zip; `other` is what the ranking is compared with."""
    chosen, plates, drawn = _parts(desk, made)
    main = [findings.main_plate(desk, made, chosen)] if chosen else []
    joint = [plate for plate in plates if plate.name != "counterfactuals"]
    beside = (RankedList.of(made.result, made.title), other) if other is not None else None
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        names: set[str] = set()
        for name, content in export_files(made.result, [*main, *joint], drawn, report(), beside):
            if name not in names:
                names.add(name)
                archive.writestr(name, content)
    return buffer.getvalue()
