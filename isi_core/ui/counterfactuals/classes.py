"""Several classes: what turns one into another, and what each class listens to."""

from __future__ import annotations

from functools import partial

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.reports.counterfactual_classes import (
    classes_csv,
    classes_figure,
    turned_csv,
    turned_figure,
    turned_rows,
)
from isi_core.ui import frame
from isi_core.ui.counterfactuals.desk import Desk
from isi_core.ui.counterfactuals.kept import Kept
from isi_core.ui.wording import as_written


def show(desk: Desk, made: Kept) -> None:
    """Two matrices, and the best edit for each pair of classes."""
    result = made.result
    st.markdown("**Which edit turns one class into another?**")
    try:
        frame.figure(turned_figure(result), "ranking_turned_classes")
        st.dataframe(turned_rows(result), hide_index=True, width="stretch", key="ranking_turns")
    except StudioError as error:
        st.info(as_written(str(error)), icon=":material/lightbulb:")
    st.markdown("**What does each class listen to?**")
    try:
        frame.figure(classes_figure(result), "ranking_classes")
    except StudioError as error:
        st.info(as_written(str(error)), icon=":material/lightbulb:")
    frame.downloads(
        [
            frame.Download(label, f"{name}_{made.key[:8]}.csv", f"ranking_csv_{name}", partial(make, result))
            for label, make, name in (
                ("Turned pictures as CSV", turned_csv, "turned"),
                ("Rankings of all classes as CSV", classes_csv, "classes"),
            )
        ],
        tertiary=True,
    )
