"""The landing page: what this is, three investigations in one click, what is ready, what was done last."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

import streamlit as st

from isi_core.datasets.built_in import BUILT_IN
from isi_core.domain.errors import StudioError
from isi_core.domain.interventions import ContextPreset, ImagePreset
from isi_core.models import catalogue, memory
from isi_core.reports.wording import number
from isi_core.studies.draft import Draft
from isi_core.ui import frame, resources
from isi_core.ui.vqa import desk as desks
from isi_core.ui.vqa.work import EVERYTHING
from isi_core.ui.wording import as_written

PAGE = "pages/1_VQA_Interventions.py"
_STORY = (
    ("Annotated", "Help drawn into the picture: does the answer get surer?", "annotated", "none"),
    ("Complementary", "A sentence that nudges towards the truth.", "natural", "complementary"),
    ("Contradictory", "A sentence that nudges away from it: words or eyes?", "natural", "contradictory"),
)


_STORY_ROW = 12
"""Of the built-in dataset: an observation where the contradictory words change tiny-llava's answer."""


def _open(observation: str, image: str, context: str) -> None:
    draft = replace(
        Draft(observation),
        image=ImagePreset(image),  # type: ignore[arg-type]
        context=ContextPreset(context),  # type: ignore[arg-type]
    )
    desks.begin(observation, draft, EVERYTHING)
    st.session_state["home_go"] = True


def _presets() -> None:
    dataset = resources.dataset(BUILT_IN)
    whole = [o for o in dataset.observations if o.annotated and o.complementary and o.contradictory]
    example = next((o for o in whole if o.row == _STORY_ROW), whole[0] if whole else None)
    if example is None:
        st.warning(
            "The built-in dataset has no complete observation: restore the folder data/isi_scenes, or import a dataset "
            "on the page Dataset Browser."
        )
        return
    st.subheader("Start with one click", anchor=False)
    st.caption(
        f"One picture, one question: “{example.question}” (truth: {example.truth_word}). What changes its answer?"
    )
    for column, (title, text, image, context) in zip(st.columns(3), _STORY, strict=True):
        with column, st.container(border=True):
            path = example.annotated if image == "annotated" else example.image
            if path is not None:
                st.image(resources.small_picture(path, path.stat().st_mtime_ns, 420), width="stretch")
            st.markdown(f"**{title}**")
            words = {"complementary": example.complementary, "contradictory": example.contradictory}.get(context, "")
            st.caption(text + (f" “{as_written(words)}”" if words else ""))
            st.button(
                "Run",
                key=f"home_{title.lower()}",
                icon=":material/play_arrow:",
                type="primary" if title == "Annotated" else "secondary",
                on_click=partial(_open, example.id, image, context),
                width="stretch",
            )


def _status() -> None:
    st.subheader("Models and machine", anchor=False)
    for name in (catalogue.DEFAULT_VLM, catalogue.DEFAULT_ENTAILMENT):
        usable, state = _readiness(name)
        icon = ":material/check_circle:" if usable else ":material/warning:"
        st.markdown(f"{icon} **{name}** · {as_written(state)}")
    st.caption(
        "The built-in models know only the world of the built-in pictogram scenes. Real models (LLaVA and others) are "
        "chosen on the page and loaded on first need."
    )
    st.caption(f"{os.cpu_count()} processor cores · results are kept in {as_written(str(resources.store().folder))}")


def _readiness(name: str) -> tuple[bool, str]:
    """Whether a model can be used, and its state in words; no model is loaded for it."""
    shelf = resources.shelf()
    resident = next((s.state for s in shelf.status() if s.name == name), "")
    if resident:
        return True, resident
    try:
        if name == catalogue.DEFAULT_VLM:
            found = shelf.readiness(name)
        else:
            found = memory.readiness(catalogue.find_entailment(name))
    except StudioError as error:
        return False, str(error)
    return found.usable, found.state if found.usable else found.sentence


def _runs() -> None:
    st.subheader("Last runs", anchor=False)
    try:
        stored = resources.store().recent(60)
    except StudioError as error:
        st.error(as_written(str(error)))
        return
    # Each button on the page stores what it measured: the newest of a trial holds what came before it.
    newest = {(run.digest, run.model_name): run for run in reversed(stored)}
    runs = sorted(newest.values(), key=lambda run: run.id, reverse=True)[:6]
    if not runs:
        st.caption("No runs yet: press **Run** on one of the presets above.")
        return
    for run in runs:
        parts = [run.label or f"{run.image_kind} picture, context {run.context_kind}"]
        if run.answer is not None:
            parts.append(f"“{run.answer}”")
        if run.semantic_entropy is not None:
            parts.append(f"entropy {number(run.semantic_entropy)} nats")
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(
                f"**{as_written(run.observation_id, 40)}**  \n{as_written(' · '.join(parts), 140)}", width="stretch"
            )
            st.button("Open", key=f"home_run_{run.id}", on_click=partial(_open_run, run.id, run.label))


def _open_run(run_id: int, label: str) -> None:
    try:
        desks.open_run(run_id, label)
        st.session_state["home_go"] = True
    except StudioError as error:
        st.session_state["home_error"] = str(error)


def show() -> None:
    """Draw the page."""
    frame.heading("ISI Studio", "Why do vision-language models fail?")
    if st.session_state.pop("home_go", False):
        st.switch_page(PAGE)
    if problem := st.session_state.pop("home_error", ""):
        st.error(as_written(problem), icon=":material/error:")
    st.markdown(
        "Change the **picture**, the **context** or the **question** of a visual question and ask a model. "
        "See what it answers, how sure it is (semantic entropy) and which input it listened to (attention). "
        "Compare trials, and take everything with you as PDF, PNG, SVG and CSV."
    )
    try:
        _presets()
    except StudioError as error:
        st.error(as_written(str(error)))
    left, right = st.columns(2, gap="large")
    with left:
        _status()
    with right:
        _runs()
