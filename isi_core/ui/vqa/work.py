"""Evaluations in the background: started by a button, watched by a live part of the page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import streamlit as st

from isi_core.domain.errors import InputError, ModelError, StudioError
from isi_core.domain.evaluation import Evaluation
from isi_core.domain.trial import Trial
from isi_core.studies.draft import Draft
from isi_core.studies.jobs import Job
from isi_core.studies.trials import build_trial, example_investigation
from isi_core.ui import background, resources
from isi_core.ui.vqa import attention_views
from isi_core.ui.vqa.desk import Desk, Entry

EVERYTHING = ("answer", "uncertainty", "attention")


def start(desk: Desk, wanted: Sequence[str]) -> None:
    """Have the input on the desk measured."""
    try:
        trial = desk.trial()
    except StudioError as error:
        desk.error = str(error)
        return
    known = desk.entry_for(trial)
    previous = known.evaluation if known is not None else None
    start_many(desk, [("", desk.draft, trial, previous)], wanted)


def start_many(desk: Desk, items: Sequence[tuple[str, Draft, Trial, Evaluation | None]], wanted: Sequence[str]) -> None:
    """Have (label, draft, trial, earlier evaluation) items measured, one after the other, as one job."""
    if desk.job is not None:
        return
    try:
        shelf, store, engine = resources.shelf(), resources.store(), resources.jobs()
    except StudioError as error:
        desk.error = str(error)
        return
    model, quantization = desk.model, desk.quantization
    decoding, settings, dataset_name = desk.decoding, desk.settings, desk.dataset_name
    asked: Any = frozenset(wanted) | {"answer"}
    arrived: list[Entry] = []

    def work(progress: Any) -> str:
        from contextlib import ExitStack

        from isi_core.studies.vqa import evaluate

        problem = ""
        with ExitStack() as held:
            vlm = held.enter_context(shelf.vlm(model, quantization, progress))
            entailment = None
            if "uncertainty" in asked:
                entailment = held.enter_context(shelf.entailment(settings.entailment_model, progress))
            for number, (label, draft, trial, previous) in enumerate(items):

                def part(message: str, fraction: float, number: int = number) -> None:
                    of = f"Trial {number + 1} of {len(items)}: " if len(items) > 1 else ""
                    progress(of + message, (number + fraction) / len(items))

                try:
                    evaluation = evaluate(
                        trial, vlm, decoding, asked, entailment, settings, progress=part, previous=previous
                    )
                except (InputError, ModelError) as error:
                    if len(items) == 1:
                        raise
                    # One trial that cannot be asked must not cost the others.
                    problem = f"{label}: {error}"
                    continue
                arrived.append(Entry(label, draft, evaluation, dataset_name))
                store.save(evaluation, dataset=dataset_name, label=label)
        return problem

    what = "Asking" if list(wanted) == ["answer"] else "Measuring"
    desk.error, desk.arrived = "", arrived
    try:
        desk.job = engine.submit("evaluation", f"{what} {model}", work)
    except StudioError as error:
        desk.error = str(error)


def collect(desk: Desk) -> bool:
    """Take what the job has made; True once it has ended."""

    def take(job: Job | None) -> None:
        if job is not None and job.state == "done" and job.result:
            desk.error = job.result
        # What was finished before a failure or a Cancel is kept too.
        kept = [desk.keep(entry) for entry in desk.arrived]
        desk.arrived = []
        attention_views.forget_old(desk)
        if len(kept) > 1:
            desk.investigation = tuple(kept)

    return background.collect(desk, take)


def show(desk: Desk) -> None:
    """The running work with its progress, or why the last one failed."""
    background.show(desk, partial(collect, desk), "vqa_cancel")


def start_wanted(desk: Desk) -> None:
    """Start what the page was opened for, once."""
    if desk.wanted_at_start and desk.job is None:
        wanted, desk.wanted_at_start = desk.wanted_at_start, ()
        start(desk, wanted)


def investigation(desk: Desk) -> None:
    """The example investigation: six trials of this observation in one click."""

    def run() -> None:
        items = []
        desk.error = ""
        for label, changes in example_investigation():
            draft = Draft(desk.draft.observation).with_interventions(changes)
            try:
                trial = build_trial(desk.dataset, desk.observation, changes, picture=desk.own_picture)
            except StudioError as error:
                # A preset that this observation lacks is left out; the others are still worth asking.
                desk.error = f"Left out of the investigation: {error}"
                continue
            known = desk.entry_for(trial)
            items.append((label, draft, trial, known.evaluation if known else None))
        if items:
            left_out = desk.error
            start_many(desk, items, EVERYTHING)
            desk.error = left_out

    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.button(
            "Example investigation",
            icon=":material/science:",
            key="vqa_investigation",
            on_click=run,
            disabled=desk.job is not None,
        )
        st.caption(
            "Asks this observation with no context, complementary, contradictory, a box, noise and its annotated "
            "picture, measures everything, and puts the six trials on one PDF page (the ISI paper's Figure 6).",
            width="stretch",
        )
