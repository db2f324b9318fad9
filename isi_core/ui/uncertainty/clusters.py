"""The clusters: as bars, as a table, as a matrix of entailments; and moving an answer by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd
import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.measures.answer_groups import as_uncertainty
from isi_core.measures.answer_map import answer_map
from isi_core.measures.clustering import moved
from isi_core.measures.semantic_entropy import answer_weights
from isi_core.models.entailment.protocol import ENTAILMENT
from isi_core.reports import charts, uncertainty_figures
from isi_core.reports.charts import Figure
from isi_core.reports.uncertainty_map import map_figure
from isi_core.reports.uncertainty_tables import ClusterRow
from isi_core.reports.wording import number, one_line
from isi_core.ui import frame
from isi_core.ui.uncertainty.desk import Desk, View
from isi_core.ui.wording import as_written


def cluster_rows(view: View) -> list[ClusterRow]:
    """Every cluster with its answers' texts, the most frequent first."""
    shares = view.groups.shares
    texts: list[Counter[str]] = [Counter() for _ in shares]
    for answer, cluster in zip(view.answers.samples, view.groups.ids, strict=True):
        texts[cluster][answer.text] += 1
    return [
        ClusterRow(float(p), float(share), tuple(counted.most_common()))
        for p, share, counted in zip(view.groups.probabilities, shares, texts, strict=True)
    ]


def cluster_figure(view: View) -> Figure:
    """The clusters as bars."""
    settings = UncertaintySettings(view.grouping.rule, view.grouping.likelihood, view.entailment_model)
    return charts.cluster_figure(as_uncertainty(view.answers, view.groups, settings))


def answers_map(desk: Desk, view: View) -> Figure:
    """The answers laid out in the plane, once for a view."""
    return desk.computed(("map", view.key), lambda: map_figure(answer_map(view.answers, view.groups)))


def show(desk: Desk, view: View) -> None:
    """Clusters and a map of the answers on the left, how they imply each other on the right."""
    st.divider()
    with st.container(key="stack_uncertainty_clusters"):
        left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Clusters", anchor=False)
        _table(view)
        with st.expander("Every answer with its likelihood", icon=":material/table_rows:"):
            _answers(view)
        _by_hand(desk, view)
        with st.expander("As a chart", icon=":material/bar_chart:"):
            frame.figure(cluster_figure(view), "uncertainty_clusters")
        st.subheader("Map of the answers", anchor=False)
        if len(set(view.answers.texts)) < 2:
            st.caption("All answers have the same words: there is nothing to lay out.")
        else:
            with st.container(width=620):  # wider, a distance across would look longer than the same one upwards
                frame.figure(answers_map(desk, view), "uncertainty_map")
    with right:
        st.subheader("Who implies whom", anchor=False)
        if odd := _odd(view):
            st.warning(odd, icon=":material/warning:")
        frame.figure(uncertainty_figures.entailment_figure(view.answers, view.groups.ids), "uncertainty_matrix")


def _odd(view: View) -> str:
    """A warning where the entailment model does not take an answer to imply its own words."""
    first: dict[str, int] = {}
    for i, text in enumerate(view.answers.texts):
        if text in first and view.answers.implications[first[text], i] != ENTAILMENT:
            return (
                f"{as_written(view.entailment_model)} does not take “{as_written(text, 60)}” to imply itself: the "
                "answers lie outside of what it knows. Choose a larger entailment model, or move answers by hand."
            )
        first.setdefault(text, i)
    return ""


def _table(view: View) -> None:
    rows = [
        {
            "cluster": place,
            "probability": row.probability,
            "share of answers": row.share,
            "answers": "; ".join(f"{one_line(text, 80) or '(empty answer)'} ({count}×)" for text, count in row.texts),
        }
        for place, row in enumerate(cluster_rows(view), start=1)
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key="uncertainty_table",
        column_config={
            "cluster": st.column_config.NumberColumn(width=60),
            "probability": _bar(110, "By likelihood; all of them sum to 1"),
            "share of answers": _bar(120, "By count; all of them sum to 1"),
            "answers": st.column_config.TextColumn(width="large"),
        },
    )
    weighed = "by likelihood" if view.groups.available else "by count, since these answers have no likelihoods"
    st.caption(
        f"One row a meaning: *probability* weighs its answers {weighed}, *share* counts them. Where the two part, "
        "likely wordings were drawn rarely or unlikely ones often."
    )


def _answers(view: View) -> None:
    """One row an answer, by cluster, with the weight that it brings to it."""
    weights = answer_weights(view.groups.log_likelihoods)
    rows = [
        {
            "cluster": view.groups.ids[i] + 1,
            "answer": one_line(answer.text, 200) or "(empty answer)",
            "weight": float(weights[i]),
            "log-likelihood": float(view.groups.log_likelihoods[i]) if view.groups.available else None,
        }
        for i, answer in enumerate(view.answers.samples)
    ]
    rows.sort(key=lambda row: (row["cluster"], -float(str(row["weight"]))))
    unit = "nats per token" if view.grouping.normalized else "nats"
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key="uncertainty_every_answer",
        column_config={
            "cluster": st.column_config.NumberColumn(width=60),
            "weight": _bar(110, "exp of the log-likelihood, scaled so that all answers sum to 1"),
            "log-likelihood": st.column_config.NumberColumn(f"log-likelihood ({unit})", format="%.3f"),
        },
    )


def _bar(width: int, words: str) -> Any:
    return st.column_config.ProgressColumn(width=width, help=words, format="%.3f", min_value=0.0, max_value=1.0)


def _by_hand(desk: Desk, view: View) -> None:
    """Disagree with the entailment model: put an answer elsewhere and see every measure follow."""
    ids = view.groups.ids
    clusters = max(ids) + 1
    names = {
        i: f"{i + 1}. {one_line(a.text, 60) or '(empty answer)'} (cluster {ids[i] + 1})"
        for i, a in enumerate(view.answers.samples)
    }
    targets = {k: f"cluster {k + 1}" if k < clusters else "a cluster of its own" for k in range(clusters + 1)}

    def move() -> None:
        answer, target = st.session_state["uncertainty_move_answer"], st.session_state["uncertainty_move_target"]
        try:
            desk.move(view, moved(ids, answer, target))
            desk.error = ""
        except StudioError as error:
            desk.error = str(error)

    def reset() -> None:
        desk.move(view, None)

    label = "Move an answer by hand" + (" · changed" if view.by_hand else "")
    with st.expander(label, icon=":material/swap_horiz:", expanded=view.by_hand):
        answer, target = st.columns([3, 2])
        if st.session_state.get("uncertainty_move_answer", 0) not in names:
            st.session_state["uncertainty_move_answer"] = 0
        if st.session_state.get("uncertainty_move_target", 0) not in targets:
            st.session_state["uncertainty_move_target"] = 0
        answer.selectbox("Answer", list(names), key="uncertainty_move_answer", format_func=lambda i: names.get(i, ""))
        target.selectbox("To", list(targets), key="uncertainty_move_target", format_func=lambda k: targets.get(k, ""))
        with st.container(horizontal=True, gap="small"):
            st.button("Move", key="uncertainty_move", on_click=move, icon=":material/drive_file_move:")
            st.button(
                "Reset", key="uncertainty_reset", on_click=reset, disabled=not view.by_hand, icon=":material/undo:"
            )
        if view.by_hand:
            ruled = desk.ruled(view)
            st.caption(
                f"By the rule alone: {len(ruled.probabilities)} clusters, semantic entropy "
                f"{number(ruled.semantic_entropy)} nats; by hand {len(view.groups.probabilities)} and "
                f"{number(view.groups.semantic_entropy)}. Measures of the entailment graph do not look at clusters and "
                "stay."
            )
        else:
            st.caption("The entailment model may be wrong: move an answer and every measure of clusters follows.")
