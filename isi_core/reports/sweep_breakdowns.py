"""Charts of a sweep that part it: flips between conditions, calibration, families of questions.

As in `reports.charts`: each with the sentence that says how to read it, no background of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from isi_core.domain.errors import InputError
from isi_core.reports.chart_parts import GREY, categories, data, finish, share_axis, unit_scale
from isi_core.reports.charts import MEASURE, Figure
from isi_core.reports.sweep_figures import bounds, file_part, intervals, picked
from isi_core.reports.wording import number, percent
from isi_core.studies.sweep.analysis import Analysis
from isi_core.studies.sweep.calibration import Calibration

MOST_CURVES = 16
MOST_WRITTEN = 12
"""Conditions whose numbers have room in the cells of a flip matrix."""


def flip_figure(analysis: Analysis, model: str) -> Figure:
    """Share of the observations whose verdict differs, condition by condition."""
    import altair as alt

    rows = [
        {
            "first": f.first,
            "second": f.second,
            "share": f.share,
            "dark": f.share > 0.55,
            "shown": number(f.share) if f.first != f.second else "",
            "of": f"{f.flips} of {f.n}",
        }
        for f in analysis.flips
        if f.model == model and f.n
    ]
    order = [c for c in analysis.conditions if any(r["first"] == c for r in rows)]
    axis = alt.Axis(labelAngle=-40, orient="top", labelLimit=180, labelOverlap=False, domain=False, ticks=False)
    tooltip = [
        alt.Tooltip("first:N", title="condition"),
        alt.Tooltip("second:N", title="against"),
        alt.Tooltip("of:N", title="verdicts that differ"),
        alt.Tooltip("shown:N", title="share"),
    ]
    base = alt.Chart(data(rows)).encode(
        x=alt.X("second:N", sort=order, title=None, axis=axis), y=categories("first", "", order=order, limit=190)
    )
    cells = base.mark_rect(color=MEASURE, stroke=GREY, strokeOpacity=0.35).encode(
        opacity=alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.04, 1]), legend=None), tooltip=tooltip
    )
    layers = [cells.add_params(picked("first", "second"))]
    if len(order) <= MOST_WRITTEN:
        ink = alt.condition("datum.dark", alt.value("black"), alt.value(GREY))
        layers.append(base.mark_text(fontSize=10).encode(text="shown:N", color=ink, tooltip=tooltip))
    reading = (
        "Each cell is the share of observations that got another verdict under the one condition than under the "
        "other (0 none, 1 all): the fuller the colour, the more"
        + ("" if len(order) <= MOST_WRITTEN else " (hover for the numbers)")
        + ". A row that stays pale is an intervention that is ignored."
    )
    return Figure(finish(alt.layer(*layers), 300, 34 * max(3, len(order))), reading, f"sweep_flips_{file_part(model)}")


def auroc_figure(found: Sequence[Calibration], models: Sequence[str], conditions: Sequence[str]) -> Figure:
    """Area under the ROC curve of the entropy for wrong answers, with DeLong's interval.

    Raises
    ------
    InputError : no condition has both right and wrong answers.
    """
    rows = [{"model": c.model, "condition": c.condition, **bounds(c.auroc)} for c in found if c.auroc is not None]
    if not rows:
        raise InputError("An AUROC needs right and wrong answers under one condition: there are none yet.")
    shown = [c for c in conditions if any(r["condition"] == c for r in rows)]
    own = [m for m in models if any(r["model"] == m for r in rows)]
    name = found[0].score.replace("_", " ")
    x = {"title": f"AUROC of {name} for wrong answers (0 to 1)", "scale": unit_scale(), "axis": share_axis()}
    reading = (
        f"How often a wrong answer has a higher {name} than a right one: 1 always, 0.5 (dashed) as often as not, so "
        "that entropy tells nothing; bars are DeLong's 95 % intervals (none where the two are fully apart, or one "
        "has a single member). Conditions with only right or only wrong answers are left out."
    )
    return Figure(intervals(rows, shown, own, x, 0.5), reading, f"sweep_auroc_{found[0].score}")


def risk_figure(found: Sequence[Calibration], condition: str, model: str) -> Figure:
    """Risk-coverage curves of one model: one condition in colour, the others grey behind it.

    Raises
    ------
    InputError : the condition has no curve.
    """
    import altair as alt

    own = [c for c in found if c.model == model]
    chosen = next((c for c in own if c.condition == condition), None)
    if chosen is None:
        raise InputError("This condition has no answer whose truth is known: choose another.")
    shown = [*[c for c in own if c is not chosen][: MOST_CURVES - 1], chosen]
    rows = [
        {"condition": c.condition, "coverage": p.coverage, "risk": p.risk, "shown": number(p.risk)}
        | {"of": percent(p.coverage), "threshold": number(p.threshold), "limit": p.threshold}
        for c in shown
        for p in c.curve
    ]
    here = f"datum.condition === {_quoted(condition)}"
    base = alt.Chart(data(rows)).encode(
        x=alt.X("coverage:Q", title="coverage: share answered (0 to 1)", scale=unit_scale(), axis=share_axis()),
        y=alt.Y("risk:Q", title="risk: share wrong (0 to 1)", scale=unit_scale(), axis=share_axis()),
        detail="condition:N",
        color=alt.condition(here, alt.value(MEASURE), alt.value(GREY)),
        opacity=alt.condition(here, alt.value(1), alt.value(0.3)),
        tooltip=[
            alt.Tooltip("condition:N"),
            alt.Tooltip("of:N", title="surest answers"),
            alt.Tooltip("shown:N", title="share wrong"),
            alt.Tooltip("threshold:N", title="entropy up to (nats)"),
        ],
    )
    lines = base.mark_line(interpolate="linear").encode(strokeWidth=alt.condition(here, alt.value(3), alt.value(1.2)))
    points = base.mark_point(filled=True, size=34).add_params(picked("condition", "limit"))
    reading = (
        f"If only the surest answers were given (left), how many of them would be wrong? A curve that rises to the "
        f"right means that entropy knows; a flat one that it does not. In colour “{condition}” (area "
        f"{number(chosen.area)}, {number(chosen.wrong / chosen.n)} wrong in all), grey the other conditions."
    )
    return Figure(finish(alt.layer(lines, points), 320, 260), reading, f"sweep_risk_coverage_{file_part(model)}")


def family_figure(analysis: Analysis, model: str) -> Figure:
    """Accuracy of each family of questions under each condition.

    Raises
    ------
    InputError : the dataset names no families, or no truth is known.
    """
    import altair as alt

    rows = [
        {
            "family": f.family,
            "condition": f.condition,
            "accuracy": f.accuracy.estimate,
            "dark": f.accuracy.estimate > 0.55,
            **{k: v for k, v in bounds(f.accuracy).items() if k in ("shown", "bounds", "n")},
        }
        for f in analysis.families
        if f.model == model
    ]
    if not rows:
        raise InputError("This dataset names no question families with a known truth: there is nothing to break down.")
    order = [c for c in analysis.conditions if any(r["condition"] == c for r in rows)]
    families = sorted({r["family"] for r in rows})
    axis = alt.Axis(labelAngle=-30, orient="top", labelLimit=130, domain=False, ticks=False)
    tooltip = [
        alt.Tooltip("family:N"),
        alt.Tooltip("condition:N"),
        alt.Tooltip("shown:N", title="accuracy"),
        alt.Tooltip("bounds:N", title="95 % interval"),
        alt.Tooltip("n:Q", title="observations"),
    ]
    base = alt.Chart(data(rows)).encode(
        x=alt.X("family:N", sort=families, title=None, axis=axis), y=categories("condition", "", order=order, limit=230)
    )
    cells = base.mark_rect(color=MEASURE, stroke=GREY, strokeOpacity=0.35).encode(
        opacity=alt.Opacity("accuracy:Q", scale=alt.Scale(domain=[0, 1], range=[0.04, 1]), legend=None), tooltip=tooltip
    )
    cells = cells.add_params(picked("condition", "family"))
    ink = alt.condition("datum.dark", alt.value("black"), alt.value(GREY))
    numbers = base.mark_text(fontSize=10.5).encode(text="shown:N", color=ink, tooltip=tooltip)
    reading = (
        "Accuracy of each family of questions (columns) under each condition (rows): the fuller, the higher. A family "
        "has few observations: hover for its number and Wilson's 95 % interval before reading much into a cell."
    )
    return Figure(
        finish(alt.layer(cells, numbers), 320, 28 * max(2, len(order))), reading, f"sweep_families_{file_part(model)}"
    )


def _quoted(text: str) -> str:
    """A text as a literal of Vega's expression language; a condition's key holds no quote, a model's name may."""
    escaped = "".join(c if c.isalnum() or c in " /,._-" else f"\\u{ord(c):04x}" for c in text if ord(c) < 0x10000)
    return f"'{escaped}'"
