"""The left column: what goes in. Each part reads the desk, draws its widgets, and changes the desk."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import streamlit as st
from PIL import Image
from streamlit_drawable_canvas import st_canvas

from isi_core.datasets.catalogue import dataset_names
from isi_core.datasets.pictures import open_picture
from isi_core.domain.errors import InputError, StudioError
from isi_core.domain.interventions import (
    ContextPreset,
    EditText,
    Freehand,
    GaussianNoise,
    ImagePreset,
    PictureIntervention,
    QuestionPreset,
)
from isi_core.domain.observation import Dataset, Observation
from isi_core.domain.rendering import apply
from isi_core.domain.trial import image_digest
from isi_core.studies.draft import Draft
from isi_core.studies.trials import CONTEXT_KINDS, IMAGE_KINDS, MAX_TEXT, build_trial
from isi_core.ui import resources
from isi_core.ui.bound import guarded
from isi_core.ui.drawing import (
    TOOLS,
    CanvasSize,
    Pen,
    Tool,
    canvas_from_interventions,
    interventions_from_canvas,
    pen_style,
)
from isi_core.ui.vqa.desk import Desk, Upload
from isi_core.ui.wording import as_written

CANVAS_SIDE = 420
_TOOL_ICONS: dict[Tool, str] = {
    "Box": ":material/crop_square:",
    "Arrow": ":material/north_east:",
    "Text": ":material/title:",
    "Freehand": ":material/gesture:",
    "Blur": ":material/blur_on:",
    "Cover": ":material/rectangle:",
}


# --- which observation ---------------------------------------------------------------------


def _matches(dataset: Dataset, words: str) -> list[Observation]:
    wanted = words.lower().split()
    return [o for o in dataset.observations if all(w in f"{o.id} {o.image.name} {o.question}".lower() for w in wanted)]


def _title(observation: Observation) -> str:
    return f"{observation.row}. {observation.question}  ({observation.image.stem})"


def _pick_dataset(desk: Desk) -> None:
    """Which dataset, where there are several."""
    names = dataset_names()
    if len(names) < 2:
        return
    st.session_state["vqa_dataset"] = desk.dataset_name

    def choose() -> None:
        guarded(desk, desk.work_on, st.session_state["vqa_dataset"])

    st.selectbox("Dataset", names, key="vqa_dataset", on_change=choose)


def pick(desk: Desk) -> None:
    """Dataset, search, previous and next, upload."""
    _pick_dataset(desk)
    dataset = desk.dataset
    with st.container(horizontal=True, gap="small"):
        words = st.text_input(
            "Search",
            key="vqa_search",
            placeholder="Search pictures and questions, such as red fish",
            icon=":material/search:",
            label_visibility="collapsed",
        )
        with st.popover("Your own picture", icon=":material/upload:"):
            _upload_form(desk)
    found = _matches(dataset, words or "")
    ids = [o.id for o in found]
    if not ids:
        st.info(f"Nothing in {dataset.name} fits these words: try fewer.", icon=":material/search_off:")
    here = desk.draft.observation
    at = ids.index(here) if here in ids else None
    titles = {o.id: _title(o) for o in dataset.observations}
    options = ids if at is not None or desk.upload is None else [here, *ids]
    if at is None and desk.upload is None and here not in options:
        options = [here, *ids]
    if desk.upload is not None:
        titles[here] = f"Your picture: {desk.upload.name}"
    st.session_state["vqa_observation"] = here

    def step(by: int) -> None:
        # Among what is searched for now: the words may have come in with this very click.
        near = [o.id for o in _matches(desk.dataset, st.session_state.get("vqa_search") or "")]
        if near:
            lying = desk.draft.observation
            start = near.index(lying) if lying in near else (-1 if by > 0 else 0)
            desk.go_to(near[(start + by) % len(near)])

    def arrow(icon: str, key: str, words: str, by: int) -> None:
        go = partial(guarded, desk, step, by)
        st.button("", icon=f":material/{icon}:", key=key, help=words, on_click=go, disabled=not ids)

    with st.container(horizontal=True, gap="small"):
        arrow("chevron_left", "vqa_previous", "Previous observation", -1)
        st.selectbox(
            "Observation",
            options,
            key="vqa_observation",
            format_func=lambda key: titles.get(key, key),
            on_change=lambda: guarded(desk, desk.go_to, st.session_state["vqa_observation"]),
            label_visibility="collapsed",
        )
        arrow("chevron_right", "vqa_next", "Next observation", 1)


def _upload_form(desk: Desk) -> None:
    file = st.file_uploader("PNG, JPEG or WebP", type=["png", "jpg", "jpeg", "webp"], key="vqa_upload_file")
    question = st.text_input("Question", key="vqa_upload_question", placeholder="Is there a red fish?")
    context = st.text_area("Context (optional)", key="vqa_upload_context", height=68)
    truth = st.segmented_control("True answer", ["yes", "no", "not known"], default="not known", key="vqa_upload_truth")

    def use() -> None:
        if file is None:
            raise InputError("There is no picture yet: drop one on the box above.")
        if not question.strip():
            raise InputError("The question is empty: type one.")
        add_upload(desk, file.getvalue(), file.name, question, context, {"yes": True, "no": False}.get(truth or ""))

    st.button("Use this picture", key="vqa_upload_use", on_click=lambda: guarded(desk, use))


def add_upload(desk: Desk, raw: bytes, name: str, question: str, context: str, truth: bool | None) -> None:
    """Put a picture file on the desk as an observation of its own.

    Raises
    ------
    InputError : the picture cannot be used, or the context is too long.
    """
    picture = open_picture(raw, name)
    if len(context) > MAX_TEXT:
        raise InputError(f"The context is too long: at most {MAX_TEXT:,} characters fit.")
    digest = image_digest(picture)
    # The same picture with another question is another observation.
    said = json.dumps([digest, question, context, truth])
    key = f"upload-{hashlib.sha256(said.encode()).hexdigest()[:12]}"
    observation = Observation(
        id=key,
        row=0,
        image=Path(name),
        annotated=None,
        question=question,
        truth=truth,
    )
    desk.uploads[key] = Upload(digest, name, picture, observation)
    words = EditText("context", context) if context.strip() else ContextPreset("none")
    desk.change(Draft(key, context=words))


# --- the picture and its drawing -----------------------------------------------------------


def _background(desk: Desk) -> tuple[bytes, tuple[int, int]]:
    """The chosen picture as PNG, and its size: without drawings, with the noise, so that one draws on what is seen."""
    draft = desk.draft

    def draw() -> tuple[bytes, tuple[int, int]]:
        bare = build_trial(desk.dataset, desk.observation, (draft.image,), picture=desk.own_picture).image
        if draft.noise is not None and draft.noise.sigma > 0:
            bare = apply(bare, draft.noise)
        shown = CanvasSize.fitting(bare.size, 2 * CANVAS_SIDE)
        if max(bare.size) > 2 * CANVAS_SIDE:
            bare = bare.resize((shown.width, shown.height), Image.Resampling.LANCZOS)
        return resources.png(bare), (shown.width, shown.height)

    return desk.once("background", (desk.dataset, draft.observation, draft.image, draft.noise), draw)


def _image_presets(desk: Desk) -> None:
    draft, observation = desk.draft, desk.observation
    if desk.upload is not None:
        st.caption("Your own picture: presets that need a dataset are off.")
        return
    kinds = [k for k in IMAGE_KINDS if k != "annotated" or observation.annotated is not None]
    st.session_state["vqa_image_kind"] = draft.image.kind

    def choose() -> None:
        kind = st.session_state["vqa_image_kind"]
        if kind is not None:
            desk.change(replace(desk.draft, image=ImagePreset(kind, desk.draft.image.seed)))

    def another() -> None:
        desk.change(replace(desk.draft, image=ImagePreset("random", desk.draft.image.seed + 1)))

    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.segmented_control(
            "Picture",
            kinds,
            key="vqa_image_kind",
            format_func=str.capitalize,
            on_change=lambda: guarded(desk, choose),
            label_visibility="collapsed",
            help="Random is the picture of another observation",
        )
        if draft.image.kind == "random":
            st.button("Another", icon=":material/shuffle:", key="vqa_image_another", on_click=another)
    if observation.annotated is None:
        st.caption("This observation has no annotated picture.")


def _pen(desk: Desk) -> Pen:
    tool: Tool = (
        st.pills(
            "Draw",
            list(get_args(Tool)),
            default="Box",
            key="vqa_tool",
            format_func=lambda t: f"{_TOOL_ICONS[t]} {t}",
            label_visibility="collapsed",
        )
        or "Box"
    )
    colour, filled, opacity, width, head, size, radius = "#d55e00", False, 1.0, 0.012, 0.05, 0.07, 0.03
    if tool != "Blur":
        default = "#808080" if tool == "Cover" else "#d55e00"
        colour = st.color_picker("Colour", default, key=f"vqa_colour_{tool == 'Cover'}")
    if tool == "Box":
        filled = st.segmented_control("Box", ["Outline", "Filled"], default="Outline", key="vqa_fill") == ("Filled")
        if filled:
            opacity = st.slider("Opacity (0–1)", 0.05, 1.0, 1.0, 0.05, key="vqa_opacity")
    if tool in ("Arrow", "Freehand") or (tool == "Box" and not filled):
        width = st.slider("Line width (% of side)", 0.4, 4.0, 1.2, 0.2, key="vqa_width") / 100
    if tool == "Arrow":
        head = st.slider("Head (% of side)", 1.0, 15.0, 5.0, 0.5, key="vqa_head") / 100
    if tool == "Text":
        size = st.slider("Text size (% of side)", 3.0, 20.0, 7.0, 0.5, key="vqa_text_size") / 100
        st.caption("Click on the picture, type, then click elsewhere.")
    if tool == "Blur":
        radius = st.slider("Blur (% of side)", 0.5, 15.0, 3.0, 0.5, key="vqa_radius") / 100
    st.caption(
        "Hover the picture for its toolbar: *Edit* moves, scales and deletes what is drawn (boxes stay upright)."
    )
    return Pen(tool, colour, filled, opacity, width, head, size, radius)


def _same_drawing(first: tuple[PictureIntervention, ...], second: tuple[PictureIntervention, ...]) -> bool:
    """Equal but for what a trip to the canvas and back rounds off (a pixel of the canvas)."""

    def near(a: Any, b: Any) -> bool:
        if isinstance(a, float) and isinstance(b, float):
            return abs(a - b) < 1.5 / CANVAS_SIDE
        return bool(a == b)

    def extent(stroke: Freehand) -> tuple[float, ...]:
        # A stroke restored from its points has other points in between: its ends and its reach must do.
        xs, ys = zip(*stroke.points, strict=True)
        return (*stroke.points[0], *stroke.points[-1], min(xs), min(ys), max(xs), max(ys))

    def values(change: PictureIntervention) -> list[Any]:
        return [
            value
            for name in change.__dataclass_fields__
            for value in (
                extent(change) if name == "points" and isinstance(change, Freehand) else [getattr(change, name)]
            )
        ]

    return [type(a) for a in first] == [type(b) for b in second] and all(
        near(x, y) for a, b in zip(first, second, strict=True) for x, y in zip(values(a), values(b), strict=True)
    )


def picture(desk: Desk) -> None:
    """The picture with its presets, its canvas and its pens."""
    _image_presets(desk)
    try:
        shown, picture_size = _background(desk)
    except StudioError as error:
        st.error(as_written(str(error)), icon=":material/broken_image:")
        return
    with st.container(horizontal=True, gap="small"):
        # Drawn first, filled second: the canvas needs the pen, which stands to its right.
        canvas, tools = st.container(width=CANVAS_SIDE + 2), st.container(width="stretch", key="vqa_tools")
    with tools:
        pen = _pen(desk)
    with canvas:
        _canvas(desk, shown, picture_size, pen)
        _picture_tools(desk)


def _canvas(desk: Desk, shown: bytes, picture_size: tuple[int, int], pen: Pen) -> None:
    """The picture to draw on; what is drawn becomes the draft's drawings."""
    size = CanvasSize.fitting(picture_size, CANVAS_SIDE)
    mounted = (desk.version, desk.draft.observation, size)
    # Its size is part of its key: pixels drawn on one canvas mean other places on another.
    key = f"vqa_canvas_{desk.version}_{size.width}x{size.height}_{desk.draft.observation}"
    if desk.shown_canvas.get("mounted") != mounted or key not in st.session_state:
        # Frozen while the canvas is mounted: fed back on every run, a drawing never comes to rest. A canvas that comes
        # back after a visit to another page has forgotten its drawing, and its state with it.
        desk.shown_canvas = {"mounted": mounted, "initial": canvas_from_interventions(desk.draft.drawings, size)}
    result = st_canvas(
        background_image=shown,
        drawing_mode=TOOLS[pen.tool],
        width=size.width,
        height=size.height,
        initial_drawing=desk.shown_canvas["initial"],
        key=key,
        **pen_style(pen, size),
    )
    drawn = interventions_from_canvas(result.json_data, size)
    if not _same_drawing(drawn, desk.draft.drawings):
        before = desk.draft
        desk.change(replace(desk.draft, drawings=drawn), drawn=True)
        if bool(before.drawings) != bool(drawn):
            # The buttons beside the canvas were drawn before the stroke came in.
            st.rerun()


def _picture_tools(desk: Desk) -> None:
    st.session_state["vqa_noise"] = float(desk.draft.noise.sigma) if desk.draft.noise else 0.0

    def noise() -> None:
        sigma = float(st.session_state["vqa_noise"])
        seed = desk.draft.noise.seed if desk.draft.noise else 0
        desk.change(replace(desk.draft, noise=GaussianNoise(sigma, seed) if sigma > 0 else None))

    def clear() -> None:
        desk.change(replace(desk.draft, drawings=(), noise=None))

    timeline = desk.timeline
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        for name, icon, action, off, words in (
            ("undo", "undo", partial(desk.step, True), not timeline.before, "Undo the last change of the input"),
            ("redo", "redo", partial(desk.step, False), not timeline.undone, "Redo"),
            ("clear", "ink_eraser", clear, desk.draft.picture_changes == 0, "Clear every drawing and the noise"),
        ):
            run = partial(guarded, desk, action)
            st.button("", icon=f":material/{icon}:", key=f"vqa_{name}", help=words, on_click=run, disabled=off)
        st.slider(
            "Gaussian noise σ (of 255 levels)", 0.0, 120.0, step=5.0, key="vqa_noise", format="%.0f", on_change=noise
        )


# --- the words -----------------------------------------------------------------------------


def _context_kind(desk: Desk) -> str:
    return desk.draft.context.kind if isinstance(desk.draft.context, ContextPreset) else "edited"


def context(desk: Desk) -> None:
    """The context with its presets, free to edit."""
    observation, kind = desk.observation, _context_kind(desk)
    have = {"complementary": bool(observation.complementary), "contradictory": bool(observation.contradictory)}
    kinds = [k for k in CONTEXT_KINDS if have.get(k, True)]
    if desk.upload is not None:
        kinds = ["none", "random"]
    st.markdown("**Context** · a sentence the model reads before the question")
    st.session_state["vqa_context_kind"] = kind if kind in kinds else None

    def choose() -> None:
        chosen = st.session_state["vqa_context_kind"]
        if chosen is not None:
            desk.change(replace(desk.draft, context=ContextPreset(chosen)))

    def another() -> None:
        seed = desk.draft.context.seed + 1 if isinstance(desk.draft.context, ContextPreset) else 1
        desk.change(replace(desk.draft, context=ContextPreset("random", seed)))

    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.segmented_control(
            "Context preset",
            kinds,
            key="vqa_context_kind",
            format_func=str.capitalize,
            on_change=lambda: guarded(desk, choose),
            label_visibility="collapsed",
        )
        if kind == "random":
            st.button("Another", icon=":material/shuffle:", key="vqa_context_another", on_click=another)
        if kind == "edited":
            st.badge("edited", icon=":material/edit:", color="gray")
    missing = [k for k, there in have.items() if not there]
    if missing and desk.upload is None:
        st.caption(f"This observation has no {' and no '.join(missing)} context.")
    st.session_state["vqa_context"] = _words(desk, "context")

    def typed() -> None:
        text = st.session_state["vqa_context"]
        desk.change(replace(desk.draft, context=EditText("context", text) if text.strip() else ContextPreset("none")))

    st.text_area(
        "Context",
        key="vqa_context",
        height=88,
        max_chars=MAX_TEXT,
        placeholder="No context. Type one, or take a preset.",
        on_change=lambda: guarded(desk, typed),
        label_visibility="collapsed",
    )


def _words(desk: Desk, field: str) -> str:
    """The context or question as the draft has it, a draft that cannot be asked included."""
    change = desk.draft.context if field == "context" else desk.draft.question
    if isinstance(change, EditText):
        return change.text

    def read() -> str:
        try:
            bare = build_trial(desk.dataset, desk.observation, (change,), picture=desk.own_picture)
        except StudioError:
            return ""
        return bare.context if field == "context" else bare.question

    return desk.once(f"words of the {field}", (desk.draft.observation, change), read)


def question(desk: Desk) -> None:
    """The question with its truth, its presets and a reset."""
    asked = desk.draft.question
    own = isinstance(asked, QuestionPreset) and asked.kind == "original"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown("**Question**", width="content")
        truth = desk.observation.truth_word if own else "unknown"
        icon = {"yes": ":material/check:", "no": ":material/close:"}.get(truth, ":material/question_mark:")
        st.badge(
            f"truth: {truth}",
            icon=icon,
            color={"yes": "green", "no": "orange"}.get(truth, "gray"),  # type: ignore[arg-type]
            help=None if own else "The truth is known only for the observation's own question",
        )
        st.button(
            "Random question",
            icon=":material/shuffle:",
            key="vqa_question_random",
            type="tertiary",
            on_click=lambda: desk.change(
                replace(desk.draft, question=QuestionPreset("random", getattr(asked, "seed", 0) + 1))
            ),
        )
        st.button(
            "Reset words",
            icon=":material/restart_alt:",
            key="vqa_reset",
            type="tertiary",
            help="The observation's own question and no context",
            on_click=lambda: desk.change(
                replace(desk.draft, question=QuestionPreset("original"), context=ContextPreset("none"))
            ),
            disabled=own and _context_kind(desk) == "none",
        )
    st.session_state["vqa_question"] = _words(desk, "question")

    def typed() -> None:
        text = st.session_state["vqa_question"]
        same = text.strip() == desk.observation.question.strip()
        desk.change(replace(desk.draft, question=QuestionPreset("original") if same else EditText("question", text)))

    st.text_input("Question", key="vqa_question", on_change=lambda: guarded(desk, typed), label_visibility="collapsed")
