"""What a portrait wears: eyewear, headwear, jewellery, collar and tie."""

from __future__ import annotations

import math

import numpy as np

from isi_core.worlds.brush import Canvas, colour, darker, lighter, oval, rounded
from isi_core.worlds.faces.proportions import Proportions

_GOLD, _PEARL, _FRAME = colour("#e2b33c"), colour("#f5efe2"), colour("#33272b")


def draw_eyeglasses(canvas: Canvas, p: Proportions, leaf: str) -> None:
    """Thin rims before the eyes."""
    y = p.eyes + 0.002
    rim = 0.011
    for side in (-1, 1):
        x = p.x + side * (p.gap + 0.003)
        if leaf == "round":
            canvas.disc(x, y, 0.07, (255, 255, 255), opacity=0.16)
            canvas.ring(x, y, 0.075, rim, _FRAME)
        elif leaf == "square":
            corners = [(x - 0.08, y - 0.052), (x + 0.08, y - 0.052), (x + 0.074, y + 0.055), (x - 0.074, y + 0.055)]
            canvas.shape(corners, (255, 255, 255), 0.16)
            canvas.stroke(corners, 0.014, _FRAME, smooth=False, closed=True)
        else:
            frame = [(x - side * 0.072, y - 0.03), (x + side * 0.02, y - 0.05), (x + side * 0.115, y - 0.075)]
            frame += [(x + side * 0.085, y + 0.01), (x + side * 0.03, y + 0.05), (x - side * 0.05, y + 0.04)]
            canvas.shape(rounded(frame), (255, 255, 255), 0.16)
            canvas.stroke(frame, 0.014, colour("#8c2f45"), closed=True)
        tone = colour("#8c2f45") if leaf == "cat-eye" else _FRAME
        canvas.stroke(
            [(x + side * 0.078, y - 0.02), (p.x + side * p.width * 1.0, y - 0.012)], 0.009, tone, smooth=False
        )
        canvas.stroke([(p.x, y - 0.018), (x - side * 0.072, y - 0.006)], 0.01, tone, smooth=False)


def draw_sunglasses(canvas: Canvas, p: Proportions, leaf: str) -> None:
    """Dark lenses before the eyes, which shine through a little."""
    y = p.eyes + 0.004
    lens, rim = (colour("#4a3a22"), _GOLD) if leaf == "aviator" else (colour("#1d2430"), colour("#15161c"))
    for side in (-1, 1):
        x = p.x + side * (p.gap + 0.004)
        if leaf == "aviator":
            frame = [(x - side * 0.07, y - 0.045), (x + side * 0.02, y - 0.055), (x + side * 0.082, y - 0.04)]
            frame += [(x + side * 0.075, y + 0.035), (x + side * 0.03, y + 0.08), (x - side * 0.035, y + 0.055)]
            points = rounded(frame)
        else:
            points = np.array(
                [(x - 0.082, y - 0.055), (x + 0.082, y - 0.055), (x + 0.068, y + 0.055), (x - 0.068, y + 0.055)]
            )
        canvas.shape(points, lens, 0.88)
        canvas.stroke(points, 0.009 if leaf == "aviator" else 0.02, rim, smooth=False, closed=True)
        canvas.taper([(x - 0.045, y + 0.012), (x - 0.028, y - 0.02), (x - 0.002, y - 0.038)], 0.014, lighter(lens, 0.4))
        canvas.stroke([(x + side * 0.078, y - 0.035), (p.x + side * p.width * 1.0, y - 0.02)], 0.011, rim, smooth=False)
        canvas.stroke([(p.x, y - 0.032), (x - side * 0.07, y - 0.028)], 0.012, rim, smooth=False)


def draw_hat(canvas: Canvas, p: Proportions, leaf: str) -> None:
    """A beanie, a cap or a fedora over hair and forehead."""
    x, w = p.x, p.width
    if leaf == "beanie":
        tone = colour("#b8433f")
        canvas.blob(
            [
                (x - w * 1.1, 0.29),
                (x - w * 0.95, 0.12),
                (x - w * 0.4, 0.045),
                (x + w * 0.4, 0.045),
                (x + w * 0.95, 0.12),
                (x + w * 1.1, 0.29),
            ],
            tone,
        )
        canvas.disc(x, 0.035, 0.04, lighter(tone, 0.55))
        for share in (-0.55, 0.0, 0.55):
            canvas.taper(
                [(x + w * share * 0.7, 0.07), (x + w * share, 0.14), (x + w * share * 1.1, 0.22)],
                0.012,
                darker(tone, 0.2),
            )
        band = [
            (x - w * 1.14, 0.235),
            (x, 0.2),
            (x + w * 1.14, 0.235),
            (x + w * 1.14, 0.31),
            (x, 0.28),
            (x - w * 1.14, 0.31),
        ]
        canvas.blob(band, lighter(tone, 0.25))
        for k in range(-5, 6):
            canvas.stroke([(x + w * 0.2 * k, 0.228), (x + w * 0.2 * k, 0.275)], 0.005, darker(tone, 0.05), smooth=False)
    elif leaf == "cap":
        tone = colour("#2c5fa8")
        canvas.blob(
            [
                (x - w * 1.1, 0.27),
                (x - w * 0.95, 0.12),
                (x - w * 0.4, 0.05),
                (x + w * 0.4, 0.05),
                (x + w * 0.95, 0.12),
                (x + w * 1.1, 0.27),
                (x, 0.26),
            ],
            tone,
        )
        canvas.taper([(x, 0.055), (x, 0.14), (x, 0.25)], 0.008, darker(tone, 0.3))
        canvas.disc(x, 0.05, 0.016, lighter(tone, 0.25), ry=0.01)
        canvas.disc(x, 0.165, 0.042, (245, 243, 238))
        canvas.disc(x, 0.165, 0.02, colour("#e0a52e"))
        canvas.blob(
            [
                (x - w * 1.12, 0.26),
                (x, 0.225),
                (x + w * 1.12, 0.26),
                (x + w * 0.95, 0.315),
                (x, 0.335),
                (x - w * 0.95, 0.315),
            ],
            darker(tone, 0.28),
        )
    elif leaf == "fedora":
        tone = colour("#6b5a4a")
        canvas.blob(
            [
                (x - w * 0.98, 0.27),
                (x - w * 0.86, 0.12),
                (x - w * 0.5, 0.035),
                (x, 0.065),
                (x + w * 0.5, 0.035),
                (x + w * 0.86, 0.12),
                (x + w * 0.98, 0.27),
            ],
            tone,
        )
        canvas.taper([(x - 0.02, 0.065), (x, 0.1), (x + 0.01, 0.15)], 0.014, darker(tone, 0.25))
        canvas.blob(
            [
                (x - w * 0.96, 0.2),
                (x, 0.185),
                (x + w * 0.96, 0.2),
                (x + w * 1.0, 0.265),
                (x, 0.255),
                (x - w * 1.0, 0.265),
            ],
            colour("#2b2422"),
        )
        brim = [
            (x - 0.4, 0.255),
            (x - 0.2, 0.262),
            (x, 0.245),
            (x + 0.2, 0.262),
            (x + 0.4, 0.255),
            (x + 0.25, 0.315),
            (x, 0.32),
            (x - 0.25, 0.315),
        ]
        canvas.blob(brim, darker(tone, 0.1))
        canvas.taper([(x - 0.36, 0.268), (x, 0.27), (x + 0.36, 0.268)], 0.008, lighter(tone, 0.2))


def draw_band(canvas: Canvas, p: Proportions, leaf: str) -> None:
    """A headband or a crown of flowers in the hair."""
    x, w = p.x, p.width
    arc = [(x - w * 1.0, 0.315), (x - w * 0.6, 0.238), (x, 0.212), (x + w * 0.6, 0.238), (x + w * 1.0, 0.315)]
    if leaf == "headband":
        canvas.stroke(arc, 0.046, colour("#1f9a8a"))
        canvas.stroke(arc, 0.008, colour("#c9efe8"))
    elif leaf == "flower crown":
        canvas.stroke(arc, 0.018, colour("#4f8a4b"))
        petals = ("#f2f0ea", "#ef7f9c", "#f4c542", "#ef7f9c", "#f2f0ea", "#b48be0", "#f2f0ea")
        curve = rounded(arc, closed=False)
        for petal, at in zip(petals, np.linspace(2, len(curve) - 3, len(petals)).astype(int), strict=True):
            cx, cy = curve[at].tolist()
            for k in range(5):
                turn = 2 * math.pi * k / 5
                canvas.disc(cx + 0.02 * math.sin(turn), cy - 0.02 * math.cos(turn), 0.0175, colour(petal))
            canvas.disc(cx, cy, 0.012, colour("#d98c1f"))


def draw_earrings(canvas: Canvas, p: Proportions, leaf: str) -> None:
    """Hoops, studs or drops at both lobes."""
    for side in (-1, 1):
        x, y = p.x + side * p.width * 1.08, p.eyes + 0.1
        if leaf == "hoop":
            canvas.ring(x, y + 0.048, 0.046, 0.013, _GOLD)
        elif leaf == "stud":
            canvas.disc(x, y, 0.024, (255, 255, 255))
            canvas.disc(x, y, 0.019, colour("#63c7e6"))
            canvas.disc(x - 0.006, y - 0.006, 0.006, (255, 255, 255))
        elif leaf == "drop":
            canvas.stroke([(x, y - 0.005), (x, y + 0.035)], 0.007, _GOLD, smooth=False)
            canvas.blob(
                [(x, y + 0.025), (x + 0.027, y + 0.085), (x, y + 0.11), (x - 0.027, y + 0.085)], colour("#7d3fb0")
            )
            canvas.disc(x - 0.008, y + 0.083, 0.007, colour("#cdaaf0"))


def draw_collar(canvas: Canvas, p: Proportions, leaf: str) -> None:
    """A collar round the neck."""
    x = p.x
    if leaf == "shirt":
        for side in (-1, 1):
            wing = [
                (x + side * 0.108, 0.832),
                (x + side * 0.165, 0.885),
                (x + side * 0.13, 0.995),
                (x + side * 0.005, 0.93),
            ]
            canvas.shape(wing, (248, 247, 243))
            canvas.stroke([wing[1], wing[2], wing[3]], 0.006, (196, 198, 204), smooth=False)
    elif leaf == "turtleneck":
        tone = darker(p.garment, 0.18)
        canvas.blob(
            [(x - 0.125, 0.8), (x, 0.825), (x + 0.125, 0.8), (x + 0.14, 0.91), (x, 0.95), (x - 0.14, 0.91)], tone
        )
        for k in range(-4, 5):
            canvas.taper(
                [(x + 0.027 * k, 0.825), (x + 0.029 * k, 0.87), (x + 0.03 * k, 0.92)], 0.007, lighter(tone, 0.16)
            )
        canvas.taper([(x - 0.12, 0.803), (x, 0.827), (x + 0.12, 0.803)], 0.012, lighter(tone, 0.25))
    elif leaf == "ruffled":
        for k in range(9):
            angle = math.pi * (k / 8)
            cx, cy = x - 0.165 * math.cos(angle), 0.845 + 0.085 * math.sin(angle)
            canvas.disc(cx, cy, 0.04, (222, 214, 226))
            canvas.disc(cx, cy - 0.006, 0.034, (251, 248, 250))


def draw_tie(canvas: Canvas, p: Proportions, leaf: str) -> None:
    """A necktie or a bow tie below the neck."""
    x = p.x
    if leaf == "necktie":
        tone = colour("#a3243b")
        canvas.shape([(x - 0.03, 0.912), (x + 0.03, 0.912), (x + 0.055, 1.01), (x - 0.055, 1.01)], tone)
        canvas.shape([(x - 0.042, 0.868), (x + 0.042, 0.868), (x + 0.027, 0.92), (x - 0.027, 0.92)], darker(tone, 0.2))
        for k in (0, 1):
            canvas.stroke(
                [(x - 0.035, 0.965 + 0.03 * k), (x + 0.03, 0.94 + 0.03 * k)], 0.008, lighter(tone, 0.5), smooth=False
            )
    elif leaf == "bow tie":
        tone = colour("#23304f")
        for side in (-1, 1):
            canvas.blob(
                [(x + side * 0.005, 0.9), (x + side * 0.09, 0.855), (x + side * 0.1, 0.9), (x + side * 0.09, 0.945)],
                tone,
            )
            canvas.disc(x + side * 0.055, 0.89, 0.009, lighter(tone, 0.7))
            canvas.disc(x + side * 0.075, 0.915, 0.009, lighter(tone, 0.7))
        canvas.disc(x, 0.9, 0.024, darker(tone, 0.35))


def draw_necklace(canvas: Canvas, p: Proportions, leaf: str) -> None:
    """Pearls, or a chain with a pendant."""
    x = p.x
    curve = oval(x, 0.835, 0.15, 0.105, 60)
    front = curve[16:45]
    if leaf == "pearl":
        for cx, cy in front[::3].tolist():
            canvas.disc(cx, cy, 0.0175, (196, 184, 176))
            canvas.disc(cx, cy - 0.002, 0.0155, _PEARL)
    elif leaf == "chain":
        canvas.stroke(front, 0.011, _GOLD, smooth=False)
        canvas.blob([(x, 0.935), (x + 0.024, 0.96), (x, 0.99), (x - 0.024, 0.96)], colour("#d33f49"))
        canvas.stroke(
            [(x, 0.935), (x + 0.024, 0.96), (x, 0.99), (x - 0.024, 0.96)], 0.006, _GOLD, smooth=False, closed=True
        )
