"""Charts of a ranking: influence with intervals and the no-op floor, the hierarchy, small multiples by picture.

As in `reports.charts`: each with the sentence that says how to read it, no background of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from isi_core.domain.attributes import Attribute
from isi_core.domain.errors import InputError
from isi_core.reports.chart_parts import GREY, categories, data, finish, values
from isi_core.reports.charts import Figure
from isi_core.reports.wording import number, one_line
from isi_core.studies.counterfactuals.results import Result, SetResult

# Colours of the Okabe-Ito palette that stand for no modality and no outcome.
RAISES, LOWERS = "#CC79A7", "#56B4E9"
_DIRECTIONS = ("raises the score", "lowers the score")
UNITS = {"log-odds": "log-odds, nats", "logit": "logit, nats", "probability": "probability, 0 to 1"}
_MOST_LEAVES = 200
"""Leaves that the hierarchy draws: a corpus may have 10,000."""
PICKED = "picked"
"""The selection that the influence chart carries; a page reads from it which attribute a click asks for."""


def unit_of(result: Result) -> str:
    """What the scores are measured in, for an axis."""
    scale = str(result.settings.get("scale", ""))
    return UNITS.get(scale, scale or "score")


def done_words(result: Result) -> str:
    """What was done with each attribute: "added" or "taken away"."""
    return "taken away" if result.settings.get("sign") == -1 else "added"


def short(attribute: Attribute) -> str:
    """The attribute for an axis: its own label with the level above, which tells two "blond" apart."""
    return one_line(attribute.label if attribute.level == 1 else f"{attribute.label} · {attribute.path[-2]}", 46)


def labels_of(attributes: Sequence[Attribute]) -> dict[Attribute, str]:
    """A label for each attribute; the whole path where the short ones are alike."""
    made = [short(a) for a in attributes]
    times = Counter(made)
    return {a: label if times[label] == 1 else one_line(a.text, 60) for a, label in zip(attributes, made, strict=True)}


def influence_figure(result: Result, chosen: Sequence[SetResult]) -> Figure:
    """Signed mean change with its interval, and the influence |Δ| with the floor that no-op edits give.

    Raises
    ------
    InputError : nothing was chosen.
    """
    import altair as alt

    if not chosen:
        raise InputError("No attribute was ranked yet: run the ranking, or show the flagged ones too.")
    names = labels_of([found.attribute for found in chosen])
    rows: list[dict[str, Any]] = [
        {
            "attribute": names[found.attribute],
            "path": found.attribute.text,
            "zero": 0.0,
            "signed": found.signed.estimate,
            "low": found.signed.low if found.signed.bounded else found.signed.estimate,
            "high": found.signed.high if found.signed.bounded else found.signed.estimate,
            "influence": found.influence,
            "direction": _DIRECTIONS[int(found.signed.estimate < 0)],
            "shown": number(found.influence),
            "bounds": f"{number(found.signed.estimate)} ({number(found.signed.low)} to {number(found.signed.high)})",
            "valid": f"{found.valid} of {found.images}",
        }
        for found in chosen
        if math.isfinite(found.influence)
    ]
    if not rows:
        raise InputError("No edit of these attributes was valid: look at what was flagged.")
    unit = unit_of(result)
    reach = max(max(abs(r["low"]), abs(r["high"]), abs(r["influence"])) for r in rows) or 1.0
    least = min(0.0, *(r["low"] for r in rows))
    scale = alt.Scale(domain=[least * 1.08, reach * 1.05], nice=False)
    axis = alt.Axis(tickCount=6)
    title = f"change of the score for “{one_line(result.class_label, 40)}” ({unit})"
    y = categories("attribute", "", order=[r["attribute"] for r in rows], limit=230)
    base = alt.Chart(data(rows)).encode(y=y)
    tooltip = [
        alt.Tooltip("path:N", title="attribute"),
        alt.Tooltip("shown:N", title="influence, mean |Δ|"),
        alt.Tooltip("bounds:N", title="signed mean Δ, 95 %"),
        alt.Tooltip("valid:N", title="valid edits"),
    ]
    legend = alt.Legend(title=None, orient="top")
    colour = alt.Color("direction:N", scale=alt.Scale(domain=list(_DIRECTIONS), range=[RAISES, LOWERS]), legend=legend)
    x = alt.X("zero:Q", title=title, scale=scale, axis=axis)
    picked = alt.selection_point(name=PICKED, fields=["path"])
    layers: list[Any] = []
    floor = result.no_op.influence if result.no_op is not None else math.nan
    if math.isfinite(floor) and floor > 0:
        band = alt.Chart(data([{"low": max(-floor, least * 1.08), "high": min(floor, reach * 1.05)}]))
        layers.append(band.mark_rect(color=GREY, opacity=0.22).encode(x=alt.X("low:Q", scale=scale), x2="high:Q"))
    layers += [
        base.mark_bar(height={"band": 0.62}).encode(x=x, x2="signed:Q", color=colour, tooltip=tooltip),
        base.mark_rule(strokeWidth=1.6, color=GREY).encode(x=alt.X("low:Q", scale=scale), x2="high:Q"),
        alt.Chart(data([{"zero": 0.0}])).mark_rule(color=GREY).encode(x=alt.X("zero:Q", scale=scale)),
        base.mark_point(
            shape="diamond", size=64, filled=True, color="black", stroke="white", strokeWidth=1.2, opacity=1
        )
        .encode(x=alt.X("influence:Q", scale=scale), tooltip=tooltip)
        .add_params(picked),
        values(alt.Chart(data(rows)), y),
    ]
    reading = (
        f"Each bar is the mean change of the classifier's score over the pictures when an attribute is "
        f"{done_words(result)}, with its 95 % interval: to the right it speaks for "
        f"“{one_line(result.class_label, 40)}”, to the left against it; the diamond, and the number at the right, is "
        "the influence, the mean of the change's size (DiffEx, eq. 1)"
    )
    if math.isfinite(floor):
        reading += (
            f", and what lies in the grey band (±{number(floor)}) is no more than edits that do nothing give"
            if floor > 0
            else "; edits that do nothing change the score by 0 here, so any influence is the edit's own"
        )
    return Figure(finish(alt.layer(*layers), 420, max(2, len(rows)) * 22), f"{reading}.", "influence")


def hierarchy_figure(result: Result) -> Figure:
    """The hierarchy as an icicle: level 1 left, what stands below it to its right, coloured by the signed mean.

    Raises
    ------
    InputError : nothing was looked at.
    """
    import altair as alt

    known = {found.attribute: found for found in result.sets}
    if not known:
        raise InputError("No attribute was looked at yet: run the ranking first.")
    # What the search never came to is left out, as long as nothing below it was looked at.
    reached = {path for attribute in known for path in _ways(attribute)}
    seen = [a for a in result.corpus.attributes() if a.path in reached]
    groups = {a.path[:-1] for a in seen}
    leaves = _by_influence([a for a in seen if a.path not in groups], known)
    place = {leaf: i for i, leaf in enumerate(leaves[:_MOST_LEAVES])}
    below: dict[tuple[str, ...], list[int]] = {}
    for leaf, i in place.items():
        for path in _ways(leaf):
            below.setdefault(path, []).append(i)
    rows: list[dict[str, Any]] = []
    for attribute in seen:
        if attribute.path not in below:
            continue
        found = known.get(attribute)
        measured = found is not None and math.isfinite(found.influence)
        rows.append(
            {
                "left": attribute.level - 1,
                "right": attribute.level if attribute not in place else 3,
                "top": below[attribute.path][0],
                "bottom": below[attribute.path][-1] + 1,
                "label": one_line(attribute.label, 26 if attribute.level < 3 else 34),
                "path": attribute.text,
                # A mark without a value would be left out: it gets a 0 and is grey.
                "measured": measured,
                "signed": found.signed.estimate if found is not None and measured else 0.0,
                "shown": number(found.influence) if found is not None else "not looked at",
                "change": number(found.signed.estimate) if found is not None else "–",
            }
        )
    reach = max(abs(r["signed"]) for r in rows) or 1.0
    across = alt.Scale(domain=[0, 3], nice=False)
    down = alt.Scale(domain=[0, len(place)], reverse=True, nice=False)
    base = alt.Chart(data(rows))
    tooltip = [
        alt.Tooltip("path:N", title="attribute"),
        alt.Tooltip("shown:N", title="influence, mean |Δ|"),
        alt.Tooltip("change:N", title="signed mean Δ"),
    ]
    colour = alt.condition(
        "datum.measured",
        alt.Color(
            "signed:Q",
            scale=alt.Scale(domain=[-reach, 0, reach], range=[LOWERS, "#f4f4f4", RAISES]),
            legend=alt.Legend(title=f"signed mean Δ ({unit_of(result)})", orient="top", titleLimit=300),
        ),
        alt.value("#d9d9d9"),
    )
    x = alt.X("left:Q", scale=across, axis=alt.Axis(values=[0.5, 1.5, 2.5], labelExpr=_LEVEL_WORDS, title=None))
    rects = base.mark_rect(stroke=GREY, strokeWidth=0.6).encode(
        x=x, x2="right:Q", y=alt.Y("top:Q", scale=down, axis=None), y2="bottom:Q", color=colour, tooltip=tooltip
    )
    words = (
        base.transform_calculate(middle="(datum.top + datum.bottom) / 2")
        .mark_text(align="left", dx=5, fontSize=10.5, color="black")
        .encode(x=alt.X("left:Q", scale=across), y=alt.Y("middle:Q", scale=down), text="label:N")
    )
    reading = (
        "Read from left to right: each box is an attribute, the boxes to its right are its sub-types, the strongest on "
        f"top; the colour is the mean change of the score when it is {done_words(result)}, white where nothing "
        "changes, grey where no valid edit tells."
    )
    if len(leaves) > len(place):
        reading += f" Drawn are the first {len(place):,} of {len(leaves):,} in this order; the CSV has all."
    return Figure(finish(alt.layer(rects, words), 480, max(4, len(place)) * 17), reading, "hierarchy")


_LEVEL_WORDS = "datum.value < 1 ? 'level 1' : datum.value < 2 ? 'level 2' : 'level 3'"


def _by_influence(leaves: Sequence[Attribute], known: Mapping[Attribute, SetResult]) -> list[Attribute]:
    """Leaves so ordered that whole branches stay together, the branch of the strongest leaf first."""

    own = {a.path: found.influence for a, found in known.items() if math.isfinite(found.influence)}
    strongest: dict[tuple[str, ...], float] = {}
    for leaf in leaves:
        for path in _ways(leaf):
            strongest[path] = max(strongest.get(path, own.get(path, 0.0)), own.get(leaf.path, 0.0))

    def key(leaf: Attribute) -> tuple[Any, ...]:
        return tuple(step for path in _ways(leaf) for step in (-strongest[path], path))

    return sorted(leaves, key=key)


def _ways(attribute: Attribute) -> list[tuple[str, ...]]:
    """The paths down to an attribute: its level-1 group first, its own last."""
    return [attribute.path[:level] for level in range(1, attribute.level + 1)]


def pictures_figure(result: Result, chosen: Sequence[SetResult], columns: int = 4) -> Figure:
    """Small multiples: one panel a picture, in it the change that each attribute makes there.

    Raises
    ------
    InputError : nothing was chosen.
    """
    import altair as alt

    if not chosen:
        raise InputError("No attribute was ranked yet: run the ranking, or show the flagged ones too.")
    names = labels_of([found.attribute for found in chosen])
    titles = _picture_titles(result)
    rows: list[dict[str, Any]] = [
        {
            "attribute": names[found.attribute],
            "picture": titles.get(delta.picture, delta.picture[:8]),
            "change": delta.change,
            "direction": _DIRECTIONS[int(delta.change < 0)],
            "valid": delta.valid,
            "why": "; ".join(delta.reasons) or "valid",
            "shown": number(delta.change),
        }
        for found in chosen
        for delta in found.deltas
        if math.isfinite(delta.change)
    ]
    if not rows:
        raise InputError("No edit of these attributes gave a score: look at what was flagged.")
    scale = alt.Scale(domain=list(_DIRECTIONS), range=[RAISES, LOWERS])
    base = alt.Chart(data(rows)).encode(
        y=alt.Y(
            "attribute:N",
            sort=list(names.values()),
            title=None,
            axis=alt.Axis(labelLimit=150, ticks=False, domain=False, labelPadding=4, labelOverlap=False),
        )
    )
    bars = base.mark_bar(height={"band": 0.66}).encode(
        x=alt.X("change:Q", title=f"Δ ({unit_of(result)})", axis=alt.Axis(tickCount=3)),
        color=alt.Color("direction:N", scale=scale, legend=alt.Legend(title=None, orient="top")),
        opacity=alt.condition("datum.valid", alt.value(1.0), alt.value(0.3)),
        tooltip=[
            alt.Tooltip("picture:N"),
            alt.Tooltip("attribute:N"),
            alt.Tooltip("shown:N", title="Δ"),
            alt.Tooltip("why:N", title="edit"),
        ],
    )
    order = [titles[digest] for digest, _ in result.pictures]
    chart = bars.properties(width=128, height=16 * len(names)).facet(
        facet=alt.Facet("picture:N", sort=order, title=None, header=alt.Header(labelFontSize=11, labelPadding=3)),
        columns=columns,
        spacing=14,
    )
    reading = (
        f"Each panel is one picture, each bar the change of its score when the attribute is {done_words(result)} "
        "there; pale bars are edits that were flagged and enter no mean."
    )
    return Figure(chart.configure(**_theme()), reading, "pictures")


def _theme() -> dict[str, Any]:
    from isi_core.reports.chart_parts import page_theme

    return page_theme()


def _picture_titles(result: Result) -> dict[str, str]:
    """A name for each picture; numbered where two have the same."""
    names = [one_line(name, 22) for _, name in result.pictures]
    times = Counter(names)
    return {
        digest: name if times[name] == 1 else f"{i}. {name}"
        for i, ((digest, _), name) in enumerate(zip(result.pictures, names, strict=True), start=1)
    }
