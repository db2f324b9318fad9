"""The scene graph: which objects stand where, and how one is drawn by lot."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from random import Random

KINDS = ("house", "tree", "car", "fish", "boat", "cup", "ball", "flower", "umbrella", "star")
COLOURS = ("red", "yellow", "green", "blue", "purple", "white")
SIZES = ("small", "large")
BACKGROUNDS = ("meadow", "beach", "snow", "sunset", "room")
COLUMNS = ("left", "middle", "right")
ROWS = ("top", "middle", "bottom")

EXTENT = {"small": 0.17, "large": 0.28}
"""Side of an object's bounding square, as a fraction of the picture."""

_JITTER = 0.022


@dataclass(frozen=True)
class SceneObject:
    """One object; (x, y) is the centre of its bounding square, in fractions of the picture."""

    kind: str
    colour: str
    size: str
    column: int
    row: int
    x: float
    y: float

    @property
    def extent(self) -> float:
        """Side of the bounding square, as a fraction of the picture."""
        return EXTENT[self.size]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of the bounding square, in fractions of the picture."""
        half = self.extent / 2
        return self.x - half, self.y - half, self.x + half, self.y + half


@dataclass(frozen=True)
class Scene:
    """2 to 6 objects, each in a cell of its own of a 3 x 3 grid, on a background."""

    objects: tuple[SceneObject, ...]
    background: str

    def digest(self) -> str:
        """SHA-256 (hex) of the graph: two scenes with the same digest look the same."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def held_out(self) -> bool:
        """Kept from every training: one scene in sixteen, told by its digest alone."""
        return self.digest().startswith("0")

    def of_kind(self, kind: str) -> list[SceneObject]:
        """All objects of a kind."""
        return [o for o in self.objects if o.kind == kind]


def draw_scene(rng: Random, count: int | None = None, repeated: bool | None = None) -> Scene:
    """A scene by lot.

    Parameters
    ----------
    rng : the source of chance; the same state gives the same scene.
    count : number of objects; 2 to 4 by lot when left out.
    repeated : whether a kind occurs more than once; by lot (1 in 3) when left out.
    """
    count = rng.choice((2, 3, 3, 4, 4)) if count is None else count
    repeated = rng.random() < 1 / 3 if repeated is None else repeated
    kinds = rng.sample(KINDS, count)
    if repeated:
        copies = rng.randint(2, min(3, count))
        kinds[:copies] = [kinds[0]] * copies
        rng.shuffle(kinds)
    objects = []
    for kind, cell in zip(kinds, rng.sample(range(9), count), strict=True):
        column, row = cell % 3, cell // 3
        objects.append(
            SceneObject(
                kind=kind,
                colour=rng.choice(COLOURS),
                size=rng.choice(SIZES),
                column=column,
                row=row,
                x=round((column + 0.5) / 3 + rng.uniform(-_JITTER, _JITTER), 4),
                y=round((row + 0.5) / 3 + rng.uniform(-_JITTER, _JITTER), 4),
            )
        )
    return Scene(tuple(objects), rng.choice(BACKGROUNDS))


def draw_training_scene(rng: Random) -> Scene:
    """A scene that models may be trained on: never one that is held out; one in ten has six objects."""
    while True:
        scene = draw_scene(rng, 6 if rng.random() < 0.1 else None)
        if not scene.held_out:
            return scene


def draw_held_out_scene(rng: Random, count: int | None = None) -> Scene:
    """A scene that no training has seen."""
    while True:
        scene = draw_scene(rng, count)
        if scene.held_out:
            return scene
