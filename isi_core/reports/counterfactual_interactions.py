"""The joint matrix of a ranking: what pairs of attributes do beyond the sum of each alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from isi_core.domain.attributes import Attribute
from isi_core.domain.errors import InputError
from isi_core.reports.chart_parts import data, finish
from isi_core.reports.charts import Figure
from isi_core.reports.counterfactual_figures import LOWERS, RAISES, labels_of, unit_of
from isi_core.reports.wording import number
from isi_core.studies.counterfactuals.results import JointResult, Result

_MATRIX = 10
"""Attributes of the matrix."""


def interaction_figure(result: Result) -> Figure:
    """The joint matrix: what two attributes together do beyond the sum of each alone.

    Raises
    ------
    InputError : no pair was edited together.
    """
    import altair as alt

    pairs = [j for j in result.joint if len(j.whole.edits) == 2 and math.isfinite(j.interaction.estimate)]
    if not pairs:
        raise InputError("No pair of attributes was edited together: switch joint attributes on and run again.")
    pairs, attributes = _densest(pairs)
    names = labels_of(attributes)
    rows: list[dict[str, Any]] = []
    for joint in pairs:
        first, second = (edit.attribute for edit in joint.whole.edits)
        signs = tuple("−" if edit.sign < 0 else "" for edit in joint.whole.edits)
        bounded = joint.interaction.bounded
        shared = {
            "interaction": joint.interaction.estimate,
            "shown": number(joint.interaction.estimate),
            "sure": "*" if bounded and not joint.interaction.low <= 0 <= joint.interaction.high else "",
            "bounds": f"{number(joint.interaction.low)} to {number(joint.interaction.high)}" if bounded else "–",
            "together": number(joint.whole.signed.estimate),
            "alone": " and ".join(number(part) for part in joint.parts),
            "what": " with ".join(f"{s}{a.text}" for s, a in zip(signs, (first, second), strict=True)),
        }
        rows += [
            {"across": names[first], "down": names[second], **shared},
            {"across": names[second], "down": names[first], **shared},
        ]
    for row in rows:
        row["cell"] = f"{row['shown']}{row['sure']}"
    reach = max(abs(r["interaction"]) for r in rows) or 1.0
    order = list(names.values())
    base = alt.Chart(data(rows)).encode(
        x=alt.X(
            "across:N",
            sort=order,
            title=None,
            axis=alt.Axis(labelAngle=-40, labelLimit=170, ticks=False, labelOverlap=False),
        ),
        y=alt.Y("down:N", sort=order, title=None, axis=alt.Axis(labelLimit=200, ticks=False, labelOverlap=False)),
        tooltip=[
            alt.Tooltip("what:N", title="together"),
            alt.Tooltip("together:N", title="signed mean Δ, both"),
            alt.Tooltip("alone:N", title="signed mean Δ, each alone"),
            alt.Tooltip("shown:N", title="interaction"),
            alt.Tooltip("bounds:N", title="95 % interval"),
        ],
    )
    colour = alt.Color(
        "interaction:Q",
        scale=alt.Scale(domain=[-reach, 0, reach], range=[LOWERS, "#f4f4f4", RAISES]),
        legend=alt.Legend(title=f"interaction ({unit_of(result)})", orient="top", titleLimit=300),
    )
    cells = base.mark_rect().encode(color=colour)
    words = base.mark_text(fontSize=10, color="black").encode(text="cell:N")
    reading = (
        "Each cell is what two attributes together change beyond the sum of what each changes alone: 0 where the "
        "classifier adds them up, a star where the 95 % interval leaves out 0, empty where the two were not edited "
        "together."
    )
    return Figure(finish(alt.layer(cells, words), max(50 * len(order), 200), 28 * len(order)), reading, "interaction")


def _densest(pairs: Sequence[JointResult]) -> tuple[list[JointResult], list[Attribute]]:
    """The attributes that stand in most pairs, and the pairs among them: a matrix with few empty cells."""
    counts: dict[Attribute, int] = {}
    for joint in pairs:
        for edit in joint.whole.edits:
            counts[edit.attribute] = counts.get(edit.attribute, 0) + 1
    kept = set(sorted(counts, key=lambda a: -counts[a])[:_MATRIX])
    among = [joint for joint in pairs if all(edit.attribute in kept for edit in joint.whole.edits)]
    return among, list(dict.fromkeys(edit.attribute for joint in among for edit in joint.whole.edits))
