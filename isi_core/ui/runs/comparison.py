"""Runs side by side: what went in with its differences marked, what came out in the same rows."""

from __future__ import annotations

import difflib
import re

import streamlit as st

from isi_core.domain.evaluation import Evaluation
from isi_core.reports import charts
from isi_core.reports.figures import thumbnail
from isi_core.reports.wording import decoding_words, intervention_words, number
from isi_core.store.runs import StoredRun
from isi_core.ui import frame, resources
from isi_core.ui.runs.actions import names
from isi_core.ui.runs.desk import MOST_COMPARED, Desk
from isi_core.ui.wording import as_written

_LONGEST = 700
_PICTURE_WIDTH = 300


def show(desk: Desk, runs: list[StoredRun]) -> None:
    """One run, or two to six beside each other."""
    if len(runs) > MOST_COMPARED:
        st.info(
            f"{len(runs)} runs are ticked: tick at most {MOST_COMPARED} to compare them.", icon=":material/compare:"
        )
        return
    made = [desk.whole(run) for run in runs]
    columns = st.columns(len(runs) if len(runs) > 1 else [3, 5], gap="medium")
    for i, (run, evaluation) in enumerate(zip(runs, made, strict=True)):
        with columns[i]:
            title = f"Run {run.id}" + (f" · {as_written(run.label, 60)}" if run.label else "")
            st.markdown(f"**{title}**")
            st.container(width=_PICTURE_WIDTH).image(_small(desk, run, evaluation), width="stretch")
            if len(runs) == 1:
                continue
            _input(evaluation, made[0] if i else None)
            _output(run, evaluation)
    if len(runs) == 1:
        with columns[1]:
            _input(made[0], None)
            _output(runs[0], made[0])
        frame.provenance(made[0])
        return
    _settings(runs, made)
    grouped = {m.uncertainty.settings for m in made if m.uncertainty}
    if len(grouped) > 1:
        st.caption(
            "The entropies of these runs follow different ways of grouping answers (row *Grouping* above): part of "
            "their difference may come from that."
        )
    frame.figure(charts.comparison_figure(made, names(runs)), "runs_comparison")


def _small(desk: Desk, run: StoredRun, evaluation: Evaluation) -> bytes:
    key = f"picture_{run.image_digest}"
    if key not in desk.shown:
        desk.shown[key] = resources.png(thumbnail(evaluation.trial.image, 420))
    picture: bytes = desk.shown[key]
    return picture


def differing(text: str, first: str | None) -> str:
    """A text as Markdown, the words that `first` does not have highlighted; `first` None marks nothing."""
    if first is None or first == text:
        return as_written(text, _LONGEST)
    old, new = re.findall(r"\S+", first), re.findall(r"\S+", text)[:200]
    parts = []
    for kind, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        words = as_written(" ".join(new[k:m]))
        if kind == "equal":
            parts.append(words)
        elif words:
            parts.append(f":orange-background[{words}]")
        elif i < j:
            parts.append(":gray[(…)]")
    return " ".join(parts)


def _input(made: Evaluation, first: Evaluation | None) -> None:
    trial = made.trial
    before = first.trial if first is not None else None
    same = before is not None and before.image_digest == trial.image_digest
    st.caption(f"picture: {trial.image_kind}" + (", the same pixels" if same else ", digest " + trial.image_digest[:8]))
    context = differing(trial.context, before.context if before else None) if trial.context.strip() else "*none*"
    st.markdown(f":orange-badge[context · {trial.context_kind}]  \n{context}")
    question = differing(trial.question, before.question if before else None)
    st.markdown(f":green-badge[question · {trial.question_kind}]  \n{question}")
    known = {intervention_words(c) for c in before.interventions} if before else None
    for change in trial.interventions:
        words = intervention_words(change)
        if not change.type.endswith("_preset"):
            new = known is not None and words not in known
            st.caption(f":orange-background[{as_written(words, 200)}]" if new else as_written(words, 200))


def _output(run: StoredRun, made: Evaluation) -> None:
    with st.container(border=True):
        frame.verdict_badge(made)
        st.markdown(f"“{as_written(made.answer.text, 400)}”" if made.answer else "*not asked*")
        found, shares = made.uncertainty, made.attribution
        lines = [f"truth {made.trial.truth_word}"]
        lines.append(
            f"semantic entropy {number(found.semantic_entropy)} nats, {found.n_clusters} clusters"
            if found
            else "semantic entropy –"
        )
        lines.append(
            "attention: "
            + ", ".join(f"{name} {number(shares.relative[name])}" for name in ("image", "context", "question"))
            if shares
            else "attention –"
        )
        st.caption("  \n".join(lines))
    if run.tags:
        st.markdown(" ".join(f":blue-badge[{as_written(tag)}]" for tag in run.tags.split()))
    if run.note:
        st.caption(f":material/sticky_note_2: {as_written(run.note, 400)}")


def _settings(runs: list[StoredRun], made: list[Evaluation]) -> None:
    """The settings that are not the same in all runs."""
    rows: dict[str, list[str]] = {
        "Model": [m.model.name for m in made],
        "Revision": [m.model.revision[:12] for m in made],
        "Loaded as": [f"{m.model.dtype}, {m.model.quantization}, {m.model.device}" for m in made],
        "Decoding": [decoding_words(m.decoding) for m in made],
        "Seed": [str(m.decoding.seed) for m in made],
        "Grouping": [
            f"{m.uncertainty.settings.rule}, {m.uncertainty.settings.entailment_model}" if m.uncertainty else "–"
            for m in made
        ],
        "Versions": [", ".join(f"{k} {v}" for k, v in m.versions.items()) for m in made],
        "Dataset": [run.dataset for run in runs],
    }
    other = {what: values for what, values in rows.items() if len(set(values)) > 1}
    if not other:
        st.caption("All were made by the same model under the same settings.")
        return
    head = "| Settings that differ | " + " | ".join(f"run {run.id}" for run in runs) + " |"
    lines = [head, "|---" * (len(runs) + 1) + "|"]
    lines += [
        f"| {what} | " + " | ".join(as_written(value, 160) or "–" for value in values) + " |"
        for what, values in other.items()
    ]
    st.markdown("\n".join(lines))
