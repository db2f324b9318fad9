"""The pictures of an observation that is being written: the natural one, and the annotated one drawn on it."""

from __future__ import annotations

import io
from functools import partial

import streamlit as st
from PIL import Image
from streamlit_drawable_canvas import st_canvas

from isi_core.datasets.pictures import open_picture
from isi_core.domain.errors import InputError, StudioError
from isi_core.domain.rendering import apply
from isi_core.ui import resources
from isi_core.ui.bound import guarded
from isi_core.ui.browser.desk import Desk, Form
from isi_core.ui.drawing import (
    TOOLS,
    CanvasSize,
    Pen,
    Tool,
    canvas_from_interventions,
    interventions_from_canvas,
    pen_style,
)
from isi_core.ui.wording import as_written

CANVAS_SIDE = 420
_TOOLS: tuple[Tool, ...] = ("Box", "Arrow", "Text", "Freehand")
_MARKED = {"none": "None", "keep": "As it is", "draw": "Draw on the picture", "upload": "Upload"}
_PICTURES = ["png", "jpg", "jpeg", "webp", "bmp", "gif"]


def show(desk: Desk) -> None:
    """The picture, and how its annotated version comes about."""
    form = desk.form
    key = f"author_picture_{form.version}"

    def take() -> None:
        file = st.session_state[key]
        if file is not None:
            raw = file.getvalue()
            open_picture(raw, file.name)
            form.picture, form.picture_name, form.drawings = raw, file.name, ()
            form.shown_canvas = {}

    st.file_uploader(
        "Another picture" if form.picture else "Picture",
        type=_PICTURES,
        key=key,
        on_change=partial(guarded, desk, take),
    )
    if form.picture is None:
        st.caption("Drop a picture here; then its annotated version can be drawn on it.")
        return
    st.markdown("**Annotated picture**: the same with marks that help")
    choices = [m for m in _MARKED if m != "keep" or form.kept is not None]
    chosen = f"author_marked_{form.version}"
    st.session_state[chosen] = form.marked

    def choose() -> None:
        form.marked = st.session_state[chosen] or form.marked

    st.segmented_control(
        "Annotated picture",
        choices,
        key=chosen,
        format_func=lambda m: _MARKED[m],
        on_change=choose,
        label_visibility="collapsed",
    )
    try:
        natural = desk.once("form picture", form.picture, lambda: open_picture(form.picture or b"", form.picture_name))
        if form.marked == "draw":
            _draw(form, natural)
            return
        if form.marked == "upload":
            _upload(desk)
        shown = natural
        marked = form.kept if form.marked == "keep" else form.uploaded if form.marked == "upload" else None
        if marked is not None:
            shown = open_picture(marked[0], marked[1])
        st.image(shown, width=CANVAS_SIDE, output_format="PNG")
    except StudioError as error:
        st.error(as_written(str(error)), icon=":material/broken_image:")


def _upload(desk: Desk) -> None:
    form, key = desk.form, f"author_upload_{desk.form.version}"

    def take() -> None:
        file = st.session_state[key]
        if file is not None:
            open_picture(file.getvalue(), file.name)
            form.uploaded = (file.getvalue(), file.name)

    st.file_uploader("Annotated picture's file", type=_PICTURES, key=key, on_change=partial(guarded, desk, take))


def _draw(form: Form, natural: Image.Image) -> None:
    """The canvas over the natural picture."""
    tool: Tool = st.pills("Draw", list(_TOOLS), default="Box", key="author_tool", label_visibility="collapsed") or "Box"
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        colour = st.color_picker("Colour", "#d55e00", key="author_colour", label_visibility="collapsed")
        st.caption(
            "Click on the picture, type, then click elsewhere." if tool == "Text" else "Drag on the picture.",
            width="stretch",
        )
    size = CanvasSize.fitting(natural.size, CANVAS_SIDE)
    pen = Pen(tool, colour)
    key = f"author_canvas_{form.version}_{hash(form.picture)}"
    if form.shown_canvas.get("key") != key or key not in st.session_state:
        # Frozen while the canvas is mounted; one that comes back has forgotten its drawing.
        form.shown_canvas = {"key": key, "initial": canvas_from_interventions(form.drawings, size)}
    result = st_canvas(
        background_image=resources.png(natural.resize((size.width, size.height), Image.Resampling.LANCZOS)),
        drawing_mode=TOOLS[tool],
        width=size.width,
        height=size.height,
        initial_drawing=form.shown_canvas["initial"],
        key=key,
        **pen_style(pen, size),
    )
    if result.json_data is not None:
        form.drawings = interventions_from_canvas(result.json_data, size)
    st.caption(f"{len(form.drawings)} marks; the annotated picture has the picture's own resolution.")


def marked_picture(form: Form) -> tuple[bytes | None, str]:
    """The annotated picture's file and name; None where there is none.

    Raises
    ------
    InputError : it was to be drawn or uploaded, and nothing was.
    """
    if form.marked == "keep" and form.kept is not None:
        return form.kept
    if form.marked == "upload":
        if form.uploaded is None:
            raise InputError("There is no annotated picture yet: drop one on its box, or choose None.")
        return form.uploaded
    if form.marked == "draw":
        if not form.drawings:
            raise InputError("Nothing is drawn yet: draw on the picture, or choose None.")
        picture = open_picture(form.picture or b"", form.picture_name)
        for drawing in form.drawings:
            picture = apply(picture, drawing)
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG", optimize=True)
        return buffer.getvalue(), "drawn.png"
    return None, ""
