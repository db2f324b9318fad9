"""Charts of the modality gap: both clouds in the same axes before and after fine-tuning, and its length by category."""

from __future__ import annotations

from typing import Any

from isi_core.domain.palette import CONTEXT, IMAGE
from isi_core.reports.chart_parts import GREY, categories, data
from isi_core.reports.charts import MEASURE, Figure
from isi_core.reports.order_tables import SHORT
from isi_core.reports.wording import number, one_line, percent
from isi_core.studies.step_order.results import ALL, CategoryGap, GapMoment, GapResult

_COLOURS = {"pictures": IMAGE, "headlines": CONTEXT}


def gap_of(moment: GapMoment, category: str) -> CategoryGap | None:
    """The row of one category, or of all."""
    if category == ALL:
        return moment.whole
    return next((row for row in moment.categories if row.category == category), None)


def gap_figure(gap: GapResult, category: str = ALL) -> Figure:
    """PCA of headlines and pictures before and after fine-tuning, in the same axes, with the gap between centroids."""
    import altair as alt

    moments = [("before fine-tuning", gap.before)]
    if gap.after is not None:
        on = f" on {SHORT[gap.modality]}" if gap.modality else ""
        moments.append((f"after fine-tuning{on}", gap.after))
    everything = [point for _, moment in moments for point in (*moment.text, *moment.image)]
    domains = []
    for axis in (0, 1):
        values = [point[axis] for point in everything] or [0.0]
        margin = 0.06 * (max(values) - min(values) or 1.0)
        domains.append([min(values) - margin, max(values) + margin])
    names = [
        f"{axis} ({percent(share)} of the variance)"
        for axis, share in zip(("PC 1", "PC 2"), gap.explained, strict=True)
    ]
    panels = [
        _panel(moment, category, title, domains, names, first=i == 0).properties(
            width=250, height=220, title=_title(title, moment, category)
        )
        for i, (title, moment) in enumerate(moments)
    ]
    joined: Any = alt.hconcat(*panels, spacing=30).configure(background="transparent", text={"color": GREY})
    reading = (
        "Each small dot is a step's headline or picture, L2-normalized and projected on the two principal axes of all "
        "dots together, the same for both panels; the large ones are the centroids, and the line between them is the "
        "modality gap. Its length is measured in the full space: two clouds can look closer here than they are."
    )
    name = "gap" if category == ALL else f"gap_{''.join(c if c.isalnum() else '_' for c in category)[:40]}"
    return Figure(joined, reading, f"{name}_{''.join(c if c.isalnum() else '_' for c in gap.encoder)[:40]}")


def _title(title: str, moment: GapMoment, category: str) -> str:
    row = gap_of(moment, category)
    return f"{title}: gap {number(row.distance)}" if row else title


def _panel(
    moment: GapMoment, category: str, title: str, domains: list[list[float]], names: list[str], first: bool
) -> Any:
    import altair as alt

    rows = [
        {"x": x, "y": y, "what": what, "category": label}
        for what, points in (("pictures", moment.image), ("headlines", moment.text))
        for (x, y), label in zip(points, moment.labels, strict=True)
        if category in (ALL, label)
    ]
    scale = alt.Scale(domain=list(_COLOURS), range=list(_COLOURS.values()))
    legend = alt.Legend(title=None, orient="top") if first else None
    colour = alt.Color("what:N", scale=scale, legend=legend)
    x = alt.X("x:Q", title=names[0], scale=alt.Scale(domain=domains[0], nice=False), axis=alt.Axis(tickCount=5))
    y = alt.Y("y:Q", title=names[1], scale=alt.Scale(domain=domains[1], nice=False), axis=alt.Axis(tickCount=5))
    tooltip = [alt.Tooltip("what:N", title="of"), alt.Tooltip("category:N")]
    layers = [alt.Chart(data(rows)).mark_circle(size=16, opacity=0.45).encode(x=x, y=y, color=colour, tooltip=tooltip)]
    row = gap_of(moment, category)
    if row is not None:
        ends = {
            "x": row.text_centroid[0],
            "y": row.text_centroid[1],
            "x2": row.image_centroid[0],
            "y2": row.image_centroid[1],
        }
        for line_colour, width in (("white", 5.0), (MEASURE, 2.5)):
            layers.append(
                alt.Chart(data([ends]))
                .mark_rule(color=line_colour, strokeWidth=width)
                .encode(x=x, y=y, x2="x2:Q", y2="y2:Q")
            )
        centres = [
            {"x": row.image_centroid[0], "y": row.image_centroid[1], "what": "pictures", "shown": number(row.distance)},
            {"x": row.text_centroid[0], "y": row.text_centroid[1], "what": "headlines", "shown": number(row.distance)},
        ]
        layers.append(
            alt.Chart(data(centres))
            .mark_point(filled=True, size=190, opacity=1, stroke="white", strokeWidth=2)
            .encode(
                x=x, y=y, color=colour,
                tooltip=[alt.Tooltip("what:N", title="centroid of"), alt.Tooltip("shown:N", title="gap")],
            )
        )  # fmt: skip
    return alt.layer(*layers)


def gap_lengths_figure(gap: GapResult) -> Figure:
    """The gap's length in each category, before and after fine-tuning."""
    import altair as alt

    moments = [("before", gap.before), *([("after", gap.after)] if gap.after is not None else [])]
    rows = [
        {
            "category": "all categories" if row.category == ALL else one_line(row.category, 32),
            "moment": name,
            "distance": row.distance,
            "shown": number(row.distance),
            "true": number(row.true_cosine),
            "random": number(row.random_cosine),
            "ranks": f"{number(row.text_rank)}, {number(row.image_rank)}",
            "n": row.n,
        }
        for name, moment in moments
        for row in (*sorted(moment.categories, key=lambda row: row.category), moment.whole)
    ]
    order = list(dict.fromkeys(str(row["category"]) for row in rows))
    top = 1.08 * max(row.distance for _, moment in moments for row in (*moment.categories, moment.whole))
    x = alt.X(
        "distance:Q",
        title="modality gap (0 to 2)",
        scale=alt.Scale(domain=[0, top], nice=False),
        axis=alt.Axis(tickCount=6),
    )
    y = categories("category", "", order=order, limit=200)
    tooltip = [
        alt.Tooltip("category:N"),
        alt.Tooltip("moment:N"),
        alt.Tooltip("shown:N", title="gap"),
        alt.Tooltip("true:N", title="cosine of true pairs"),
        alt.Tooltip("random:N", title="cosine of random pairs"),
        alt.Tooltip("ranks:N", title="effective rank of headlines, pictures"),
        alt.Tooltip("n:Q", title="steps"),
    ]
    base = alt.Chart(data(rows))
    joined = base.mark_line(color=GREY, strokeWidth=1.5).encode(x=x, y=y, detail="category:N")
    scale = alt.Scale(domain=["before", "after"], range=[GREY, MEASURE])
    dots = base.mark_point(filled=True, size=80, opacity=1).encode(
        x=x,
        y=y,
        color=alt.Color("moment:N", scale=scale, legend=alt.Legend(title=None, orient="top")),
        tooltip=tooltip,
    )
    chart = alt.layer(joined, dots).properties(width=340, height=26 * max(2, len(order)))
    chart = chart.configure(background="transparent", text={"color": GREY})
    reading = (
        "The distance between the centroids of headlines and pictures in each category: grey before fine-tuning, pink "
        "after it. A shorter gap alone does not mean a better model: look at the accuracies beside it."
    )
    return Figure(chart, reading, f"gap_lengths_{''.join(c if c.isalnum() else '_' for c in gap.encoder)[:40]}")
