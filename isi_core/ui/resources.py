"""What all sessions share: the store, the job engine, the model shelf, datasets and averages.

Everything heavy is imported on first need: Home is on screen before torch is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from isi_core.datasets.built_in import load_dataset
from isi_core.domain.observation import Dataset
from isi_core.store.runs import Store

if TYPE_CHECKING:
    from isi_core.models.shelf import Shelf
    from isi_core.studies.averages import Averages
    from isi_core.studies.jobs import Jobs


@st.cache_resource(show_spinner=False)
def store() -> Store:
    """The one store of this server."""
    return Store()


@st.cache_resource(show_spinner=False)
def jobs() -> Jobs:
    """The one background engine of this server."""
    from isi_core.studies.jobs import Jobs

    return Jobs(store())


@st.cache_resource(show_spinner=False)
def shelf() -> Shelf:
    """The one shelf of resident models of this server."""
    from isi_core.models.shelf import Shelf

    return Shelf()


@st.cache_resource(show_spinner=False)
def dataset(name: str) -> Dataset:
    """A dataset by name, read once."""
    return load_dataset(name)


@st.cache_resource(show_spinner=False)
def averages(model: str, dataset_name: str) -> Averages | None:
    """The averages of a model over a dataset, None where they were never measured."""
    from isi_core.studies.averages import load_averages

    return load_averages(model, dataset_name)
