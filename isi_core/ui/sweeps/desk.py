"""What one session has on the sweeps panel, under one key: its choices, the sweep it looks at, what went wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import streamlit as st

from isi_core.models.catalogue import DEFAULT_ENTAILMENT, DEFAULT_VLM

_KEY = "sweeps_desk"


@dataclass
class Desk:
    """The choices of a plan to be made, and where the session looks.

    Attributes
    ----------
    take : which observations: all, the first few, or a saved slice.
    engine, address : where sweeps run: `local`, or `ray` on the cluster at this address.
    sweep : id of the sweep that is looked at; "" for none.
    analysis, reference, measure, model : what is shown of it; "" for the first.
    slice : the saved slice that is analysed; "" for all observations of the sweep.
    members : what the slice was looked up by, and the ids in it.
    was_running : the sweep ran when it was last looked at, so that its end is noticed.
    """

    prefix: ClassVar[str] = "sweeps"

    images: list[str] = field(default_factory=lambda: ["natural", "annotated", "random"])
    contexts: list[str] = field(default_factory=lambda: ["none", "complementary", "contradictory"])
    noise: list[float] = field(default_factory=list)
    occlusion: list[float] = field(default_factory=list)
    blur: list[float] = field(default_factory=list)
    models: list[str] = field(default_factory=lambda: [DEFAULT_VLM])
    four_bit: bool = False
    measures: list[str] = field(default_factory=lambda: ["answer", "uncertainty", "attention"])
    entailment: str = DEFAULT_ENTAILMENT
    samples: int = 10
    temperature: float = 0.9
    seed: int = 0
    take: str = "all"
    first: int = 20
    engine: str = "local"
    address: str = "auto"
    sweep: str = ""
    analysis: str = ""
    reference: str = ""
    measure: str = "accuracy"
    model: str = ""
    slice: str = ""
    members: tuple[Any, tuple[str, ...]] = (None, ())
    was_running: str = ""
    error: str = ""

    def hush(self) -> None:
        """Take back what was said about the action before."""
        self.error = ""


def open_desk() -> Desk:
    """The session's desk."""
    desk: Desk | None = st.session_state.get(_KEY)
    if desk is None:
        desk = st.session_state[_KEY] = Desk()
    return desk
