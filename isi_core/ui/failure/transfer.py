"""The tab of transfer: does what tells failure under one context, task or model tell it under another?"""

from __future__ import annotations

from functools import partial

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.domain.progress import Progress
from isi_core.reports.failure_words import explainer_title, plan_words, ranked, severe_words
from isi_core.studies.failure.explainers import EXPLAINERS
from isi_core.studies.failure.results import BenchmarkResult
from isi_core.ui import resources
from isi_core.ui.bound import bound
from isi_core.ui.failure import figures as drawn
from isi_core.ui.failure import runs, work
from isi_core.ui.failure.desk import Desk
from isi_core.ui.wording import as_written

MOST = 5
BY = {"context": "context kinds of this run", "run": "this run and others"}


def show(desk: Desk, key: str, result: BenchmarkResult) -> None:
    """What to carry over to what, the button, and the matrix."""
    st.markdown(
        "**Does it carry over?** An explainer that has learned what failure looks like should know it elsewhere too: "
        "under another context, in another task, of another model. One that has learned a flaw of its data does not."
    )
    known = [EXPLAINERS[s.explainer] for s in ranked(result) if s.explainer in EXPLAINERS]
    able = [row.key for row in known if not row.extras and not row.tokens and row.key != "majority"]
    others = {run.key: run for run in runs.finished_runs() if run.key != key}
    desk.transfer_to = [other for other in desk.transfer_to if other in others]
    if not able:
        st.info("No explainer of this run can be carried over: run it with a probe.", icon=":material/lightbulb:")
        return
    if desk.transfer_explainer not in able:
        desk.transfer_explainer = able[0]
    with st.container(key="stack_failure_transfer"):
        left, right = st.columns([3, 2], gap="large", vertical_alignment="bottom")
    with left:
        st.selectbox("Explainer", able, **bound(desk, "transfer_explainer"), format_func=explainer_title)
        st.segmented_control("Between", list(BY), **bound(desk, "transfer_by"), format_func=BY.__getitem__)
        if desk.transfer_by == "run":
            st.multiselect(
                "Other runs",
                list(others),
                **bound(desk, "transfer_to"),
                max_selections=MOST,
                format_func=lambda k: f"{plan_words(others[k].plan)} · {runs.short_name(k)}" if k in others else k,
                placeholder="Another task, model or context" if others else "There is no other run yet",
            )
    with right:
        st.button(
            "Carry over",
            icon=":material/sync_alt:",
            key="failure_transfer_start",
            on_click=partial(_start, desk, key),
            disabled=desk.job is not None or (desk.transfer_by == "run" and not desk.transfer_to),
            width="stretch",
        )
    if desk.transfer is None or desk.transfer[0] != key:
        st.info("Nothing was carried over yet: press *Carry over*.", icon=":material/lightbulb:")
        return
    _result(desk, key, severe_words(result))


def _start(desk: Desk, key: str) -> None:
    desk.hush()
    chosen = [key, *(desk.transfer_to if desk.transfer_by == "run" else [])]
    explainer, by = desk.transfer_explainer, desk.transfer_by
    try:
        from isi_core.studies.failure.transfer import Run, transfer

        given = [Run(_name(k), runs.load(k), runs.cases_folder(k)) for k in chosen]
        shelf = resources.shelf()

        def carry(progress: Progress) -> object:
            return key, transfer(given, shelf, explainer, None, by, progress=progress)  # type: ignore[arg-type]

        title = f"Carrying over: {explainer_title(explainer)}"
        desk.job = work.engine().submit("failure", title[:200], carry)
        desk.carrying = True
    except StudioError as error:
        desk.error = str(error)


def _name(key: str) -> str:
    plan = runs.load(key).plan
    return f"{plan_words(plan).split(' · ')[0]}, {plan.model} ({runs.short_name(key)})"


def _result(desk: Desk, key: str, warning: str) -> None:
    from isi_core.reports import failure_transfer_figures as figures

    assert desk.transfer is not None
    result = desk.transfer[1]
    try:
        drawn.show(figures.transfer_figure(result, warning), "transfer")
    except StudioError as error:
        st.info(as_written(str(error)), icon=":material/lightbulb:")
    for why in dict.fromkeys(cell.why for cell in result.cells if cell.why):
        st.caption(f":material/block: Empty cells: {as_written(why)}")
    for pair in result.shared:
        st.markdown(f":material/join_inner: {as_written(figures.shared_sentence(pair))}")
    st.download_button(
        "CSV: transfer",
        data=partial(figures.transfer_csv, result),
        file_name=f"failure_transfer_{key[:8]}.csv",
        mime="text/csv",
        icon=":material/table:",
        key="failure_download_transfer",
        on_click="ignore",
    )
