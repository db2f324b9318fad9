"""A CSV of scores from elsewhere: its AUC with both intervals, by task and layer; nothing is run."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from isi_core.domain.errors import InputError, StudioError
from isi_core.ui.failure import figures
from isi_core.ui.wording import as_written

if TYPE_CHECKING:
    from isi_core.reports.failure_panels import Panel
    from isi_core.studies.failure.score_table import TableScore

_KEY = "failure_scores_kept"
MOST_BYTES = 200_000_000


@dataclass(frozen=True)
class Kept:
    """An uploaded file as the session keeps it: uploaded files vanish when the page is left."""

    name: str
    digest: str
    raw: bytes


def read(name: str, raw: bytes) -> list[TableScore]:
    """The scores of an uploaded file.

    Raises
    ------
    InputError : it is too large, or no such table; the message names the upload.
    """
    from isi_core.studies.failure.score_table import score_table

    if len(raw) > MOST_BYTES:
        raise InputError(f"{name} has more than {MOST_BYTES // 1_000_000} MB: split it by task.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.csv"
        path.write_bytes(raw)
        try:
            return score_table(path)
        except InputError as error:
            raise InputError(str(error).replace(str(path), name)) from None


@st.cache_resource(show_spinner="Resampling the scores", max_entries=4)
def _read(digest: str, name: str, _raw: bytes) -> list[TableScore]:
    return read(name, _raw)


def show() -> None:
    """The drop zone, and what the file says."""
    st.caption(
        "A CSV with the columns `task`, `layer`, `label` (1: the model was right, 0: it failed) and `score` (higher: "
        "more likely right), one row a test case. The published `predictions.csv` has this form."
    )
    file = st.file_uploader("Scores (CSV)", type=["csv"], key="failure_scores_file")
    if file is not None:
        raw = file.getvalue()
        st.session_state[_KEY] = Kept(Path(file.name).name[:80], hashlib.sha256(raw).hexdigest(), raw)
    kept: Kept | None = st.session_state.get(_KEY)
    if kept is None:
        return
    try:
        found = _read(kept.digest, kept.name, kept.raw)
    except StudioError as error:
        st.error(as_written(str(error)), icon=":material/error:")
        return
    from isi_core.reports.failure_panels import layer_figure

    st.markdown(f"**{as_written(kept.name)}** · {len(found)} task and layer pairs")
    for sentence in sentences(found):
        st.markdown(f"- {as_written(sentence)}")
    panels = panels_of(found)
    for start in range(0, len(panels), 2):
        for column, panel in zip(st.columns(2, gap="large"), panels[start : start + 2], strict=False):
            with column:
                figures.show(
                    layer_figure([panel], f"failure_scores_{_file_part(panel.title)}"), f"scores_{panel.title[:40]}"
                )
    st.dataframe(rows(found), hide_index=True, width="stretch", key="failure_scores_table")
    st.caption(
        "DeLong: an analytic interval (mid-ranks for ties). Bootstrap: 20,000 resamples within each class. Both at "
        "99.9 %, as in the paper; where they differ by more than 0.01 trust neither before looking at the scores."
    )
    st.download_button(
        "CSV: both intervals",
        data=lambda: csv_of(found),
        file_name="failure_score_intervals.csv",
        mime="text/csv",
        icon=":material/table:",
        key="failure_scores_csv",
        on_click="ignore",
    )


def _file_part(task: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in task)[:40]


def panels_of(found: list[TableScore]) -> list[Panel]:
    """A panel a task, in the order they occur."""
    from isi_core.reports.failure_panels import LayerPoint, Panel

    return [
        Panel(task, tuple(LayerPoint("scores", s.layer, s.delong) for s in found if s.task == task))
        for task in dict.fromkeys(s.task for s in found)
    ]


def sentences(found: list[TableScore]) -> list[str]:
    """What the intervals of each task say of chance."""
    said = []
    for task in dict.fromkeys(s.task for s in found):
        own = [s for s in found if s.task == task]
        above = [s.layer for s in own if s.delong.bounded and s.delong.low > 0.5]
        below = [s.layer for s in own if s.delong.bounded and s.delong.high < 0.5]
        if len(above) == len(own):
            words = "at every layer the interval excludes 0.5: failure can be foreseen, if only a little"
        elif above:
            words = f"at layer {', '.join(above)} the interval excludes 0.5; elsewhere it includes it"
        elif below:
            words = "nowhere above 0.5"
        else:
            words = "at every layer the interval includes 0.5: no evidence that failure can be foreseen"
        if below:
            words += f"; at layer {', '.join(below)} it lies below 0.5, the wrong way round"
        degenerate = next((s.degenerate for s in own if s.degenerate), "")
        said.append(f"{task}: {words}." + (f" {degenerate}" if degenerate else ""))
    return said


def rows(found: list[TableScore]) -> list[dict[str, Any]]:
    """The table to read."""
    from isi_core.reports.failure_panels import interval_words
    from isi_core.reports.failure_words import about_chance
    from isi_core.reports.wording import number

    return [
        {
            "task": s.task,
            "layer": s.layer,
            "cases": s.n,
            "AUC": number(s.delong.estimate),
            "DeLong 99.9 %": interval_words(s.delong),
            "bootstrap 99.9 %": interval_words(s.bootstrap),
            "says": s.degenerate or about_chance(s.delong),
        }
        for s in found
    ]


def csv_of(found: list[TableScore]) -> bytes:
    """The same for a spreadsheet, in full precision."""
    from isi_core.reports.run_tables import csv_bytes

    return csv_bytes([s.to_json() for s in found])
