"""Every measure side by side."""

from __future__ import annotations

import math

import streamlit as st

from isi_core.measures.side_by_side import MeasureRow, side_by_side
from isi_core.reports.uncertainty_tables import measure_range
from isi_core.reports.wording import number
from isi_core.ui.uncertainty.desk import Desk, Subject, View, open_desk
from isi_core.ui.wording import as_written

_BLOCKS = 8


def rows_of(desk: Desk, view: View) -> list[MeasureRow]:
    """The view's measures, taken once."""
    p_true, why_not = desk.p_true_of(view.subject), why_no_p_true(view.subject)
    return desk.computed(
        ("measures", view.key, p_true),
        lambda: side_by_side(view.answers, view.groups, view.grouping, p_true, why_not),
    )


def why_no_p_true(subject: Subject) -> str:
    """Why the subject has no p(True) yet, or cannot have one."""
    made = subject.evaluation
    if made is None:
        return "Not measured: these answers were pasted, so no model is known that could be asked."
    if made.answer is None:
        return "Not measured: this trial has samples but no main answer to ask about."
    return "Not measured yet: press “Measure p(True)” below; it costs the model one more reading of the question."


def show(view: View) -> None:
    """Headline, table, and how it came about."""
    rows = rows_of(open_desk(), view)
    st.subheader("Every measure side by side", anchor=False)
    st.markdown(_headline(view))
    st.table(
        {
            "Measure": [row.name for row in rows],
            "Value": [f"**{shown(row)}**" if row.measured else "–" for row in rows],
            "Range": [measure_range(row) for row in rows],
            "In its range": [_bar(row) for row in rows],
            "What it says": [f"{row.meaning} :gray[{row.source}]" for row in rows],
        },
        border="horizontal",
        hide_index=True,
    )
    hand = " Clusters were **changed by hand**." if view.by_hand else ""
    st.caption(
        f"{settings_words(view)}.{hand} High is unsure, except for lexical similarity and p(True). Values of different "
        "measures are not on one scale: compare a measure across trials, not with its neighbours."
    )


def shown(row: MeasureRow) -> str:
    """A value as the table shows it: whole where it counts."""
    return str(int(row.value)) if row.key == "n_clusters" else number(row.value)


def settings_words(view: View) -> str:
    """Every choice in one line."""
    grouping = view.grouping
    likelihood = "as drawn" if grouping.likelihood == "sampling" else "the model's own"
    length = "per token" if grouping.normalized else "summed over tokens"
    weights = f"likelihoods {likelihood}, {length}" if view.groups.available else "no likelihoods, clusters by count"
    reads = "question and answer" if view.prepended and view.subject.question else "answers alone"
    return (
        f"{len(view.answers)} answers · entailment by {as_written(view.entailment_model)} on {reads} · rule "
        f"{grouping.rule}, {grouping.assignment} · {weights}"
    )


def _headline(view: View) -> str:
    k, n = len(view.groups.probabilities), len(view.answers)
    value = view.groups.semantic_entropy
    if k == 1:
        return f"All {n} answers mean the same: semantic entropy **{number(value)} nats**."
    share = float(view.groups.probabilities.max())
    return (
        f"{n} answers have **{k} meanings**; the likeliest carries {share:.0%}. Semantic entropy "
        f"**{number(value)} nats** of at most ln {n} = {number(math.log(n))}."
    )


def _bar(row: MeasureRow) -> str:
    if not row.measured or math.isinf(row.high) or row.high <= row.low:
        return ""
    full = round(_BLOCKS * (row.value - row.low) / (row.high - row.low))
    return "▰" * min(_BLOCKS, max(0, full)) + "▱" * (_BLOCKS - min(_BLOCKS, max(0, full)))
