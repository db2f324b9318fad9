"""Gradient relevancy of an answer: computed as a job when it is asked for, shown beside the attention itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from isi_core.domain.answer import Answer
from isi_core.domain.attribution import AttentionRecord, Attribution
from isi_core.domain.evaluation import Evaluation
from isi_core.measures import attention_views as views
from isi_core.measures.attribution import attribute
from isi_core.models.memory import free_memory
from isi_core.models.vlm.relevancy_memory import relevancy_bytes, size_words, too_large, whole_bytes
from isi_core.reports import attention_figures as figures
from isi_core.reports.figures import heat_map_legend, is_grid
from isi_core.ui import frame, resources
from isi_core.ui.vqa.attention_jobs import on_demand, start
from isi_core.ui.vqa.attention_parts import PICTURE_WIDTH, highlighted, under_map
from isi_core.ui.vqa.desk import Desk
from isi_core.ui.wording import as_written

_CHARACTERS = 3  # a token of a prompt has, at least; more make the estimate of its memory a generous one
_PAPER = "Chefer, Gur and Wolf, ICCV 2021"
_BARS = ("gradient relevancy", "attention")


def known(evaluation: Evaluation, tokens: tuple[int, ...] | None) -> AttentionRecord | None:
    """The relevancy of these tokens of an answer, from a job of their own or from one of the whole answer."""
    found = on_demand().get(evaluation, ("relevancy", tokens))
    whole = on_demand().get(evaluation, ("relevancy", None))
    if found is not None or whole is None or tokens is None:
        return found
    chosen = list(tokens)
    return replace(
        whole,
        sums=whole.sums[chosen],
        image_columns=whole.image_columns[chosen],
        context_columns=whole.context_columns[chosen],
        question_columns=whole.question_columns[chosen],
    )


def show(desk: Desk, evaluation: Evaluation, word: str, tokens: tuple[int, ...] | None) -> None:
    """The relevancy of the inputs for a word of the answer or for all of it, or the button that computes it."""
    attribution = evaluation.attribution
    if attribution is None:
        return
    record = known(evaluation, tokens)
    if record is None:
        _offer(desk, evaluation, attribution, word, tokens)
        return
    said = attribution.tokens if tokens is None else [attribution.tokens[i] for i in tokens]
    relevant = attribute(record, said)
    if not record.sums.any():
        st.info(f"Nothing in the prompt was relevant for {as_written(word)}: every gradient was 0 or spoke against it.")
        return
    _maps(evaluation, attribution, relevant, word, tokens)
    _shares(attribution, relevant, word, tokens)
    for name, text, colour in (
        ("context", evaluation.trial.context, "orange"),
        ("question", evaluation.trial.question, "green"),
    ):
        words = views.word_shares(record, name, text)  # type: ignore[arg-type]
        if words:
            st.markdown(f":{colour}-badge[{name}]  \n{highlighted(words, colour)}")
    st.caption(
        "Marked are the words with the largest relevancy. Relevancy is of the answer token's logit: it tells what "
        f"spoke for the word, not what spoke against it ({_PAPER})."
    )


def _maps(
    evaluation: Evaluation, attribution: Attribution, relevant: Attribution, word: str, tokens: tuple[int, ...] | None
) -> None:
    """Relevancy and attention over the same picture, each on its own scale, since both are shares of their own sum."""
    if not is_grid(relevant.heat_map):
        st.caption("This model cuts the picture into tiles: there is no map of its patches.")
        return
    attention = attribution.heat_map
    if attribution.record is not None and tokens is not None:
        attention = views.heat_map_of(attribution.record, tokens)
    for column, heat_map, title, what in zip(
        st.columns(2),
        (relevant.heat_map, attention),
        ("Gradient relevancy", "Attention"),
        ("share of relevancy per cell", "share of attention per cell"),
        strict=True,
    ):
        column.markdown(f"**{title}**")
        column.image(resources.png(under_map(evaluation, heat_map)), width=PICTURE_WIDTH)
        column.image(heat_map_legend(heat_map, what=what), width=PICTURE_WIDTH)
    places = [
        "row {}, column {}".format(*(1 + int(i) for i in divmod(int(m.argmax()), m.shape[1])))
        for m in (relevant.heat_map, attention)
    ]
    same = "the same patch" if places[0] == places[1] else f"{places[0]} for relevancy, {places[1]} for attention"
    st.caption(
        as_written(
            f"Left, the patches that spoke for {word}: attention times the gradient of its logit, followed through all "
            f"layers; right, those attended to. Brightest: {same}. Patches bright on the right alone were looked at "
            "without speaking for the answer."
        )
    )


def _shares(attribution: Attribution, relevant: Attribution, word: str, tokens: tuple[int, ...] | None) -> None:
    of_word = attribution.absolute
    if tokens is not None:
        mean = attribution.by_token[list(tokens)].mean(axis=0)
        of_word = dict(zip(of_word, mean.tolist(), strict=True))
    reading = (
        f"An input's upper bar is its share of what was relevant for {word}, the paler one its share of attention; the "
        "first position, a sink, is left out of both."
    )
    shares = {_BARS[0]: relevant.absolute, _BARS[1]: of_word}
    frame.figure(figures.beside_figure(shares, "relevancy or attention", reading, "relevancy_shares"), "relevancy")


def _offer(
    desk: Desk, evaluation: Evaluation, attribution: Attribution, word: str, tokens: tuple[int, ...] | None
) -> None:
    """What it is, what it takes, and the button."""
    layers, heads = attribution.by_head.shape[:2]
    length = prompt_tokens(evaluation, attribution)
    needed, free = relevancy_bytes(layers, heads, length), free_memory()
    st.caption(
        f"Gradient relevancy ({_PAPER}) multiplies attention with the gradient of the answer's logit and follows it "
        "through all layers: of what was attended to, it keeps what spoke for the answer."
    )
    st.caption(
        f"Memory: about {size_words(needed)} for one layer's attention matrices and gradients at a time ({heads} heads "
        f"× about {length:,} tokens squared), and {size_words(free)} are free. All {layers} layers at once would take "
        f"{size_words(whole_bytes(layers, heads, length))}."
    )
    fits = needed <= free
    if not fits:
        st.warning(too_large(needed, free), icon=":material/memory:")
    busy = on_demand().job is not None or desk.job is not None
    off = busy or not fits
    if st.button(
        f"Compute it for {as_written(word)}", icon=":material/conversion_path:", key="vqa_relevancy", disabled=off
    ):
        _start(evaluation, attribution, tokens)
        st.rerun()


def prompt_tokens(evaluation: Evaluation, attribution: Attribution) -> int:
    """About how many tokens prompt and answer have, rather too many than too few."""
    return int(attribution.heat_map.size) + len(evaluation.prompt) // _CHARACTERS + len(attribution.tokens)


def _start(evaluation: Evaluation, attribution: Attribution, tokens: tuple[int, ...] | None) -> None:
    steps = tuple(range(len(attribution.tokens))) if tokens is None else tokens

    def compute(vlm: Any, answer: Answer, progress: Any) -> AttentionRecord:
        from isi_core.models.vlm.relevancy import relevancy

        return relevancy(vlm, evaluation.trial, answer, steps, progress)

    start(evaluation, ("relevancy", tokens), "Gradient relevancy", compute)
