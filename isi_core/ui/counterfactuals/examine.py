"""One counterfactual: before and after on a slider, the scores, Grad-CAM beside it, on to VQA Interventions."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np
import streamlit as st
from PIL import Image, ImageOps

from isi_core.domain.errors import ModelError, StudioError
from isi_core.domain.palette import COUNTERFACTUAL_FRAME, ORIGINAL_FRAME
from isi_core.reports.counterfactual_examples import score_words, strongest_deltas
from isi_core.reports.counterfactual_figures import unit_of
from isi_core.reports.wording import number
from isi_core.store.pictures import to_png
from isi_core.studies.counterfactuals.results import Delta, SetResult
from isi_core.ui import resources
from isi_core.ui.bound import bound, guarded
from isi_core.ui.counterfactuals import choices, shown
from isi_core.ui.counterfactuals.desk import Desk
from isi_core.ui.counterfactuals.kept import Kept
from isi_core.ui.wording import as_written

VQA_PAGE = "pages/1_VQA_Interventions.py"
_GO = "ranking_go"
_SIDE = 320


def leave_if_asked() -> None:
    """Go to VQA Interventions when a counterfactual was opened there."""
    if st.session_state.pop(_GO, False):
        st.switch_page(VQA_PAGE)


def show(desk: Desk, made: Kept) -> None:
    """The choice of attribute and picture, and the pair."""
    by_text = {" and ".join(e.attribute.text for e in s.edits): s for s in _sets(made)}
    if not by_text:
        return
    st.subheader("One counterfactual", anchor=False)
    if desk.chosen not in by_text:
        desk.chosen = next(iter(by_text))
    attribute, picture = st.columns(2)
    attribute.selectbox("Attribute", list(by_text), **bound(desk, "chosen", partial(_forget_picture, desk)))
    found = by_text[desk.chosen]
    deltas = {d.picture: d for d in strongest_deltas(found, found.images, flagged=True)}
    names = dict(made.result.pictures)
    if desk.picture not in deltas:
        desk.picture = next(iter(deltas))
    picture.selectbox(
        "Picture",
        list(deltas),
        **bound(desk, "picture"),
        format_func=lambda digest: _picture_words(names, deltas, digest),
    )
    delta = deltas[desk.picture]
    find = shown.pictures_of(desk, made)
    before, after = find(delta.picture, ()), find(delta.picture, found.edits)
    if before is None or after is None:
        st.info(
            "This counterfactual is not in the edit bank any more: rank again to make it.", icon=":material/lightbulb:"
        )
        return
    _pair(desk, made, found, delta, before, after)


def _forget_picture(desk: Desk) -> None:
    desk.picture = ""


def _picture_words(names: dict[str, str], deltas: dict[str, Delta], digest: str) -> str:
    delta = deltas.get(digest)
    if delta is None:
        return digest[:8]
    flag = "" if delta.valid else " · flagged"
    return f"{names.get(digest, digest[:8])} · Δ {number(delta.change)}{flag}"


def _sets(made: Kept) -> list[SetResult]:
    return [*made.result.ranking, *made.result.apart, *(joint.whole for joint in made.result.joint)]


def _pair(desk: Desk, made: Kept, found: SetResult, delta: Delta, before: Image.Image, after: Image.Image) -> None:
    base = before if before.size == after.size else before.resize(after.size, Image.Resampling.LANCZOS)
    with st.container(key="stack_counterfactual"):
        left, right = st.columns([11, 6], gap="medium")
    with left:
        one, two, three = st.columns(3, gap="small")
        blended = Image.blend(base.convert("RGB"), after.convert("RGB"), float(desk.blend))
        key = ("difference", made.key, delta.picture, found.edits)
        change, reading = desk.computed(key, lambda: _difference(base, after))
        one.image(framed(base, ORIGINAL_FRAME), width="stretch", caption="before")
        two.image(framed(blended, COUNTERFACTUAL_FRAME), width="stretch", caption=_blend_words(desk.blend))
        three.image(change, width="stretch", caption="where pixels changed")
        st.slider(
            "Before to after",
            0.0,
            1.0,
            step=0.05,
            **bound(desk, "blend"),
            help="0 is the picture without the edit, 1 the counterfactual; in between both are blended.",
        )
    with right:
        score, moved = st.columns(2)
        score.metric(f"Score before ({unit_of(made.result)})", score_words(delta.base))
        # The sign that is written is no hyphen, by which the arrow would be chosen.
        arrow: Literal["up", "down"] = "up" if delta.change >= 0 else "down"
        moved.metric("After", score_words(delta.score), number(delta.change), delta_color="off", delta_arrow=arrow)
        if delta.reasons:
            st.warning(as_written("Flagged: " + "; ".join(delta.reasons)), icon=":material/flag:")
        else:
            st.caption(_checked_words(made, delta))
        st.caption(reading)
        st.button(
            "Open in VQA Interventions",
            key="ranking_open",
            icon=":material/experiment:",
            on_click=partial(guarded, desk, _open, made, found, delta, after),
            help="Takes the counterfactual there as a picture of your own, to ask a vision-language model about it.",
        )
        _grad_cam(desk, made, before, after)


def _checked_words(made: Kept, delta: Delta) -> str:
    """What was looked at in an edit that was not flagged, with what was measured."""
    settings, quality = made.result.settings, delta.quality
    if not settings.get("checks"):
        return "This ranking did not check its edits."
    told = []
    if any(p is not None for p in quality.after):
        told.append("its attribute is there as it says")
    else:
        told.append("nothing here could read whether its attribute is there")
    if quality.ssim is not None:
        told.append(f"SSIM {number(quality.ssim)} outside the edited region")
    if quality.drift is not None:
        told.append(f"{number(100 * quality.drift)} % of the other attributes changed with it")
    return f"✓ Not flagged: {'; '.join(told)}."


def _blend_words(blend: float) -> str:
    return "after" if blend >= 1 else "before" if blend <= 0 else f"{round(100 * blend)} % after"


def framed(image: Image.Image, colour: str) -> bytes:
    """The picture in its frame, as in the figures."""
    times = max(1, _SIDE // max(image.size))
    large = image.convert("RGB").resize((image.width * times, image.height * times), Image.Resampling.LANCZOS)
    framed = ImageOps.expand(large, max(3, large.width // 60), colour)
    rim = shown.ink().rim
    return resources.png(ImageOps.expand(framed, 2, rim) if rim and colour == COUNTERFACTUAL_FRAME else framed)


def _enlarged(image: Image.Image) -> bytes:
    """Small pictures are shown at a size at which the page scales them evenly."""
    times = max(1, _SIDE // max(image.size))
    large = image.resize((image.width * times, image.height * times), Image.Resampling.LANCZOS) if times > 1 else image
    return resources.png(large)


def _difference(before: Image.Image, after: Image.Image) -> tuple[bytes, str]:
    """The counterfactual in grey with its changed pixels in colour, and what share of it they are."""
    one, two = (np.asarray(image.convert("RGB"), dtype=np.int16) for image in (before, after))
    changed = np.abs(one - two).max(axis=2) >= 8
    grey = np.asarray(after.convert("L").convert("RGB"), dtype=np.float64) * 0.6 + 90
    grey[changed] = two[changed]
    made = Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))
    return _enlarged(made), f"{number(100 * float(changed.mean()))} % of the pixels differ by 8 grey levels or more."


def _open(made: Kept, found: SetResult, delta: Delta, after: Image.Image) -> None:
    # The canvas component of that page can be imported only while a page runs.
    from isi_core.ui.vqa import desk as vqa_desk
    from isi_core.ui.vqa import inputs

    names = dict(made.result.pictures)
    edits = " and ".join(edit.text for edit in found.edits)
    name = f"{names.get(delta.picture, 'picture')}, {edits}"
    question = f"Does the picture show {found.edits[0].attribute.phrase}?"
    truth = (found.edits[0].sign > 0) if delta.valid else None
    inputs.add_upload(vqa_desk.open_desk(), to_png(after.convert("RGB")), name[:120], question, "", truth)
    st.session_state[_GO] = True


def _grad_cam(desk: Desk, made: Kept, before: Image.Image, after: Image.Image) -> None:
    """Where the network looked, on both pictures, when it is asked for."""
    record = made.result.settings.get("classifier", {})
    if not isinstance(record, dict) or record.get("kind") != "hugging-face":
        return
    load = choices.loaded_again(desk, record)
    if load is None:
        return
    with st.expander("Grad-CAM: where the classifier looks", icon=":material/visibility:"):
        if not st.toggle("Show it", key="ranking_grad_cam"):
            st.caption("An explanation of another kind: it marks places, where a ranking names attributes.")
            return
        index = _class_index(made, record, load)
        if index is None:
            st.info("The classifier that is loaded has other classes than this ranking.", icon=":material/lightbulb:")
            return
        key = ("cam", made.key, desk.picture, desk.chosen)
        try:
            first, second = desk.computed(key, lambda: maps(load(), [before, after], index))
        except StudioError as error:
            st.info(as_written(str(error)), icon=":material/lightbulb:")
            return
        one, two = st.columns(2)
        one.image(first, width="stretch", caption="before")
        two.image(second, width="stretch", caption="after")
        st.caption(
            f"Yellow is where what was found speaks most for “{as_written(made.result.class_label)}”, violet where "
            "nothing does; each picture on its own scale (Grad-CAM, ICCV 2017)."
        )


def _class_index(made: Kept, record: dict[str, Any], load: Any) -> int | None:
    labels = load().labels
    return labels.index(made.result.class_label) if made.result.class_label in labels else None


def maps(classifier: Any, images: list[Image.Image], index: int) -> list[bytes]:
    from isi_core.measures.grad_cam import grad_cam
    from isi_core.reports.figures import heat_map_overlay

    inputs = getattr(classifier, "pixels", None)
    if inputs is None:
        raise ModelError("Grad-CAM needs a classifier whose layers can be looked into.")
    if classifier.module.config.num_labels == 1:  # the classes "not X" and X share one output
        index = 0
    made = []
    for image in images:
        (heat,) = grad_cam(classifier.module, classifier.pixels([image]), index)
        made.append(_enlarged(heat_map_overlay(image, heat, 0.6, smooth=True)))
    return made
