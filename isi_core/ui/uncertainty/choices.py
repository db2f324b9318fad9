"""Every choice that shapes the clusters: those that need the entailment model, and those that do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import streamlit as st

from isi_core.domain.uncertainty import LikelihoodKind, Rule
from isi_core.measures.clustering import ASSIGNMENTS
from isi_core.models import catalogue
from isi_core.ui import entailment_choice
from isi_core.ui.uncertainty.desk import Desk, Subject

_ASSIGNMENT_WORDS = {
    "last wins": "last wins (ISI)",
    "first wins": "first wins (lm-polygraph)",
    "components": "connected components",
}
_LIKELIHOOD_WORDS = {"sampling": "as drawn (ISI)", "model": "model's own"}


def entailment(desk: Desk, subject: Subject | None) -> None:
    """Which model compares the answers, and whether it reads the question too."""
    names = [row.name for row in catalogue.ROWS if row.kind == "entailment"]
    if desk.entailment_model not in names:
        # A stored run may have been compared by a model of the user's own.
        names = [desk.entailment_model, *names]
    st.session_state["uncertainty_entailment"] = desk.entailment_model
    st.session_state["uncertainty_prepended"] = desk.prepended

    def write() -> None:
        desk.entailment_model = st.session_state["uncertainty_entailment"]
        desk.prepended = st.session_state["uncertainty_prepended"]
        desk.error = ""

    model, question = st.columns([3, 2], vertical_alignment="bottom")
    model.selectbox(
        "Entailment model",
        names,
        key="uncertainty_entailment",
        on_change=write,
        format_func=entailment_choice.words,
    )
    question.toggle(
        "Reads question",
        key="uncertainty_prepended",
        on_change=write,
        disabled=subject is not None and not subject.question,
        help="On: the model compares “question answer” (ISI, Nature code). Off: the answers alone (lm-polygraph). "
        "Changing it asks the entailment model again.",
    )

    def put(name: str) -> None:
        desk.entailment_model = name

    def complain(error: str) -> None:
        desk.error = error

    with st.popover("LLM judge or another model", icon=":material/gavel:"):
        entailment_choice.typed("uncertainty_entailment_typed", put, complain)
        st.caption("Press Enter to choose it; it is asked when the answers are compared.")


def grouping(desk: Desk) -> None:
    """Rule, assignment and likelihoods: all of them act at once, without any model."""
    st.markdown("**Group by** · acts at once, asks no model")
    rule, likelihood = st.columns([5, 8])
    with rule:
        _choice(
            desk,
            "rule",
            "Same meaning when",
            get_args(Rule),
            str,
            "Loose (ISI): no contradiction either way and not both neutral. Strict (Nature's default command): each "
            "entails the other.",
        )
    with likelihood:
        _choice(
            desk,
            "likelihood",
            "Likelihoods",
            get_args(LikelihoodKind),
            lambda kind: _LIKELIHOOD_WORDS[kind],
            "As drawn: after temperature, top-k and top-p, as ISI and the Nature code take them. The model's own: "
            "before them.",
        )
    by, length = st.columns([3, 2], vertical_alignment="bottom")
    with by:
        _assignment(desk)
    st.session_state["uncertainty_normalized"] = desk.grouping.normalized

    def normalize() -> None:
        desk.grouping = replace(desk.grouping, normalized=st.session_state["uncertainty_normalized"])

    length.toggle(
        "Per token",
        key="uncertainty_normalized",
        on_change=normalize,
        help="On: an answer's log-likelihood is the mean over its tokens (length-normalized; ISI). Off: their sum.",
    )


def _choice(
    desk: Desk, name: str, label: str, options: tuple[str, ...], words: Callable[[str], str], explanation: str
) -> None:
    key = f"uncertainty_{name}"
    st.session_state[key] = getattr(desk.grouping, name)

    def write() -> None:
        # A second click on a segment takes it back; one of them has to hold.
        changed: dict[str, Any] = {name: st.session_state[key] or getattr(desk.grouping, name)}
        desk.grouping = replace(desk.grouping, **changed)

    st.segmented_control(label, options, key=key, on_change=write, format_func=words, help=explanation)


def _assignment(desk: Desk) -> None:
    st.session_state["uncertainty_assignment"] = desk.grouping.assignment

    def write() -> None:
        desk.grouping = replace(desk.grouping, assignment=st.session_state["uncertainty_assignment"])

    st.selectbox(
        "Answers that fit two clusters",
        ASSIGNMENTS,
        key="uncertainty_assignment",
        format_func=lambda name: _ASSIGNMENT_WORDS[name],
        on_change=write,
        help="Meaning the same is not transitive to a model. Last wins: a later cluster takes an answer over (ISI, "
        "Nature code). First wins: it stays (lm-polygraph). Connected components: both clusters are one.",
    )
