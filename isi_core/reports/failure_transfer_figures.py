"""The transfer matrix as a chart and a table, and the failures that models share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isi_core.domain.errors import InputError
from isi_core.reports.chart_parts import GREY, data, finish
from isi_core.reports.charts import Figure
from isi_core.reports.failure_panels import interval_words, warned
from isi_core.reports.failure_words import explainer_title
from isi_core.reports.run_tables import csv_bytes
from isi_core.reports.wording import number, one_line, percent
from isi_core.studies.failure.transfer import SharedFailures, TransferResult

_CELL = 74  # pixels
# Colours that stand for no modality and no outcome.
_RANGE = ["#B58863", "#f2f2f2", "#9A6FE0"]


def transfer_figure(result: TransferResult, warning: str = "") -> Figure:
    """AUC of each pair of domains, trained on the row and tested on the column.

    `warning` tells of the linter's severe findings.

    Raises
    ------
    InputError : no cell could be measured.
    """
    import altair as alt

    names = {name: one_line(name, 30) for name in result.domains}
    rows: list[dict[str, Any]] = [
        {
            "train": names[cell.train],
            "test": names[cell.test],
            "auc": cell.auc.estimate,
            "shown": number(cell.auc.estimate),
            "bounds": interval_words(cell.auc),
            "sure": "excludes 0.5" if cell.auc.bounded and not cell.auc.low <= 0.5 <= cell.auc.high else "includes 0.5",
            "n": cell.n_test,
            "dark": abs(cell.auc.estimate - 0.5) > 0.3,
        }
        for cell in result.cells
        if cell.auc is not None
    ]
    if not rows:
        raise InputError(next((cell.why for cell in result.cells if cell.why), "Nothing could be transferred."))
    order = list(names.values())
    tooltip = [
        alt.Tooltip("train:N", title="trained on"),
        alt.Tooltip("test:N", title="tested on"),
        alt.Tooltip("shown:N", title="AUC"),
        alt.Tooltip("bounds:N", title="interval"),
        alt.Tooltip("sure:N", title="the interval"),
        alt.Tooltip("n:Q", title="test cases"),
    ]
    axis: dict[str, Any] = {"labelLimit": 190, "ticks": False, "domain": False}
    base = alt.Chart(data(rows)).encode(
        x=alt.X("test:N", sort=order, title="tested on", axis=alt.Axis(**axis, labelAngle=-30)),
        y=alt.Y("train:N", sort=order, title="trained on", axis=alt.Axis(**axis)),
        tooltip=tooltip,
    )
    scale = alt.Scale(domain=[0, 0.5, 1], range=_RANGE, clamp=True)
    cells = base.mark_rect(stroke=GREY, strokeWidth=0.5).encode(
        color=alt.Color("auc:Q", scale=scale, legend=alt.Legend(title="AUC (0 to 1)", gradientLength=140))
    )
    texts = base.mark_text(fontSize=13).encode(
        text="shown:N",
        color=alt.condition("datum.dark", alt.value("white"), alt.value("black")),
        opacity=alt.condition("datum.sure == 'excludes 0.5'", alt.value(1.0), alt.value(0.55)),
    )
    level = next(cell.auc.level for cell in result.cells if cell.auc is not None)
    layer = "" if result.layer is None else f", layer {result.layer}"
    reading = (
        f"{explainer_title(result.explainer)}{layer}: trained on the row, tested on unseen cases of the column; the "
        "diagonal is each on its own ground. A column that stays violet in every row shares its signs of failure with "
        f"the others; 0.5 (near white) is chance, and pale numbers have a {percent(level)} interval that includes it."
    )
    side = _CELL * max(2, len(order))
    return Figure(warned(finish(alt.layer(cells, texts), side, side), warning), reading, "failure_transfer")


def shared_sentence(pair: SharedFailures) -> str:
    """How many failures two runs have in common, and how many chance alone would give them."""
    start = (
        f"{one_line(pair.first, 60)} and {one_line(pair.second, 60)} were asked {pair.n:,} inputs in common and "
        f"failed on {pair.first_failed:,} and {pair.second_failed:,}"
    )
    if not pair.n:
        return f"{one_line(pair.first, 60)} and {one_line(pair.second, 60)} have no input in common."
    if pair.share is None:
        return f"{start}: there is no failure to share."
    bounds = f" (95 % interval {pair.share.low:.0%} to {pair.share.high:.0%})" if pair.share.bounded else ""
    return (
        f"{start}: {pair.share.estimate:.0%}{bounds} of the failures of either are failures of both; "
        f"{pair.by_chance:.0%} would be if they had nothing in common."
    )


def transfer_csv(result: TransferResult) -> bytes:
    """One row a cell."""
    rows: Sequence[dict[str, Any]] = [
        {
            "explainer": result.explainer,
            "layer": result.layer,
            "trained_on": cell.train,
            "tested_on": cell.test,
            "n_train": cell.n_train,
            "n_test": cell.n_test,
            "auc": "" if cell.auc is None else cell.auc.estimate,
            "low": "" if cell.auc is None or not cell.auc.bounded else cell.auc.low,
            "high": "" if cell.auc is None or not cell.auc.bounded else cell.auc.high,
            "why_not": cell.why,
        }
        for cell in result.cells
    ]
    return csv_bytes(list(rows))
