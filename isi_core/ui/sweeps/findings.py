"""What a sweep found: charts with their downloads, and the rows behind what is picked of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.ui import frame, resources
from isi_core.ui.bound import bound
from isi_core.ui.sweeps import engine
from isi_core.ui.sweeps.desk import Desk
from isi_core.ui.wording import as_written

if TYPE_CHECKING:
    from isi_core.reports.charts import Figure
    from isi_core.store.sweeps import SweepResult
    from isi_core.studies.sweep.analysis import Analysis
    from isi_core.studies.sweep.calibration import Calibration
    from isi_core.studies.sweep.plan import SweepPlan

VIEWS = ("Conditions", "Effects", "Attention", "Calibration", "Flips", "Families", "Perturbations", "Table")
_MOST_ROWS = 2_000
_FRACTIONS = ("semantic entropy", "image", "context", "question")


def show(desk: Desk, sweep: str) -> None:
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
    st.segmented_control("Analysis", views, **bound(desk, "analysis"), label_visibility="collapsed")
    try:
        analysis, calibration, results = _analysed(
            resources.store().folder, sweep, status.done + status.failed, desk.reference
        )
        _choices(desk, plan, analysis)
        _view(desk, plan, analysis, calibration, results)
    except StudioError as error:
        st.info(as_written(str(error)), icon=":material/lightbulb:")
    _footnotes(plan, status.missing, status.done)
    _downloads(desk, sweep)


@st.cache_resource(show_spinner="Resampling the observations", max_entries=12)
def _analysed(
    folder: Path, sweep: str, count: int, reference: str
) -> tuple[Analysis, list[Calibration], list[SweepResult]]:
    """The analysis of the `count` results that there are now; more of them are another analysis."""
    from isi_core.studies.sweep.analysis import analyse
    from isi_core.studies.sweep.calibration import calibrations

    sweeps = engine.sweeps()
    plan, results = sweeps.plan(sweep), sweeps.results(sweep)
    labels = plan.model_labels, plan.condition_keys
    return analyse(results, *labels, reference), calibrations(results, *labels), results


def _choices(desk: Desk, plan: SweepPlan, analysis: Analysis) -> None:
    from isi_core.reports.sweep_figures import TITLES
    from isi_core.studies.sweep.analysis import MEANS, RATES

    measured = [m for m in (*RATES, *MEANS) if any(m in s.values for s in analysis.summaries)]
    if desk.measure not in measured:
        desk.measure = measured[0]
    columns = st.columns(3)
    if desk.analysis in ("Conditions", "Effects", "Perturbations"):
        columns[0].selectbox(
            "Measure", measured, **bound(desk, "measure"), format_func=lambda m: TITLES[m].removeprefix("mean ")
        )
    if desk.analysis in ("Effects", "Calibration"):
        columns[1].selectbox(
            "Reference" if desk.analysis == "Effects" else "Condition in colour",
            plan.condition_keys,
            **bound(desk, "reference"),
        )
    if len(plan.model_labels) > 1 and desk.analysis not in ("Conditions", "Effects", "Table"):
        columns[2].selectbox("Model", plan.model_labels, **bound(desk, "model"))


def _view(
    desk: Desk,
    plan: SweepPlan,
    analysis: Analysis,
    calibration: list[Calibration],
    results: list[SweepResult],
) -> None:
    from isi_core.reports import sweep_breakdowns, sweep_figures

    if desk.analysis == "Table":
        from isi_core.reports.sweep_tables import summary_rows

        st.dataframe(summary_rows(analysis), hide_index=True, width="stretch", key="sweeps_table")
        st.caption("Each cell: the value and its 95 % interval, from resampled observations.")
        return
    if desk.analysis == "Perturbations":
        for kind in dict.fromkeys(c.perturbation.kind for c in plan.conditions if c.perturbation):
            _figure(sweep_figures.schedule_figure(analysis, plan.conditions, kind, desk.measure, desk.model), kind)
        return
    if desk.analysis == "Calibration":
        left, right = st.columns(2, gap="large")
        with left:
            picked = _figure(
                sweep_breakdowns.auroc_figure(calibration, analysis.models, analysis.conditions), "auroc", selects=True
            )
        with right:
            _figure(sweep_breakdowns.risk_figure(calibration, desk.reference, desk.model), "risk")
        _rows(results, picked, desk)
        return
    makers: dict[str, Callable[[], Figure]] = {
        "Conditions": partial(sweep_figures.condition_figure, analysis, desk.measure),
        "Effects": partial(sweep_figures.effect_figure, analysis, desk.measure),
        "Attention": partial(sweep_figures.attention_figure, analysis, desk.model),
        "Flips": partial(sweep_breakdowns.flip_figure, analysis, desk.model),
        "Families": partial(sweep_breakdowns.family_figure, analysis, desk.model),
    }
    picked = _figure(makers[desk.analysis](), desk.analysis.lower(), selects=True)
    if desk.analysis == "Effects":
        _tests(analysis)
    _rows(results, picked, desk)


def _figure(made: Figure, key: str, selects: bool = False) -> list[dict[str, Any]]:
    """Draw a chart with its downloads; what was picked of it."""
    from isi_core.reports.sweep_figures import PICKED

    event = frame.figure(made, f"sweeps_{key}", selects)
    selection = (event or {}).get("selection") or {}
    found = selection.get(PICKED) or []
    return [dict(point) for point in found]


def _tests(analysis: Analysis) -> None:
    """McNemar's tests as a table."""
    from isi_core.reports.wording import number

    rows = [
        {
            "model": e.model,
            "condition": e.condition,
            "observations": e.n,
            "verdicts that differ": e.flips,
            "right only here": e.mcnemar.first_only,
            "right only in the reference": e.mcnemar.second_only,
            "McNemar p": number(e.mcnemar.p_value),
            "p by Holm": number(e.p_adjusted),
        }
        for e in analysis.effects
        if e.mcnemar is not None
    ]
    if rows:
        with st.expander("McNemar's exact tests"):
            st.dataframe(rows, hide_index=True, width="stretch", key="sweeps_tests")


def _rows(results: Sequence[SweepResult], picked: Sequence[dict[str, Any]], desk: Desk) -> None:
    """The evaluations behind what was picked of a chart; how to pick where nothing is."""
    if not picked:
        st.caption("Click a mark in the chart to list the observations behind it.")
        return
    found, words = behind(results, picked, desk.model)
    st.markdown(f"**{len(found):,} evaluations** · {as_written(words, 200)}")
    records = engine.sweeps().records
    answers, dataset = records.answers(desk.sweep), records.get(desk.sweep).dataset
    st.dataframe(
        [_row(r, answers.get(r.item, ""), dataset) for r in found[:_MOST_ROWS]],
        hide_index=True,
        width="stretch",
        height=320,
        key="sweeps_rows",
        column_config={
            "open": st.column_config.LinkColumn("", display_text="Open", help="In VQA Interventions", width=64),
            **{n: st.column_config.NumberColumn(format="%.3f") for n in _FRACTIONS},
        },
    )
    if len(found) > _MOST_ROWS:
        st.caption(f"The first {_MOST_ROWS:,}; the CSV has all.")


def behind(
    results: Sequence[SweepResult], picked: Sequence[dict[str, Any]], model: str
) -> tuple[list[SweepResult], str]:
    """The results that a picked mark stands for, and what it is in words.

    Of a flip these are the observations whose verdicts differ, under both conditions.
    """
    point = picked[0]
    whose = str(point.get("model") or model)
    own = [r for r in results if r.model == whose and not r.error]
    if "first" in point:
        pair = str(point["first"]), str(point["second"])
        verdicts = [{r.observation: r.verdict for r in own if r.condition == c} for c in pair]
        differ = {o for o, v in verdicts[0].items() if o in verdicts[1] and verdicts[1][o] != v}
        chosen = [r for r in own if r.observation in differ and r.condition in pair]
        return chosen, f"another verdict under {pair[0]} than under {pair[1]}"
    condition, family = point.get("condition"), point.get("family")
    chosen = [r for r in own if r.condition == condition and (family is None or r.family == family)]
    return chosen, " · ".join(str(part) for part in (whose, condition, family) if part)


def _row(result: SweepResult, answer: str, dataset: str) -> dict[str, Any]:
    from isi_core.studies.sweep.analysis import is_right

    right = is_right(result)
    image, _, context = result.condition.partition(",")[0].partition("/")
    link = {"obs": result.observation, "image": image, "context": context, "dataset": dataset}
    measured = result.measured
    return {
        "open": f"VQA_Interventions?{urlencode(link)}",
        "observation": result.observation,
        "condition": result.condition,
        "family": result.family,
        "truth": result.truth,
        "verdict": result.verdict,
        "judged": "not judged" if right is None else "✓ right" if right else "✗ wrong",
        "answer": " ".join(answer.split())[:200],
        "semantic entropy": measured.get("semantic_entropy"),
        "clusters": measured.get("n_clusters"),
        "image": measured.get("attention_image"),
        "context": measured.get("attention_context"),
        "question": measured.get("attention_question"),
        "run": result.run,
    }


def _footnotes(plan: SweepPlan, missing: int, done: int) -> None:
    from isi_core.reports.sweep_tables import published_note

    if missing:
        st.caption(f"Of the {done:,} evaluations so far; {missing:,} are missing.")
    note = published_note([model.name for model in plan.models])
    if note:
        st.caption(as_written(note))
    decoding = plan.decoding
    st.caption(
        f"Sweep {plan.id} · {decoding.n_samples} samples at temperature {decoding.temperature:g}, top-k "
        f"{decoding.top_k}, seed {decoding.seed} · presets and perturbations by seed {plan.seed} · entailment "
        f"{as_written(plan.settings.entailment_model)}, {plan.settings.rule} rule"
    )


def _downloads(desk: Desk, sweep: str) -> None:
    from isi_core.reports import sweep_export
    from isi_core.reports import sweep_tables as tables

    sweeps = engine.sweeps()
    folder, reference = resources.store().folder, desk.reference
    status = sweeps.status(sweep)
    count = status.done + status.failed

    def whole() -> bytes:
        analysis, calibration, results = _analysed(folder, sweep, count, reference)
        records = sweeps.records
        return sweep_export.zip_sweep(
            sweep_export.sweep_files(
                sweeps.plan(sweep), records.get(sweep), results, records.answers(sweep), analysis, calibration
            )
        )

    def rows() -> bytes:
        return tables.results_csv(sweeps.results(sweep), sweeps.records.answers(sweep))

    def conditions() -> bytes:
        return tables.conditions_csv(_analysed(folder, sweep, count, reference)[0])

    def effects() -> bytes:
        return tables.effects_csv(_analysed(folder, sweep, count, reference)[0])

    files: list[tuple[str, str, str, Callable[[], bytes]]] = [
        ("Everything (zip)", "folder_zip", "zip", whole),
        ("CSV: rows", "table_rows", "results.csv", rows),
        ("CSV: conditions", "table", "conditions.csv", conditions),
        ("CSV: effects", "difference", "effects.csv", effects),
    ]
    with st.container(horizontal=True, gap="small"):
        for label, icon, ending, make in files:
            st.download_button(
                label,
                data=make,
                file_name=f"sweep_{sweep}.{ending}" if ending == "zip" else f"sweep_{sweep}_{ending}",
                icon=f":material/{icon}:",
                key=f"sweeps_download_{ending}",
                on_click="ignore",
            )
