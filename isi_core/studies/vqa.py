"""Put a trial to a model and take the measures that were asked for."""

from __future__ import annotations

import importlib.metadata
import math
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import InputError
from isi_core.domain.evaluation import Evaluation, Measure
from isi_core.domain.progress import Progress, part_of
from isi_core.domain.trial import Trial
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.measures import semantic_entropy
from isi_core.measures.attribution import attribute
from isi_core.models.entailment.protocol import EntailmentModel
from isi_core.models.vlm.protocol import VisionLanguageModel

Wanted = Literal["answer", "uncertainty", "attention"]
WANTED: tuple[Wanted, ...] = ("answer", "uncertainty", "attention")
_LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "pillow")


def library_versions() -> dict[str, str]:
    """Versions of the libraries that shape an answer."""
    return {name: importlib.metadata.version(name) for name in _LIBRARIES}


def evaluate(
    trial: Trial,
    vlm: VisionLanguageModel,
    decoding: Decoding,
    wanted: Collection[Wanted] = frozenset[Wanted](("answer",)),
    entailment: EntailmentModel | None = None,
    settings: UncertaintySettings | None = None,
    progress: Progress | None = None,
    previous: Evaluation | None = None,
) -> Evaluation:
    """The trial's evaluation with `wanted` measured.

    A model that does not tell its attention (an endpoint) is measured without where uncertainty is wanted too.

    Parameters
    ----------
    entailment : needed for `uncertainty`.
    previous : an evaluation whose measures are kept when it is of the same trial, model and
        decoding, so that one click adds to another.

    Raises
    ------
    InputError : uncertainty without an entailment model, or an unknown measure.
    """
    [made] = evaluate_together([trial], vlm, decoding, wanted, entailment, settings, progress)
    same = previous is not None and (previous.trial.digest, previous.model, previous.decoding) == (
        trial.digest,
        made.model,
        decoding,
    )
    if previous is None or not same:
        return made
    return replace(
        made,
        uncertainty=made.uncertainty or previous.uncertainty,
        attribution=made.attribution or previous.attribution,
        seconds={**previous.seconds, **made.seconds},
    )


def evaluate_together(
    trials: Sequence[Trial],
    vlm: VisionLanguageModel,
    decoding: Decoding,
    wanted: Collection[Wanted] = frozenset[Wanted](("answer",)),
    entailment: EntailmentModel | None = None,
    settings: UncertaintySettings | None = None,
    progress: Progress | None = None,
) -> list[Evaluation]:
    """The same for several trials, which the model may answer side by side; `seconds` are each one's share.

    Raises
    ------
    StudioError : as `evaluate`, for all of them, whichever trial is at fault.
    """
    unknown = set(wanted) - set(WANTED)
    if unknown:
        raise InputError(f"Unknown measure {', '.join(sorted(unknown))}: choose from {', '.join(WANTED)}.")
    if "uncertainty" in wanted and entailment is None:
        raise InputError("Uncertainty needs an entailment model: choose one.")
    started = time.monotonic()
    asked: set[Measure] = {"answer"}
    if "uncertainty" in wanted:
        asked.add("samples")
    if "attention" in wanted and (vlm.capabilities.attention or "uncertainty" not in wanted):
        asked.add("attention")
    share = 0.8 if "uncertainty" in wanted else 1.0
    outputs = vlm.evaluate(trials, decoding, asked, part_of(progress, 0.0, share))
    seconds = (time.monotonic() - started) / max(len(trials), 1)
    made = []
    for i, (trial, output) in enumerate(zip(trials, outputs, strict=True)):
        spent = {"model": seconds}
        uncertainty = attribution = None
        if output.samples is not None and entailment is not None:
            before = time.monotonic()
            part = part_of(progress, share + (1 - share) * i / len(trials), share + (1 - share) * (i + 1) / len(trials))
            uncertainty = semantic_entropy.measure(
                output.samples, trial.question, entailment, settings or UncertaintySettings(), part
            )
            spent["entailment"] = time.monotonic() - before
        # An answer without a token (the end came first) has attended to nothing that could be attributed.
        if output.attention is not None and output.answer is not None and len(output.attention.sums):
            attribution = attribute(output.attention, output.answer.tokens)
        made.append(
            Evaluation(
                trial=trial,
                model=vlm.record,
                decoding=decoding,
                prompt=output.prompt,
                answer=output.answer,
                uncertainty=uncertainty,
                attribution=attribution,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                seconds=spent,
                versions=library_versions(),
            )
        )
    return made


def evaluation_summary(evaluation: Evaluation) -> dict[str, Any]:
    """The numbers of an evaluation under the command line's JSON keys; None for what was not measured."""
    answer, uncertainty, attribution = evaluation.answer, evaluation.uncertainty, evaluation.attribution
    predictive = uncertainty.predictive_entropy if uncertainty else None
    return {
        "answer": answer.text if answer else None,
        "verdict": answer.verdict if answer else None,
        "truth": evaluation.trial.truth_word,
        "semantic_entropy": uncertainty.semantic_entropy if uncertainty else None,
        "predictive_entropy": predictive if predictive is not None and math.isfinite(predictive) else None,
        "n_clusters": uncertainty.n_clusters if uncertainty else None,
        "clusters": uncertainty.clusters_json() if uncertainty else None,
        "attention": dict(attribution.relative) if attribution else None,
        "attention_absolute": dict(attribution.absolute) if attribution else None,
        "model": evaluation.model.to_json(),
        "decoding": evaluation.decoding.to_json(),
        "digest": evaluation.trial.digest,
    }
