"""What charts are made of: the page's theme, axes, colours, numbers beside bars, ticks for means, stacked columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from isi_core.domain.attribution import INPUTS
from isi_core.domain.palette import INPUT_COLOURS
from isi_core.reports.wording import number

# Readable on white and on black; no theme reaches marks.
GREY = "#808080"
_SHARES = [0, 0.25, 0.5, 0.75, 1]


def page_theme() -> dict[str, Any]:
    return {"background": "transparent", "text": {"color": GREY}}


def finish(chart: Any, width: int, height: int) -> Any:
    return chart.properties(width=width, height=height).configure(**page_theme())


def data(rows: Sequence[Mapping[str, Any]]) -> Any:
    import altair as alt

    return alt.InlineData(values=[dict(row) for row in rows])


def unit_scale() -> Any:
    import altair as alt

    return alt.Scale(domain=[0, 1], nice=False)


def share_axis() -> Any:
    import altair as alt

    return alt.Axis(values=_SHARES, format=".2~f")


def categories(
    field: str, title: str, order: Sequence[str] | None = None, limit: int = 180, labels: bool = True
) -> Any:
    import altair as alt

    axis = alt.Axis(labelLimit=limit, domain=False, ticks=False, labelPadding=6, labels=labels)
    return alt.Y(f"{field}:N", title=title or None, sort=list(order) if order else None, axis=axis)


def input_colour(legend: Any, names: Sequence[str]) -> Any:
    import altair as alt

    scale = alt.Scale(domain=list(names), range=[INPUT_COLOURS[n] for n in names])
    return alt.Color("input:N", scale=scale, legend=legend)


def values(base: Any, y: Any) -> Any:
    """The rows' numbers in a column right of the plot, where neither a bar nor a tick can cover them."""
    import altair as alt

    return base.mark_text(align="left", dx=8).encode(x=alt.value("width"), y=y, text="shown:N")


def mean_ticks(means: Sequence[Mapping[str, Any]], y: Any, size: int = 26, scale: Any = None) -> list[Any]:
    """A black tick with a white rim, which shows on any colour, light or dark."""
    import altair as alt

    x = alt.X("mean:Q", scale=scale) if scale is not None else alt.X("mean:Q")
    tooltip = [alt.Tooltip("shown:N", title="mean over the dataset")]
    ticks = []
    for colour, thickness, extra in (("white", 6, 4), ("black", 2.5, 0)):
        mark = alt.Chart(data(means)).mark_tick(color=colour, thickness=thickness, size=size + extra, opacity=1)
        ticks.append(mark.encode(x=x, tooltip=tooltip, **({} if y is None else {"y": y})))
    return ticks


def stacked_columns(shares: Any, names: Sequence[str], title: str, angle: int | None) -> Any:
    """Columns of (n, 4) shares of `INPUTS`, image at the foot."""
    import altair as alt

    rows = [
        {
            # The place in front keeps equal names apart and in order; the axis shows what is behind it.
            "place": f"{i:04d}{name}",
            "name": name,
            "input": INPUTS[k],
            "rank": k,
            "share": float(share),
            "shown": number(float(share)),
        }
        for i, name in enumerate(names)
        for k, share in enumerate(shares[i])
    ]
    axis = alt.Axis(
        labelExpr="slice(datum.label, 4)",
        labelAngle=angle if angle is not None else (-45 if len(names) > 6 else 0),
        labelLimit=90,
        labelOverlap="greedy",
        ticks=False,
        labelPadding=6,
    )
    chart = (
        alt.Chart(data(rows))
        .mark_bar(width={"band": 0.8})
        .encode(
            x=alt.X("place:N", title=title, sort=None, axis=axis),
            y=alt.Y("share:Q", title="share of attention (0 to 1)", scale=unit_scale(), axis=share_axis()),
            color=input_colour(alt.Legend(title=None, orient="top"), INPUTS),
            order=alt.Order("rank:Q"),
            tooltip=[
                alt.Tooltip("name:N", title=title),
                alt.Tooltip("input:N", title="input"),
                alt.Tooltip("shown:N", title="share"),
            ],
        )
    )
    return finish(chart, 340, 170)
