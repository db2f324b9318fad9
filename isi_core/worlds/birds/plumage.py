"""Body, wing, tail and legs of a bird."""

from __future__ import annotations

from random import Random

import numpy as np

from isi_core.worlds.brush import Canvas, Colour, colour, darker, lighter, mix

_BELLIES = {"orange": colour("#e8822e"), "yellow": colour("#efcf3f"), "white": colour("#fbf8f1")}
_THROATS = {"red": colour("#c8262f"), "yellow": colour("#f0c929"), "black": colour("#26242a")}
_LEGS = {"": colour("#6f625c"), "red": colour("#d2402f"), "yellow": colour("#e3b02d")}
_TIPS = {"white": colour("#fcfaf4"), "yellow": colour("#f2c62f")}


def draw_tail(canvas: Canvas, shape: str, tip: str, tone: Colour) -> None:
    """The tail, down to the left."""
    root = [(0.36, 0.62), (0.3, 0.72)]
    if shape == "forked":
        outline = [
            root[0],
            (0.16, 0.74),
            (0.045, 0.78),
            (0.15, 0.81),
            (0.14, 0.86),
            (0.085, 0.945),
            (0.22, 0.84),
            root[1],
        ]
        ends = [[(0.1, 0.762), (0.045, 0.78), (0.11, 0.798)], [(0.125, 0.88), (0.085, 0.945), (0.165, 0.885)]]
    elif shape == "fan":
        outline = [root[0], (0.2, 0.64), (0.06, 0.66), (0.045, 0.76), (0.07, 0.86), (0.15, 0.93), (0.23, 0.86), root[1]]
        ends = [
            [
                (0.115, 0.652),
                (0.06, 0.66),
                (0.045, 0.76),
                (0.07, 0.86),
                (0.15, 0.93),
                (0.18, 0.9),
                (0.11, 0.83),
                (0.088, 0.75),
            ]
        ]
    elif shape == "long":
        outline = [root[0], (0.14, 0.77), (0.015, 0.92), (0.02, 0.965), (0.08, 0.965), (0.2, 0.85), root[1]]
        ends = [[(0.058, 0.865), (0.015, 0.92), (0.02, 0.965), (0.08, 0.965), (0.118, 0.93)]]
    else:
        outline = [root[0], (0.21, 0.72), (0.13, 0.79), (0.14, 0.85), (0.2, 0.84), root[1]]
        ends = [[(0.165, 0.755), (0.13, 0.79), (0.14, 0.85), (0.2, 0.84)]]
    canvas.shape(outline, tone)
    for share in (0.3, 0.7):
        start = np.array(root[0]) * (1 - share) + np.array(root[1]) * share
        far = np.array(outline[2]) * (1 - share) + np.array(outline[-2]) * share
        canvas.taper(np.stack([start, (start + far) / 2, far]), 0.008, darker(tone, 0.35))
    if tip:
        for end in ends:
            canvas.shape(end, _TIPS[tip])


def draw_legs(canvas: Canvas, leg_colour: str) -> None:
    """Two legs, toes on the branch."""
    tone = _LEGS[leg_colour]
    for x in (0.47, 0.55):
        canvas.stroke([(x - 0.01, 0.76), (x + 0.005, 0.875)], 0.016, tone, smooth=False)
        for toe in (-0.035, 0.005, 0.04):
            canvas.stroke([(x + 0.005, 0.87), (x + toe, 0.9)], 0.013, darker(tone, 0.08), smooth=False)


def draw_body(canvas: Canvas, back: Colour, plumage: Colour, plump: float) -> None:
    """Head and body in the colour of the back, lighter below."""
    outline = [(0.5, 0.245), (0.575, 0.185), (0.665, 0.185), (0.735, 0.245), (0.745, 0.335), (0.735, 0.43)]
    outline += [(0.735 + plump, 0.54), (0.69 + plump, 0.67), (0.59, 0.765 + plump), (0.45, 0.775), (0.33, 0.715)]
    outline += [(0.31, 0.62), (0.375, 0.5), (0.46, 0.395), (0.49, 0.32)]
    canvas.blob(outline, back)
    canvas.glow(0.56, 0.25, 0.1, lighter(back, 0.5), ry=0.07, opacity=0.4)
    draw_belly(canvas, "", plumage, plump)


def draw_belly(canvas: Canvas, leaf: str, plumage: Colour, plump: float) -> None:
    """The front from throat to tail, pale by nature."""
    tone = _BELLIES[leaf] if leaf else lighter(plumage, 0.5)
    front = [
        (0.725, 0.42),
        (0.732 + plump, 0.54),
        (0.687 + plump, 0.668),
        (0.588, 0.762 + plump),
        (0.45, 0.771),
        (0.345, 0.715),
    ]
    canvas.blob([*front, (0.43, 0.67), (0.55, 0.6), (0.62, 0.5), (0.655, 0.425)], tone)
    shade = [(0.69 + plump, 0.655), (0.588, 0.762 + plump), (0.45, 0.771), (0.345, 0.715), (0.45, 0.728), (0.58, 0.715)]
    canvas.blob(shade, darker(tone, 0.12))


def draw_throat(canvas: Canvas, leaf: str) -> None:
    """A bib below the beak."""
    if leaf:
        canvas.blob(
            [(0.742, 0.355), (0.74, 0.44), (0.735, 0.5), (0.69, 0.54), (0.63, 0.5), (0.61, 0.43), (0.665, 0.385)],
            _THROATS[leaf],
        )


def draw_breast(canvas: Canvas, leaf: str, strands: int) -> None:
    """Spots or streaks across the front."""
    rng = Random(strands + 3)
    tone = (62, 44, 38)
    for row in range(5):
        for column in range(4):
            x = 0.69 - 0.045 * column - 0.028 * row + rng.uniform(-0.008, 0.008) + 0.012 * (row % 2)
            y = 0.535 + 0.045 * row + 0.018 * column + rng.uniform(-0.006, 0.006)
            if not (0.43 < x < 0.715 and y < 0.745 and x > 0.66 - (y - 0.5) * 0.95):
                continue
            if leaf == "spots":
                canvas.disc(x, y, 0.0135, tone)
            elif leaf == "streaks":
                canvas.taper([(x + 0.006, y - 0.026), (x, y), (x - 0.008, y + 0.026)], 0.014, tone)


def draw_wing(canvas: Canvas, tone: Colour, pattern: str, strands: int) -> None:
    """The folded wing with its flight feathers, and what is on it."""
    wing = [
        (0.56, 0.45),
        (0.6, 0.51),
        (0.57, 0.6),
        (0.47, 0.68),
        (0.33, 0.745),
        (0.2, 0.785),
        (0.27, 0.69),
        (0.36, 0.55),
        (0.46, 0.455),
    ]
    canvas.blob(wing, tone)
    canvas.blob(
        [(0.55, 0.46), (0.578, 0.51), (0.535, 0.575), (0.43, 0.6), (0.385, 0.56), (0.46, 0.47)], lighter(tone, 0.14)
    )
    for k in range(4):
        canvas.taper(
            [
                (0.5 - 0.03 * k, 0.63 + 0.014 * k),
                (0.38 - 0.025 * k, 0.69 + 0.012 * k),
                (0.27 - 0.015 * k, 0.742 + 0.008 * k),
            ],
            0.008,
            darker(tone, 0.35),
        )
    if pattern == "bars":
        for k in (0, 1):
            dx, dy = -0.05 * k, 0.062 * k
            canvas.stroke(
                [(0.395 + dx, 0.545 + dy), (0.47 + dx, 0.585 + dy), (0.555 + dx * 0.6, 0.565 + dy)],
                0.021,
                (250, 247, 240),
            )
    elif pattern == "patch":
        canvas.blob(
            [(0.5, 0.5), (0.55, 0.535), (0.5, 0.6), (0.4, 0.625), (0.4, 0.56)], mix(colour("#f3efe6"), tone, 0.05)
        )
    elif pattern == "speckles":
        rng = Random(strands + 4)
        for k in range(18):
            share = k / 17
            x = 0.545 - 0.28 * share + rng.uniform(-0.02, 0.02)
            y = 0.5 + 0.22 * share + rng.uniform(-0.035, 0.03)
            canvas.disc(x, y, 0.011, (250, 244, 226))
