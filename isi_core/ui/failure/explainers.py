"""The registry of explainers as check boxes, baselines first; each says what it reads."""

from __future__ import annotations

from functools import partial

import streamlit as st

from isi_core.studies.failure.explainers import EXPLAINERS, ExplainerRow
from isi_core.ui.failure.desk import Desk

_GROUPS = {
    "baseline": "Baselines · one number or word of each case",
    "probe": "Probes · learn from the model's activations, layer by layer",
    "black box": "Black box · ask the model again for every case",
    "combined": "Everything together",
}
_BESIDE_EACH_OTHER = ("baseline", "black box")


def choose(desk: Desk) -> None:
    """A check box for each explainer that the task allows."""
    chosen = in_order(desk)
    with st.expander(f"Explainers: {len(chosen)} of {len(_possible(desk))} chosen"):
        for kind, heading in _GROUPS.items():
            rows = [row for row in EXPLAINERS.values() if row.kind == kind]
            if not rows:
                continue
            st.caption(f"**{heading}**")
            columns = st.columns(2 if kind in _BESIDE_EACH_OTHER else 1)
            for place, row in enumerate(rows):
                with columns[place % len(columns)]:
                    _box(desk, row)


def _box(desk: Desk, row: ExplainerRow) -> None:
    key, lacks = f"failure_explainer_{row.key}", _lacks(desk, row)
    st.session_state[key] = row.key in desk.explainers and not lacks
    st.checkbox(
        row.title,
        key=key,
        help=f"Reads {row.reads}." + (f" Not for this task: {lacks}." if lacks else ""),
        disabled=bool(lacks),
        on_change=partial(_tick, desk, row.key, key),
    )


def _tick(desk: Desk, explainer: str, key: str) -> None:
    desk.explainers = [other for other in desk.explainers if other != explainer]
    if st.session_state[key]:
        desk.explainers.append(explainer)
    desk.error = desk.told = ""


def _lacks(desk: Desk, row: ExplainerRow) -> str:
    return row.lacks(desk.task)  # type: ignore[arg-type]  # a task while benchmarks are chosen


def _possible(desk: Desk) -> list[str]:
    return [row.key for row in EXPLAINERS.values() if not _lacks(desk, row)]


def in_order(desk: Desk) -> list[str]:
    """The chosen explainers that the task allows, in the registry's order, whichever was clicked first."""
    return [key for key in _possible(desk) if key in desk.explainers]


def nulls(desk: Desk) -> list[str]:
    """Chosen explainers whose best layer a permutation null can be taken of."""
    return [key for key in in_order(desk) if EXPLAINERS[key].by_layer]
