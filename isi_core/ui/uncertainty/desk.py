"""The desk: everything one session has on the page Semantic Uncertainty, under one key.

As on the page VQA Interventions: widgets forget, the desk does not; each run writes the desk's values into the
widgets, and each widget's callback writes back.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar

import streamlit as st

from isi_core.domain.answer import Answer
from isi_core.domain.evaluation import Evaluation
from isi_core.domain.p_true import PTrue
from isi_core.measures.answer_groups import ComparedAnswers, Grouping, Groups, group
from isi_core.measures.clustering import renumbered
from isi_core.models.catalogue import DEFAULT_ENTAILMENT

Source = Literal["This session", "Stored runs", "Pasted answers"]
SOURCES: tuple[Source, ...] = ("This session", "Stored runs", "Pasted answers")

_KEY = "uncertainty_desk"
_KEPT = 24
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Subject:
    """Answers to one question, with the trial and model they came from where those are known.

    Attributes
    ----------
    key : names it among the subjects of its source.
    samples : empty where only the main answer was asked so far.
    evaluation : None for pasted answers.
    """

    key: str
    label: str
    question: str
    samples: tuple[Answer, ...]
    evaluation: Evaluation | None = None

    @classmethod
    def of(cls, key: str, label: str, evaluation: Evaluation) -> Subject:
        """An evaluation's answers."""
        found = evaluation.uncertainty
        return cls(key, label, evaluation.trial.question, found.samples if found else (), evaluation)

    @cached_property
    def digest(self) -> str:
        """Names the question and the answers' words: comparisons are of these and nothing else."""
        words = json.dumps([self.question, [answer.text for answer in self.samples]])
        return hashlib.sha256(words.encode()).hexdigest()

    @cached_property
    def fingerprint(self) -> str:
        """Names the answers with their likelihoods."""
        whole = json.dumps([self.question, [answer.to_json() for answer in self.samples]])
        return hashlib.sha256(whole.encode()).hexdigest()

    @property
    def name(self) -> str:
        """The label with the number of answers."""
        return f"{self.label} · {len(self.samples)} answers" if self.samples else f"{self.label} · not sampled yet"


@dataclass(frozen=True, eq=False)
class View:
    """A subject as it is looked at now: compared, grouped, and how.

    Attributes
    ----------
    key : names all of it; what was computed for it is kept under this key.
    by_hand : whether an answer was moved.
    """

    subject: Subject
    answers: ComparedAnswers
    grouping: Grouping
    groups: Groups
    key: tuple[Any, ...]
    by_hand: bool
    entailment_model: str
    prepended: bool


@dataclass
class Desk:
    """What lies on the desk of one session.

    Attributes
    ----------
    chosen : key of the subject chosen in each source.
    drawn : subjects that were sampled on this page.
    comparisons : by subject digest, entailment model, and whether the question was read with the answers.
    ids_by_hand : clusters set by hand, by what they were made from.
    sweeps : evaluations over temperatures, by trial digest and model.
    temperatures, samples_each : what the next sweep draws.
    p_true : by subject fingerprint, what a model said of its main answer here.
    shots : solved examples in front of the next question for p(True).
    second : fingerprint of the subject that is compared with.
    when_done : takes the running job's result.
    """

    source: Source = "This session"
    chosen: dict[str, str] = field(default_factory=dict)
    pasted: Subject | None = None
    pasted_text: str = ""
    pasted_question: str = ""
    drawn: list[Subject] = field(default_factory=list)
    loaded: OrderedDict[str, Subject] = field(default_factory=OrderedDict)
    entailment_model: str = DEFAULT_ENTAILMENT
    prepended: bool = True
    grouping: Grouping = field(default_factory=Grouping)
    adopted: str = ""
    comparisons: OrderedDict[tuple[str, str, bool], ComparedAnswers] = field(default_factory=OrderedDict)
    ids_by_hand: dict[tuple[Any, ...], tuple[int, ...]] = field(default_factory=dict)
    sweeps: dict[str, list[Evaluation]] = field(default_factory=dict)
    temperatures: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9, 1.2, 1.5)
    samples_each: int = 10
    p_true: dict[str, PTrue] = field(default_factory=dict)
    shots: int = 0
    second: str = ""
    job: str | None = None
    when_done: Callable[[Any], None] | None = None
    error: str = ""
    _computed: OrderedDict[Any, Any] = field(default_factory=OrderedDict)

    def compared(self, subject: Subject) -> ComparedAnswers | None:
        """The subject's answers compared as chosen; None where the entailment model has to be asked."""
        if not subject.samples:
            return None
        found = subject.evaluation.uncertainty if subject.evaluation is not None else None
        same = found is not None and self.prepended and found.settings.entailment_model == self.entailment_model
        # Where only one answer of each meaning was compared with all, other rules and the graph have no answer.
        if found is not None and same and found.all_compared:
            measured = found
            return self.computed(("measured", subject.fingerprint), lambda: ComparedAnswers.of(measured))
        known = self.comparisons.get((subject.digest, self.entailment_model, self.prepended))
        # The same words compare the same way; likelihoods are this subject's own.
        return (
            None
            if known is None
            else ComparedAnswers(subject.samples, known.implications, known.entailment_probabilities)
        )

    def keep_comparison(self, subject: Subject, model: str, prepended: bool, made: ComparedAnswers) -> None:
        """Remember what an entailment model said."""
        self.comparisons[(subject.digest, model, prepended)] = made
        while len(self.comparisons) > _KEPT:
            self.comparisons.popitem(last=False)

    def view(self, subject: Subject) -> View | None:
        """The subject grouped as chosen; None where it has to be compared first.

        Raises
        ------
        ModelError : its likelihoods are not numbers.
        """
        answers = self.compared(subject)
        if answers is None:
            return None
        place = (subject.digest, self.entailment_model, self.prepended, self.grouping.rule, self.grouping.assignment)
        ids = self.ids_by_hand.get(place)
        groups = group(answers, self.grouping, ids)
        key = (*place, self.grouping, subject.fingerprint, groups.ids)
        return View(
            subject, answers, self.grouping, groups, key, ids is not None, self.entailment_model, self.prepended
        )

    def p_true_of(self, subject: Subject) -> PTrue | None:
        """The subject's p(True), measured here or with its run; None where it was not."""
        found = subject.evaluation.uncertainty if subject.evaluation is not None else None
        return self.p_true.get(subject.fingerprint) or (found.p_true if found is not None else None)

    def ruled(self, view: View) -> Groups:
        """The view's groups as the rule alone has them."""
        return group(view.answers, view.grouping)

    def move(self, view: View, ids: tuple[int, ...] | None) -> None:
        """Set the clusters by hand; None puts the rule's back."""
        place = view.key[:5]
        if ids is None or renumbered(ids) == self.ruled(view).ids:
            self.ids_by_hand.pop(place, None)
        else:
            self.ids_by_hand[place] = ids

    def computed(self, key: Any, make: Callable[[], T]) -> T:
        """What `make` gives, made once for a key."""
        if key not in self._computed:
            self._computed[key] = make()
            while len(self._computed) > 4 * _KEPT:
                self._computed.popitem(last=False)
        made: T = self._computed[key]
        return made


def open_desk() -> Desk:
    """The session's desk."""
    desk: Desk | None = st.session_state.get(_KEY)
    if desk is None:
        desk = st.session_state[_KEY] = Desk()
    return desk


def sweep_key(evaluation: Evaluation) -> str:
    """Names a trial and the model it was put to."""
    return f"{evaluation.trial.digest} {evaluation.model.name} {evaluation.model.quantization}"
