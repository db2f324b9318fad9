"""A chart of every word's attention on the picture, in which a hovered word shows its map and a patch its words."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from isi_core.domain.errors import InputError
from isi_core.domain.palette import INPUT_COLOURS
from isi_core.reports.chart_parts import categories, data, page_theme
from isi_core.reports.charts import Figure
from isi_core.reports.wording import one_line

MOST_CELLS = 12_000
"""Words times patches that one chart holds."""


def hover_figure(words: Sequence[str], maps: NDArray[np.float64], picture: Image.Image) -> Figure:
    """(words, rows, columns) shares of attention as bars and a map: a word hovered shows its map, a patch its bars.

    One colour scale for all words. Nothing is asked of the server: the chart holds every map.

    Raises
    ------
    InputError : there are more than `MOST_CELLS` shares.
    """
    import altair as alt

    if maps.size > MOST_CELLS:
        raise InputError("The answer has too many words and patches for one chart: look at one word at a time.")
    count, height, width = maps.shape
    places = [f"{i + 1}: {one_line(word, 14)}" for i, word in enumerate(words)]
    rows = [
        {"word": places[i], "row": r + 1, "column": c + 1, "share": round(float(maps[i, r, c]), 7)}
        for i in range(count)
        for r in range(height)
        for c in range(width)
    ]
    hovered = alt.selection_point(
        name="hovered_word", fields=["word"], on="pointerover", value=[{"word": places[0]}], empty=False, nearest=False
    )
    patch = alt.selection_point(name="chosen_patch", fields=["row", "column"], on="click", empty=True)
    bars = (
        alt.Chart()
        .transform_filter(patch)
        .mark_bar(color=INPUT_COLOURS["image"], height={"band": 0.8}, cursor="pointer")
        .encode(
            x=alt.X("sum(share):Q", title="share of attention", axis=alt.Axis(tickCount=3, format=".2~g")),
            y=categories("word", "", order=places, limit=110),
            opacity=alt.condition(hovered, alt.value(1.0), alt.value(0.45)),
            tooltip=[alt.Tooltip("word:N"), alt.Tooltip("sum(share):Q", title="share", format=".3~g")],
        )
        .add_params(hovered)
        .properties(width=120, height=max(60, 22 * count))
    )
    side = 230
    tall = max(1, round(side * picture.height / picture.width))
    below = (
        alt.Chart(data([{}]))
        .mark_image(url=_data_address(picture), width=side, height=tall, aspect=False)
        .encode(x=alt.value(side / 2), y=alt.value(tall / 2))
    )
    axis = alt.Axis(domain=False, ticks=False, labelAngle=0, labelOverlap="greedy")
    cells = (
        alt.Chart()
        .transform_filter(hovered)
        .mark_rect(cursor="pointer")
        .encode(
            x=alt.X("column:O", title="column", axis=axis),
            y=alt.Y("row:O", title="row", axis=axis),
            color=alt.Color(
                "share:Q",
                scale=alt.Scale(scheme="viridis", domain=[0, max(float(maps.max()), 1e-12)], nice=False),
                legend=alt.Legend(title="share", orient="right", gradientLength=90, tickCount=3, format=".2~g"),
            ),
            opacity=alt.condition(patch, alt.value(0.62), alt.value(0.3)),
            tooltip=[alt.Tooltip("row:O"), alt.Tooltip("column:O"), alt.Tooltip("share:Q", format=".3~g")],
        )
        .add_params(patch)
    )
    seen = alt.layer(below, cells).properties(width=side, height=tall)
    reading = (
        "Move over a word's bar to see what it was chosen by, all words on one scale; click a patch to see in the bars "
        "which words attended to it, click it again for the whole picture."
    )
    chart = alt.HConcatChart(data=data(rows), hconcat=[bars, seen]).configure(**page_theme())
    return Figure(chart, reading, "attention_by_word")


def _data_address(picture: Image.Image) -> str:
    """The picture in grey as a data URL, small enough to travel in a chart."""
    buffer = io.BytesIO()
    picture.convert("L").save(buffer, format="JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
