"""The server's sweeps: one engine of one worker of its own, so that a long sweep never keeps a page waiting."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from isi_core.ui import resources

if TYPE_CHECKING:
    from isi_core.studies.sweep.control import Sweeps


def sweeps() -> Sweeps:
    """The sweeps of this server's store."""
    return _sweeps(resources.store().folder)


@st.cache_resource(show_spinner=False)
def _sweeps(folder: Path) -> Sweeps:
    from isi_core.store.runs import Store
    from isi_core.studies.jobs import Jobs
    from isi_core.studies.sweep.control import Sweeps

    # A connection of its own: a sweep that writes does not hold up a page that reads.
    store = Store(folder)
    return Sweeps(store, Jobs(store, workers=1), resources.shelf)
