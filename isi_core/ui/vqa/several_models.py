"""The input on the desk put to two or three models: choose them, ask them in turn, read them side by side."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import streamlit as st

from isi_core.domain.errors import InputError, StudioError
from isi_core.domain.evaluation import Evaluation
from isi_core.domain.trial import Trial
from isi_core.models.catalogue import find_vlm
from isi_core.reports import charts
from isi_core.reports.wording import number
from isi_core.studies.jobs import Job
from isi_core.studies.several_models import MOST, Agreement, Contender, Outcome, agreement, choices
from isi_core.ui import background, frame, resources
from isi_core.ui.vqa import attention_views, outputs
from isi_core.ui.vqa.desk import Desk, Entry
from isi_core.ui.wording import as_written

_KEY = "vqa_several_models"
_KEPT = 10
_MEASURES = {"uncertainty": "Semantic uncertainty", "attention": "Attention"}

Found = dict[str, Entry | str]
"""By a contender's label: what it made, or the sentence that says why it made nothing."""


@dataclass
class Rounds:
    """What a session asked of several models.

    Attributes
    ----------
    job, asked, arrived : the round that is running, the input it is of, and what it has made so far.
    wanted : what is measured beside the answer.
    found : by input and decoding, what each contender made; the latest ones.
    """

    job: str | None = None
    error: str = ""
    asked: Hashable = None
    arrived: Found = field(default_factory=dict)
    wanted: tuple[str, ...] = tuple(_MEASURES)
    found: OrderedDict[Hashable, Found] = field(default_factory=OrderedDict)

    def of(self, desk: Desk, trial: Trial) -> Found:
        """What the desk's contenders made of this input, in their order."""
        known = self.found.get(_input(desk, trial), {})
        return {label: known[label] for label in desk.contenders if label in known}

    def take(self, desk: Desk, job: Job | None) -> None:
        """Keep what a round that has ended made, also where it was cancelled on its way."""
        known = self.found.setdefault(self.asked, {})
        for label, made in self.arrived.items():
            known[label] = made
            if isinstance(made, Entry):
                desk.keep(made)
        self.arrived = {}
        self.found.move_to_end(self.asked)
        while len(self.found) > _KEPT:
            self.found.popitem(last=False)
        attention_views.forget_old(desk)


def rounds() -> Rounds:
    """This session's."""
    if _KEY not in st.session_state:
        st.session_state[_KEY] = Rounds()
    found: Rounds = st.session_state[_KEY]
    return found


def collect(desk: Desk) -> bool:
    """Take what a round has made; True once none is running. Before the page is drawn, which shows the entries."""
    mine = rounds()
    return background.collect(mine, partial(mine.take, desk))


def show(desk: Desk, trial: Trial | None) -> None:
    """The folded choice of models, the running round, and below it what they made of the input."""
    mine = rounds()
    with st.expander("Ask several models", icon=":material/compare:", expanded=bool(desk.contenders)):
        _choose(desk, mine)
        _buttons(desk, mine, trial)
        background.show(mine, partial(collect, desk), "vqa_several_cancel")
        found = mine.of(desk, trial) if trial is not None else {}
        if found:
            _side_by_side(desk, found)
        elif mine.job is None:
            st.caption(_nothing_yet(desk, mine))


def _nothing_yet(desk: Desk, mine: Rounds) -> str:
    if any(label in known for known in mine.found.values() for label in desk.contenders):
        return "The input or the decoding has changed since these models were asked: ask them again."
    return (
        "Does another model fall for the same words? Choose two or three, or one model whole and in 4-bit, and press "
        "*Ask these models*: they get exactly the input above, and their answers stand side by side here, with what "
        "they disagree in marked. Each run is stored as any other."
    )


def _choose(desk: Desk, mine: Rounds) -> None:
    st.session_state["vqa_contenders"] = list(desk.contenders)
    st.session_state["vqa_several_wanted"] = list(mine.wanted)

    def write() -> None:
        mine.error = ""
        chosen = []
        for label in st.session_state["vqa_contenders"]:
            try:
                contender = Contender.read(label)
                find_vlm(contender.model)
            except StudioError as error:
                mine.error = str(error)
                continue
            chosen.append(contender.label)
        desk.contenders = tuple(dict.fromkeys(chosen))[:MOST]

    def measure() -> None:
        mine.wanted = tuple(st.session_state["vqa_several_wanted"])

    models, measures = st.columns([3, 2], vertical_alignment="top")
    models.multiselect(
        f"Models, two to {MOST}",
        [*choices(), *(label for label in desk.contenders if label not in choices())],
        key="vqa_contenders",
        on_change=write,
        max_selections=MOST,
        accept_new_options=True,
        placeholder="Choose, or type a hub id, folder or endpoint",
        help="A typed model is a hub id, a folder or endpoint:MODEL@URL; with “ · 4-bit” or “ · 8-bit” behind it, it "
        "is loaded so.",
    )
    measures.pills(
        "Measure beside the answer",
        list(_MEASURES),
        selection_mode="multi",
        key="vqa_several_wanted",
        on_change=measure,
        format_func=lambda name: _MEASURES[name],
    )
    if desk.contenders:
        st.caption("  \n".join(_readiness(label) for label in desk.contenders))


def _readiness(label: str) -> str:
    contender = Contender.read(label)
    try:
        found = resources.shelf().readiness(contender.model, contender.quantization)
    except StudioError as error:
        return f":material/warning: {as_written(str(error))}"
    icon = ":material/check_circle:" if found.usable else ":material/warning:"
    told = contender.quantization == "none" or contender.quantization in found.sentence
    way = "" if told else f" ({contender.quantization})"
    return f"{icon} {as_written(found.sentence)}{way}"


def _buttons(desk: Desk, mine: Rounds, trial: Trial | None) -> None:
    busy = mine.job is not None or desk.job is not None
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.button(
            "Ask these models",
            key="vqa_ask_several",
            icon=":material/forum:",
            on_click=partial(start, desk, mine),
            disabled=busy or trial is None or len(desk.contenders) < 2,
        )
        st.caption(
            "Models that do not fit into the memory together are loaded in turn; one that cannot be loaded does not "
            "cost the others their answer.",
            width="stretch",
        )


def _input(desk: Desk, trial: Trial) -> Hashable:
    return trial.digest, desk.decoding


def start(desk: Desk, mine: Rounds) -> None:
    """Have the input on the desk put to every chosen model."""
    if mine.job is not None:
        return
    mine.error = ""
    try:
        trial = desk.trial()
        shelf, store, engine = resources.shelf(), resources.store(), resources.jobs()
        contenders = [Contender.read(label) for label in desk.contenders]
        if len(contenders) < 2:
            raise InputError(f"Choose two models or {MOST} to hold side by side.")
        draft, decoding, settings, dataset = desk.draft, desk.decoding, desk.settings, desk.dataset_name
        wanted: Any = mine.wanted
        known = [e.evaluation for e in desk.entries if e.evaluation.trial.digest == trial.digest]
        arrived: Found = {}

        def made(outcome: Outcome) -> None:
            label = outcome.contender.label
            if outcome.evaluation is None:
                arrived[label] = outcome.error
                return
            store.save(outcome.evaluation, dataset=dataset, label=label)
            arrived[label] = Entry(label, draft, outcome.evaluation, dataset)

        def work(progress: Any) -> str:
            from isi_core.studies.several_models import ask_each

            ask_each(trial, contenders, shelf, decoding, wanted, settings, progress, made, known)
            return ""

        mine.job = engine.submit("evaluation", f"Asking {len(contenders)} models", work)
        mine.asked, mine.arrived = _input(desk, trial), arrived
    except StudioError as error:
        mine.error = str(error)


def _side_by_side(desk: Desk, found: Found) -> None:
    """Cards, the sentence on what they agree in, numbers, and a chart."""
    entries = {
        label: replace(made, evaluation=outputs.under_settings(desk, made.evaluation))
        for label, made in found.items()
        if isinstance(made, Entry)
    }
    agreed = agreement([entry.evaluation for entry in entries.values()])
    if len(entries) > 1:
        st.markdown(_verdict(list(entries.values()), agreed))
    differs = dict(zip(entries, _apart(agreed.answers), strict=True))
    with st.container(key="stack_several"):
        columns = st.columns(len(found))
    for column, (label, made) in zip(columns, found.items(), strict=True):
        with column, st.container(border=True, height="stretch"):
            st.markdown(f"**{as_written(label, 80)}**")
            if isinstance(made, str):
                st.warning(as_written(made), icon=":material/warning:")
            else:
                _card(made.evaluation, differs[label])
    if not entries:
        return
    st.table(_numbers(entries, agreed), border="horizontal", hide_index=True)
    st.caption(
        "≠ marks what the models differ in: the verdict, or the input that they attended to most. Entropies of models "
        "with different vocabularies are all in nats, likelihoods per token are not of the same tokens."
    )
    evaluations = [entry.evaluation for entry in entries.values()]
    if any(m.uncertainty or m.attribution for m in evaluations):
        frame.figure(charts.comparison_figure(evaluations, list(entries)), "several")
    outputs.downloads(list(entries.values()), "several")


def _card(made: Evaluation, differs: bool) -> None:
    with st.container(horizontal=True, gap="small"):
        frame.verdict_badge(made)
        if differs:
            st.badge("differs", icon=":material/call_split:", color="violet")
    if made.answer is not None:
        st.markdown(f"##### {as_written(made.answer.text, 300) or '*(an empty answer)*'}")
    frame.provenance(made)


def _verdict(entries: Sequence[Entry], agreed: Agreement) -> str:
    count = "Both" if len(entries) == 2 else f"All {len(entries)}"
    said = f"**{count} models answer alike.**" if agreed.same_answer else "**The models disagree.**"
    if not any(agreed.inputs):
        return said
    if not agreed.same_input:
        listened = "; ".join(
            f"{as_written(entry.label, 60)} to the {name}"
            for entry, name in zip(entries, agreed.inputs, strict=True)
            if name
        )
        return f"{said} They listen to different inputs most: {listened}."
    [most] = set(agreed.inputs) - {""}
    return f"{said} The input attended to most is the {most}."


def _apart(groups: Sequence[Any]) -> list[bool]:
    """Which stand outside of the largest group; all of them where no group is the largest."""
    counts = [groups.count(group) for group in groups]
    largest = {group for group, count in zip(groups, counts, strict=True) if count == max(counts)}
    if len(set(groups)) <= 1:
        return [False] * len(groups)
    return [len(largest) > 1 or group not in largest for group in groups]


def _numbers(entries: dict[str, Entry], agreed: Agreement) -> dict[str, list[str]]:
    """Rows of measures, a column a model."""
    made = [entry.evaluation for entry in entries.values()]
    rows: dict[str, list[str]] = {
        f"Verdict{'' if agreed.same_answer else ' ≠'}": [m.answer.verdict if m.answer else "–" for m in made],
        "Semantic entropy (nats)": [number(m.uncertainty.semantic_entropy) if m.uncertainty else "–" for m in made],
        "Predictive entropy (nats per token)": [
            number(m.uncertainty.predictive_entropy) if m.uncertainty else "–" for m in made
        ],
        "Clusters": [
            f"{m.uncertainty.n_clusters} of {len(m.uncertainty.samples)}" if m.uncertainty else "–" for m in made
        ],
    }
    for name in ("image", "context", "question"):
        rows[f"Attention on the {name} (0 to 1)"] = [
            number(m.attribution.relative[name]) if m.attribution else "–" for m in made
        ]
    rows[f"Attends most to{'' if agreed.same_input else ' ≠'}"] = [name or "–" for name in agreed.inputs]
    rows["Time (s)"] = [number(sum(m.seconds.values())) for m in made]
    table = {"Measure": list(rows)}
    for place, label in enumerate(entries):
        table[as_written(label, 60)] = [values[place] for values in rows.values()]
    return table
