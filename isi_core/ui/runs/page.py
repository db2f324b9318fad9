"""The page: the runs, what can be done with those that are ticked, and those side by side."""

from __future__ import annotations

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.ui.runs import actions, comparison, listing, repeating
from isi_core.ui.runs.desk import open_desk
from isi_core.ui.wording import as_written


def show() -> None:
    """Draw the page; a store that cannot be read is one sentence on it."""
    actions.leave_if_asked()
    try:
        desk = open_desk()
        repeating.collect(desk)
        if desk.error:
            st.error(as_written(desk.error), icon=":material/error:")
        if desk.said:
            st.success(as_written(desk.said), icon=":material/check_circle:")
        runs = listing.show(desk)
        actions.undo(desk)
        if runs:
            actions.bar(desk, runs)
        repeating.show(desk)
        if runs:
            comparison.show(desk, runs)
        actions.show_bin(desk)
    except StudioError as error:
        st.error(as_written(str(error)), icon=":material/error:")
