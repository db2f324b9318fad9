"""Attributes: the semantics that pictures are edited by, in a hierarchy of one to three levels (DiffEx, CVPR 2025)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from isi_core.domain.errors import InputError

LEVELS = 3
LONGEST_LABEL = 80
"""Characters of one level's label."""

_PROPERTIES = frozenset(
    (
        *("color", "colour", "shape", "texture", "length", "style", "type", "size", "pattern", "volume", "tone"),
        *("density", "finish", "material", "thickness", "arrangement", "position", "condition", "shade", "form"),
        *("kind", "design", "marking", "presence", "amount", "number"),
    )
)
"""Labels that say nothing without what they are the property of."""


@dataclass(frozen=True, order=True)
class Attribute:
    """One semantic: a way down the hierarchy, such as ("facial hair", "beard", "goatee").

    Attributes
    ----------
    path : one to three labels, the broadest first.

    Raises
    ------
    InputError : no label, more than three, or an empty one.
    """

    path: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.path) <= LEVELS or not all(isinstance(p, str) and p.strip() for p in self.path):
            raise InputError("An attribute is named by one to three labels, none of them empty.")

    @property
    def level(self) -> int:
        """1, 2 or 3: how far down the hierarchy it stands."""
        return len(self.path)

    @property
    def label(self) -> str:
        """Its own label, without what it belongs to."""
        return self.path[-1]

    @property
    def branch(self) -> str:
        """The level-1 label it stands below; joint edits take attributes of different branches."""
        return self.path[0]

    @property
    def parent(self) -> Attribute | None:
        """The attribute one level up; None at level 1."""
        return Attribute(self.path[:-1]) if len(self.path) > 1 else None

    @property
    def phrase(self) -> str:
        """Words an editor's prompt can carry: the path, not the leaf alone ("goatee beard", "wavy hair texture").

        The label comes first, then the level above; a level above that says nothing alone (colour, shape) brings its
        own parent in between. What the words before it already say is not said again ("sunglasses", not "sunglasses
        glasses"). An embedded world has words of its own, those its captions use: `world(name).phrase(path)`.
        """
        above = list(self.path[:-1])
        told = [above[-1]] if above else []
        if len(above) == 2 and {word.lower().removesuffix("s") for word in above[1].split()} <= _PROPERTIES:
            told = [above[0], above[1]]
        words = self.label.split()
        for label in told:
            words += [w for w in label.split() if not _says(words, w)]
        return " ".join(words)

    @property
    def text(self) -> str:
        """The whole path for a person: "facial hair › beard › goatee"."""
        return " › ".join(self.path)

    def within(self, other: Attribute) -> bool:
        """It is the other one or stands below it."""
        return self.path[: len(other.path)] == other.path

    def to_json(self) -> list[str]:
        """The path as a list."""
        return list(self.path)

    @classmethod
    def from_json(cls, data: Any) -> Attribute:
        """The attribute from a list of labels.

        Raises
        ------
        InputError : it is not such a list.
        """
        if not isinstance(data, (list, tuple)) or not all(isinstance(part, str) for part in data):
            raise InputError('An attribute is a list of one to three labels, such as ["beard", "goatee"].')
        return cls(tuple(data))


def _says(words: list[str], word: str) -> bool:
    """The words already hold this one, its plural, or a compound that ends with it."""
    stem = word.lower().rstrip("s")
    return bool(stem) and any(w.lower().rstrip("s").endswith(stem) for w in words)


@dataclass(frozen=True, order=True)
class Edit:
    """One attribute added to a picture, or taken away.

    Attributes
    ----------
    sign : +1 adds, -1 removes.
    strength : 1 is the editor's own; others scale its guidance. Exact editors know only all or nothing.

    Raises
    ------
    InputError : another sign, or a strength that is not between 0 (excluded) and 10.
    """

    attribute: Attribute
    sign: int = 1
    strength: float = 1.0

    def __post_init__(self) -> None:
        if self.sign not in (1, -1):
            raise InputError("An edit adds an attribute (+1) or removes it (-1).")
        if not 0.0 < self.strength <= 10.0:
            raise InputError(f"The strength of an edit lies above 0 and up to 10; got {self.strength}.")

    @property
    def text(self) -> str:
        """The edit for a person: "+ goatee beard"."""
        times = "" if self.strength == 1.0 else f" × {self.strength:g}"
        return f"{'+' if self.sign > 0 else '−'} {self.attribute.phrase}{times}"

    def to_json(self) -> dict[str, Any]:
        """The edit as plain JSON values."""
        return {"attribute": self.attribute.to_json(), "sign": self.sign, "strength": self.strength}

    @classmethod
    def from_json(cls, data: Any) -> Edit:
        """The edit from `to_json`'s form.

        Raises
        ------
        InputError : it is not of that form.
        """
        try:
            return cls(Attribute.from_json(data["attribute"]), int(data["sign"]), float(data["strength"]))
        except (KeyError, TypeError, ValueError):
            raise InputError("An edit needs attribute, sign and strength.") from None


EditSet = tuple[Edit, ...]
"""Edits made together on one picture (a joint edit where there are several); () is no edit. Make it with `edit_set`."""


def edit_set(edits: Iterable[Edit]) -> EditSet:
    """Edits in their one order, so that the same set is the same key wherever it comes from.

    Raises
    ------
    InputError : an attribute stands in it twice.
    """
    ordered = tuple(sorted(edits))
    if len({edit.attribute for edit in ordered}) != len(ordered):
        raise InputError("A joint edit cannot hold an attribute twice.")
    return ordered


@dataclass(frozen=True)
class Corpus:
    """The hierarchy of attributes of one domain.

    Attributes
    ----------
    domain : such as "face".
    categories : level 1 -> level 2 -> level-3 labels; an empty inner part is a leaf of its own level.
    """

    domain: str
    categories: Mapping[str, Mapping[str, tuple[str, ...]]]

    def attributes(self, level: int | None = None) -> tuple[Attribute, ...]:
        """Every attribute of a level in the file's order; all of them, parents first, without a level."""
        return self._all if level is None else tuple(a for a in self._all if a.level == level)

    @cached_property
    def _all(self) -> tuple[Attribute, ...]:
        # A page asks for them many times a run, and there may be 10,000.
        found: list[Attribute] = []
        for first, below in self.categories.items():
            found.append(Attribute((first,)))
            for second, leaves in below.items():
                found.append(Attribute((first, second)))
                found += [Attribute((first, second, third)) for third in leaves]
        return tuple(found)

    def leaves(self) -> tuple[Attribute, ...]:
        """The attributes with nothing below, of whichever level."""
        groups = {a.path[:-1] for a in self._all}
        return tuple(a for a in self._all if a.path not in groups)

    def children(self, attribute: Attribute | None = None) -> tuple[Attribute, ...]:
        """What stands one level below an attribute; level 1 where it is None. Nothing for what is not in the corpus."""
        if attribute is None:
            return tuple(Attribute((first,)) for first in self.categories)
        below = self.categories.get(attribute.path[0], {})
        if attribute.level == 1:
            return tuple(Attribute((*attribute.path, second)) for second in below)
        if attribute.level == 2:
            return tuple(Attribute((*attribute.path, third)) for third in below.get(attribute.path[1], ()))
        return ()

    def below(self, attribute: Attribute) -> tuple[Attribute, ...]:
        """The leaves within an attribute; itself where it is one."""
        return tuple(leaf for leaf in self.leaves() if leaf.within(attribute))

    def __contains__(self, attribute: object) -> bool:
        if not isinstance(attribute, Attribute):
            return False
        first, *rest = attribute.path
        below = self.categories.get(first)
        if below is None or not rest:
            return below is not None
        return rest[0] in below and (len(rest) == 1 or rest[1] in below[rest[0]])

    def to_json(self) -> dict[str, Any]:
        """`{"domain": str, "categories": {level1: {level2: [level3, …]}}}` (DESIGN.md, section 8)."""
        return {
            "domain": self.domain,
            "categories": {
                first: {second: list(leaves) for second, leaves in below.items()}
                for first, below in self.categories.items()
            },
        }

    @classmethod
    def from_json(cls, data: Any) -> Corpus:
        """The corpus from a three- or two-level form; strict, `corpus_reading.read_corpus` is the lenient way.

        Raises
        ------
        InputError : another form, or no attribute in it.
        """
        problem = InputError(
            'A corpus is {"domain": …, "categories": {level 1: {level 2: [level 3, …]}}}: check its form.'
        )
        try:
            categories = {first: _second_level(below) for first, below in data["categories"].items()}
            domain = data["domain"]
        except (KeyError, TypeError, AttributeError):
            raise problem from None
        if not isinstance(domain, str) or not categories:
            raise problem
        corpus = cls(domain, categories)
        corpus.attributes()  # an empty label is told here
        return corpus


def _second_level(below: Any) -> dict[str, tuple[str, ...]]:
    if isinstance(below, list):
        return {str(second): () for second in below}
    return {second: tuple(str(third) for third in leaves) for second, leaves in below.items()}
