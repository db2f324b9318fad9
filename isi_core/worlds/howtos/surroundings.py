"""What lies behind the work: a room or a garden, by the article's seed, and small things at the side, by the step's."""

from __future__ import annotations

from random import Random

from isi_core.worlds.howtos.pen import VIVID, WOOD, Pen, Rgb, arc, shade

OUTDOORS = ("lawn", "house")
_WALLS: tuple[Rgb, ...] = (
    (236, 228, 214), (222, 232, 236), (230, 226, 238), (226, 236, 222), (242, 224, 218), (244, 238, 210)
)  # fmt: skip
_SKIES: tuple[Rgb, ...] = ((204, 226, 244), (220, 234, 244), (238, 226, 222), (214, 220, 240), (228, 238, 236))
_MEADOWS: tuple[Rgb, ...] = ((176, 206, 146), (190, 210, 160), (164, 196, 150), (200, 206, 158))


def draw_surroundings(pen: Pen, category: str, look: Random, chance: Random) -> None:
    """Fill the whole canvas."""
    if category in OUTDOORS:
        _garden(pen, look, chance)
    else:
        _room(pen, look, chance)


def _bands(pen: Pen, top: Rgb, bottom: Rgb, start: float, end: float) -> None:
    """A soft vertical gradient."""
    count = 12
    for i in range(count):
        t = i / (count - 1)
        fill = (
            round(top[0] + (bottom[0] - top[0]) * t),
            round(top[1] + (bottom[1] - top[1]) * t),
            round(top[2] + (bottom[2] - top[2]) * t),
        )
        upper, lower = start + (end - start) * i / count, start + (end - start) * (i + 1) / count
        pen.draw.rectangle([0, upper * pen.side, pen.side, lower * pen.side + 1], fill=fill)


def _garden(pen: Pen, look: Random, chance: Random) -> None:
    sky, meadow = look.choice(_SKIES), look.choice(_MEADOWS)
    _bands(pen, shade(sky, 0.96), shade(sky, 1.5), 0, 0.62)
    hill = look.uniform(0.2, 0.8)
    pen.ellipse(hill, 0.68, 0.5, 0.16, shade(meadow, 1.25), None)
    pen.ellipse(hill + 0.45 - 0.9 * (hill > 0.5), 0.7, 0.4, 0.14, shade(meadow, 1.1), None)
    _bands(pen, meadow, shade(meadow, 0.9), 0.62, 1.0)
    for _ in range(chance.randint(1, 3)):
        _cloud(pen, chance.uniform(0.05, 0.95), chance.uniform(0.04, 0.2), chance.uniform(0.6, 1.1))
    if chance.random() < 0.4:
        _bird(pen, chance.uniform(0.1, 0.9), chance.uniform(0.06, 0.26))


def _cloud(pen: Pen, x: float, y: float, size: float) -> None:
    for dx, dy, r in ((-0.06, 0.01, 0.04), (0, -0.01, 0.055), (0.065, 0.01, 0.042)):
        pen.ellipse(x + dx * size, y + dy * size, r * 1.3 * size, r * 0.8 * size, (252, 252, 252), None)


def _bird(pen: Pen, x: float, y: float) -> None:
    for side in (-1, 1):
        pen.line([(x, y), (x + side * 0.025, y - 0.02), (x + side * 0.05, y - 0.006)], (84, 84, 96), 0.01)


def _room(pen: Pen, look: Random, chance: Random) -> None:
    wall, wood = look.choice(_WALLS), look.choice(WOOD)
    _bands(pen, shade(wall, 0.97), shade(wall, 1.2), 0, 0.78)
    if look.random() < 0.5:
        for i in range(0, 10, 2):
            pen.draw.rectangle(
                [i * 0.1 * pen.side, 0, (i + 0.5) * 0.1 * pen.side, 0.78 * pen.side], fill=shade(wall, 0.97)
            )
    _wall_piece(pen, look)
    _bands(pen, shade(wood, 1.12), shade(wood, 0.9), 0.78, 1.0)
    pen.draw.line(
        [(0, 0.78 * pen.side), (pen.side, 0.78 * pen.side)], fill=shade(wood, 0.75), width=pen.thickness(0.012)
    )
    for y in (0.86, 0.94):
        pen.draw.line([(0, y * pen.side), (pen.side, y * pen.side)], fill=shade(wood, 0.93), width=pen.thickness(0.006))
    if chance.random() < 0.6:
        _small_thing(pen, chance)


def _wall_piece(pen: Pen, look: Random) -> None:
    """A window, a framed picture, a shelf or nothing."""
    x = look.choice((0.14, 0.86))
    piece = look.choice(("window", "frame", "shelf", "none"))
    if piece == "window":
        pen.box(x - 0.1, 0.1, x + 0.1, 0.36, (206, 228, 242), (250, 250, 248), 0.01, 0.02)
        pen.line([(x, 0.1), (x, 0.36)], (250, 250, 248), 0.014)
        pen.line([(x - 0.1, 0.23), (x + 0.1, 0.23)], (250, 250, 248), 0.014)
    elif piece == "frame":
        pen.box(x - 0.08, 0.14, x + 0.08, 0.32, shade(look.choice(VIVID), 1.5), shade(look.choice(WOOD), 0.9), 0, 0.02)
    elif piece == "shelf":
        pen.box(x - 0.11, 0.3, x + 0.11, 0.325, shade(look.choice(WOOD), 0.95), None)
        for i in range(4):
            height = look.uniform(0.07, 0.12)
            pen.box(x - 0.09 + i * 0.04, 0.3 - height, x - 0.06 + i * 0.04, 0.3, shade(look.choice(VIVID), 1.3), None)


def _small_thing(pen: Pen, chance: Random) -> None:
    """A cup, a ball or a pencil on the table, left or right of the work."""
    x, y = chance.choice((0.07, 0.93)) + chance.uniform(-0.02, 0.02), chance.uniform(0.86, 0.92)
    colour = shade(chance.choice(VIVID), 1.2)
    thing = chance.choice(("cup", "ball", "pencil"))
    if thing == "cup":
        pen.line(arc(x + 0.035, y - 0.03, 0.02, 0.022, -90, 90), shade(colour, 0.8), 0.012)
        pen.box(x - 0.035, y - 0.07, x + 0.035, y, colour, shade(colour, 0.6), 0.012, 0.008)
    elif thing == "ball":
        pen.ellipse(x, y - 0.03, 0.036, 0.036, colour, shade(colour, 0.6), 0.008)
    else:
        pen.line([(x - 0.06, y), (x + 0.05, y - 0.02)], colour, 0.02)
        pen.line([(x + 0.05, y - 0.02), (x + 0.07, y - 0.024)], shade(colour, 0.5), 0.012)
