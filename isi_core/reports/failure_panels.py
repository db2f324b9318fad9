"""AUC by layer, one panel a task (Figure 1 of Mathew et al., *Why It Failed*), baselines as horizontal rules.

As in `reports.charts`: a sentence that says how to read it, no background of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from isi_core.domain.errors import InputError
from isi_core.domain.palette import WRONG
from isi_core.measures.statistics import Interval
from isi_core.reports.chart_parts import GREY, data, finish, page_theme
from isi_core.reports.charts import Figure
from isi_core.reports.wording import number, one_line, percent

# Colours that stand for no modality and no outcome and show on white and on black; shapes tell them apart in print.
COLOURS = ("#CC79A7", "#56B4E9", "#9A6FE0", "#8C8C8C", "#B58863", "#5F9EA0")
SHAPES = ("diamond", "circle", "square", "triangle-up", "triangle-down", "cross")
MOST_RULES = 6
_WIDTH, _HEIGHT = 330, 260
_BESIDE = 215  # pixels right of the plot for the rules' names
_APART = 0.058  # of the plot's height, between two names


@dataclass(frozen=True)
class LayerPoint:
    """One area at one layer, with the interval that is drawn."""

    series: str
    layer: str
    interval: Interval


@dataclass(frozen=True)
class Rule:
    """An explainer that reads no layer."""

    name: str
    interval: Interval


@dataclass(frozen=True)
class Panel:
    """One task (and model) of the figure.

    Attributes
    ----------
    title : names it.
    warning : severe findings of the linter in a few words; "" where there are none.
    """

    title: str
    points: tuple[LayerPoint, ...]
    rules: tuple[Rule, ...] = ()
    warning: str = ""

    @property
    def intervals(self) -> list[Interval]:
        """Of everything in the panel."""
        return [*(p.interval for p in self.points), *(r.interval for r in self.rules)]


def layer_figure(panels: Sequence[Panel], name: str = "failure_auc_by_layer") -> Figure:
    """The panels beside each other, two a row; one alone can be stretched to a page's width.

    Raises
    ------
    InputError : there is nothing to draw.
    """
    import altair as alt

    drawn = [panel for panel in panels if panel.points or panel.rules]
    if not drawn:
        raise InputError("There is no AUC to draw yet: run a benchmark, or drop a file of scores.")
    series = list(dict.fromkeys(p.series for panel in drawn for p in panel.points))
    low, high = _range(drawn)
    many = len(drawn) > 1
    charts = [_panel(panel, series, low, high) for panel in drawn]
    if many:
        chart = alt.concat(*charts, columns=2, spacing=28).resolve_scale(x="independent")
        chart = chart.configure(**page_theme())
    else:
        chart = finish(charts[0], _WIDTH, _HEIGHT)
    level = next(interval.level for panel in drawn for interval in panel.intervals)
    reading = (
        f"Height is the AUC: how often a success gets a higher score than a failure; bars are {percent(level)} "
        "intervals. A bar that touches the dashed line (0.5, chance) is no evidence that failure can be foreseen there"
    )
    if any(panel.rules for panel in drawn):
        reading += "; grey horizontal lines are explainers that look at no layer"
        hidden = max(len(panel.rules) for panel in drawn) - MOST_RULES
        reading += f" (the {MOST_RULES} highest; the table has all)" if hidden > 0 else ""
    return Figure(chart, f"{reading}.{_warnings(drawn)}", name)


def warned(chart: Any, warning: str, title: str = "") -> Any:
    """A chart with its title and, where there is one, the linter's warning in the colour of what is wrong."""
    import altair as alt

    if not warning:
        return chart.properties(title=title) if title else chart
    line = f"Severe finding: {one_line(warning, 70)}"
    heading = alt.TitleParams(
        text=title or line, subtitle=line if title else "", anchor="start", fontSize=12, subtitleColor=WRONG
    )
    if not title:
        heading.color = WRONG
    return chart.properties(title=heading)


def _warnings(panels: Sequence[Panel]) -> str:
    found = [panel.warning for panel in panels if panel.warning]
    return f" Severe finding of the linter: {'; '.join(dict.fromkeys(found))}." if found else ""


def _range(panels: Sequence[Panel]) -> tuple[float, float]:
    """Every bound and chance within it, in steps of 0.1."""
    bounds = [0.45, 0.55]
    for panel in panels:
        for found in panel.intervals:
            bounds += [b for b in (found.low, found.high, found.estimate) if isfinite(b)]
    return max(0.0, int(min(bounds) * 10) / 10), min(1.0, -int(-max(bounds) * 10 - 0.999) / 10)


def _panel(panel: Panel, series: Sequence[str], low: float, high: float) -> Any:
    import altair as alt

    scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    step = 0.05 if high - low <= 0.4 else 0.1
    ticks = [round(low + i * step, 2) for i in range(int((high - low) / step + 1.001))]
    axis = alt.Axis(values=ticks, format=".2f" if step < 0.1 else ".1f")

    def y(field: str) -> Any:
        return alt.Y(f"{field}:Q", title="test AUC (0 to 1)", scale=scale, axis=axis)

    chance = alt.Chart(data([{"chance": 0.5}])).mark_rule(color=GREY, strokeDash=[5, 4], strokeWidth=1.4)
    layers: list[Any] = [chance.encode(y=y("chance"))]
    if panel.rules:
        layers += _rules(panel.rules, y, low, high)
    if panel.points:
        layers += _points(panel.points, series, y)
    chart = alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT)
    return warned(chart, panel.warning, panel.title)


def _points(points: Sequence[LayerPoint], series: Sequence[str], y: Any) -> list[Any]:
    import altair as alt

    rows = [
        {
            "series": p.series,
            "layer": p.layer,
            "auc": p.interval.estimate,
            "low": p.interval.low if p.interval.bounded else p.interval.estimate,
            "high": p.interval.high if p.interval.bounded else p.interval.estimate,
            "shown": number(p.interval.estimate),
            "bounds": interval_words(p.interval),
            "n": p.interval.n,
        }
        for p in points
    ]
    legend = (
        alt.Legend(title=None, orient="top", columns=2, labelLimit=330, symbolOpacity=1) if len(series) > 1 else None
    )
    own = [s for s in series if any(r["series"] == s for r in rows)]
    tooltip = [
        alt.Tooltip("series:N", title="explainer"),
        alt.Tooltip("layer:N", title="layer"),
        alt.Tooltip("shown:N", title="AUC"),
        alt.Tooltip("bounds:N", title="interval"),
        alt.Tooltip("n:Q", title="test cases"),
    ]
    place: dict[str, Any] = {"xOffset": alt.XOffset("series:N", sort=list(own))} if len(own) > 1 else {}
    base = alt.Chart(data(rows)).encode(
        x=alt.X(
            "layer:N",
            sort=_in_order([p.layer for p in points]),
            title="decoder layer the explainer reads (1 is the first)",
            axis=alt.Axis(labelAngle=0, labelOverlap="greedy", grid=False),
        ),
        color=alt.Color(
            "series:N", scale=alt.Scale(domain=list(series), range=_cycled(COLOURS, len(series))), legend=legend
        ),
        **place,
    )
    shape = alt.Shape(
        "series:N", scale=alt.Scale(domain=list(series), range=_cycled(SHAPES, len(series))), legend=legend
    )
    return [
        base.mark_rule(strokeWidth=3.5, opacity=0.5).encode(y=y("low"), y2="high:Q", tooltip=tooltip),
        base.mark_point(filled=True, size=80, opacity=1, stroke="white", strokeWidth=0.8).encode(
            y=y("auc"), shape=shape, tooltip=tooltip
        ),
    ]


def _rules(rules: Sequence[Rule], y: Any, low: float, high: float) -> list[Any]:
    import altair as alt

    shown = sorted(rules, key=lambda r: -r.interval.estimate)[:MOST_RULES]
    rows = [
        {
            "name": rule.name,
            "auc": rule.interval.estimate,
            "place": place,
            "words": f"{one_line(rule.name, 34)} {number(rule.interval.estimate)}",
            "bounds": interval_words(rule.interval),
        }
        for rule, place in zip(shown, _spread([r.interval.estimate for r in shown], low, high), strict=True)
    ]
    base = alt.Chart(data(rows))
    tooltip = [
        alt.Tooltip("name:N", title="explainer"),
        alt.Tooltip("words:N", title="AUC"),
        alt.Tooltip("bounds:N", title="interval"),
    ]
    lines = base.mark_rule(color=GREY, strokeWidth=1.4, opacity=0.9).encode(y=y("auc"), tooltip=tooltip)
    names = base.mark_text(align="left", dx=5, fontSize=10.5, limit=_BESIDE).encode(
        x=alt.value("width"), y=y("place"), text="words:N", tooltip=tooltip
    )
    return [lines, names]


def _spread(heights: Sequence[float], low: float, high: float) -> list[float]:
    """Heights of the names (from the top), moved apart so that none covers another, and kept inside the plot."""
    gap = _APART * (high - low)
    placed: list[float] = []
    for height in heights:
        placed.append(min(height, placed[-1] - gap) if placed else min(height, high - gap / 3))
    below = (low + gap / 3) - placed[-1] if placed else 0.0
    if below > 0:  # push up from the foot
        placed[-1] += below
        for i in range(len(placed) - 2, -1, -1):
            placed[i] = max(placed[i], placed[i + 1] + gap)
    return placed


def interval_words(interval: Interval) -> str:
    """`0.52 to 0.61`, or that there is none."""
    return f"{number(interval.low)} to {number(interval.high)}" if interval.bounded else "too few cases for an interval"


def _in_order(layers: Sequence[str]) -> list[str]:
    """Layers by number, in the order they came where one is none."""
    found = list(dict.fromkeys(layers))
    return sorted(found, key=int) if all(layer.isascii() and layer.isdigit() for layer in found) else found


def _cycled(values: Sequence[str], count: int) -> list[str]:
    return [values[i % len(values)] for i in range(count)]
