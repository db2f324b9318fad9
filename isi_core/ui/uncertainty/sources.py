"""Whose answers: a trial of this session, a stored run, or answers that were pasted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import streamlit as st

from isi_core.domain.errors import InputError, StudioError
from isi_core.domain.trial import Trial
from isi_core.measures.pasted_answers import read_answers
from isi_core.reports.figures import thumbnail
from isi_core.store.runs import StoredRun
from isi_core.ui import resources
from isi_core.ui.uncertainty.desk import SOURCES, Desk, Subject
from isi_core.ui.vqa.desk import Entry, session_entries
from isi_core.ui.wording import as_written

VQA_PAGE = "pages/1_VQA_Interventions.py"
_RUNS = 60
_LONGEST_QUESTION = 2_000
_EXAMPLE_QUESTION = "Is the fish red?"
_EXAMPLE = """[-0.3, -0.1]\tYes.
[-0.6, -0.2, -0.5, -0.2, -0.1]\tYes, that is right.
[-0.9, -0.1]\tNo.
[-0.9, -0.3, -0.2, -0.4, -1.6, -0.1]\tNo, the fish is blue.
[-0.3, -0.1]\tYes.
[-0.9, -0.3, -0.2, -0.4, -2.1, -0.1]\tNo, the fish is green."""


def pick(desk: Desk) -> Subject | None:
    """Choose a subject; None, with what to do, where there is none yet."""
    st.subheader("Answers", anchor=False)
    st.session_state["uncertainty_source"] = desk.source

    def choose_source() -> None:
        desk.source = st.session_state["uncertainty_source"] or desk.source
        desk.error = ""

    st.segmented_control(
        "Where from", SOURCES, key="uncertainty_source", on_change=choose_source, label_visibility="collapsed"
    )
    if desk.source == "Pasted answers":
        subject = _paste(desk)
    elif desk.source == "Stored runs":
        subject = _stored(desk)
    else:
        subject = _session(desk)
    if subject is not None:
        _adopt(desk, subject)
        _card(subject)
    return subject


def session_subjects(desk: Desk, entries: Sequence[Entry]) -> list[Subject]:
    """The session's trials, and what was sampled on this page, newest first."""
    made = [
        Subject.of(
            f"trial-{number}",
            f"{number}. {entry.label or _kinds(entry.evaluation.trial)}",
            entry.evaluation,
        )
        for number, entry in enumerate(entries, start=1)
    ]
    # One object a trial, so that what is derived from it once is kept.
    known = [desk.computed(("subject", s.key, id(s.evaluation)), lambda s=s: s) for s in made]  # type: ignore[misc]
    return [*reversed(desk.drawn), *reversed(known)]


def every_subject(desk: Desk, entries: Sequence[Entry]) -> list[Subject]:
    """All that this session can look at without reading the store again; `entries` are its trials."""
    pasted = [desk.pasted] if desk.pasted is not None else []
    return [*session_subjects(desk, entries), *desk.loaded.values(), *pasted]


def _kinds(what: Trial | StoredRun) -> str:
    return f"{what.image_kind} picture, {'no' if what.context_kind == 'none' else what.context_kind} context"


def _choose(desk: Desk, subjects: Sequence[Subject], label: str) -> Subject:
    keys = [s.key for s in subjects]
    names = {s.key: s.name for s in subjects}
    kept = desk.chosen.get(desk.source, "")
    key = f"uncertainty_subject_{SOURCES.index(desk.source)}"
    if kept not in keys:
        # The newest one that has been sampled says most.
        kept = next((s.key for s in subjects if s.samples), keys[0])
    st.session_state[key] = kept

    def choose() -> None:
        desk.chosen[desk.source] = st.session_state[key]

    st.selectbox(label, keys, key=key, format_func=lambda k: names.get(k, k), on_change=choose)
    return next(s for s in subjects if s.key == kept)


def _session(desk: Desk) -> Subject | None:
    subjects = session_subjects(desk, session_entries())
    if not subjects:
        st.info(
            "No trials in this session yet. Ask a question on *VQA Interventions* and press *Measure uncertainty*, "
            "open one of the *Stored runs*, or paste answers that you have.",
            icon=":material/lightbulb:",
        )
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            st.page_link(VQA_PAGE, label="Go to VQA Interventions", icon=":material/experiment:")
            st.button(
                "Try six example answers",
                key="uncertainty_example",
                icon=":material/science:",
                on_click=partial(_example, desk),
            )
        return None
    return _choose(desk, subjects, "Trial")


def _stored(desk: Desk) -> Subject | None:
    try:
        runs = resources.store().recent(_RUNS)
    except StudioError as error:
        st.error(as_written(str(error)), icon=":material/error:")
        return None
    if not runs:
        st.info("No stored runs yet: every answer on *VQA Interventions* is stored.", icon=":material/lightbulb:")
        return None
    names = {
        str(run.id): f"{run.id}. {run.question[:60]} · {run.label or _kinds(run)}"
        + ("" if run.semantic_entropy is None else f" · {run.n_clusters} clusters")
        for run in runs
    }
    kept = desk.chosen.get(desk.source, "")
    if kept not in names:
        kept = next((str(run.id) for run in runs if run.semantic_entropy is not None), next(iter(names)))
    st.session_state["uncertainty_run"] = kept

    def choose() -> None:
        desk.chosen[desk.source] = st.session_state["uncertainty_run"]

    st.selectbox("Run", list(names), key="uncertainty_run", format_func=lambda k: names.get(k, k), on_change=choose)
    key = f"run-{kept}"
    if key not in desk.loaded:
        try:
            desk.loaded[key] = Subject.of(key, f"Run {kept}", resources.store().load(int(kept)))
        except StudioError as error:
            st.error(as_written(str(error)), icon=":material/error:")
            return None
        while len(desk.loaded) > 8:
            desk.loaded.popitem(last=False)
    return desk.loaded[key]


def _example(desk: Desk) -> None:
    desk.source = "Pasted answers"
    desk.pasted_question, desk.pasted_text = _EXAMPLE_QUESTION, _EXAMPLE
    _take(desk)


def _take(desk: Desk) -> None:
    desk.error = ""
    try:
        if len(desk.pasted_question) > _LONGEST_QUESTION:
            raise InputError(f"The question is too long: at most {_LONGEST_QUESTION:,} characters fit.")
        samples = read_answers(desk.pasted_text)
    except StudioError as error:
        desk.pasted, desk.error = None, str(error)
        return
    desk.pasted = Subject("pasted", "Pasted answers", desk.pasted_question.strip(), samples)


def _paste(desk: Desk) -> Subject | None:
    st.session_state["uncertainty_question"] = desk.pasted_question
    st.session_state["uncertainty_answers"] = desk.pasted_text

    def write() -> None:
        desk.pasted_question = st.session_state["uncertainty_question"] or ""
        desk.pasted_text = st.session_state["uncertainty_answers"] or ""

    def take() -> None:
        write()
        _take(desk)

    st.text_input(
        "Question (may be empty)", key="uncertainty_question", on_change=write, placeholder="What is in the picture?"
    )
    st.text_area(
        "Answers, one a line",
        key="uncertainty_answers",
        on_change=write,
        height=170,
        placeholder="Yes, it is red.\nYes.\nNo, it is blue.",
        help="With likelihoods: a log-likelihood or a JSON list of token log-likelihoods (natural logarithm), a tab, "
        "then the answer; for every line or for none.",
    )
    with st.container(horizontal=True, gap="small"):
        st.button("Use these answers", key="uncertainty_paste", on_click=take, icon=":material/content_paste:")
        st.button("Example", key="uncertainty_example", on_click=partial(_example, desk), icon=":material/science:")
    if desk.pasted is None:
        st.caption(
            "Answers from any model: one a line. With likelihoods, `-0.7⇥Yes.` or `[-0.2, -0.5]⇥Yes.` (⇥ is a tab)."
        )
    return desk.pasted


def _adopt(desk: Desk, subject: Subject) -> None:
    """Look at a newly chosen subject by the entailment model that compared it, so that nothing has to be asked."""
    if desk.adopted == subject.fingerprint:
        return
    first, desk.adopted = not desk.adopted, subject.fingerprint
    found = subject.evaluation.uncertainty if subject.evaluation is not None else None
    if found is None:
        return
    desk.entailment_model, desk.prepended = found.settings.entailment_model, True
    if first:
        desk.grouping = replace(desk.grouping, rule=found.settings.rule, likelihood=found.settings.likelihood)


def _card(subject: Subject) -> None:
    """What was asked, and what the main answer was."""
    made = subject.evaluation
    with st.container(border=True, key="uncertainty_card"):
        if made is None:
            st.markdown(f"**{as_written(subject.question, 300) or '*no question*'}**")
            st.caption(f"{len(subject.samples)} pasted answers; where they came from is not known.")
            return
        picture, words = st.columns([2, 5], vertical_alignment="center", wrap=False)
        picture.image(resources.png(thumbnail(made.trial.image, 260)), width="stretch")
        with words:
            st.markdown(f"**{as_written(subject.question, 300)}**")
            if made.trial.context.strip():
                st.caption(f"Context ({made.trial.context_kind}): {as_written(made.trial.context, 200)}")
            if made.answer is not None:
                st.caption(f"Main answer “{as_written(made.answer.text, 120)}” · truth {made.trial.truth_word}")
            decoding = made.decoding
            st.caption(
                f"{as_written(made.model.name)} · {len(subject.samples) or 'no'} samples, temperature "
                f"{decoding.temperature:g}, top-k {decoding.top_k}, seed {decoding.seed} · "
                f"digest {made.trial.digest[:8]}"
            )
