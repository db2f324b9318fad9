"""The tab of causes: does moving, changing or training what an explanation names change how often the model fails?"""

from __future__ import annotations

from functools import partial

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.domain.progress import Progress
from isi_core.reports.failure_words import explainer_title, severe_words
from isi_core.reports.wording import duration
from isi_core.studies.failure.causal import PARTS, CausalPlan, CausalResult, load_causal, save_causal
from isi_core.studies.failure.causal_conclusions import causal_sentences
from isi_core.studies.failure.causal_run import causal_plan, run_causal, steerable
from isi_core.studies.failure.results import BenchmarkResult
from isi_core.ui import resources
from isi_core.ui.bound import bound
from isi_core.ui.failure import figures as drawn
from isi_core.ui.failure import runs, work
from isi_core.ui.failure.desk import Desk
from isi_core.ui.wording import as_written

_PARTS = {
    "steer": "Steer the activations",
    "inputs": "Risky pictures",
    "tune": "Fine-tune (small models)",
}
_READ_AGAIN = 40  # what a step of training costs, in prompts read


def show(desk: Desk, key: str, result: BenchmarkResult) -> None:
    """What to try, the button, and what came of it."""
    st.markdown(
        "**Is it a cause?** A score that foresees failure may still read something beside it. Here the explanation is "
        "put to use: its direction is pushed, its risky inputs are built, its slice is trained on, and each is held "
        "against the same done at random."
    )
    able = steerable(result)
    if not able:
        st.info(
            "None of this run's explainers has a direction to steer along: choose *Last-token probe* and run again, "
            "which asks nothing anew.",
            icon=":material/lightbulb:",
        )
        return
    if desk.causal_explainer not in able:
        desk.causal_explainer = able[0]
    with st.container(key="stack_failure_causal"):
        left, right = st.columns([3, 2], gap="large", vertical_alignment="bottom")
    with left:
        st.selectbox("Explanation", able, **bound(desk, "causal_explainer"), format_func=explainer_title)
        st.multiselect("What to try", list(PARTS), **bound(desk, "causal_parts"), format_func=_PARTS.__getitem__)
    with right:
        st.number_input(
            "Test cases", 4, 2_000, step=10, **bound(desk, "causal_cases"), help="Steered, and asked after training"
        )
        st.button(
            "Test for causes",
            icon=":material/science:",
            key="failure_causal_start",
            on_click=partial(_start, desk, key, result),
            disabled=desk.job is not None or not desk.causal_parts,
            width="stretch",
        )
    try:
        plan = _plan(desk, result)
        st.caption(f"About {duration(_expected(plan, result))}, judged by how long this run took to read its cases.")
    except StudioError as error:
        st.caption(as_written(str(error)))
    path = runs.causal_file(key)
    if not path.is_file():
        st.info("Nothing was tried with this run yet: press *Test for causes*.", icon=":material/lightbulb:")
        return
    try:
        _result(load_causal(path), key, severe_words(result))
    except StudioError as error:
        st.info(as_written(str(error)), icon=":material/lightbulb:")


def _plan(desk: Desk, result: BenchmarkResult) -> CausalPlan:
    parts = tuple(part for part in PARTS if part in desk.causal_parts) or PARTS
    return causal_plan(
        result, explainer=desk.causal_explainer, parts=parts, cases=desk.causal_cases, seed=result.plan.seed
    )


def _expected(plan: CausalPlan, result: BenchmarkResult) -> float:
    """Seconds, by what reading a prompt took in the benchmark."""
    each = result.seconds.get("activations", 0.0) / max(1, len(result.cases)) or 0.05
    cases = min(plan.cases, sum(case.split == "test" for case in result.cases))
    prompts = 0.0
    if "steer" in plan.parts:
        prompts += cases * (1 + len(plan.strengths) * (plan.directions + 2))
    if "inputs" in plan.parts:
        prompts += 2 * plan.inputs * 2 * len(result.plan.contexts)
    if "tune" in plan.parts:
        prompts += 6 * plan.slice_size + 2 * plan.steps * _READ_AGAIN + 3 * cases
    return each * prompts


def _start(desk: Desk, key: str, result: BenchmarkResult) -> None:
    desk.hush()
    try:
        plan, shelf, folder, path = (
            _plan(desk, result),
            resources.shelf(),
            runs.cases_folder(key),
            runs.causal_file(key),
        )

        def test(progress: Progress) -> str:
            save_causal(run_causal(plan, result, shelf, folder, work.with_time_left(progress)), path)
            return key

        title = f"Testing for causes: {explainer_title(plan.explainer)}"
        desk.job = work.engine().submit("failure", title[:200], test, key=f"causal {key} {plan.digest[:16]}")
    except StudioError as error:
        desk.error = str(error)


def _result(result: CausalResult, key: str, warning: str) -> None:
    from isi_core.reports import failure_causal_figures as figures

    with st.container(key="failure_causal_said"):
        for sentence in causal_sentences(result, explainer_title):
            st.markdown(f":material/arrow_right: {as_written(sentence)}")
    if result.steering:
        st.markdown(f"**Steered** · {as_written(explainer_title(result.plan.explainer))}, layer {result.layer}")
        with st.container(key="stack_failure_steering"):
            left, right = st.columns(2, gap="large")
        with left:
            drawn.show(figures.steering_figure(result, warning), "steering")
        with right:
            drawn.show(figures.changed_figure(result, warning), "steering_changed")
    with st.container(key="stack_failure_inputs"):
        left, right = st.columns(2, gap="large")
    with left:
        if result.risk:
            st.markdown("**Risky inputs**")
            drawn.show(figures.risky_inputs_figure(result, warning), "risky_inputs")
    with right:
        if result.tuning is not None:
            st.markdown("**Fine-tuned**")
            drawn.show(figures.tuning_figure(result, warning), "tuning")
    st.download_button(
        "CSV: causal test",
        data=partial(figures.causal_csv, result),
        file_name=f"failure_causal_{key[:8]}.csv",
        mime="text/csv",
        icon=":material/table:",
        key="failure_download_causal",
        on_click="ignore",
    )
