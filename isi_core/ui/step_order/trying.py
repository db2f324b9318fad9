"""One test pair with interventions: hide, noise, swap, edit; what the fine-tuned encoder says then, at once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.domain.step_pairs import StepPair
from isi_core.reports.order_tables import SHORT
from isi_core.reports.wording import number
from isi_core.studies.step_order.interventions import PairChange, changed_pair
from isi_core.studies.step_order.results import MODALITY_NAMES, Modality
from isi_core.studies.step_order.trained import study_weights
from isi_core.ui.step_order import pairs
from isi_core.ui.step_order.desk import Desk
from isi_core.ui.wording import as_written

if TYPE_CHECKING:
    from isi_core.studies.step_order.classifier import OrderClassifier

_KEYS = ("swap_pictures", "swap_headlines", "hide_first", "hide_second", "noise", "title", "first", "second")
_asking = threading.Lock()
"""Loaded encoders are shared by sessions and answer one at a time."""


def open_pair(desk: Desk, idx: int | None) -> None:
    """Lay a test pair on the desk, without interventions; None takes it away."""
    desk.opened = idx
    for name in _KEYS:
        st.session_state.pop(f"order_try_{name}", None)


def show(desk: Desk, study_id: str, pair: StepPair) -> None:
    """The pair, its interventions, and the answers before and after."""
    with st.container(border=True, key="order_try"):
        head, close = st.columns([6, 1], vertical_alignment="center")
        head.markdown(f"**Interventions on pair {pair.idx}** · {as_written(pair.category, 40)}")
        close.button("Close", key="order_try_close", on_click=open_pair, args=(desk, None), width="stretch")
        change = _change(pair)
        try:
            changed = changed_pair(pair, change)
            said = _answers(study_id, desk.encoder, pair, changed)
        except StudioError as error:
            st.error(as_written(str(error)), icon=":material/error:")
            return
        pairs.card(changed)
        _table(said, pair, change)


def _change(pair: StepPair) -> PairChange:
    """What the widgets ask for."""
    left, right = st.columns(2)
    with left:
        swap_pictures = st.toggle("Swap pictures", key="order_try_swap_pictures")
        hide_first = st.toggle("Hide picture 1", key="order_try_hide_first")
        hide_second = st.toggle("Hide picture 2", key="order_try_hide_second")
        noise = st.slider("Noise (σ, grey levels)", 0, 200, 0, key="order_try_noise")
    with right:
        swap_headlines = st.toggle("Swap headlines", key="order_try_swap_headlines")
        own = pair.headlines[::-1] if swap_headlines else pair.headlines
        title = st.text_input("Title", placeholder=pair.title, key="order_try_title", help="Empty: as it is")
        first = st.text_input("Headline 1", placeholder=own[0], key="order_try_first", help="Empty: as it is")
        second = st.text_input("Headline 2", placeholder=own[1], key="order_try_second", help="Empty: as it is")
    return PairChange(
        swap_pictures,
        swap_headlines,
        (hide_first, hide_second),
        float(noise),
        title=title or None,
        headlines=(first or None, second or None),
    )


def _answers(study_id: str, encoder: str, pair: StepPair, changed: StepPair) -> dict[Modality, tuple[float, float]]:
    """Probability of "in order" before and after, by modality."""
    from isi_core.studies.step_order.interventions import in_order

    found: dict[Modality, tuple[float, float]] = {}
    for modality, folder in study_weights(study_id, encoder, pair.category).items():
        with _asking:
            classifier = _classifier(str(folder), (folder / "order.json").stat().st_mtime_ns)
            before, after = in_order(classifier, [pair, changed])
        found[modality] = before, after
    return found


@st.cache_resource(show_spinner="Loading the fine-tuned encoder", max_entries=6)
def _classifier(folder: str, stamp: int) -> OrderClassifier:
    from isi_core.studies.step_order.classifier import load_classifier

    return load_classifier(Path(folder))


def _table(said: dict[Modality, tuple[float, float]], pair: StepPair, change: PairChange) -> None:
    import pandas

    if not said:
        st.info("The fine-tuned weights of this study are gone: train it again.", icon=":material/lightbulb:")
        return
    rows = [
        {
            "input": as_written(f"{SHORT[modality]} ({MODALITY_NAMES[modality]})"),
            "as shown": _words(before),
            "after the interventions": _words(after),
            "": "**flips**" if (before >= 0.5) != (after >= 0.5) else "stays",
        }
        for modality, (before, after) in said.items()
    ]
    st.table(pandas.DataFrame(rows).set_index("input"))
    truth = "in order" if pair.label else "reversed"
    st.caption(
        f"Truth of the pair as it was: {truth}. In brackets the probability (0 to 1) of what is said. "
        + ("Nothing is changed yet: swap, hide, add noise or write other words." if change.nothing else "")
    )


def _words(in_order: float) -> str:
    word = "in order" if in_order >= 0.5 else "reversed"
    return f"{word} ({number(max(in_order, 1 - in_order))})"
