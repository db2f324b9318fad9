"""What a run found: the linter first, what may be concluded, then charts, tables and cases."""

from __future__ import annotations

import time
from functools import partial

import streamlit as st

from isi_core.domain.errors import InputError, StudioError
from isi_core.reports.failure_words import (
    conclusions,
    explainer_title,
    plan_words,
    provenance,
    ranked,
    task_title,
)
from isi_core.reports.wording import one_line
from isi_core.studies.failure.results import BenchmarkResult
from isi_core.ui.bound import bound
from isi_core.ui.failure import cases, causal, downloads, linting, quiz, runs, transfer
from isi_core.ui.failure import figures as drawn
from isi_core.ui.failure.desk import Desk
from isi_core.ui.wording import as_written

VIEWS = ("By layer", "Ranking", "Calibration and risk", "Cases", "Null and control", "Causes", "Quiz", "Transfer")
MOST_BESIDE = 3
_CURVES = 3
_ICONS = {"warning": ":material/warning:", "evidence": ":material/check_circle:", "none": ":material/horizontal_rule:"}


def choose(desk: Desk) -> None:
    """Which stored run is looked at; nothing where there is none."""
    found = {run.key: run for run in runs.finished_runs()}
    if desk.run not in found:
        desk.look_at(next(iter(found), ""))
    if not found:
        return

    def named(key: str) -> str:
        run = found.get(key)
        if run is None:
            return key
        when = time.strftime("%d %b %H:%M", time.localtime(run.finished))
        plan = run.plan
        return f"{task_title(plan)} · {one_line(plan.model, 40)} · k {plan.k:,} · {when} · {runs.short_name(key)}"

    def turn() -> None:
        desk.look_at(st.session_state["failure_run"])

    st.session_state["failure_run"] = desk.run
    pick, drop = st.columns([8, 1], vertical_alignment="bottom", wrap=False)
    pick.selectbox("Result", list(found), key="failure_run", on_change=turn, format_func=named)
    drop.button(
        "",
        icon=":material/delete:",
        key="failure_forget",
        help="Delete this run with its cases, pictures and activations",
        on_click=partial(_forget, desk, desk.run),
        disabled=desk.job is not None,
    )


def _forget(desk: Desk, key: str) -> None:
    try:
        runs.forget(key)
    except StudioError as error:
        desk.error = str(error)
    desk.beside = [other for other in desk.beside if other != key]
    desk.look_at("")


def show(desk: Desk) -> BenchmarkResult | None:
    """The head of the result that is looked at; None where there is none, and then what the page does."""
    if not desk.run:
        if desk.job is None:
            _teach()
        return None
    try:
        result = runs.load(desk.run)
    except StudioError as error:
        st.error(as_written(str(error)), icon=":material/error:")
        return None
    linting.show(result.findings)
    _asked(result)
    with st.container(key="failure_conclusions"):
        st.markdown("**What these numbers allow one to conclude**")
        for said in conclusions(result):
            st.markdown(f"{_ICONS[said.strength]} {as_written(said.sentence)}")
    return result


def _asked(result: BenchmarkResult) -> None:
    """How the cases came about, by context kind."""
    pool = result.pool
    words = (
        f"{pool.asked:,} inputs were asked: {pool.successes:,} right, {pool.failures:,} wrong"
        + (f" ({pool.unclear:,} unclear answers count as wrong)" if pool.unclear else "")
        + f"; {len(result.cases):,} cases were taken, half of each class."
    )
    rates = [
        f"{kind} {wrong / (right + wrong):.0%}" for kind, (right, wrong) in pool.by_condition.items() if right + wrong
    ]
    if len(rates) > 1:
        words += f" Failed by context: {', '.join(rates)}."
    st.caption(as_written(words))


def details(desk: Desk, result: BenchmarkResult) -> None:
    """Charts, tables and cases over the page's whole width."""
    st.divider()
    if desk.view not in VIEWS:
        desk.view = VIEWS[0]
    st.segmented_control("View", VIEWS, **bound(desk, "view"), label_visibility="collapsed")
    try:
        _view(desk, result)
    except StudioError as error:
        st.info(as_written(str(error)), icon=":material/lightbulb:")
    for key, why in result.skipped.items():
        st.caption(f":material/block: {as_written(explainer_title(key))} was left out: {as_written(why, 400)}")
    downloads.show(desk.run, result, curves_of(desk, result))
    st.caption(as_written(provenance(result)))


def _view(desk: Desk, result: BenchmarkResult) -> None:
    from isi_core.reports import failure_figures as figures

    match desk.view:
        case "By layer":
            _layers(desk, result)
        case "Ranking":
            _ranking(result)
        case "Calibration and risk":
            curves = _choose_curves(desk, result)
            with st.container(key="stack_failure_curves"):
                left, right = st.columns(2, gap="large")
            with left:
                drawn.show(figures.calibration_figure(result, curves), "calibration", len(curves))
            with right:
                drawn.show(figures.risk_figure(result, curves), "risk", len(curves))
        case "Cases":
            cases.show(desk, desk.run, result)
        case "Causes":
            causal.show(desk, desk.run, result)
        case "Quiz":
            quiz.show(desk, desk.run, result)
        case "Transfer":
            transfer.show(desk, desk.run, result)
        case _:
            _null(result)


def _layers(desk: Desk, result: BenchmarkResult) -> None:
    """Figure 1: a panel for this run, and one for each that is held beside it."""
    from isi_core.reports.failure_figures import auc_figure

    others = {run.key: run for run in runs.finished_runs() if run.key != desk.run}
    desk.beside = [key for key in desk.beside if key in others]
    if others:
        st.multiselect(
            "Beside it",
            list(others),
            **bound(desk, "beside"),
            max_selections=MOST_BESIDE,
            format_func=lambda key: (
                f"{plan_words(others[key].plan)} · {runs.short_name(key)}" if key in others else key
            ),
            placeholder="Other runs: another task, model or k",
        )
    shown = [result]
    for key in desk.beside:
        try:
            shown.append(runs.load(key))
        except InputError as error:
            st.caption(as_written(str(error)))
    if len(shown) == 1:
        drawn.show(auc_figure(shown), "layers", _legend_rows(result))
        return
    for start in range(0, len(shown), 2):
        columns = st.columns(2, gap="large")
        for place, column in enumerate(columns[: len(shown) - start], start=start):
            with column:
                drawn.show(auc_figure([shown[place]]), f"layers_{place}", _legend_rows(shown[place]))


def _legend_rows(result: BenchmarkResult) -> int:
    """Lines of the legend: two explainers a line, none where one explainer needs no legend."""
    layered = len({score.explainer for score in result.scores if score.layer is not None})
    return -(-layered // 2) if layered > 1 else 0


def _ranking(result: BenchmarkResult) -> None:
    from isi_core.reports import failure_tables as tables
    from isi_core.reports.failure_figures import ranking_figure

    drawn.show(ranking_figure(result), "ranking", 1)
    st.dataframe(tables.ranking_rows(result), hide_index=True, width="stretch", key="failure_ranking_table")
    st.caption(
        "The layer of a row is the one that the validation cases chose, not the best one on the test. p: the chance of "
        "an AUC so far from 0.5 where there is nothing to find; Holm: corrected for all that was tested. *Minus the "
        "first*: the difference to the row on top on the same test cases, by DeLong's paired test; an interval that "
        "includes 0 is no evidence that they differ. *Train AUC*: near 1 beside a test AUC near 0.5 is memory, not "
        "prediction."
    )
    with st.expander(f"All {len(result.comparisons)} paired tests"):
        st.dataframe(tables.comparison_rows(result), hide_index=True, width="stretch", key="failure_pairs_table")
    with st.expander("Every layer"):
        st.dataframe(tables.layer_rows(result), hide_index=True, width="stretch", key="failure_layers_table")


def curves_of(desk: Desk, result: BenchmarkResult) -> list[str]:
    """The explainers whose curves are drawn: those chosen, else the best few."""
    scored = [score.explainer for score in ranked(result)]
    if desk.curves is None:
        return scored[:_CURVES]
    return [key for key in desk.curves if key in scored]


def _choose_curves(desk: Desk, result: BenchmarkResult) -> list[str]:
    from isi_core.reports.failure_figures import MOST_CURVES

    desk.curves = curves_of(desk, result)
    st.multiselect(
        "Explainers",
        [score.explainer for score in ranked(result)],
        **bound(desk, "curves"),
        max_selections=MOST_CURVES,
        format_func=explainer_title,
    )
    return desk.curves


def _null(result: BenchmarkResult) -> None:
    """What the best layer reaches by luck, and what shuffled labels give."""
    from isi_core.reports import failure_figures as figures

    with st.container(key="stack_failure_null"):
        left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**By luck alone: the permutation null**")
        try:
            drawn.show(figures.permutation_figure(result), "null")
        except InputError as error:
            st.caption(as_written(str(error)))
    with right:
        st.markdown("**Control: the same probe on shuffled labels**")
        if result.control:
            drawn.show(figures.control_figure(result), "control")
        else:
            st.caption("This run took no control: choose an explainer that reads layers and run again.")


def _teach() -> None:
    st.markdown(
        "**What this page does.** Can something tell *beforehand* that the model is about to answer wrongly? A "
        "benchmark asks a model until it has **k successes** and **k failures**, lets each **explainer** learn from "
        "half of them, and measures on unseen cases how well it tells the two apart: the **AUC**, where 0.5 is chance "
        "and 1 is perfect."
    )
    st.markdown(
        "1. The **linter** looks for defects of the data that make such numbers meaningless.\n"
        "2. **Baselines** stand beside every probe: a score as simple as “how far apart are the options?” may do as "
        "well.\n"
        "3. Every AUC has its **interval**, and the luck of picking the best layer is corrected for."
    )
    st.info(
        "Press *Run* on the left: the quick look asks the embedded model about generated scenes.",
        icon=":material/lightbulb:",
    )
