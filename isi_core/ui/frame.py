"""What every page has in common: its heading, its style sheet, its provenance line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from isi_core.domain.evaluation import Evaluation
from isi_core.reports import wording
from isi_core.reports.charts import Figure, figure_png, figure_svg
from isi_core.ui.wording import as_written

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ROOT / "assets"
_FRAMED = "studio_frame"
_MIMES = {
    ".pdf": "application/pdf",
    ".csv": "text/csv",
    ".zip": "application/zip",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


def pages(home: Callable[[], None]) -> list[Any]:
    """Every page in the order of the menu, without icons, so that all fit; `home` draws the landing page."""
    return [
        st.Page(home, title="Home", default=True, url_path="home"),
        st.Page(ROOT / "pages/1_VQA_Interventions.py", title="VQA Interventions"),
        st.Page(ROOT / "pages/2_Semantic_Uncertainty.py", title="Semantic Uncertainty"),
        st.Page(ROOT / "pages/3_Counterfactual_Ranking.py", title="Counterfactual Ranking"),
        st.Page(ROOT / "pages/4_Dataset_Browser.py", title="Dataset Browser"),
        st.Page(ROOT / "pages/5_Failure_Prediction.py", title="Failure Prediction"),
        st.Page(ROOT / "pages/6_Step_Order.py", title="Step Order"),
        st.Page(ROOT / "pages/7_Run_History.py", title="Run History"),
    ]


def around(home: Callable[[], None]) -> Any:
    """The frame around every page: logo, menu, wide layout; returns the page to run."""
    st.session_state[_FRAMED] = True
    st.set_page_config(page_title="ISI Studio", page_icon=str(ASSETS / "icon.svg"), layout="wide")
    st.logo(str(ASSETS / "logo.svg"), icon_image=str(ASSETS / "logo.svg"), size="large")
    return st.navigation(pages(home), position="top")


def ensure() -> None:
    """Every page's first line: have it run inside the frame.

    A server whose very first visitor follows a link to a page runs the page by itself, since it has
    not yet heard of the frame; telling it once is enough.
    """
    if not st.session_state.get(_FRAMED):
        from isi_core.ui import home

        around(home.show)
        st.rerun()


def heading(title: str, question: str) -> None:
    """A page's title and the one line that says what question it answers."""
    st.html(ASSETS / "studio.css")
    st.title(title, anchor=False)
    st.caption(question)


def provenance(evaluation: Evaluation) -> None:
    """The line that says exactly where a result comes from."""
    st.caption(as_written(wording.provenance(evaluation)))


def verdict_badge(evaluation: Evaluation) -> None:
    """Right, wrong or unclear, as a word and a sign beside the colour."""
    judged = wording.judgement(evaluation)
    colours: dict[str, Any] = {"right": "green", "wrong": "orange"}
    icons = {"right": ":material/check_circle:", "wrong": ":material/cancel:", "unclear": ":material/help:"}
    icon = icons.get(judged.word, ":material/remove:")
    st.badge(judged.word, icon=icon, color=colours.get(judged.word, "gray"))


_AXIS_PIXELS = 58


def chart(made: Figure, key: str, selects: bool = False) -> Any:
    """A chart and how to read it; where it `selects`, what was picked of it (Streamlit's event)."""
    shown = made.chart
    if isinstance(getattr(shown, "height", None), (int, float)):
        # Stretched to the page's width, a chart's height comes to include its axis.
        shown = shown.properties(height=shown.height + _AXIS_PIXELS)
    event = st.altair_chart(shown, width="stretch", key=f"chart_{key}", on_select="rerun" if selects else "ignore")
    st.caption(as_written(made.reading))
    return event if selects else None


@dataclass(frozen=True)
class Download:
    """A file that a page offers; `make` is called when somebody asks for it, never in the page's run."""

    label: str
    file: str
    key: str
    make: Callable[[], bytes]
    icon: str = "table"
    help: str | None = None


def downloads(files: Sequence[Download], tertiary: bool = False) -> None:
    """Buttons in a row, a file each; `tertiary` ones stand back behind what they belong to."""
    with st.container(horizontal=True, gap="small"):
        for file in files:
            st.download_button(
                file.label,
                data=file.make,
                file_name=file.file,
                mime=_MIMES[Path(file.file).suffix],
                key=file.key,
                icon=f":material/{file.icon}:",
                help=file.help,
                type="tertiary" if tertiary else "secondary",
                on_click="ignore",
            )


def figure(made: Figure, key: str, selects: bool = False, table: Callable[[], bytes] | None = None) -> Any:
    """A chart, how to read it, and its downloads; where it `selects`, what was picked of it.

    `table` makes the CSV of its numbers.
    """
    event = chart(made, key, selects)
    files: list[tuple[str, Callable[[], bytes]]] = [
        ("PNG", partial(figure_png, made)),
        ("SVG", partial(figure_svg, made)),
        *([("CSV", table)] if table is not None else []),
    ]
    downloads(
        [Download(kind, f"{made.name}.{kind.lower()}", f"{kind}_{key}", make, "download") for kind, make in files],
        tertiary=True,
    )
    return event
