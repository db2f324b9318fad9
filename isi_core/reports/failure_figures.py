"""Charts of a failure benchmark: layers, ranking, calibration, risk-coverage, the permutation null.

As in `reports.charts`: each with the sentence that says how to read it, no background of its own. Where the linter
found something severe, every chart says so in its title.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from isi_core.domain.errors import InputError
from isi_core.measures.statistics import wilson_interval
from isi_core.reports.chart_parts import GREY, categories, data, finish, share_axis, unit_scale, values
from isi_core.reports.charts import MEASURE, Figure
from isi_core.reports.failure_panels import (
    COLOURS,
    SHAPES,
    LayerPoint,
    Panel,
    Rule,
    interval_words,
    layer_figure,
    warned,
)
from isi_core.reports.failure_words import (
    SIGNIFICANT,
    explainer_title,
    name_of,
    p_words,
    ranked,
    severe_words,
    task_title,
)
from isi_core.reports.wording import number, one_line, percent
from isi_core.studies.failure.results import BenchmarkResult, ExplainerScore

MOST_CURVES = 6


def panel_of(result: BenchmarkResult) -> Panel:
    """A benchmark as a panel of `layer_figure`; explainers without a layer become rules."""
    points = tuple(
        LayerPoint(explainer_title(s.explainer), str(s.layer), s.auc) for s in result.scores if s.layer is not None
    )
    rules = tuple(Rule(explainer_title(s.explainer), s.auc) for s in result.scores if s.layer is None)
    return Panel(f"{task_title(result.plan)} · {one_line(result.plan.model, 40)}", points, rules, severe_words(result))


def auc_figure(results: Sequence[BenchmarkResult]) -> Figure:
    """AUC by layer, a panel a benchmark (the paper's Figure 1).

    Raises
    ------
    InputError : there is nothing to draw.
    """
    return layer_figure([panel_of(result) for result in results])


def ranking_figure(result: BenchmarkResult) -> Figure:
    """The explainers at their chosen layer with both intervals, the highest area first.

    Raises
    ------
    InputError : no explainer was scored.
    """
    import altair as alt

    found = ranked(result)
    if not found:
        raise InputError("No explainer could be scored in this run: see why each was left out, and choose others.")
    rows: list[dict[str, Any]] = []
    for score in found:
        for kind, interval in (("DeLong", score.auc), ("bootstrap", score.bootstrap)):
            rows.append(
                {
                    "explainer": name_of(score),
                    "kind": kind,
                    "auc": interval.estimate,
                    "low": interval.low if interval.bounded else interval.estimate,
                    "high": interval.high if interval.bounded else interval.estimate,
                    "shown": number(interval.estimate),
                    "bounds": interval_words(interval),
                    "n": score.n_test,
                }
            )
    y = categories("explainer", "", order=[name_of(s) for s in found], limit=260)
    low = max(0.0, min(0.45, *(r["low"] for r in rows)) - 0.02)
    scale = alt.Scale(domain=[low, min(1.0, max(0.55, *(r["high"] for r in rows)) + 0.02)], nice=False, zero=False)

    def x(field: str) -> Any:
        return alt.X(f"{field}:Q", title="test AUC (0 to 1)", scale=scale, axis=alt.Axis(tickCount=6, format=".2~f"))

    tooltip = [
        alt.Tooltip("explainer:N"),
        alt.Tooltip("kind:N", title="interval by"),
        alt.Tooltip("shown:N", title="AUC"),
        alt.Tooltip("bounds:N", title="interval"),
        alt.Tooltip("n:Q", title="test cases"),
    ]
    kinds = ["DeLong", "bootstrap"]
    colour = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=kinds, range=[MEASURE, GREY]),
        legend=alt.Legend(title=None, orient="top", symbolType="stroke", labelExpr="datum.label + ' interval'"),
    )
    bars = (
        alt.Chart(data(rows))
        .mark_rule(strokeWidth=4)
        .encode(x=x("low"), x2="high:Q", y=y, yOffset=alt.YOffset("kind:N", sort=kinds), color=colour, tooltip=tooltip)
    )
    single = alt.Chart(data([r for r in rows if r["kind"] == "DeLong"]))
    points = single.mark_point(
        shape="diamond", filled=True, size=110, color=MEASURE, opacity=1, stroke="white", strokeWidth=1
    ).encode(x=x("auc"), y=y, tooltip=tooltip)
    chance = alt.Chart(data([{"chance": 0.5}])).mark_rule(color=GREY, strokeDash=[5, 4]).encode(x=x("chance"))
    chart = alt.layer(chance, bars, points, values(single, y))
    reading = (
        f"One row an explainer, at the layer that the validation cases chose: the diamond is its AUC on the test "
        f"cases, the bars its {percent(result.plan.level)} intervals by two methods. Bars that reach the dashed 0.5 "
        "are no evidence. The best of many explainers looks good by luck alone; the corrected p-values allow for that."
    )
    drawn = warned(finish(chart, 330, 34 * max(2, len(found))), severe_words(result))
    return Figure(drawn, reading, "failure_ranking")


def calibration_figure(result: BenchmarkResult, explainers: Sequence[str]) -> Figure:
    """Predicted probability of success against how often the model was right, at each explainer's chosen layer.

    Raises
    ------
    InputError : none of them was scored.
    """
    import altair as alt

    chosen = _chosen(result, explainers)
    rows = []
    for score in chosen:
        for b in score.calibration:
            if not b.n:
                continue
            spread = wilson_interval(round(b.success_rate * b.n), b.n)
            rows.append(
                {
                    "explainer": name_of(score),
                    "score": b.mean_score,
                    "rate": b.success_rate,
                    "low": spread.low,
                    "high": spread.high,
                    "n": b.n,
                    "shown": number(b.success_rate),
                    "bounds": interval_words(spread),
                    "predicted": number(b.mean_score),
                }
            )
    names = [name_of(s) for s in chosen]
    colour, shape = _legend(names)
    base = alt.Chart(data(rows)).encode(color=colour)
    axis_x = {"title": "predicted probability of success (0 to 1)", "scale": unit_scale(), "axis": share_axis()}
    axis_y = {"title": "share that succeeded (0 to 1)", "scale": unit_scale(), "axis": share_axis()}
    x, tooltip = (
        alt.X("score:Q", **axis_x),
        [
            alt.Tooltip("explainer:N"),
            alt.Tooltip("predicted:N", title="mean prediction"),
            alt.Tooltip("shown:N", title="share that succeeded"),
            alt.Tooltip("bounds:N", title="Wilson's 95 % interval"),
            alt.Tooltip("n:Q", title="test cases"),
        ],
    )
    ideal = (
        alt.Chart(data([{"from": 0, "to": 0}, {"from": 1, "to": 1}]))
        .mark_line(color=GREY, strokeDash=[5, 4], strokeWidth=1.4)
        .encode(x=alt.X("from:Q", **axis_x), y=alt.Y("to:Q", **axis_y))
    )
    bars = base.mark_rule(strokeWidth=2, opacity=0.4).encode(
        x=x, y=alt.Y("low:Q", **axis_y), y2="high:Q", tooltip=tooltip
    )
    lines = base.mark_line(strokeWidth=1.6).encode(x=x, y=alt.Y("rate:Q", **axis_y))
    points = base.mark_point(filled=True, opacity=1, size=70, stroke="white", strokeWidth=0.8).encode(
        x=x, y=alt.Y("rate:Q", **axis_y), shape=shape, tooltip=tooltip
    )
    reading = (
        "Each mark is a group of test cases with like predictions. On the dashed diagonal a prediction means what it "
        "says; flat lines are predictions that know nothing, extreme ones beside the diagonal are overconfident. "
        f"Bars are Wilson's 95 % intervals. Brier score (0 best, 0.25 says 0.5 to all): {_listed(chosen, 'brier')}."
    )
    chart = warned(finish(alt.layer(ideal, bars, lines, points), 320, 260), severe_words(result))
    return Figure(chart, reading, "failure_calibration")


def risk_figure(result: BenchmarkResult, explainers: Sequence[str]) -> Figure:
    """Risk-coverage curves on the test cases, at each explainer's chosen layer.

    Raises
    ------
    InputError : none of them was scored.
    """
    import altair as alt

    chosen = _chosen(result, explainers)
    rows = [
        {"explainer": name_of(s), "coverage": p.coverage, "risk": p.risk, "at": i}
        | {"shown": number(p.risk), "of": percent(p.coverage)}
        for s in chosen
        for i, p in enumerate(s.risk_coverage)
    ]
    base_rate = chosen[0].risk_coverage[-1].risk if chosen[0].risk_coverage else 0.5
    colour, _ = _legend([name_of(s) for s in chosen], shapes=False)
    axis_x = {"title": "coverage: share of cases kept (0 to 1)", "scale": unit_scale(), "axis": share_axis()}
    axis_y = {"title": "risk: share of failures among them (0 to 1)", "scale": unit_scale(), "axis": share_axis()}
    lines = (
        alt.Chart(data(rows))
        .mark_line(strokeWidth=2.2)
        .encode(
            x=alt.X("coverage:Q", **axis_x),
            y=alt.Y("risk:Q", **axis_y),
            order=alt.Order("at:Q"),
            color=colour,
            tooltip=[
                alt.Tooltip("explainer:N"),
                alt.Tooltip("of:N", title="cases kept"),
                alt.Tooltip("shown:N", title="failures among them"),
            ],
        )
    )
    level = (
        alt.Chart(data([{"rate": base_rate}]))
        .mark_rule(color=GREY, strokeDash=[5, 4], strokeWidth=1.4)
        .encode(y=alt.Y("rate:Q", **axis_y))
    )
    reading = (
        "Keep only the cases that look safest (left): how many of them fail? A curve well below the dashed line, where "
        f"all cases fail equally often ({number(base_rate)}), means that the explainer spots failures; one along it "
        "that it does not."
    )
    chart = warned(finish(alt.layer(level, lines), 320, 260), severe_words(result))
    return Figure(chart, reading, "failure_risk_coverage")


def permutation_figure(result: BenchmarkResult) -> Figure:
    """The permutation null of the best layer (or of the score, without layers), beside what was observed.

    Raises
    ------
    InputError : the run has none.
    """
    import altair as alt

    null = result.permutation
    if null is None or not null.maxima:
        raise InputError("This run took no permutation null: choose an explainer for it and run again.")
    low, high = min(*null.maxima, null.observed, 0.5) - 0.01, max(*null.maxima, null.observed, 0.5) + 0.01
    scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    layered = len(null.layers) > 1
    title = f"{'highest test AUC over the layers' if layered else 'test AUC'} (0 to 1)"
    counts, edges = np.histogram(null.maxima, bins=min(30, max(5, len(null.maxima) // 4)), range=(low, high))
    rows = [
        {"from": float(a), "to": float(b), "zero": 0, "count": int(n), "shown": f"{number(a)} to {number(b)}"}
        for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)
        if n
    ]
    most = int(counts.max())
    ticks = list(range(0, most + 1, max(1, -(-most // 5))))
    bars = (
        alt.Chart(data(rows))
        .mark_bar(color=GREY, opacity=0.7)
        .encode(
            x=alt.X("from:Q", title=title, scale=scale, axis=alt.Axis(tickCount=6, format=".2~f", grid=False)),
            x2="to:Q",
            y=alt.Y("count:Q", title="shuffles (count)", axis=alt.Axis(values=ticks, format="d")),
            y2="zero:Q",
            tooltip=[
                alt.Tooltip("shown:N", title="highest AUC" if layered else "AUC"),
                alt.Tooltip("count:Q", title="shuffles"),
            ],
        )
    )
    rules = [
        alt.Chart(data([{"at": at}]))
        .mark_rule(color=colour, strokeWidth=width, strokeDash=dash)
        .encode(x=alt.X("at:Q", scale=scale, title=title))
        for at, colour, width, dash in ((null.threshold, GREY, 2, [5, 4]), (null.observed, MEASURE, 3, [1, 0]))
    ]
    rarely = "chance alone gets there often enough: no evidence"
    if null.p_value <= SIGNIFICANT:
        rarely = "chance alone rarely gets there"
    elif null.observed > max(null.maxima):
        rarely = "no shuffle got there, but so few cannot rule chance out"
    over = f"the best of {len(null.layers)} layers" if layered else "the score"
    reading = (
        f"Grey: how high {over} of {explainer_title(null.explainer)} comes out when the labels are shuffled "
        f"({len(null.maxima)} times); dashed their 95 % quantile, {number(null.threshold)}. "
        f"In colour what was observed, {number(null.observed)}: {rarely} ({p_words(null.p_value)})."
    )
    chart = warned(finish(alt.layer(bars, *rules), 320, 180), severe_words(result))
    return Figure(chart, reading, "failure_permutation_null")


def control_figure(result: BenchmarkResult) -> Figure:
    """AUC by layer of the same explainer on shuffled labels; a rule where it reads none.

    Raises
    ------
    InputError : the run took no control.
    """
    points = tuple(
        LayerPoint(f"{explainer_title(s.explainer)}, labels shuffled", str(s.layer), s.auc)
        for s in result.control
        if s.layer is not None
    )
    rules = tuple(Rule("labels shuffled", s.auc) for s in result.control if s.layer is None)
    made = layer_figure([Panel("", points, rules, severe_words(result))], "failure_control")
    level = percent(result.plan.level)
    held = f"{level} intervals" if points else f"{level} interval ({interval_words(rules[0].interval)})"
    reading = (
        f"{explainer_title(result.control[0].explainer)} learned shuffled labels and was tested on shuffled ones: the "
        f"{held} must hold the dashed 0.5. One that does not says that something leaks from the training into the test "
        "cases."
    )
    return replace(made, reading=reading)


def every_figure(result: BenchmarkResult, explainers: Sequence[str]) -> list[Figure]:
    """Every chart that the result allows; curves of the chosen explainers."""
    makers: list[Callable[[], Figure]] = [
        partial(auc_figure, [result]),
        partial(ranking_figure, result),
        partial(calibration_figure, result, explainers),
        partial(risk_figure, result, explainers),
        partial(permutation_figure, result),
        partial(control_figure, result),
    ]
    made: list[Figure] = []
    for make in makers:
        try:
            made.append(make())
        except InputError:  # not measured
            continue
    return made


def _chosen(result: BenchmarkResult, explainers: Sequence[str]) -> list[ExplainerScore]:
    found = [score for score in ranked(result) if score.explainer in explainers][:MOST_CURVES]
    if not found:
        raise InputError("None of these explainers was scored: choose others.")
    return found


def _legend(names: Sequence[str], shapes: bool = True) -> tuple[Any, Any]:
    """Colour (and shape) of each explainer, in one legend."""
    import altair as alt

    legend = alt.Legend(title=None, orient="top", columns=1, labelLimit=400, symbolOpacity=1)
    domain = list(names)
    colour = alt.Color("explainer:N", scale=alt.Scale(domain=domain, range=list(COLOURS[: len(domain)])), legend=legend)
    shape = alt.Shape("explainer:N", scale=alt.Scale(domain=domain, range=list(SHAPES[: len(domain)])), legend=legend)
    return colour, shape if shapes else None


def _listed(scores: Sequence[ExplainerScore], what: str) -> str:
    return "; ".join(f"{name_of(s)} {number(getattr(s, what))}" for s in scores)
