"""Charts of a sweep: conditions with their intervals, effects, flips, calibration, families, perturbation schedules.

As in `reports.charts`: each with the sentence that says how to read it, no background of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isi_core.domain.attribution import INPUTS
from isi_core.domain.errors import InputError
from isi_core.measures.statistics import Interval
from isi_core.reports.chart_parts import GREY, categories, data, finish, input_colour, share_axis, unit_scale, values
from isi_core.reports.charts import Figure
from isi_core.reports.wording import number, one_line
from isi_core.studies.sweep.analysis import RATES, Analysis
from isi_core.studies.sweep.plan import Condition

TITLES = {
    "accuracy": "accuracy",
    "yes_rate": "share of yes",
    "unclear_rate": "share of unclear answers",
    "semantic_entropy": "mean semantic entropy",
    "predictive_entropy": "mean predictive entropy",
    "n_clusters": "mean number of clusters",
    "attention_image": "mean attention to the image",
    "attention_context": "mean attention to the context",
    "attention_question": "mean attention to the question",
}
UNITS = {
    **dict.fromkeys(RATES, "0 to 1"),
    "semantic_entropy": "nats",
    "predictive_entropy": "nats a token",
    "n_clusters": "count",
    **{f"attention_{name}": "relative share, 0 to 1" for name in INPUTS[:-1]},
}
# Colours of the Okabe-Ito palette that stand for no modality and no outcome; then greys with other shapes.
_MODELS = ("#CC79A7", "#56B4E9", "#808080", "#444444", "#B0B0B0")
_SHAPES = ("diamond", "circle", "square", "triangle-up", "triangle-down")


def _shares(measure: str) -> bool:
    return UNITS[measure].endswith("0 to 1")


_NO_BOUNDS = "none: too few values, or no spread among them"
PICKED = "picked"
"""The selection that charts carry; a page reads from it which rows a click asks for."""


def picked(*fields: str) -> Any:
    import altair as alt

    return alt.selection_point(name=PICKED, fields=list(fields))


def bounds(interval: Interval) -> dict[str, Any]:
    bounded = interval.bounded
    words = f"{number(interval.low)} to {number(interval.high)}" if bounded else _NO_BOUNDS
    return {
        "estimate": interval.estimate,
        "low": interval.low if bounded else interval.estimate,
        "high": interval.high if bounded else interval.estimate,
        "shown": number(interval.estimate),
        "bounds": words,
        "n": interval.n,
    }


def _model_colour(models: Sequence[str]) -> Any:
    import altair as alt

    legend = alt.Legend(title=None, orient="top", labelLimit=260) if len(models) > 1 else None
    colours = [_MODELS[i % len(_MODELS)] for i in range(len(models))]
    return alt.Color("model:N", scale=alt.Scale(domain=list(models), range=colours), legend=legend)


def _model_shape(models: Sequence[str]) -> Any:
    import altair as alt

    legend = alt.Legend(title=None, orient="top", labelLimit=260) if len(models) > 1 else None
    shapes = [_SHAPES[i % len(_SHAPES)] for i in range(len(models))]
    return alt.Shape("model:N", scale=alt.Scale(domain=list(models), range=shapes), legend=legend)


def intervals(
    rows: Sequence[dict[str, Any]], conditions: Sequence[str], models: Sequence[str], x: dict[str, Any], zero: Any
) -> Any:
    """Points with their intervals, a row a condition, models beside each other within it."""
    import altair as alt

    def axis_x(field: str) -> Any:
        return alt.X(f"{field}:Q", **x)

    y = categories("condition", "", order=conditions, limit=230)
    place: dict[str, Any] = {"yOffset": alt.YOffset("model:N", sort=list(models))} if len(models) > 1 else {}
    tooltip = [
        alt.Tooltip("model:N"),
        alt.Tooltip("condition:N"),
        alt.Tooltip("shown:N", title="value"),
        alt.Tooltip("bounds:N", title="95 % interval"),
        alt.Tooltip("n:Q", title="observations"),
    ]
    base = alt.Chart(data(rows)).encode(y=y, color=_model_colour(models), **place)
    layers = [
        base.mark_rule(strokeWidth=4, opacity=0.45).encode(x=axis_x("low"), x2="high:Q", tooltip=tooltip),
        base.mark_point(filled=True, size=95, opacity=1, stroke="white", strokeWidth=0.8)
        .encode(x=axis_x("estimate"), shape=_model_shape(models), tooltip=tooltip)
        .add_params(picked("model", "condition")),
    ]
    if zero is not None:
        line = alt.Chart(data([{"zero": zero}])).mark_rule(color=GREY, strokeDash=[4, 3])
        layers.insert(0, line.encode(x=axis_x("zero")))
    if len(models) == 1:
        layers.append(values(alt.Chart(data(rows)), y))
    height = max(2, len(conditions)) * (26 if len(models) == 1 else 14 * len(models) + 8)
    return finish(alt.layer(*layers), 300, height)


def condition_figure(analysis: Analysis, measure: str) -> Figure:
    """One measure under every condition with its 95 % interval, one mark a model.

    Raises
    ------
    InputError : it was not measured.
    """
    import altair as alt

    rows = [
        {"model": s.model, "condition": s.condition, **bounds(s.values[measure])}
        for s in analysis.summaries
        if measure in s.values
    ]
    if not rows:
        raise InputError(f"The {TITLES.get(measure, measure)} was not measured in this sweep: choose another measure.")
    title = f"{TITLES[measure]} ({UNITS[measure]})"
    scale, axis = unit_scale(), share_axis()
    if not _shares(measure):
        top = max(*(r["high"] for r in rows), 0.1) * 1.05
        scale, axis = alt.Scale(domain=[min(0.0, *(r["low"] for r in rows)), top], nice=False), alt.Axis(tickCount=5)
    shown = [c for c in analysis.conditions if any(r["condition"] == c for r in rows)]
    chart = intervals(rows, shown, analysis.models, {"title": title, "scale": scale, "axis": axis}, None)
    equal = "Wilson's where it is 0 or 1" if measure in RATES else "no bar: too few, or no spread among them"
    reading = (
        f"One row a condition (picture/context): the mark is the {TITLES[measure]} over its observations, the bar its "
        f"95 % interval, from resampled observations ({equal}). Conditions share their observations, so bars that "
        "overlap may still differ: the chart of effects compares them pair by pair."
    )
    return Figure(chart, reading, f"sweep_{measure}")


def effect_figure(analysis: Analysis, measure: str) -> Figure:
    """What each condition changes of a measure against the reference, paired, with its 95 % interval.

    Raises
    ------
    InputError : no other condition was measured on the same observations.
    """
    import altair as alt

    rows = []
    for effect in analysis.effects:
        if measure in effect.differences:
            found = bounds(effect.differences[measure])
            p = effect.p_adjusted if measure == "accuracy" else None
            rows.append(
                {"model": effect.model, "condition": effect.condition, **found}
                | {"bounds": found["bounds"] + (f", McNemar p = {number(p)} (Holm)" if p is not None else "")}
            )
    if not rows:
        raise InputError("There is nothing to compare with the reference yet: choose another, or wait for results.")
    reach = max(max(abs(r["low"]), abs(r["high"])) for r in rows) * 1.08 or 0.1
    reach = min(reach, 1.0) if _shares(measure) else reach
    title = f"change of {TITLES[measure]} ({UNITS[measure].removesuffix(', 0 to 1').replace('0 to 1', 'difference')})"
    x = {
        "title": title,
        "scale": alt.Scale(domain=[-reach, reach], nice=False),
        "axis": alt.Axis(tickCount=7, grid=False),
    }
    shown = [c for c in analysis.conditions if any(r["condition"] == c for r in rows)]
    chart = intervals(rows, shown, analysis.models, x, 0)
    method = (
        "Newcombe's for paired proportions"
        if measure in RATES
        else "of the paired bootstrap (no bar: too few changes, or no spread among them)"
    )
    reading = (
        f"Condition minus “{analysis.reference}” on the same observations, with its 95 % interval, {method}; an "
        "interval that leaves out the dashed zero is a change that chance alone rarely makes."
        + (" The p-value (hover) is McNemar's exact one, by Holm for all conditions." if measure == "accuracy" else "")
    )
    return Figure(chart, reading, f"sweep_effect_{measure}")


def attention_figure(analysis: Analysis, model: str) -> Figure:
    """Mean relative attention to image, context and question under each condition, stacked to one.

    Raises
    ------
    InputError : the model's attention was not measured.
    """
    import altair as alt

    rows, order = [], []
    for s in analysis.summaries:
        if s.model != model or "attention_image" not in s.values:
            continue
        order.append(s.condition)
        start = 0.0
        for name in INPUTS[:-1]:
            found = s.values[f"attention_{name}"]
            rows.append(
                {"condition": s.condition, "input": name, "start": start, "end": start + found.estimate}
                | {key: value for key, value in bounds(found).items() if key in ("shown", "bounds")}
            )
            start += found.estimate
    if not rows:
        raise InputError(f"The attention of {one_line(model, 60)} was not measured in this sweep.")
    chart = (
        alt.Chart(data(rows))
        .mark_bar(height={"band": 0.7})
        .encode(
            x=alt.X(
                "start:Q", title="mean relative share of attention (0 to 1)", scale=unit_scale(), axis=share_axis()
            ),
            x2="end:Q",
            y=categories("condition", "", order=order, limit=230),
            color=input_colour(alt.Legend(title=None, orient="top"), INPUTS[:-1]),
            tooltip=[
                alt.Tooltip("condition:N"),
                alt.Tooltip("input:N"),
                alt.Tooltip("shown:N", title="mean share"),
                alt.Tooltip("bounds:N", title="95 % interval"),
            ],
        )
    )
    reading = (
        "One bar a condition: how the attention of its answers was divided among image, context and question on "
        "average, the three scaled to one; without a context there is nothing of it to attend to."
    )
    chart = chart.add_params(picked("condition"))
    return Figure(finish(chart, 300, 26 * max(2, len(order))), reading, f"sweep_attention_{file_part(model)}")


def schedule_figure(analysis: Analysis, conditions: Sequence[Condition], kind: str, measure: str, model: str) -> Figure:
    """A measure against the strength of a perturbation, a line for each picture and context; strength 0 is without.

    Raises
    ------
    InputError : the perturbation or the measure is not in the sweep.
    """
    import altair as alt

    rows: list[dict[str, Any]] = []
    strengths = [c for c in conditions if c.perturbation is not None and c.perturbation.kind == kind]
    presets = {f"{c.image}/{c.context}" for c in strengths}
    for c in conditions:
        preset = f"{c.image}/{c.context}"
        if preset not in presets or (c.perturbation is not None and c.perturbation.kind != kind):
            continue
        found = analysis.summary(model, c.key)
        if found is not None and measure in found.values:
            strength = c.perturbation.strength if c.perturbation is not None else 0.0
            rows.append({"preset": preset, "condition": c.key, "strength": strength, **bounds(found.values[measure])})
    if not rows:
        raise InputError(f"There is no {kind} with this measure in the sweep: choose another measure.")
    top = 1.0 if _shares(measure) else max(*(r["high"] for r in rows), 0.1) * 1.05
    scale = alt.Scale(domain=[min(0.0, *(r["low"] for r in rows)), top], nice=False)
    units = {"noise": "standard deviation, grey levels", "occlusion": "share hidden", "blur": "of the shorter side"}
    names = sorted(presets, key=lambda p: list(dict.fromkeys(f"{c.image}/{c.context}" for c in conditions)).index(p))
    dashes = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3]]
    # On both channels, so that the two legends are one that shows colour and dash.
    legend = alt.Legend(title=None, orient="top", columns=3, labelLimit=200, symbolType="stroke", symbolSize=300)
    base = alt.Chart(data(rows)).encode(
        x=alt.X("strength:Q", title=f"{kind} ({units[kind]})", axis=alt.Axis(grid=False, tickCount=8)),
        color=alt.Color(
            "preset:N",
            scale=alt.Scale(domain=names, range=[_MODELS[i % len(_MODELS)] for i in range(len(names))]),
            legend=legend,
        ),
    )
    title = f"{TITLES[measure]} ({UNITS[measure]})"
    tooltip = [
        alt.Tooltip("preset:N", title="picture/context"),
        alt.Tooltip("strength:Q"),
        alt.Tooltip("shown:N", title="value"),
        alt.Tooltip("bounds:N", title="95 % interval"),
        alt.Tooltip("n:Q", title="observations"),
    ]
    bars = base.mark_rule(strokeWidth=3, opacity=0.4).encode(
        y=alt.Y("low:Q", title=title, scale=scale), y2="high:Q", tooltip=tooltip
    )
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        y=alt.Y("estimate:Q", title=title, scale=scale), tooltip=tooltip
    )
    line = base.mark_line(strokeWidth=2.2).encode(
        y=alt.Y("estimate:Q", title=title, scale=scale),
        strokeDash=alt.StrokeDash(
            "preset:N", scale=alt.Scale(domain=names, range=[dashes[i % 4] for i in range(len(names))]), legend=legend
        ),
        tooltip=tooltip,
    )
    reading = (
        f"The {TITLES[measure]} as the {kind} grows, 95 % intervals as bars; strength 0 is the picture without it. A "
        "line that stays level does not depend on what the perturbation destroys."
    )
    layers = alt.layer(bars, line, points.add_params(picked("condition")))
    return Figure(finish(layers, 340, 260), reading, f"sweep_{kind}_{measure}_{file_part(model)}")


def file_part(name: str) -> str:
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
    return safe[-60:].strip("._") or "model"
