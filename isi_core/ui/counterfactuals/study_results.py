"""What human studies of a ranking say so far: the paper's Tables 2 and 3, and every answer as a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import streamlit as st

from isi_core.reports.counterfactual_studies import answers_csv, chosen_rows, rated_rows
from isi_core.reports.run_tables import csv_bytes
from isi_core.studies.counterfactuals.human_answers import Answer, chosen, rated
from isi_core.ui import frame
from isi_core.ui.counterfactuals.kept import Kept
from isi_core.ui.wording import cells_as_written


def show(answers: Sequence[Answer], made: Kept, files: bool) -> None:
    """The tables; with `files` also the downloads, which hold each answer and what is right."""
    ratings, right = rated(answers), chosen(answers)
    with st.expander(f"Results so far: {len(answers)} answers", icon=":material/bar_chart:", expanded=True):
        if not answers:
            st.caption("No answers yet. The tables appear here with the first one.")
            return
        if ratings:
            st.markdown("**Edit quality and disentanglement** (the paper's Table 2)")
            st.table(cells_as_written(rated_rows(ratings)), border="horizontal")
            st.caption("Means of 1 to 5 with 95 % bootstrap intervals over the ratings.")
        if right:
            st.markdown("**Which attribute?** (the paper's Table 3)")
            st.table(cells_as_written(chosen_rows(right)), border="horizontal")
            st.caption(
                "Share of answers that named the right attribute of four, Wilson's 95 % interval; chance is 25 %."
            )
        if files:
            _downloads(answers, made)


def _downloads(answers: Sequence[Answer], made: Kept) -> None:
    ratings, right = rated(answers), chosen(answers)
    files: list[tuple[str, Callable[[], bytes], str]] = [("Answers as CSV", partial(answers_csv, answers), "answers")]
    if ratings:
        files.append(("Table 2 as CSV", lambda: csv_bytes(rated_rows(ratings)), "table_2"))
    if right:
        files.append(("Table 3 as CSV", lambda: csv_bytes(chosen_rows(right)), "table_3"))
    frame.downloads(
        [frame.Download(label, f"{name}_{made.key[:8]}.csv", f"study_{name}", make) for label, make, name in files],
        tertiary=True,
    )
