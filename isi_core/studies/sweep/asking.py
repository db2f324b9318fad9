"""Put some of a sweep's trials to a loaded model, side by side, and alone where that fails; what every engine does."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import Cancelled, InputError, StudioError
from isi_core.domain.evaluation import Evaluation
from isi_core.domain.progress import Progress
from isi_core.domain.trial import Trial
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.models.entailment.protocol import EntailmentModel
from isi_core.models.vlm.protocol import VisionLanguageModel
from isi_core.studies.vqa import Wanted, evaluate_together

_log = logging.getLogger(__name__)

BATCH, BATCH_SECONDS = 16, 6.0
"""Evaluations done side by side: so many at most, and no more than take so long, since others wait meanwhile."""


@dataclass(frozen=True)
class Failure:
    """An evaluation that failed.

    Attributes
    ----------
    sentence : why.
    of_model : the model may be at fault; bad input says nothing about the next evaluation.
    """

    sentence: str
    of_model: bool


@dataclass(frozen=True)
class Outcome:
    """What came of the trial at a place among those that were asked; `seconds` is its share of the wall time."""

    place: int
    made: Evaluation | Failure
    seconds: float


def batch_size(seconds_each: float) -> int:
    """How many evaluations of this length are done side by side."""
    return max(1, min(BATCH, int(BATCH_SECONDS / max(seconds_each, 1e-3))))


def measured(measures: Collection[Wanted], attention: bool) -> set[Wanted]:
    """What is measured; a model that does not tell its attention is measured without."""
    return {m for m in measures if m != "attention" or attention}


def failure_of(error: Exception, name: str) -> Failure:
    """An error in words; what nobody foresaw goes into the log, under the name of what failed.

    Raises
    ------
    Cancelled : that is what the error was.
    """
    if isinstance(error, Cancelled):
        raise error
    if isinstance(error, StudioError):
        sentence = str(error)
    else:
        _log.error("The evaluation of %s failed", name, exc_info=error)
        sentence = f"Something went wrong: {' '.join(str(error).split())[:200] or type(error).__name__}"
    return Failure(sentence, not isinstance(error, InputError))


def ask(
    trials: Sequence[Trial],
    vlm: VisionLanguageModel,
    entailment: EntailmentModel | None,
    decoding: Decoding,
    measures: Collection[Wanted],
    settings: UncertaintySettings,
    progress: Progress | None = None,
) -> Iterator[Outcome]:
    """What comes of each trial, one bad one at no cost to the others.

    Raises
    ------
    Cancelled : from `progress`.
    """
    if not trials:
        return
    began = time.monotonic()
    wanted = measured(measures, vlm.capabilities.attention)
    try:
        made = evaluate_together(trials, vlm, decoding, wanted, entailment, settings, progress)
    except Exception as error:
        if len(trials) == 1 or isinstance(error, Cancelled):
            yield Outcome(0, failure_of(error, trials[0].observation_id), time.monotonic() - began)
            return
        for place, trial in enumerate(trials):  # one of them is at fault: asked alone, it cannot take others with it
            for outcome in ask([trial], vlm, entailment, decoding, measures, settings, progress):
                yield Outcome(place, outcome.made, outcome.seconds)
        return
    seconds = (time.monotonic() - began) / len(made)
    for place, evaluation in enumerate(made):
        yield Outcome(place, evaluation, seconds)
