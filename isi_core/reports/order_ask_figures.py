"""Charts and tables of vision-language models that were asked which step comes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from isi_core.domain.palette import CONTEXT, IMAGE, QUESTION
from isi_core.reports.chart_parts import GREY, categories, data, finish
from isi_core.reports.charts import MEASURE, Figure
from isi_core.reports.order_figures import category_words
from isi_core.reports.run_tables import csv_bytes
from isi_core.reports.wording import number, one_line
from isi_core.studies.step_order.asked import Asked
from isi_core.studies.step_order.zero_shot_rows import ZeroShotRow

_MEASURES = {"accuracy": MEASURE, "contradictions": GREY}
# Parts of the prompt in the colours of picture, context and question; the second of two is lighter.
PART_COLOURS = {
    "first picture": IMAGE,
    "second picture": "#66aad1",
    "pictures": IMAGE,
    "title": "#b37400",
    "first headline": CONTEXT,
    "second headline": "#f3c566",
    "question": QUESTION,
    "rest": "#999999",
}


def asked_figure(rows: Sequence[ZeroShotRow], model: str) -> Figure:
    """Accuracy and contradictions of each category with 95 % intervals."""
    import altair as alt

    table = []
    for row in rows:
        name = category_words(row.category, row.kind)
        for what, value, low, high, n in (
            ("accuracy", row.accuracy, row.low, row.high, row.n),
            ("contradictions", row.contradictions, row.contradictions_low, row.contradictions_high, row.clear),
        ):
            if value is not None:
                shown = f"{number(value)} [{number(low)}, {number(high)}]"
                table.append(
                    {"category": name, "what": what, "value": value, "low": low, "high": high, "shown": shown, "n": n}
                )
    order = list(dict.fromkeys(str(row["category"]) for row in table))
    scale = alt.Scale(domain=[0, 1], nice=False)
    colour = alt.Color(
        "what:N",
        scale=alt.Scale(domain=list(_MEASURES), range=list(_MEASURES.values())),
        legend=alt.Legend(title=None, orient="top"),
    )
    offset = alt.YOffset("what:N", scale=alt.Scale(domain=list(_MEASURES), paddingOuter=0.3))
    base = alt.Chart(data(table)).encode(
        y=categories("category", "", order=order, limit=240), yOffset=offset, color=colour
    )
    tooltip = [
        alt.Tooltip("category:N"),
        alt.Tooltip("what:N"),
        alt.Tooltip("shown:N", title="share [95 %]"),
        alt.Tooltip("n:Q", title="pairs"),
    ]
    half = alt.Chart(data([{"value": 0.5}])).mark_rule(color=GREY, strokeDash=[5, 4]).encode(x="value:Q")
    lines = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", scale=scale), x2="high:Q", tooltip=tooltip)
    dots = base.mark_point(filled=True, size=70, opacity=1).encode(
        x=alt.X(
            "value:Q",
            title="share of pairs (0 to 1; 0.5 is chance for the accuracy)",
            scale=scale,
            axis=alt.Axis(tickCount=6),
        ),
        tooltip=tooltip,
    )
    chart = finish(alt.layer(half, lines, dots), 360, max(60, 17 * len(table) + 12))
    reading = (
        f"What {one_line(model, 60)} says without training: pink, how often it is right about the order shown; grey, "
        "how often it says the same to both orders, which cannot both be true. Lines are 95 % intervals; an accuracy "
        "that touches the dashed line cannot be told from guessing."
    )
    return Figure(chart, reading, f"asked_{_file_name(model)}")


def parts_figure(rows: Sequence[ZeroShotRow], model: str) -> Figure | None:
    """Mean attention on each picture, headline and the rest, a bar a category; None where it was not measured."""
    import altair as alt

    known = [row for row in rows if row.attention]
    if not known:
        return None
    table: list[Mapping[str, Any]] = [
        {
            "category": category_words(row.category, row.kind),
            "part": part,
            "rank": list(PART_COLOURS).index(part),
            "share": share,
            "shown": number(share),
        }
        for row in known
        for part, share in (row.attention or {}).items()
        if part in PART_COLOURS
    ]
    parts = [part for part in PART_COLOURS if any(row["part"] == part for row in table)]
    order = list(dict.fromkeys(str(row["category"]) for row in table))
    colour = alt.Color(
        "part:N",
        scale=alt.Scale(domain=parts, range=[PART_COLOURS[part] for part in parts]),
        legend=alt.Legend(title=None, orient="top", columns=4),
    )
    chart = (
        alt.Chart(data(table))
        .mark_bar(height={"band": 0.75})
        .encode(
            x=alt.X(
                "share:Q",
                title="share of attention (0 to 1)",
                scale=alt.Scale(domain=[0, 1], nice=False),
                axis=alt.Axis(tickCount=6),
            ),
            y=categories("category", "", order=order, limit=240),
            color=colour,
            order=alt.Order("rank:Q"),
            tooltip=[
                alt.Tooltip("category:N"),
                alt.Tooltip("part:N", title="part of the prompt"),
                alt.Tooltip("shown:N", title="share"),
            ],
        )
    )
    reading = (
        f"Where {one_line(model, 60)} looked while it answered, mean over answers to both orders: first and second are "
        "places in the prompt, so unequal shares of the two pictures or headlines are a bias of place. Attention says "
        "what was looked at, not what decided."
    )
    return Figure(finish(chart, 360, 40 + 30 * len(order)), reading, f"asked_attention_{_file_name(model)}")


def asked_csv(asked: Asked) -> bytes:
    """One row an answer, two a pair (UTF-8); entropies in nats."""
    rows = []
    for one in asked.answers:
        for order, said, right in (("shown", one.shown, one.right), ("swapped", one.swapped, one.swapped_right)):
            rows.append(
                {
                    "model": asked.plan.model,
                    "modality": asked.plan.modality,
                    "idx": one.idx,
                    "category": one.category,
                    "kind": one.kind,
                    "label": one.label,
                    "order": order,
                    "answer": said.text,
                    "verdict": said.verdict,
                    "right": right,
                    "contradicts": one.contradicts,
                    "semantic_entropy": said.semantic_entropy if said.semantic_entropy is not None else "",
                    **{f"attention: {part}": share for part, share in (said.attention or {}).items()},
                }
            )
    return csv_bytes(rows)


def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in text.lower())[:40]
