"""The observations as a gallery, a page at a time, or as one table."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import streamlit as st

from isi_core.domain.observation import Observation
from isi_core.reports.wording import number
from isi_core.studies.observed import judged
from isi_core.ui import resources
from isi_core.ui.browser.desk import Desk, View
from isi_core.ui.wording import as_written

_ACROSS, _DOWN = 3, 4
_SIDE = 260
_BADGES: dict[str, tuple[str, Any]] = {
    "right": (":material/check_circle:", "green"),
    "wrong": (":material/cancel:", "orange"),
    "unclear": (":material/help:", "gray"),
}


def show(desk: Desk, view: View) -> None:
    """The gallery or the table; choosing an observation opens it."""
    if not view.dataset.observations:
        st.info("This dataset is empty: write its first observation under *Author*.", icon=":material/lightbulb:")
    elif not view.observations:
        st.info("No observation fits: take back a filter, or press *Clear*.", icon=":material/search_off:")
    elif desk.layout == "Table":
        _table(desk, view)
    else:
        _gallery(desk, view)


def _look(desk: Desk, observation: str) -> None:
    desk.current = observation


def _gallery(desk: Desk, view: View) -> None:
    each = _ACROSS * _DOWN
    last = (len(view.observations) - 1) // each
    desk.page = min(desk.page, last)
    shown = view.observations[desk.page * each : (desk.page + 1) * each]
    for start in range(0, len(shown), _ACROSS):
        columns = st.columns(_ACROSS, wrap=False)
        for column, observation in zip(columns, shown[start : start + _ACROSS], strict=False):
            with column, st.container(border=True, key=f"browser_card_{observation.row}"):
                _card(desk, view, observation)
    if last:
        _pages(desk, last)


def _card(desk: Desk, view: View, o: Observation) -> None:
    picture(o)
    st.caption(f"**{o.row}.** {as_written(o.question, 70)}")
    seen = view.observed.get(o.id)
    run = seen.run(desk.filter.image, desk.filter.context) if seen else None
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.badge(f"truth {o.truth_word}", color="gray")
        if run is not None and judged(run) in _BADGES:
            icon, colour = _BADGES[judged(run)]
            st.badge(judged(run), icon=icon, color=colour)
    st.button(
        "Looking" if desk.current == o.id else "Look",
        key=f"browser_look_{o.row}",
        on_click=partial(_look, desk, o.id),
        disabled=desk.current == o.id,
        width="stretch",
    )


def picture(o: Observation, annotated: bool = False, side: int = _SIDE) -> None:
    """A small copy of an observation's picture, or a sentence where it cannot be shown."""
    from isi_core.domain.errors import StudioError

    path = o.annotated if annotated and o.annotated is not None else o.image
    try:
        st.image(
            resources.small_picture(path, path.stat().st_mtime_ns, side), width="stretch", alt=as_written(o.question)
        )
    except (StudioError, OSError):
        st.caption(f":material/broken_image: {as_written(path.name, 60)} cannot be shown.")


def _pages(desk: Desk, last: int) -> None:
    def turn(page: int) -> None:
        desk.page = max(0, min(last, page))

    with st.container(horizontal=True, horizontal_alignment="center", vertical_alignment="center", gap="small"):
        for icon, key, to, off in (
            ("first_page", "first", 0, desk.page == 0),
            ("chevron_left", "previous", desk.page - 1, desk.page == 0),
        ):
            st.button("", icon=f":material/{icon}:", key=f"browser_{key}", on_click=partial(turn, to), disabled=off)
        st.markdown(f"page {desk.page + 1:,} of {last + 1:,}", width="content")
        for icon, key, to, off in (
            ("chevron_right", "next", desk.page + 1, desk.page == last),
            ("last_page", "last", last, desk.page == last),
        ):
            st.button("", icon=f":material/{icon}:", key=f"browser_{key}", on_click=partial(turn, to), disabled=off)


def rows(view: View, image: str, context: str) -> list[dict[str, Any]]:
    """One row an observation: what is in it, and what the model's run under a preset says."""
    made = []
    for o in view.observations:
        seen = view.observed.get(o.id)
        run = seen.run(image, context) if seen else None
        flipped = seen.flipped if seen else None
        made.append(
            {
                "row": o.row,
                "question": o.question,
                "truth": o.truth_word,
                "family": o.family,
                "answer": run.answer if run else None,
                "outcome": judged(run) if run else None,
                "entropy (nats)": run.semantic_entropy if run else None,
                "clusters": run.n_clusters if run else None,
                "image": run.attention_image if run else None,
                "context": run.attention_context if run else None,
                "words": run.attention_question if run else None,
                "flips": None if flipped is None else ("flips" if flipped else "stays"),
                "picture": o.image.name,
                "complementary": o.complementary,
                "contradictory": o.contradictory,
            }
        )
    return made


def _table(desk: Desk, view: View) -> None:
    import pandas as pd

    def make() -> tuple[pd.DataFrame, str]:
        frame = pd.DataFrame(rows(view, desk.filter.image, desk.filter.context))
        names = ",".join(o.id for o in view.observations)
        return frame.dropna(axis="columns", how="all"), hashlib.sha256(names.encode()).hexdigest()[:12]

    frame, digest = desk.once("table", (view.observations, view.observed), make)
    key = f"browser_table_{digest}"

    def choose() -> None:
        chosen: Sequence[int] = st.session_state[key].selection.rows
        if chosen:
            desk.current = view.observations[chosen[0]].id

    share = st.column_config.NumberColumn(format="%.3f", width="small")
    st.dataframe(
        frame,
        key=key,
        hide_index=True,
        height=640,
        on_select=choose,
        selection_mode="single-row",
        column_config={
            "row": st.column_config.NumberColumn(width="small", pinned=True),
            "question": st.column_config.TextColumn(width="medium"),
            "entropy (nats)": share,
            "image": st.column_config.NumberColumn("attention: image", format="%.3f"),
            "context": st.column_config.NumberColumn("attention: context", format="%.3f"),
            "words": st.column_config.NumberColumn("attention: question", format="%.3f"),
            "flips": st.column_config.TextColumn("contradiction", width="small"),
        },
    )
    st.caption(
        f"{number(float(len(view.observations)))} rows; tick one to open it. A click on a heading sorts, "
        "the corner of the table searches and downloads it as CSV."
    )
