"""What the attention views compute only when it is asked for, as jobs, and keep for the session."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from isi_core.domain.answer import Answer
from isi_core.domain.attribution import AttentionRecord
from isi_core.domain.errors import InputError, StudioError
from isi_core.domain.evaluation import Evaluation
from isi_core.studies.jobs import Job
from isi_core.ui import background, resources

_KEY = "vqa_on_demand"
_KEPT = 30

Compute = Callable[[Any, Answer, Any], AttentionRecord]
"""From the model, the answer and a progress to what is shown."""


@dataclass
class OnDemand:
    """A session's records that were computed on demand.

    Attributes
    ----------
    job, asked : the computation that is running, and what it is of.
    found : by what was asked of which answer of which model to which trial; the latest ones.
    """

    job: str | None = None
    error: str = ""
    asked: Hashable = None
    found: dict[Hashable, AttentionRecord] = field(default_factory=dict)

    def take(self, job: Job | None) -> None:
        """Keep what a job that has ended found."""
        if job is not None and job.state == "done" and isinstance(job.result, AttentionRecord):
            self.found[self.asked] = job.result
            while len(self.found) > _KEPT:
                del self.found[next(iter(self.found))]

    def get(self, evaluation: Evaluation, what: Hashable) -> AttentionRecord | None:
        """What is known of an evaluation's answer."""
        return self.found.get(_of(evaluation, what))


def on_demand() -> OnDemand:
    """This session's."""
    if _KEY not in st.session_state:
        st.session_state[_KEY] = OnDemand()
    found: OnDemand = st.session_state[_KEY]
    return found


def working() -> None:
    """The running computation with its progress, or why the last one failed."""
    mine = on_demand()

    def collected() -> bool:
        return background.collect(mine, mine.take)

    collected()
    background.show(mine, collected, "vqa_on_demand_cancel")


def start(evaluation: Evaluation, what: Hashable, title: str, compute: Compute) -> None:
    """Have something computed by the model that gave the answer, which the job holds meanwhile."""
    mine = on_demand()
    mine.error = ""
    try:
        shelf, engine = resources.shelf(), resources.jobs()
        model, answer = evaluation.model, evaluation.answer

        def work(progress: Any) -> AttentionRecord:
            if answer is None:
                raise InputError("There is no answer to look into: ask first.")
            with shelf.vlm(model.name, model.quantization, progress) as vlm:
                if (vlm.record.source, vlm.record.revision) != (model.source, model.revision):
                    raise InputError(f"{model.name} has changed since it gave this answer: ask again.")
                return compute(vlm, answer, progress)

        mine.job = engine.submit("attention", f"{title} with {model.name}", work)
        mine.asked = _of(evaluation, what)
    except StudioError as error:
        mine.error = str(error)


def _of(evaluation: Evaluation, what: Hashable) -> Hashable:
    answer = evaluation.answer
    return evaluation.trial.digest, evaluation.model, answer.token_ids if answer else (), what
