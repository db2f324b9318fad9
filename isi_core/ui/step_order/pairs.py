"""The pairs themselves: statistics, words of the titles, and cards with both pictures and both headlines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from isi_core.datasets.step_pictures import open_images
from isi_core.datasets.step_statistics import CategoryCount, TitleWords
from isi_core.domain.errors import InputError
from isi_core.domain.step_pairs import PairSplits, StepPair
from isi_core.reports.figures import thumbnail
from isi_core.reports.order_figures import words_figure
from isi_core.ui import frame, resources
from isi_core.ui.wording import as_written

_SIDE = 220


def statistics(rows: Sequence[CategoryCount], words: TitleWords, splits: PairSplits) -> None:
    """Table and bars."""
    import pandas

    st.markdown("**Pairs of each category** · half of them reversed, no article in two splits")
    table = [
        {
            "category": as_written(row.category),
            "decided by": row.kind or "–",
            "titles": f"{row.titles:,}",
            "training": f"{row.train:,}",
            "validation": f"{row.validation:,}",
            "test": f"{row.test:,}",
            "words a headline": f"{row.headline_words:.1f}",
        }
        for row in rows
    ]
    st.table(pandas.DataFrame(table).set_index("category"))
    frame.figure(words_figure(words), "order_words")
    if splits.problems:
        with st.expander(f"{len(splits.problems):,} things to know about these articles", icon=":material/warning:"):
            for problem in splits.problems[:40]:
                st.markdown(f"- {as_written(problem, 400)}")
            if len(splits.problems) > 40:
                st.caption(f"and {len(splits.problems) - 40:,} more")


def card(pair: StepPair, said: Sequence[tuple[str, str]] = ()) -> None:
    """A pair as the models saw it; `said` are names and words of what they made of it."""
    with st.container(border=True):
        order = "in order" if pair.label else "reversed"
        st.markdown(f"**{as_written(pair.title, 90)}** · {as_written(pair.category, 40)}")
        try:
            pictures = open_images(pair)
        except InputError as error:
            st.warning(as_written(str(error)), icon=":material/warning:")
            pictures = None
        for number, column in enumerate(st.columns(2)):
            with column:
                if pictures is not None:
                    st.image(resources.png(_large(pictures[number])), width="stretch")
                st.markdown(f"{number + 1}. {as_written(pair.headlines[number], 160)}")
        st.caption(f"Truth: {order}" + "".join(f" · {as_written(name)}: {as_written(words)}" for name, words in said))


def _large(picture: Any) -> Any:
    """A small picture enlarged, so that the browser need not blur it."""
    from PIL import Image

    shown = thumbnail(picture, 2 * _SIDE)
    if max(shown.size) >= _SIDE:
        return shown
    scale = 2 * _SIDE / max(shown.size)
    return shown.resize((round(shown.width * scale), round(shown.height * scale)), Image.Resampling.LANCZOS)
