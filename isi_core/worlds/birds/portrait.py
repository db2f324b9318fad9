"""A bird from its data: perched on a branch, facing right."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from random import Random

import numpy as np
from PIL import Image

from isi_core.worlds.attributed import Subject
from isi_core.worlds.birds import head, plumage
from isi_core.worlds.brush import Canvas, Colour, colour, darker, lighter, oval

_PLUMAGES = tuple(map(colour, ("#9a7b5f", "#8b8378", "#7f6a58", "#a38a6b", "#84796f")))
_BACKGROUNDS = tuple(
    (colour(top), colour(bottom))
    for top, bottom in (
        ("#dcecf4", "#b9d6e6"),
        ("#e9f1dc", "#c4d8ac"),
        ("#f7ead6", "#ecd0a8"),
        ("#eee4f1", "#d3c1dc"),
        ("#f5e2dc", "#e6beb2"),
        ("#e2efee", "#b5d5d1"),
    )
)
_BACKS = {"blue": colour("#2f74b8"), "green": colour("#5f9440"), "rust": colour("#a8512a")}
_WINGS = {"black": colour("#2b2a30"), "blue": colour("#2a4fa0"), "olive": colour("#7d7a2c")}
_BARK = colour("#6d4f3a")


@dataclass(frozen=True)
class Build:
    """What a bird's seed decides; the bird is moved by (dx, dy), in fractions of the picture.

    `plumage` is the colour of its upperparts, `wing` of its wings, where no attribute says another.
    """

    dx: float
    dy: float
    plump: float
    plumage: Colour
    background: tuple[Colour, Colour]
    slope: float
    strands: int


@lru_cache(maxsize=4096)
def build(seed: int) -> Build:
    """Of the bird with this seed."""
    rng = Random(f"bird {seed}")
    return Build(
        dx=rng.uniform(-0.02, 0.02),
        dy=rng.uniform(-0.012, 0.012),
        plump=rng.uniform(-0.012, 0.016),
        plumage=rng.choice(_PLUMAGES),
        background=rng.choice(_BACKGROUNDS),
        slope=rng.uniform(-0.03, 0.03),
        strands=rng.getrandbits(30),
    )


def paint(subject: Subject, side: int) -> Image.Image:
    """RGB, `side` x `side` pixels."""
    on = {(one, two): leaf for one, two, leaf in subject.leaves}

    def leaf(one: str, two: str) -> str:
        return on.get((one, two), "")

    b = build(subject.seed)
    back = _BACKS.get(leaf("upperparts", "back"), b.plumage)
    wing = _WINGS.get(leaf("wings", "wing colour"), darker(b.plumage, 0.28))
    canvas = Canvas(side, *b.background)
    canvas.disc(0.5 + b.dx, 0.47, 0.43, lighter(b.background[0], 0.4), opacity=0.55)
    _draw_branch(canvas, b, leaf("surroundings", "perch"))
    canvas.shift = (b.dx, b.dy)

    plumage.draw_tail(canvas, leaf("tail", "shape"), leaf("tail", "tip"), darker(b.plumage, 0.36))
    plumage.draw_legs(canvas, leaf("legs", "leg colour"))
    head.draw_crest(canvas, leaf("head", "crest"), back)
    plumage.draw_body(canvas, back, b.plumage, b.plump)
    plumage.draw_belly(canvas, leaf("underparts", "belly"), b.plumage, b.plump)
    head.draw_crown(canvas, leaf("head", "crown"))
    plumage.draw_throat(canvas, leaf("underparts", "throat"))
    plumage.draw_breast(canvas, leaf("underparts", "breast"), b.strands)
    plumage.draw_wing(canvas, wing, leaf("wings", "pattern"), b.strands)
    head.draw_beak(canvas, leaf("beak", "shape"), leaf("beak", "colour"))
    head.draw_face(canvas, leaf("head", "face"))
    head.draw_eye(canvas, leaf("head", "eye ring"))
    return canvas.picture()


def _draw_branch(canvas: Canvas, b: Build, perch: str) -> None:
    """The branch, with what grows on it."""
    middle = 0.885 + b.dy
    line = [
        (-0.05, middle - b.slope),
        (0.3, middle - 0.3 * b.slope + 0.006),
        (0.65, middle + 0.2 * b.slope),
        (1.05, middle + b.slope),
    ]
    canvas.stroke(line, 0.05, _BARK)
    canvas.stroke([(x, y - 0.012) for x, y in line], 0.012, lighter(_BARK, 0.22))
    twig = [(0.78, middle), (0.86, middle - 0.1), (0.9, middle - 0.26)]
    canvas.stroke(twig, 0.018, _BARK)
    canvas.stroke([(0.1, middle), (0.06, middle - 0.12)], 0.014, _BARK)
    spots = [
        (0.9, middle - 0.28),
        (0.83, middle - 0.14),
        (0.93, middle - 0.1),
        (0.06, middle - 0.14),
        (0.955, middle - 0.2),
    ]
    if perch == "berries":
        for x, y in spots:
            for dx, dy in ((0.0, 0.0), (0.034, 0.016), (0.004, 0.038)):
                canvas.disc(x + dx - 0.012, y + dy, 0.022, colour("#b3202f"))
                canvas.disc(x + dx - 0.019, y + dy - 0.007, 0.006, colour("#f2a5ab"))
    elif perch == "blossom":
        for x, y in spots:
            for k in range(5):
                turn = 2 * math.pi * k / 5
                canvas.disc(x + 0.025 * math.sin(turn), y - 0.025 * math.cos(turn), 0.021, colour("#f7c6d6"))
            canvas.disc(x, y, 0.014, colour("#e3a33a"))
    elif perch == "leaves":
        for k, (x, y) in enumerate(spots):
            turn = 0.9 * (-1) ** k
            spin = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
            canvas.shape(oval(0, 0, 0.026, 0.062, 24) @ spin + (x, y), colour("#4f8f3e"))
            vein = np.array([(0.0, -0.05), (0.0, 0.05)]) @ spin + (x, y)
            canvas.stroke(vein, 0.006, colour("#86bd6d"), smooth=False)
