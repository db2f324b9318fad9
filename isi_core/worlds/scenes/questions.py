"""Yes/no questions about a scene, with their truth, six families of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from isi_core.worlds.scenes.graph import COLOURS, COLUMNS, KINDS, ROWS, Scene, SceneObject

FAMILIES = ("existence", "colour", "position", "relation", "count", "comparison")
NUMBERS = {1: "one", 2: "two", 3: "three"}
OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top", "above": "below", "below": "above"}
_PLURALS = {"fish": "fish", "house": "houses"}


def plural(kind: str) -> str:
    """The plural of a kind's name."""
    return _PLURALS.get(kind, kind + "s")


def with_article(words: str) -> str:
    """The words behind `a` or `an`."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


@dataclass(frozen=True)
class Claim:
    """What a yes/no question asserts; a nudge speaks for or against it.

    Attributes
    ----------
    family : one of `FAMILIES`.
    subject : what it is about: "red fish", "fish".
    value : the asserted property: a colour, a side, a number, a direction, a size word; "" for existence.
    reference : the other object of a relation or comparison, else "".
    alternative : the property that holds (or could hold) instead of `value`.
    """

    family: str
    subject: str
    value: str = ""
    reference: str = ""
    alternative: str = ""


@dataclass(frozen=True)
class Question:
    """A question about a scene, its truth and the objects it is about (as indexes)."""

    text: str
    truth: bool
    claim: Claim
    objects: tuple[int, ...]

    @property
    def family(self) -> str:
        """The family of the question."""
        return self.claim.family


def _unique(scene: Scene) -> list[int]:
    """Objects whose kind occurs once, so that "the fish" is clear."""
    return [i for i, o in enumerate(scene.objects) if len(scene.of_kind(o.kind)) == 1]


def _existence(rng: Random, scene: Scene, truth: bool) -> Question | None:
    with_colour = rng.random() < 0.5
    objects: tuple[int, ...] = ()
    if truth:
        index = rng.randrange(len(scene.objects))
        item = scene.objects[index]
        subject = f"{item.colour} {item.kind}" if with_colour else item.kind
        objects = (index,)
    elif with_colour:
        item = rng.choice(scene.objects)
        present = {(o.colour, o.kind) for o in scene.objects}
        absent = [(c, item.kind) for c in COLOURS] + [(item.colour, k) for k in KINDS]
        colour, kind = rng.choice([pair for pair in absent if pair not in present])
        subject = f"{colour} {kind}"
    else:
        present_kinds = {o.kind for o in scene.objects}
        subject = rng.choice([k for k in KINDS if k not in present_kinds])
    named = with_article(subject)
    text = rng.choice((f"Is there {named} in the picture?", f"Can you see {named}?", f"Does the picture show {named}?"))
    return Question(text, truth, Claim("existence", subject), objects)


def _colour(rng: Random, scene: Scene, truth: bool) -> Question | None:
    unique = _unique(scene)
    if not unique:
        return None
    index = rng.choice(unique)
    item = scene.objects[index]
    other = rng.choice([c for c in COLOURS if c != item.colour])
    value, alternative = (item.colour, other) if truth else (other, item.colour)
    text = rng.choice((f"Is the {item.kind} {value}?", f"Is the colour of the {item.kind} {value}?"))
    return Question(text, truth, Claim("colour", item.kind, value, alternative=alternative), (index,))


def _side(item: SceneObject, axis: int) -> str:
    return COLUMNS[item.column] if axis == 0 else ROWS[item.row]


def _position(rng: Random, scene: Scene, truth: bool) -> Question | None:
    choices = [(i, axis) for i in _unique(scene) for axis in (0, 1) if _side(scene.objects[i], axis) != "middle"]
    if not choices:
        return None
    index, axis = rng.choice(choices)
    item = scene.objects[index]
    side = _side(item, axis)
    value = side if truth else OPPOSITE[side]
    place = f"on the {value} side" if axis == 0 else f"at the {value}"
    text = rng.choice((f"Is the {item.kind} {place} of the picture?", f"Do you find the {item.kind} {place}?"))
    return Question(text, truth, Claim("position", item.kind, value, alternative=OPPOSITE[value]), (index,))


def _relation(rng: Random, scene: Scene, truth: bool) -> Question | None:
    unique = _unique(scene)
    choices = []
    for first in unique:
        for second in unique:
            one, other = scene.objects[first], scene.objects[second]
            if one.column != other.column:
                choices.append((first, second, "left" if one.column < other.column else "right"))
            if one.row != other.row:
                choices.append((first, second, "above" if one.row < other.row else "below"))
    if not choices:
        return None
    first, second, holds = rng.choice(choices)
    value = holds if truth else OPPOSITE[holds]
    a, b = scene.objects[first].kind, scene.objects[second].kind
    where = f"to the {value} of" if value in ("left", "right") else value
    claim = Claim("relation", a, value, reference=b, alternative=OPPOSITE[value])
    return Question(f"Is the {a} {where} the {b}?", truth, claim, (first, second))


def _count(rng: Random, scene: Scene, truth: bool) -> Question | None:
    kinds = sorted({o.kind for o in scene.objects})
    repeated = [k for k in kinds if len(scene.of_kind(k)) > 1]
    kind = rng.choice(repeated) if repeated and rng.random() < 0.75 else rng.choice(kinds)
    number = len(scene.of_kind(kind))
    if number not in NUMBERS:
        return None
    asked = number if truth else rng.choice([n for n in NUMBERS if n != number])
    alternative = rng.choice([n for n in NUMBERS if n != asked]) if truth else number
    name = kind if asked == 1 else plural(kind)
    be = "Is" if asked == 1 else "Are"
    text = rng.choice(
        (f"{be} there exactly {NUMBERS[asked]} {name} in the picture?", f"{be} there exactly {NUMBERS[asked]} {name}?")
    )
    objects = tuple(i for i, o in enumerate(scene.objects) if o.kind == kind)
    return Question(text, truth, Claim("count", kind, NUMBERS[asked], alternative=NUMBERS[alternative]), objects)


def _comparison(rng: Random, scene: Scene, truth: bool) -> Question | None:
    unique = _unique(scene)
    choices = [(i, j) for i in unique for j in unique if scene.objects[i].size != scene.objects[j].size]
    if not choices:
        return None
    first, second = rng.choice(choices)
    a, b = scene.objects[first], scene.objects[second]
    holds = "larger" if a.size == "large" else "smaller"
    opposite = {"larger": "smaller", "smaller": "larger"}
    value = holds if truth else opposite[holds]
    claim = Claim("comparison", a.kind, value, reference=b.kind, alternative=opposite[value])
    return Question(f"Is the {a.kind} {value} than the {b.kind}?", truth, claim, (first, second))


_FAMILY_QUESTIONS: dict[str, Callable[[Random, Scene, bool], Question | None]] = {
    "existence": _existence,
    "colour": _colour,
    "position": _position,
    "relation": _relation,
    "count": _count,
    "comparison": _comparison,
}


def draw_question(rng: Random, scene: Scene, family: str, truth: bool) -> Question | None:
    """A question of this family with this truth; None where the scene allows none."""
    return _FAMILY_QUESTIONS[family](rng, scene, truth)
