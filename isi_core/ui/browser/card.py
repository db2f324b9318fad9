"""The dataset card: what is in a dataset, and what in it would spoil a study."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import streamlit as st

from isi_core.datasets.card import DatasetCard, dataset_card
from isi_core.datasets.catalogue import BUILT_IN, import_problems, remove_dataset
from isi_core.datasets.linter import MOST_BITS, SIDE, STATES, NearDuplicate, find_leaks, near_duplicates
from isi_core.domain.errors import StudioError
from isi_core.domain.observation import Observation
from isi_core.domain.palette import RIGHT, UNCLEAR, WRONG
from isi_core.reports.chart_parts import GREY, data, finish
from isi_core.reports.charts import Figure
from isi_core.reports.run_tables import csv_bytes
from isi_core.reports.wording import number
from isi_core.ui import frame, resources
from isi_core.ui.bound import guarded
from isi_core.ui.browser.author import download
from isi_core.ui.browser.desk import BROWSE, Desk
from isi_core.ui.browser.listing import picture
from isi_core.ui.wording import as_written

_SHOWN, _LISTED = 20, 10_000
"""Pairs that are shown with their pictures, and in the table below."""
_THUMBNAIL, _THUMBNAILS = 72, 50
"""Pixels of a thumbnail, and how many a table has."""
_POLL = 0.3  # seconds


def show(desk: Desk) -> None:
    """Counts, balance, question lengths, picture sizes; then the linter and what the import left out."""
    dataset = desk.dataset
    card = desk.once("card", dataset, lambda: dataset_card(dataset))
    _counts(card)
    if card.observations:
        with st.container(key="stack_card"):
            left, right = st.columns(2, gap="large")
        with left:
            frame.figure(_balance(card), "card_balance", table=partial(csv_bytes, _balance_rows(card)))
        with right:
            frame.figure(_lengths(card), "card_lengths", table=partial(csv_bytes, _length_rows(card)))
        _sizes(card)
        _leaks(desk)
        _pairs(desk)
    _problems(desk)
    _keep_or_remove(desk)


def _counts(card: DatasetCard) -> None:
    with st.container(horizontal=True, gap="large"):
        for label, value in (
            ("Observations", card.observations),
            ("Pictures", card.pictures),
            ("Annotated", card.annotated),
            ("Complementary", card.complementary),
            ("Contradictory", card.contradictory),
            *((f"Truth {word}", count) for word, count in card.truths.items()),
        ):
            st.metric(label, f"{value:,}", width="content")


def _balance_rows(card: DatasetCard) -> list[dict[str, Any]]:
    return [
        {"family": family or "all questions", "truth": truth, "count": count}
        for (family, truth), count in card.balance.items()
    ]


def _length_rows(card: DatasetCard) -> list[dict[str, Any]]:
    return [{"words": words, "count": count} for words, count in sorted(Counter(card.question_words).items())]


def _balance(card: DatasetCard) -> Figure:
    import altair as alt

    rows = _balance_rows(card)
    families = sorted({row["family"] for row in rows}, key=str)
    colour = alt.Color(
        "truth:N",
        scale=alt.Scale(domain=["yes", "no", "unknown"], range=[RIGHT, WRONG, UNCLEAR]),
        legend=alt.Legend(title="truth", orient="top"),
    )
    bars = (
        alt.Chart(data(rows))
        .mark_bar(height={"band": 0.66})
        .encode(
            x=alt.X("count:Q", title="observations", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y(
                "family:N", title=None, axis=alt.Axis(labelLimit=160, labelOverlap=False, domain=False, ticks=False)
            ),
            color=colour,
            tooltip=["family:N", "truth:N", "count:Q"],
        )
    )
    reading = "One row a family of questions; a dataset is balanced where yes and no are equally long in every row."
    return Figure(finish(bars, 380, 34 * max(2, len(families)) + 40), reading, "balance")


def _lengths(card: DatasetCard) -> Figure:
    import altair as alt

    rows = _length_rows(card)
    bars = (
        alt.Chart(data(rows))
        .mark_bar(color=GREY)
        .encode(
            x=alt.X("words:O", title="words in the question", axis=alt.Axis(labelAngle=0, labelOverlap="greedy")),
            y=alt.Y("count:Q", title="questions", axis=alt.Axis(tickMinStep=1)),
            tooltip=["words:O", "count:Q"],
        )
    )
    mean = sum(card.question_words) / len(card.question_words)
    reading = f"How long the questions are: {number(mean)} words on average."
    return Figure(finish(bars, 380, 170), reading, "question_lengths")


def _sizes(card: DatasetCard) -> None:
    sizes = list(card.sizes.items())
    named = ", ".join(f"{w} × {h} ({count:,})" for (w, h), count in sizes[:8])
    more = f" and {len(sizes) - 8:,} more sizes" if len(sizes) > 8 else ""
    sides = [max(size) for size in card.sizes]
    span = f" The longer side has {min(sides):,} to {max(sides):,} pixels." if len(set(sides)) > 1 else ""
    missing = card.pictures - sum(card.sizes.values())
    unread = f" {missing:,} pictures cannot be read." if missing else ""
    st.markdown(f"**Picture sizes** · {named or 'none'}{more}.{span}{unread}")


def _go(desk: Desk, observation: str, pinned: str | None = None) -> None:
    desk.section, desk.current, desk.pinned = BROWSE, observation, pinned


def _leaks(desk: Desk) -> None:
    dataset = desk.dataset
    leaks = desk.once("leaks", dataset, lambda: find_leaks(dataset))
    stated = sum(leak.how == STATES for leak in leaks)
    title = f"Contexts that state the answer: {stated:,}; that use every word of the question: {len(leaks) - stated:,}"
    with st.expander(title, icon=":material/warning:" if stated else ":material/rule:"):
        st.caption(
            "A context *states the answer* when it says that it is yes or no: a model that reads need not look. One "
            "that *uses every word of the question* that carries meaning in one sentence may answer it too: read it."
        )
        if not leaks:
            return
        by_id = {o.id: o for o in dataset.observations}
        rows = [
            {
                # Thumbnails of the first ones only: they are sent with the page.
                "picture": _inline(by_id[k.observation]) if number < _THUMBNAILS else None,
                "row": k.row,
                "observation": k.observation,
                "context": k.which,
                "how": k.how,
                "sentence": k.sentence,
            }
            for number, k in enumerate(sorted(leaks, key=lambda k: k.how != STATES))
        ]
        st.dataframe(
            rows,
            hide_index=True,
            key="browser_leaks",
            row_height=_THUMBNAIL - 16,
            column_config={"picture": st.column_config.ImageColumn("picture", width="small")},
        )


def _inline(o: Observation) -> str | None:
    """A thumbnail as a data address; None where the picture cannot be shown."""
    try:
        raw = resources.small_picture(o.image, o.image.stat().st_mtime_ns, _THUMBNAIL)
    except (StudioError, OSError):
        return None
    return f"data:image/png;base64,{base64.b64encode(raw).decode()}"


def _pairs(desk: Desk) -> None:
    found = desk.pairs.get(desk.dataset_name)
    count = "" if found is None else f": {len(found):,}"
    # Its title tells the number: it is another expander then, and must come open.
    opened = found is not None or desk.job is not None
    with st.expander(f"Pictures that are nearly the same{count}", opened, icon=":material/content_copy:"):
        st.caption(
            f"Compares all pictures by a perceptual hash of {SIDE} × {SIDE} bits (pHash); pairs differ in at most "
            f"{MOST_BITS}. Copies of another size, brightness or compression are found, small crops half of the time."
        )
        if desk.job is not None:
            _watch(desk)
        elif st.button("Look for near-duplicates", key="browser_pairs", icon=":material/search:"):
            _search(desk)
            st.rerun()
        if found:
            _show_pairs(desk, found)
        elif found is not None:
            st.caption("None: every picture differs from every other.")


def _show_pairs(desk: Desk, found: Sequence[NearDuplicate]) -> None:
    by_id = {o.id: o for o in desk.dataset.observations}
    known = [pair for pair in found if pair.first in by_id and pair.second in by_id]
    for place, pair in enumerate(known[:_SHOWN]):
        with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"browser_alike_{place}"):
            for one in (pair.first, pair.second):
                with st.container(width=_THUMBNAIL):
                    picture(by_id[one], side=_THUMBNAIL)
            same = " (the same pixels)" if pair.bits == 0 and pair.levels == 0 else ""
            st.markdown(
                f"{as_written(pair.first, 60)} and {as_written(pair.second, 60)}: {pair.bits} of {SIDE * SIDE} bits, "
                f"{number(pair.levels)} grey levels apart{same}",
                width="stretch",
            )
            st.button("Side by side", key=f"browser_pair_{place}", on_click=partial(_go, desk, pair.second, pair.first))
    if len(known) > _SHOWN:
        st.caption(f"The {_SHOWN} most alike of {len(known):,}; all of them, to be sorted and downloaded:")
        rows = [{"first": p.first, "second": p.second, "bits": p.bits, "grey levels": p.levels} for p in known]
        st.dataframe(rows[:_LISTED], hide_index=True, key="browser_pairs_all")


def _search(desk: Desk) -> None:
    dataset = desk.dataset
    desk.job_dataset = desk.dataset_name
    desk.job = resources.jobs().submit(
        "near-duplicates", f"Looking for near-duplicates in {dataset.name}", partial(near_duplicates, dataset)
    )


@st.fragment(run_every=_POLL)
def _watch(desk: Desk) -> None:
    if desk.job is None:
        st.rerun()
    try:
        job = resources.jobs().get(desk.job)
    except StudioError as error:
        desk.job, desk.error = None, str(error)
        st.rerun()
    if not job.live:
        desk.job = None
        if job.state == "done" and job.result is not None:
            desk.pairs[desk.job_dataset] = job.result
        elif job.state == "failed":
            desk.error = job.error
        st.rerun()
    st.progress(min(1.0, max(0.0, job.fraction)), text=as_written(job.message or job.title))
    if st.button("Cancel", key="browser_pairs_cancel"):
        resources.jobs().cancel(job.id)


def _problems(desk: Desk) -> None:
    """What was left out or disabled, row by row: by the import, and by reading what is there now."""
    source, told = import_problems(desk.dataset_name)
    problems = [*told, *(p for p in desk.dataset.problems if p not in set(told))]
    with st.expander(f"Problems, row by row: {len(problems):,}", icon=":material/list_alt:"):
        if source:
            st.caption(f"Imported from {as_written(source, 120)}; row numbers are those of the file it came from.")
        if problems:
            st.dataframe([{"problem": p} for p in problems[:10_000]], hide_index=True, key="browser_problems")
        else:
            st.caption("None: every row, picture and context could be used.")


def _keep_or_remove(desk: Desk) -> None:
    with st.container(horizontal=True, gap="small"):
        download(desk)
        if desk.dataset_name != BUILT_IN:
            with st.popover("Delete this dataset", icon=":material/delete:"):
                st.markdown(
                    f"**{as_written(desk.dataset_name)}** with its {len(desk.dataset):,} observations is deleted for "
                    "good. Runs that were made on it stay."
                )
                st.button(
                    "Delete it",
                    key="browser_dataset_delete",
                    type="primary",
                    on_click=partial(guarded, desk, _remove, desk),
                )


def _remove(desk: Desk) -> None:
    name = desk.dataset_name
    remove_dataset(name)
    desk.open_dataset(BUILT_IN)
    desk.said = f"{name} was deleted."
