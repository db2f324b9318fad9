"""A desk's running work: taken once it has ended, shown with its progress while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.studies.jobs import Job
from isi_core.ui import resources
from isi_core.ui.wording import as_written

INTERRUPTED = "The work was interrupted when the server stopped: press the button again."
_POLL = 0.2  # seconds


class Busy(Protocol):
    """A desk that may have a job running, and a place for the sentence that says why it failed."""

    job: str | None
    error: str


def collect(desk: Busy, take: Callable[[Job | None], None]) -> bool:
    """Hand a job that has ended (None where it is not known any more) to `take`; True once there is none left."""
    if desk.job is None:
        return True
    try:
        job = resources.jobs().get(desk.job)
    except StudioError:
        job = None
    if job is not None and job.live:
        return False
    desk.job = None
    if job is None or job.state == "interrupted":
        desk.error = INTERRUPTED
    elif job.state == "failed":
        desk.error = job.error
    take(job)
    return True


@st.fragment(run_every=_POLL)
def _watch(desk: Busy, collected: Callable[[], bool], cancel_key: str) -> None:
    if desk.job is None or collected():
        st.rerun()
    number = desk.job
    job = resources.jobs().get(number)
    bar, stop = st.columns([5, 1], vertical_alignment="center")
    bar.progress(min(1.0, max(0.0, job.fraction)), text=as_written(job.message or job.title))
    if stop.button("Cancel", key=cancel_key, width="stretch"):
        resources.jobs().cancel(number)


def show(desk: Busy, collected: Callable[[], bool], cancel_key: str) -> None:
    """The running work with its progress, or why the last one failed; `collected` is the desk's own collecting."""
    if desk.job is not None:
        _watch(desk, collected, cancel_key)
    if desk.error:
        st.error(as_written(desk.error), icon=":material/error:")
