"""Two interventions side by side: the attention of two answers on one scale, and their difference."""

from __future__ import annotations

import numpy as np
import streamlit as st

from isi_core.domain.attribution import Attribution
from isi_core.domain.evaluation import Evaluation
from isi_core.reports import attention_figures as figures
from isi_core.reports.figures import heat_map_legend, is_grid, thumbnail
from isi_core.reports.wording import intervention_words, number
from isi_core.ui import frame, resources
from isi_core.ui.vqa.attention_parts import PICTURE_SIDE, under_map
from isi_core.ui.vqa.desk import Desk, Entry
from isi_core.ui.wording import as_written

_LEGEND, _NARROW = 280, 200  # pixels


def show(desk: Desk, evaluation: Evaluation, found: Attribution) -> None:
    """This answer's attention beside that of another trial of the session."""
    others = comparable(desk, evaluation)
    if not others:
        st.info(
            "There is nothing to compare with yet: change the context, draw on the picture or take another preset, "
            "press **Measure attention**, and choose the earlier trial here. *Example investigation* makes six.",
            icon=":material/compare:",
        )
        return
    index = st.selectbox(
        "Compare with", list(others), format_func=lambda i: _title(i, others[i]), key=f"vqa_beside_{len(desk.entries)}"
    )
    other = others[index]
    against = other.evaluation.attribution
    if against is None:
        return
    st.caption(f"This: {_changes(evaluation)}. Trial {index + 1}: {_changes(other.evaluation)}.")
    if other.evaluation.model != evaluation.model:
        st.caption(as_written(f"Another model gave that answer ({other.evaluation.model.name}): read with care."))
    _maps(evaluation, found, other.evaluation, against, index)
    names = ("this trial", f"trial {index + 1}")
    moved = {name: found.absolute[name] - against.absolute[name] for name in found.absolute}
    most = max(moved, key=lambda name: abs(moved[name]))
    change = "the same shares in both"
    if moved[most]:
        change = f"{'more' if moved[most] > 0 else 'less'} on the {_input(most)} here, by {number(abs(moved[most]))}"
    reading = f"Each input's share of attention, {names[0]} above the paler {names[1]}; largest change: {change}."
    shares = dict(zip(names, (found.absolute, against.absolute), strict=True))
    frame.figure(figures.beside_figure(shares, "attention", reading, "attention_beside"), "beside")


def comparable(desk: Desk, evaluation: Evaluation) -> dict[int, Entry]:
    """The session's other trials whose attention was measured, by their place; of the same observation first."""

    def identity(made: Evaluation) -> tuple[object, ...]:
        return made.trial.digest, made.model, made.decoding

    def distance(index: int) -> tuple[bool, bool, int]:
        made = desk.entries[index].evaluation
        return (made.trial.observation_id != evaluation.trial.observation_id, made.model != evaluation.model, -index)

    held = [
        i
        for i, entry in enumerate(desk.entries)
        if entry.evaluation.attribution is not None and identity(entry.evaluation) != identity(evaluation)
    ]
    return {i: desk.entries[i] for i in sorted(held, key=distance)}


def _maps(this: Evaluation, found: Attribution, that: Evaluation, against: Attribution, index: int) -> None:
    """Both maps with one colour scale, and this one less that one over this picture."""
    if not is_grid(found.heat_map) or found.heat_map.shape != against.heat_map.shape:
        st.caption("The two pictures are not cut into the same patches: only the shares can be compared.")
        return
    peak = max(float(found.heat_map.max()), float(against.heat_map.max()))
    difference = found.heat_map - against.heat_map
    far = max(float(np.abs(difference).max()), 1e-12)
    columns = st.columns(3)
    for column, title, picture in zip(
        columns,
        ("This trial", f"Trial {index + 1}", "Difference"),
        (
            under_map(this, found.heat_map, peak=peak),
            under_map(that, against.heat_map, peak=peak),
            figures.difference_overlay(thumbnail(this.trial.image, PICTURE_SIDE), difference, far),
        ),
        strict=True,
    ):
        column.markdown(f"**{title}**")
        column.image(resources.png(picture), width="stretch")
    both, one = st.columns([2, 1])
    both.image(heat_map_legend(np.array([[peak]])), width=_LEGEND)
    one.image(figures.difference_legend(far, "difference", _NARROW), width="stretch")
    row, column_of = divmod(int(np.abs(difference).argmax()), difference.shape[1])
    largest = float(difference[row, column_of])
    where = f"row {row + 1}, column {column_of + 1} ({'+' if largest >= 0 else '−'}{number(abs(largest))})"
    st.caption(
        "Both maps go up to the same brightest patch, so equal colours are equal shares. In the difference, blue "
        f"patches got more attention in this trial, pink ones in trial {index + 1}; it is largest at {where}. A patch "
        "on which something was drawn differs in what it shows too."
    )


def _title(index: int, entry: Entry) -> str:
    made = entry.evaluation
    what = entry.label or f"{made.trial.image_kind} picture, {made.trial.context_kind} context"
    said = made.answer.text if made.answer else ""
    return f"{index + 1}: {what[:60]}: “{said[:40]}”"


def _changes(evaluation: Evaluation) -> str:
    made = "; ".join(intervention_words(change) for change in evaluation.trial.interventions) or "as it is"
    return as_written(f"{made}; answer “{evaluation.answer.text if evaluation.answer else ''}”", 240)


def _input(name: str) -> str:
    return "rest" if name == "other" else name
