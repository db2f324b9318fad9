"""The ways of asking that are compared, by name: the reference procedure's and this project's, ready to run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from benchmarks.vlm_models import (
    FULL,
    QUICK,
    Kind,
    make_nli,
    make_trial,
    make_vlm,
    studio,
    studio_nli,
    ten_answers,
    texts_of,
)
from benchmarks.vlm_reference import Reference, compare_pairwise
from isi_core.domain.decoding import Decoding
from isi_core.domain.evaluation import Measure
from isi_core.domain.trial import Trial
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.measures.attribution import attribute
from isi_core.measures.semantic_entropy import measure
from isi_core.models.vlm.hugging_face import HuggingFaceVLM

Way = Literal["plain answer", "plain samples", "eager attention", "three buttons", "attention", "samples", "all"]
"""The first four are the reference's, the last three this project's."""


@dataclass(frozen=True)
class Setup:
    """What is asked of which model.

    Attributes
    ----------
    side : of the vision tower's picture, in pixels.
    tokens : of every answer.
    """

    kind: Kind
    side: int = 336
    tokens: int = 32
    samples: int = 10
    threads: int = 2
    quick: bool = False

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Setup:
        """The setup from its fields."""
        return cls(**data)

    @property
    def decoding(self) -> Decoding:
        """The same settings for this project."""
        return Decoding(max_new_tokens=self.tokens, n_samples=self.samples, temperature=0.9, top_k=50)


@dataclass(frozen=True)
class Run:
    """A way that is ready: `run` it as often as you like, after a `warm_up`; `vlm` where it is this project's."""

    run: Callable[[], object]
    model: Any = field(repr=False)
    trial: Trial
    vlm: HuggingFaceVLM | None = None

    def warm_up(self) -> None:
        """A short text without a picture."""
        ids = torch.tensor([[1, 5, 6, 7]])
        with torch.inference_mode():
            self.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=2)


def make_way(way: Way, setup: Setup) -> Run:
    """Build the model that a way needs, the same for all ways, and the way."""
    torch.set_num_threads(setup.threads)
    size = QUICK if setup.quick else FULL
    model, processor = make_vlm(setup.kind, size, setup.side)
    trial = make_trial(setup.kind, setup.side)
    reference = Reference(model, processor, trial, setup.tokens, setup.samples)
    if way == "plain answer":
        return Run(lambda: reference.answer("sdpa"), model, trial)
    if way == "plain samples":
        return Run(lambda: reference.draw("sdpa"), model, trial)
    if way == "eager attention":
        return Run(reference.attend, model, trial)
    if way == "three buttons":
        nli, tokenizer = make_nli(size)

        def press_all() -> None:
            reference.answer("eager")
            reference.draw("eager")
            reference.attend()
            compare_pairwise(nli, tokenizer, texts_of(ten_answers()))

        return Run(press_all, model, trial)

    vlm = studio(model, processor)
    wanted: dict[Way, list[Measure]] = {
        "attention": ["attention"],
        "samples": ["samples"],
        "all": ["attention", "samples"],
    }
    entailment = studio_nli(*make_nli(size)) if way == "all" else None

    def ask() -> None:
        vlm.prefills.clear()  # every run reads its prompt
        [output] = vlm.evaluate([trial], setup.decoding, wanted[way])
        if output.attention is not None and output.answer is not None:
            attribute(output.attention, output.answer.tokens)
        if entailment is not None:  # random weights write gibberish: both sides compare the same ten answers
            measure(ten_answers(), trial.question, entailment, UncertaintySettings())

    return Run(ask, model, trial, vlm)
