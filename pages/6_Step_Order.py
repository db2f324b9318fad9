"""Step Order: which step comes first, which modality tells, and what the modality gap has to do with it."""

import streamlit as st

from isi_core.ui import frame
from isi_core.ui.step_order import choices, results, work
from isi_core.ui.step_order import desk as desks

frame.ensure()
frame.heading(
    "Step Order",
    "Which of two steps comes first, and does a model tell by the pictures, by the words, or only by both?",
)
desk = desks.open_desk()
work.adopt(desk)
work.collect(desk)
with st.container(key="stack_order"):
    left, right = st.columns([4, 9], gap="large")
with left:
    choices.show(desk)
with right:
    work.show(desk)
    study = work.choose(desk)
    if study is None:
        results.teach(desk, work.plan_of(desk))
    else:
        results.show(desk, study)
