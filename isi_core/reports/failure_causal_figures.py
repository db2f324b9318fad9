"""Charts and tables of a causal test: what steering did, whether risky inputs fail, what training on a slice mends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from isi_core.domain.errors import InputError
from isi_core.measures.statistics import Interval
from isi_core.reports.chart_parts import GREY, categories, data, finish, values
from isi_core.reports.charts import MEASURE, Figure
from isi_core.reports.failure_panels import COLOURS, interval_words, warned
from isi_core.reports.failure_words import explainer_title
from isi_core.reports.run_tables import csv_bytes
from isi_core.reports.wording import number, percent
from isi_core.studies.failure.causal import CausalResult

_COLOUR = {"towards success": COLOURS[0], "towards failure": COLOURS[2], "random": GREY}
_ROW = 30  # pixels


class IntervalRow(NamedTuple):
    """A row of an interval chart; rows of one kind have one colour."""

    name: str
    interval: Interval
    kind: str = ""


def interval_figure(
    rows: Sequence[IntervalRow],
    title: str,
    reading: str,
    name: str,
    colours: dict[str, str] | None = None,
    warning: str = "",
) -> Figure:
    """A diamond and its interval a row, 0 as a dashed line; `warning` tells of the linter's severe findings.

    Raises
    ------
    InputError : there are no rows.
    """
    import altair as alt

    if not rows:
        raise InputError("This was not tried: choose it and test again.")
    entries: list[dict[str, Any]] = [
        {
            "row": row.name,
            "kind": row.kind,
            "value": row.interval.estimate,
            "low": row.interval.low if row.interval.bounded else row.interval.estimate,
            "high": row.interval.high if row.interval.bounded else row.interval.estimate,
            "shown": number(row.interval.estimate),
            "bounds": interval_words(row.interval),
            "n": row.interval.n,
        }
        for row in rows
    ]
    edges = [bound for entry in entries for bound in (entry["low"], entry["high"], 0.0)]
    room = max(0.02, 0.06 * (max(edges) - min(edges)))
    scale = alt.Scale(domain=[min(edges) - room, max(edges) + room], nice=False, zero=False)

    def x(field: str) -> Any:
        return alt.X(f"{field}:Q", title=title, scale=scale, axis=alt.Axis(tickCount=6, format="+.2~f"))

    y = categories("row", "", order=[row.name for row in rows], limit=270)
    tooltip = [
        alt.Tooltip("row:N", title=" "),
        alt.Tooltip("shown:N", title="estimate"),
        alt.Tooltip("bounds:N", title="interval"),
        alt.Tooltip("n:Q", title="cases"),
    ]
    shades = colours or {}
    colour: Any = alt.value(MEASURE)
    if shades:
        colour = alt.Color("kind:N", scale=alt.Scale(domain=list(shades), range=list(shades.values())), legend=None)
    base = alt.Chart(data(entries))
    chart = alt.layer(
        alt.Chart(data([{"none": 0.0}])).mark_rule(color=GREY, strokeDash=[5, 4]).encode(x=x("none")),
        base.mark_rule(strokeWidth=4, opacity=0.6).encode(x=x("low"), x2="high:Q", y=y, color=colour, tooltip=tooltip),
        base.mark_point(shape="diamond", filled=True, size=110, opacity=1, stroke="white", strokeWidth=1).encode(
            x=x("value"), y=y, color=colour, tooltip=tooltip
        ),
        values(base, y),
    )
    drawn = warned(finish(chart, 300, _ROW * max(2, len(rows))), warning)
    return Figure(drawn, reading, name)


def steering_figure(result: CausalResult, warning: str = "") -> Figure:
    """Change of accuracy for each strength and direction.

    Raises
    ------
    InputError : nothing was steered.
    """
    rows = [IntervalRow(f"{row.direction}, {row.strength:g} SD", row.change, row.direction) for row in result.steering]
    reading = (
        f"Each row moves the activations of layer {result.layer} by so many standard deviations (SD) of the training "
        f"cases; right of the dashed 0 more of the {result.n} test cases are answered right than without. Bars are "
        f"{percent(result.plan.level)} intervals. A direction that causes failure lies apart from the grey rows: "
        f"the mean of {result.plan.directions} random directions of the same length."
    )
    return interval_figure(
        rows, "change of accuracy (share of cases, -1 to 1)", reading, "failure_steering", _COLOUR, warning
    )


def changed_figure(result: CausalResult, warning: str = "") -> Figure:
    """Share of answers that change, for each strength and direction.

    Raises
    ------
    InputError : nothing was steered.
    """
    rows = [IntervalRow(f"{row.direction}, {row.strength:g} SD", row.changed, row.direction) for row in result.steering]
    reading = (
        "How many answers are other ones than without steering, right or wrong. Where the grey rows (random "
        "directions) change as many, the size of the push did it, not its direction."
    )
    return interval_figure(
        rows, "answers changed (share of cases, 0 to 1)", reading, "failure_steering_changed", _COLOUR
    )


def risky_inputs_figure(result: CausalResult, warning: str = "") -> Figure:
    """Rise in failures for each explainer's riskiest way of showing new pictures.

    Raises
    ------
    InputError : it was not tried.
    """
    ordered = sorted(result.risk, key=lambda row: -row.rise.estimate)
    rows = [IntervalRow(_name(row.explainer, row.layer), row.rise) for row in ordered]
    reading = (
        f"The same {result.risk[0].n if result.risk else 0} new pictures, each shown under every context and with and "
        "without noise: how many more failures there are in the way that an explainer calls riskiest than in a way "
        f"drawn by lot. Bars are {percent(result.plan.level)} intervals; one that reaches the dashed 0 is no evidence. "
        "A probe that does no better than *Context kind* reads the context, not the failure."
    )
    return interval_figure(
        rows, "rise in failures (share of pictures, -1 to 1)", reading, "failure_risky_inputs", warning=warning
    )


def tuning_figure(result: CausalResult, warning: str = "") -> Figure:
    """What training on the named slice and on a random one gains.

    Raises
    ------
    InputError : it was not tried.
    """
    tuned = result.tuning
    if tuned is None:
        raise InputError("This was not tried: choose it and test again.")
    rows = [
        IntervalRow("named slice, against untrained", tuned.risky_gain),
        IntervalRow("random slice, against untrained", tuned.random_gain),
        IntervalRow("named slice minus random slice", tuned.beyond_random),
    ]
    reading = (
        f"Two copies of the model were trained for {result.plan.steps} steps on {result.plan.slice_size} new inputs "
        f"each, and asked the same {tuned.n} test cases. The untrained model got {percent(tuned.slice_failures)} of "
        f"the named slice wrong and {percent(tuned.random_failures)} of the random one. Only the last row compares "
        f"the two; bars are {percent(result.plan.level)} intervals."
    )
    return interval_figure(
        rows, "change of accuracy (share of cases, -1 to 1)", reading, "failure_tuning", warning=warning
    )


def causal_csv(result: CausalResult) -> bytes:
    """Every number of a causal test, one row each."""
    rows: list[dict[str, Any]] = []
    for row in result.steering:
        about = {"part": "steer", "what": row.direction, "strength_sd": row.strength, "layer": result.layer}
        for measure, interval in (
            ("change of accuracy", row.change),
            ("answers changed", row.changed),
            ("change of accuracy beyond random", row.beyond_random),
            ("answers changed beyond random", row.changed_beyond_random),
        ):
            if interval is not None:
                rows.append({**about, "measure": measure, **_bounds(interval)})
    for risk in result.risk:
        about = {"part": "inputs", "what": risk.explainer, "strength_sd": "", "layer": risk.layer}
        rows.append({**about, "measure": "rise in failures", **_bounds(risk.rise)})
    if result.tuning is not None:
        about = {"part": "tune", "what": result.plan.explainer, "strength_sd": "", "layer": result.layer}
        for measure, interval in (
            ("gain on the named slice", result.tuning.risky_gain),
            ("gain on a random slice", result.tuning.random_gain),
            ("named minus random", result.tuning.beyond_random),
        ):
            rows.append({**about, "measure": measure, **_bounds(interval)})
    return csv_bytes(rows)


def _name(explainer: str, layer: int | None) -> str:
    title = explainer_title(explainer)
    return title if layer is None else f"{title}, layer {layer}"


def _bounds(found: Interval) -> dict[str, Any]:
    known = found.bounded
    return {
        "estimate": found.estimate,
        "low": found.low if known else "",
        "high": found.high if known else "",
        "level": found.level,
        "n": found.n,
    }
