"""Pictures that show no progress: what changes from step to step is drawn by the step's own seed alone."""

from __future__ import annotations

import math
from random import Random

from isi_core.worlds.howtos.pen import INK, VIVID, WOOD, Pen, Rgb, arc, shade

_PIECES: tuple[Rgb, ...] = (
    (232, 128, 44),
    (92, 160, 72),
    (206, 62, 54),
    (240, 206, 96),
    (238, 232, 214),
    (140, 84, 150),
)
_STEEL: Rgb = (178, 182, 190)


def draw_dish(pen: Pen, level: int | None, look: Random, chance: Random) -> None:
    """A pan with vegetables on a stove, seen from the side; how full, how hot and what lies about is chance."""
    pan, stove = (
        look.choice(((70, 72, 80), (150, 62, 52), (60, 96, 130))),
        look.choice(((236, 236, 238), (90, 92, 100))),
    )
    pieces = [look.choice(_PIECES) for _ in range(3)]
    pen.box(0.14, 0.7, 0.86, 0.93, stove, shade(stove, 0.6), 0.02)
    for i in range(4):
        pen.ellipse(0.26 + 0.16 * i, 0.83, 0.03, 0.03, shade(stove, 0.75), shade(stove, 0.5), 0.008)
    if chance.random() < 0.5:
        for x in (0.36, 0.44, 0.52, 0.6):
            pen.polygon([(x - 0.02, 0.7), (x, 0.66), (x + 0.02, 0.7)], (244, 150, 50), None)
    x = 0.48 + chance.uniform(-0.03, 0.03)
    for _ in range(chance.randint(2, 12)):
        px, py = x + chance.uniform(-0.2, 0.2), 0.53 - abs(chance.gauss(0, 0.03))
        colour = chance.choice(pieces)
        pen.ellipse(px, py, 0.035, 0.03, colour, shade(colour, 0.65), 0.007)
    handle = chance.choice((-1, 1))
    pen.line([(x + handle * 0.22, 0.55), (x + handle * 0.42, 0.48)], shade(WOOD[3], 0.7), 0.034)
    pen.polygon([(x - 0.25, 0.52), (x + 0.25, 0.52), (x + 0.21, 0.66), (x - 0.21, 0.66)], pan, shade(pan, 0.6))
    for i in range(chance.randint(0, 3)):
        sx = x - 0.12 + 0.12 * i
        pen.line([(sx, 0.42), (sx + 0.03, 0.37), (sx - 0.01, 0.32), (sx + 0.02, 0.27)], (250, 250, 250), 0.014)
    if chance.random() < 0.5:
        sx = chance.choice((0.12, 0.88))
        pen.box(sx - 0.03, 0.56, sx + 0.03, 0.7, shade(chance.choice(VIVID), 1.3), INK, 0.014, 0.008)
        pen.box(sx - 0.022, 0.53, sx + 0.022, 0.56, _STEEL, INK, 0.004, 0.008)


def draw_parcel(pen: Pen, level: int | None, look: Random, chance: Random) -> None:
    """A wrapped parcel seen from the front, nearer or farther, with tools about it."""
    paper, ribbon = look.choice((*VIVID, (196, 160, 116), (206, 176, 136))), look.choice(VIVID)
    dots = look.random() < 0.5
    size = chance.uniform(0.8, 1.1)
    width, height = 0.46 * size, look.uniform(0.28, 0.42) * size
    x, bottom = 0.5 + chance.uniform(-0.05, 0.05), 0.88
    slant = chance.choice((-1, 1)) * 0.09
    left, right, top = x - width / 2, x + width / 2, bottom - height
    pen.ellipse(x, bottom, width * 0.6, 0.022, (112, 86, 66), None)
    pen.polygon(
        [(left, top), (right, top), (right + slant, top - 0.09), (left + slant, top - 0.09)], shade(paper, 1.25), INK
    )
    edge = right if slant > 0 else left
    pen.polygon(
        [(edge, top), (edge + slant, top - 0.09), (edge + slant, bottom - 0.09), (edge, bottom)],
        shade(paper, 0.75),
        INK,
    )
    pen.box(left, top, right, bottom, paper, INK)
    if dots:
        for i in range(3):
            for j in range(2):
                pen.ellipse(
                    left + width * (i + 0.5) / 3, top + height * (j + 0.5) / 2, 0.02, 0.02, shade(paper, 1.5), None
                )
    pen.box(x - 0.03, top, x + 0.03, bottom, ribbon, shade(ribbon, 0.6), 0, 0.006)
    pen.box(left, top + height * 0.45, right, top + height * 0.45 + 0.05, ribbon, shade(ribbon, 0.6), 0, 0.006)
    pen.polygon(
        [(x - 0.03, top), (x + 0.03, top), (x + 0.03 + slant, top - 0.09), (x - 0.03 + slant, top - 0.09)], ribbon, None
    )
    for side in (-1, 1):
        bow = arc(x + slant / 2 + side * 0.06, top - 0.08, 0.06, 0.04, 0, 360)
        pen.polygon(bow, shade(ribbon, 1.15), shade(ribbon, 0.6), 0.008)
    for _ in range(chance.randint(0, 2)):
        tx, ty = chance.choice((0.1, 0.9)) + chance.uniform(-0.03, 0.03), chance.uniform(0.84, 0.93)
        pen.ellipse(tx, ty, 0.045, 0.045, shade(chance.choice(VIVID), 1.2), INK, 0.01)
        pen.ellipse(tx, ty, 0.018, 0.018, (240, 236, 226), INK, 0.008)


def draw_bicycle(pen: Pen, level: int | None, look: Random, chance: Random) -> None:
    """A whole bicycle from the side, its wheels turned by chance, with tools about it."""
    frame, tyre = look.choice(VIVID), look.choice(((50, 50, 56), (92, 70, 56)))
    facing = chance.choice((-1, 1))

    def at(dx: float, y: float) -> tuple[float, float]:
        return 0.5 + facing * dx, y

    turn, radius = chance.uniform(0, math.pi), look.uniform(0.165, 0.185)
    for dx in (-0.24, 0.24):
        x, y = at(dx, 0.7)
        pen.ellipse(x, 0.7 + radius, radius * 0.7, 0.014, (112, 86, 66), None)
        pen.ellipse(x, y, radius, radius, None, tyre, 0.03)
        for i in range(5):
            a = turn + math.pi * i / 5
            reach = radius - 0.03
            pen.line(
                [
                    (x - reach * math.cos(a), y - reach * math.sin(a)),
                    (x + reach * math.cos(a), y + reach * math.sin(a)),
                ],
                _STEEL,
                0.006,
            )
        pen.ellipse(x, y, 0.022, 0.022, _STEEL, INK, 0.006)
    back, crank, saddle, head, front = at(-0.24, 0.7), at(-0.02, 0.7), at(-0.1, 0.44), at(0.17, 0.46), at(0.24, 0.7)
    for line in ([back, crank, head, saddle, back], [saddle, crank], [head, front], [head, at(0.15, 0.38)]):
        pen.line(line, frame, 0.028)
    pen.line([saddle, at(-0.11, 0.39)], _STEEL, 0.02)
    pen.polygon([at(-0.17, 0.385), at(-0.05, 0.385), at(-0.06, 0.355), at(-0.17, 0.345)], INK)
    pen.line([at(0.15, 0.38), at(0.23, 0.36), at(0.24, 0.4)], INK, 0.022)
    pen.ellipse(*crank, 0.036, 0.036, _STEEL, INK, 0.01)
    a = chance.uniform(0, math.pi)
    dx, dy = 0.07 * math.cos(a), 0.07 * math.sin(a)
    pen.line([(crank[0] - dx, crank[1] - dy), (crank[0] + dx, crank[1] + dy)], INK, 0.016)
    if chance.random() < 0.6:
        tx = chance.uniform(0.35, 0.65)
        pen.line([(tx - 0.07, 0.94), (tx + 0.07, 0.93)], shade(chance.choice(VIVID), 0.9), 0.022)
        pen.ellipse(tx + 0.08, 0.93, 0.02, 0.016, _STEEL, INK, 0.008)
