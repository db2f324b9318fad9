"""Everything on the page to take along: PDF, CSV, and the whole run where there is one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st

from isi_core.domain.evaluation import Evaluation
from isi_core.reports import uncertainty_figures
from isi_core.reports.charts import Figure
from isi_core.reports.uncertainty_tables import answers_csv, entailment_csv, measures_csv, sweep_points
from isi_core.reports.wording import provenance
from isi_core.ui import frame
from isi_core.ui.frame import Download, downloads
from isi_core.ui.uncertainty import clusters, comparison
from isi_core.ui.uncertainty.desk import Desk, View, sweep_key
from isi_core.ui.uncertainty.investigations import steps_of
from isi_core.ui.uncertainty.measures import rows_of


def show(desk: Desk, view: View) -> None:
    """The buttons; every file is made when it is asked for."""
    st.divider()
    name = view.subject.digest[:8]
    rows = rows_of(desk, view)
    other = comparison.second_view(desk, view)  # now: there is no session left when a file is made
    files = [
        Download(
            "PDF",
            f"uncertainty_{name}.pdf",
            "uncertainty_download_pdf",
            partial(pdf, desk, view, other),
            "picture_as_pdf",
        )
    ]
    tables: list[tuple[str, str, str, Callable[[], bytes]]] = [
        ("CSV: measures", "measures", "table", partial(measures_csv, rows, settings_of(view))),
        ("CSV: answers", "answers", "table_rows", partial(answers_csv, view.answers, view.groups)),
        ("CSV: entailment", "entailment", "grid_on", partial(entailment_csv, view.answers)),
    ]
    files += [
        Download(label, f"uncertainty_{kind}_{name}.csv", f"uncertainty_download_{kind}", make, icon)
        for label, kind, icon, make in tables
    ]
    if view.subject.evaluation is not None:
        files.append(
            Download(
                "Run",
                f"isi_run_{name}.zip",
                "uncertainty_download_run",
                partial(run, view.subject.evaluation, view.subject.label),
                "folder_zip",
                "The trial as it was measured: run.json, picture, CSV and its report; enough to repeat it",
            )
        )
    downloads(files)
    if view.subject.evaluation is not None:
        frame.provenance(view.subject.evaluation)
    else:
        st.caption("Pasted answers: their model, decoding and seed are not known, and the files say so.")


def settings_of(view: View) -> dict[str, object]:
    """Every choice, and where the answers come from, as columns."""
    made = view.subject.evaluation
    return {
        "answers": len(view.answers),
        "clusters_by_hand": view.by_hand,
        "rule": view.grouping.rule,
        "assignment": view.grouping.assignment,
        "likelihood": view.grouping.likelihood if view.groups.available else None,
        "length_normalized": view.grouping.normalized if view.groups.available else None,
        "entailment_model": view.entailment_model,
        "question_read": bool(view.prepended and view.subject.question),
        "question": view.subject.question,
        "model": made.model.name if made else None,
        "revision": made.model.revision if made else None,
        "temperature": made.decoding.temperature if made else None,
        "seed": made.decoding.seed if made else None,
        "digest": made.trial.digest if made else None,
        "created": made.created if made else None,
    }


def figures_of(desk: Desk, view: View) -> list[Figure]:
    """Every chart that the page shows for the view."""
    made = [uncertainty_figures.entailment_figure(view.answers, view.groups.ids)]
    if len(set(view.answers.texts)) > 1:
        made.append(clusters.answers_map(desk, view))
    if len(view.answers) >= 3:
        made.append(uncertainty_figures.convergence_figure(steps_of(desk, view)))
    swept = desk.sweeps.get(sweep_key(view.subject.evaluation), []) if view.subject.evaluation else []
    if swept:
        points = sweep_points(swept, view.grouping)
        made.append(uncertainty_figures.temperature_figure(points, swept[0].decoding.n_samples))
    if view.groups.available:
        made.append(uncertainty_figures.token_figure(view.answers.samples, view.groups.ids, view.grouping.likelihood))
    return made


def run(evaluation: Evaluation, label: str) -> bytes:
    """The trial's own report and data, as on VQA Interventions."""
    from isi_core.reports.pdf import build_report
    from isi_core.reports.run_export import run_zip

    return run_zip([evaluation], [label], report=build_report([evaluation], labels=[label]))


def pdf(desk: Desk, view: View, other: View | None = None) -> bytes:
    """The page as a PDF; `other` is the view it is compared with."""
    from isi_core.measures.convergence import verdict
    from isi_core.reports.uncertainty_report import build_uncertainty_report

    settings = [(key.replace("_", " "), "not known" if v is None else str(v)) for key, v in settings_of(view).items()]
    if view.subject.evaluation is not None:
        settings.append(("provenance", provenance(view.subject.evaluation)))
    notes = [("Samples", verdict(steps_of(desk, view)))] if len(view.answers) >= 3 else []
    if other is not None:
        interval = comparison.difference_of(desk, view, other)
        words = uncertainty_figures.difference_reading(interval, view.subject.name, other.subject.name)
        notes.append(("Compared", words))
    return build_uncertainty_report(
        view.subject.name,
        view.subject.question,
        rows_of(desk, view),
        clusters.cluster_rows(view),
        figures_of(desk, view),
        settings,
        notes,
    )
