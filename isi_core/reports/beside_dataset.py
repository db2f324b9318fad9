"""Charts of one evaluation beside what is usual over the dataset: its mean, and where the value lies."""

from __future__ import annotations

import math

from isi_core.domain.evaluation import Evaluation
from isi_core.reports.charts import Figure, attention_figure, value_figure
from isi_core.reports.wording import preset_words
from isi_core.studies.averages import Averages, Usual, usual


def stand_in(found: Usual | None) -> str:
    """The preset that a mean is of, in words, where it is not the trial's own; else ""."""
    return "" if found is None or found.own else preset_words(found.preset)


def attention_beside_usual(evaluation: Evaluation, averages: Averages | None, relative: bool) -> Figure | None:
    """The shares of attention with the dataset's means and where each lies; None where they were not measured."""
    if evaluation.attribution is None:
        return None
    prefix = "attention_" if relative else "attention_absolute_"
    shares = evaluation.attribution.relative if relative else evaluation.attribution.absolute
    means, ranks, preset = {}, {}, ""
    for name, share in shares.items():
        if (found := usual(averages, evaluation, prefix + name)) is None:
            continue
        means[name], preset = found.mean, stand_in(found)
        if (rank := found.rank(share)) is not None:
            ranks[name] = rank
    return attention_figure(evaluation.attribution, relative, means, ranks, preset)


def entropy_beside_usual(evaluation: Evaluation, averages: Averages | None) -> Figure | None:
    """Where the semantic entropy lies among the dataset's; None where either is not known."""
    found = usual(averages, evaluation, "semantic_entropy")
    if evaluation.uncertainty is None or found is None or not found.values:
        return None
    largest = math.log(max(2, len(evaluation.uncertainty.samples)))
    value = evaluation.uncertainty.semantic_entropy
    return value_figure(
        value, 0.0, largest, found.mean, "Semantic entropy", "nats", population=found.values, preset=stand_in(found)
    )
