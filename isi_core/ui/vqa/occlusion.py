"""The occlusion check of an answer: run as a job, shown beside its attention on the same parts of the picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import streamlit as st

from isi_core.domain.attribution import Attribution
from isi_core.domain.errors import InputError, StudioError
from isi_core.domain.evaluation import Evaluation
from isi_core.measures.attention_views import heat_map_of
from isi_core.reports import attention_figures as figures
from isi_core.reports.figures import is_grid
from isi_core.reports.wording import number
from isi_core.studies.jobs import Job
from isi_core.studies.occlusion import SIDES, Floats, OcclusionCheck, attention_on_parts, rank_agreement
from isi_core.ui import background, frame, resources
from isi_core.ui.vqa.desk import Desk
from isi_core.ui.wording import as_written

_KEY = "vqa_occlusion_checks"
_KEPT = 20


@dataclass
class Checks:
    """A session's occlusion checks.

    Attributes
    ----------
    job, asked : the check that is running, and what it is of.
    found : what checks found, by what they are of; the latest ones.
    """

    job: str | None = None
    error: str = ""
    asked: Hashable = None
    found: dict[Hashable, OcclusionCheck] = field(default_factory=dict)

    def take(self, job: Job | None) -> None:
        """Keep what a check that has ended found."""
        if job is not None and job.state == "done" and isinstance(job.result, OcclusionCheck):
            self.found[self.asked] = job.result
            while len(self.found) > _KEPT:
                del self.found[next(iter(self.found))]


def checks() -> Checks:
    """This session's."""
    if _KEY not in st.session_state:
        st.session_state[_KEY] = Checks()
    found: Checks = st.session_state[_KEY]
    return found


def working() -> None:
    """The running check with its progress, or why the last one failed."""
    mine = checks()

    def collected() -> bool:
        return background.collect(mine, mine.take)

    collected()
    background.show(mine, collected, "vqa_occlusion_cancel")


def show(desk: Desk, evaluation: Evaluation, word: str, tokens: tuple[int, ...] | None) -> None:
    """The check of an answer, of one of its words or of all of it, or the button that runs it."""
    mine, attribution = checks(), evaluation.attribution
    chosen = st.segmented_control(
        "Parts of the picture",
        SIDES,
        default=SIDES[0],
        required=True,
        format_func=lambda side: f"{side} × {side}",
        key="vqa_parts",
    )
    side = int(chosen or SIDES[0])
    of = _of(evaluation, side)
    found = mine.found.get(of)
    if attribution is None or found is None:
        st.caption(
            f"Attention tells where the model looked, not what its answer hangs on. The check covers each of the "
            f"{side * side} parts in turn with the picture's mean colour and measures how much likelihood the same "
            "answer loses: a causal measure to hold against the heat map."
        )
        busy = mine.job is not None or desk.job is not None
        if st.button("Run the occlusion check", icon=":material/visibility_off:", key="vqa_occlude", disabled=busy):
            _start(mine, evaluation, side)
            st.rerun()
        return
    drops = found.drops(tokens)
    attention = _attention(attribution, side, tokens)
    left, right = st.columns(2)
    if attention is not None:
        with left:
            frame.figure(figures.part_attention_figure(attention), "part_attention")
    with right if attention is not None else st.container():
        frame.figure(figures.drop_figure(drops), "occlusion")
    _verdict(found, drops, attention, word, tokens)
    st.download_button(
        "CSV of both maps",
        data=partial(_csv, drops, attention),
        file_name=f"occlusion_{evaluation.trial.digest[:8]}_{side}x{side}.csv",
        mime="text/csv",
        icon=":material/download:",
        key="vqa_occlusion_csv",
        type="tertiary",
        on_click="ignore",
    )
    if evaluation.trial.image.width != evaluation.trial.image.height:
        st.caption("Parts and heat map are laid over the whole picture; a model that crops its input saw less of it.")


def _verdict(
    found: OcclusionCheck, drops: Floats, attention: Floats | None, word: str, tokens: tuple[int, ...] | None
) -> None:
    row, column = divmod(int(drops.argmax()), found.side)
    whole = float(found.whole[list(tokens)].sum() if tokens is not None else found.whole.sum())
    if attention is None:
        st.caption("There is no map of this model's attention to hold it against.")
    else:
        agreement = rank_agreement(attention, drops)
        st.metric("Spearman correlation of both maps (−1 to 1)", number(agreement))
        st.caption(
            "Near 1, the parts that were attended to are those the answer hangs on; near 0 or below, attention says "
            f"little about it. Ranks of {drops.size} parts; small drops that are all but equal count as much as large."
            if agreement is not None
            else "One of the maps is flat: there is nothing to rank."
        )
    largest = float(drops.max())
    hangs = (
        f"Most hangs on row {row + 1}, column {column + 1}: covered, it costs {number(largest)} nats."
        if largest > 0
        else "No part makes it less likely when it is covered."
    )
    st.caption(as_written(f"Log-likelihood of {word} under the whole picture: {number(whole)} nats. {hangs}"))


def _attention(attribution: Attribution, side: int, tokens: tuple[int, ...] | None) -> Floats | None:
    """Attention on the same parts; None where the model's map cannot be laid over the picture."""
    if not is_grid(attribution.heat_map):
        return None
    heat_map = attribution.heat_map
    if attribution.record is not None and tokens is not None:
        heat_map = heat_map_of(attribution.record, tokens)
    return attention_on_parts(heat_map, side)


def _of(evaluation: Evaluation, side: int) -> Hashable:
    answer = evaluation.answer
    return evaluation.trial.digest, evaluation.model, answer.token_ids if answer else (), side


def _start(mine: Checks, evaluation: Evaluation, side: int) -> None:
    """Have the check made by the model that gave the answer."""
    mine.error = ""
    try:
        shelf, engine = resources.shelf(), resources.jobs()
        model, answer = evaluation.model, evaluation.answer

        def work(progress: Any) -> OcclusionCheck:
            from isi_core.studies.occlusion import occlude

            if answer is None:
                raise InputError("There is no answer whose likelihood could be measured: ask first.")
            with shelf.vlm(model.name, model.quantization, progress) as vlm:
                if (vlm.record.source, vlm.record.revision) != (model.source, model.revision):
                    raise InputError(f"{model.name} has changed since it gave this answer: ask again.")
                return occlude(evaluation.trial, answer, vlm, side, progress)

        mine.job = engine.submit("occlusion", f"Occlusion check with {model.name}", work)
        mine.asked = _of(evaluation, side)
    except StudioError as error:
        mine.error = str(error)


def _csv(drops: Floats, attention: Floats | None) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["row", "column", "attention", "drop_nats"])
    for i, line in enumerate(drops):
        for j, drop in enumerate(line):
            writer.writerow([i + 1, j + 1, "" if attention is None else float(attention[i, j]), float(drop)])
    return buffer.getvalue().encode()
