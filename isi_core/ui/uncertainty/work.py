"""Work in the background: comparing answers, drawing more of them, sweeping the temperature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from isi_core.domain.answer import Answer
from isi_core.domain.errors import StudioError
from isi_core.domain.evaluation import Evaluation
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.measures.answer_groups import ComparedAnswers
from isi_core.models.entailment.protocol import ENTAILMENT, EntailmentModel
from isi_core.studies.jobs import Job
from isi_core.ui import background, resources
from isi_core.ui.uncertainty.desk import Desk, Subject, View, sweep_key
from isi_core.ui.wording import as_written

MANY, VERY_MANY = 50, 200
_DATASET = "semantic uncertainty"


def compare(desk: Desk, subject: Subject) -> None:
    """Have the entailment model compare the subject's answers as chosen."""
    shelf = resources.shelf()
    model, prepended = desk.entailment_model, desk.prepended

    def work(progress: Any) -> ComparedAnswers:
        with shelf.entailment(model, progress) as entailment:
            question = subject.question if prepended and subject.question else None
            return _all_pairs(subject.samples, question, entailment, progress)

    def done(made: ComparedAnswers) -> None:
        desk.keep_comparison(subject, model, prepended, made)

    start(desk, f"Comparing answers by {model}", work, done)


def _all_pairs(
    samples: tuple[Answer, ...], question: str | None, entailment: EntailmentModel, progress: Any
) -> ComparedAnswers:
    from isi_core.measures.semantic_entropy import class_probabilities

    found = class_probabilities([a.text for a in samples], question, entailment, progress)
    return ComparedAnswers(
        samples, found.argmax(axis=-1).astype(np.int64), np.ascontiguousarray(found[..., ENTAILMENT])
    )


def draw(desk: Desk, subject: Subject, count: int) -> None:
    """Have `count` answers sampled for the subject's trial, under its own settings; they become a subject."""
    made = subject.evaluation
    if made is None:
        return
    settings = _settings(desk)
    decoding = replace(made.decoding, n_samples=count)
    evaluate = _evaluation(made, settings)

    def work(progress: Any) -> tuple[Evaluation, ComparedAnswers | None]:
        (found,) = evaluate([decoding], f"{count} samples", progress)
        if found.uncertainty is None or found.uncertainty.all_compared:
            return found, None
        # Of many different answers the study compares one of each meaning with all; this page needs every pair.
        with resources.shelf().entailment(settings.entailment_model, progress) as entailment:
            return found, _all_pairs(found.uncertainty.samples, found.trial.question, entailment, progress)

    def done(result: tuple[Evaluation, ComparedAnswers | None]) -> None:
        found, every_pair = result
        number = len(desk.drawn) + 1
        origin = subject.label.split(" · ")[0]
        drawn = Subject.of(f"drawn-{number}", f"{origin} · drawn here", found)
        if every_pair is not None:
            desk.keep_comparison(drawn, settings.entailment_model, True, every_pair)
        desk.drawn.append(drawn)
        desk.source = "This session"
        desk.chosen[desk.source] = f"drawn-{number}"

    start(desk, f"Drawing {count} answers from {made.model.name}", work, done)


def sweep(desk: Desk, subject: Subject, temperatures: Sequence[float], count: int) -> None:
    """Have `count` answers sampled at each temperature."""
    made = subject.evaluation
    if made is None:
        return
    settings = _settings(desk)
    decodings = [replace(made.decoding, n_samples=count, temperature=t) for t in temperatures]
    evaluate = _evaluation(made, settings)

    def work(progress: Any) -> list[Evaluation]:
        return evaluate(decodings, "temperature {:g}", progress)

    def done(found: list[Evaluation]) -> None:
        desk.sweeps[sweep_key(made)] = found

    start(desk, f"Sweeping the temperature of {made.model.name}", work, done)


def _settings(desk: Desk) -> UncertaintySettings:
    return UncertaintySettings(desk.grouping.rule, desk.grouping.likelihood, desk.entailment_model)


def _evaluation(
    made: Evaluation, settings: UncertaintySettings
) -> Callable[[Sequence[Any], str, Any], list[Evaluation]]:
    """Evaluates the trial of `made` under several decodings; what the store has already is not asked again."""
    shelf, store = resources.shelf(), resources.store()

    def run(decodings: Sequence[Any], label: str, progress: Any) -> list[Evaluation]:
        from contextlib import ExitStack

        from isi_core.studies.vqa import Wanted, evaluate

        wanted: tuple[Wanted, ...] = ("uncertainty",)
        found = []
        with ExitStack() as held:
            vlm = held.enter_context(shelf.vlm(made.model.name, made.model.quantization, progress))
            entailment = held.enter_context(shelf.entailment(settings.entailment_model, progress))
            for number, decoding in enumerate(decodings):
                of = f"Temperature {decoding.temperature:g}: " if len(decodings) > 1 else ""

                def part(message: str, fraction: float, number: int = number, of: str = of) -> None:
                    progress(of + message, (number + fraction) / len(decodings))

                part("Looking it up", 0.0)
                known = store.find(made.trial.digest, vlm.record, decoding, settings)
                if known is None or known.uncertainty is None:
                    known = evaluate(made.trial, vlm, decoding, wanted, entailment, settings, progress=part)
                    store.save(known, dataset=_DATASET, label=label.format(decoding.temperature))
                found.append(known)
        return found

    return run


def start(desk: Desk, title: str, work: Callable[[Any], Any], done: Callable[[Any], None]) -> None:
    """Have `work` done in the background, and its result handed to `done`; nothing where something runs already."""
    if desk.job is not None:
        return
    desk.error = ""
    try:
        desk.job, desk.when_done = resources.jobs().submit("uncertainty", title, work), done
    except StudioError as error:
        desk.error = str(error)


def collect(desk: Desk) -> bool:
    """Take what the job has made; True once it has ended."""

    def take(job: Job | None) -> None:
        done, desk.when_done = desk.when_done, None
        if job is None or job.state != "done":
            return
        if job.result is None:
            desk.error = background.INTERRUPTED
        elif done is not None:
            done(job.result)

    return background.collect(desk, take)


def show(desk: Desk) -> None:
    """The running work with its progress, or why the last one failed."""
    background.show(desk, partial(collect, desk), "uncertainty_cancel")


def offer(desk: Desk, subject: Subject | None) -> View | None:
    """The subject as it is looked at; or the button that makes that possible."""
    if subject is None:
        _teach()
        return None
    busy = desk.job is not None
    if not subject.samples:
        st.info(
            "This trial has one answer and no samples yet: draw some to see how far they spread.",
            icon=":material/lightbulb:",
        )
        with st.container(horizontal=True, gap="small"):
            for count in (10, MANY):
                st.button(
                    f"Draw {count} answers",
                    key=f"uncertainty_draw_{count}",
                    type="primary" if count == 10 else "secondary",
                    on_click=partial(draw, desk, subject, count),
                    disabled=busy,
                )
        return None
    try:
        view = desk.view(subject)
    except StudioError as error:
        st.error(as_written(str(error)), icon=":material/error:")
        return None
    if view is None:
        texts = len({a.text for a in subject.samples})
        reads = "with the question" if desk.prepended and subject.question else "without the question"
        st.info(
            f"{as_written(desk.entailment_model)} has not compared all of these {len(subject.samples)} answers {reads} "
            f"yet: {texts * (texts - 1)} pairs of {texts} different texts.",
            icon=":material/compare_arrows:",
        )
        st.button(
            "Compare the answers",
            key="uncertainty_compare",
            type="primary",
            on_click=partial(compare, desk, subject),
            disabled=busy,
        )
    return view


def _teach() -> None:
    st.markdown(
        "**What this page does.** A model that is unsure gives different answers when it is asked several times. Words "
        "alone mislead: “Yes.” and “Yes, it is.” differ in words and say the same. Here answers that entail each other "
        "are put into one cluster, and the spread over *clusters* is measured:"
    )
    st.markdown(
        "1. **Sample** ten or more answers to one question.\n"
        "2. **Compare** every pair by an entailment model: does one imply the other?\n"
        "3. **Group** those that mean the same, and measure the entropy of the groups: 0 nats is one meaning, ln n as "
        "many meanings as answers."
    )
    st.caption(
        "Then: switch the published grouping rules against each other, ask whether 10 samples are enough, sweep the "
        "temperature, compare two trials, move an answer by hand."
    )
