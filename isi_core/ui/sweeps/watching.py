"""Watch a sweep: state, progress of each condition, rate, time left, failures; pause, resume, cancel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.reports.wording import duration, number
from isi_core.ui import resources
from isi_core.ui.bound import bound
from isi_core.ui.sweeps import engine, place
from isi_core.ui.sweeps.desk import Desk
from isi_core.ui.wording import as_written

if TYPE_CHECKING:
    from isi_core.studies.sweep.control import SweepStatus

_POLL = 1.0  # seconds
_WORDS = {
    "planned": "planned, not started",
    "probing": "estimating the time",
    "queued": "waiting for another sweep",
    "running": "running",
    "pausing": "pausing after this evaluation",
    "paused": "paused",
    "stopping": "stopping",
    "cancelled": "cancelled",
    "interrupted": "interrupted: its process ended",
    "failed": "stopped early",
    "done": "done",
}


def choose(desk: Desk, dataset_name: str) -> str:
    """Which sweep of the dataset is looked at; "" where there is none."""
    found = {status.id: status for status in engine.sweeps().all() if status.dataset == dataset_name}
    if not found:
        desk.sweep = ""
        return ""
    if desk.sweep not in found:
        desk.sweep = next(iter(found))

    def named(sweep: str) -> str:
        status = found.get(sweep)
        return f"{status.title} · {_WORDS[status.state]} · {status.id[:6]}" if status else sweep

    st.selectbox("Sweep", list(found), **bound(desk, "sweep"), format_func=named)
    return desk.sweep


def show(desk: Desk, sweep: str) -> None:
    """The sweep's progress and its buttons, live while it runs, in every tab that looks."""
    running = engine.sweeps().status(sweep).running
    desk.was_running = sweep if running else ""
    if running:
        _live(desk, sweep)
    else:
        _still(desk, sweep)


@st.fragment(run_every=_POLL)
def _live(desk: Desk, sweep: str) -> None:
    status = engine.sweeps().status(sweep)
    if not status.running and desk.was_running == sweep:
        desk.was_running = ""
        resources.averages.clear()  # a finished sweep's stand on the pages from now on
        st.rerun()
    _draw(desk, status)


def _still(desk: Desk, sweep: str) -> None:
    _draw(desk, engine.sweeps().status(sweep))


def _draw(desk: Desk, status: SweepStatus) -> None:
    share = (status.done + status.failed) / max(status.planned, 1)
    st.markdown(as_written(_sentence(status)))
    st.progress(min(1.0, share))
    _buttons(desk, status)
    if status.error:
        st.error(as_written(status.error), icon=":material/error:")
    if status.state == "interrupted":
        st.info(
            "The server stopped while this sweep ran. Everything that was evaluated is stored: Resume does the rest.",
            icon=":material/lightbulb:",
        )
    # Live progress is in view; of a sweep that rests, what it found matters more.
    with st.container() if status.running else st.expander("Progress of each condition"):
        st.dataframe(
            _groups(status),
            hide_index=True,
            width="stretch",
            height=min(38 + 35 * len(status.groups), 390),
            key=f"sweeps_groups_{status.id}",
            column_config={
                "progress": st.column_config.ProgressColumn("progress", min_value=0.0, max_value=1.0, format="percent"),
            },
        )
    if status.failures:
        with st.expander(f"{status.failed:,} failed", icon=":material/warning:"):
            for sentence, count in status.failures[:20]:
                st.markdown(f"- {count:,} × {as_written(sentence, 300)}")
            if len(status.failures) > 20:
                st.caption(f"and {len(status.failures) - 20:,} other reasons; the CSV of the rows has them all")


def _sentence(status: SweepStatus) -> str:
    parts = [_WORDS[status.state], f"{status.done:,} of {status.planned:,} done"]
    if status.failed:
        parts.append(f"{status.failed:,} failed")
    if status.missing and status.rate is not None:
        parts.append(f"{number(status.rate)} evaluations a second")
    if status.missing and status.seconds_left is not None:
        parts.append(f"about {duration(status.seconds_left)} left")
    if status.running and status.message.startswith(("Waiting", "Loading")):
        parts.append(status.message)
    return " · ".join(parts)


def _groups(status: SweepStatus) -> list[dict[str, Any]]:
    several = len({group.model for group in status.groups}) > 1
    return [
        {
            **({"model": group.model} if several else {}),
            "condition": group.condition,
            "progress": (group.done + group.failed) / group.planned if group.planned else None,
            "done": group.done,
            "failed": group.failed,
            "planned": group.planned,
            "left out": group.left_out,
        }
        for group in status.groups
    ]


def _buttons(desk: Desk, status: SweepStatus) -> None:
    sweeps = engine.sweeps()
    with st.container(horizontal=True, gap="small"):
        if status.running:
            stopping = status.state in ("pausing", "stopping")
            ask = "Start" if status.state == "probing" else "Go on"
            if status.state in ("probing", "pausing"):
                _button(desk, ask, "play_arrow", "resume", lambda: place.start(desk, status.id))
            if status.state != "probing":
                _button(desk, "Pause", "pause", "pause", lambda: sweeps.pause(status.id), disabled=stopping)
            _button(desk, "Cancel", "stop", "cancel", lambda: sweeps.cancel(status.id), status.state == "stopping")
            return
        if status.missing:
            word = "Start this sweep" if status.state == "planned" else "Resume"
            _button(desk, word, "play_arrow", "resume", lambda: place.start(desk, status.id))
        if status.failed:

            def again() -> None:
                sweeps.retry_failures(status.id)
                place.start(desk, status.id)

            _button(desk, "Try failed ones again", "refresh", "retry", again)
        _button(desk, "Delete", "delete", "delete", lambda: sweeps.delete(status.id))


def _button(desk: Desk, label: str, icon: str, key: str, do: Callable[[], object], disabled: bool = False) -> None:
    def run() -> None:
        desk.error = ""
        try:
            do()
        except StudioError as error:
            desk.error = str(error)

    if st.button(label, icon=f":material/{icon}:", key=f"sweeps_{key}", disabled=disabled, on_click=run):
        st.rerun()
