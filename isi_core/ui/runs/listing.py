"""Which runs, in which order, as a table to tick in."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from isi_core.store.run_search import JUDGED, ORDERS, RunFilter, run_choices, runs_stamp, search_runs
from isi_core.store.runs import StoredRun
from isi_core.studies.observed import judged
from isi_core.ui import resources
from isi_core.ui.bound import filter_part, shown
from isi_core.ui.runs.desk import EACH, MOST_COMPARED, Desk

_PARTS = {
    "datasets": "Dataset",
    "models": "Model",
    "images": "Picture",
    "contexts": "Context",
}


def show(desk: Desk) -> list[StoredRun]:
    """Filters and table; the runs that are ticked."""
    store = resources.store()
    _filters(desk)
    runs, count = search_runs(store, desk.filter, desk.order, EACH, desk.page * EACH)
    if not runs and desk.page:
        desk.page = 0
        runs, count = search_runs(store, desk.filter, desk.order, EACH)
    if not runs:
        if desk.filter == RunFilter() and not store.count():
            st.info(
                "No runs yet: press **Ask** on *VQA Interventions*, or one of the presets on *Home*. Every answer is "
                "kept here with its picture, settings and measures.",
                icon=":material/lightbulb:",
            )
        else:
            st.info("No run fits: take back a filter, or press *Clear*.", icon=":material/search_off:")
        desk.selected = []
        return []
    _table(desk, runs)
    _pages(desk, count)
    by_id = {run.id: run for run in runs}
    return [by_id[run] for run in desk.selected if run in by_id]


def _filters(desk: Desk) -> None:
    now = desk.filter
    stamp = runs_stamp(resources.store())
    if desk.shown.get("stamp") != (stamp, desk.table):
        desk.shown = {"stamp": (stamp, desk.table), "choices": run_choices(resources.store())}
    choices: dict[str, list[str]] = desk.shown["choices"]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="runs_filters"):
        st.text_input(
            "Search",
            key="runs_words",
            on_change=shown(desk, "runs_words", now.words, filter_part(desk, "words")),
            placeholder="Words of the question, answer, label, tag or note",
            icon=":material/search:",
            width=320,
        )
        st.pills(
            "Outcome",
            JUDGED,
            selection_mode="multi",
            key="runs_judged",
            on_change=shown(desk, "runs_judged", list(now.judged), filter_part(desk, "judged")),
        )
        with st.popover("More filters", icon=":material/filter_alt:"):
            for part, label in _PARTS.items():
                chosen = [value for value in getattr(now, part) if value in choices[part]]
                key = f"runs_{part}"
                st.multiselect(
                    label,
                    choices[part],
                    key=key,
                    on_change=shown(desk, key, chosen, filter_part(desk, part)),
                    placeholder="Any",
                )
            tag = now.tag if now.tag in choices["tags"] else ""
            st.selectbox(
                "Tag",
                ["", *choices["tags"]],
                key="runs_tag",
                format_func=lambda tag: tag or "any",
                on_change=shown(desk, "runs_tag", tag, filter_part(desk, "tag")),
            )
            st.pills(
                "Measured",
                ["uncertainty", "attention"],
                selection_mode="multi",
                key="runs_measured",
                on_change=shown(desk, "runs_measured", list(now.measured), filter_part(desk, "measured")),
            )
        st.selectbox(
            "Order",
            list(ORDERS),
            key="runs_order",
            on_change=shown(desk, "runs_order", desk.order, partial(_order, desk)),
            width=230,
        )
        if now != RunFilter():
            st.button("Clear", key="runs_clear", icon=":material/close:", on_click=partial(desk.narrow, RunFilter()))


def _order(desk: Desk, value: str) -> None:
    desk.order, desk.page = value, 0
    desk.select([])


def _table(desk: Desk, runs: list[StoredRun]) -> None:
    rows = [
        {
            "run": run.id,
            "made": run.created[:16].replace("T", " "),
            "observation": run.observation_id,
            "picture": run.image_kind,
            "context": run.context_kind,
            "changes": run.drawn,
            "question": run.question,
            "answer": run.answer,
            "outcome": judged(run),
            "entropy (nats)": run.semantic_entropy,
            "image": run.attention_image,
            "on context": run.attention_context,
            "model": run.model_name,
            "dataset": run.dataset,
            "label": run.label,
            "tags": run.tags,
            "note": run.note,
        }
        for run in runs
    ]
    filled = [name for name in rows[0] if any(row[name] not in (None, "", 0) for row in rows)]
    key = f"runs_table_{desk.table}"
    places = [i for i, run in enumerate(runs) if run.id in desk.selected]
    initial: Any = {"selection": {"rows": desk.shown.setdefault(key, places), "columns": [], "cells": []}}

    def choose() -> None:
        chosen = st.session_state[key].selection.rows
        desk.selected = [runs[i].id for i in chosen if i < len(runs)]
        desk.error = desk.said = ""

    share = st.column_config.NumberColumn(format="%.3f")
    st.dataframe(
        [{name: row[name] for name in filled} for row in rows],
        key=key,
        hide_index=True,
        height=min(430, 75 + 35 * len(rows)),
        on_select=choose,
        selection_mode="multi-row",
        selection_default=initial,
        column_config={
            "run": st.column_config.NumberColumn(width="small", format="%d"),
            "question": st.column_config.TextColumn(width="medium"),
            "entropy (nats)": share,
            "image": st.column_config.NumberColumn("attention: image", format="%.3f"),
            "on context": st.column_config.NumberColumn("attention: context", format="%.3f"),
        },
    )


def _pages(desk: Desk, count: int) -> None:
    last = (count - 1) // EACH

    def turn(by: int) -> None:
        desk.page = max(0, min(last, desk.page + by))
        desk.select([])

    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.caption(
            f"{count:,} runs. Tick one to see it, two to {MOST_COMPARED} to compare them; times are UTC.",
            width="stretch",
        )
        if last:
            st.button(
                "",
                icon=":material/chevron_left:",
                key="runs_previous",
                on_click=partial(turn, -1),
                disabled=desk.page == 0,
            )
            st.caption(f"page {desk.page + 1} of {last + 1}", width="content")
            st.button(
                "",
                icon=":material/chevron_right:",
                key="runs_next",
                on_click=partial(turn, 1),
                disabled=desk.page == last,
            )
