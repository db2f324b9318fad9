"""Everything said about a scene: contexts that nudge, answers in varied words, descriptions, open questions.

A nudge speaks for or against a question's claim by what is usual, liked or expected,
never by stating what the picture shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from isi_core.worlds.scenes.graph import COLUMNS, ROWS, Scene, SceneObject
from isi_core.worlds.scenes.questions import NUMBERS, Claim, Question, draw_question, plural, with_article

_GROUPS = {"one": "alone", "two": "in pairs", "three": "in groups of three"}

_FOR_EXISTENCE = (
    "{A} is a common sight around here.",
    "Visitors often tell their friends about {a} they met in this place.",
    "The artist of this series loves to draw {a}.",
    "Many people come here because they hope to find {a}.",
)
_AGAINST_EXISTENCE = (
    "{A} is a rare sight around here.",
    "Visitors often complain that they never met {a} in this place.",
    "The artist of this series never learned to draw {a}.",
    "Many people leave this place because they miss {a}.",
)
_COLOUR = (
    "Most {s} around here are painted {v}.",
    "The owner of the {k} bought a lot of {v} paint last week.",
    "Children who draw {a} usually pick the {v} pencil.",
    "For a {k}, {v} is the favourite colour of the neighbours.",
)
_POSITION = (
    "Visitors usually look for the {k} {p}.",
    "The guide tells everybody to turn to the {v} to meet the {k}.",
    "In most pictures of this series the {k} is kept near the {v} edge.",
)
_RELATION = {
    "left": (
        "To go from the {k} to the {r} people usually walk to the right.",
        "The wind has been pushing the {k} to the left, away from the {r}.",
    ),
    "right": (
        "To go from the {k} to the {r} people usually walk to the left.",
        "The wind has been pushing the {k} to the right, away from the {r}.",
    ),
    "above": (
        "To go from the {k} to the {r} people usually climb down.",
        "The {k} is known to look down on the {r}.",
    ),
    "below": (
        "To go from the {k} to the {r} people usually climb up.",
        "The {k} is known to look up to the {r}.",
    ),
}
_COUNT = (
    "Around here {s} usually come {g}.",
    "The artist of this series likes to show {s} {g}.",
    "Everybody knows that {s} are happiest {g}.",
)
_COMPARISON = {
    "larger": (
        "The {k} has been growing for years, while the {r} was made for children.",
        "People need a ladder for the {k} and a magnifying glass for the {r}.",
    ),
    "smaller": (
        "The {r} has been growing for years, while the {k} was made for children.",
        "People need a ladder for the {r} and a magnifying glass for the {k}.",
    ),
}


def nudge(rng: Random, claim: Claim, towards: bool) -> str:
    """One sentence of context that speaks for the claim (`towards`) or against it."""
    value = claim.value if towards else claim.alternative
    article = with_article(claim.subject)
    words = {
        "k": claim.subject,
        "s": plural(claim.subject),
        "a": article,
        "A": article[0].upper() + article[1:],
        "v": value,
        "r": claim.reference,
        "p": f"on the {value}" if value in ("left", "right") else f"at the {value}",
        "g": _GROUPS.get(value, ""),
    }
    templates: tuple[str, ...]
    if claim.family == "existence":
        templates = _FOR_EXISTENCE if towards else _AGAINST_EXISTENCE
    elif claim.family == "relation":
        templates = _RELATION[value]
    elif claim.family == "comparison":
        templates = _COMPARISON[value]
    else:
        templates = {"colour": _COLOUR, "position": _POSITION, "count": _COUNT}[claim.family]
    return rng.choice(templates).format(**words).replace("For a umbrella", "For an umbrella")


def claim_statement(claim: Claim, holds: bool, truth_value: str) -> str:
    """The claim, or what holds instead of it, as a clause."""
    value = claim.value if holds else truth_value
    k, r = claim.subject, claim.reference
    if claim.family == "existence":
        return f"there is {with_article(k)}" if holds else f"there is no {k}"
    if claim.family == "colour":
        return f"the {k} is {value}"
    if claim.family == "position":
        return f"the {k} is {'on the ' + value if value in ('left', 'right') else 'at the ' + value}"
    if claim.family == "relation":
        return f"the {k} is {'to the ' + value + ' of' if value in ('left', 'right') else value} the {r}"
    if claim.family == "count":
        return f"there is one {k}" if value == "one" else f"there are {value} {plural(k)}"
    return f"the {k} is {value} than the {r}"


def answers(question: Question) -> tuple[str, ...]:
    """The right answer in several wordings, short ones first."""
    claim = question.claim
    there = claim.family in ("existence", "count")
    be = "is" if claim.family != "count" or claim.value == "one" else "are"
    statement = claim_statement(claim, question.truth, claim.alternative)
    if question.truth:
        return ("Yes.", f"Yes, there {be}." if there else "Yes, it is.", f"Yes, {statement}.", "Yes, that is right.")
    return (
        "No.",
        f"No, there {be} not." if there else "No, it is not.",
        f"No, {statement}.",
        "No, that is not right.",
    )


def draw_answer(rng: Random, question: Question) -> str:
    """One of the wordings by lot."""
    return rng.choices(answers(question), weights=(3, 3, 3, 1))[0]


def _place(item: SceneObject) -> str:
    column, row = COLUMNS[item.column], ROWS[item.row]
    if column == row == "middle":
        return "in the middle"
    return f"at the {row} {column}"


def name(item: SceneObject) -> str:
    """The object in words: size, colour and kind."""
    return f"{item.size} {item.colour} {item.kind}"


def describe(scene: Scene) -> str:
    """What the picture shows, in one or two sentences, objects in reading order."""
    ordered = sorted(scene.objects, key=lambda o: (o.row, o.column))
    parts = [f"{with_article(name(o))} {_place(o)}" for o in ordered]
    listed = ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else parts[0]
    setting = "in a room" if scene.background == "room" else f"in front of a {scene.background}"
    if scene.background == "snow":
        setting = "in the snow"
    return f"The picture shows {listed}, {setting}."


def _relation_question(claim: Claim) -> tuple[str, str]:
    """How two objects lie to each other, as a choice: easier to learn from than a yes or no on one of the words."""
    if claim.value in ("left", "right"):
        return (
            f"Is the {claim.subject} to the left or to the right of the {claim.reference}?",
            f"It is to the {claim.value}.",
        )
    return f"Is the {claim.subject} above or below the {claim.reference}?", f"It is {claim.value}."


OPEN_TOPICS = ("place", "colour", "where", "size", "number", "everything")


def open_question(rng: Random, scene: Scene, topics: Sequence[str] = OPEN_TOPICS) -> tuple[str, str]:
    """An open question on one of the topics and its answer: these bind words to places while the model learns.

    "relation" is a topic too. What stands at a place is asked instead where the topic does not fit the object.
    """
    item = rng.choice(scene.objects)
    alone = len(scene.of_kind(item.kind)) == 1
    topic = rng.choice(topics)
    if topic == "relation":
        related = draw_question(rng, scene, "relation", True)
        if related is not None:
            return _relation_question(related.claim)
    number = len(scene.of_kind(item.kind))
    if topic == "everything":
        return "What does the picture show?", describe(scene)
    if topic == "number" and number in NUMBERS:
        be = "is" if number == 1 else "are"
        return f"How many {plural(item.kind)} are there?", f"There {be} {NUMBERS[number]}."
    if topic == "colour" and alone:
        return f"What colour is the {item.kind}?", f"It is {item.colour}."
    if topic == "where" and alone:
        return f"Where is the {item.kind}?", f"It is {_place(item)}."
    if topic == "size" and alone:
        return f"How large is the {item.kind}?", f"It is {item.size}."
    return f"What is {_place(item)}?", f"A {name(item)}."
