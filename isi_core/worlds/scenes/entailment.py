"""Pairs of statements from the scene world with their entailment class.

Most pairs are built as semantic entropy asks them: the same question in front of two answers.
The rest are plain statements: paraphrase, hypernym, negation, changed property, unrelated.
Classes: 0 contradiction, 1 neutral, 2 entailment (premise entails hypothesis).
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from isi_core.worlds.scenes.graph import COLOURS, KINDS, draw_scene
from isi_core.worlds.scenes.language import answers, claim_statement
from isi_core.worlds.scenes.questions import FAMILIES, NUMBERS, Claim, Question, draw_question, plural, with_article

_YES_WORDINGS = ("Yes.", "Yes, that is right.", "Yes, I think so.", "Indeed.", "That is correct.")
_NO_WORDINGS = ("No.", "No, that is not right.", "No, I do not think so.", "Not at all.", "That is wrong.")
_PREFIXES = ("", "", "I think that ", "It looks as if ", "As far as I can see, ")


@dataclass(frozen=True)
class Pair:
    """A premise, a hypothesis, and 0 contradiction, 1 neutral or 2 entailment."""

    premise: str
    hypothesis: str
    label: int


@dataclass(frozen=True)
class _Said:
    """An answer: its verdict and, for a no that says more, what holds instead."""

    text: str
    verdict: bool
    instead: str = ""


def _alternatives(claim: Claim) -> list[str]:
    """Everything a "no" could say holds instead."""
    if claim.family == "colour":
        return [c for c in COLOURS if c != claim.value]
    if claim.family == "count":
        return [n for n in NUMBERS.values() if n != claim.value]
    return [claim.alternative] if claim.alternative else []


def _say_instead(question: Question, instead: str) -> _Said:
    return _Said(f"No, {claim_statement(question.claim, False, instead)}.", False, instead)


def _say(rng: Random, question: Question, verdict: bool) -> _Said:
    claim = question.claim
    alternatives = [] if verdict else _alternatives(claim)
    if alternatives and rng.random() < 0.5:
        return _say_instead(question, rng.choice(alternatives))
    plain = answers(Question(question.text, verdict, claim, ()))
    wordings = [*(_YES_WORDINGS if verdict else _NO_WORDINGS), plain[0], plain[1], plain[3]]
    if not alternatives:
        wordings.append(plain[2])
    return _Said(rng.choice(wordings), verdict)


def _label(premise: _Said, hypothesis: _Said) -> int:
    if premise.verdict is not hypothesis.verdict:
        return 0
    if premise.instead == hypothesis.instead or not hypothesis.instead:
        return 2
    return 0 if premise.instead else 1


def _answer_pair(rng: Random) -> Pair:
    while True:
        scene = draw_scene(rng)
        question = draw_question(rng, scene, rng.choice(FAMILIES), rng.random() < 0.5)
        if question is not None:
            break
    first = rng.random() < 0.5
    second = first if rng.random() < 0.65 else not first
    a, b = _say(rng, question, first), _say(rng, question, second)
    alternatives = _alternatives(question.claim)
    if alternatives and rng.random() < 0.25:
        # The hardest pairs: two nos that agree or differ only in what they say holds instead.
        a = _say_instead(question, rng.choice(alternatives))
        b = a if rng.random() < 0.5 else _say_instead(question, rng.choice(alternatives))
    return Pair(f"{question.text} {a.text}", f"{question.text} {b.text}", _label(a, b))


def _sentence(rng: Random, clause: str) -> str:
    text = rng.choice(_PREFIXES) + clause + "."
    return text[0].upper() + text[1:]


def _plain_pair(rng: Random) -> Pair:
    kind, other = rng.sample(KINDS, 2)
    colour, another = rng.sample(COLOURS, 2)
    number, changed = rng.sample(sorted(NUMBERS), 2)
    exists = f"there is {with_article(f'{colour} {kind}')}"
    is_colour = f"the {kind} is {colour}"
    counted, recounted = (
        f"there is exactly one {kind}" if n == 1 else f"there are exactly {NUMBERS[n]} {plural(kind)}"
        for n in (number, changed)
    )
    clauses = rng.choice(
        (
            (exists, f"the picture shows {with_article(f'{colour} {kind}')}", 2),
            (exists, f"there is {with_article(kind)}", 2),
            (f"there is {with_article(kind)}", exists, 1),
            (exists, f"there is no {colour} {kind}", 0),
            (f"there is no {kind}", exists, 0),
            (f"there is no {kind}", f"there is no {colour} {kind}", 2),
            (is_colour, f"the colour of the {kind} is {colour}", 2),
            (is_colour, f"the {kind} is {another}", 0),
            (is_colour, f"the {kind} is not {colour}", 0),
            (is_colour, f"the {kind} is not {another}", 2),
            (is_colour, f"the {other} is {another}", 1),
            (exists, f"the {other} is large", 1),
            (f"the {kind} is on the left", f"the {kind} is on the right", 0),
            (f"the {kind} is on the left of the {other}", f"the {other} is on the right of the {kind}", 2),
            (f"the {kind} is above the {other}", f"the {other} is below the {kind}", 2),
            (f"the {kind} is above the {other}", f"the {other} is above the {kind}", 0),
            (f"the {kind} is larger than the {other}", f"the {other} is smaller than the {kind}", 2),
            (f"the {kind} is larger than the {other}", f"the {kind} is smaller than the {other}", 0),
            (f"the {kind} is larger than the {other}", is_colour, 1),
            (counted, recounted, 0),
            (counted, f"there is no {kind}", 0),
        )
    )
    premise, hypothesis, label = clauses
    return Pair(_sentence(rng, premise), _sentence(rng, hypothesis), label)


def draw_pair(rng: Random) -> Pair:
    """A pair by lot: three in four are a question with two answers."""
    return _answer_pair(rng) if rng.random() < 0.75 else _plain_pair(rng)
