"""The accuracy table and its chart, and whether the other modality helps."""

from __future__ import annotations

from typing import Any

import streamlit as st

from isi_core.reports.order_figures import accuracy_figure, category_words
from isi_core.reports.order_shift_figures import position_figure
from isi_core.reports.order_tables import (
    SHORT,
    AccuracyRow,
    accuracy_rows,
    p_words,
    position_csv,
    significance,
    tested_columns,
)
from isi_core.reports.wording import number
from isi_core.studies.step_order.flips import position_bias
from isi_core.studies.step_order.grid import over_seeds
from isi_core.studies.step_order.kept import Study
from isi_core.studies.step_order.kin import over_seeds_of
from isi_core.studies.step_order.results import ALL, GridResult
from isi_core.ui import frame
from isi_core.ui.bound import bound
from isi_core.ui.step_order import work
from isi_core.ui.step_order.desk import Desk
from isi_core.ui.wording import as_written


def show(desk: Desk, study: Study) -> None:
    """Accuracies of every category, encoder and modality; then one encoder at a time with intervals and tests."""
    grid = study.grid
    if not grid.accuracies:
        st.info("Nothing was tested yet: the first fine-tuning is not done.", icon=":material/lightbulb:")
        return
    st.markdown("**Accuracy on the test pairs** · 0 to 1, chance is 0.5, bold is the best of its row")
    st.table(_table(grid))
    encoders = list(dict.fromkeys(row.encoder for row in grid.accuracies))
    if desk.encoder not in encoders:
        desk.encoder = encoders[0]
    if len(encoders) > 1:
        st.segmented_control("Encoder", encoders, **bound(desk, "encoder"))
    frame.figure(accuracy_figure(grid.accuracies, desk.encoder), f"order_accuracy_{desk.encoder}")
    _tests(grid, desk.encoder)
    _seeds(study, desk.encoder)
    _positions(study)


def _seeds(study: Study, encoder: str) -> None:
    """Mean and spread over the studies that differ in their seed alone."""
    import pandas

    same = over_seeds_of(study.plan, work.study)
    if len(same) < 2:
        return
    spreads = [row for row in over_seeds([one.grid.accuracies for one in same]) if row.encoder == encoder]
    seeds = ", ".join(str(one.plan.seed) for one in same)
    st.markdown(f"**Over {len(same)} seeds** ({seeds}) · mean ± standard deviation of the accuracy, n − 1")
    rows: dict[str, dict[str, str]] = {}
    for row in spreads:
        name = as_written(category_words(row.category, row.kind))
        rows.setdefault(name, {})[as_written(SHORT[row.modality])] = f"{row.mean:.3f} ± {row.deviation:.3f}"
    st.table(pandas.DataFrame.from_dict(rows, orient="index").rename_axis("category"))
    st.caption("Each seed draws its own pairs, first head and order of training: the spread is of all three together.")


def _positions(study: Study) -> None:
    """Whether the encoders go by the place that a step is shown at."""
    rows = [row for flips in study.flips for row in position_bias(flips)]
    if not rows:
        return
    st.markdown("**Position bias** · the same pairs with both steps exchanged")
    frame.figure(position_figure(rows), "order_positions", table=lambda: position_csv(rows))
    worst = max(rows, key=lambda row: abs(row.says_in_order - 0.5))
    st.caption(
        as_written(
            f"Of all answers to both orders, {worst.encoder} on {SHORT[worst.modality]} says “in order” most unevenly: "
            f"{number(worst.says_in_order)} of them; 0.5 is even."
        )
    )


def _table(grid: GridResult) -> Any:
    import pandas

    columns = tested_columns(grid.accuracies)
    several = len({encoder for encoder, _ in columns}) > 1
    heads = [f"{encoder} {SHORT[modality]}" if several else SHORT[modality] for encoder, modality in columns]
    rows = accuracy_rows(grid.accuracies)
    body = [[_cell(row, key, len(columns) <= 4) for key in columns] for row in rows]
    names = [as_written(category_words(row.category, row.kind)) for row in rows]
    return pandas.DataFrame(body, index=pandas.Index(names, name="category"), columns=[as_written(h) for h in heads])


def _cell(row: AccuracyRow, key: Any, interval: bool) -> str:
    found = row.cells.get(key)
    if found is None:
        return "–"
    text = f"{found.accuracy:.3f}"
    # An asterisk pair makes bold; the interval stays plain so that the eye finds the best.
    text = f"**{text}**" if key in row.best else text
    return f"{text} \\[{found.low:.2f}, {found.high:.2f}\\]" if interval else text


def _tests(grid: GridResult, encoder: str) -> None:
    import pandas

    found = [row for row in grid.comparisons if row.encoder == encoder]
    if not found:
        return
    st.markdown("**Does the other modality help?** · exact McNemar tests on the same test pairs")
    rows = []
    for category in dict.fromkeys(row.category for row in found):
        cells: dict[str, str] = {"category": "all categories" if category == ALL else as_written(category)}
        for row in found:
            if row.category == category:
                words = f"{row.difference:+.3f} ({p_words(row.p)}, {significance(row)})"
                cells[f"V+T minus {SHORT[row.other]}"] = as_written(words)
        rows.append(cells)
    st.table(pandas.DataFrame(rows).set_index("category"))
    st.caption(
        "Better and worse are differences beyond chance at 5 %, not corrected for the number of rows: of twenty rows "
        "without any difference, one will look like one."
    )
