"""The modality gap: both clouds before and after fine-tuning, in the same axes, for all categories or one."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from isi_core.reports.order_gap_figures import gap_figure, gap_lengths_figure, gap_of
from isi_core.reports.order_shift_figures import shift_figure
from isi_core.reports.order_tables import shift_csv
from isi_core.reports.order_words import shift_sentences
from isi_core.reports.wording import number
from isi_core.studies.step_order.results import ALL, CategoryGap, GapResult
from isi_core.ui import frame
from isi_core.ui.bound import bound
from isi_core.ui.step_order.desk import Desk
from isi_core.ui.wording import as_written


def show(desk: Desk, gaps: Sequence[GapResult]) -> None:
    """One encoder's gap."""
    if not gaps:
        st.info(
            "The gap is measured once an encoder was fine-tuned on vision + text: it is not done yet, or was not asked "
            "for.",
            icon=":material/lightbulb:",
        )
        return
    by_name = {gap.encoder: gap for gap in gaps}
    if desk.encoder not in by_name:
        desk.encoder = next(iter(by_name))
    gap = by_name[desk.encoder]
    categories = [ALL, *(row.category for row in gap.before.categories)]
    if desk.category not in categories:
        desk.category = ALL
    left, right = st.columns(2)
    with left:
        st.selectbox("Encoder", list(by_name), key="order_gap_encoder", index=list(by_name).index(desk.encoder),
                     on_change=lambda: setattr(desk, "encoder", st.session_state["order_gap_encoder"]))  # fmt: skip
    with right:
        st.selectbox(
            "Category",
            categories,
            **bound(desk, "category"),
            format_func=lambda name: "all categories" if name == ALL else name,
        )
    frame.figure(gap_figure(gap, desk.category), f"order_gap_{gap.encoder}_{desk.category}")
    _numbers(gap, desk.category)
    frame.figure(gap_lengths_figure(gap), f"order_gap_lengths_{gap.encoder}")
    _shift(gap)


def _shift(gap: GapResult) -> None:
    """What closing the gap does, and whether gap or collapse explains a loss."""
    st.markdown("**Is it the gap?** · both modalities moved along it (Liang et al., 2022)")
    made = shift_figure(gap)
    if made is None:
        st.info("The shift was not measured for this study: press “Train and test again”.", icon=":material/lightbulb:")
        return
    for sentence in shift_sentences(gap):
        st.markdown(f"- {as_written(sentence)}")
    frame.figure(made, f"order_gap_shift_{gap.encoder}", table=lambda: shift_csv([gap]))


def _numbers(gap: GapResult, category: str) -> None:
    import pandas

    found = [("before", gap_of(gap.before, category))]
    if gap.after is not None:
        found.append(("after", gap_of(gap.after, category)))
    columns = {name: _column(row) for name, row in found if row is not None}
    st.table(pandas.DataFrame(columns))
    st.caption(
        "The cosine of a step's own headline and picture should exceed that of strangers; an effective rank near 1 is "
        "a collapse of the cloud to a line, which costs more than a gap does."
    )


def _column(row: CategoryGap) -> dict[str, str]:
    return {
        "modality gap (0 to 2)": number(row.distance),
        "mean cosine of a step's headline and picture": number(row.true_cosine),
        "mean cosine of strangers": number(row.random_cosine),
        "effective rank of headlines": number(row.text_rank),
        "effective rank of pictures": number(row.image_rank),
        "steps": f"{row.n:,}",
    }
