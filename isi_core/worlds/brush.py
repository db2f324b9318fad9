"""A canvas for flat, anti-aliased drawings: places in fractions of the picture, drawn at four times its size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from isi_core.worlds.attributed import MASTER_SIDE

Colour = tuple[int, int, int]
Points = Sequence[Sequence[float]] | np.ndarray[Any, np.dtype[np.float64]]
"""(n, 2): x and y in fractions of the picture."""

_SUPERSAMPLING = 4


def colour(code: str) -> Colour:
    """(red, green, blue) of `#rrggbb`."""
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`first` with this share of `second` in it."""
    a, b, c = (round(x + (y - x) * share) for x, y in zip(first, second, strict=True))
    return a, b, c


def darker(tone: Colour, share: float) -> Colour:
    """Towards a warm black."""
    return mix(tone, (30, 18, 28), share)


def lighter(tone: Colour, share: float) -> Colour:
    """Towards a warm white."""
    return mix(tone, (255, 250, 240), share)


@lru_cache(maxsize=64)
def _curve_basis(n: int, closed: bool, steps: int) -> tuple[Any, Any]:
    """For each span of a Catmull-Rom curve the four points it hangs on, and their shares at each step."""
    spans = np.arange(n if closed else n - 1)[:, None] + np.array([-1, 0, 1, 2])
    t = np.arange(steps) / steps
    shares = 0.5 * np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], 1)
    return (spans % n if closed else spans.clip(0, n - 1)), shares


def rounded(points: Points, closed: bool = True, steps: int = 8) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A smooth curve through the points (Catmull-Rom): (n, 2) -> about (n * steps, 2)."""
    p = np.asarray(points, dtype=float)
    spans, shares = _curve_basis(len(p), closed, steps)
    flat: np.ndarray[Any, np.dtype[np.float64]] = (shares @ p[spans]).reshape(-1, 2)
    return flat if closed else np.concatenate([flat, p[-1:]])


@lru_cache(maxsize=64)
def _swelling(n: int) -> Any:
    """(n, 1) from thin by thick to thin."""
    return 0.5 * np.sin(np.linspace(0.12, math.pi - 0.12, n))[:, None] ** 0.8


def oval(x: float, y: float, rx: float, ry: float, n: int = 48) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(n, 2) points of an ellipse, from its top clockwise."""
    angle = np.linspace(0, 2 * math.pi, n, endpoint=False)
    return np.stack([x + rx * np.sin(angle), y - ry * np.cos(angle)], 1)


@lru_cache(maxsize=256)
def _soft_disc(width: int, height: int, opacity: float) -> Image.Image:
    """A mask that fades from the middle to the rim."""
    across, down = np.linspace(-1, 1, width)[None, :], np.linspace(-1, 1, height)[:, None]
    return Image.fromarray((255 * opacity * np.clip(1 - np.hypot(across, down), 0, 1) ** 1.2).astype(np.uint8))


@lru_cache(maxsize=64)
def _gradient(size: int, top: Colour, bottom: Colour) -> Image.Image:
    share = np.linspace(0, 1, size)[:, None, None]
    rows = np.asarray(top) * (1 - share) + np.asarray(bottom) * share
    return Image.fromarray(np.broadcast_to(rows, (size, size, 3)).round().astype(np.uint8))


class Canvas:
    """Shapes laid one over another; `picture` is what comes of it."""

    def __init__(self, side: int, top: Colour, bottom: Colour) -> None:
        """A canvas for a picture of `side` pixels, filled from one colour at the top to another at the bottom."""
        self.side = side
        self.shift = (0.0, 0.0)
        """Everything drawn from now on is moved by this, in fractions of the picture."""
        self.size = _SUPERSAMPLING * max(side, MASTER_SIDE)
        self.image = _gradient(self.size, top, bottom).copy()
        self._draw = ImageDraw.Draw(self.image, "RGBA")

    def _pixels(self, points: Points) -> list[float]:
        """x, y, x, y, …"""
        scaled: list[float] = ((np.asarray(points, dtype=float) + self.shift) * self.size).ravel().tolist()
        return scaled

    def shape(self, points: Points, fill: Colour, opacity: float = 1.0) -> None:
        """A filled polygon."""
        self._draw.polygon(self._pixels(points), fill=(*fill, round(255 * opacity)))

    def blob(self, points: Points, fill: Colour, opacity: float = 1.0) -> None:
        """A filled shape with a smooth outline through the points."""
        self.shape(rounded(points), fill, opacity)

    def disc(self, x: float, y: float, rx: float, fill: Colour, ry: float | None = None, opacity: float = 1.0) -> None:
        """A filled ellipse."""
        ry = rx if ry is None else ry
        x, y = x + self.shift[0], y + self.shift[1]
        box = [self.size * v for v in (x - rx, y - ry, x + rx, y + ry)]
        self._draw.ellipse(box, fill=(*fill, round(255 * opacity)))

    def ring(self, x: float, y: float, rx: float, width: float, fill: Colour, ry: float | None = None) -> None:
        """The outline of an ellipse, `width` inward."""
        ry = rx if ry is None else ry
        x, y = x + self.shift[0], y + self.shift[1]
        box = [self.size * v for v in (x - rx, y - ry, x + rx, y + ry)]
        self._draw.ellipse(box, outline=(*fill, 255), width=max(1, round(width * self.size)))

    def stroke(self, points: Points, width: float, fill: Colour, smooth: bool = True, closed: bool = False) -> None:
        """A line with round ends through the points."""
        curve = rounded(points, closed) if smooth else np.asarray(points, dtype=float)
        if closed:
            curve = np.concatenate([curve, curve[:2]])
        pixels = self._pixels(curve)
        thick = max(1, round(width * self.size))
        self._draw.line(pixels, fill=(*fill, 255), width=thick, joint="curve")
        if not closed and thick > 2:
            r = thick / 2
            for x, y in (pixels[:2], pixels[-2:]):
                self._draw.ellipse([x - r, y - r, x + r, y + r], fill=(*fill, 255))

    def taper(self, points: Points, width: float, fill: Colour) -> None:
        """A smooth line, thickest in its middle and pointed at its ends, as one of hair is."""
        curve = rounded(points, closed=False)
        along = np.empty_like(curve)
        along[1:-1] = curve[2:] - curve[:-2]
        along[0], along[-1] = curve[1] - curve[0], curve[-1] - curve[-2]
        offset = along[:, ::-1] * (-1.0, 1.0)
        offset *= width * _swelling(len(curve)) / np.maximum(np.hypot(along[:, :1], along[:, 1:]), 1e-9)
        self.shape(np.concatenate([curve + offset, (curve - offset)[::-1]]), fill)

    def glow(self, x: float, y: float, rx: float, fill: Colour, ry: float | None = None, opacity: float = 0.5) -> None:
        """A patch of colour that fades to its rim."""
        ry = rx if ry is None else ry
        x, y = x + self.shift[0], y + self.shift[1]
        width, height = max(1, round(2 * rx * self.size)), max(1, round(2 * ry * self.size))
        corner = round((x - rx) * self.size), round((y - ry) * self.size)
        self.image.paste(fill, corner, _soft_disc(width, height, opacity))

    def picture(self) -> Image.Image:
        """RGB, `side` x `side` pixels."""
        if self.size == _SUPERSAMPLING * self.side:
            return self.image.reduce(_SUPERSAMPLING)
        return self.image.reduce(_SUPERSAMPLING).resize((self.side, self.side), Image.Resampling.LANCZOS)
