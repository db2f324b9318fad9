"""The chart of `measures.answer_map`: sampled answers in the plane, coloured by cluster."""

from __future__ import annotations

import math
from typing import Any

from isi_core.measures.answer_map import AnswerMap, Place
from isi_core.reports.chart_parts import GREY, data, finish
from isi_core.reports.charts import Figure
from isi_core.reports.wording import number, one_line

# Okabe-Ito without black and yellow, which no ground shows; further clusters are told apart by number and shape.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
_NAMED = 12
"""Answers whose words stand on the map, the most probable; the others have theirs on hover."""
_WIDTH, _HEIGHT = 480, 320
_AREAS = (40, 1_200)
"""Square pixels of a point of probability 0 and 1."""
_BESIDE = ((-1.0, 0.1, 10), (0.1, 0.35, 15), (0.35, 0.7, 19), (0.7, 2.0, 23))
"""Where words stand beside points: from and to a probability, pixels from the middle."""
_LOOSE = 0.2
"""Stress above which a map says that it is a rough one (Kruskal 1964 calls 0.2 poor)."""


def map_figure(found: AnswerMap) -> Figure:
    """Distinct answers as points: near ones entail each other, colour and shape are clusters, area is probability."""
    import altair as alt

    rows = _rows(found)
    clusters = sorted({place.cluster for place in found.places})
    names = [str(cluster + 1) for cluster in clusters]
    domains = _domains(rows)
    x, y = (
        alt.X("x:Q", title="first dimension (distance, no unit)", scale=domains[0], axis=_axis()),
        alt.Y("y:Q", title="second dimension", scale=domains[1], axis=_axis()),
    )
    base = alt.Chart(data(rows))
    colour = alt.Color(
        "cluster:N",
        scale=alt.Scale(domain=names, range=[_COLOURS[c % len(_COLOURS)] for c in clusters]),
        legend=alt.Legend(title="cluster", orient="right", symbolSize=90, symbolLimit=18) if len(names) > 1 else None,
    )
    shape = alt.Shape(
        "cluster:N",
        scale=alt.Scale(
            domain=names,
            range=[_SHAPES[(c // len(_COLOURS)) % len(_SHAPES)] for c in clusters],
        ),
        legend=None,
    )
    points = base.mark_point(filled=True, opacity=0.75, stroke=GREY, strokeWidth=0.6).encode(
        x=x,
        y=y,
        color=colour,
        shape=shape,
        size=alt.Size("probability:Q", scale=alt.Scale(domain=[0, 1], range=list(_AREAS)), legend=None),
        order=alt.Order("probability:Q", sort="descending"),  # small ones in front
        tooltip=[
            alt.Tooltip("answer:N"),
            alt.Tooltip("cluster:N"),
            alt.Tooltip("shown:N", title="probability"),
            alt.Tooltip("count:Q", title="samples"),
            alt.Tooltip("beside:N", title="at the same place"),
        ],
    )
    words = [
        # Right of the point, whose half width grows with the root of its probability.
        base.transform_filter(f"datum.label !== '' && datum.probability > {low} && datum.probability <= {high}")
        .mark_text(align="left", baseline="middle", dx=shift, fontSize=11, color=GREY)
        .encode(x=x, y=y, text="label:N")
        for low, high, shift in _BESIDE
    ]
    chart = finish(alt.layer(points, *words), _WIDTH, _HEIGHT)
    return Figure(chart, _reading(found), "answer_map")


def _rows(found: AnswerMap) -> list[dict[str, Any]]:
    """One row a place; words at one point only once, at the most probable answer there."""
    ordered = sorted(found.places, key=lambda place: -place.probability)
    there: dict[tuple[float, float], list[str]] = {}
    for place in ordered:
        there.setdefault((round(place.x, 3), round(place.y, 3)), []).append(_words(place.text, 60))
    unit = _unit([place.x for place in found.places], [place.y for place in found.places])
    rows: list[dict[str, Any]] = []
    named: list[Place] = []
    for place in ordered:
        others = there[round(place.x, 3), round(place.y, 3)]
        label = ""
        # Where two would lie on each other, the more probable answer has its words shown.
        free = not any(abs(n.y - place.y) < 14 * unit and abs(n.x - place.x) < 130 * unit for n in named)
        if free and len(named) < _NAMED and others[0] == _words(place.text, 60):
            label = _words(place.text, 20) + (f" +{len(others) - 1}" if len(others) > 1 else "")
            named.append(place)
        rows.append(
            {
                "answer": _words(place.text, 120),
                "cluster": str(place.cluster + 1),
                "x": place.x,
                "y": place.y,
                "probability": place.probability,
                "shown": number(place.probability),
                "count": place.count,
                "label": label,
                "beside": "; ".join(o for o in others if o != _words(place.text, 60))[:200] or "–",
            }
        )
    return rows


def _words(text: str, longest: int) -> str:
    return one_line(text, longest) or "(empty answer)"


def _axis() -> Any:
    import altair as alt

    return alt.Axis(tickCount=5, grid=False, format=".2~f")


def _domains(rows: list[dict[str, Any]]) -> tuple[Any, Any]:
    """Scales on which a distance is as long across as upwards, with room for points and words."""
    import altair as alt

    x, y = ([float(row[name]) for row in rows] for name in ("x", "y"))
    unit = _unit(x, y)
    scales = []
    # More room on the right, where the words stand.
    for values, length, shift in ((x, _WIDTH, 0.1), (y, _HEIGHT, 0.0)):
        middle, half = (min(values) + max(values)) / 2 + shift * unit * length, unit * length / 2
        scales.append(alt.Scale(domain=[middle - half, middle + half], nice=False, zero=False))
    return scales[0], scales[1]


def _unit(x: list[float], y: list[float]) -> float:
    """How much of a distance one pixel is."""
    return max((max(x) - min(x) + 0.5) / _WIDTH, (max(y) - min(y) + 0.3) / _HEIGHT, 0.8 / _WIDTH)


def _reading(found: AnswerMap) -> str:
    same = len({(round(p.x, 3), round(p.y, 3)) for p in found.places}) == 1
    words = (
        "Answers lie near each other where they entail each other (0 apart: the same meaning, 1 apart: no entailment "
        "either way); colour is the cluster, the area an answer's probability, hover for its words. A sure model's "
        "answers make one heap; only distances count, not where left or above is."
    )
    if same and len(found.places) > 1:
        return f"{words} Here all lie at one point."
    if not math.isfinite(found.stress) or found.stress < 0.005:
        return f"{words} Two dimensions hold these distances exactly."
    rough = ": a rough picture, trust the matrix more" if found.stress > _LOOSE else ""
    return f"{words} Stress {number(found.stress)} (0 is exact){rough}."
