"""What can be done with the runs that are ticked: open, tag, note, delete and undo, take away as zip or PDF."""

from __future__ import annotations

from functools import partial

import streamlit as st

from isi_core.domain.evaluation import Evaluation
from isi_core.store.run_search import BIN_DAYS, bin_runs, binned_runs, empty_bin, note_run, tag_runs, unbin_runs
from isi_core.store.runs import StoredRun
from isi_core.studies.averages import Averages
from isi_core.ui import resources
from isi_core.ui.bound import guarded
from isi_core.ui.runs import repeating
from isi_core.ui.runs.desk import Desk
from isi_core.ui.vqa import desk as vqa_desk
from isi_core.ui.wording import as_written

VQA_PAGE = "pages/1_VQA_Interventions.py"
_GO = "runs_go"


def leave_if_asked() -> None:
    """Go to VQA Interventions when a run was opened there."""
    if st.session_state.pop(_GO, False):
        st.switch_page(VQA_PAGE)


def bar(desk: Desk, runs: list[StoredRun]) -> None:
    """The row of buttons for the runs that are ticked."""
    ids = [run.id for run in runs]
    one = len(runs) == 1
    with st.container(horizontal=True, gap="small", key="runs_actions"):
        if one:
            st.button(
                "Open in VQA Interventions",
                icon=":material/experiment:",
                key="runs_open",
                type="primary",
                on_click=partial(guarded, desk, _open, runs[0]),
            )
        _downloads(desk, runs)
        repeating.button(desk, runs)
        with st.popover("Tags" + (" and note" if one else ""), icon=":material/sell:"):
            _marks(desk, runs)
        with st.popover("Delete", icon=":material/delete:"):
            what = "This run" if one else f"These {len(runs)} runs"
            st.markdown(f"{what} can be taken out of the bin for {BIN_DAYS} days.")
            st.button("Delete", key="runs_delete", type="primary", on_click=partial(guarded, desk, _delete, desk, ids))


def _open(run: StoredRun) -> None:
    vqa_desk.open_run(run.id, run.label)
    st.session_state[_GO] = True


def names(runs: list[StoredRun]) -> list[str]:
    """A short name for each run."""
    return [run.label or f"run {run.id}: {run.image_kind} picture, context {run.context_kind}" for run in runs]


def _downloads(desk: Desk, runs: list[StoredRun]) -> None:
    def load() -> list[Evaluation]:
        return [desk.whole(run) for run in runs]

    def pdf() -> bytes:
        from isi_core.reports.pdf import build_report

        return build_report(load(), labels=names(runs), averages=_averages(runs))

    def data() -> bytes:
        from isi_core.reports.run_export import run_zip

        return run_zip(load(), names(runs), report=pdf())

    stem = f"isi_runs_{runs[0].id}" + (f"-{runs[-1].id}" if len(runs) > 1 else "")
    st.download_button(
        "PDF",
        data=pdf,
        file_name=f"{stem}.pdf",
        mime="application/pdf",
        icon=":material/picture_as_pdf:",
        key="runs_pdf",
        on_click="ignore",
    )
    st.download_button(
        "Zip",
        data=data,
        file_name=f"{stem}.zip",
        mime="application/zip",
        icon=":material/folder_zip:",
        key="runs_zip",
        on_click="ignore",
        help="run.json with the pictures, CSV and the report: enough to repeat the runs anywhere",
    )


def _averages(runs: list[StoredRun]) -> Averages | None:
    models = {(run.model_name, run.dataset) for run in runs}
    return resources.averages(*models.pop()) if len(models) == 1 else None


def _marks(desk: Desk, runs: list[StoredRun]) -> None:
    ids = [run.id for run in runs]
    key = "runs_tags_" + "_".join(map(str, ids[:6]))
    common = set.intersection(*(set(run.tags.split()) for run in runs))
    tags = st.text_input("Tags, separated by spaces", " ".join(sorted(common)), key=key, placeholder="figure-3 odd")
    note = ""
    if len(runs) == 1:
        note = st.text_area("Note", runs[0].note, key=f"runs_note_{ids[0]}", height=120)

    def save() -> None:
        tag_runs(resources.store(), ids, tags)
        if len(runs) == 1:
            note_run(resources.store(), ids[0], note)
        desk.said = "Kept."
        desk.shown = {}

    st.button("Keep", key="runs_marks_save", icon=":material/save:", on_click=partial(guarded, desk, save))


def _delete(desk: Desk, ids: list[int]) -> None:
    bin_runs(resources.store(), ids)
    desk.undo = ids
    desk.select([])


def undo(desk: Desk) -> None:
    """What was deleted last, to be taken back."""
    if not desk.undo:
        return
    count = len(desk.undo)

    def back() -> None:
        unbin_runs(resources.store(), desk.undo)
        desk.undo = []
        desk.select([])

    with st.container(horizontal=True, gap="small", vertical_alignment="center", border=True):
        st.markdown(f"{count} run{'s' if count > 1 else ''} deleted.", width="stretch")
        st.button("Undo", key="runs_undo", icon=":material/undo:", on_click=partial(guarded, desk, back))


def show_bin(desk: Desk) -> None:
    """What lies in the bin."""
    runs = binned_runs(resources.store())
    if not runs:
        return
    with st.expander(f"Bin: {len(runs)} run{'s' if len(runs) > 1 else ''}", icon=":material/delete:"):
        st.caption(f"Deleted runs lie here for {BIN_DAYS} days.")
        for run in runs[:20]:
            with st.container(horizontal=True, gap="small", vertical_alignment="center"):
                answer = as_written(run.answer or "", 80)
                st.markdown(f"**{run.id}** · {as_written(run.question, 80)} “{answer}”", width="stretch")
                st.button(
                    "Take out", key=f"runs_unbin_{run.id}", on_click=partial(guarded, desk, _take_out, desk, [run.id])
                )
        ids = [run.id for run in runs]
        with st.container(horizontal=True, gap="small"):
            st.button("Take all out", key="runs_unbin_all", on_click=partial(guarded, desk, _take_out, desk, ids))
            st.button("Empty the bin", key="runs_empty", on_click=partial(guarded, desk, _empty, desk))


def _take_out(desk: Desk, ids: list[int]) -> None:
    unbin_runs(resources.store(), ids)
    desk.undo = [run for run in desk.undo if run not in ids]
    desk.select([])


def _empty(desk: Desk) -> None:
    count = empty_bin(resources.store())
    desk.undo = []
    desk.said = f"{count} runs were removed for good."
