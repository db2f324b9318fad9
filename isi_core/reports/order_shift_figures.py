"""Charts of the gap under the shift intervention, of position bias, and of accuracy by the number of training pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from isi_core.domain.palette import CONTEXT, IMAGE
from isi_core.reports.chart_parts import GREY, categories, data, finish
from isi_core.reports.charts import MEASURE, Figure
from isi_core.reports.order_figures import MODALITY_COLOURS, category_words, modality_colour
from isi_core.reports.order_tables import SHORT
from isi_core.reports.wording import number, one_line
from isi_core.studies.step_order.flips import PositionBias
from isi_core.studies.step_order.results import ALL, CategoryAccuracy, GapResult, ShiftPoint

_SHARES = {
    "fine-tuned head": ("accuracy", MEASURE, 0.5),
    "matching of two steps (zero-shot)": ("matching", IMAGE, 0.5),
    "retrieval among ten (zero-shot)": ("retrieval", CONTEXT, 0.1),
}
_LINES = ("gap (0 to 2)", "cosine of true pairs", "cosine of random pairs")
_MOMENTS = {"before": "before fine-tuning", "after": "after fine-tuning"}


def shift_figure(gap: GapResult) -> Figure | None:
    """Distance, cosines and accuracies over λ, before and after fine-tuning; None where no shift was measured."""
    import altair as alt

    found = {m: [point for point in gap.shift if point.moment == m] for m in _MOMENTS}
    moments = {moment: points for moment, points in found.items() if len(points) > 1}
    if not moments:
        return None
    # A row a kind of chart, so that panels stand level and each row has one legend.
    ends = [
        value
        for points in moments.values()
        for point in points
        for value in (point.distance, point.true_cosine, point.random_cosine)
        if value is not None
    ]
    domain = [min(0.0, *ends), max(ends)]
    upper = alt.hconcat(*[_accuracies(points, _MOMENTS[m]) for m, points in moments.items()], spacing=34)
    lower = alt.hconcat(*[_distances(points, domain) for points in moments.values()], spacing=34)
    chart: Any = alt.vconcat(upper, lower, spacing=14).resolve_scale(color="independent", strokeDash="independent")
    chart = chart.configure(background="transparent", text={"color": GREY})
    reading = (
        "Headlines and pictures are moved towards each other along the gap by λ and L2-normalized anew: at λ 0 they "
        "are as the encoder made them, at 0.5 the gap is about closed, below 0 it is wider. Where an accuracy stays "
        "while the gap closes, the gap is not what costs accuracy; chance is 0.5 for the head and for matching, 0.1 "
        "for retrieval among ten."
    )
    return Figure(chart, reading, f"gap_shift_{_file_name(gap.encoder)}")


def _shift_axis() -> Any:
    import altair as alt

    axis = alt.Axis(values=[-0.5, 0, 0.5, 1], grid=False)
    return alt.X("amount:Q", title="shift λ (0: as it is, 0.5: gap closed)", axis=axis, scale=alt.Scale(nice=False))


def _accuracies(points: Sequence[ShiftPoint], title: str) -> Any:
    import altair as alt

    rows: list[Mapping[str, Any]] = [
        {"amount": point.amount, "value": value, "line": line, "shown": number(value)}
        for point in points
        for line, (field, _, _) in _SHARES.items()
        if (value := getattr(point, field)) is not None
    ]
    scale = alt.Scale(domain=list(_SHARES), range=[colour for _, colour, _ in _SHARES.values()])
    lines = (
        alt.Chart(data(rows))
        .mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=30))
        .encode(
            x=_shift_axis(),
            y=alt.Y("value:Q", title="accuracy (0 to 1)", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=5)),
            color=alt.Color("line:N", scale=scale, legend=alt.Legend(title=None, orient="top", labelLimit=240)),
            tooltip=[alt.Tooltip("line:N", title="what"), alt.Tooltip("amount:Q", title="λ"), alt.Tooltip("shown:N")],
        )
    )
    chances = sorted({_SHARES[str(row["line"])][2] for row in rows})
    guess = alt.Chart(data([{"value": value} for value in chances])).mark_rule(color=GREY, strokeDash=[5, 4])
    return alt.layer(guess.encode(y="value:Q"), lines).properties(width=230, height=150, title=title)


def _distances(points: Sequence[ShiftPoint], domain: Sequence[float]) -> Any:
    import altair as alt

    rows: list[Mapping[str, Any]] = [
        {"amount": point.amount, "value": value, "line": line, "shown": number(value)}
        for point in points
        for line, value in zip(_LINES, (point.distance, point.true_cosine, point.random_cosine), strict=True)
        if value is not None
    ]
    dashes = alt.StrokeDash(
        "line:N",
        scale=alt.Scale(domain=list(_LINES), range=[[1, 0], [6, 3], [2, 2]]),
        legend=alt.Legend(title=None, orient="top", labelLimit=240, symbolType="stroke", symbolSize=300),
    )
    scale = alt.Scale(domain=list(domain), nice=True)
    return (
        alt.Chart(data(rows))
        .mark_line(strokeWidth=2, color=GREY)
        .encode(
            x=_shift_axis(),
            y=alt.Y("value:Q", title="distance, cosine", scale=scale, axis=alt.Axis(tickCount=5)),
            strokeDash=dashes,
            tooltip=[alt.Tooltip("line:N", title="what"), alt.Tooltip("amount:Q", title="λ"), alt.Tooltip("shown:N")],
        )
        .properties(width=230, height=120)
    )


def position_figure(rows: Sequence[PositionBias]) -> Figure:
    """How often each encoder contradicts itself when both steps are exchanged, with its 95 % interval."""
    import altair as alt

    whole = [row for row in rows if row.category == ALL]
    table = [
        {
            "encoder": one_line(row.encoder, 30),
            "modality": SHORT[row.modality],
            "share": row.contradictions,
            "low": row.low,
            "high": row.high,
            "shown": f"{number(row.contradictions)} [{number(row.low)}, {number(row.high)}]",
            "says": number(row.says_in_order),
            "n": row.n,
        }
        for row in whole
    ]
    encoders = list(dict.fromkeys(str(row["encoder"]) for row in table))
    shown = sorted({str(row["modality"]) for row in table}, key=list(MODALITY_COLOURS).index)
    scale = alt.Scale(domain=[0, max([0.2, *(row.high for row in whole)])], nice=True)
    x = alt.X("share:Q", title="share of pairs with the same answer to both orders (0 to 1)", scale=scale,
              axis=alt.Axis(tickCount=6))  # fmt: skip
    offset = alt.YOffset("modality:N", scale=alt.Scale(domain=shown, paddingOuter=0.3))
    base = alt.Chart(data(table)).encode(
        y=categories("encoder", "", order=encoders, limit=200), yOffset=offset, color=modality_colour(shown)
    )
    tooltip = [
        alt.Tooltip("encoder:N"),
        alt.Tooltip("modality:N"),
        alt.Tooltip("shown:N", title="contradictions [95 %]"),
        alt.Tooltip("says:N", title="says in order"),
        alt.Tooltip("n:Q", title="pairs"),
    ]
    lines = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", scale=scale), x2="high:Q", tooltip=tooltip)
    dots = base.mark_point(filled=True, size=70, opacity=1).encode(x=x, tooltip=tooltip)
    chart = finish(alt.layer(lines, dots), 360, max(60, 18 * len(table) + 16))
    reading = (
        "Each pair is asked again with both steps exchanged; an encoder that gives the same answer to both orders "
        "went by the place a step is shown at, not by the steps. 0 is an encoder without position bias."
    )
    return Figure(chart, reading, "position_bias")


def sizes_figure(points: Sequence[tuple[int, CategoryAccuracy]], encoder: str) -> Figure:
    """Accuracy of one encoder over the number of training pairs of each category, a panel a category.

    `points` are (pairs of each category that were trained on, accuracy on the test pairs).
    """
    import altair as alt

    rows = [
        {
            "pairs": pairs,
            "category": category_words(row.category, row.kind),
            "modality": SHORT[row.modality],
            "accuracy": row.accuracy,
            "low": row.low,
            "high": row.high,
            "shown": f"{number(row.accuracy)} [{number(row.low)}, {number(row.high)}]",
        }
        for pairs, row in points
        if row.encoder == encoder
    ]
    shown = sorted({str(row["modality"]) for row in rows}, key=list(MODALITY_COLOURS).index)
    order = list(dict.fromkeys(str(row["category"]) for row in rows))
    values = sorted({int(str(row["pairs"])) for row in rows})
    x = alt.X(
        "pairs:Q",
        title="training pairs",
        scale=alt.Scale(type="log", domain=[values[0] / 1.15, values[-1] * 1.15], nice=False),
        axis=alt.Axis(values=values, grid=False, format="d", labelOverlap=True),
    )
    y_scale = alt.Scale(domain=[min(0.4, *(row.low for _, row in points)), 1], nice=False)
    base = alt.Chart().encode(x=x, color=modality_colour(shown))
    band = base.mark_rule(strokeWidth=1.5, opacity=0.6).encode(y=alt.Y("low:Q", scale=y_scale), y2="high:Q")
    line = base.mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=36)).encode(
        y=alt.Y("accuracy:Q", title="accuracy", scale=y_scale, axis=alt.Axis(tickCount=4)),
        tooltip=[
            alt.Tooltip("category:N"),
            alt.Tooltip("modality:N"),
            alt.Tooltip("pairs:Q", title="training pairs of each category"),
            alt.Tooltip("shown:N", title="accuracy [95 %]"),
        ],
    )
    panels = alt.layer(band, line, data=data(rows)).properties(width=150, height=110)
    facet = alt.Facet("category:N", title=None, sort=order, header=alt.Header(labelFontSize=11, labelLimit=170))
    chart = panels.facet(facet, columns=3).configure(background="transparent", text={"color": GREY})
    reading = (
        f"Accuracy of {one_line(encoder, 40)} on the same test pairs after training on fewer pairs of each category "
        "(the built-in how-tos have two an article); vertical lines are 95 % intervals, 0.5 is chance. The more pairs "
        "a category needs until its line is flat, the harder it is."
    )
    return Figure(chart, reading, f"by_pairs_{_file_name(encoder)}")


def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in text.lower())[:40]
