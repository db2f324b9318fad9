"""Two trials side by side: every measure, and the difference in semantic entropy with its interval."""

from __future__ import annotations

import math
from functools import partial

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.measures.answer_groups import entropies
from isi_core.measures.statistics import Interval, half_sample_difference
from isi_core.reports import uncertainty_figures
from isi_core.reports.wording import number, one_line
from isi_core.ui import frame
from isi_core.ui.uncertainty import sources, work
from isi_core.ui.uncertainty.desk import Desk, Subject, View
from isi_core.ui.uncertainty.measures import rows_of, shown
from isi_core.ui.vqa.desk import session_entries
from isi_core.ui.wording import as_written


def second_view(desk: Desk, view: View) -> View | None:
    """The trial that the view is compared with, where there is one whose answers are compared."""
    second = _second(desk, _others(desk, view))
    try:
        return desk.view(second) if second is not None else None
    except StudioError:
        return None


def difference_of(desk: Desk, view: View, other: View) -> Interval:
    """Semantic entropy of one view minus the other's, with its interval; computed once."""
    return desk.computed(
        ("difference", view.key, other.key),
        lambda: half_sample_difference(
            entropies(view.groups), len(view.answers), entropies(other.groups), len(other.answers)
        ),
    )


def _others(desk: Desk, view: View) -> list[Subject]:
    known = sources.every_subject(desk, session_entries())
    return [s for s in known if s.samples and s.fingerprint != view.subject.fingerprint]


def _second(desk: Desk, others: list[Subject]) -> Subject | None:
    chosen = next((s for s in others if s.fingerprint == desk.second), None)
    return chosen or (others[0] if others else None)


def show(desk: Desk, view: View) -> None:
    """Choose a second trial and see what the two differ in."""
    others = _others(desk, view)
    second = _second(desk, others)
    if second is None:
        st.caption(
            "There is no second trial with samples yet: measure the same question with another picture or context on "
            "*VQA Interventions*, or open a stored run, and come back."
        )
        return
    names = {s.fingerprint: s.name for s in others}
    st.session_state["uncertainty_second"] = second.fingerprint

    def choose() -> None:
        desk.second = st.session_state["uncertainty_second"]

    st.selectbox(
        "Compare with",
        list(names),
        key="uncertainty_second",
        format_func=lambda k: names.get(k, k),
        on_change=choose,
    )
    try:
        other = desk.view(second)
    except StudioError as error:
        st.error(as_written(str(error)), icon=":material/error:")
        return
    if other is None:
        st.caption(f"{as_written(desk.entailment_model)} has not compared its answers yet.")
        st.button(
            "Compare its answers",
            key="uncertainty_compare_second",
            on_click=partial(work.compare, desk, second),
            disabled=desk.job is not None,
        )
        return
    _difference(desk, view, other)
    _table(desk, view, other)
    if len(view.answers) != len(other.answers):
        st.caption(
            f"{len(view.answers)} against {len(other.answers)} answers: entropies from fewer answers come out lower. "
            "Draw as many for both before you compare."
        )
    if view.subject.question != other.subject.question:
        st.caption("The two were asked different questions: a difference may be one of the questions.")


def _difference(desk: Desk, view: View, other: View) -> None:
    most = math.log(max(len(view.answers), len(other.answers), 2))
    interval = difference_of(desk, view, other)
    made = uncertainty_figures.difference_figure(interval, view.subject.name, other.subject.name, most)
    frame.figure(made, "uncertainty_difference")


def _table(desk: Desk, view: View, other: View) -> None:
    first, second = rows_of(desk, view), rows_of(desk, other)
    pairs = list(zip(first, second, strict=True))
    names = [as_written(one_line(v.subject.name, 80)) for v in (view, other)]
    st.caption(f"First: {names[0]}  \nSecond: {names[1]}")
    st.table(
        {
            "Measure": [row.name for row in first],
            "First": [shown(row) if row.measured else "–" for row in first],
            "Second": [shown(row) if row.measured else "–" for row in second],
            "Difference": [number(a.value - b.value) if a.measured and b.measured else "–" for a, b in pairs],
            "Unit": [row.unit for row in first],
        },
        border="horizontal",
        hide_index=True,
    )
