"""The ten pictograms, each drawn in a unit square in any of the six colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFilter

Rgb = tuple[int, int, int]
Point = tuple[float, float]

COLOUR_VALUES: dict[str, Rgb] = {
    "red": (222, 45, 38),
    "yellow": (250, 204, 21),
    "green": (34, 150, 70),
    "blue": (37, 99, 220),
    "purple": (145, 60, 190),
    "white": (250, 250, 252),
}
OUTLINE: Rgb = (40, 40, 48)
_BROWN: Rgb = (122, 78, 45)
_GLASS: Rgb = (205, 232, 245)
_DARK: Rgb = (55, 55, 62)
_OUTLINE_WIDTH = 0.022
_OVERSAMPLING = 4
_MASTER = 256


def _shade(colour: Rgb, factor: float) -> Rgb:
    """The colour made darker (factor < 1) or lighter (factor > 1)."""
    if factor <= 1:
        return tuple(round(v * factor) for v in colour)  # type: ignore[return-value]
    return tuple(round(255 - (255 - v) * (2 - factor)) for v in colour)  # type: ignore[return-value]


@dataclass(frozen=True)
class _Pen:
    """Draws in unit coordinates on a square canvas of `side` pixels."""

    draw: ImageDraw.ImageDraw
    side: int

    @property
    def line_width(self) -> int:
        return max(1, round(_OUTLINE_WIDTH * self.side))

    def _points(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self.side, y * self.side) for x, y in points]

    def polygon(self, points: Sequence[Point], fill: Rgb, outline: bool = True) -> None:
        corners = self._points(points)
        self.draw.polygon(corners, fill=fill)
        if outline:
            self.draw.line([*corners, corners[0], corners[1]], fill=OUTLINE, width=self.line_width, joint="curve")

    def ellipse(self, left: float, top: float, right: float, bottom: float, fill: Rgb, outline: bool = True) -> None:
        box = self._points([(left, top), (right, bottom)])
        self.draw.ellipse(box, fill=fill, outline=OUTLINE if outline else None, width=self.line_width)

    def rectangle(
        self, left: float, top: float, right: float, bottom: float, fill: Rgb, radius: float = 0.0, outline: bool = True
    ) -> None:
        self.draw.rounded_rectangle(
            self._points([(left, top), (right, bottom)]),
            radius=radius * self.side,
            fill=fill,
            outline=OUTLINE if outline else None,
            width=self.line_width if outline else 0,
        )

    def line(self, points: Sequence[Point], colour: Rgb = OUTLINE, width: float = _OUTLINE_WIDTH) -> None:
        self.draw.line(self._points(points), fill=colour, width=max(1, round(width * self.side)), joint="curve")

    def arc(
        self,
        box: tuple[float, float, float, float],
        start: float,
        end: float,
        colour: Rgb = OUTLINE,
        width: float = _OUTLINE_WIDTH,
    ) -> None:
        corners = self._points([box[:2], box[2:]])
        self.draw.arc(corners, start, end, fill=colour, width=max(1, round(width * self.side)))


def _curve(centre: Point, radii: Point, start: float, end: float, steps: int = 40) -> list[Point]:
    """Points on an ellipse from one angle to another, in degrees, clockwise from the right."""
    angles = [math.radians(start + (end - start) * i / steps) for i in range(steps + 1)]
    return [(centre[0] + radii[0] * math.cos(a), centre[1] + radii[1] * math.sin(a)) for a in angles]


def _house(pen: _Pen, colour: Rgb) -> None:
    pen.rectangle(0.68, 0.12, 0.8, 0.4, _shade(colour, 0.7))
    pen.rectangle(0.14, 0.44, 0.86, 0.96, colour)
    pen.polygon([(0.5, 0.05), (0.97, 0.48), (0.03, 0.48)], _shade(colour, 0.7))
    pen.rectangle(0.42, 0.64, 0.6, 0.96, _BROWN)
    pen.rectangle(0.21, 0.58, 0.36, 0.73, _GLASS)
    pen.rectangle(0.66, 0.58, 0.8, 0.73, _GLASS)


def _tree(pen: _Pen, colour: Rgb) -> None:
    pen.rectangle(0.42, 0.6, 0.58, 0.97, _BROWN)
    for points in (
        [(0.5, 0.34), (0.93, 0.8), (0.07, 0.8)],
        [(0.5, 0.18), (0.85, 0.58), (0.15, 0.58)],
        [(0.5, 0.03), (0.76, 0.36), (0.24, 0.36)],
    ):
        pen.polygon(points, colour)


def _car(pen: _Pen, colour: Rgb) -> None:
    pen.polygon([(0.2, 0.48), (0.32, 0.24), (0.68, 0.24), (0.82, 0.48)], colour)
    pen.polygon([(0.28, 0.47), (0.36, 0.31), (0.48, 0.31), (0.48, 0.47)], _GLASS, outline=False)
    pen.polygon([(0.53, 0.47), (0.53, 0.31), (0.64, 0.31), (0.73, 0.47)], _GLASS, outline=False)
    pen.rectangle(0.03, 0.46, 0.97, 0.74, colour, radius=0.08)
    pen.rectangle(0.88, 0.53, 0.95, 0.61, (255, 240, 170), radius=0.02, outline=False)
    for x in (0.26, 0.74):
        pen.ellipse(x - 0.13, 0.6, x + 0.13, 0.86, _DARK)
        pen.ellipse(x - 0.05, 0.68, x + 0.05, 0.78, (200, 200, 205), outline=False)


def _fish(pen: _Pen, colour: Rgb) -> None:
    pen.polygon([(0.66, 0.5), (0.97, 0.24), (0.9, 0.5), (0.97, 0.76)], _shade(colour, 0.75))
    pen.polygon([(0.34, 0.32), (0.5, 0.13), (0.62, 0.36)], _shade(colour, 0.75))
    pen.polygon(_curve((0.4, 0.5), (0.37, 0.26), 0, 360, 80), colour)
    pen.arc((0.14, 0.3, 0.36, 0.7), -70, 70)
    pen.ellipse(0.13, 0.4, 0.24, 0.51, (255, 255, 255))
    pen.ellipse(0.165, 0.43, 0.215, 0.48, OUTLINE, outline=False)
    for x in (0.45, 0.56):
        pen.arc((x - 0.08, 0.4, x + 0.06, 0.6), -60, 60, _shade(colour, 0.6))


def _boat(pen: _Pen, colour: Rgb) -> None:
    pen.line([(0.47, 0.04), (0.47, 0.7)], _BROWN, 0.045)
    pen.polygon([(0.52, 0.06), (0.92, 0.6), (0.52, 0.6)], colour)
    pen.polygon([(0.42, 0.18), (0.42, 0.6), (0.12, 0.6)], _shade(colour, 1.25))
    pen.polygon([(0.03, 0.67), (0.97, 0.67), (0.82, 0.93), (0.18, 0.93)], _shade(colour, 0.75))


def _cup(pen: _Pen, colour: Rgb) -> None:
    pen.arc((0.58, 0.36, 0.97, 0.72), -110, 110, OUTLINE, 0.1)
    pen.arc((0.6, 0.38, 0.95, 0.7), -110, 110, colour, 0.06)
    pen.polygon([(0.1, 0.28), (0.76, 0.28), (0.68, 0.9), (0.18, 0.9)], colour)
    pen.ellipse(0.1, 0.2, 0.76, 0.36, (92, 58, 36))
    for x in (0.32, 0.5):
        pen.line([(x, 0.16), (x + 0.04, 0.11), (x, 0.06), (x + 0.03, 0.02)], (140, 140, 150), 0.025)


def _ball(pen: _Pen, colour: Rgb) -> None:
    pen.ellipse(0.06, 0.06, 0.94, 0.94, colour)
    stripe = _shade(colour, 0.6)
    pen.arc((-0.42, 0.06, 0.5, 0.94), -52, 52, stripe, 0.045)
    pen.arc((0.5, 0.06, 1.42, 0.94), 128, 232, stripe, 0.045)
    pen.line([(0.09, 0.5), (0.91, 0.5)], stripe, 0.045)
    pen.ellipse(0.24, 0.16, 0.4, 0.28, _shade(colour, 1.6), outline=False)


def _flower(pen: _Pen, colour: Rgb) -> None:
    pen.line([(0.5, 0.5), (0.5, 0.98)], (46, 120, 60), 0.06)
    pen.polygon(_curve((0.66, 0.82), (0.15, 0.07), 0, 360), (70, 160, 85))
    for i in range(6):
        angle = math.radians(60 * i - 90)
        x, y = 0.5 + 0.21 * math.cos(angle), 0.35 + 0.21 * math.sin(angle)
        pen.ellipse(x - 0.14, y - 0.14, x + 0.14, y + 0.14, colour)
    pen.ellipse(0.38, 0.23, 0.62, 0.47, (240, 160, 40))


def _umbrella(pen: _Pen, colour: Rgb) -> None:
    pen.line([(0.5, 0.08), (0.5, 0.84)], OUTLINE, 0.045)
    pen.arc((0.3, 0.74, 0.52, 0.96), 0, 180, OUTLINE, 0.045)
    pen.line([(0.5, 0.02), (0.5, 0.1)], OUTLINE, 0.045)
    canopy = _curve((0.5, 0.54), (0.47, 0.45), 180, 360)
    for centre in (0.813, 0.5, 0.187):
        canopy += _curve((centre, 0.54), (0.157, 0.07), 0, -180, 16)
    pen.polygon(canopy, colour)
    for x in (0.343, 0.657):
        pen.line([(0.5, 0.1), (0.5 + (x - 0.5) * 0.75, 0.28), (x, 0.5)], _shade(colour, 0.6))


def _star(pen: _Pen, colour: Rgb) -> None:
    points = []
    for i in range(10):
        radius = 0.5 if i % 2 == 0 else 0.215
        angle = math.radians(36 * i - 90)
        points.append((0.5 + radius * math.cos(angle), 0.53 + radius * math.sin(angle)))
    pen.polygon(points, colour)


_DRAWINGS: dict[str, Callable[[_Pen, Rgb], None]] = {
    "house": _house,
    "tree": _tree,
    "car": _car,
    "fish": _fish,
    "boat": _boat,
    "cup": _cup,
    "ball": _ball,
    "flower": _flower,
    "umbrella": _umbrella,
    "star": _star,
}


@lru_cache(maxsize=256)
def _master(kind: str, colour: str) -> Image.Image:
    side = _MASTER * _OVERSAMPLING
    margin = round(0.06 * side)
    canvas = Image.new("RGBA", (side + 2 * margin, side + 2 * margin), (0, 0, 0, 0))
    square = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    _DRAWINGS[kind](_Pen(ImageDraw.Draw(square), side), COLOUR_VALUES[colour])
    canvas.alpha_composite(square, (margin, margin))
    small = canvas.resize((canvas.width // _OVERSAMPLING,) * 2, Image.Resampling.BOX)
    shadow = Image.new("RGBA", small.size, (20, 25, 40, 0))
    shadow.putalpha(small.getchannel("A").point(lambda a: round(a * 0.28)))
    shadow = shadow.filter(ImageFilter.GaussianBlur(0.018 * _MASTER))
    result = Image.new("RGBA", small.size, (0, 0, 0, 0))
    offset = round(0.015 * _MASTER)
    result.alpha_composite(shadow, (offset, offset))
    result.alpha_composite(small)
    return result


@lru_cache(maxsize=4096)
def sprite(kind: str, colour: str, extent: int) -> Image.Image:
    """The pictogram as RGBA with its soft shadow; `extent` is the side of the object in pixels.

    The picture is a little larger than `extent` on every side, so that the shadow fits: paste
    it centred on the object's centre.
    """
    master = _master(kind, colour)
    side = max(2, round(extent * master.width / _MASTER))
    return master.resize((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
