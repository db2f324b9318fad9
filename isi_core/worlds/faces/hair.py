"""Hair of a portrait: behind the body, beside the face, above it."""

from __future__ import annotations

import math
from random import Random

import numpy as np

from isi_core.worlds.brush import Canvas, Colour, Points, darker, lighter, oval, rounded
from isi_core.worlds.faces.proportions import HAIR_COLOURS, Proportions

_LENGTHS = {"shoulder-length": 0.83, "long": 1.02}


def tone_of(p: Proportions, leaf: str) -> Colour:
    """The hair's colour: the leaf's, or this portrait's own brown."""
    return HAIR_COLOURS.get(leaf, p.brown)


def _mass(canvas: Canvas, points: Points, tone: Colour, texture: str) -> None:
    """A body of hair whose rim is smooth, wavy or of curls."""
    curve = rounded(points)
    if not texture:
        canvas.shape(curve, tone)
        return
    along = np.roll(curve, -1, 0) - curve
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(along, axis=1))[:-1]])
    normal = np.stack([along[:, 1], -along[:, 0]], 1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    if texture == "wavy":
        canvas.shape(curve + normal * (0.014 * np.sin(2 * math.pi * arc / 0.085))[:, None], tone)
        return
    canvas.shape(curve, tone)
    last = -1.0
    for (x, y), length in zip(curve.tolist(), arc.tolist(), strict=True):
        if length - last >= 0.042:
            last = length
            canvas.disc(x, y, 0.029, tone)


def draw_behind(canvas: Canvas, p: Proportions, length: str, texture: str, tone: Colour) -> None:
    """What hangs behind neck and shoulders."""
    if length not in _LENGTHS:
        return
    half, low = p.width * 1.2, min(_LENGTHS[length], 0.92)
    x = p.x
    points = [
        (x - half * 0.7, 0.2),
        (x, 0.13),
        (x + half * 0.7, 0.2),
        (x + half, 0.4),
        (x + half * 1.04, low - 0.12),
        (x + half * 0.7, low),
        (x - half * 0.7, low),
        (x - half * 1.04, low - 0.12),
        (x - half, 0.4),
    ]
    _mass(canvas, points, darker(tone, 0.25), texture)


def draw_beside(canvas: Canvas, p: Proportions, length: str, texture: str, style: str, tone: Colour) -> None:
    """Locks and braids before the shoulders, behind the face."""
    for side in (-1, 1):
        w = p.width * side
        if length in _LENGTHS:
            low = _LENGTHS[length]
            points = [
                (p.x + w * 0.75, 0.2),
                (p.x + w * 1.16, 0.34),
                (p.x + w * 1.24, 0.55),
                (p.x + w * 1.28, low - 0.08),
                (p.x + w * 1.0, low),
                (p.x + w * 0.72, low - 0.06),
                (p.x + w * 0.86, 0.62),
                (p.x + w * 0.8, 0.4),
            ]
            _mass(canvas, points if side > 0 else points[::-1], tone, texture)
            for share, start in ((1.14, 0.42), (1.0, 0.66)):
                wave = 0.012 if texture else 0.0
                strand = [
                    (p.x + w * share + wave * (-1) ** k, y) for k, y in enumerate(np.linspace(start, low - 0.05, 5))
                ]
                canvas.taper(strand, 0.009, lighter(tone, 0.16))
        if style == "braids":
            for k in range(7):
                y = 0.57 + k * 0.057
                x = p.x + w * 1.12 + 0.008 * math.sin(k)
                for lean in (-1, 1):
                    leaf = oval(0, 0, 0.021, 0.04, 16)
                    turn = lean * 0.6
                    spin = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
                    canvas.shape(leaf @ spin + (x + lean * 0.013, y), darker(tone, 0.14 if lean < 0 else 0.02))
            canvas.disc(p.x + w * 1.12, 0.965, 0.022, (190, 62, 74), ry=0.014)


def draw_above(canvas: Canvas, p: Proportions, length: str, texture: str, style: str, tone: Colour) -> None:
    """The hair on the head, before the face."""
    x, w = p.x, p.width
    if style == "bun":
        _mass(canvas, oval(x, 0.085, 0.088, 0.078, 10), darker(tone, 0.06), texture)
        canvas.taper([(x - 0.055, 0.09), (x, 0.045), (x + 0.055, 0.08)], 0.013, lighter(tone, 0.2))
        canvas.taper([(x - 0.05, 0.12), (x, 0.075), (x + 0.06, 0.11)], 0.011, darker(tone, 0.25))
    if length == "bald":
        canvas.glow(x - w * 0.35, 0.25, 0.075, lighter(p.skin, 0.7), ry=0.045, opacity=0.6)
        if not style:
            return
    outer = [
        (x - w * 1.05, 0.47),
        (x - w * 1.1, 0.36),
        (x - w * 0.98, 0.22),
        (x - w * 0.55, 0.125),
        (x, 0.1),
        (x + w * 0.55, 0.125),
        (x + w * 0.98, 0.22),
        (x + w * 1.1, 0.36),
        (x + w * 1.05, 0.47),
    ]
    if style == "fringe":
        inner = [(x + w * 0.93, 0.4), (x + w * 0.86, 0.36)]
        edge = [(share, 0.372 + (0.012 if k % 2 else -0.006)) for k, share in enumerate(np.linspace(0.74, -0.74, 9))]
        inner += [(x + w * share, y) for share, y in edge] + [(x - w * 0.86, 0.36), (x - w * 0.93, 0.4)]
    elif style == "side parting":
        inner = [
            (x + w * 0.94, 0.42),
            (x + w * 0.86, 0.36),
            (x + w * 0.45, 0.315),
            (x - w * 0.1, 0.27),
            (x - w * 0.5, 0.2),
            (x - w * 0.72, 0.27),
            (x - w * 0.92, 0.38),
        ]
    else:
        inner = [
            (x + w * 0.94, 0.42),
            (x + w * 0.86, 0.33),
            (x + w * 0.5, 0.262),
            (x, 0.245),
            (x - w * 0.5, 0.262),
            (x - w * 0.86, 0.33),
            (x - w * 0.94, 0.42),
        ]
    if length == "bald":
        top = [(px, max(py, 0.165)) for px, py in outer[2:7]]
        _mass(canvas, [*top, *inner[2:-2]], tone, texture)
    else:
        _mass(canvas, [*outer, *inner], tone, texture)
    _strands(canvas, p, texture, style, tone)


def _strands(canvas: Canvas, p: Proportions, texture: str, style: str, tone: Colour) -> None:
    """Light and dark in the hair on the head, by its texture."""
    x, w = p.x, p.width
    light, dark = lighter(tone, 0.2), darker(tone, 0.22)
    if texture == "curly":
        rng = Random(p.strands)
        for _ in range(16):
            angle = rng.uniform(-1.35, 1.35)
            radius = rng.uniform(0.86, 1.03)
            cx, cy = x + w * radius * math.sin(angle), 0.36 - 0.235 * radius * math.cos(angle)
            canvas.ring(cx, cy, 0.021, 0.006, light if rng.random() < 0.55 else dark)
        return
    bend = 0.014 if texture == "wavy" else 0.0
    for k, share in enumerate((-0.78, -0.5, 0.52, 0.8)):
        line = [
            (x + w * share * 0.72, 0.135),
            (x + w * share * 0.95 + bend, 0.18),
            (x + w * share * 1.05 - bend, 0.22),
            (x + w * share * 1.16, 0.285 if abs(share) < 0.7 else 0.33),
        ]
        canvas.taper(line, 0.010 if texture else 0.008, light if k % 2 else dark)
    if style == "side parting":
        canvas.taper([(x - w * 0.5, 0.2), (x - w * 0.42, 0.15), (x - w * 0.3, 0.112)], 0.012, lighter(p.skin, 0.1))
        canvas.taper([(x - w * 0.35, 0.19), (x + w * 0.2, 0.235), (x + w * 0.75, 0.31)], 0.012, light)
    if style == "fringe":
        for share in (-0.5, -0.15, 0.2, 0.55):
            canvas.taper([(x + w * share * 0.8, 0.2), (x + w * share, 0.27), (x + w * share * 1.02, 0.35)], 0.009, dark)
