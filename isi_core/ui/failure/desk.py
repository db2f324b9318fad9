"""What one session has on the page Failure Prediction, under one key: its choices, the run it looks at, its job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import streamlit as st

from isi_core.datasets.catalogue import BUILT_IN
from isi_core.models.catalogue import DEFAULT_VLM
from isi_core.studies.failure.causal import PARTS
from isi_core.studies.failure.plan import CONTEXTS, PICTURE_TASKS, PRESETS, FailurePlan
from isi_core.ui.failure.timing import Timing

if TYPE_CHECKING:
    from isi_core.studies.failure.transfer import TransferResult

_KEY = "failure_desk"
SCORES = "scores"
"""The choice of task that runs nothing: a CSV file of scores from elsewhere."""
FIVE, ALL, SOME = "five, evenly spaced", "all", "these numbers"
_LAYERS: dict[str, Any] = {"five": FIVE, "all": ALL}


@dataclass
class Desk:
    """The choices of a plan to be made, and where the session looks.

    Attributes
    ----------
    typed, kept : text tasks: the path that was typed, and the folder that uploaded files were put into.
    kept_names : names of the uploaded files.
    layers, numbers : how layers are chosen, and which where they are named.
    run : digest of the plan whose result is looked at; "" for none.
    plan : the plan that the running job follows, so that its end shows its result.
    curves : explainers whose curves are drawn; None for the first few.
    beside : digests of further runs whose panels stand beside the first.
    causal_explainer, causal_parts, causal_cases : what a causal test tries, of whose explanation, on how many cases.
    quiz : id of the quiz that is being taken; "" for none; `quiz_shown`: when its question was first shown, in seconds.
    transfer : key of the run that was carried over, and the matrix; `carrying` while the job does that.
    timings : what a few questions took, by what that holds for (`timing.about`).
    timed : the plan whose questions the running job times.
    told : sentence about what the last job left ("cancelled: what was collected is kept").
    """

    prefix: ClassVar[str] = "failure"

    task: str = "scenes"
    dataset: str = BUILT_IN
    typed: str = ""
    kept: str = ""
    kept_names: tuple[str, ...] = ()
    given: bool = False
    model: str = DEFAULT_VLM
    text_model: str = ""
    four_bit: bool = False
    k: int = 100
    layers: str = FIVE
    numbers: str = ""
    explainers: list[str] = field(default_factory=list)
    contexts: list[str] = field(default_factory=lambda: list(CONTEXTS))
    seed: int = 0
    sampling_k: int = 200
    samples: int = 10
    temperature: float = 0.9
    permuted: str = "last-token"
    permutations: int = 20
    run: str = ""
    view: str = ""
    curves: list[str] | None = None
    beside: list[str] = field(default_factory=list)
    sorting: str = ""
    causal_explainer: str = ""
    causal_parts: list[str] = field(default_factory=lambda: list(PARTS))
    causal_cases: int = 100
    quiz: str = ""
    quiz_explainer: str = ""
    quiz_person: str = ""
    quiz_shown: float = 0.0
    transfer_explainer: str = ""
    transfer_by: str = "context"
    transfer_to: list[str] = field(default_factory=list)
    transfer: tuple[str, TransferResult] | None = None
    carrying: bool = False
    plan: FailurePlan | None = None
    timings: dict[tuple[object, ...], Timing] = field(default_factory=dict)
    timed: FailurePlan | None = None
    job: str | None = None
    error: str = ""
    told: str = ""

    def hush(self) -> None:
        """Take back what was said about the action before."""
        self.error = self.told = ""

    @property
    def pictures(self) -> bool:
        """The task shows pictures, so that it needs a vision-language model."""
        return self.task in PICTURE_TASKS

    def adopt(self, plan: FailurePlan) -> None:
        """Take every setting of a plan but its task, data and model."""
        self.k, self.seed = plan.k, plan.seed
        self.layers = _LAYERS.get(plan.layers, SOME) if isinstance(plan.layers, str) else SOME
        if not isinstance(plan.layers, str):
            self.numbers = ", ".join(map(str, plan.layers))
        self.explainers, self.contexts = list(plan.explainers), list(plan.contexts)
        self.sampling_k, self.samples, self.temperature = plan.sampling_k, plan.samples, plan.temperature
        self.permuted, self.permutations = plan.permuted, plan.permutations
        self.error = ""

    def look_at(self, digest: str) -> None:
        """Show another run's result."""
        if digest != self.run:
            self.run, self.curves = digest, None
            self.told = ""


def open_desk() -> Desk:
    """The session's desk, laid out for a quick look when the session has none yet."""
    desk: Desk | None = st.session_state.get(_KEY)
    if desk is None:
        desk = Desk()
        desk.adopt(PRESETS["quick look"]())
        st.session_state[_KEY] = desk
    return desk
