"""VQA Interventions: change a visual question's picture, context or words, ask a model, measure, report."""

import streamlit as st

from isi_core.ui import frame, resources
from isi_core.ui.vqa import desk as desks
from isi_core.ui.vqa import history, inputs, outputs, settings, several_models, work

frame.ensure()
frame.heading(
    "VQA Interventions",
    "Does the model answer from the picture, the context or the question? Change one of them and see.",
)
desk = desks.open_desk()
work.collect(desk)
several_models.collect(desk)
with st.container(key="vqa_columns"):
    left, right = st.columns(2, gap="large")
with left:
    inputs.pick(desk)
    inputs.picture(desk)
    inputs.context(desk)
    inputs.question(desk)
    settings.model(desk)
    with st.container(horizontal=True, gap="small"):
        settings.measures(desk)
        settings.another_model(desk)
with right:
    trial = outputs.current_input(desk)
    work.start_wanted(desk)
    outputs.buttons(desk, trial)
    work.show(desk)
    outputs.results(desk, trial)
st.divider()
several_models.show(desk, trial)
work.investigation(desk)
history.show(desk)
desks.write_link(desk)
resources.warm_up()
