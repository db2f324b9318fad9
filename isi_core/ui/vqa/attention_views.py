"""Attention seen closely, folded below the heat map: by word and layer, on words, on a patch, beside other views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st

from isi_core.domain.attribution import AttentionRecord, Attribution
from isi_core.domain.evaluation import Evaluation
from isi_core.measures import attention_views as views
from isi_core.reports import attention_figures as figures
from isi_core.reports.attention_hover import MOST_CELLS, hover_figure
from isi_core.reports.charts import Figure
from isi_core.reports.figures import heat_map_legend, is_grid, thumbnail
from isi_core.reports.wording import number, percent
from isi_core.ui import frame, resources
from isi_core.ui.vqa import attention_compare, attention_jobs, layer_heads, occlusion, relevancy
from isi_core.ui.vqa.attention_parts import (
    PICTURE_WIDTH,
    TOP_WORDS,
    chosen_layer,
    chosen_word,
    highlighted,
    under_map,
)
from isi_core.ui.vqa.desk import Desk
from isi_core.ui.wording import as_written

RECORD_BYTES = 64 << 20
"""What one session keeps of its answers' attention by layer and token; the newest answer's is always kept."""

_BY_WORD, _HOVER, _OVER, _WORDS, _PATCH, _RELEVANCY, _BESIDE, _COVER = (
    "By word",
    "Hover words",
    "Over the answer",
    "Words read",
    "One patch",
    "Relevancy",
    "Side by side",
    "Occlusion",
)
_SINKS_PAPER = "Xiao et al. 2023, “Efficient streaming language models with attention sinks”"


def show(desk: Desk, evaluation: Evaluation) -> None:
    """The views of an evaluation's attention; nothing is computed while they are folded."""
    _remembered("vqa_closer", False)
    folded = st.expander(
        "Look closer: by word, layer and patch, and an occlusion check",
        icon=":material/zoom_in:",
        key="vqa_closer",
        on_change="rerun",
    )
    st.session_state["vqa_closer_kept"] = folded.open
    if evaluation.attribution is None or not folded.open:
        return
    with folded:
        occlusion.working()
        attention_jobs.working()
        _views(desk, evaluation, evaluation.attribution)


def _remembered(key: str, first: Any, offered: Sequence[Any] = (), kept: str = "") -> None:
    """Put back what a widget showed before the answer that it belonged to left the page."""
    if key not in st.session_state:
        before = st.session_state.get(kept or f"{key}_kept", first)
        st.session_state[key] = before if not offered or before in offered else first


def forget_old(desk: Desk) -> None:
    """Let the older answers' records go once the session's hold more than `RECORD_BYTES`."""
    held = 0
    for index in reversed(range(len(desk.entries))):
        entry = desk.entries[index]
        attribution = entry.evaluation.attribution
        if attribution is None or attribution.record is None:
            continue
        size = _nbytes(attribution.record)
        if held and held + size > RECORD_BYTES:
            bare = replace(entry.evaluation, attribution=replace(attribution, record=None))
            desk.entries[index] = replace(entry, evaluation=bare)
        else:
            held += size


def _nbytes(record: AttentionRecord) -> int:
    return sum(
        array.nbytes for array in (record.sums, record.image_columns, record.context_columns, record.question_columns)
    )


@st.fragment
def _views(desk: Desk, evaluation: Evaluation, found: Attribution) -> None:
    """One view at a time, in a part of the page of its own: a slider does not run the whole page."""
    record = found.record
    on_picture = is_grid(found.heat_map)
    offered = [_BY_WORD, _HOVER, _OVER, _WORDS, _PATCH, _RELEVANCY, _BESIDE, _COVER]
    if record is None:
        st.caption(
            "A stored or older run keeps averages only: press *Measure attention* again to see this answer's "
            "attention by word, by layer and on one patch."
        )
        offered = [_OVER, _RELEVANCY, _BESIDE, _COVER]
    elif not on_picture:
        st.caption("This model cuts the picture into tiles: there is no map of its patches.")
        offered = [_OVER, _WORDS, _RELEVANCY, _BESIDE, _COVER]
    key = f"vqa_view_{len(offered)}"
    _remembered(key, offered[0], offered, "vqa_view_kept")
    view = st.segmented_control("View", offered, required=True, key=key, label_visibility="collapsed")
    st.session_state["vqa_view_kept"] = view
    if view == _OVER:
        frame.figure(figures.area_figure(found), "attention_area")
    elif view == _RELEVANCY:
        relevancy.show(desk, evaluation, *chosen_word(found))
    elif view == _BESIDE:
        attention_compare.show(desk, evaluation, found)
    elif view == _COVER:
        occlusion.show(desk, evaluation, *chosen_word(found))
    elif record is not None and view == _BY_WORD:
        _heat_map(desk, evaluation, found, record)
    elif record is not None and view == _HOVER:
        _hover(desk, evaluation, found, record)
    elif record is not None and view == _WORDS:
        _attended_words(evaluation, found, record)
    elif record is not None and view == _PATCH:
        _patch(evaluation, found, record)


def _heat_map(desk: Desk, evaluation: Evaluation, found: Attribution, record: AttentionRecord) -> None:
    word, steps = chosen_word(found)
    picture, side = st.columns([5, 6], vertical_alignment="top")
    with side:
        layer_name, layer = chosen_layer(found)
        shown, where = record, layer
        if layer is not None:
            head = layer_heads.chosen_head(desk, evaluation, found, layer)
            if head is not None:
                shown, where = head.record, head.number
                layer_name = f"head {head.number + 1} of {layer_name}"
        smooth = st.toggle("Smooth", key="vqa_smooth", help="Off, each patch has the one colour that was measured.")
        heat_map = views.heat_map_of(shown, steps, where)
        st.image(heat_map_legend(heat_map), width=280)
        st.caption(
            as_written(
                f"Attention on each patch while the model chose {word}, in {layer_name}: "
                f"{number(float(heat_map.sum()))} of all attention was on the picture. The colours go up to the "
                "brightest patch of this map."
            )
        )
    picture.image(resources.png(under_map(evaluation, heat_map, smooth)), width=PICTURE_WIDTH)
    _sinks(desk, evaluation, record)


def _hover(desk: Desk, evaluation: Evaluation, found: Attribution, record: AttentionRecord) -> None:
    words = views.answer_words(found.tokens)
    _, layer = chosen_layer(found)
    if len(words) * found.heat_map.size > MOST_CELLS:
        st.caption("This answer has too many words and patches to show all at once: choose one in *By word*.")
        return

    def draw() -> Figure:
        maps = np.stack([views.heat_map_of(record, word.tokens, layer) for word in words])
        return hover_figure([word.text for word in words], maps, thumbnail(evaluation.trial.image, PICTURE_WIDTH))

    key = (evaluation.trial.digest, evaluation.model, evaluation.created, layer)
    frame.figure(desk.once("hover", key, draw), "hover")


def _sinks(desk: Desk, evaluation: Evaluation, record: AttentionRecord) -> None:
    key = (evaluation.trial.digest, evaluation.model, evaluation.created)
    found = desk.once("sinks", key, lambda: views.sinks(record))
    for sink in found:
        where = f"The patch in {sink.text}" if sink.input == "image" else f"The token “{sink.text}” of the {sink.input}"
        st.markdown(
            f":material/water_drop: {as_written(where, 120)} looks like an attention sink: typically "
            f"{number(sink.times)} times the median of its kind, and in {percent(sink.cells)} of answer tokens and "
            f"layers more than {views.SINK_TIMES:g} times. If the answer hangs on it, the occlusion check will tell."
        )
    none = "" if found else "No patch and no word looks like an attention sink. "
    st.caption(
        as_written(
            f"{none}The first position of the prompt, in many models the main sink and left out of every share here, "
            f"holds {number(views.first_position(record))} of all attention (see {_SINKS_PAPER})."
        )
    )


def _attended_words(evaluation: Evaluation, found: Attribution, record: AttentionRecord) -> None:
    word, steps = chosen_word(found)
    layer_name, layer = chosen_layer(found)
    st.caption(as_written(f"While the model chose {word}, in {layer_name}:"))
    for name, text, colour in (
        ("context", evaluation.trial.context, "orange"),
        ("question", evaluation.trial.question, "green"),
    ):
        words = views.word_shares(record, name, text, steps, layer)  # type: ignore[arg-type]
        if not words:
            st.caption(f"There is no {name}.")
            continue
        st.markdown(f":{colour}-badge[{name}]  \n{highlighted(words, colour)}")
        frame.figure(figures.words_figure(words, name, TOP_WORDS), f"words_{name}")  # type: ignore[arg-type]


def _patch(evaluation: Evaluation, found: Attribution, record: AttentionRecord) -> None:
    rows, columns = record.image_grid
    brightest = int(found.heat_map.argmax())
    picture, side = st.columns([5, 6], vertical_alignment="top")
    with side:
        row = _place("Row", rows, brightest // columns)
        column = _place("Column", columns, brightest % columns)
        layer_name, layer = chosen_layer(found)
    heat_map = views.heat_map_of(record, None, layer)
    drawn = figures.framed(under_map(evaluation, heat_map), record.image_grid, row, column)
    picture.image(resources.png(drawn), width=PICTURE_WIDTH)
    side.caption(f"The framed patch, over the whole answer's heat map in {layer_name}; first the brightest one.")
    words = views.answer_words(found.tokens)
    shares = views.patch_by_word(record, words, row, column, layer)
    frame.figure(figures.patch_figure([word.text for word in words], shares.tolist(), row, column), "patch")


def _place(name: str, count: int, first: int) -> int:
    """A row or column of the grid, from 0; from 1 on the page."""
    if count == 1:
        return 0
    return int(st.slider(f"{name} (1 to {count})", 1, count, first + 1, key=f"vqa_patch_{name.lower()}_{count}")) - 1
