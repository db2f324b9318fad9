"""What came out: accuracies, the modality gap, cases, learning curves and the pairs, tab by tab."""

from __future__ import annotations

import streamlit as st

from isi_core.datasets.step_statistics import count_title_words, pair_statistics, split_titles
from isi_core.domain.errors import StudioError
from isi_core.domain.step_pairs import PairSplits
from isi_core.studies.step_order.study import Study, StudyPlan, load_study_pairs
from isi_core.ui.step_order import accuracy, asking, cases, downloads, gaps, learning, pairs
from isi_core.ui.step_order.desk import Desk
from isi_core.ui.wording import as_written


def pairs_of(desk: Desk, plan: StudyPlan) -> PairSplits:
    """The plan's pairs, read once; raises as `load_study_pairs`."""
    key = ("pairs", plan.data, plan.sizes, plan.seed)
    return desk.computed(key, lambda: load_study_pairs(plan))


def show(desk: Desk, study: Study) -> None:
    """One study."""
    if not study.complete and desk.job is None:
        st.info(
            "This study is not complete: what is done stands below. The same choices and “Go on” do the rest.",
            icon=":material/lightbulb:",
        )
    try:
        splits = pairs_of(desk, study.plan)
    except StudioError as error:
        st.error(as_written(str(error)), icon=":material/error:")
        return
    rows = desk.computed(("rows", study.plan.id), lambda: pair_statistics(splits))
    words = desk.computed(("words", study.plan.id), lambda: count_title_words(split_titles(splits)))
    first, gap, case, curves, models, data = st.tabs(
        ["Accuracy", "Modality gap", "Cases", "Learning curves", "Ask a VLM", "Pairs"]
    )
    with first:
        accuracy.show(desk, study)
    with gap:
        gaps.show(desk, study.gaps)
    with case:
        cases.show(desk, study, splits)
    with curves:
        learning.show(desk, study)
    with models:
        asking.show(desk)
    with data:
        pairs.statistics(rows, words, splits)
    downloads.show(study, splits, rows, words)


def teach(desk: Desk, plan: StudyPlan) -> None:
    """Before anything was trained: what the page does, and example pairs of the chosen how-tos."""
    st.markdown(
        "**What this page does.** Two steps of one how-to are shown in order or reversed. An encoder is fine-tuned to "
        "tell which, three times: with the pictures (V), with the headlines (T), and with both (V+T). The title is "
        "given to all. Where V+T is no better than one of them, the other modality adds nothing, or the encoder does "
        "not use it."
    )
    st.markdown(
        "1. **Choose** how-tos on the left: the built-in ones tell by construction what decides each category.\n"
        "2. **Train and test**: a quick look takes minutes; the accuracy table grows while it runs.\n"
        "3. **Ask why**: the modality gap before and after, pairs that flip, learning curves."
    )
    try:
        splits = pairs_of(desk, plan)
    except StudioError as error:
        st.error(as_written(str(error)), icon=":material/error:")
        return
    with st.expander("Ask a vision-language model the same, without training", icon=":material/forum:"):
        asking.show(desk)
    st.markdown("**Pairs as a model sees them**")
    shown: dict[str, None] = {}
    columns = st.columns(2)
    for pair in splits.test:
        if pair.category not in shown:
            shown[pair.category] = None
            with columns[(len(shown) - 1) % 2]:
                pairs.card(pair)
        if len(shown) == 4:
            break
