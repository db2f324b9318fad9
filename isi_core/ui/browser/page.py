"""The page: its head, and the part of it that is open."""

from __future__ import annotations

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.ui.browser import author, card, detail, filters, importer, listing, top
from isi_core.ui.browser.desk import AUTHOR, CARD, IMPORT, SWEEPS, Desk, open_desk
from isi_core.ui.wording import as_written


def show() -> None:
    """Draw the page; what the store or a dataset's folder refuses is one sentence on it."""
    detail.leave_if_asked()
    try:
        desk = open_desk()
        importer.collect(desk)
        top.show(desk)
        _section(desk)
    except StudioError as error:
        st.error(as_written(str(error)), icon=":material/error:")


def _section(desk: Desk) -> None:
    if desk.section == CARD:
        card.show(desk)
    elif desk.section == IMPORT:
        importer.show(desk)
    elif desk.section == AUTHOR:
        author.show(desk)
    elif desk.section == SWEEPS:
        from isi_core.ui.sweeps import panel

        panel.show(desk.dataset_name)
    else:
        view = desk.view()
        filters.show(desk, view)
        with st.container(key="stack_browser"):
            left, right = st.columns([6, 5], gap="large")
        with left:
            listing.show(desk, view)
        with right:
            detail.show(desk, view)
