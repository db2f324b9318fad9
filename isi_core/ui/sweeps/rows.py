"""The evaluations behind a mark that was picked in a chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import streamlit as st

from isi_core.ui.sweeps import engine
from isi_core.ui.sweeps.desk import Desk
from isi_core.ui.wording import as_written

if TYPE_CHECKING:
    from isi_core.store.sweeps import SweepResult

_MOST_ROWS = 2_000
_FRACTIONS = ("semantic entropy", "image", "context", "question")


def show(results: Sequence[SweepResult], picked: Sequence[dict[str, Any]], desk: Desk) -> None:
    """The evaluations behind what was picked of a chart; how to pick where nothing is."""
    if not picked:
        st.caption("Click a mark in the chart to list the observations behind it.")
        return
    found, words = behind(results, picked, desk.model)
    st.markdown(f"**{len(found):,} evaluations** · {as_written(words, 200)}")
    records = engine.sweeps().records
    answers, dataset = records.answers(desk.sweep), records.get(desk.sweep).dataset
    st.dataframe(
        [_row(r, answers.get(r.item, ""), dataset) for r in found[:_MOST_ROWS]],
        hide_index=True,
        width="stretch",
        height=320,
        key="sweeps_rows",
        column_config={
            "open": st.column_config.LinkColumn("", display_text="Open", help="In VQA Interventions", width=64),
            **{n: st.column_config.NumberColumn(format="%.3f") for n in _FRACTIONS},
        },
    )
    if len(found) > _MOST_ROWS:
        st.caption(f"The first {_MOST_ROWS:,}; the CSV has all.")


def behind(
    results: Sequence[SweepResult], picked: Sequence[dict[str, Any]], model: str
) -> tuple[list[SweepResult], str]:
    """The results that a picked mark stands for, and what it is in words.

    Of a flip these are the observations whose verdicts differ, under both conditions; of a point of a risk-coverage
    curve those that are at most as unsure and whose truth is known.
    """
    from isi_core.reports.wording import number
    from isi_core.studies.sweep.analysis import is_right

    point = picked[0]
    whose = str(point.get("model") or model)
    own = [r for r in results if r.model == whose and not r.error]
    if "first" in point:
        pair = str(point["first"]), str(point["second"])
        verdicts = [{r.observation: r.verdict for r in own if r.condition == c} for c in pair]
        differ = {o for o, v in verdicts[0].items() if o in verdicts[1] and verdicts[1][o] != v}
        chosen = [r for r in own if r.observation in differ and r.condition in pair]
        return chosen, f"another verdict under {pair[0]} than under {pair[1]}"
    condition, family = point.get("condition"), point.get("family")
    chosen = [r for r in own if r.condition == condition and (family is None or r.family == family)]
    if "limit" in point:
        limit = float(point["limit"])
        chosen = [
            r
            for r in chosen
            if is_right(r) is not None and r.measured.get("semantic_entropy", math.inf) <= limit + 1e-9
        ]
        return chosen, f"{whose} · {condition} · semantic entropy up to {number(limit)} nats"
    return chosen, " · ".join(str(part) for part in (whose, condition, family) if part)


def _row(result: SweepResult, answer: str, dataset: str) -> dict[str, Any]:
    from isi_core.studies.sweep.analysis import is_right

    right = is_right(result)
    image, _, context = result.condition.partition(",")[0].partition("/")
    link = {"obs": result.observation, "image": image, "context": context, "dataset": dataset}
    measured = result.measured
    return {
        "open": f"VQA_Interventions?{urlencode(link)}",
        "observation": result.observation,
        "condition": result.condition,
        "family": result.family,
        "truth": result.truth,
        "verdict": result.verdict,
        "judged": "not judged" if right is None else "✓ right" if right else "✗ wrong",
        "answer": " ".join(answer.split())[:200],
        "semantic entropy": measured.get("semantic_entropy"),
        "clusters": measured.get("n_clusters"),
        "image": measured.get("attention_image"),
        "context": measured.get("attention_context"),
        "question": measured.get("attention_question"),
        "run": result.run,
    }
