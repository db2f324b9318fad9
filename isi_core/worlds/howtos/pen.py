"""A pen that draws in unit coordinates, and the colours it draws with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import ImageDraw

Rgb = tuple[int, int, int]
Point = tuple[float, float]

INK: Rgb = (52, 50, 58)
VIVID: tuple[Rgb, ...] = (
    (214, 60, 52),
    (236, 140, 40),
    (240, 196, 48),
    (72, 160, 84),
    (44, 148, 168),
    (52, 104, 204),
    (132, 76, 184),
    (216, 92, 148),
)
PALE: tuple[Rgb, ...] = ((222, 214, 200), (206, 208, 206), (226, 220, 210), (210, 202, 196), (214, 216, 222))
WOOD: tuple[Rgb, ...] = ((196, 152, 104), (172, 124, 80), (212, 176, 132), (150, 108, 76))


def shade(colour: Rgb, factor: float) -> Rgb:
    """The colour made darker (factor < 1) or lighter (1 to 2, where 2 is white)."""
    if factor <= 1:
        return round(colour[0] * factor), round(colour[1] * factor), round(colour[2] * factor)
    rest = 2 - factor
    return (
        round(255 - (255 - colour[0]) * rest),
        round(255 - (255 - colour[1]) * rest),
        round(255 - (255 - colour[2]) * rest),
    )


@dataclass(frozen=True)
class Pen:
    """Draws on a square canvas of `side` pixels, moved by (dx, dy) and scaled about the bottom's middle.

    Coordinates are fractions of the picture, (0, 0) at the top left.
    """

    draw: ImageDraw.ImageDraw
    side: int
    dx: float = 0.0
    dy: float = 0.0
    scale: float = 1.0

    def place(self, points: Sequence[Point]) -> list[Point]:
        """Where the points lie on the canvas, in pixels."""
        return [
            ((0.5 + (x - 0.5) * self.scale + self.dx) * self.side, (0.9 + (y - 0.9) * self.scale + self.dy) * self.side)
            for x, y in points
        ]

    def thickness(self, width: float) -> int:
        """A width in pixels, at least 1."""
        return max(1, round(width * self.scale * self.side))

    def polygon(self, points: Sequence[Point], fill: Rgb, edge: Rgb | None = INK, width: float = 0.012) -> None:
        """A filled polygon with a rounded edge."""
        corners = self.place(points)
        self.draw.polygon(corners, fill=fill)
        if edge is not None:
            self.draw.line([*corners, corners[0], corners[1]], fill=edge, width=self.thickness(width), joint="curve")

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Rgb | None, edge: Rgb | None = INK,
                width: float = 0.012) -> None:  # fmt: skip
        """An ellipse about (x, y)."""
        (left, top), (right, bottom) = self.place([(x - rx, y - ry), (x + rx, y + ry)])
        if right - left < 1 or bottom - top < 1:
            return
        self.draw.ellipse(
            [left, top, right, bottom], fill=fill, outline=edge, width=self.thickness(width) if edge is not None else 0
        )

    def box(self, left: float, top: float, right: float, bottom: float, fill: Rgb, edge: Rgb | None = INK,
            radius: float = 0.0, width: float = 0.012) -> None:  # fmt: skip
        """A rectangle with round corners."""
        (x0, y0), (x1, y1) = self.place([(left, top), (right, bottom)])
        thick = self.thickness(width) if edge is not None else 0
        if min(x1 - x0, y1 - y0) < 2 * thick + 2:  # too small for an edge; Pillow would refuse it
            self.draw.rectangle([x0, y0, max(x0, x1), max(y0, y1)], fill=fill)
            return
        round_by = min(radius * self.scale * self.side, (x1 - x0) / 2 - 1, (y1 - y0) / 2 - 1)
        self.draw.rounded_rectangle([x0, y0, x1, y1], radius=max(0.0, round_by), fill=fill, outline=edge, width=thick)

    def line(self, points: Sequence[Point], colour: Rgb = INK, width: float = 0.014) -> None:
        """A line through the points, with round joints."""
        self.draw.line(self.place(points), fill=colour, width=self.thickness(width), joint="curve")


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float, steps: int = 16) -> list[Point]:
    """Points of an ellipse from one angle to another, in degrees, clockwise from the right."""
    turns = [math.radians(start + (end - start) * i / steps) for i in range(steps + 1)]
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in turns]
