"""Case cards: pairs that flip when a modality is taken away, found among the verdicts on the test pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from isi_core.domain.step_pairs import PairSplits, StepPair
from isi_core.reports.order_tables import SHORT
from isi_core.reports.wording import number
from isi_core.studies.step_order.results import ALL, MODALITIES, Modality, PairVerdict
from isi_core.studies.step_order.study import Study
from isi_core.ui.bound import bound
from isi_core.ui.step_order import pairs
from isi_core.ui.step_order.desk import Desk

MOST = 6
IMAGE, TEXT, BOTH, NONE = "Image matters", "Text matters", "Only both", "None right"
_WORDS = {
    IMAGE: "Right with vision, and with both; wrong with text alone: taking the pictures away flips the answer.",
    TEXT: "Right with text, and with both; wrong with vision alone: taking the headlines away flips the answer.",
    BOTH: "Right with vision + text; wrong with either alone.",
    NONE: "Wrong with vision, with text, and with both.",
}
_RIGHT: dict[str, tuple[bool, bool, bool]] = {
    IMAGE: (True, False, True),
    TEXT: (False, True, True),
    BOTH: (False, False, True),
    NONE: (False, False, False),
}
"""Which of V, T, V+T are right."""


@dataclass(frozen=True)
class Case:
    """A test pair and what each modality said of it."""

    pair: StepPair
    verdicts: Mapping[Modality, PairVerdict]

    @property
    def margin(self) -> float:
        """How decided the verdicts are, summed: 0 (all at one half) to 1.5."""
        return sum(abs(verdict.in_order - 0.5) for verdict in self.verdicts.values())


def find_cases(study: Study, splits: PairSplits, encoder: str) -> dict[str, list[Case]]:
    """Cases of each kind, the most decided first; empty where the three modalities were not all tested."""
    by_modality = {v.modality: {p.idx: p for p in v.verdicts} for v in study.verdicts if v.encoder == encoder}
    found: dict[str, list[Case]] = {kind: [] for kind in _RIGHT}
    if set(by_modality) != set(MODALITIES):
        return found
    for pair in splits.test:
        verdicts = {m: by_modality[m][pair.idx] for m in MODALITIES if pair.idx in by_modality[m]}
        if len(verdicts) < len(MODALITIES):
            continue
        right = (verdicts["v"].right, verdicts["t"].right, verdicts["vt"].right)
        for kind, wanted in _RIGHT.items():
            if right == wanted:
                found[kind].append(Case(pair, verdicts))
    return {kind: sorted(cases, key=lambda case: -case.margin) for kind, cases in found.items()}


def show(desk: Desk, study: Study, splits: PairSplits) -> None:
    """Cards of one kind, of one encoder and category."""
    encoders = list(dict.fromkeys(v.encoder for v in study.verdicts))
    if not encoders:
        st.info("Cases are found once a fine-tuned encoder was tested.", icon=":material/lightbulb:")
        return
    if desk.encoder not in encoders:
        desk.encoder = encoders[0]
    cases = desk.computed(
        ("cases", study.plan.id, desk.encoder, len(study.verdicts), study.grid.created),
        lambda: find_cases(study, splits, desk.encoder),
    )
    if not any(cases.values()):
        st.info("Cases need verdicts of vision, text and both of one encoder.", icon=":material/lightbulb:")
        return
    if desk.cases not in cases:
        desk.cases = IMAGE
    categories = [ALL, *sorted({pair.category for pair in splits.test})]
    if desk.category not in categories:
        desk.category = ALL
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        st.segmented_control("Cases", list(cases), **bound(desk, "cases"))
    with right:
        st.selectbox(
            "Of category",
            categories,
            index=categories.index(desk.category),
            key="order_cases_category",
            on_change=lambda: setattr(desk, "category", st.session_state["order_cases_category"]),
            format_func=lambda name: "all categories" if name == ALL else name,
        )
    chosen = [case for case in cases[desk.cases] if desk.category in (ALL, case.pair.category)]
    total = sum(desk.category in (ALL, pair.category) for pair in splits.test)
    st.caption(f"{_WORDS[desk.cases]} {len(chosen):,} of {total:,} test pairs; the most decided ones first.")
    columns = st.columns(2)
    for place, case in enumerate(_varied(chosen)):
        with columns[place % 2]:
            pairs.card(case.pair, [(SHORT[m], _said(v)) for m, v in case.verdicts.items()])


def _varied(cases: list[Case]) -> list[Case]:
    """The first few, no two of one category before every category had its turn."""
    turns: dict[str, int] = {}
    keyed = []
    for case in cases:
        turn = turns.get(case.pair.category, 0)
        turns[case.pair.category] = turn + 1
        keyed.append((turn, case))
    return [case for _, case in sorted(keyed, key=lambda item: item[0])][:MOST]


def _said(verdict: PairVerdict) -> str:
    sure = max(verdict.in_order, 1 - verdict.in_order)
    word = "in order" if verdict.in_order >= 0.5 else "reversed"
    return f"{'✓' if verdict.right else '✗'} {word} ({number(sure)})"
