"""Beards and mustaches."""

from __future__ import annotations

from random import Random

import numpy as np

from isi_core.worlds.brush import Canvas, Colour, darker, lighter, rounded
from isi_core.worlds.faces.proportions import Proportions


def _jaw(p: Proportions, scale: float, above: float) -> list[tuple[float, float]]:
    """The face's outline below a height, from its right end to its left."""
    outline = p.outline(scale, 96)
    return [(x, y) for x, y in outline.tolist() if y > above]


def draw_beard(canvas: Canvas, p: Proportions, leaf: str, hair: Colour) -> None:
    """A beard, drawn before the mouth is."""
    tone = darker(hair, 0.12)
    x, m, w = p.x, p.mouth, p.width
    if leaf == "full":
        start = p.eyes + 0.05
        outer = _jaw(p, 1.045, start)
        inner = [
            (x - w * 0.9, start),
            (x - w * 0.74, m - 0.075),
            (x - 0.105, m - 0.025),
            (x - 0.088, m + 0.03),
            (x, m + 0.05),
            (x + 0.088, m + 0.03),
            (x + 0.105, m - 0.025),
            (x + w * 0.74, m - 0.075),
            (x + w * 0.9, start),
        ]
        canvas.shape(np.vstack([outer, rounded(inner, closed=False)]), tone)
        for share in (-0.6, -0.3, 0.0, 0.3, 0.6):
            canvas.taper(
                [
                    (x + w * share, p.chin - 0.06 - 0.05 * abs(share)),
                    (x + w * share * 0.92, p.chin - 0.005 - 0.05 * abs(share)),
                ],
                0.008,
                lighter(tone, 0.18),
            )
    elif leaf == "stubble":
        start = p.eyes + 0.07
        inner = [
            (x - w * 0.85, start),
            (x - 0.12, m - 0.04),
            (x, m - 0.052),
            (x + 0.12, m - 0.04),
            (x + w * 0.85, start),
        ]
        area = np.vstack([_jaw(p, 0.985, start), rounded(inner, closed=False)])
        canvas.shape(area, tone, 0.4)
        rng = Random(p.strands + 2)
        for _ in range(90):
            dx, dy = rng.uniform(-1, 1), rng.uniform(0, 1)
            px, py = x + w * 0.8 * dx * (1 - 0.5 * dy), m - 0.03 + dy * (p.chin - m + 0.012) - 0.05 * dx * dx
            canvas.disc(px, py, 0.0045, tone)
    elif leaf == "goatee":
        low = p.chin + 0.045
        canvas.blob(
            [
                (x - 0.06, m + 0.05),
                (x, m + 0.042),
                (x + 0.06, m + 0.05),
                (x + 0.052, p.chin - 0.02),
                (x, low),
                (x - 0.052, p.chin - 0.02),
            ],
            tone,
        )
        canvas.taper([(x, m + 0.06), (x + 0.004, low - 0.02)], 0.009, lighter(tone, 0.2))
    elif leaf == "Balbo":
        low = p.chin + 0.012
        shape = [
            (x - 0.018, m + 0.034),
            (x + 0.018, m + 0.034),
            (x + 0.035, m + 0.06),
            (x + 0.105, m + 0.028),
            (x + 0.125, m + 0.05),
        ]
        shape += [
            (x + 0.1, p.chin - 0.035),
            (x, low),
            (x - 0.1, p.chin - 0.035),
            (x - 0.125, m + 0.05),
            (x - 0.105, m + 0.028),
            (x - 0.035, m + 0.06),
        ]
        canvas.blob(shape, tone)
        canvas.taper([(x - 0.06, m + 0.075), (x - 0.045, low - 0.03)], 0.008, lighter(tone, 0.2))
        canvas.taper([(x + 0.06, m + 0.075), (x + 0.045, low - 0.03)], 0.008, lighter(tone, 0.2))
    elif leaf == "anchor":
        canvas.taper([(x, m + 0.03), (x, m + 0.07), (x, p.chin - 0.01)], 0.03, tone)
        jaw = [(a, b) for a, b in p.outline(0.955, 96).tolist() if abs(a - x) < 0.14 and b > p.mouth]
        canvas.stroke(jaw, 0.024, tone, smooth=False)
        canvas.disc(x, p.chin - 0.006, 0.026, tone, ry=0.024)


def draw_mustache(canvas: Canvas, p: Proportions, leaf: str, hair: Colour) -> None:
    """A mustache between nose and mouth."""
    tone = darker(hair, 0.16)
    x, y = p.x, p.mouth - 0.032
    if leaf == "pencil":
        for side in (-1, 1):
            canvas.taper(
                [(x + side * 0.006, y - 0.002), (x + side * 0.045, y + 0.002), (x + side * 0.084, y + 0.018)],
                0.017,
                tone,
            )
        return
    for side in (-1, 1):
        if leaf == "chevron":
            half = [
                (x, y - 0.018),
                (x + side * 0.04, y - 0.012),
                (x + side * 0.085, y + 0.02),
                (x + side * 0.05, y + 0.02),
                (x, y + 0.012),
            ]
        elif leaf == "handlebar":
            half = [
                (x, y - 0.01),
                (x + side * 0.04, y - 0.014),
                (x + side * 0.085, y + 0.008),
                (x + side * 0.118, y - 0.008),
            ]
            half += [
                (x + side * 0.122, y - 0.038),
                (x + side * 0.135, y - 0.005),
                (x + side * 0.105, y + 0.024),
                (x + side * 0.05, y + 0.016),
                (x, y + 0.01),
            ]
        else:
            half = [
                (x, y - 0.02),
                (x + side * 0.05, y - 0.012),
                (x + side * 0.1, y + 0.03),
                (x + side * 0.108, y + 0.075),
            ]
            half += [(x + side * 0.08, y + 0.062), (x + side * 0.045, y + 0.036), (x, y + 0.034)]
        canvas.blob(half, tone)
    for side in (-1, 1):
        canvas.taper(
            [(x + side * 0.012, y - 0.004), (x + side * 0.05, y + 0.003), (x + side * 0.075, y + 0.014)],
            0.006,
            lighter(tone, 0.2),
        )
