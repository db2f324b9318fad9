"""How memory and time grow with the number of image tokens, as a chart in `benchmarks/results/`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.peak_memory import cost
from benchmarks.vlm_models import FULL, PATCH
from benchmarks.vlm_ways import Setup, Way
from isi_core.models.memory import free_memory

RESULTS = Path(__file__).parent / "results"
SIDES = (10, 16, 24, 32, 45, 54, 63)
"""Patches along the picture's side: 100, 256, 576, 1,024, 2,025, 2,916 and 3,969 image tokens."""
QUICK_SIDES = (10, 16)
LINES: tuple[tuple[Way, str, str], ...] = (
    ("plain answer", "one answer, plain", "#999999"),
    ("eager attention", "answer with eager attention matrices", "#D55E00"),
    ("attention", "answer with attention, here", "#0072B2"),
    ("samples", "{samples} samples, here", "#009E73"),
)


def draw_growth(setup: Setup) -> Path:
    """Measure every line at every size (LLaVA-1.5 shape) and save the chart; its path.

    A quick setup's chart goes to a file of its own, so that it does not replace a real one.
    """
    points = []
    for side in QUICK_SIDES if setup.quick else SIDES:
        for way, label, _ in LINES:
            fits = way != "eager attention" or 1.5 * _matrix_bytes(side * side) < free_memory()
            found = cost(way, replace(setup, kind="llava", side=side * PATCH)) if fits else None
            if found is not None:  # where memory ends, the line ends
                points.append(
                    {
                        "tokens": side * side,
                        "way": label.format(samples=setup.samples),
                        "memory": found.peak / (1 << 20),
                        "seconds": found.seconds,
                    }
                )
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / ("vlm_growth_quick.png" if setup.quick else "vlm_growth.png")
    path.write_bytes(_png(points, setup))
    return path


def _matrix_bytes(tokens: int) -> int:
    """Of all attention matrices of a prompt."""
    return FULL.layers * FULL.heads * tokens**2 * 4


def _png(points: list[dict[str, Any]], setup: Setup) -> bytes:
    import altair as alt
    import vl_convert

    labels = [label.format(samples=setup.samples) for _, label, _ in LINES]
    legend = alt.Legend(orient="bottom", columns=2, labelLimit=400)
    color = alt.Scale(domain=labels, range=[color for _, _, color in LINES])
    # The same domain and legend for colour and shape, so that they make one legend.
    data = alt.InlineData(values=points)
    base = alt.Chart(data).encode(
        x=alt.X("tokens:Q", title="image tokens"),
        color=alt.Color("way:N", title=None, scale=color, legend=legend),
        shape=alt.Shape("way:N", title=None, scale=alt.Scale(domain=labels), legend=legend),
    )
    panels = [
        base.mark_line(point=True)
        .encode(y=alt.Y(f"{name}:Q", title=title, scale=alt.Scale(type="log")))
        .properties(width=420, height=300)
        for name, title in (("memory", "peak memory above the model (MB)"), ("seconds", "time (s)"))
    ]
    subtitle = f"LLaVA-1.5-shaped, random weights, float32, threads: {setup.threads}, {setup.tokens} tokens an answer"
    if setup.quick:
        subtitle = "QUICK FORM, tiny model: these numbers mean nothing"
    chart = alt.hconcat(*panels).properties(
        title=alt.TitleParams("Memory and time as the picture grows", subtitle=subtitle)
    )
    return bytes(vl_convert.vegalite_to_png(chart.to_dict(), scale=2))
