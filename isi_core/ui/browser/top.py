"""The head of the page: which dataset, which part of the page, what went wrong."""

from __future__ import annotations

from functools import partial

import streamlit as st

from isi_core.datasets.catalogue import BUILT_IN, dataset_names
from isi_core.ui.bound import guarded
from isi_core.ui.browser.desk import SECTIONS, Desk
from isi_core.ui.wording import as_written


def show(desk: Desk) -> None:
    """Dataset, parts of the page, messages."""
    names = dataset_names()
    st.session_state["browser_dataset"] = desk.dataset_name
    st.session_state["browser_section"] = desk.section

    def choose() -> None:
        desk.open_dataset(st.session_state["browser_dataset"])

    def turn() -> None:
        desk.section = st.session_state["browser_section"] or desk.section

    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium", key="browser_head"):
        st.selectbox(
            "Dataset",
            names,
            key="browser_dataset",
            format_func=lambda name: f"{name} (built in)" if name == BUILT_IN else name,
            on_change=partial(guarded, desk, choose),
            width=320,
        )
        st.segmented_control(
            "Part of the page",
            SECTIONS,
            key="browser_section",
            on_change=partial(guarded, desk, turn),
            label_visibility="collapsed",
        )
    if desk.error:
        st.error(as_written(desk.error), icon=":material/error:")
    if desk.said:
        st.success(as_written(desk.said), icon=":material/check_circle:")
