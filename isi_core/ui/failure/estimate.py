"""What the choices come to: how many inputs, about how long, and the one button."""

from __future__ import annotations

import streamlit as st

from isi_core.domain.errors import InputError, StudioError
from isi_core.reports.wording import duration
from isi_core.studies.failure.plan import FailurePlan
from isi_core.ui.failure import choices, runs, timing, work
from isi_core.ui.failure.desk import Desk
from isi_core.ui.wording import as_written

_LOOKED_AT = 8  # stored runs that a rate is taken from, the newest


def show(desk: Desk) -> None:
    """The estimate and the button, or the sentence that says what is missing."""
    try:
        plan = choices.plan_of(desk)
    except StudioError as error:
        st.info(as_written(str(error)), icon=":material/lightbulb:")
        st.button("Run", icon=":material/play_arrow:", type="primary", key="failure_run_button", disabled=True)
        return
    key = runs.key_of(plan)
    stored, begun = runs.is_finished(key), runs.begun(key)
    seconds, by = (None, "") if stored else expected(desk, plan)
    st.caption(as_written(_sentence(plan, stored, begun, seconds, by)))
    label = "Show the stored result" if stored else "Go on" if begun else "Run"
    with st.container(horizontal=True, gap="small"):
        st.button(
            label,
            icon=":material/visibility:" if stored else ":material/play_arrow:",
            type="primary",
            key="failure_run_button",
            on_click=lambda: work.start(desk, plan),
            disabled=desk.job is not None,
            help="It runs in the background: leave the page, come back, it goes on.",
            width="stretch",
        )
        if not stored and seconds is None and timing.can_time(plan):
            st.button(
                "Estimate the time",
                icon=":material/timer:",
                key="failure_time",
                on_click=lambda: work.time_first(desk, plan),
                disabled=desk.job is not None,
                help=f"Asks {timing.ASKED} of the questions and measures how long they take",
            )


def _sentence(plan: FailurePlan, stored: bool, begun: bool, seconds: float | None, by: str) -> str:
    if stored:
        return "These settings were run before: looking costs nothing."
    start = f"Asks the model until there are {plan.k:,} right and {plan.k:,} wrong answers."
    if plan.labels == "given":
        start = f"Takes {plan.k:,} cases of each class from the file; the model reads them once."
    if begun:
        start += " Part of it was collected already."
    if seconds is None:
        return f"{start} How long that takes is not known yet."
    return f"{start} About {duration(seconds)}, {by}."


def expected(desk: Desk, plan: FailurePlan) -> tuple[float | None, str]:
    """Seconds that a plan takes and what that is judged by; None where nothing like it was run or timed."""
    for run in runs.finished_runs()[:_LOOKED_AT]:
        same = (run.plan.task, run.plan.model, run.plan.quantization, run.plan.labels)
        if same != (plan.task, plan.model, plan.quantization, plan.labels):
            continue
        try:
            return timing.scaled(runs.load(run.key), plan), "judged by an earlier run of this model"
        except InputError:
            continue
    timed = desk.timings.get(timing.about(plan))
    if timed is None:
        return None, ""
    by = f"judged by {timed.asked} questions, {timed.wrong} of them answered wrongly; fitting the probes comes on top"
    return timing.expected(timed, plan), by
