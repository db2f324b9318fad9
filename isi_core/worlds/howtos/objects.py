"""The work itself, one drawing a category: a level from 0 to 7 where the category's pictures show progress."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from isi_core.worlds.howtos.pen import INK, PALE, VIVID, WOOD, Pen, Point, arc, shade
from isi_core.worlds.howtos.still_lifes import draw_bicycle, draw_dish, draw_parcel

LAST = 7
"""The highest level."""


def _progress(level: int | None) -> int:
    if level is None:
        raise ValueError("The pictures of this category show a level.")
    return level


def _block_tower(pen: Pen, level: int | None, look: Random, chance: Random) -> None:
    """One block more at each level, 1 to 8."""
    count = _progress(level) + 1
    height, width = look.uniform(0.082, 0.098), look.uniform(0.15, 0.24)
    colours = [look.choice(VIVID) for _ in range(LAST + 1)]
    offsets = [look.uniform(-0.018, 0.018) for _ in range(LAST + 1)]
    middle = look.uniform(0.42, 0.58)
    floor = 0.89
    pen.ellipse(middle, floor, width * 0.62, 0.022, (120, 92, 70), None)
    for i in range(count):
        x, bottom = middle + offsets[i], floor - i * height
        colour = colours[i]
        pen.box(x - width / 2, bottom - height, x + width / 2, bottom, colour, shade(colour, 0.55), 0.012, 0.01)
        pen.box(
            x - width * 0.42,
            bottom - height * 0.84,
            x + width * 0.42,
            bottom - height * 0.66,
            shade(colour, 1.35),
            None,
        )


def _flower(pen: Pen, level: int | None, look: Random, chance: Random) -> None:
    """Soil, sprout, a growing stem with leaves, bud, small and full bloom."""
    grown = _progress(level)
    pot, petals, seeds = look.choice(VIVID), look.choice(VIVID), look.choice(((244, 200, 70), (120, 76, 44)))
    green = look.choice(((70, 150, 84), (96, 160, 70), (56, 132, 96)))
    x, lean = look.uniform(0.43, 0.57), look.uniform(-0.03, 0.03)
    pen.ellipse(x, 0.9, 0.16, 0.02, (120, 92, 70), None)
    pen.ellipse(x, 0.7, 0.15, 0.03, (104, 72, 52), None)
    rim = 0.7
    height = (0.0, 0.08, 0.15, 0.22, 0.29, 0.36, 0.42, 0.46)[grown]
    top: Point = (x + lean * grown / LAST, rim - height)
    if grown:
        pen.line([(x, rim), ((x + top[0]) / 2 + 0.006, rim - height / 2), top], green, 0.024)
        for i in range(min(5, grown)):
            y = rim - height * (0.2 + 0.7 * i / 5)
            side = 1 if i % 2 else -1
            reach = 0.05 + 0.012 * grown
            pen.polygon(
                [
                    (x, y),
                    (x + side * reach * 0.6, y - 0.05),
                    (x + side * reach, y - 0.03),
                    (x + side * reach * 0.5, y + 0.01),
                ],
                green,
                shade(green, 0.7),
                0.007,
            )
    if grown == 5:
        pen.ellipse(top[0], top[1] - 0.02, 0.03, 0.045, petals, shade(petals, 0.6), 0.008)
    elif grown > 5:
        size = 0.06 if grown == 6 else 0.085
        for i in range(7):
            turn = 2 * math.pi * i / 7 + look.random()
            pen.ellipse(
                top[0] + size * math.cos(turn), top[1] + size * math.sin(turn), size * 0.62, size * 0.62, petals,
                shade(petals, 0.65), 0.007,
            )  # fmt: skip
        pen.ellipse(top[0], top[1], size * 0.6, size * 0.6, seeds, shade(seeds, 0.7), 0.008)
    pen.polygon([(x - 0.15, 0.7), (x + 0.15, 0.7), (x + 0.11, 0.9), (x - 0.11, 0.9)], pot, shade(pot, 0.6))
    pen.box(x - 0.17, 0.68, x + 0.17, 0.735, shade(pot, 1.15), shade(pot, 0.6), 0.01)
    # The soil shows above the rim, so that an empty pot is seen to be one.
    pen.ellipse(x, 0.684, 0.145, 0.012, (104, 72, 52), None)
    if grown:
        pen.line([(x, 0.69), (x, 0.66)], green, 0.024)


def _lawn(pen: Pen, level: int | None, look: Random, chance: Random) -> None:
    """One strip more is mown at each level, 1 to 8, from the left or from the right."""
    mown = _progress(level) + 1
    short, tall = (
        look.choice(((168, 212, 112), (180, 216, 128))),
        look.choice(((66, 122, 58), (80, 130, 50), (60, 112, 70))),
    )
    leftwards, body = look.random() < 0.5, look.choice(VIVID)
    left, right, top, bottom = 0.08, 0.92, 0.5, 0.93
    strip = (right - left) / (LAST + 1)
    pen.box(left - 0.02, top - 0.02, right + 0.02, bottom + 0.02, (150, 128, 96), None, 0.02)
    for post in range(9):
        x = left + (right - left) * post / 8
        pen.box(x - 0.012, top - 0.16, x + 0.012, top, (246, 240, 228), shade(WOOD[1], 0.9), 0.006, 0.005)
    for y in (top - 0.12, top - 0.06):
        pen.box(left - 0.02, y, right + 0.02, y + 0.018, (246, 240, 228), shade(WOOD[1], 0.9), 0, 0.005)
    for i in range(LAST + 1):
        place = LAST - i if leftwards else i
        x = left + place * strip
        if i < mown:
            pen.box(x, top, x + strip, bottom, short if i % 2 else shade(short, 0.94), None)
            continue
        pen.box(x, top, x + strip, bottom, tall, None)
        for _ in range(16):
            bx, by = x + look.uniform(0.0, strip), look.uniform(top, bottom)
            pen.line(
                [(bx, by), (bx + look.uniform(-0.012, 0.012), by - 0.045)], shade(tall, look.choice((0.8, 1.2))), 0.009
            )
    edge = left + (LAST + 1 - mown if leftwards else mown) * strip + (strip / 2 if leftwards else -strip / 2)
    y = chance.uniform(top + 0.1, bottom - 0.08)
    pen.line([(edge - 0.03, y), (edge - 0.06, y - 0.16), (edge + 0.06, y - 0.16), (edge + 0.03, y)], INK, 0.014)
    pen.box(edge - 0.065, y - 0.03, edge + 0.065, y + 0.05, body, shade(body, 0.5), 0.02)
    for dx in (-0.065, 0.065):
        pen.ellipse(edge + dx, y + 0.045, 0.024, 0.024, (60, 60, 66), (30, 30, 34), 0.006)


def _house(pen: Pen, level: int | None, look: Random, chance: Random) -> None:
    """The fresh, vivid colour covers more of the old, pale wall at each level; nothing tells the coat."""
    share = (_progress(level) + 0.6) / (LAST + 1)
    fresh, old, roof = look.choice(VIVID), look.choice(PALE), look.choice(((150, 74, 60), (96, 92, 104), (120, 84, 62)))
    direction = look.choice(("right", "left", "up"))
    left, right, top, bottom = 0.16, 0.84, 0.42, 0.88
    pen.box(left, top, right, bottom, old, None)
    for _ in range(7):
        x, y = look.uniform(left + 0.03, right - 0.08), look.uniform(top + 0.03, bottom - 0.06)
        pen.line([(x, y), (x + 0.02, y + 0.02), (x + 0.014, y + 0.04), (x + 0.04, y + 0.05)], shade(old, 0.8), 0.007)
    width, height = right - left, bottom - top
    area = {
        "right": (left, top, left + share * width, bottom),
        "left": (right - share * width, top, right, bottom),
        "up": (left, bottom - share * height, right, bottom),
    }[direction]
    pen.box(*area, fresh, None)
    pen.line([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], INK, 0.012)
    pen.polygon([(left - 0.06, top), (0.5, 0.14), (right + 0.06, top)], roof, shade(roof, 0.6))
    pen.box(0.45, 0.66, 0.57, bottom, shade(WOOD[look.randrange(4)], 0.8), INK, 0.01)
    for x in (0.23, 0.64):
        pen.box(x, 0.52, x + 0.13, 0.63, (214, 234, 244), (250, 250, 250), 0.005, 0.018)
        pen.line([(x + 0.065, 0.52), (x + 0.065, 0.63)], (250, 250, 250), 0.012)
    edge = {"right": area[2], "left": area[0], "up": chance.uniform(left + 0.1, right - 0.1)}[direction]
    y = area[1] if direction == "up" else chance.uniform(top + 0.08, bottom - 0.12)
    pen.line([(edge + 0.02, y + 0.15), (edge + 0.02, y + 0.05), (edge, y + 0.03)], WOOD[3], 0.016)
    pen.box(edge - 0.04, y, edge + 0.04, y + 0.036, shade(fresh, 1.25), INK, 0.012, 0.009)
    bucket = chance.choice((0.08, 0.93))
    pen.polygon(
        [(bucket - 0.045, 0.86), (bucket + 0.045, 0.86), (bucket + 0.036, 0.94), (bucket - 0.036, 0.94)],
        (196, 198, 204),
        INK,
        0.009,
    )
    pen.ellipse(bucket, 0.86, 0.045, 0.014, fresh, INK, 0.007)


def _kite(pen: Pen, level: int | None, look: Random, chance: Random) -> None:
    """Spine, cross, outline, half the paper, all of it, stripes, tail, bows; nothing tells which kite it is."""
    made = _progress(level)
    paper, second, wood = look.choice(VIVID), look.choice(VIVID), look.choice(WOOD)
    x, y = look.uniform(0.45, 0.55), look.uniform(0.32, 0.38)
    rx, up, down = look.uniform(0.2, 0.25), look.uniform(0.2, 0.24), look.uniform(0.3, 0.34)
    top, bottom, left, right = (x, y - up), (x, y + down), (x - rx, y), (x + rx, y)
    if made >= 3:
        pen.polygon([top, left, bottom], paper, None)
    if made >= 4:
        pen.polygon([top, right, bottom], paper, None)
    if made >= 5:
        stripe = shade(second, 1.3) if second != paper else (250, 246, 236)
        for t in (0.35, 0.7):
            pen.line([(x - rx * (1 - t), y + down * t), (x + rx * (1 - t), y + down * t)], stripe, 0.035)
        pen.ellipse(x, y - up * 0.35, 0.045, 0.045, stripe, None)
    if made >= 2:
        pen.line([top, right, bottom, left, top], INK, 0.014)
    pen.line([top, bottom], shade(wood, 0.75), 0.022)
    if made >= 1:
        pen.line([left, right], shade(wood, 0.75), 0.022)
    if made >= 6:
        tail = [(x + 0.05 * math.sin(i * 1.1), bottom[1] + 0.03 * i) for i in range(10)]
        pen.line([bottom, *tail], INK, 0.012)
        if made >= 7:
            for px, py in tail[2::3]:
                for side in (-1, 1):
                    pen.polygon(
                        [(px, py), (px + side * 0.06, py - 0.03), (px + side * 0.06, py + 0.03)], second, INK, 0.006
                    )
    tools: Point = (chance.choice((0.14, 0.86)), 0.9)
    pen.ellipse(*tools, 0.045, 0.03, shade(second, 1.2), INK, 0.009)
    pen.line(arc(tools[0], tools[1], 0.03, 0.018, 0, 330), INK, 0.006)


DRAWINGS: dict[str, Callable[[Pen, int | None, Random, Random], None]] = {
    "block tower": _block_tower,
    "flower": _flower,
    "lawn": _lawn,
    "dish": draw_dish,
    "parcel": draw_parcel,
    "bicycle": draw_bicycle,
    "house": _house,
    "kite": _kite,
}
"""(pen, level, article's chance, step's chance) -> None, by category."""
