"""What the attention views share: the word and the layer to look at, the picture below a map, words marked in texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from isi_core.domain.attribution import Attribution
from isi_core.domain.evaluation import Evaluation
from isi_core.measures import attention_views as views
from isi_core.reports.figures import heat_map_overlay, thumbnail
from isi_core.ui.wording import as_written

PICTURE_WIDTH = 270
PICTURE_SIDE = 540
OPACITY = 0.6
TOP_WORDS = 6
_PILLS = 40


def chosen_word(found: Attribution) -> tuple[str, tuple[int, ...] | None]:
    """The word of the answer to look at, and its tokens; None for all of the answer."""
    words = views.answer_words(found.tokens)
    options = list(range(-1, len(words)))
    if len(words) <= _PILLS:
        chosen: Any = st.pills(
            "Answer word",
            options,
            default=-1,
            required=True,
            format_func=lambda i: "whole answer" if i < 0 else as_written(words[i].text, 24),
            key=f"vqa_word_{len(words)}",
        )
    else:
        chosen = st.selectbox(
            "Answer word",
            options,
            format_func=lambda i: "whole answer" if i < 0 else f"{i + 1}: {words[i].text[:24]}",
            key=f"vqa_word_{len(words)}",
        )
    if chosen is None or chosen < 0:
        return "the whole answer", None
    return f"“{words[chosen].text}”", words[chosen].tokens


def chosen_layer(found: Attribution) -> tuple[str, int | None]:
    """The decoder layer to look at; None for the mean over all of them."""
    layers = len(found.by_layer)
    options = ["all", *map(str, range(1, layers + 1))]
    chosen = str(st.select_slider("Decoder layer (“all” is their mean)", options, key=f"vqa_layer_{layers}"))
    return ("all layers", None) if chosen == "all" else (f"layer {chosen} of {layers}", int(chosen) - 1)


def under_map(evaluation: Evaluation, heat_map: Any, smooth: bool = False, peak: float | None = None) -> Any:
    """The evaluation's picture with a map laid over it; `peak` is the brightest colour's value, else the map's own."""
    return heat_map_overlay(thumbnail(evaluation.trial.image, PICTURE_SIDE), heat_map, OPACITY, smooth, peak)


def highlighted(words: Sequence[views.WordShare], colour: str, most: int = TOP_WORDS) -> str:
    """The text as Markdown, the words with the largest shares on a ground of colour, the very largest bold.

    Words below the text's mean share are never marked. Each word is written as it is, never read as markup.
    """
    top = sorted((w.share for w in words), reverse=True)[:most]
    least, strong = max(top[-1], sum(w.share for w in words) / len(words)), top[0] / 2
    shown = []
    for word in words:
        text = as_written(word.text)
        if word.share >= least and word.share > 0:
            text = f":{colour}-background[{f'**{text}**' if word.share >= strong else text}]"
        shown.append(text)
    return " ".join(shown)
