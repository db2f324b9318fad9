"""The desk: everything one session has on the page Run History, under one key."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from isi_core.domain.evaluation import Evaluation
from isi_core.store.run_search import BIN_DAYS, RunFilter, empty_bin
from isi_core.store.runs import StoredRun
from isi_core.studies.rerun import Repeated
from isi_core.ui import resources

EACH = 200
"""Runs on a page of the table."""
MOST_COMPARED = 6
_KEY = "runs_desk"
_LOADED = 24


@dataclass
class Desk:
    """What lies on the desk of one session.

    Attributes
    ----------
    selected : ids of the runs that were ticked, in the table's order.
    undo : ids of the runs that were deleted last.
    job : a repetition that is running.
    repeated : what the last one came to.
    loaded : whole runs that were looked at lately.
    """

    filter: RunFilter = field(default_factory=RunFilter)
    order: str = "Newest first"
    page: int = 0
    selected: list[int] = field(default_factory=list)
    undo: list[int] = field(default_factory=list)
    error: str = ""
    said: str = ""
    job: str | None = None
    repeated: list[Repeated] = field(default_factory=list)
    table: int = 0
    loaded: OrderedDict[int, Evaluation] = field(default_factory=OrderedDict)
    shown: dict[str, Any] = field(default_factory=dict)

    def hush(self) -> None:
        """Take back what was said about the action before."""
        self.error = self.said = ""

    def narrow(self, wanted: RunFilter) -> None:
        """Look at other runs."""
        if wanted != self.filter:
            self.filter, self.page = wanted, 0
            self.select([])

    def select(self, runs: list[int]) -> None:
        """Tick these runs and no others; the table is drawn anew."""
        self.selected = runs
        self.table += 1

    def whole(self, run: StoredRun) -> Evaluation:
        """A run with everything that was measured.

        Raises
        ------
        InputError : it is damaged or gone.
        """
        if run.id not in self.loaded:
            self.loaded[run.id] = resources.store().load(run.id)
        self.loaded.move_to_end(run.id)
        while len(self.loaded) > _LOADED:
            self.loaded.popitem(last=False)
        return self.loaded[run.id]


def open_desk() -> Desk:
    """The session's desk; what has lain in the bin for long is removed when it is first opened.

    Raises
    ------
    InputError : the store cannot be opened.
    """
    desk: Desk | None = st.session_state.get(_KEY)
    if desk is None:
        empty_bin(resources.store(), BIN_DAYS)
        desk = Desk()
        st.session_state[_KEY] = desk
    return desk
