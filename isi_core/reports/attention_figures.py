"""Charts and pictures of attention seen closely: over the answer, on words, on one patch, beside an occlusion check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from isi_core.domain.attribution import INPUTS, Attribution
from isi_core.domain.palette import INPUT_COLOURS
from isi_core.measures.attention_views import TextInput, WordShare
from isi_core.reports.chart_parts import (
    GREY,
    categories,
    data,
    finish,
    input_colour,
    share_axis,
    stacked_columns,
    unit_scale,
    values,
)
from isi_core.reports.charts import MEASURE, Figure
from isi_core.reports.wording import number, one_line

_MIDDLE = "#f2f2f2"
_DIVERGING = (MEASURE, _MIDDLE, INPUT_COLOURS["image"])
"""Around a light middle: the measures' colour below 0, the image's above."""
_LABEL_CHARACTERS = 24
_MAP_SIDE = 310  # pixels
_SHOWN_NUMBERS = 5  # parts along a side up to which their numbers fit into them


def area_figure(attribution: Attribution) -> Figure:
    """Absolute share of attention on each input over the answer's length, as a stacked area, image at the foot."""
    import altair as alt

    tokens = [one_line(token, 14) or "␣" for token in attribution.tokens]
    if len(tokens) == 1:
        reading = "The answer has only one token: the column shows which inputs the model attended to for it."
        return Figure(stacked_columns(attribution.by_token, tokens, "answer token", 0), reading, "attention_area")
    rows = [
        {"step": i + 1, "token": token, "input": name, "rank": k, "share": float(share), "shown": number(float(share))}
        for i, token in enumerate(tokens)
        for k, (name, share) in enumerate(zip(INPUTS, attribution.by_token[i], strict=True))
    ]
    x = alt.X(
        "step:Q",
        title="answer token (its number)",
        scale=alt.Scale(domain=[1, len(tokens)], nice=False),
        axis=alt.Axis(tickMinStep=1, tickCount=min(len(tokens), 10), format="d", grid=False),
    )
    chart = (
        alt.Chart(data(rows))
        .mark_area(interpolate="linear", line=False)
        .encode(
            x=x,
            y=alt.Y("share:Q", title="share of attention (0 to 1)", stack=True, scale=unit_scale(), axis=share_axis()),
            color=input_colour(alt.Legend(title=None, orient="top"), INPUTS),
            order=alt.Order("rank:Q"),
            tooltip=[
                alt.Tooltip("token:N", title="answer token"),
                alt.Tooltip("input:N", title="input"),
                alt.Tooltip("shown:N", title="share"),
            ],
        )
    )
    reading = (
        "From left to right the answer is being written: a band that grows is an input that the model turned to more "
        "and more, one that shrinks an input it left."
    )
    return Figure(finish(chart, 340, 240), reading, "attention_area")


def words_figure(words: Sequence[WordShare], name: TextInput, most: int = 6) -> Figure:
    """The words of the context or question that got the largest shares of attention, the largest first."""
    import altair as alt

    # A word's place in the text keeps two that are alike apart.
    placed = sorted(enumerate(words), key=lambda entry: -entry[1].share)[:most]
    rows = [
        {"word": f"{i + 1}: {one_line(word.text, _LABEL_CHARACTERS)}", "share": word.share, "shown": number(word.share)}
        for i, word in placed
    ]
    y = categories("word", "", order=[str(row["word"]) for row in rows], limit=170)
    # Room at the right end is the numbers'.
    x = alt.X("share:Q", title="share of attention (0 to 1)", axis=alt.Axis(tickCount=4, format=".2~g"))
    base = alt.Chart(data(rows))
    tooltip = [alt.Tooltip("word:N", title="word"), alt.Tooltip("shown:N", title="share")]
    bars = base.mark_bar(color=INPUT_COLOURS[name], height={"band": 0.66}).encode(x=x, y=y, tooltip=tooltip)
    reading = (
        f"The {len(rows)} words of the {name} with the largest shares of attention, each after its place in the text; "
        "a share is of all attention, first position left out."
    )
    return Figure(finish(alt.layer(bars, values(base, y)), 300, 26 * max(len(rows), 2)), reading, f"{name}_words")


def patch_figure(words: Sequence[str], shares: Sequence[float], row: int, column: int) -> Figure:
    """Share of attention on one patch (row and column from 0) while each word of the answer was chosen."""
    import altair as alt

    rows = [
        # The place in front keeps equal words apart and in order; the axis shows what is behind it.
        {"place": f"{i:04d}{one_line(word, 14)}", "word": word, "share": float(share), "shown": number(float(share))}
        for i, (word, share) in enumerate(zip(words, shares, strict=True))
    ]
    axis = alt.Axis(
        labelExpr="slice(datum.label, 4)",
        labelAngle=-45 if len(rows) > 6 else 0,
        labelLimit=90,
        labelOverlap="greedy",
        ticks=False,
        labelPadding=6,
    )
    chart = (
        alt.Chart(data(rows))
        .mark_bar(color=INPUT_COLOURS["image"], width={"band": 0.8})
        .encode(
            x=alt.X("place:N", title="word of the answer", sort=None, axis=axis),
            y=alt.Y("share:Q", title="share of attention", axis=alt.Axis(tickCount=4, format=".2~g")),
            tooltip=[alt.Tooltip("word:N", title="word"), alt.Tooltip("shown:N", title="share")],
        )
    )
    reading = (
        f"Each bar is a word of the answer, its height the share of attention on the patch in row {row + 1}, "
        f"column {column + 1} while the model chose it."
    )
    return Figure(finish(chart, 340, 150), reading, f"patch_{row + 1}_{column + 1}")


def framed(picture: Image.Image, grid: tuple[int, int], row: int, column: int) -> Image.Image:
    """The picture with a frame, white in black, around one cell (from 0) of a (rows, columns) grid laid over it."""
    rows, columns = grid
    left, right = (round(picture.width * c / columns) for c in (column, column + 1))
    top, bottom = (round(picture.height * r / rows) for r in (row, row + 1))
    drawn = picture.convert("RGB")
    drawn = drawn.copy() if drawn is picture else drawn
    pen = ImageDraw.Draw(drawn)
    line = max(1, round(min(picture.size) / 150))
    for inset, colour in ((0, "black"), (line, "white")):
        box = (left + inset, top + inset, right - 1 - inset, bottom - 1 - inset)
        if box[0] < box[2] and box[1] < box[3]:
            pen.rectangle(box, outline=colour, width=line)
    return drawn


def difference_overlay(
    image: Image.Image, difference: NDArray[np.float64], far: float, opacity: float = 0.75
) -> Image.Image:
    """A (rows, columns) difference of two maps laid over a picture, coloured from -far over 0 to far."""
    places = np.clip((np.asarray(difference, dtype=float) / max(far, 1e-12) + 1) / 2, 0, 1)
    coloured = Image.fromarray(_diverging_table()[np.rint(places * 255).astype(int)])
    grey = image.convert("L").convert("RGB")
    return Image.blend(grey, coloured.resize(image.size, Image.Resampling.NEAREST), opacity)


def difference_legend(far: float, what: str, width: int = 360, ink: str = "#808080") -> Image.Image:
    """The colours of `difference_overlay` with their ends labelled; transparent."""
    size, bar = max(9, round(width / 28)), max(8, round(width / 30))
    font = ImageFont.load_default(size=size)
    legend = Image.new("RGBA", (width, bar + round(1.9 * size)), (0, 0, 0, 0))
    scale = Image.fromarray(_diverging_table()[None, :, :]).resize((width, bar), Image.Resampling.BILINEAR)
    legend.paste(scale, (0, 0))
    pen = ImageDraw.Draw(legend)
    for x, text, anchor in ((0, f"-{number(far)}", "la"), (width / 2, what, "ma"), (width, number(far), "ra")):
        pen.text((x, bar + size * 0.4), text, font=font, fill=ink, anchor=anchor)
    return legend


def _diverging_table() -> NDArray[np.uint8]:
    """(256, 3) RGB colours of `_DIVERGING`."""
    ends = np.array([ImageColor.getrgb(colour) for colour in _DIVERGING], dtype=float)
    channels = [np.interp(np.linspace(0, 2, 256), np.arange(3), ends[:, channel]) for channel in range(3)]
    colours: NDArray[np.uint8] = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    return colours


def beside_figure(shares: Mapping[str, Mapping[str, float]], what: str, reading: str, name: str) -> Figure:
    """Two sets of absolute shares of `INPUTS`, an input's two bars below each other, the second one paler."""
    import altair as alt

    order = list(shares)
    rows = [
        {"input": input, "of": of, "share": float(held[input]), "shown": number(float(held[input]))}
        for of, held in shares.items()
        for input in INPUTS
    ]
    y = categories("input", "", order=INPUTS, limit=90)
    offset = alt.YOffset("of:N", sort=order)
    base = alt.Chart(data(rows)).encode(y=y, yOffset=offset)
    paler = alt.Opacity(
        "of:N",
        scale=alt.Scale(domain=order, range=[1.0, 0.4]),
        legend=alt.Legend(title=None, orient="top", labelLimit=230, symbolFillColor=GREY, symbolStrokeWidth=0),
    )
    x = alt.X("share:Q", title=f"share of {what} (0 to 1)", scale=unit_scale(), axis=share_axis())
    tooltip = [alt.Tooltip("input:N"), alt.Tooltip("of:N", title="of"), alt.Tooltip("shown:N", title="share")]
    bars = base.mark_bar().encode(x=x, color=input_colour(None, INPUTS), opacity=paler, tooltip=tooltip)
    numbers = base.mark_text(align="left", dx=8).encode(x=alt.value("width"), text="shown:N")
    return Figure(finish(alt.layer(bars, numbers), 300, 44 * len(INPUTS)), reading, name)


def part_attention_figure(parts: NDArray[np.float64]) -> Figure:
    """(side, side) attention on each part of the picture, as a map."""
    import altair as alt

    scale = alt.Scale(scheme="viridis", domain=[0, max(float(parts.max()), 1e-12)], nice=False)
    ink = alt.condition(f"datum.value > {0.6 * float(parts.max())}", alt.value("black"), alt.value("white"))
    side = len(parts)
    reading = f"Attention: the share of all attention that each of {side} × {side} parts of the picture got."
    return Figure(_map(parts, scale, ink, "attention (share)"), reading, "part_attention")


def drop_figure(drops: NDArray[np.float64]) -> Figure:
    """(side, side) nats that the answer's log-likelihood lost when each part was covered, as a map around 0."""
    import altair as alt

    far = max(float(np.abs(drops).max()), 1e-12)
    # The image's colour where the part spoke for the answer, that of measures where against.
    scale = alt.Scale(domain=[-far, 0, far], range=list(_DIVERGING), nice=False, interpolate="rgb")
    ink = alt.condition(f"datum.value > {0.5 * far}", alt.value("white"), alt.value("black"))
    reading = (
        "Occlusion: the nats of log-likelihood that the answer lost when the part was covered; blue parts "
        "carried the answer, pink ones spoke against it, pale ones made no difference."
    )
    return Figure(_map(drops, scale, ink, "drop (nats)"), reading, "occlusion_drop")


def _map(parts: NDArray[np.float64], scale: Any, ink: Any, title: str) -> Any:
    import altair as alt

    rows = [
        {"row": i + 1, "column": j + 1, "value": float(value), "shown": number(float(value))}
        for i, line in enumerate(parts)
        for j, value in enumerate(line)
    ]
    axis = alt.Axis(domain=False, ticks=False, labelPadding=4, labelAngle=0)
    base = alt.Chart(data(rows)).encode(
        x=alt.X("column:O", title="column", axis=axis), y=alt.Y("row:O", title="row", axis=axis)
    )
    legend = alt.Legend(title=title, orient="top", gradientLength=170, tickCount=3, format=".2~g")
    layers = [
        base.mark_rect(stroke=GREY, strokeWidth=0.5, strokeOpacity=0.4).encode(
            color=alt.Color("value:Q", scale=scale, legend=legend),
            tooltip=[
                alt.Tooltip("row:O"),
                alt.Tooltip("column:O"),
                alt.Tooltip("shown:N", title=title),
            ],
        )
    ]
    if len(parts) <= _SHOWN_NUMBERS:
        layers.append(base.mark_text(fontSize=10).encode(text="shown:N", color=ink))
    return finish(alt.layer(*layers), _MAP_SIDE, _MAP_SIDE)
