"""The right column: what came out, beside exactly the input that made it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pandas as pd
import streamlit as st

from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import StudioError
from isi_core.domain.evaluation import Evaluation
from isi_core.domain.trial import Trial
from isi_core.measures.semantic_entropy import can_recluster, recluster
from isi_core.reports import charts
from isi_core.reports.beside_dataset import attention_beside_usual, entropy_beside_usual, stand_in
from isi_core.reports.figures import heat_map_legend, heat_map_reading, is_grid
from isi_core.reports.published import published_note
from isi_core.reports.wording import decoding_words, grouping_words, number, rank_words
from isi_core.studies.averages import Averages, usual, why_not_comparable
from isi_core.ui import frame, resources
from isi_core.ui.vqa import attention_views, work
from isi_core.ui.vqa.desk import Desk, Entry
from isi_core.ui.wording import as_written

_PICTURE_WIDTH = 270


def averages_of(entry: Entry) -> Averages | None:
    """What an entry's model does on average over its dataset, where it was measured."""
    try:
        return resources.averages(entry.evaluation.model.name, entry.dataset)
    except StudioError:
        return None


def current_input(desk: Desk) -> Trial | None:
    """Exactly what the model sees; None, with a message, where it cannot be asked."""
    st.subheader("Current input", anchor=False)
    try:
        trial = desk.trial()
    except StudioError as error:
        st.warning(as_written(str(error)), icon=":material/edit:")
        return None
    shown, words = st.columns([5, 6], vertical_alignment="top")
    # The container sets the width: told a width itself, the picture would be sent resampled.
    shown.container(width=_PICTURE_WIDTH).image(trial.image, width="stretch", output_format="PNG")
    shown.caption(f"{trial.image.width} × {trial.image.height} px, digest {trial.digest[:8]}")
    with words:
        context = as_written(trial.context, 400) if trial.context.strip() else "*no context*"
        st.markdown(f":orange-badge[context · {trial.context_kind}]  \n{context}")
        st.markdown(f":green-badge[question · {trial.question_kind}]  \n**{as_written(trial.question, 400)}**")
        st.caption(
            f"Picture: {trial.image_kind}"
            + (f", {desk.draft.picture_changes} change(s) drawn into it" if desk.draft.picture_changes else "")
        )
    return trial


def buttons(desk: Desk, trial: Trial | None) -> None:
    """Ask, and the measures, each on its own button."""
    off = trial is None or desk.job is not None
    with st.container(horizontal=True, gap="small", key="vqa_buttons"):
        for label, wanted in (
            ("Ask", ("answer",)),
            ("Measure uncertainty", ("uncertainty",)),
            ("Measure attention", ("attention",)),
            ("Measure all", work.EVERYTHING),
        ):
            st.button(
                label,
                type="primary" if label == "Ask" else "secondary",
                key=f"vqa_{label.lower().replace(' ', '_')}",
                on_click=partial(work.start, desk, wanted),
                disabled=off,
                shortcut="Ctrl+Enter" if label == "Ask" else None,
            )


def results(desk: Desk, trial: Trial | None) -> None:
    """The results of the current input; of an earlier one only what says plainly that it is stale."""
    entry = desk.entry_for(trial) if trial is not None else None
    if entry is None:
        _nothing_yet(desk)
        return
    evaluation = under_settings(desk, entry.evaluation)
    entry = replace(entry, evaluation=evaluation)
    _answer(evaluation)
    averages = averages_of(entry)
    _uncertainty(evaluation, averages)
    _attention(desk, evaluation, averages)
    if note := published_note([evaluation.model.name]):
        st.caption(as_written(note))
    downloads([entry], "current")


def under_settings(desk: Desk, evaluation: Evaluation) -> Evaluation:
    """The evaluation with its answers clustered by the rule and likelihoods chosen now; no model is asked."""
    found = evaluation.uncertainty
    if found is None or found.settings == desk.settings:
        return evaluation
    if not can_recluster(found, desk.settings):
        return replace(evaluation, uncertainty=None)
    return replace(evaluation, uncertainty=recluster(found, desk.settings))


def _nothing_yet(desk: Desk) -> None:
    if not desk.entries:
        st.info(
            "No answer yet: press **Ask**. Then choose *Contradictory* as context, ask again, and see whether the "
            "model believes the words or its eyes.",
            icon=":material/lightbulb:",
        )
        return
    last = desk.entries[-1]
    with st.container(border=True):
        st.markdown(":gray-badge[:material/history: stale] The input has changed since the last answer. Press **Ask**.")
        picture, words = st.columns([1, 5], vertical_alignment="center", wrap=False)
        picture.image(last.card, width=72)
        said = last.evaluation.answer.text if last.evaluation.answer else ""
        words.caption(
            f"The last answer, “{as_written(said, 80)}”, belongs to the input on the left "
            f"(context {last.evaluation.trial.context_kind}, digest {last.evaluation.trial.digest[:8]})."
        )


def _answer(evaluation: Evaluation) -> None:
    answer = evaluation.answer
    if answer is None:
        return
    with st.container(border=True, key="vqa_answer"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown("**Answer**", width="content")
            frame.verdict_badge(evaluation)
            st.caption(f"verdict {answer.verdict}, truth {evaluation.trial.truth_word}", width="content")
        st.markdown(f"#### {as_written(answer.text, 600) or '*(an empty answer)*'}")
        if not answer.finished:
            st.caption("Cut at the length limit: raise *Longest answer* in the settings.")
        st.caption(
            f"Mean token log-likelihood {number(answer.mean_log_likelihood())} nats per token (0 is certain)."
            if answer.log_likelihoods
            else "This model gives no likelihoods."
        )
        frame.provenance(evaluation)


def _beside_mean(evaluation: Evaluation, averages: Averages | None, measure: str, value: float) -> str:
    """The dataset's mean of a measure beside this trial, and where this value lies."""
    found = usual(averages, evaluation, measure)
    rank = found.rank(value) if found is not None else None
    if found is None or rank is None:
        return "no dataset mean"
    of = f" (with {preset})" if (preset := stand_in(found)) else ""
    return f"mean {number(found.mean)} · {rank_words(rank)}{of}"


def _not_comparable(evaluation: Evaluation, averages: Averages | None, measure: str) -> None:
    """Say why the dataset's means do not stand here, where there are some of something else."""
    if averages is not None and (why := why_not_comparable(averages, evaluation, measure)):
        st.caption(as_written(why))


def _uncertainty(evaluation: Evaluation, averages: Averages | None) -> None:
    found = evaluation.uncertainty
    with st.container(border=True, key="vqa_uncertainty"):
        st.markdown("**Semantic uncertainty**")
        if found is None:
            st.caption("Not measured: press *Measure uncertainty* to sample answers and group them by meaning.")
            return
        n = len(found.samples)
        columns = st.columns([4, 5, 4])
        shown = (
            ("Semantic entropy", "semantic_entropy", found.semantic_entropy, "nats"),
            ("Predictive entropy", "predictive_entropy", found.predictive_entropy, "nats per token"),
            ("Clusters", "n_clusters", float(found.n_clusters), f"of {n} samples"),
        )
        for column, (label, measure, value, unit) in zip(columns, shown, strict=True):
            text = str(found.n_clusters) if measure == "n_clusters" else number(value)
            column.metric(f"{label} ({unit})", text)
            column.caption(_beside_mean(evaluation, averages, measure, value))
        _not_comparable(evaluation, averages, "semantic_entropy")
        if (strip := entropy_beside_usual(evaluation, averages)) is not None:
            frame.figure(strip, "entropy_strip")
        frame.figure(charts.cluster_figure(found), "clusters")
        with st.expander("Answers of each cluster", icon=":material/table_rows:"):
            rows = [
                {
                    "cluster": i + 1,
                    "answer": answer.text,
                    "log-likelihood (sampling)": answer.mean_log_likelihood("sampling"),
                    "log-likelihood (model)": answer.mean_log_likelihood("model"),
                    "cluster probability": found.cluster_probabilities[i],
                }
                for i in range(found.n_clusters)
                for answer in found.cluster_answers(i)
            ]
            st.dataframe(
                pd.DataFrame(rows),
                hide_index=True,
                column_config={name: st.column_config.NumberColumn(format="%.3g") for name in list(rows[0])[2:]},
            )
            st.caption("One row a sample; log-likelihoods are means over its tokens, in nats per token.")
        more = {
            "Cluster-assignment entropy (nats)": found.cluster_assignment_entropy,
            "Rao's quadratic entropy (0 to 1)": found.rao_entropy,
        }
        st.caption(
            " · ".join(f"{name}: {number(value)}" for name, value in more.items())
            + f" · {as_written(grouping_words(found.settings))}"
            " · the page *Semantic Uncertainty* shows every measure of these answers"
        )
        comparable = usual(averages, evaluation, "semantic_entropy") is not None
        if averages is not None and comparable and averages.decoding != evaluation.decoding.to_json():
            measured = Decoding.from_json(averages.decoding)
            st.caption(f"The dataset's means were measured otherwise: {as_written(decoding_words(measured))}.")


def _attention(desk: Desk, evaluation: Evaluation, averages: Averages | None) -> None:
    found = evaluation.attribution
    with st.container(border=True, key="vqa_attention"):
        st.markdown("**Attention attribution**")
        if found is None and evaluation.model.attention == "not told":
            st.caption("This model is asked through an endpoint, which does not tell its attention.")
            return
        if found is None:
            st.caption("Not measured: press *Measure attention* to see which input the answer was made from.")
            return
        scale = st.segmented_control(
            "Shares", ["Relative", "Absolute"], default="Relative", key="vqa_shares", label_visibility="collapsed"
        )
        if (shares := attention_beside_usual(evaluation, averages, scale != "Absolute")) is not None:
            frame.figure(shares, "attention")
        _not_comparable(evaluation, averages, "attention_image")
        with st.expander("By layer and by answer token", icon=":material/stacked_bar_chart:"):
            frame.figure(charts.layer_figure(found), "layers")
            frame.figure(charts.token_figure(found), "tokens")
        if not is_grid(found.heat_map):
            st.caption("This model cuts the picture into tiles: its heat map cannot be laid over it.")
            attention_views.show(desk, evaluation)
            return
        picture, words = st.columns([5, 6], vertical_alignment="top")
        opacity = words.slider("Heat map opacity (0–1)", 0.0, 1.0, 0.55, 0.05, key="vqa_heat_opacity")
        owner = f"{evaluation.trial.digest} {evaluation.model.revision} {evaluation.created}"
        drawn = resources.overlay(owner, opacity, evaluation.trial.image, found.heat_map)
        picture.image(drawn, width=_PICTURE_WIDTH)
        words.image(heat_map_legend(found.heat_map), width=280)
        words.caption(as_written(heat_map_reading(found.heat_map, evaluation.trial.image.size)))
        attention_views.show(desk, evaluation)


def report(entries: list[Entry]) -> bytes:
    """The PDF of one or several trials, each beside the averages of its own model and dataset."""
    from isi_core.reports.pdf import build_report

    averages = [averages_of(entry) for entry in entries]
    return build_report([entry.evaluation for entry in entries], labels=_labels(entries), averages=averages)


def _labels(entries: list[Entry]) -> list[str]:
    return [entry.label or entry.evaluation.trial.context_kind for entry in entries]


def downloads(entries: list[Entry], key: str) -> None:
    """PDF report and data of one or several trials, made when they are asked for."""
    evaluations = [entry.evaluation for entry in entries]

    def data() -> bytes:
        from isi_core.reports.run_export import run_zip

        return run_zip(evaluations, _labels(entries), report=report(entries))

    with st.container(horizontal=True, gap="small"):
        st.download_button(
            "Download PDF report",
            data=partial(report, entries),
            file_name=f"isi_report_{evaluations[0].trial.digest[:8]}.pdf",
            mime="application/pdf",
            icon=":material/picture_as_pdf:",
            key=f"vqa_pdf_{key}",
            on_click="ignore",
        )
        st.download_button(
            "Download data",
            data=data,
            file_name=f"isi_run_{evaluations[0].trial.digest[:8]}.zip",
            mime="application/zip",
            icon=":material/folder_zip:",
            key=f"vqa_data_{key}",
            on_click="ignore",
            help="run.json, pictures, CSV and the report: enough to repeat the run",
        )
