"""Counterfactual Ranking: edit pictures attribute by attribute, rank the attributes by what they do to a classifier."""

import streamlit as st

from isi_core.ui import frame
from isi_core.ui.counterfactuals import (
    corpus,
    examine,
    exports,
    findings,
    human_study,
    inputs,
    settings,
    shown,
    teaching,
    work,
)
from isi_core.ui.counterfactuals import desk as desks

frame.ensure()
examine.leave_if_asked()
frame.heading(
    "Counterfactual Ranking",
    "Which attributes of a picture does an image classifier listen to, and by how much? Add each one and see.",
)
desk = desks.open_desk()
work.collect(desk)
with st.container(key="stack_ranking"):
    left, right = st.columns([4, 7], gap="large")
with left:
    pictures = inputs.show(desk)
    settings.editor(desk)
    tree = corpus.show(desk, pictures)
    settings.search(desk)
    settings.start(desk, pictures, tree)
with right:
    work.show(desk)
    made = shown.choose(desk)
    if made is None:
        teaching.show(desk)
    else:
        findings.show(desk, made)
if made is not None and not human_study.blind(desk):
    examine.show(desk, made)
    exports.show(desk, made)
