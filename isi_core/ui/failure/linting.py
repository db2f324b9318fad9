"""The linter's report: what of the data would fool its user, first and always in view."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from isi_core.datasets.failure_tasks import read_task, task_files
from isi_core.domain.errors import StudioError
from isi_core.studies.failure.results import LintFinding
from isi_core.ui.wording import as_written

_BADGES: dict[str, tuple[str, Any]] = {
    "severe": (":material/error:", "red"),
    "warning": (":material/warning:", "orange"),
    "note": (":material/info:", "gray"),
}
_EXAMPLES = 6


def show(findings: Sequence[LintFinding]) -> None:
    """The findings, severe ones open; that there are none is said too."""
    severe = [f for f in findings if f.severity == "severe"]
    if not findings:
        st.success(
            "The linter found nothing: no label that order or ids explain, no item in two classes or two splits, no "
            "gold answer in a prompt.",
            icon=":material/rule:",
        )
        return
    if severe:
        words = as_written("; ".join(f"{f.check} ({f.count:,})" for f in severe))
        st.error(
            f"**{len(severe)} severe finding{'s' * (len(severe) > 1)}:** {words}. Numbers from these data may come "
            "from them; every figure and the PDF of a run say so.",
            icon=":material/error:",
        )
    label = f"The linter's report: {_counted(findings)}"
    with st.expander(label, expanded=bool(severe), icon=":material/rule:"):
        for finding in findings:
            icon, colour = _BADGES[finding.severity]
            with st.container(horizontal=True, gap="small", vertical_alignment="center"):
                st.badge(finding.severity, icon=icon, color=colour, width="content")
                st.markdown(f"**{as_written(finding.check, 80)}** · {finding.count:,} concerned", width="stretch")
            st.markdown(as_written(finding.advice, 500))
            if finding.examples:
                shown = "; ".join(as_written(e, 80) for e in finding.examples[:_EXAMPLES])
                st.caption(f"For example {shown}")


def of_files(task: str, source: str) -> None:
    """The linter's report of a text task's files as they are, before anything is asked of a model."""
    if not source:
        return
    try:
        path = Path(source).expanduser()
        files = task_files(path, task)
        stamp = tuple((str(file), file.stat().st_mtime_ns) for file in files)
        items, findings = _lint_files(task, str(path), stamp)
    except OSError as error:
        st.error(as_written(f"{source} cannot be read ({error.strerror}): check the path."), icon=":material/error:")
        return
    except StudioError as error:
        st.error(as_written(str(error)), icon=":material/error:")
        return
    st.markdown(f"**The files as they are** · {items:,} items, before any model is asked")
    show(findings)


@st.cache_data(show_spinner="The linter reads the files", max_entries=8)
def _lint_files(task: str, source: str, stamp: tuple[tuple[str, int], ...]) -> tuple[int, list[LintFinding]]:
    from isi_core.studies.failure.linter import items_of_task, lint

    items = items_of_task(read_task(Path(source), task))
    return len(items), lint(items)


def _counted(findings: Sequence[LintFinding]) -> str:
    counts = {kind: sum(f.severity == kind for f in findings) for kind in _BADGES}
    plural = {"severe": "severe", "warning": "warnings", "note": "notes"}
    return ", ".join(f"{n} {plural[kind] if n > 1 else kind}" for kind, n in counts.items() if n)
