"""The sweeps panel: plan, estimate, start; watch; analyse. Mounted by the Dataset Browser."""

from __future__ import annotations

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.ui import resources
from isi_core.ui.sweeps import findings, planning, watching
from isi_core.ui.sweeps.desk import open_desk
from isi_core.ui.wording import as_written


def show(dataset_name: str) -> None:
    """Everything about the sweeps of a dataset that `resources.dataset` finds by this name."""
    desk = open_desk()
    try:
        dataset = resources.dataset(dataset_name)
        st.caption(
            "A sweep asks every observation under every condition you choose, so that “it happened once” becomes “it "
            "happens in so many of so many cases”. A finished one also gives the averages beside each single value."
        )
        with st.container(border=True):
            planning.show(desk, dataset)
        if desk.error:
            st.error(as_written(desk.error), icon=":material/error:")
        sweep = watching.choose(desk, dataset.name)
        if sweep:
            watching.show(desk, sweep)
            st.divider()
            findings.show(desk, sweep, dataset)
    except StudioError as error:
        st.error(as_written(str(error)), icon=":material/error:")
