"""Charts of this page: with room for their title and legend, which Streamlit takes from the plot's height."""

from __future__ import annotations

from dataclasses import replace

from isi_core.reports.charts import Figure
from isi_core.ui import frame

_TITLE, _SUBTITLE, _LEGEND_ROW, _LEGEND = 34, 18, 25, 24
"""Pixels."""


def show(made: Figure, key: str, legend_rows: int = 0) -> None:
    """A chart, how to read it, and its downloads; `legend_rows` lines of legend stand above the plot."""
    chart = made.chart
    height = getattr(chart, "height", None)
    if isinstance(height, (int, float)):
        extra = legend_rows * _LEGEND_ROW + _LEGEND * bool(legend_rows)
        title = chart.to_dict().get("title")
        if title:
            extra += _TITLE + (_SUBTITLE if isinstance(title, dict) and title.get("subtitle") else 0)
        made = replace(made, chart=chart.properties(height=height + extra))
    frame.figure(made, f"failure_{key}")
