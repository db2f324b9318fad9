"""What all sessions share: the store, the job engine, the model shelf, datasets and averages.

Everything heavy is imported on first need: Home is on screen before torch is.
"""

from __future__ import annotations

import io
import threading
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from isi_core.datasets.built_in import load_dataset
from isi_core.datasets.catalogue import dataset_path, dataset_stamp
from isi_core.datasets.pictures import open_picture
from isi_core.domain.observation import Dataset
from isi_core.reports.figures import heat_map_overlay, thumbnail
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
def warm_up() -> None:
    """Import the model libraries while a person still looks at the page, so that the first answer need not wait."""

    def imports() -> None:
        import_module("isi_core.models.vlm.hugging_face")
        import_module("isi_core.models.entailment.hugging_face")

    threading.Thread(target=imports, name="warm up", daemon=True).start()


def dataset(name: str) -> Dataset:
    """A dataset of the catalogue by name, read once, and again when it was changed.

    Raises
    ------
    InputError : there is none of this name.
    """
    return _dataset(name, str(dataset_path(name)), dataset_stamp(name))


@st.cache_resource(show_spinner=False, max_entries=8)
def _dataset(name: str, path: str, stamp: int) -> Dataset:
    return load_dataset(name)


_averages_stamps: dict[tuple[str, str], tuple[int, ...]] = {}


def _as_on_disk(kept: Averages | None) -> bool:
    """Whether kept averages are what the files hold; that there are none is looked up each time."""
    from isi_core.studies.averages import averages_stamp

    if kept is None:
        return False
    names = str(kept.model["name"]), kept.dataset
    return _averages_stamps.get(names) == averages_stamp(*names)


@st.cache_resource(show_spinner=False, validate=_as_on_disk)
def averages(model: str, dataset_name: str) -> Averages | None:
    """The averages of a model over a dataset, read again when their file changes; None where there are none.

    Raises
    ------
    InputError : the file holds something else.
    """
    from isi_core.studies.averages import averages_stamp, load_averages

    _averages_stamps[model, dataset_name] = averages_stamp(model, dataset_name)
    return load_averages(model, dataset_name)


@st.cache_data(show_spinner=False, max_entries=256)
def small_picture(path: Path, modified: int, side: int) -> bytes:
    """A picture file as a PNG of at most `side` pixels; `modified` tells one version of it from the next."""
    return png(thumbnail(open_picture(path), side))


@st.cache_data(show_spinner=False, max_entries=64)
def overlay(digest: str, opacity: float, _image: Image.Image, _heat_map: NDArray[np.float64]) -> bytes:
    """The heat map over the picture as PNG; `digest` names the answer that both belong to."""
    return png(heat_map_overlay(_image, _heat_map, opacity))


def png(image: Image.Image) -> bytes:
    """A picture as PNG bytes: lossless, quick rather than small."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
