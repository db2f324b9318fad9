"""What stands where results will be, before there are any."""

from __future__ import annotations

import streamlit as st

from isi_core.ui.counterfactuals.desk import Desk


def show(desk: Desk) -> None:
    """What the page does, in three steps, and what to press first."""
    if desk.job is not None:
        return
    st.markdown(
        "**What this page does.** A classifier says “old” of a face, but not why. Here the same face is drawn again "
        "with one attribute more, such as glasses, wrinkles or a hat, and everything else as it was. How far the "
        "classifier's score moves is that attribute's *influence*:"
    )
    st.markdown(
        "1. **Edit** every picture along a tree of attributes: hair › colour › grey.\n"
        "2. **Ask** the classifier about each picture with and without the attribute.\n"
        "3. **Rank** the attributes by the mean change, with intervals, flagging edits that went wrong."
    )
    st.info(
        "No ranking yet: press **Rank the attributes**. With the built-in faces it takes seconds and needs no "
        "download, and since their labels follow a known rule, the result can be checked against it.",
        icon=":material/lightbulb:",
    )
    st.caption(
        "Then: look at each counterfactual, see which attributes act on each other, compare two classifiers, find a "
        "shortcut that a network has learned, change the tree and ask again. The method is DiffEx (CVPR 2025)."
    )
