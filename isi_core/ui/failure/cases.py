"""The most confident hits and misses of an explainer as cards that open in VQA Interventions."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from isi_core.datasets.catalogue import dataset_names
from isi_core.datasets.pictures import open_picture
from isi_core.domain.errors import InputError, StudioError
from isi_core.domain.interventions import ContextPreset, EditText, ImagePreset
from isi_core.domain.observation import Observation
from isi_core.domain.trial import image_digest
from isi_core.reports.failure_cases import MEANINGS, surest_cases
from isi_core.reports.failure_words import explainer_title, ranked
from isi_core.reports.wording import number
from isi_core.studies.draft import Draft
from isi_core.studies.failure.results import BenchmarkResult, Case, ExplainerScore
from isi_core.ui import resources
from isi_core.ui.bound import bound
from isi_core.ui.failure import runs
from isi_core.ui.failure.desk import Desk
from isi_core.ui.vqa import desk as vqa_desk
from isi_core.ui.wording import as_written

VQA_PAGE = "pages/1_VQA_Interventions.py"
EACH = 4
_GO = "failure_go"
_SIDE = 320
_FEATURES, _FIRING = 5, 6


def leave_if_asked() -> None:
    """Go to VQA Interventions when a case was opened there."""
    if st.session_state.pop(_GO, False):
        st.switch_page(VQA_PAGE)


def show(desk: Desk, key: str, result: BenchmarkResult) -> None:
    """Choose an explainer; its surest cases as cards."""
    found = {s.explainer: s for s in ranked(result)}
    if not found:
        st.info("No explainer was scored, so there is no case to sort.", icon=":material/lightbulb:")
        return
    if desk.sorting not in found:
        desk.sorting = next(iter(found))
    st.selectbox("Cases sorted by", list(found), **bound(desk, "sorting"), format_func=explainer_title)
    st.caption(
        "Test cases only; the score is the predicted probability that the model is right (0 to 1). Look for what the "
        "misses have in common: that is what the explainer does not see."
    )
    score = found[desk.sorting]
    if len(set(score.scores)) < 2:
        st.info(
            f"{as_written(explainer_title(score.explainer))} says the same of every case, so none stands out: choose "
            "another explainer.",
            icon=":material/lightbulb:",
        )
        return
    for title, cards in surest_cases(result, score, EACH).items():
        if not cards:
            continue
        st.markdown(f"**{title}** · {MEANINGS[title]}")
        columns = st.columns(EACH, wrap=True)
        for column, (case, value) in zip(columns, cards, strict=False):
            with column, st.container(border=True, height="stretch"):
                _card(desk, key, result, case, value)
    _features(key, result, score)


def _features(key: str, result: BenchmarkResult, score: ExplainerScore) -> None:
    """The features that an explainer relies on most, each with the training cases that fire it."""
    found = score.settings.get("features")
    if not isinstance(found, list) or not found:
        return
    st.markdown("**What it goes by: its strongest features**")
    st.caption(
        "Each row is one feature of the autoencoder with the training cases that fire it most. What they have in "
        "common is what the feature stands for; its weight (in log odds a standard deviation) says which way it speaks."
    )
    for feature in found[:_FEATURES]:
        way = "success" if feature["weight"] > 0 else "failure"
        st.markdown(
            f"Feature {int(feature['feature'])} · speaks for **{way}** ({number(float(feature['weight']))}) · active "
            f"in {float(feature['fires']):.0%} of the training cases"
        )
        columns = st.columns(_FIRING, wrap=True)
        for column, name in zip(columns, feature["cases"], strict=False):
            case = result.case(str(name))
            path = runs.picture_of(key, case.picture)
            with column:
                if path is not None:
                    st.image(resources.small_picture(path, path.stat().st_mtime_ns, _SIDE), width="stretch")
                sign = ":material/check_circle: right" if case.success else ":material/cancel: wrong"
                st.caption(f"{as_written(case.question, 90)} · {sign}")


def _card(desk: Desk, key: str, result: BenchmarkResult, case: Case, value: float) -> None:
    path = runs.picture_of(key, case.picture)
    if path is not None:
        st.image(resources.small_picture(path, path.stat().st_mtime_ns, _SIDE), width="stretch")
    st.caption(f"**{as_written(case.question, 160)}**")
    if case.context:
        st.caption(f"{as_written(case.context_kind or 'context')}: {as_written(case.context, 140)}")
    sign = ":material/check_circle: right" if case.success else ":material/cancel: wrong"
    st.caption(
        f"“{as_written(case.answer, 50)}”, truth {as_written(case.truth, 50)} · {sign} · score **{number(value)}**"
    )
    if path is not None:
        st.button(
            "Open",
            icon=":material/experiment:",
            key=f"failure_open_{case.id}",
            help="In VQA Interventions: change the picture or the words, and ask again",
            on_click=partial(_open, desk, key, result, case),
            width="stretch",
        )


def _open(desk: Desk, key: str, result: BenchmarkResult, case: Case) -> None:
    try:
        lay_out(key, result, case)
    except StudioError as error:
        desk.error = str(error)
        return
    st.session_state[_GO] = True


def lay_out(key: str, result: BenchmarkResult, case: Case) -> None:
    """Lay a case on the desk of VQA Interventions: the dataset's observation under its presets, or its own picture.

    Raises
    ------
    InputError : its picture is not there any more.
    """
    plan, table = result.plan, vqa_desk.open_desk()
    if plan.task == "dataset" and plan.source in dataset_names():
        dataset = resources.dataset(plan.source)
        if any(o.id == case.item for o in dataset.observations):
            context: Any = EditText("context", case.context)
            if case.context_kind in ("none", "complementary", "contradictory"):
                context = ContextPreset(case.context_kind)  # type: ignore[arg-type]
            image = ImagePreset(case.image_kind or "natural")  # type: ignore[arg-type]
            table.work_on(plan.source, Draft(case.item, image=image, context=context))
            _by(table, result)
            return
    path = runs.picture_of(key, case.picture)
    picture = open_picture(path) if path is not None else None
    if picture is None or path is None:
        raise InputError("The picture of this case is not there any more: run the benchmark again.")
    digest = image_digest(picture)
    name = f"upload-{digest[:12]}"
    truth = {"yes": True, "no": False}.get(case.truth)
    table.uploads[name] = vqa_desk.Upload(
        digest,
        f"{case.item}: case of a failure benchmark",
        picture,
        Observation(id=name, row=0, image=path, annotated=None, question=case.question, truth=truth),
    )
    table.change(Draft(name, context=EditText("context", case.context) if case.context else ContextPreset("none")))
    _by(table, result)


def _by(table: vqa_desk.Desk, result: BenchmarkResult) -> None:
    """Ask the model that the benchmark asked."""
    table.model, table.four_bit = result.plan.model, result.plan.quantization == "4-bit"
    table.error = ""
