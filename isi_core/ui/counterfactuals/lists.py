"""A ranking in rows: by itself as the paper's Table A, and beside another classifier's or method's as its Table 1."""

from __future__ import annotations

from functools import partial

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.reports.counterfactual_figures import unit_of
from isi_core.reports.counterfactual_report import agreement_words
from isi_core.reports.counterfactual_tables import (
    RankedList,
    agreement,
    beside_rows,
    read_ranked_list,
    top_rows,
)
from isi_core.reports.run_tables import csv_bytes
from isi_core.ui.bound import bound, guarded
from isi_core.ui.counterfactuals import kept
from isi_core.ui.counterfactuals.desk import Desk
from isi_core.ui.counterfactuals.kept import Kept
from isi_core.ui.wording import as_written, cells_as_written

_MOST_ROWS = 40


def compare(desk: Desk, made: Kept) -> None:
    """The top ten of two rankings side by side, and how far the two agree."""
    others = {entry.key: f"{entry.title} · {entry.key[:8]}" for entry in kept.entries() if entry.key != made.key}
    options = ["", *others, *(["list"] if desk.listed is not None else [])]
    if desk.other not in options:
        desk.other = ""

    def words(key: str) -> str:
        if key == "list" and desk.listed is not None:
            return f"{desk.listed.name} (imported)"
        return others.get(key, "choose …")

    st.selectbox("Beside", options, **bound(desk, "other"), format_func=words)
    st.file_uploader(
        "Or import a ranked list: JSON of `rank --json`, or one attribute a line with its score, best first",
        type=["csv", "txt", "json", "tsv"],
        key="ranking_list_file",
        on_change=partial(_import_list, desk, made),
    )
    second = other_list(desk)
    if second is None:
        st.info(
            "Choose another ranking (a second classifier), or import the list of another method, to see both top tens "
            "side by side, as in the paper's Table 1.",
            icon=":material/lightbulb:",
        )
        return
    first = RankedList.of(made.result, made.title)
    rows = beside_rows(first, second)
    st.table(cells_as_written(rows), border="horizontal")
    st.caption(as_written(agreement_words(agreement(first, second))))
    _csv("Table 1 as CSV", csv_bytes(rows), "table_1.csv")


def other_list(desk: Desk) -> RankedList | None:
    """What the ranking is compared with; None where nothing is chosen."""
    if desk.other == "list":
        return desk.listed
    if not desk.other:
        return None
    try:
        other = desk.computed(("other", desk.other), lambda: kept.load(desk.other))
    except StudioError:
        return None
    return RankedList.of(other.result, other.title)


def _import_list(desk: Desk, made: Kept) -> None:
    file = st.session_state.get("ranking_list_file")
    if file is None:
        return

    def read() -> None:
        known = made.result.corpus.attributes()
        desk.listed = read_ranked_list(file.getvalue(), file.name, known)
        desk.other = "list"

    guarded(desk, read)


def show(desk: Desk, made: Kept) -> None:
    """The strongest attributes, those set apart, the pictures that changed class, the steps of the search."""
    rows = top_rows(made.result, _MOST_ROWS)
    if rows:
        # One sign for all: said below, where a column would push the others out of sight.
        shown = [{key: value for key, value in row.items() if key != "edit"} for row in rows]
        st.dataframe(shown, hide_index=True, width="stretch", key="ranking_table")
        checked = (
            "*done*: share of the edits whose attribute is read afterwards as it should be; *SSIM*: how alike the "
            "picture stayed outside the edited region (1: the same); *drift*: share of other attributes that came or "
            "went. "
        )
        st.caption(
            f"Attributes were {rows[0]['edit']}. Influence and signed mean in {unit_of(made.result)}; the first ten "
            f"are the paper's Table A. {checked if 'done' in rows[0] else ''}"
            f"{'The CSV has all.' if len(made.result.ranking) > _MOST_ROWS else ''}"
        )
        _csv("Table A as CSV", csv_bytes(top_rows(made.result)), "table_a.csv")
    if made.result.apart:
        with st.expander(f"Set apart: {len(made.result.apart)} attributes whose edits mostly were flagged"):
            st.dataframe(
                [
                    {
                        "attribute": found.attribute.text,
                        "valid edits": f"{found.valid} of {found.images}",
                        "why": "; ".join(f"{reason} ({count})" for reason, count in found.flagged.items()),
                    }
                    for found in made.result.apart
                ],
                hide_index=True,
                width="stretch",
                key="ranking_apart",
            )
    if made.result.turned:
        with st.expander("Pictures that changed class"):
            st.dataframe(
                [
                    {
                        "from": t.source,
                        "to": t.target,
                        "edit": " and ".join(e.text for e in t.edits),
                        "pictures": f"{t.count} of {t.of}",
                    }
                    for t in sorted(made.result.turned, key=lambda t: -t.count)[:200]
                ],
                hide_index=True,
                width="stretch",
                key="ranking_turned",
            )
    if made.result.history:
        with st.expander("How the search went"):
            for line in made.result.history:
                st.markdown(f"- {as_written(line, 600)}")


def _csv(label: str, content: bytes, name: str) -> None:
    st.download_button(
        label,
        data=content,
        file_name=name,
        mime="text/csv",
        key=f"ranking_{name}",
        icon=":material/table:",
        type="tertiary",
        on_click="ignore",
    )
