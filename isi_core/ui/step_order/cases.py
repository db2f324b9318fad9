"""Case cards: pairs that flip when a modality is taken away, found among the verdicts on the test pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import streamlit as st

from isi_core.domain.step_pairs import PairSplits, StepPair
from isi_core.reports.order_tables import SHORT
from isi_core.reports.order_words import turned_words
from isi_core.reports.wording import number
from isi_core.studies.step_order.flips import (
    EITHER_MATTERS,
    IMAGE_MATTERS,
    TEXT_MATTERS,
    PairFlips,
    flip_kinds,
)
from isi_core.studies.step_order.results import ALL, MODALITIES, Modality, PairVerdict
from isi_core.studies.step_order.study import Study
from isi_core.ui.bound import bound
from isi_core.ui.step_order import pairs, trying, work
from isi_core.ui.step_order.desk import Desk
from isi_core.ui.wording import as_written

MOST = 6
BY_INPUT, BY_TRAINING = "Changing the input", "Training without it"
_FOUND = (
    f"{BY_INPUT}: the answer of the vision + text model flips when an input is hidden or swapped. {BY_TRAINING}: the "
    "models that were trained on one modality alone are wrong where the one on both is right."
)
_FLIPPED = {
    IMAGE_MATTERS: "Right; the answer flips when the pictures are hidden or swapped, and not with the headlines.",
    TEXT_MATTERS: "Right; the answer flips when the headlines are hidden or swapped, and not with the pictures.",
    EITHER_MATTERS: "Right; the answer flips with the pictures and with the headlines.",
}
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
    """A test pair and what each modality said of it; `flips` where it was asked again with inputs changed."""

    pair: StepPair
    verdicts: Mapping[Modality, PairVerdict]
    flips: PairFlips | None = None

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


def found_by_flips(study: Study, splits: PairSplits, encoder: str) -> dict[str, list[Case]]:
    """Cases of each kind by what turns the answer of the vision + text model round; empty where it was not asked."""
    by_modality = {v.modality: {p.idx: p for p in v.verdicts} for v in study.verdicts if v.encoder == encoder}
    by_idx = {pair.idx: pair for pair in splits.test}
    flips = next((one for one in study.flips if (one.encoder, one.modality) == (encoder, "vt")), None)
    if flips is None:
        return {}
    return {
        kind: [
            Case(by_idx[pair.idx], {m: said[pair.idx] for m, said in by_modality.items() if pair.idx in said}, pair)
            for pair in pairs_of_kind
            if pair.idx in by_idx
        ]
        for kind, pairs_of_kind in flip_kinds(flips).items()
    }


def show(desk: Desk, study: Study, splits: PairSplits) -> None:
    """Cards of one kind, of one encoder and category."""
    encoders = list(dict.fromkeys(v.encoder for v in study.verdicts))
    if not encoders:
        st.info("Cases are found once a fine-tuned encoder was tested.", icon=":material/lightbulb:")
        return
    if desk.encoder not in encoders:
        desk.encoder = encoders[0]
    if desk.found_by not in (BY_INPUT, BY_TRAINING):
        desk.found_by = BY_INPUT if study.flips else BY_TRAINING
    st.segmented_control("Found by", (BY_INPUT, BY_TRAINING), **bound(desk, "found_by"), help=_FOUND)
    find = found_by_flips if desk.found_by == BY_INPUT else find_cases
    # The last part of the key tells one state of a growing study from the next.
    state = len(study.verdicts), len(study.flips), study.grid.created
    cases = desk.computed(
        ("cases", study.plan.id, desk.encoder, desk.found_by, state), lambda: find(study, splits, desk.encoder)
    )
    if not any(cases.values()):
        _none(desk, study)
        return
    if desk.cases not in cases:
        desk.cases = next(iter(cases))
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
    asked = study.flips[0].pairs if desk.found_by == BY_INPUT else splits.test
    total = sum(desk.category in (ALL, pair.category) for pair in asked)
    words = (_FLIPPED if desk.found_by == BY_INPUT else _WORDS)[desk.cases]
    st.caption(f"{words} {len(chosen):,} of {total:,} test pairs; the most decided ones first.")
    opened = next((pair for pair in splits.test if pair.idx == desk.opened), None)
    if opened is not None:
        trying.show(desk, study.plan.id, opened)
    columns = st.columns(2)
    for place, case in enumerate(_varied(chosen)):
        with columns[place % 2]:
            pairs.card(case.pair, [(SHORT[m], _said(v)) for m, v in case.verdicts.items()])
            if case.flips is not None:
                st.caption(as_written(turned_words(case.flips)))
            st.button(
                "Try interventions",
                key=f"order_open_{case.pair.idx}",
                icon=":material/science:",
                type="tertiary",
                on_click=partial(trying.open_pair, desk, case.pair.idx),
            )


def _none(desk: Desk, study: Study) -> None:
    if desk.found_by == BY_INPUT and not any(one.modality == "vt" for one in study.flips):
        st.info(
            "What hiding and swapping do was not measured in this study: it needs vision + text, and one of an earlier "
            "version can be completed.",
            icon=":material/lightbulb:",
        )
        st.button(
            "Measure it",
            key="order_measure_flips",
            icon=":material/play_arrow:",
            on_click=partial(work.run, desk, [study.plan], study.plan),
            disabled=desk.job is not None or "vt" not in study.plan.modalities,
        )
        return
    st.info("There are no cases: they need one encoder tested with vision, text and both.", icon=":material/lightbulb:")


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
