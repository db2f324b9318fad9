"""The one button: start a benchmark in the background, watch it, take its result."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.domain.progress import Progress
from isi_core.reports.wording import duration
from isi_core.studies.failure.plan import FailurePlan
from isi_core.studies.jobs import Job
from isi_core.ui import background, resources
from isi_core.ui.failure import runs, timing
from isi_core.ui.failure.desk import Desk
from isi_core.ui.wording import as_written

if TYPE_CHECKING:
    from isi_core.studies.jobs import Jobs

_SURE_AFTER = 4.0  # seconds, before which a rate says nothing


def engine() -> Jobs:
    """The engine that benchmarks and what follows them run on, one after the other."""
    return _engine(resources.store().folder)


@st.cache_resource(show_spinner=False)
def _engine(folder: Path) -> Jobs:
    """An engine of one worker: a benchmark of an hour leaves the other pages their workers."""
    from isi_core.store.runs import Store
    from isi_core.studies.jobs import Jobs

    return Jobs(Store(folder), workers=1)


def start(desk: Desk, plan: FailurePlan) -> None:
    """Run the plan in the background, or show its result at once where it was run before."""
    desk.error = desk.told = ""
    if desk.job is not None:
        return
    key = runs.key_of(plan)
    if runs.is_finished(key):
        desk.look_at(key)
        desk.told = "These settings were run before: this is the stored result, nothing was asked again."
        return
    try:
        folder = runs.prepare(plan)
        shelf = resources.shelf()

        def work(progress: Progress) -> str:
            from isi_core.studies.failure.run import run

            run(plan, shelf, folder, with_time_left(progress))
            runs.keep(plan)
            return key

        title = f"Failure prediction: {plan.task}, {plan.model}, k = {plan.k:,}"
        desk.job = engine().submit("failure", title[:200], work, key=f"failure {key}")
        desk.plan = plan
    except StudioError as error:
        desk.error = str(error)


def time_first(desk: Desk, plan: FailurePlan) -> None:
    """Ask a few of the plan's questions in the background and keep how long they took."""
    desk.error = desk.told = ""
    if desk.job is not None:
        return
    try:
        shelf = resources.shelf()
        title = f"Timing {plan.model}"[:200]
        desk.job = resources.jobs().submit("timing", title, lambda progress: timing.measure(plan, shelf, progress))
        desk.timed = plan
    except StudioError as error:
        desk.error = str(error)


def with_time_left(progress: Progress, now: Callable[[], float] = time.monotonic) -> Progress:
    """Progress that also says how long the rest takes at the rate so far."""
    began, first, last = now(), -1.0, 0.0

    def tell(message: str, fraction: float) -> None:
        nonlocal first, last
        if first < 0:
            first = fraction  # a run that goes on does not begin at nothing
        fraction = last = max(last, fraction)
        spent, done = now() - began, fraction - first
        if spent >= _SURE_AFTER and done > 0.01 and fraction < 1:
            message += f" · about {duration(spent / done * (1 - fraction))} left"
        progress(message, fraction)

    return tell


def collect(desk: Desk) -> bool:
    """Take what the job has made; True once it has ended."""

    def take(job: Job | None) -> None:
        plan, desk.plan = desk.plan, None
        carried, desk.carrying = desk.carrying, False
        if carried and job is not None and job.state == "done":
            desk.transfer = job.result
        timed, desk.timed = desk.timed, None
        if timed is not None and job is not None and isinstance(job.result, timing.Timing):
            desk.timings[timing.about(timed)] = job.result
        if plan is None:
            return
        if job is not None and job.state == "done":
            desk.look_at(runs.key_of(plan))
        elif job is not None and job.state == "cancelled":
            desk.told = "Stopped. What was collected is kept: the same settings go on from there."

    return background.collect(desk, take)


def show(desk: Desk) -> None:
    """The running benchmark with its progress, or what became of the last one."""
    background.show(desk, partial(collect, desk), "failure_cancel")
    if desk.told and desk.job is None:
        st.info(as_written(desk.told), icon=":material/info:")
