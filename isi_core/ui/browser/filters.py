"""Which observations are looked at, in which order; and slices, filters that were given a name."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.studies.slices import (
    AGREEMENTS,
    FLIPS,
    Slice,
    delete_slice,
    measure_of,
    save_slice,
    saved_slices,
    slice_words,
)
from isi_core.studies.trials import CONTEXT_KINDS, IMAGE_KINDS
from isi_core.ui.bound import filter_part, guarded, shown
from isi_core.ui.browser.desk import ORDERS, Desk, View
from isi_core.ui.wording import as_written

_OUTCOMES = ("right", "wrong", "unclear", "not judged", "not asked")
_RANGES = {
    "semantic_entropy": "Semantic entropy (nats)",
    "attention_image": "Attention on the image (share)",
    "attention_context": "Attention on the context (share)",
    "attention_question": "Attention on the question (share)",
}


def show(desk: Desk, view: View) -> None:
    """Search, filters, order, and the slices."""
    now = desk.filter
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="browser_filters"):
        st.text_input(
            "Search",
            key="browser_words",
            on_change=shown(desk, "browser_words", now.words, filter_part(desk, "words")),
            placeholder="Words of the question, contexts or picture",
            icon=":material/search:",
            width=300,
        )
        families = sorted({o.family for o in view.dataset.observations if o.family} | set(now.families))
        if families:
            st.multiselect(
                "Family",
                families,
                key="browser_families",
                on_change=shown(desk, "browser_families", list(now.families), filter_part(desk, "families")),
                placeholder="All families",
                width=240,
            )
        st.pills(
            "Truth",
            ["yes", "no", "unknown"],
            selection_mode="multi",
            key="browser_truths",
            on_change=shown(desk, "browser_truths", list(now.truths), filter_part(desk, "truths")),
        )
        with st.popover("What runs say", icon=":material/rule:" if not now.needs_runs else ":material/filter_alt:"):
            _by_runs(desk, view)
        with st.popover("Slices", icon=":material/bookmark:"):
            _slices(desk)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="browser_order"):
        count = f"**{len(view.observations):,}** of {len(view.dataset):,} observations"
        named = f" · slice **{as_written(desk.slice_name)}**" if desk.slice_name else ""
        st.markdown(f"{count}{named} · {as_written(slice_words(now))}", width="stretch")
        if replace(now, model="", image="natural", context="none") != Slice():
            st.button("Clear", key="browser_clear", icon=":material/close:", on_click=partial(_clear, desk))
        _order(desk)


def _clear(desk: Desk) -> None:
    desk.narrow(Slice(model=desk.filter.model))
    desk.error = ""


def _order(desk: Desk) -> None:
    def put(value: str) -> None:
        desk.order, desk.page = value, 0

    def turn(value: bool) -> None:
        desk.descending, desk.page = value, 0

    def lay(value: str | None) -> None:
        desk.layout = value or desk.layout

    st.selectbox(
        "Order",
        list(ORDERS),
        key="browser_by",
        on_change=shown(desk, "browser_by", desk.order, put),
        label_visibility="collapsed",
        width=220,
    )
    st.toggle(
        "Descending", key="browser_descending", on_change=shown(desk, "browser_descending", desk.descending, turn)
    )
    st.segmented_control(
        "Layout",
        ["Gallery", "Table"],
        key="browser_layout",
        on_change=shown(desk, "browser_layout", desk.layout, lay),
        label_visibility="collapsed",
    )


def _by_runs(desk: Desk, view: View) -> None:
    now = desk.filter
    if not view.models:
        st.caption(
            "No stored runs on this dataset yet: ask a model on *VQA Interventions*, or start a sweep. Then "
            "observations can be filtered and sorted by verdict, entropy and attention."
        )
        return
    st.caption("Filter and sort by what a model's stored runs under one preset say; drawings and edits do not count.")
    st.selectbox(
        "Model",
        view.models,
        key="browser_model",
        on_change=shown(desk, "browser_model", now.model, filter_part(desk, "model")),
    )
    left, right = st.columns(2)
    left.selectbox(
        "Picture",
        IMAGE_KINDS,
        key="browser_image",
        on_change=shown(desk, "browser_image", now.image, filter_part(desk, "image")),
    )
    right.selectbox(
        "Context",
        CONTEXT_KINDS,
        key="browser_context",
        on_change=shown(desk, "browser_context", now.context, filter_part(desk, "context")),
    )
    st.pills(
        "Outcome",
        _OUTCOMES,
        selection_mode="multi",
        key="browser_outcomes",
        on_change=shown(desk, "browser_outcomes", list(now.outcomes), filter_part(desk, "outcomes")),
    )
    st.pills(
        "Verdict",
        ["yes", "no", "unclear"],
        selection_mode="multi",
        key="browser_verdicts",
        on_change=shown(desk, "browser_verdicts", list(now.verdicts), filter_part(desk, "verdicts")),
    )
    st.selectbox(
        "The contradictory context",
        FLIPS,
        key="browser_flips",
        format_func=lambda f: "any effect" if f == "any" else f"{f} the answer",
        on_change=shown(desk, "browser_flips", now.flips, filter_part(desk, "flips")),
        help="Compares the verdicts on the natural picture without context and with the contradictory one",
    )
    if len(view.models) > 1:
        st.selectbox(
            "Between models",
            AGREEMENTS,
            key="browser_agreement",
            format_func=lambda a: "agreement or not" if a == "any" else a,
            on_change=shown(desk, "browser_agreement", now.agreement, filter_part(desk, "agreement")),
            help="Some of the models that were asked say yes under this preset, some no",
        )
    for name, label in _RANGES.items():
        _range(desk, view, name, label)


def _range(desk: Desk, view: View, name: str, label: str) -> None:
    now = desk.filter
    runs = [seen.run(now.image, now.context) for seen in view.observed.values()]
    known = [value for value in (measure_of(run, name) for run in runs) if value is not None]
    if not known:
        return
    ends = (0.0, max(0.01, round(max(known) + 0.005, 2)) if name == "semantic_entropy" else 1.0)
    chosen = next(((low, high) for kept, low, high in now.ranges if kept == name), ends)
    chosen = (min(max(chosen[0], ends[0]), ends[1]), min(max(chosen[1], ends[0]), ends[1]))

    def put(value: tuple[float, float]) -> None:
        others = tuple(r for r in desk.filter.ranges if r[0] != name)
        desk.narrow(replace(desk.filter, ranges=others if tuple(value) == ends else (*others, (name, *value))))

    key = f"browser_range_{name}"
    st.slider(label, *ends, key=key, step=0.01, on_change=shown(desk, key, chosen, put))


def _slices(desk: Desk) -> None:
    try:
        slices = {name: kept for name, (_, kept) in saved_slices(desk.dataset_name).items()}
    except StudioError as error:
        st.error(as_written(str(error)))
        return
    st.caption("A slice is a filter with a name; it is kept, and sweeps and charts can be asked for it.")
    name = st.text_input("Name", key="browser_slice_name", placeholder="red herrings")
    st.button(
        "Save this filter",
        key="browser_slice_save",
        icon=":material/bookmark_add:",
        on_click=partial(guarded, desk, _save, desk, name),
        disabled=not name.strip(),
    )
    for number, (known, kept) in enumerate(slices.items()):
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            st.button(
                as_written(known, 40),
                key=f"browser_slice_{number}",
                on_click=partial(guarded, desk, desk.narrow, kept, known),
                help=as_written(slice_words(kept)),
                width="stretch",
            )
            st.button(
                "",
                icon=":material/delete:",
                key=f"browser_slice_delete_{number}",
                help="Delete this slice",
                on_click=partial(guarded, desk, _delete, desk, known),
            )
    if not slices:
        st.caption("None of this dataset yet.")


def _save(desk: Desk, name: str) -> None:
    save_slice(name, desk.dataset_name, desk.filter)
    desk.slice_name = " ".join(name.split())
    desk.said = f"The slice {desk.slice_name} is kept."


def _delete(desk: Desk, name: str) -> None:
    delete_slice(name)
    if desk.slice_name == name:
        desk.slice_name = ""
