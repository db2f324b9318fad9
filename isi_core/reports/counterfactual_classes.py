"""A ranking of a classifier of several classes: what turns one class into another, and each class's own ranking."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from isi_core.domain.errors import InputError
from isi_core.reports.chart_parts import categories, data, finish
from isi_core.reports.charts import Figure
from isi_core.reports.counterfactual_figures import LOWERS, RAISES, done_words, labels_of, unit_of
from isi_core.reports.counterfactual_tables import interval_words
from isi_core.reports.run_tables import csv_bytes
from isi_core.reports.wording import number, one_line
from isi_core.studies.counterfactuals.results import Result, Turned

_MOST_ATTRIBUTES = 14
_CELL, _ROW, _AROUND = 54, 26, 150  # pixels; legend, class names and title lie around the cells


def best_turns(result: Result) -> dict[tuple[str, str], Turned]:
    """For each (class before, class after) the edit that turns the largest share of the pictures."""
    best: dict[tuple[str, str], Turned] = {}
    for turned in result.turned:
        known = best.get((turned.source, turned.target))
        if known is None or (turned.count / turned.of, turned.count) > (known.count / known.of, known.count):
            best[turned.source, turned.target] = turned
    return best


def classes_note(result: Result) -> str:
    """Which of a classifier's many classes have a ranking of their own; "" where all of several have, or of two."""
    record = result.settings.get("classifier")
    known = record if isinstance(record, Mapping) else {}
    # A ranking tells how many there are; of one made before it did, some classifiers' records do.
    told = result.settings.get("classes", known.get("classes", known.get("labels")))
    count = told if isinstance(told, int) else len(told) if isinstance(told, Sequence | Mapping) else 0
    covered = list(result.per_class)
    if count <= 2 or len(covered) >= count or result.stopped:
        return ""
    if not covered:
        return (
            f"The classifier tells {count:,} classes apart, too many for a ranking each: only "
            f"“{one_line(result.class_label, 40)}” was ranked. Choose another class to see what moves that one."
        )
    names = ", ".join(f"“{one_line(label, 30)}”" for label in covered)
    return (
        f"The classifier tells {count:,} classes apart; {len(covered)} of them have a ranking of their own: {names}. "
        "Choose another class to see what moves that one."
    )


def turned_figure(result: Result) -> Figure:
    """A matrix: which edit best turns the class of a row into the class of a column, and how often.

    Raises
    ------
    InputError : no edit turned any picture.
    """
    import altair as alt

    best = best_turns(result)
    if not best:
        raise InputError("No edit turned a picture into another class: use more pictures, or look at the scores.")
    rows: list[dict[str, Any]] = [
        {
            "before": one_line(source, 24),
            "after": one_line(target, 24),
            "share": turned.count / turned.of,
            "shown": f"{turned.count}/{turned.of}",
            "edit": " and ".join(edit.text for edit in turned.edits),
        }
        for (source, target), turned in best.items()
    ]
    classes = [one_line(label, 24) for label in result.per_class] or sorted({row["before"] for row in rows})
    x = alt.X(
        "after:N",
        sort=classes,
        title="class with the edit",
        scale=alt.Scale(domain=classes),
        axis=alt.Axis(labelAngle=-30, labelLimit=110, ticks=False, domain=False),
    )
    y = categories("before", "class without the edit", order=classes, limit=120).scale(alt.Scale(domain=classes))
    base = alt.Chart(data(rows)).encode(x=x, y=y)
    tooltip = [
        alt.Tooltip("before:N", title="from"),
        alt.Tooltip("after:N", title="to"),
        alt.Tooltip("edit:N", title="best edit"),
        alt.Tooltip("shown:N", title="pictures turned"),
    ]
    colour = alt.Color(
        "share:Q",
        title="share of pictures turned (0 to 1)",
        scale=alt.Scale(domain=[0, 1], range=["#f0dbe8", RAISES]),
        legend=alt.Legend(orient="top", gradientLength=160, titleLimit=400),
    )
    layers = [
        base.mark_rect(cornerRadius=3).encode(color=colour, tooltip=tooltip),
        base.mark_text(color="#1a1a1a", fontSize=11).encode(text="shown:N", tooltip=tooltip),
    ]
    reading = (
        "Each cell is the edit that most often turns the class of its row into the class of its column; the numbers "
        "are pictures turned, of those that were of the row's class and whose edit is valid."
    )
    width, height = max(240, _CELL * len(classes)), _AROUND + _ROW * len(classes)
    return Figure(finish(alt.layer(*layers), width, height), reading, "turned_classes")


def classes_figure(result: Result) -> Figure:
    """A matrix of attributes and classes: the signed mean change of each class's score.

    Raises
    ------
    InputError : the classifier has two classes, or too many for a ranking each.
    """
    import altair as alt

    if not result.per_class:
        raise InputError("Only classifiers of 3 to 20 classes have a ranking for each class.")
    strength: dict[Any, float] = {}
    for sets in result.per_class.values():
        for found in sets:
            if math.isfinite(found.influence):
                strength[found.attribute] = max(strength.get(found.attribute, 0.0), abs(found.signed.estimate))
    chosen = sorted(strength, key=lambda a: -strength[a])[:_MOST_ATTRIBUTES]
    if not chosen:
        raise InputError("No attribute could be ranked: most edits were flagged.")
    names = labels_of(chosen)
    rows: list[dict[str, Any]] = [
        {
            "class": one_line(label, 24),
            "attribute": names[found.attribute],
            "path": found.attribute.text,
            "signed": found.signed.estimate,
            "cell": f"{found.signed.estimate:.2f}".replace("-", "−"),
            "shown": number(found.signed.estimate),
            "bounds": interval_words(found),
        }
        for label, sets in result.per_class.items()
        for found in sets
        if found.attribute in names and math.isfinite(found.signed.estimate)
    ]
    reach = max(abs(row["signed"]) for row in rows) or 1.0
    classes = [one_line(label, 24) for label in result.per_class]
    x = alt.X(
        "class:N",
        sort=classes,
        title="class",
        axis=alt.Axis(labelAngle=-30, labelLimit=110, ticks=False, domain=False),
    )
    base = alt.Chart(data(rows)).encode(x=x, y=categories("attribute", "", order=list(names.values()), limit=200))
    tooltip = [
        alt.Tooltip("path:N", title="attribute"),
        alt.Tooltip("class:N"),
        alt.Tooltip("shown:N", title="signed mean Δ"),
        alt.Tooltip("bounds:N", title="95 % interval"),
    ]
    colour = alt.Color(
        "signed:Q",
        title=f"signed mean change ({unit_of(result)})",
        scale=alt.Scale(domain=[-reach, 0, reach], range=[LOWERS, "#f4f4f4", RAISES]),
        legend=alt.Legend(orient="top", gradientLength=160, titleLimit=400),
    )
    layers = [
        base.mark_rect(cornerRadius=3).encode(color=colour, tooltip=tooltip),
        base.mark_text(color="#1a1a1a", fontSize=10).encode(text="cell:N", tooltip=tooltip),
    ]
    reading = (
        "Each row is an attribute, each column a class: the mean change of that class's score when the attribute is "
        f"{done_words(result)}; pink speaks for the class, blue against it."
    )
    width, height = max(260, _CELL * len(classes)), _AROUND + _ROW * len(chosen)
    return Figure(finish(alt.layer(*layers), width, height), reading, "class_influences")


def turned_rows(result: Result) -> list[dict[str, str]]:
    """For each pair of classes the edit that best turns one into the other, most often first."""
    found = sorted(best_turns(result).values(), key=lambda t: (-t.count / t.of, -t.count, t.source, t.target))
    return [
        {
            "from": turned.source,
            "to": turned.target,
            "best edit": " and ".join(edit.text for edit in turned.edits),
            "pictures": f"{turned.count} of {turned.of}",
        }
        for turned in found
    ]


def turned_csv(result: Result) -> bytes:
    """One row an edit and pair of classes (UTF-8): how many pictures it turned."""
    return csv_bytes(
        [
            {
                "from": turned.source,
                "to": turned.target,
                "edit": " and ".join(edit.text for edit in turned.edits),
                "attributes": " and ".join(edit.attribute.text for edit in turned.edits),
                "pictures_turned": turned.count,
                "of": turned.of,
                "share": turned.count / turned.of,
            }
            for turned in result.turned
        ]
    )


def classes_csv(result: Result) -> bytes:
    """One row a class and attribute (UTF-8): the class's own ranking."""
    return csv_bytes(
        [
            {
                "class": label,
                "rank": place,
                "attribute": found.attribute.text,
                "influence": found.influence,
                "signed": found.signed.estimate,
                "low": found.signed.low,
                "high": found.signed.high,
                "floor": found.floor,
                "edits_valid": found.valid,
            }
            for label, sets in result.per_class.items()
            for place, found in enumerate(sets, start=1)
        ]
    )
