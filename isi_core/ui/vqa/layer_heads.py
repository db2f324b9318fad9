"""One layer's heads, recorded on demand: a slider over them in the heat map's view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from isi_core.domain.answer import Answer
from isi_core.domain.attribution import AttentionRecord, Attribution
from isi_core.domain.evaluation import Evaluation
from isi_core.models.memory import free_memory
from isi_core.models.vlm.relevancy_memory import relevancy_bytes, size_words
from isi_core.ui.vqa.attention_jobs import on_demand, start
from isi_core.ui.vqa.desk import Desk
from isi_core.ui.vqa.relevancy import prompt_tokens


@dataclass(frozen=True, eq=False)
class Head:
    """A head (from 0) and the record whose "layers" are the heads of its layer."""

    number: int
    record: AttentionRecord


def chosen_head(desk: Desk, evaluation: Evaluation, found: Attribution, layer: int) -> Head | None:
    """The head of a layer to look at; None for the mean over all of them, or where they were not recorded yet."""
    layers, heads = found.by_head.shape[:2]
    record = on_demand().get(evaluation, ("heads", layer))
    if record is None:
        needed = relevancy_bytes(layers, heads, prompt_tokens(evaluation, found))
        fits = needed <= free_memory()
        busy = on_demand().job is not None or desk.job is not None
        if st.button(
            f"Record its {heads} heads",
            icon=":material/view_column:",
            key="vqa_heads",
            disabled=busy or not fits,
            help=f"Kept on demand, for one layer at a time: takes at most {size_words(needed)} of memory meanwhile."
            + ("" if fits else " So much is not free."),
        ):
            _start(evaluation, found, layer)
            st.rerun()
        return None
    options = ["all", *map(str, range(1, heads + 1))]
    chosen = str(st.select_slider("Head (“all” is their mean)", options, key=f"vqa_head_{layer}_{heads}"))
    return None if chosen == "all" else Head(int(chosen) - 1, record)


def _start(evaluation: Evaluation, found: Attribution, layer: int) -> None:
    steps = len(found.tokens)

    def compute(vlm: Any, answer: Answer, progress: Any) -> AttentionRecord:
        from isi_core.models.vlm.layer_heads import layer_heads

        return layer_heads(vlm, evaluation.trial, answer, steps, layer, progress)

    start(evaluation, ("heads", layer), f"Heads of layer {layer + 1}", compute)
