"""One observation with every preset side by side, what a model said under each, and a pinned one beside it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import streamlit as st

from isi_core.datasets.catalogue import BUILT_IN
from isi_core.domain.errors import StudioError
from isi_core.domain.interventions import ContextPreset, ImagePreset
from isi_core.domain.observation import Observation
from isi_core.reports.figures import thumbnail
from isi_core.reports.wording import number
from isi_core.studies.draft import Draft
from isi_core.studies.observed import Observed, judged
from isi_core.studies.trials import CONTEXT_KINDS, IMAGE_KINDS, build_trial
from isi_core.ui import resources
from isi_core.ui.bound import guarded
from isi_core.ui.browser import author
from isi_core.ui.browser.desk import Desk, View
from isi_core.ui.browser.listing import picture
from isi_core.ui.vqa import desk as vqa_desk
from isi_core.ui.wording import as_written

VQA_PAGE = "pages/1_VQA_Interventions.py"
_GO = "browser_go"
_SIGNS = {"right": "✓", "wrong": "✗", "unclear": "?"}


def leave_if_asked() -> None:
    """Go to VQA Interventions when an observation was opened there."""
    if st.session_state.pop(_GO, False):
        st.switch_page(VQA_PAGE)


def _open(desk: Desk, observation: str, image: str = "natural", context: str = "none") -> None:
    draft = replace(
        Draft(observation),
        image=ImagePreset(image),  # type: ignore[arg-type]
        context=ContextPreset(context),  # type: ignore[arg-type]
    )
    vqa_desk.begin(observation, draft, (), desk.dataset_name)
    st.session_state[_GO] = True


def show(desk: Desk, view: View) -> None:
    """The current observation, and the pinned one where there is one."""
    if desk.current is None:
        st.info(
            "Press *Look* on a picture (or tick a row of the table) to see its question, contexts and every preset "
            "side by side, and what a model said about each.",
            icon=":material/lightbulb:",
        )
        return
    observation = _by_id(view, desk.current)
    _buttons(desk, view, observation)
    pinned = _by_id(view, desk.pinned) if desk.pinned and desk.pinned != desk.current else None
    if pinned is not None:
        _beside(view, pinned, observation)
    else:
        _texts(observation)
    _presets(desk, view, observation)
    _said(desk, view, observation)


def _by_id(view: View, key: str) -> Observation:
    return next(o for o in view.dataset.observations if o.id == key)


def _buttons(desk: Desk, view: View, o: Observation) -> None:
    ids = [other.id for other in view.observations]
    at = ids.index(o.id) if o.id in ids else None

    def step(by: int) -> None:
        if ids:
            desk.current = ids[((at if at is not None else -1) + by) % len(ids)]

    def pin() -> None:
        desk.pinned = None if desk.pinned == o.id else o.id

    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.button(
            "Open in VQA Interventions",
            icon=":material/experiment:",
            type="primary",
            key="browser_open",
            on_click=partial(guarded, desk, _open, desk, o.id),
        )
        pinned = desk.pinned == o.id
        st.button(
            "Unpin" if pinned else "Pin",
            icon=":material/keep_off:" if pinned else ":material/keep:",
            key="browser_pin",
            on_click=pin,
            help="Keep this observation in sight while you look at others",
        )
        if desk.dataset_name != BUILT_IN:
            st.button(
                "Edit",
                icon=":material/edit:",
                key="browser_edit",
                on_click=partial(guarded, desk, author.edit, desk, o),
            )
        for icon, key, by, words in (
            ("chevron_left", "browser_before", -1, "Previous observation"),
            ("chevron_right", "browser_after", 1, "Next observation"),
        ):
            st.button("", icon=f":material/{icon}:", key=key, help=words, on_click=partial(step, by), disabled=not ids)


def _texts(o: Observation) -> None:
    st.markdown(f"#### {o.row}. {as_written(o.question, 400)}")
    about = [f"truth **{o.truth_word}**", as_written(o.image.name, 80)]
    if o.family:
        about.append(f"family {as_written(o.family, 60)}")
    st.caption(" · ".join(about))
    if o.description.strip():
        st.caption(f"Description: {as_written(o.description, 500)}")


def _beside(view: View, pinned: Observation, current: Observation) -> None:
    """The pinned observation and the current one in the same words, one beside the other."""
    for column, title, o in zip(st.columns(2), ("Pinned", "Current"), (pinned, current), strict=True):
        with column, st.container(border=True, key=f"browser_side_{title.lower()}"):
            st.markdown(f"**{title}**")
            picture(o, side=420)
            _texts(o)
            for which, text in (("complementary", o.complementary), ("contradictory", o.contradictory)):
                if text.strip():
                    st.caption(f"*{which}*: {as_written(text, 300)}")
            seen = view.observed.get(o.id)
            run = seen.run() if seen else None
            if run is not None:
                st.caption(f"No context: “{as_written(run.answer or '', 100)}” ({judged(run)}){_measures(seen)}")


def _measures(seen: Observed | None) -> str:
    run = seen.run() if seen else None
    if run is None or run.semantic_entropy is None:
        return ""
    return f", semantic entropy {number(run.semantic_entropy)} nats"


def _presets(desk: Desk, view: View, o: Observation) -> None:
    """Natural, annotated and random picture; complementary, contradictory and random context."""
    for column, kind in zip(st.columns(3, wrap=False), IMAGE_KINDS, strict=True):
        with column:
            st.markdown(f"**{kind}**")
            if kind == "annotated" and o.annotated is None:
                st.caption("none")
            elif kind == "random":
                _random_picture(desk, view, o)
            else:
                picture(o, annotated=kind == "annotated", side=420)
    for kind in CONTEXT_KINDS[1:]:
        st.markdown(f":orange-badge[context · {kind}]  \n{_context(view, o, kind)}")


def _random_picture(desk: Desk, view: View, o: Observation) -> None:
    def draw() -> bytes:
        return resources.png(thumbnail(build_trial(view.dataset, o, (ImagePreset("random"),)).image, 420))

    try:
        st.image(desk.once("random", (view.dataset, o), draw), width="stretch")
    except StudioError as error:
        st.caption(as_written(str(error)))


def _context(view: View, o: Observation, kind: str) -> str:
    try:
        text = build_trial(view.dataset, o, (ContextPreset(kind),)).context  # type: ignore[arg-type]
    except StudioError:
        return "*none*"
    return as_written(text, 500)


def _said(desk: Desk, view: View, o: Observation) -> None:
    """What the model answered under each of the twelve presets, as far as it was asked."""
    seen = view.observed.get(o.id)
    if not view.models:
        st.caption("No model was asked about this dataset yet.")
        return
    if seen is None:
        st.caption(f"{as_written(view.models[0] if not desk.filter.model else desk.filter.model)} was not asked this.")
        return
    lines = ["| | " + " | ".join(CONTEXT_KINDS) + " |", "|---" * (len(CONTEXT_KINDS) + 1) + "|"]
    for image in IMAGE_KINDS:
        cells = []
        for context in CONTEXT_KINDS:
            run = seen.run(image, context)
            if run is None:
                cells.append("–")
                continue
            entropy = "" if run.semantic_entropy is None else f" ({number(run.semantic_entropy)} nats)"
            cells.append(f"{_SIGNS.get(judged(run), '')} {as_written(run.answer or '', 36)}{entropy}")
        lines.append(f"| **{image}** | " + " | ".join(cells) + " |")
    st.markdown(f"**What {as_written(desk.filter.model)} said** · picture down, context across")
    st.markdown("\n".join(lines))
    flipped = seen.flipped
    words = {True: "turns the answer", False: "does not turn the answer"}.get(flipped) if flipped is not None else None
    st.caption(
        "✓ right, ✗ wrong, ? unclear; in brackets the semantic entropy."
        + (f" The contradictory context {words}." if words else "")
    )
