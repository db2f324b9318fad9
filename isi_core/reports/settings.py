"""The part of a trial's pages that lets it be repeated: interventions, model, decoding, versions, the prompt."""

from __future__ import annotations

from typing import Any, get_args

from reportlab.platypus import Flowable, KeepTogether, Table

from isi_core.domain.evaluation import Evaluation
from isi_core.domain.interventions import PictureIntervention
from isi_core.reports.typeset import (
    BARE,
    LABELLED,
    NOTE,
    RULE,
    SMALL,
    SMALL_BOLD,
    SUBHEADING,
    WIDTH,
    labelled,
    paragraph,
)
from isi_core.reports.wording import intervention_words, number, one_line, plain

_LONGEST_CELL = 400
_LONGEST_PROMPT = 1500
_COLUMNS = [LABELLED.leftIndent, WIDTH - LABELLED.leftIndent]
_DENSE: list[Any] = [*BARE, ("LINEBELOW", (0, 0), (-1, -1), 0.3, RULE), ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5)]


def interventions(evaluation: Evaluation) -> list[Flowable]:
    """What was done to the observation, in words and in order."""
    changes = evaluation.trial.interventions
    if not changes:
        return labelled("Changes", "none: the observation as it is")
    lines = [one_line(intervention_words(change), _LONGEST_CELL) for change in changes]
    story = labelled("Changes", "\n".join(f"{i}. {line}" for i, line in enumerate(lines, start=1)))
    if any(isinstance(change, get_args(PictureIntervention)) for change in changes):
        note = "Places are (across, down) from the upper left corner; sizes are of the picture's shorter side."
        story.append(paragraph(note, NOTE))
    return story


def settings(evaluation: Evaluation) -> list[Flowable]:
    """Every setting and the prompt, on one page where they fit."""
    pairs = [(name, one_line(value, _LONGEST_CELL)) for name, value in _pairs(evaluation)]
    if evaluation.prompt:
        size = len(evaluation.prompt)
        whole = size <= _LONGEST_PROMPT
        pairs.append(("Prompt", evaluation.prompt if whole else f"{size:,} characters; run.json has it in full"))
    rows: list[list[Any]] = [[paragraph(name, SMALL_BOLD), paragraph(value, SMALL)] for name, value in pairs]
    table = Table(rows, colWidths=_COLUMNS, style=_DENSE, hAlign="LEFT")
    return [KeepTogether([paragraph("Settings", SUBHEADING), table])]


def _pairs(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Name and value of every setting but the prompt."""
    trial, model, decoding = evaluation.trial, evaluation.model, evaluation.decoding
    beams = f"{decoding.num_beams} beams" if decoding.strategy == "beam" else f"{decoding.num_beams} beams (unused)"
    inputs = f"{trial.image_kind} picture, {trial.context_kind} context, {trial.question_kind} question"
    loaded = f"{model.dtype}, quantization {model.quantization}, attention {model.attention}, on {model.device}"
    sampling = f"{decoding.n_samples} at temperature {plain(decoding.temperature)}, top-k {decoding.top_k or 'off (0)'}"
    pairs = [
        ("Observation", f"{trial.observation_id}: {inputs}"),
        ("Input digest", f"{trial.digest} (SHA-256 of pixels and text)"),
        ("Model", f"{model.name}, from {model.source}: {loaded}"),
        ("Revision", model.revision),
        (
            "Main answer",
            f"strategy {decoding.strategy}, {beams}, repetition penalty {plain(decoding.repetition_penalty)}, "
            f"at most {decoding.max_new_tokens} new tokens",
        ),
        ("Samples", f"{sampling}, top-p {plain(decoding.top_p)}, seed {decoding.seed}"),
    ]
    if evaluation.uncertainty is not None:
        chosen = evaluation.uncertainty.settings
        words = f"entailment model {chosen.entailment_model}, {chosen.rule} rule, {chosen.likelihood} likelihoods"
        pairs.append(("Clustering", words))
    taken = ", ".join(f"{part} {number(seconds)} s" for part, seconds in evaluation.seconds.items())
    created = evaluation.created or "time not recorded"
    pairs.append(("Measured", f"{created}; time taken: {taken}" if taken else created))
    if evaluation.versions:
        pairs.append(("Versions", ", ".join(f"{name} {version}" for name, version in evaluation.versions.items())))
    return pairs
