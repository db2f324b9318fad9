"""The desk: everything one session has on the page Dataset Browser, under one key.

As on the other pages: widgets forget, the desk does not; each run writes the desk's values into the widgets, and
each widget's callback writes back.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

import streamlit as st

from isi_core.datasets.catalogue import BUILT_IN, dataset_names
from isi_core.datasets.importing import Imported, Source
from isi_core.domain.interventions import PictureIntervention
from isi_core.domain.observation import Dataset, Observation
from isi_core.store.run_search import models_of, runs_stamp
from isi_core.studies.observed import Observed, observe
from isi_core.studies.slices import Slice, disputed_in, measure_of, sliced
from isi_core.ui import resources

BROWSE, CARD, IMPORT, AUTHOR, SWEEPS = "Browse", "Dataset card", "Import", "Author", "Sweeps"
SECTIONS = (BROWSE, SWEEPS, CARD, IMPORT, AUTHOR)
"""The parts of the page."""
DATASET_ORDER = "Dataset order"
ORDERS = {
    DATASET_ORDER: "",
    "Picture name": "name",
    "Question length": "length",
    "Semantic entropy": "semantic_entropy",
    "Number of clusters": "n_clusters",
    "Attention on the image": "attention_image",
    "Attention on the context": "attention_context",
    "Attention on the question": "attention_question",
}
_KEY = "browser_desk"
Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class View:
    """The dataset through the slice: which observations, in which order, and what the model's runs say of them."""

    dataset: Dataset
    observations: list[Observation]
    observed: dict[str, Observed]
    models: list[str]


@dataclass
class Importing:
    """An import on its way: what was looked at, and what became of it.

    Attributes
    ----------
    held : closes the folder that a zip file was unpacked to.
    job : what is running, looking or importing.
    """

    source: Source | None = None
    held: ExitStack = field(default_factory=ExitStack)
    name: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    job: str | None = None
    done: Imported | None = None
    version: int = 0


@dataclass
class Form:
    """An observation that is being written.

    Attributes
    ----------
    editing : id of the one that is changed; None for a new one.
    picture, picture_name : the natural picture's file.
    marked : how its annotated picture comes about: none, keep, draw, upload.
    kept : the annotated picture's file that is there already, and its name.
    version : counts forms, so that their widgets and canvas begin anew.
    """

    editing: str | None = None
    picture: bytes | None = None
    picture_name: str = ""
    marked: str = "none"
    kept: tuple[bytes, str] | None = None
    uploaded: tuple[bytes, str] | None = None
    drawings: tuple[PictureIntervention, ...] = ()
    texts: dict[str, str] = field(default_factory=dict)
    truth: bool | None = None
    version: int = 0
    shown_canvas: dict[str, Any] = field(default_factory=dict)


@dataclass
class Desk:
    """What lies on the desk of one session.

    Attributes
    ----------
    section : which part of the page is open.
    slice_name : the saved slice that the filter came from; "" for none.
    current, pinned : ids of the observation that is looked at, and of the one held beside it.
    job : a search for near-duplicates that is running.
    pairs : by dataset, what that search found.
    """

    dataset_name: str = BUILT_IN
    section: str = BROWSE
    layout: str = "Gallery"
    filter: Slice = field(default_factory=Slice)
    slice_name: str = ""
    order: str = DATASET_ORDER
    descending: bool = False
    page: int = 0
    current: str | None = None
    pinned: str | None = None
    error: str = ""
    said: str = ""
    job: str | None = None
    job_dataset: str = ""
    pairs: dict[str, Any] = field(default_factory=dict)
    importing: Importing = field(default_factory=Importing)
    form: Form = field(default_factory=Form)
    shown: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def hush(self) -> None:
        """Take back what was said about the action before."""
        self.error = self.said = ""

    @property
    def dataset(self) -> Dataset:
        """The dataset that is looked at."""
        return resources.dataset(self.dataset_name)

    def open_dataset(self, name: str) -> None:
        """Look at another dataset, all of it."""
        if name != self.dataset_name:
            self.dataset_name, self.page, self.current, self.pinned = name, 0, None, None
            self.filter, self.slice_name = Slice(model=self.filter.model), ""
            self.form = Form(version=self.form.version + 1)

    def narrow(self, wanted: Slice, name: str = "") -> None:
        """Look at the observations of a slice."""
        if wanted != self.filter:
            self.filter, self.page = wanted, 0
        self.slice_name = name

    def once(self, name: str, key: Any, make: Callable[[], Made]) -> Made:
        """What `make` makes, kept until `key` changes."""
        if name not in self.shown or self.shown[name][0] != key:
            self.shown[name] = (key, make())
        made: Made = self.shown[name][1]
        return made

    def view(self) -> View:
        """The dataset through the filter, in the chosen order.

        Raises
        ------
        InputError : the store is damaged, or the dataset is gone.
        """
        dataset, store = self.dataset, resources.store()
        stamp = runs_stamp(store)
        models = self.once("models", (self.dataset_name, stamp), lambda: models_of(store, self.dataset_name))
        if self.filter.model not in models:
            self.filter = Slice(**{**self.filter.__dict__, "model": models[0] if models else ""})
        model = self.filter.model
        observed = self.once(
            "observed", (dataset, model, stamp), lambda: observe(store, dataset, model) if model else {}
        )
        found = self.once(
            "sliced",
            (dataset, self.filter, model, stamp, self.order, self.descending),
            lambda: self._sorted(
                sliced(dataset, self.filter, observed, disputed_in(store, dataset, self.filter)), observed
            ),
        )
        return View(dataset, found, observed, models)

    def _sorted(self, found: list[Observation], observed: dict[str, Observed]) -> list[Observation]:
        by = ORDERS[self.order]
        if not by:
            return found[::-1] if self.descending else found
        values: dict[str, Any] = {}
        for o in found:
            if by in ("name", "length"):
                values[o.id] = o.image.name.casefold() if by == "name" else len(o.question.split())
            else:
                seen = observed.get(o.id)
                values[o.id] = measure_of(seen.run(self.filter.image, self.filter.context) if seen else None, by)
        known = [o for o in found if values[o.id] is not None]
        known.sort(key=lambda o: values[o.id], reverse=self.descending)
        return known + [o for o in found if values[o.id] is None]


def open_desk() -> Desk:
    """The session's desk; it goes on with the built-in dataset when its own was deleted."""
    desk: Desk | None = st.session_state.get(_KEY)
    if desk is None:
        named = st.query_params.get("dataset", BUILT_IN)
        desk = Desk(dataset_name=named if named in dataset_names() else BUILT_IN)
        st.session_state[_KEY] = desk
    if desk.dataset_name not in dataset_names():
        desk.open_dataset(BUILT_IN)
    ids = {o.id for o in desk.dataset.observations}
    desk.current = desk.current if desk.current in ids else None
    desk.pinned = desk.pinned if desk.pinned in ids else None
    return desk
