"""Semantic Uncertainty: group a trial's sampled answers by meaning, measure their spread, ask what changes it."""

import streamlit as st

from isi_core.ui import frame
from isi_core.ui.uncertainty import choices, clusters, downloads, investigations, measures, p_true, sources, work
from isi_core.ui.uncertainty import desk as desks

frame.ensure()
frame.heading(
    "Semantic Uncertainty",
    "Do the model's answers differ in meaning or only in words, and would more samples change that?",
)
desk = desks.open_desk()
work.collect(desk)
with st.container(key="stack_uncertainty"):
    left, right = st.columns([4, 7], gap="large")
with left:
    subject = sources.pick(desk)
    choices.entailment(desk, subject)
    choices.grouping(desk)
with right:
    work.show(desk)
    view = work.offer(desk, subject)
    if view is not None:
        measures.show(view)
        p_true.offer(desk, view)
if view is not None:
    clusters.show(desk, view)
    investigations.show(desk, view)
    downloads.show(desk, view)
