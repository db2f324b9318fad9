"""Charts of one or several evaluations, each with the sentence that says how to read it.

No chart sets a background or the colour of its axes, so that a page's theme rules, light or dark; marks of no
modality are mid-grey or black with a white rim, which show on both. `figure_png` and `figure_svg` apply a light theme.
Altair is imported where a chart is made.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isi_core.domain.attribution import INPUTS, Attribution
from isi_core.domain.errors import InputError
from isi_core.domain.evaluation import Evaluation
from isi_core.domain.uncertainty import Uncertainty
from isi_core.reports.chart_parts import (
    GREY,
    categories,
    data,
    finish,
    input_colour,
    mean_ticks,
    page_theme,
    share_axis,
    stacked_columns,
    unit_scale,
    values,
)
from isi_core.reports.wording import judgement, number, one_line, rank_words

if TYPE_CHECKING:
    from isi_core.measures.statistics import Rank

# A colour of the Okabe-Ito palette that stands for no modality and no outcome.
MEASURE = "#CC79A7"
_RELATIVE = INPUTS[:-1]
_LABEL_CHARACTERS = 34
_FONT = "Liberation Sans, Arial, Helvetica, DejaVu Sans, sans-serif"

_LIGHT_THEME: dict[str, Any] = {
    "background": "white",
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "#222222",
        "titleColor": "#222222",
        "titleFontWeight": "normal",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "gridColor": "#e6e6e6",
        "domainColor": "#999999",
        "tickColor": "#999999",
        "titlePadding": 8,
    },
    "legend": {"labelColor": "#222222", "titleColor": "#222222", "labelFontSize": 11, "titleFontSize": 11},
    "title": {"color": "#222222", "fontSize": 12, "anchor": "start", "fontWeight": "bold"},
    "text": {"color": "#222222"},
}


@dataclass(frozen=True, eq=False)
class Figure:
    """A chart, the sentence that says how to read it, and a name fit for a file.

    `chart` is an Altair chart, ready for `st.altair_chart`.
    """

    chart: Any
    reading: str
    name: str


def cluster_figure(uncertainty: Uncertainty) -> Figure:
    """Probability of each semantic cluster, the likeliest first, labelled with its most frequent answer."""
    import altair as alt

    rows = []
    for cluster in uncertainty.clusters_json():
        answers = sorted(cluster["answers"], key=lambda a: -a["count"])
        count = sum(a["count"] for a in answers)
        first = (one_line(answers[0]["text"], _LABEL_CHARACTERS) if answers else "") or "(empty answer)"
        rows.append(
            {
                # The cluster's number in front keeps two clusters of one wording apart.
                "cluster": f"{cluster['id'] + 1}: {first} ({count}×)",
                "probability": cluster["probability"],
                "shown": number(cluster["probability"]),
                "answers": "; ".join(f"{one_line(a['text'], 60)} ({a['count']}×)" for a in answers[:8])
                + (f"; and {len(answers) - 8} more" if len(answers) > 8 else ""),
                "count": count,
            }
        )
    rows.sort(key=lambda r: -r["probability"])
    y = categories("cluster", "", limit=260)
    x = alt.X("probability:Q", title="cluster probability (0 to 1)", scale=unit_scale(), axis=share_axis())
    tooltip = [
        alt.Tooltip("answers:N", title="answers"),
        alt.Tooltip("count:Q", title="samples"),
        alt.Tooltip("shown:N", title="probability"),
    ]
    base = alt.Chart(data(rows))
    bars = base.mark_bar(color=MEASURE, height={"band": 0.66}).encode(x=x, y=y, tooltip=tooltip)
    chart = finish(alt.layer(bars, values(base, y)), 300, 30 * max(len(rows), 2))
    likelihood = "likelihood" if uncertainty.likelihoods_available else "number"
    reading = (
        f"Each bar is one meaning among the {len(uncertainty.samples)} sampled answers, its length the share of "
        f"{likelihood} that its answers carry; one long bar means a sure model, many short ones an unsure one "
        f"(semantic entropy {number(uncertainty.semantic_entropy)} nats)."
    )
    return Figure(chart, reading, "semantic_clusters")


def attention_figure(
    attribution: Attribution,
    relative: bool = True,
    averages: Mapping[str, float] | None = None,
    ranks: Mapping[str, Rank] | None = None,
    preset: str = "",
) -> Figure:
    """Share of attention on each input, with a tick for the dataset's mean.

    Parameters
    ----------
    relative : image, context and question scaled to one; else shares of all attention, with the rest.
    averages : the dataset's mean of the same shares, by input's name; what is missing gets no tick.
    ranks : where the shares lie among the dataset's, by input's name.
    preset : the preset that both are of, in words; "" where it is the trial's own.
    """
    import altair as alt

    shares = attribution.relative if relative else attribution.absolute
    names = _RELATIVE if relative else INPUTS
    rows = [{"input": n, "share": shares[n], "shown": number(shares[n])} for n in names]
    means = [
        {"input": n, "mean": averages[n], "shown": number(averages[n])}
        for n in names
        if averages is not None and averages.get(n) is not None and math.isfinite(averages[n])
    ]
    title = f"{'relative' if relative else 'absolute'} share of attention (0 to 1)"
    x = alt.X("share:Q", title=title, scale=unit_scale(), axis=share_axis())
    y = categories("input", "", order=names)
    base = alt.Chart(data(rows))
    tooltip = [alt.Tooltip("input:N", title="input"), alt.Tooltip("shown:N", title="share")]
    bars = base.mark_bar(height={"band": 0.66}).encode(x=x, y=y, color=input_colour(None, names), tooltip=tooltip)
    layers = [bars, values(base, y)]
    if means:
        layers += mean_ticks(means, y)
    reading = (
        f"Each bar is one input's share of the answer's attention"
        f"{', the three scaled to one' if relative else ', first position left out'}"
        f"{'; the tick is the dataset mean' if means else ''}{_with(preset) if means else ''}."
    )
    placed = [f"{n} {rank_words(ranks[n])}" for n in names if ranks is not None and n in ranks]
    if placed:
        reading += f" Among the dataset's observations{_with(preset)}: {', '.join(placed)}."
    chart = finish(alt.layer(*layers), 340, 34 * len(names))
    return Figure(chart, reading, f"attention_{'relative' if relative else 'absolute'}")


def value_figure(
    value: float,
    low: float,
    high: float,
    mean: float | None,
    name: str,
    unit: str = "",
    population: Sequence[float] | None = None,
    preset: str = "",
) -> Figure:
    """A slim strip: where a value lies between `low` and `high` and among the dataset's values.

    `preset` names the preset that these are of, in words; "" where it is the trial's own.

    Raises
    ------
    InputError : the value is not a finite number, or the range is empty.
    """
    import altair as alt

    from isi_core.measures.statistics import rank_among

    if not math.isfinite(value) or not low < high:
        raise InputError(f"The {name} cannot be drawn on a scale from {low:g} to {high:g}: measure it again.")
    others = [float(p) for p in (() if population is None else population) if math.isfinite(p)]
    measured = [value, *others, *([mean] if mean is not None and math.isfinite(mean) else [])]
    scale = alt.Scale(domain=[min(low, *measured), max(high, *measured)], nice=False, zero=False)
    title = f"{name} ({f'{unit}, ' if unit else ''}{number(low)} to {number(high)})"
    axis = alt.Axis(tickCount=5, grid=False)
    x = alt.X("value:Q", title=title, scale=scale, axis=axis)
    layers: list[Any] = []
    if others:
        strip = alt.Chart(data([{"value": p, "shown": number(p)} for p in others]))
        layers.append(
            strip.mark_tick(color=GREY, opacity=max(0.2, min(0.6, 25 / len(others))), thickness=2, size=22).encode(
                x=x, tooltip=[alt.Tooltip("shown:N", title="an observation")]
            )
        )
    else:
        ends = alt.Chart(data([{"value": low, "end": high}]))
        layers.append(ends.mark_rule(color=GREY, opacity=0.5, strokeWidth=2).encode(x=x, x2="end:Q"))
    if mean is not None and math.isfinite(mean):
        layers += mean_ticks([{"mean": mean, "shown": number(mean)}], None, size=30, scale=scale)
    point = alt.Chart(data([{"value": value, "shown": number(value)}]))
    layers.append(
        point.mark_point(
            shape="diamond", filled=True, size=170, color=MEASURE, opacity=1, stroke="white", strokeWidth=1.5
        ).encode(x=x, tooltip=[alt.Tooltip("shown:N", title=name)])
    )
    of_unit = f" {unit}" if unit else ""
    reading = f"The diamond is this trial, {number(value)}{of_unit}"
    if others:
        reading += f", {rank_words(rank_among(value, others))} of the dataset's {len(others)} observations"
        reading += f"{_with(preset)} (grey ticks)"
    if mean is not None and math.isfinite(mean):
        reading += f"; the tall tick is the dataset's mean{'' if others else _with(preset)}, {number(mean)}"
    file_name = "".join(c if c.isalnum() else "_" for c in name.lower())
    return Figure(finish(alt.layer(*layers), 340, 36), f"{reading}.", file_name)


def _with(preset: str) -> str:
    return f" with {preset}" if preset else ""


def layer_figure(attribution: Attribution) -> Figure:
    """Absolute share of attention on each input, layer by layer, stacked to one."""
    layers = [str(i + 1) for i in range(len(attribution.by_layer))]
    reading = (
        "Each column is one decoder layer, the first on the left; its colours show how that layer's attention was "
        "divided among the inputs."
    )
    chart = stacked_columns(attribution.by_layer, layers, "decoder layer", angle=0)
    return Figure(chart, reading, "attention_by_layer")


def token_figure(attribution: Attribution) -> Figure:
    """Absolute share of attention on each input, answer token by answer token, stacked to one."""
    tokens = [one_line(t.replace("▁", " ").replace("Ġ", " "), 14) or "␣" for t in attribution.tokens]
    reading = (
        "Each column is one token of the answer, in order; its colours show which inputs the model attended to when it "
        "chose that token."
    )
    return Figure(stacked_columns(attribution.by_token, tokens, "answer token", None), reading, "attention_by_token")


def comparison_figure(evaluations: Sequence[Evaluation], labels: Sequence[str]) -> Figure:
    """Semantic entropy and relative attention shares of several trials, side by side.

    Raises
    ------
    InputError : there are no evaluations, or not as many labels as evaluations.
    """
    import altair as alt

    if not evaluations or len(evaluations) != len(labels):
        raise InputError("A comparison needs at least one trial and one label for each: choose the trials again.")
    order, entropies, shares = [], [], []
    for i, (evaluation, label) in enumerate(zip(evaluations, labels, strict=True)):
        verdict = judgement(evaluation)
        trial = f"{i + 1}: {one_line(label, 28)} ({verdict.word})"
        order.append(trial)
        if evaluation.uncertainty is not None:
            entropy = evaluation.uncertainty.semantic_entropy
            entropies.append({"trial": trial, "entropy": entropy, "shown": number(entropy)})
        if evaluation.attribution is not None:
            start = 0.0
            for name in _RELATIVE:
                share = evaluation.attribution.relative[name]
                place = {"start": start, "middle": start + share / 2, "end": start + share}
                shares.append({"trial": trial, "input": name, "share": share, "shown": number(share), **place})
                start += share
    samples = max((e.decoding.n_samples for e in evaluations if e.uncertainty), default=2)
    largest = math.log(max(samples, 2))
    y = categories("trial", "", order=order, limit=240)
    bare = categories("trial", "", order=order, labels=False)
    base = alt.Chart(data(entropies))
    bars = base.mark_bar(color=MEASURE, height={"band": 0.66}).encode(
        x=alt.X(
            "entropy:Q",
            title=f"semantic entropy (nats, 0 to ln {samples} = {number(largest)})",
            scale=alt.Scale(domain=[0, largest], nice=False),
            axis=alt.Axis(tickCount=5),
        ),
        y=y,
        tooltip=[alt.Tooltip("trial:N"), alt.Tooltip("shown:N", title="semantic entropy (nats)")],
    )
    height = 32 * max(len(order), 2)
    left = alt.layer(bars, values(base, y)).properties(width=230, height=height)
    parts = alt.Chart(data(shares))
    x = alt.X("start:Q", title="relative share of attention (0 to 1)", scale=unit_scale(), axis=share_axis())
    columns = (("trial:N", "trial"), ("input:N", "input"), ("shown:N", "share"))
    stacks = parts.mark_bar(height={"band": 0.66}).encode(
        x=x,
        x2="end:Q",
        y=bare,
        color=input_colour(alt.Legend(title=None, orient="top"), _RELATIVE),
        tooltip=[alt.Tooltip(field, title=title) for field, title in columns],
    )
    # A number is written only where its segment has room for it; the tooltip has them all.
    numbers = parts.transform_filter("datum.share >= 0.13").mark_text(fontSize=10)
    ink = alt.condition("datum.input === 'context'", alt.value("black"), alt.value("white"))
    inside = numbers.encode(x=alt.X("middle:Q", scale=unit_scale()), y=bare, text="shown:N", color=ink)
    right = alt.layer(stacks, inside).properties(width=230, height=height)
    reading = (
        "One row a trial: on the left how many meanings its sampled answers had (0 nats is one meaning only), on the "
        "right which inputs the model attended to; a row without a bar was not measured, or is 0."
    )
    joined = alt.hconcat(left, right, spacing=44).resolve_scale(color="independent")
    return Figure(joined.configure(**page_theme()), reading, "comparison")


def figure_png(figure: Figure, scale: float = 2) -> bytes:
    """The figure as PNG on white, `scale` times its nominal size, without any network."""
    import vl_convert

    made: bytes = vl_convert.vegalite_to_png(json.dumps(_light_specification(figure)), scale=scale)
    return made


def figure_svg(figure: Figure) -> bytes:
    """The figure as SVG on white (UTF-8), without any network."""
    import vl_convert

    made: str = vl_convert.vegalite_to_svg(json.dumps(_light_specification(figure)))
    return made.encode()


def figure_size(png: bytes, scale: float) -> tuple[float, float]:
    """(width, height) of a figure's PNG in its nominal pixels."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as picture:
        return picture.width / scale, picture.height / scale


def _light_specification(figure: Figure) -> dict[str, Any]:
    specification: dict[str, Any] = figure.chart.to_dict()
    specification["config"] = _LIGHT_THEME
    specification["padding"] = 6
    return specification
