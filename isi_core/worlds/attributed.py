"""Worlds of attributes: portraits and birds as data, every attribute of which can be switched by itself.

Attributes form a tree of three levels ("facial hair" -> "beard" -> "goatee"). Of each group of
level 2 at most one leaf is on; with none on, the picture shows what this subject looks like by
nature (brown hair, no hat). Since pictures are drawn from the data, the effect of an attribute
on anything that is computed from the data is known exactly.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

from PIL import Image

from isi_core.domain.errors import InputError

Path = tuple[str, ...]
"""Names from level 1 down: one (a group), two (a group within it) or three (a leaf)."""

Tree = Mapping[str, Mapping[str, tuple[str, ...]]]
"""level 1 -> level 2 -> the leaves of level 3."""

WORLDS = ("faces", "birds")
MASTER_SIDE = 128
LARGEST_SEED = 2**63 - 1
_MOST_LEAVES = 100
_KEPT_IN_CAPTION = 0.8


@dataclass(frozen=True)
class Subject:
    """One portrait or bird as data.

    Attributes
    ----------
    world : name of its world.
    seed : the identity: proportions, skin or ground colour, background; at least 0.
    leaves : the leaves that are on, sorted, at most one of a group of level 2.
    """

    world: str
    seed: int
    leaves: tuple[Path, ...] = ()

    def digest(self) -> str:
        """SHA-256 (hex): two subjects with the same digest look the same."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    @property
    def held_out(self) -> bool:
        """Kept from every training: one identity in sixteen, told by world and seed alone, so that edits stay so."""
        return hashlib.sha256(f"{self.world} {self.seed}".encode()).hexdigest().startswith("0")

    def leaf_of(self, level1: str, level2: str) -> str:
        """The leaf that is on in this group of level 2; empty where none is."""
        return next((leaf for one, two, leaf in self.leaves if (one, two) == (level1, level2)), "")

    def to_json(self) -> dict[str, Any]:
        """Plain values; `Subject.from_json` reads them back."""
        return {"world": self.world, "seed": self.seed, "leaves": [list(path) for path in self.leaves]}

    @classmethod
    def from_json(cls, value: Any) -> Subject:
        """The subject that `to_json` wrote; InputError where it is none of this world's."""
        if not isinstance(value, dict) or not {"world", "seed", "leaves"} <= value.keys():
            raise InputError("A subject needs the fields world, seed and leaves.")
        name, seed, leaves = value["world"], value["seed"], value["leaves"]
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= LARGEST_SEED:
            raise InputError(f"A subject's seed must be a whole number of at least 0; got {seed!r:.40}.")
        if not isinstance(leaves, list) or len(leaves) > _MOST_LEAVES:
            raise InputError(f"A subject's leaves must be a list of at most {_MOST_LEAVES} paths.")
        place = world(name)
        paths = [place.path(item) for item in leaves]
        if any(len(path) != 3 for path in paths):
            raise InputError("A subject's leaves must be paths of three levels.")
        if len({path[:2] for path in paths}) < len(paths):
            raise InputError("A subject can have one leaf of a group only.")
        return cls(place.name, seed, tuple(sorted(paths)))


@dataclass(frozen=True)
class AttributeWorld:
    """What can be drawn and switched in one world.

    Attributes
    ----------
    name : "faces" or "birds".
    tree : the attributes.
    phrases : words of a path where they are not "level3 level2", such as "goatee beard".
    regions : (left, top, right, bottom) in fractions of the picture that a group of level 2 can change.
    draw_leaves : leaves by lot for one subject.
    paint : (subject, side) -> RGB picture.
    """

    name: str
    tree: Tree
    phrases: Mapping[Path, str]
    regions: Mapping[Path, tuple[float, float, float, float]]
    draw_leaves: Callable[[Random], Mapping[Path, str]]
    paint: Callable[[Subject, int], Image.Image]

    def leaves(self, below: Path = ()) -> tuple[Path, ...]:
        """Every leaf, or those below a group; a leaf is below itself."""
        return self._below.get(below, ())

    @cached_property
    def _below(self) -> dict[Path, tuple[Path, ...]]:
        """The leaves below each path, the root () among them."""
        found: dict[Path, list[Path]] = {}
        for one, groups in self.tree.items():
            for two, names in groups.items():
                for leaf in names:
                    path = (one, two, leaf)
                    for level in range(4):
                        found.setdefault(path[:level], []).append(path)
        return {path: tuple(leaves) for path, leaves in found.items()}

    def paths(self) -> tuple[Path, ...]:
        """Every group and leaf, each group before what is below it."""
        return tuple(path for path in self._below if path)

    def path(self, value: Any) -> Path:
        """A path of this world from outside (a list or tuple of names); InputError where there is none such."""
        if isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value):
            path = tuple(value)
            if path and self.leaves(path):
                return path
        raise InputError(
            f"The {self.name} world has no attribute {value!r:.120}; its groups are {', '.join(self.tree)}."
        )

    def draw_subject(self, rng: Random) -> Subject:
        """A subject by lot; the same state of `rng` gives the same subject."""
        seed = rng.getrandbits(40)
        leaves = ((*group, leaf) for group, leaf in self.draw_leaves(rng).items())
        return Subject(self.name, seed, tuple(sorted(leaves)))

    def render(self, subject: Subject, side: int = MASTER_SIDE) -> Image.Image:
        """The subject's picture: RGB, `side` x `side` pixels (16 to 1024), deterministic."""
        if not 16 <= side <= 1024:
            raise InputError(f"A picture's side must lie between 16 and 1024 pixels; got {side}.")
        return self.paint(subject, side)

    def has(self, subject: Subject, path: Path) -> bool:
        """Whether the attribute is on; a group is when one of its leaves is."""
        return any(leaf[: len(path)] == path for leaf in subject.leaves)

    def with_attribute(self, subject: Subject, path: Path, present: bool = True, seed: int = 0) -> Subject:
        """The same subject with an attribute turned on or off; everything else stays as it is.

        A leaf takes the place of another of its group of level 2. A group that is off gets
        exactly one of its leaves, chosen by `seed`, the subject's own seed and the path alone; a
        group that is on already stays as it is. Turning a group off turns off what is on in it.
        """
        choices = self.leaves(self.path(path))
        if not present:
            return Subject(subject.world, subject.seed, tuple(p for p in subject.leaves if p[: len(path)] != path))
        if self.has(subject, path):
            return subject
        leaf = Random(f"{seed} {subject.seed} {'/'.join(path)}").choice(choices)
        kept = [other for other in subject.leaves if other[:2] != leaf[:2]]
        return Subject(subject.world, subject.seed, tuple(sorted([*kept, leaf])))

    def phrase(self, path: Path) -> str:
        """The attribute in words, such as "goatee beard"."""
        if path in self.phrases:
            return self.phrases[path]
        return f"{path[2]} {path[1]}" if len(path) == 3 else path[-1]

    def caption(self, rng: Random, subject: Subject) -> str:
        """Phrases of the leaves that are on, in random order, some left out: "goatee beard, blond hair, smile"."""
        kept = [leaf for leaf in subject.leaves if rng.random() < _KEPT_IN_CAPTION]
        rng.shuffle(kept)
        return ", ".join(self.phrase(leaf) for leaf in kept)


def world(name: str) -> AttributeWorld:
    """The world of this name; InputError where there is none."""
    if name == "faces":
        from isi_core.worlds.faces import FACES

        return FACES
    if name == "birds":
        from isi_core.worlds.birds import BIRDS

        return BIRDS
    raise InputError(f"There is no attribute world {name!r:.40}; there are {' and '.join(WORLDS)}.")
