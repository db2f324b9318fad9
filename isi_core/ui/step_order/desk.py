"""The desk: everything one session has on the page Step Order, under one key.

As on the other pages: widgets forget, the desk does not; each run writes the desk's values into the widgets, and each
widget's callback writes back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import streamlit as st

from isi_core.datasets.howto_articles import BUILT_IN
from isi_core.datasets.step_catalogue import ImportedHowtos
from isi_core.models.catalogue import DEFAULT_VLM

_KEY = "order_desk"
_KEPT = 12
QUICK, FULL, OWN = "Quick look", "Full grid", "My own"
PLANS = (QUICK, FULL, OWN)
T = TypeVar("T")


@dataclass
class Desk:
    """The choices of the next study, and which one is looked at.

    Attributes
    ----------
    plan : a preset of encoders, modalities and sizes, or the user's own choice of them.
    epochs : 0 is each encoder's own number.
    seeds : so many trainings of everything, each with the next seed.
    study : id of the study that is looked at; "" for the last one.
    encoder, category : what is shown of it.
    opened : `idx` of the test pair that interventions are tried on.
    model, four_bit, asked_modality, asked_pairs, samples : of the vision-language model that is asked.
    asked : id of its answers that are looked at; "" for the last ones.
    job : the background work that this session waits for.
    when_done : takes its result.
    """

    prefix: ClassVar[str] = "order"

    data: str = BUILT_IN
    plan: str = QUICK
    encoders: list[str] = field(default_factory=list)
    modalities: list[str] = field(default_factory=lambda: ["v", "t", "vt"])
    sizes: str = "quick look"
    per_category: bool = False
    epochs: int = 0
    seed: int = 0
    seeds: int = 1
    study: str = ""
    encoder: str = ""
    category: str = "all"
    cases: str = ""
    found_by: str = ""
    opened: int | None = None
    model: str = DEFAULT_VLM
    four_bit: bool = False
    asked_modality: str = "vt"
    asked_pairs: int = 4
    samples: int = 5
    asked: str = ""
    import_path: str = ""
    imported: ImportedHowtos | None = None
    version: int = 0
    job: str | None = None
    when_done: Callable[[Any], None] | None = None
    error: str = ""
    _computed: OrderedDict[Any, Any] = field(default_factory=OrderedDict)

    def hush(self) -> None:
        """Take back what was said about the action before."""
        self.error = ""

    def computed(self, key: Any, make: Callable[[], T]) -> T:
        """What `make` gives, made once for a key."""
        if key not in self._computed:
            self._computed[key] = make()
            while len(self._computed) > _KEPT:
                self._computed.popitem(last=False)
        made: T = self._computed[key]
        return made


def open_desk() -> Desk:
    """The session's desk."""
    desk: Desk | None = st.session_state.get(_KEY)
    if desk is None:
        desk = st.session_state[_KEY] = Desk()
    return desk
