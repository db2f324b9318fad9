"""Pale, calm backgrounds that no object can be mistaken for."""

from __future__ import annotations

import math
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFilter

Rgb = tuple[int, int, int]

_MASTER = 1024


def _gradient(draw: ImageDraw.ImageDraw, top: Rgb, bottom: Rgb, start: float, end: float) -> None:
    """A vertical gradient over the rows from `start` to `end`, in fractions of the height."""
    first, last = round(start * _MASTER), round(end * _MASTER)
    for y in range(first, last):
        t = (y - first) / max(1, last - first - 1)
        draw.line([(0, y), (_MASTER, y)], fill=tuple(round(a + (b - a) * t) for a, b in zip(top, bottom, strict=True)))


def _waves(draw: ImageDraw.ImageDraw, base: float, height: float, periods: float, phase: float, fill: Rgb) -> None:
    """Everything below a sine line: hills, dunes, the shore."""
    points = [
        (x, (base + height * math.sin(2 * math.pi * (periods * x / _MASTER + phase))) * _MASTER)
        for x in range(0, _MASTER + 8, 8)
    ]
    draw.polygon([*points, (_MASTER, _MASTER), (0, _MASTER)], fill=fill)


def _cloud(draw: ImageDraw.ImageDraw, x: float, y: float, scale: float, fill: Rgb) -> None:
    for dx, dy, radius in ((0, 0, 0.05), (0.06, -0.02, 0.06), (0.13, 0, 0.045), (0.06, 0.02, 0.05)):
        cx, cy, r = (x + dx * scale) * _MASTER, (y + dy * scale) * _MASTER, radius * scale * _MASTER
        draw.ellipse([cx - r * 1.4, cy - r * 0.7, cx + r * 1.4, cy + r * 0.7], fill=fill)


def _meadow(draw: ImageDraw.ImageDraw) -> None:
    _gradient(draw, (222, 238, 250), (240, 247, 250), 0, 0.6)
    _cloud(draw, 0.12, 0.12, 1.0, (250, 252, 254))
    _cloud(draw, 0.66, 0.2, 1.2, (250, 252, 254))
    _waves(draw, 0.52, 0.04, 0.9, 0.1, (224, 240, 212))
    _waves(draw, 0.62, 0.03, 1.2, 0.6, (213, 234, 198))
    _waves(draw, 0.8, 0.02, 1.0, 0.3, (203, 227, 187))


def _beach(draw: ImageDraw.ImageDraw) -> None:
    _gradient(draw, (216, 236, 250), (236, 246, 252), 0, 0.42)
    _gradient(draw, (190, 222, 238), (208, 234, 242), 0.42, 0.70)
    for y in (0.48, 0.54, 0.6):
        draw.line([(0, y * _MASTER), (_MASTER, y * _MASTER)], fill=(214, 236, 245), width=5)
    _waves(draw, 0.65, 0.012, 2.0, 0.2, (250, 250, 246))
    _waves(draw, 0.667, 0.012, 2.0, 0.2, (247, 234, 206))
    _waves(draw, 0.85, 0.015, 1.3, 0.7, (243, 227, 194))


def _snow(draw: ImageDraw.ImageDraw) -> None:
    _gradient(draw, (206, 216, 232), (226, 233, 243), 0, 0.6)
    draw.polygon([(0, 560), (250, 260), (520, 600)], fill=(216, 224, 237))
    draw.polygon([(420, 600), (740, 300), (1024, 620), (1024, 700)], fill=(210, 219, 233))
    _waves(draw, 0.56, 0.03, 1.1, 0.4, (228, 234, 243))
    _waves(draw, 0.72, 0.03, 0.9, 0.9, (236, 240, 247))


def _sunset(draw: ImageDraw.ImageDraw) -> None:
    _gradient(draw, (232, 214, 236), (253, 226, 205), 0, 0.62)
    draw.ellipse([400, 470, 624, 694], fill=(254, 240, 214))
    _waves(draw, 0.6, 0.02, 1.3, 0.2, (236, 208, 204))
    _waves(draw, 0.74, 0.03, 0.8, 0.5, (226, 197, 202))


def _room(draw: ImageDraw.ImageDraw) -> None:
    _gradient(draw, (244, 238, 228), (240, 233, 222), 0, 0.7)
    for x in range(0, _MASTER, 128):
        draw.rectangle([x, 0, x + 63, 0.7 * _MASTER], fill=(238, 231, 219))
    draw.rectangle([0, 0.69 * _MASTER, _MASTER, 0.72 * _MASTER], fill=(226, 216, 200))
    _gradient(draw, (222, 204, 180), (214, 194, 168), 0.72, 1.0)
    for y in (0.79, 0.88):
        draw.line([(0, y * _MASTER), (_MASTER, y * _MASTER)], fill=(206, 185, 158), width=4)


_DRAWINGS = {"meadow": _meadow, "beach": _beach, "snow": _snow, "sunset": _sunset, "room": _room}


@lru_cache(maxsize=32)
def background(name: str, size: int) -> Image.Image:
    """A background as an RGB picture of `size` x `size` pixels; copy it before drawing on it."""
    canvas = Image.new("RGB", (_MASTER, _MASTER))
    _DRAWINGS[name](ImageDraw.Draw(canvas))
    return canvas.filter(ImageFilter.GaussianBlur(1.5)).resize((size, size), Image.Resampling.LANCZOS)
