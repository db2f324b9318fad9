"""One trial put to several models, or to one model loaded in several ways; each is asked in its turn."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import Cancelled, InputError, ModelError, first_line
from isi_core.domain.evaluation import Evaluation
from isi_core.domain.progress import Progress, part_of
from isi_core.domain.trial import Trial
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.models.catalogue import ROWS
from isi_core.models.memory import QUANTIZATIONS

if TYPE_CHECKING:
    from isi_core.models.shelf import Shelf
    from isi_core.studies.vqa import Wanted

_log = logging.getLogger(__name__)

MOST = 3
"""Models that are asked at a time: more columns cannot be read beside each other."""
_SEPARATOR = " · "


@dataclass(frozen=True)
class Contender:
    """A model and how it is loaded.

    Attributes
    ----------
    model : what `find_vlm` finds it by.
    quantization : `none`, `4-bit` or `8-bit`.
    """

    model: str
    quantization: str = "none"

    @property
    def label(self) -> str:
        """The model's name, with its quantization where it has one."""
        return self.model if self.quantization == "none" else f"{self.model}{_SEPARATOR}{self.quantization}"

    @classmethod
    def read(cls, label: str) -> Contender:
        """The contender of this label; what a person typed may have blanks around it.

        Raises
        ------
        InputError : there is no model in it.
        """
        model, separator, quantization = label.strip().rpartition(_SEPARATOR.strip())
        if separator and quantization.strip() in QUANTIZATIONS:
            found = cls(model.strip(), quantization.strip())
        else:
            found = cls(label.strip())
        if not found.model:
            raise InputError("A model needs a name: choose one of the list, or type a hub id, a folder or an endpoint.")
        return found


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one contender made of the trial: an evaluation, or the sentence that says why there is none."""

    contender: Contender
    evaluation: Evaluation | None
    error: str = ""


@dataclass(frozen=True)
class Agreement:
    """How far several models agree on a trial.

    Attributes
    ----------
    answers : group of each model's answer, numbered in order; equal numbers say the same.
    inputs : the input that each attended to most (`image`, `context`, `question`); "" where it was not measured.
    """

    answers: tuple[int, ...]
    inputs: tuple[str, ...]

    @property
    def same_answer(self) -> bool:
        """All of them answer alike."""
        return len(set(self.answers)) <= 1

    @property
    def same_input(self) -> bool:
        """All of them that were measured listened to the same input most."""
        return len(set(self.inputs) - {""}) <= 1


def ask_each(
    trial: Trial,
    contenders: Sequence[Contender],
    shelf: Shelf,
    decoding: Decoding,
    wanted: Collection[Wanted],
    settings: UncertaintySettings,
    progress: Progress | None = None,
    made: Callable[[Outcome], None] | None = None,
    known: Sequence[Evaluation] = (),
) -> list[Outcome]:
    """Put the trial to each contender, one after the other; models that do not fit together are loaded in turn.

    A model that cannot be loaded or asked gets its error and does not cost the others theirs; attention is left out
    for models that do not tell it. `made` is told of each outcome as soon as it is there. What `known` evaluations of
    the same trial, model and decoding have measured beside is kept.
    """
    outcomes = []
    for number, contender in enumerate(contenders):
        share = part_of(progress, number / len(contenders), (number + 1) / len(contenders))
        part = share if share is None or len(contenders) == 1 else _named(share, contender, number, len(contenders))
        try:
            outcome = Outcome(contender, _ask(trial, contender, shelf, decoding, wanted, settings, part, known))
        except Cancelled:
            raise
        except (InputError, ModelError) as error:
            outcome = Outcome(contender, None, str(error))
        except Exception as error:  # whatever a library raises for one model, the others are still worth asking
            _log.exception("Asking %s failed", contender.label)
            outcome = Outcome(contender, None, _unexpected(contender, error))
        outcomes.append(outcome)
        if made is not None:
            made(outcome)
    return outcomes


def _ask(
    trial: Trial,
    contender: Contender,
    shelf: Shelf,
    decoding: Decoding,
    wanted: Collection[Wanted],
    settings: UncertaintySettings,
    progress: Progress | None,
    known: Sequence[Evaluation],
) -> Evaluation:
    from isi_core.studies.vqa import evaluate

    asked: set[Wanted] = {*wanted, "answer"}
    with ExitStack() as held:
        vlm = held.enter_context(shelf.vlm(contender.model, contender.quantization, progress))
        if not vlm.capabilities.attention:
            asked.discard("attention")
        entailment = None
        if "uncertainty" in asked:
            entailment = held.enter_context(shelf.entailment(settings.entailment_model, progress))
        previous = next((k for k in reversed(known) if k.model == vlm.record and k.decoding == decoding), None)
        return evaluate(trial, vlm, decoding, asked, entailment, settings, progress, previous)


def _unexpected(contender: Contender, error: Exception) -> str:
    return f"{contender.label} failed ({first_line(error)[:200]}): choose another model, or load it in another way."


def _named(progress: Progress, contender: Contender, number: int, count: int) -> Progress:
    def tell(message: str, fraction: float) -> None:
        progress(f"{contender.label}, {number + 1} of {count}: {message}", fraction)

    return tell


def agreement(evaluations: Sequence[Evaluation]) -> Agreement:
    """Which of the evaluations answer alike, and whether their models listened to the same input most.

    Yes/no answers are alike where their verdicts are, others where their words are, but for case and punctuation.
    """
    groups: dict[str, int] = {}
    answers = tuple(groups.setdefault(_gist(made), len(groups)) for made in evaluations)
    return Agreement(answers, tuple(_listened_to(made) for made in evaluations))


def _gist(made: Evaluation) -> str:
    if made.answer is None:
        return ""
    if made.answer.verdict in ("yes", "no"):
        return made.answer.verdict
    return "words " + " ".join(re.findall(r"\w+", made.answer.text.casefold()))


def _listened_to(made: Evaluation) -> str:
    if made.attribution is None:
        return ""
    shares = {name: share for name, share in made.attribution.relative.items() if math.isfinite(share)}
    return max(shares, key=lambda name: shares[name]) if shares else ""


def choices() -> list[str]:
    """Labels of every model of the catalogue, whole and in 4-bit."""
    names = [row.name for row in ROWS if row.kind == "vlm"]
    return [Contender(name, way).label for name in names for way in ("none", "4-bit")]


def from_catalogue(labels: str) -> tuple[str, ...]:
    """The labels in a comma-separated list that are of the catalogue, `MOST` at most; others may be anybody's."""
    known = {row.name for row in ROWS if row.kind == "vlm"}
    found = []
    for label in labels.split(","):
        try:
            contender = Contender.read(label)
        except InputError:
            continue
        if contender.model in known:
            found.append(contender.label)
    return tuple(dict.fromkeys(found))[:MOST]
