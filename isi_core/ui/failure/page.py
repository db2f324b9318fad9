"""The page: choices on the left, what was found on the right, details below."""

from __future__ import annotations

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.ui.failure import cases, choices, estimate, findings, linting, scores, work
from isi_core.ui.failure.desk import SCORES, open_desk
from isi_core.ui.wording import as_written


def show() -> None:
    """Draw the page; what the store or a file refuses is one sentence on it."""
    cases.leave_if_asked()
    try:
        _show()
    except StudioError as error:
        st.error(as_written(str(error)), icon=":material/error:")


def _show() -> None:
    desk = open_desk()
    work.collect(desk)
    with st.container(key="stack_failure"):
        left, right = st.columns([4, 7], gap="large")
    with left:
        if desk.task != SCORES:
            choices.presets(desk)
        choices.task(desk)
        if desk.task != SCORES:
            choices.model(desk)
            choices.size(desk)
            estimate.show(desk)
    with right:
        if desk.task == SCORES:
            scores.show()
            return
        work.show(desk)
        if not desk.pictures:
            linting.of_files(desk.task, choices.source_of(desk))
        findings.choose(desk)
        result = findings.show(desk)
    if result is not None:
        findings.details(desk, result)
