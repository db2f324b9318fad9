"""Learning curves: over the epochs of each training, and over the number of training pairs."""

from __future__ import annotations

from functools import partial

import streamlit as st

from isi_core.reports.order_figures import curves_figure
from isi_core.reports.order_shift_figures import sizes_figure
from isi_core.studies.step_order.kept import Study
from isi_core.studies.step_order.kin import over_sizes_of, smaller_plans
from isi_core.ui import frame
from isi_core.ui.step_order import work
from isi_core.ui.step_order.desk import Desk
from isi_core.ui.wording import as_written


def show(desk: Desk, study: Study) -> None:
    """Every training of the study, then how accuracy grows with the number of training pairs."""
    _epochs(study)
    if study.grid.curves:
        _pairs(desk, study)


def _epochs(study: Study) -> None:
    curves = study.grid.curves
    if not curves:
        st.info("No training has ended yet.", icon=":material/lightbulb:")
    for encoder in dict.fromkeys(curve.encoder for curve in curves):
        st.markdown(f"**{as_written(encoder)}**")
        frame.figure(curves_figure(curves, encoder), f"order_curves_{encoder}")
        for curve in curves:
            if curve.encoder == encoder and (curve.skipped_pairs or curve.ended != "finished"):
                st.caption(
                    as_written(
                        f"{curve.modality.upper()}: {curve.ended}, {curve.skipped_pairs} pairs left out. "
                        + " ".join(curve.skipped[:3])
                    )
                )


def _pairs(desk: Desk, study: Study) -> None:
    st.markdown("**By the number of training pairs** · which category is hard to learn?")
    same = over_sizes_of(study.plan, work.study)
    todo = [plan for plan in smaller_plans(study.plan) if not any(one.plan == plan for one in same)]
    if todo:
        sizes = ", ".join(f"{plan.sizes[0]:,}" for plan in todo)
        st.button(
            f"Train with {sizes} pairs of each category",
            key="order_smaller",
            icon=":material/show_chart:",
            on_click=partial(work.run, desk, todo, study.plan),
            disabled=desk.job is not None or not study.complete,
            help="The same encoders and modalities on fewer training pairs, tested on the same test pairs",
        )
    points = [(one.plan.sizes[0], row) for one in same for row in one.grid.accuracies]
    encoders = list(dict.fromkeys(row.encoder for _, row in points))
    if len(same) < 2 or not encoders:
        st.info(
            "There is one number of training pairs so far: train with fewer of them to see how accuracy grows.",
            icon=":material/lightbulb:",
        )
        return
    if desk.encoder not in encoders:
        desk.encoder = encoders[0]
    if len(encoders) > 1:
        st.selectbox("Encoder", encoders, index=encoders.index(desk.encoder), key="order_sizes_encoder",
                     on_change=lambda: setattr(desk, "encoder", st.session_state["order_sizes_encoder"]))  # fmt: skip
    frame.figure(sizes_figure(points, desk.encoder), f"order_sizes_{desk.encoder}")
