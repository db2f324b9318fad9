"""The pages of one trial: inputs, answer, measures, clusters, charts."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

from reportlab.platypus import Flowable, Image, KeepTogether, Spacer, Table

from isi_core.domain.attribution import Attribution
from isi_core.domain.evaluation import Evaluation
from isi_core.domain.palette import INPUT_COLOURS
from isi_core.domain.uncertainty import Uncertainty
from isi_core.reports.beside_dataset import attention_beside_usual
from isi_core.reports.charts import (
    MEASURE,
    Figure,
    cluster_figure,
    layer_figure,
    token_figure,
)
from isi_core.reports.figures import heat_map_legend, heat_map_overlay, heat_map_reading, is_grid, thumbnail
from isi_core.reports.overview import fitted, image_file
from isi_core.reports.pages import chart
from isi_core.reports.settings import interventions, settings
from isi_core.reports.typeset import (
    BARE,
    CELL,
    CELL_BOLD,
    CODE_POINT_NOTE,
    HEADING,
    NOTE,
    NUMBER,
    NUMBER_BOLD,
    RULED,
    SUBHEADING,
    WIDTH,
    Badge,
    Bookmark,
    Scale,
    has_code_points,
    labelled,
    paragraph,
)
from isi_core.reports.wording import judgement, number, one_line, preset_words, provenance, verdict_words
from isi_core.studies.averages import Averages, averaged_preset, usual, why_not_comparable

_GUTTER = 17.0
_HALF = (WIDTH - _GUTTER) / 2
_FLATTER = 0.78
_PICTURE_SIDE = 945  # 80 mm at 300 dots an inch
_LONGEST_CELL = 400


def trial_section(
    place: int, total: int, evaluation: Evaluation, label: str, averages: Averages | None
) -> list[Flowable]:
    """Everything about one trial, as flowables for a frame `WIDTH` points wide."""
    heading = f"Trial {place} of {total}: {one_line(label, 60)}" if total > 1 else one_line(label, 70)
    story: list[Flowable] = [
        Bookmark(f"trial-{place}", heading),
        paragraph(heading, HEADING),
        paragraph(provenance(evaluation), NOTE),
        Spacer(1, 8),
        _pictures(evaluation),
        Spacer(1, 10),
        *_words(evaluation),
        *interventions(evaluation),
    ]
    if evaluation.uncertainty is not None or evaluation.attribution is not None:
        story += _measures(evaluation, averages)
    if evaluation.uncertainty is not None:
        story += _uncertainty(evaluation.uncertainty)
    if evaluation.attribution is not None:
        story += _attention(evaluation.attribution, evaluation, averages)
    return story + settings(evaluation)


def dataset_mean(averages: Averages | None, evaluation: Evaluation, measure: str) -> float | None:
    """The dataset's mean of a measure beside this trial; None where it is not known for this model and settings."""
    found = usual(averages, evaluation, measure)
    return found.mean if found is not None else None


def _pictures(evaluation: Evaluation) -> Flowable:
    """What the model was shown and, where it was measured, its attention over it, side by side."""
    image, attribution = evaluation.trial.image, evaluation.attribution
    width, height = fitted(image, _HALF, 215)
    kind = f"{evaluation.trial.image_kind} picture, {image.width} × {image.height} pixels"
    left: list[Flowable] = [
        Image(image_file(image, _PICTURE_SIDE), width, height, hAlign="LEFT"),
        Spacer(1, 4),
        paragraph(f"What the model was shown: {kind}.", NOTE),
    ]
    right: list[Flowable] = []
    if attribution is not None and is_grid(attribution.heat_map):
        over = heat_map_overlay(thumbnail(image, _PICTURE_SIDE), attribution.heat_map)
        legend = heat_map_legend(attribution.heat_map, 960, ink="#333333")
        file = io.BytesIO()
        legend.save(file, "PNG")
        file.seek(0)
        bar = max(width, 120.0)
        right = [
            Image(image_file(over, _PICTURE_SIDE), width, height, hAlign="LEFT"),
            Spacer(1, 4),
            Image(file, bar, bar * legend.height / legend.width, hAlign="LEFT"),
            Spacer(1, 2),
            paragraph(heat_map_reading(attribution.heat_map, image.size), NOTE),
        ]
    elif attribution is not None:
        right = [paragraph("No heat map: this model cuts the picture into tiles, whose tokens form no one grid.", NOTE)]
    return _side_by_side(left, right)


def _side_by_side(left: list[Flowable], right: list[Flowable]) -> Flowable:
    return Table([[left, "", right]], colWidths=[_HALF, _GUTTER, _HALF], style=BARE, hAlign="LEFT")


def _words(evaluation: Evaluation) -> list[Flowable]:
    """Question, context, truth and answer, however long, then the badge."""
    trial, answer = evaluation.trial, evaluation.answer
    story: list[Flowable] = [
        *labelled("Question", trial.question),
        *labelled("Context", trial.context or "none"),
        *labelled("Truth", trial.truth_word),
    ]
    if answer is None:
        story += labelled("Answer", "not asked")
    else:
        end = "" if answer.finished else " (cut at the length limit)"
        story += labelled("Answer", (answer.text or "(empty)") + end)
        story.append(Badge("Verdict", verdict_words(evaluation), judgement(evaluation).colour))
    if any(has_code_points(t) for t in (trial.question, trial.context, answer.text if answer else "")):
        story += [paragraph(CODE_POINT_NOTE, NOTE), Spacer(1, 4)]
    return story


def _measures(evaluation: Evaluation, averages: Averages | None) -> list[Flowable]:
    """The table of all numbers, with a scale and the dataset's mean where there is one."""
    uncertainty, attribution = evaluation.uncertainty, evaluation.attribution
    rows: list[list[Any]] = [
        [
            paragraph("Measure", CELL_BOLD),
            paragraph("Value", NUMBER_BOLD),
            paragraph("Unit and range", CELL_BOLD),
            "",
            paragraph("Dataset mean", NUMBER_BOLD),
        ]
    ]
    means = 0

    def add(name: str, value: float, unit: str, high: float | None, colour: str, measure: str) -> None:
        nonlocal means
        mean = dataset_mean(averages, evaluation, measure) if measure else None
        means += mean is not None
        low = 1.0 if measure == "n_clusters" else 0.0
        scale: Any = ""

        def place(number: float) -> float:
            return (number - low) / ((high or 0.0) - low)

        if high is not None and high > low and math.isfinite(value):
            scale = Scale(
                105, (value - low) / (high - low), colour, None if mean is None else (mean - low) / (high - low)
            )
        cells = [paragraph(name, CELL), paragraph(number(value), NUMBER), paragraph(unit, CELL), scale]
        rows.append([*cells, paragraph(number(mean), NUMBER)])

    if uncertainty is not None:
        n = len(uncertainty.samples)
        largest = math.log(n)
        nats = f"nats, 0 to ln {n} = {number(largest)}"
        add("Semantic entropy", uncertainty.semantic_entropy, nats, largest, MEASURE, "semantic_entropy")
        add("Cluster-assignment entropy", uncertainty.cluster_assignment_entropy, nats, largest, MEASURE, "")
        predictive = uncertainty.predictive_entropy
        add("Predictive entropy", predictive, "nats per token, 0 or more", None, MEASURE, "predictive_entropy")
        add("Rao's quadratic entropy", uncertainty.rao_entropy, "0 to below 1", 1.0, MEASURE, "")
        add("Semantic clusters", float(uncertainty.n_clusters), f"count, 1 to {n}", float(n), MEASURE, "n_clusters")
        rows[-1][1] = paragraph(str(uncertainty.n_clusters), NUMBER)
    if attribution is not None:
        for kind, shares, prefix in (
            ("relative", attribution.relative, "attention_"),
            ("absolute", attribution.absolute, "attention_absolute_"),
        ):
            for name, share in shares.items():
                words = f"Attention to {'the rest' if name == 'other' else name}, {kind}"
                add(words, share, "share, 0 to 1", 1.0, INPUT_COLOURS[name], prefix + name)
    if not means:
        rows = [row[:4] for row in rows]
    widths = [146.0, 44, 118, 113, 78] if means else [166.0, 64, 130, 139]
    style = [*RULED, ("VALIGN", (0, 0), (-1, -1), "MIDDLE")]
    table = Table(rows, colWidths=widths, style=style, hAlign="LEFT", repeatRows=1)
    reading = "Each bar is filled to where the value lies in its range."
    if averages is not None:
        if means:
            reading += _averages_words(averages, evaluation)
        measure = "semantic_entropy" if uncertainty is not None else "attention_image"
        if why := why_not_comparable(averages, evaluation, measure):
            reading += f" {why}"
    return [KeepTogether([paragraph("Measures", SUBHEADING), table, Spacer(1, 3), paragraph(reading, NOTE)])]


def _averages_words(averages: Averages, evaluation: Evaluation) -> str:
    key = averaged_preset(averages, evaluation.trial)
    differs = "" if averages.decoding == evaluation.decoding.to_json() else ", made with other decoding settings"
    return (
        f" The black tick is the mean over {averages.presets[key].n} observations of {averages.dataset} with "
        f"{preset_words(key)}, by the same model{differs}."
    )


def _uncertainty(uncertainty: Uncertainty) -> list[Flowable]:
    """Bars of the clusters and the table of their answers."""
    return [
        KeepTogether(
            [paragraph("Semantic clusters", SUBHEADING), *_chart(cluster_figure(uncertainty), WIDTH, plot_width=400)]
        ),
        Spacer(1, 6),
        _cluster_table(uncertainty),
        Spacer(1, 3),
        paragraph(_cluster_note(uncertainty), NOTE),
    ]


def _cluster_table(uncertainty: Uncertainty) -> Flowable:
    heads = ("Cluster", "Probability", "Answer", "Count", "LL model", "LL sampling")
    styles = (CELL_BOLD, NUMBER_BOLD, CELL_BOLD, NUMBER_BOLD, NUMBER_BOLD, NUMBER_BOLD)
    rows: list[list[Any]] = [[paragraph(h, s) for h, s in zip(heads, styles, strict=True)]]
    for cluster in uncertainty.clusters_json():
        answers = uncertainty.cluster_answers(cluster["id"])
        for i, entry in enumerate(cluster["answers"]):
            same = [a for a in answers if a.text == entry["text"]]
            model, sampling = (sum(a.mean_log_likelihood(k) for a in same) / len(same) for k in ("model", "sampling"))
            first = i == 0
            rows.append(
                [
                    paragraph(str(cluster["id"] + 1) if first else "", CELL),
                    paragraph(number(cluster["probability"]) if first else "", NUMBER),
                    paragraph(one_line(entry["text"], _LONGEST_CELL) or "(empty answer)", CELL),
                    paragraph(str(entry["count"]), NUMBER),
                    paragraph(number(model), NUMBER),
                    paragraph(number(sampling), NUMBER),
                ]
            )
    widths = [42.0, 58, 0, 38, 54, 62]
    widths[2] = WIDTH - sum(widths)
    style = [*RULED, ("VALIGN", (0, 0), (-1, -1), "TOP")]
    return Table(rows, colWidths=widths, style=style, hAlign="LEFT", repeatRows=1)


def _cluster_note(uncertainty: Uncertainty) -> str:
    chosen = uncertainty.settings
    by = {"sampling": "sampling likelihoods (after temperature and top-k)", "model": "the model's own likelihoods"}
    weights = by[chosen.likelihood] if uncertainty.likelihoods_available else "counts, as there are no likelihoods"
    return (
        f"LL: mean token log-likelihood in nats, under the model's own distribution and under the one that was "
        f"sampled from. Probabilities from {weights}; clusters by {chosen.entailment_model}, {chosen.rule} rule."
    )


def _attention(attribution: Attribution, evaluation: Evaluation, averages: Averages | None) -> list[Flowable]:
    figures = [attention_beside_usual(evaluation, averages, relative) for relative in (True, False)]
    shares = _side_by_side(*(_chart(figure, _HALF, 225) for figure in figures if figure is not None))
    parts = _side_by_side(_chart(layer_figure(attribution), _HALF, 280), _chart(token_figure(attribution), _HALF, 280))
    return [
        KeepTogether([paragraph("Attention attribution", SUBHEADING), shares]),
        Spacer(1, 8),
        parts,
    ]


def _chart(figure: Figure, width: float, plot_width: int) -> list[Flowable]:
    """The chart at a type size shared by all charts, no wider than `width`, over its reading."""
    height = round(_FLATTER * figure.chart.height)
    drawn = replace(figure, chart=figure.chart.properties(width=plot_width, height=height))
    return chart(drawn, width=width)
