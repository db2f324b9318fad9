"""Repeat runs, ticked ones or those of an exported file, and say whether each came out the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from isi_core.domain.errors import InputError, StudioError
from isi_core.domain.evaluation import Evaluation
from isi_core.store.runs import StoredRun
from isi_core.studies.rerun import Repeated, repeat
from isi_core.ui import resources
from isi_core.ui.bound import guarded
from isi_core.ui.runs.desk import Desk
from isi_core.ui.wording import as_written

_POLL = 0.3  # seconds
MOST = 50
"""Runs that are repeated at once."""


def button(desk: Desk, runs: list[StoredRun]) -> None:
    """Repeat the runs that are ticked."""
    st.button(
        "Re-run",
        icon=":material/replay:",
        key="runs_repeat",
        on_click=partial(guarded, desk, _start, desk, lambda: [desk.whole(run) for run in runs]),
        disabled=desk.job is not None,
        help="Ask the same model the same again, and compare",
    )


def show(desk: Desk) -> None:
    """A running repetition, what the last one came to, and the file of a run to be repeated."""
    if desk.job is not None:
        _watch(desk)
    if desk.repeated:
        _results(desk)
    with st.expander("Repeat a run from its file", icon=":material/replay:"):
        st.caption(
            "A zip file that was downloaded here or on VQA Interventions, from any machine: its `run.json` and "
            "pictures are enough."
        )
        file = st.file_uploader("The run's zip file", type=["zip"], key="runs_file")
        typed = st.text_input("Or the path of the zip file or of its unpacked folder", key="runs_path")
        model = st.text_input(
            "Model (only where it lies elsewhere on this machine)", key="runs_model", placeholder="as in the run"
        )
        st.button(
            "Repeat it",
            key="runs_repeat_file",
            icon=":material/replay:",
            on_click=partial(guarded, desk, _from_file, desk, file, typed, model),
            disabled=desk.job is not None or (file is None and not typed.strip()),
        )


def _from_file(desk: Desk, file: Any, typed: str, model: str) -> None:
    from isi_core.reports.run_export import read_run

    source = file.getvalue() if file is not None else Path(typed.strip()).expanduser()
    _start(desk, lambda: read_run(source), model.strip())


def _start(desk: Desk, load: Callable[[], list[Evaluation]], model: str = "") -> None:
    evaluations = load()
    if not evaluations:
        raise InputError("There is nothing in it to repeat: choose another run.")
    if len(evaluations) > MOST:
        raise InputError(f"At most {MOST} runs are repeated at once, not {len(evaluations)}: choose fewer.")
    shelf = resources.shelf()

    def work(progress: Callable[[str, float], None]) -> list[Repeated]:
        made = []
        for number, evaluation in enumerate(evaluations):

            def part(message: str, fraction: float, number: int = number) -> None:
                of = f"Run {number + 1} of {len(evaluations)}: " if len(evaluations) > 1 else ""
                progress(of + message, (number + fraction) / len(evaluations))

            part("Asking again", 0.0)
            made.append(repeat(evaluation, shelf, part, model))
        return made

    desk.repeated = []
    desk.job = resources.jobs().submit("re-run", f"Repeating {len(evaluations)} runs", work)


def collect(desk: Desk) -> bool:
    """Take what the job has made; True once it has ended."""
    if desk.job is None:
        return True
    try:
        job = resources.jobs().get(desk.job)
    except StudioError as error:
        desk.job, desk.error = None, str(error)
        return True
    if job.live:
        return False
    desk.job = None
    if job.state == "done":
        desk.repeated = job.result or []
    elif job.state != "cancelled":
        desk.error = job.error or "The repetition was interrupted: start it again."
    return True


@st.fragment(run_every=_POLL)
def _watch(desk: Desk) -> None:
    if desk.job is None or collect(desk):
        st.rerun()
    job = resources.jobs().get(str(desk.job))
    bar, stop = st.columns([5, 1], vertical_alignment="center")
    bar.progress(min(1.0, max(0.0, job.fraction)), text=as_written(job.message or job.title))
    if stop.button("Cancel", key="runs_repeat_cancel", width="stretch"):
        resources.jobs().cancel(job.id)


def _results(desk: Desk) -> None:
    with st.container(border=True, key="runs_repeated"):
        same = sum(found.same for found in desk.repeated)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**Repeated: {same} of {len(desk.repeated)} came out the same**", width="stretch")
            st.button("Close", key="runs_repeated_close", icon=":material/close:", on_click=partial(_close, desk))
        for found in desk.repeated:
            _result(found)


def _close(desk: Desk) -> None:
    desk.repeated = []


def _result(found: Repeated) -> None:
    before = found.before
    answer = as_written(before.answer.text, 80) if before.answer else "no answer"
    title = f"{as_written(before.trial.observation_id, 60)} · “{answer}”"
    if found.same:
        st.markdown(f":green-badge[:material/check_circle: the same] {title}")
    else:
        st.markdown(f":orange-badge[:material/difference: not the same] {title}")
        st.dataframe(
            [{"what": d.what, "then": d.before, "now": d.after} for d in found.differences],
            hide_index=True,
            key=f"runs_differences_{id(found)}",
        )
    if found.circumstances:
        words = "; ".join(f"{d.what} {d.before[:40]} then, {d.after[:40]} now" for d in found.circumstances)
        st.caption(f"Otherwise this time: {as_written(words, 600)}")
