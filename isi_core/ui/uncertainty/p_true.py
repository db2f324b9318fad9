"""p(True): the button that has the model asked whether its main answer is true, and what it costs."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from isi_core.domain.p_true import PTrue
from isi_core.studies.true_or_false import MOST_SHOTS
from isi_core.ui import resources
from isi_core.ui.uncertainty import work
from isi_core.ui.uncertainty.desk import Desk, Subject, View

_DATASET = "semantic uncertainty"


def offer(desk: Desk, view: View) -> None:
    """Ask the model that answered; nothing where none is known or there is no main answer."""
    made = view.subject.evaluation
    if made is None or made.answer is None:
        return
    known = desk.p_true_of(view.subject)
    st.session_state["uncertainty_shots"] = desk.shots

    def write() -> None:
        desk.shots = int(st.session_state["uncertainty_shots"])

    with st.expander("Ask the model itself: p(True)", icon=":material/rule:"):
        st.caption(
            "The model is shown the picture, the question, its sampled answers and its main one, and asked whether "
            "that is A) True or B) False; p(True) is the probability of A (Kadavath et al.; the form of Farquhar et "
            "al.'s code). Examples come from stored runs of the same model whose truth is known, as words alone."
        )
        with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
            st.number_input(
                "Solved examples in front",
                0,
                MOST_SHOTS,
                key="uncertainty_shots",
                on_change=write,
                width=210,
                help="0 is zero-shot. Farquhar et al. put up to 20 in front, Kadavath et al. show that some help "
                "models that were not trained on this form.",
            )
            st.button(
                "Measure p(True)" if known is None else "Measure p(True) again",
                key="uncertainty_p_true",
                icon=":material/rule:",
                on_click=partial(measure, desk, view.subject),
                disabled=desk.job is not None,
            )


def measure(desk: Desk, subject: Subject) -> None:
    """Have the model asked; the run with its p(True) is stored as a run of its own."""
    made, count = subject.evaluation, desk.shots
    if made is None:
        return
    shelf, store = resources.shelf(), resources.store()

    def ask(progress: Any) -> PTrue | None:
        from isi_core.studies.true_or_false import ask_if_true, stored_shots

        shots = stored_shots(store, made, count)
        with shelf.vlm(made.model.name, made.model.quantization, progress) as vlm:
            found = ask_if_true(made, vlm, shots, progress)
        store.save(found, dataset=_DATASET, label="p(True)")
        return found.uncertainty.p_true if found.uncertainty is not None else None

    def done(found: PTrue) -> None:
        desk.p_true[subject.fingerprint] = found

    work.start(desk, f"Asking {made.model.name} whether its answer is true", ask, done)
