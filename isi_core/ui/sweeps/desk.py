"""What one session has on the sweeps panel, under one key: its choices, the sweep it looks at, what went wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import streamlit as st

from isi_core.models.catalogue import DEFAULT_ENTAILMENT, DEFAULT_VLM

_KEY = "sweeps_desk"


@dataclass
class Desk:
    """The choices of a plan to be made, and where the session looks.

    Attributes
    ----------
    take : which observations: all, the first few, or a saved slice.
    sweep : id of the sweep that is looked at; "" for none.
    analysis, reference, measure, model : what is shown of it; "" for the first.
    was_running : the sweep ran when it was last looked at, so that its end is noticed.
    """

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
    sweep: str = ""
    analysis: str = ""
    reference: str = ""
    measure: str = "accuracy"
    model: str = ""
    was_running: str = ""
    error: str = ""


def open_desk() -> Desk:
    """The session's desk."""
    desk: Desk | None = st.session_state.get(_KEY)
    if desk is None:
        desk = st.session_state[_KEY] = Desk()
    return desk


def bound(desk: Desk, name: str) -> dict[str, Any]:
    """`key` and `on_change` of a widget that shows a field of the desk and writes it back.

    Widgets forget what they showed when their page is left; the desk does not.
    """
    key = f"sweeps_{name}"
    st.session_state[key] = getattr(desk, name)
    write: Callable[[], None] = partial(_write, desk, name, key)
    return {"key": key, "on_change": write}


def _write(desk: Desk, name: str, key: str) -> None:
    value = st.session_state[key]
    if value is not None:
        setattr(desk, name, value)
    desk.error = ""
