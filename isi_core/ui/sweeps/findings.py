"""What a sweep found: charts with their downloads, and the rows behind what is picked of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.domain.observation import Dataset
from isi_core.ui import frame
from isi_core.ui.bound import bound
from isi_core.ui.sweeps import downloads, engine, rows
from isi_core.ui.sweeps.analysed import Analysed, analysed
from isi_core.ui.sweeps.desk import Desk
from isi_core.ui.wording import as_written

if TYPE_CHECKING:
    from isi_core.reports.charts import Figure
    from isi_core.studies.sweep.analysis import Analysis
    from isi_core.studies.sweep.plan import SweepPlan

VIEWS = ("Conditions", "Effects", "Attention", "Calibration", "Flips", "Families", "Perturbations", "Table")


def show(desk: Desk, sweep: str, dataset: Dataset) -> None:
    """The analysis of the results so far; teaches where there are none."""
    sweeps = engine.sweeps()
    status, plan = sweeps.status(sweep), sweeps.plan(sweep)
    if not status.done:
        st.info(
            "Nothing to analyse yet: the first evaluations appear here as charts, while the sweep still runs.",
            icon=":material/lightbulb:",
        )
        return
    if desk.reference not in plan.condition_keys:
        desk.reference = plan.condition_keys[0]
    if desk.model not in plan.model_labels:
        desk.model = plan.model_labels[0]
    kinds = {c.perturbation.kind for c in plan.conditions if c.perturbation}
    views = [view for view in VIEWS if view != "Perturbations" or kinds]
    if desk.analysis not in views:
        desk.analysis = views[0]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium", key="sweeps_views"):
        st.segmented_control("Analysis", views, **bound(desk, "analysis"), label_visibility="collapsed")
        _slice(desk, dataset)
    found: Analysed | None = None
    try:
        found = analysed(desk, dataset, sweep)
        if found.part.name:
            st.caption(f"Slice {as_written(found.part.label, 300)}")
        if found.part.warning:
            st.caption(f":material/warning: {found.part.warning}")
        _choices(desk, plan, found.analysis)
        _view(desk, found)
    except StudioError as error:
        st.info(as_written(str(error)), icon=":material/lightbulb:")
    _footnotes(plan, status.missing, status.done)
    if found is not None:
        downloads.show(found, sweep)


def _slice(desk: Desk, dataset: Dataset) -> None:
    """Which observations are analysed, where slices of the dataset were saved."""
    from isi_core.studies.slices import saved_slices

    try:
        slices = list(saved_slices(dataset.name))
    except StudioError:
        slices = []
    if desk.slice not in slices:
        desk.slice = ""
    if slices:
        st.selectbox(
            "Analysed",
            ["", *slices],
            **bound(desk, "slice"),
            format_func=lambda name: f"slice: {name}" if name else "All observations of the sweep",
            label_visibility="collapsed",
            width=300,
            help="A slice is a filter that was saved on Browse: every chart, table and file is then of it alone.",
        )


def _choices(desk: Desk, plan: SweepPlan, analysis: Analysis) -> None:
    from isi_core.reports.sweep_figures import TITLES
    from isi_core.studies.sweep.analysis import MEANS, RATES

    measured = [m for m in (*RATES, *MEANS) if any(m in s.values for s in analysis.summaries)]
    if desk.measure not in measured:
        desk.measure = measured[0]
    with st.container(horizontal=True, gap="medium", key="sweeps_choices"):
        if desk.analysis in ("Conditions", "Effects", "Perturbations"):
            st.selectbox(
                "Measure",
                measured,
                **bound(desk, "measure"),
                format_func=lambda m: TITLES[m].removeprefix("mean "),
                width=320,
            )
        if desk.analysis in ("Effects", "Calibration"):
            words = "Reference" if desk.analysis == "Effects" else "Condition in colour"
            st.selectbox(words, plan.condition_keys, **bound(desk, "reference"), width=320)
        if len(plan.model_labels) > 1 and desk.analysis not in ("Conditions", "Effects", "Table"):
            st.selectbox("Model", plan.model_labels, **bound(desk, "model"), width=320)


def _view(desk: Desk, found: Analysed) -> None:
    from isi_core.reports import sweep_breakdowns, sweep_figures

    plan, analysis, view = found.plan, found.analysis, desk.analysis
    if view == "Table":
        from isi_core.reports.sweep_tables import summary_rows

        st.dataframe(summary_rows(analysis), hide_index=True, width="stretch", key="sweeps_table")
        st.caption(
            "Each cell: the value and its 95 % interval, from resampled observations (Wilson's where a rate is 0 or "
            "1), or “no interval” where they are too few, or without any spread."
        )
        return
    if view == "Perturbations":
        picked: list[dict[str, Any]] = []
        for kind in dict.fromkeys(c.perturbation.kind for c in plan.conditions if c.perturbation):
            made = sweep_figures.schedule_figure(analysis, plan.conditions, kind, desk.measure, desk.model)
            picked = _figure(found, made, kind, view) or picked
        rows.show(found.results, picked, desk)
        return
    if view == "Calibration":
        _calibration(desk, found)
        return
    makers: dict[str, Callable[[], Figure]] = {
        "Conditions": partial(sweep_figures.condition_figure, analysis, desk.measure),
        "Effects": partial(sweep_figures.effect_figure, analysis, desk.measure),
        "Attention": partial(sweep_figures.attention_figure, analysis, desk.model),
        "Flips": partial(sweep_breakdowns.flip_figure, analysis, desk.model),
        "Families": partial(sweep_breakdowns.family_figure, analysis, desk.model),
    }
    picked = _figure(found, makers[view](), view.lower(), view)
    if view == "Effects":
        _tests(analysis)
    rows.show(found.results, picked, desk)


def _calibration(desk: Desk, found: Analysed) -> None:
    """AUROC beside risk-coverage; a condition that has no AUROC may still have the curve."""
    from isi_core.reports import sweep_breakdowns

    analysis = found.analysis
    picked: list[dict[str, Any]] = []
    makers: tuple[tuple[str, str, Callable[[], Figure]], ...] = (
        (
            "auroc",
            "Calibration",
            partial(sweep_breakdowns.auroc_figure, found.calibration, analysis.models, analysis.conditions),
        ),
        ("risk", "Risk", partial(sweep_breakdowns.risk_figure, found.calibration, desk.reference, desk.model)),
    )
    with st.container(key="stack_sweeps"):
        columns = st.columns(2, gap="large")
    for column, (key, table, make) in zip(columns, makers, strict=True):
        with column:
            try:
                picked = _figure(found, make(), key, table) or picked
            except StudioError as error:
                st.info(as_written(str(error)), icon=":material/lightbulb:")
    rows.show(found.results, picked, desk)


def _figure(found: Analysed, made: Figure, key: str, table: str) -> list[dict[str, Any]]:
    """Draw a chart with its downloads; what was picked of it."""
    from isi_core.reports.sweep_figures import PICKED

    own = replace(made, name=f"{made.name}{found.part.infix}")  # a file that was taken away tells what it is of
    event = frame.figure(own, f"sweeps_{key}", selects=True, table=downloads.table(found, table))
    selection = (event or {}).get("selection") or {}
    return [dict(point) for point in selection.get(PICKED) or []]


def _tests(analysis: Analysis) -> None:
    """McNemar's tests as a table."""
    from isi_core.reports.sweep_tables import mcnemar_rows

    if tests := mcnemar_rows(analysis):
        with st.expander("McNemar's exact tests"):
            st.dataframe(tests, hide_index=True, width="stretch", key="sweeps_tests")


def _footnotes(plan: SweepPlan, missing: int, done: int) -> None:
    from isi_core.reports.published import published_note

    if missing:
        st.caption(f"Of the {done:,} evaluations so far; {missing:,} are missing.")
    if note := published_note(model.name for model in plan.models):
        st.caption(as_written(note))
    decoding = plan.decoding
    st.caption(
        f"Sweep {plan.id} · {decoding.n_samples} samples at temperature {decoding.temperature:g}, top-k "
        f"{decoding.top_k}, seed {decoding.seed} · presets and perturbations by seed {plan.seed} · entailment "
        f"{as_written(plan.settings.entailment_model)}, {plan.settings.rule} rule"
    )
