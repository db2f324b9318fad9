"""The paper's picture figures (DiffEx, Figures 4 and 8): originals framed red, counterfactuals black, scores beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from isi_core.domain.errors import InputError
from isi_core.domain.palette import COUNTERFACTUAL_FRAME, ORIGINAL_FRAME
from isi_core.reports.counterfactual_plate import LIGHT, Box, Ink, Part, Picture, Plate, Words, text_width
from isi_core.reports.wording import one_line

_ZOOM_COLOUR = "#56B4E9"
_CHANGED = 20  # grey levels of 255 by which some channel differs
_SMALL = 0.1  # a change of at most this share of the picture is shown enlarged
_FRAME = 2.5
_TEXT = 194.0
_LINE = 14.5

Area = tuple[float, float, float, float]
"""left, top, right, bottom in fractions of the picture."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A picture and its counterfactual with the classifier's score of each; `flag` says why an edit does not count."""

    original: Image.Image
    edited: Image.Image
    before: str
    after: str
    flag: str = ""


@dataclass(frozen=True, eq=False)
class GridRow:
    """One attribute of the figure.

    Attributes
    ----------
    title, path : its own label, and what it belongs to.
    facts : lines of results, such as "influence 0.52 (0.41 to 0.66)".
    kinds : (label, result) of what stands below it in the hierarchy.
    """

    title: str
    path: str
    facts: tuple[str, ...]
    kinds: tuple[tuple[str, str], ...]
    pairs: tuple[Pair, ...]


def zoom_area(original: Image.Image, edited: Image.Image) -> Area | None:
    """The square around what changed, with a margin; None where the change is large, or there is none."""
    size = edited.size
    before = original.convert("RGB") if original.size == size else original.convert("RGB").resize(size)
    apart = np.abs(np.asarray(before, dtype=np.int16) - np.asarray(edited.convert("RGB"), dtype=np.int16)).max(axis=2)
    rows, columns = np.nonzero(apart > _CHANGED)
    if not rows.size:
        return None
    height, width = apart.shape
    # A few stray pixels, as decoders leave them, must not stretch the square.
    top, bottom = (float(v) / height for v in np.quantile(rows, (0.01, 0.99)))
    left, right = (float(v) / width for v in np.quantile(columns, (0.01, 0.99)))
    if (right - left) * (bottom - top) > _SMALL:
        return None
    side = min(1.0, max(right - left, bottom - top, 0.16) * 1.25)
    x = min(max((left + right - side) / 2, 0.0), 1.0 - side)
    y = min(max((top + bottom - side) / 2, 0.0), 1.0 - side)
    return x, y, x + side, y + side


def ranking_plate(
    rows: Sequence[GridRow], reading: str, width: float = 820.0, ink: Ink = LIGHT, first: int = 1
) -> Plate:
    """Figure 4: one row an attribute, its place, results and sub-types at the left, pairs of pictures at the right.

    `first` is the place of the first row, where a figure goes on on another page.

    Raises
    ------
    InputError : there are no rows.
    """
    if not rows:
        raise InputError("There is no counterfactual to show yet: run the ranking first.")
    across = max(1, *(len(row.pairs) for row in rows))
    between, within = 16.0, 3.0
    tile = min(128.0, (width - _TEXT - 14 - between * (across - 1)) / across / 2 - within)
    parts: list[Part] = []
    y = 6.0
    for place, row in enumerate(rows, start=first):
        if place > first:
            parts.append(Box(0, y - 8, width, 0.8, fill=ink.rule))
        used = _row_words(parts, row, place, y, ink)
        for number, pair in enumerate(row.pairs):
            x = _TEXT + 14 + number * (2 * (tile + within) + between)
            _draw_pair(parts, pair, x, y, tile, within, ink)
        y += max(used, tile + 15 if any(p.flag for p in row.pairs) else tile) + 18
    return Plate(width, y - 4, tuple(parts), reading, "counterfactuals", ink)


def _row_words(parts: list[Part], row: GridRow, place: int, y: float, ink: Ink) -> float:
    """Everything at the left of a row; the height it takes."""
    line = y + 12
    for text, size, colour, bold in (
        (f"{place}. {row.title}", 14, ink.text, True),
        (row.path, 11, ink.faded, False),
        *((fact, 11, ink.text, False) for fact in row.facts),
    ):
        if text:
            parts.append(Words(0, line, _cut(text, _TEXT, size, bold), size, colour, bold))
            line += _LINE + (3 if bold else 0)
    if row.kinds:
        # The tree of sub-types: a stem with a branch to each.
        line += 2
        top = line - 9
        for label, result in row.kinds:
            parts.append(Box(3, line - 4, 7, 0.8, fill=ink.faded))
            room = _TEXT - 16 - text_width(result, 10.5) - 8
            parts.append(Words(14, line, _cut(label, room, 10.5), 10.5, ink.text))
            parts.append(Words(_TEXT - 2, line, result, 10.5, ink.faded, anchor="end"))
            line += 13.5
        parts.append(Box(3, top, 0.8, line - 13.5 - 3.2 - top, fill=ink.faded))
    return line - y - 8


def _cut(text: str, room: float, size: float, bold: bool = False) -> str:
    line = one_line(text, 200)
    while len(line) > 2 and text_width(line, size, bold) > room:
        line = line[:-2].rstrip() + "…"
    return line


def _draw_pair(parts: list[Part], pair: Pair, x: float, y: float, tile: float, within: float, ink: Ink) -> None:
    area = zoom_area(pair.original, pair.edited)
    for number, (image, score, frame) in enumerate(
        ((pair.original, pair.before, ORIGINAL_FRAME), (pair.edited, pair.after, COUNTERFACTUAL_FRAME))
    ):
        _draw_tile(parts, image, score, frame, area, x + number * (tile + within), y, tile, ink)
    if pair.flag:
        parts.append(Words(x, y + tile + 11, _cut(f"⚑ {pair.flag}", 2 * tile + within, 10), 10, ink.faded))


def _draw_tile(
    parts: list[Part],
    image: Image.Image,
    score: str,
    frame: str,
    area: Area | None,
    x: float,
    y: float,
    tile: float,
    ink: Ink,
) -> None:
    """A picture in its frame with its score in the corner, and enlarged what changed."""
    if frame == COUNTERFACTUAL_FRAME and ink.rim:
        parts.append(Box(x - 1, y - 1, tile + 2, tile + 2, fill=ink.rim))
    parts.append(Box(x, y, tile, tile, fill=frame))
    side = tile - 2 * _FRAME
    wide, high = image.size
    shown = side * min(1.0, wide / high), side * min(1.0, high / wide)
    left, top = x + _FRAME + (side - shown[0]) / 2, y + _FRAME + (side - shown[1]) / 2
    parts.append(Box(x + _FRAME, y + _FRAME, side, side, fill="#ffffff"))
    parts.append(Picture(left, top, *shown, image))
    if area is not None:
        _draw_zoom(parts, image, area, (left, top, *shown))
    if score:
        plate = text_width(score, 10, True) + 6
        parts.append(Box(x + _FRAME, y + _FRAME, plate, 14, fill="#ffffff"))
        parts.append(Words(x + _FRAME + 3, y + _FRAME + 11, score, 10, "#000000", bold=True))


def _draw_zoom(parts: list[Part], image: Image.Image, area: Area, shown: tuple[float, float, float, float]) -> None:
    """Outline what changed, and set it enlarged into the corner that is farthest from it."""
    x, y, width, height = shown
    left, top, right, bottom = area
    parts.append(
        Box(
            x + left * width,
            y + top * height,
            (right - left) * width,
            (bottom - top) * height,
            outline=_ZOOM_COLOUR,
            line=1.2,
        )
    )
    side = 0.42 * min(width, height)
    if side < 1.3 * (right - left) * min(width, height):
        return
    crop = image.crop(
        (
            round(left * image.width),
            round(top * image.height),
            max(round(left * image.width) + 1, round(right * image.width)),
            max(round(top * image.height) + 1, round(bottom * image.height)),
        )
    )
    middle = (left + right) / 2, (top + bottom) / 2
    # Never the corner that the score stands in.
    corners = ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0))
    corner = max(corners, key=lambda c: (c[0] - middle[0]) ** 2 + (c[1] - middle[1]) ** 2)
    px, py = x + corner[0] * (width - side), y + corner[1] * (height - side)
    parts.append(Box(px - 1.2, py - 1.2, side + 2.4, side + 2.4, fill=_ZOOM_COLOUR))
    parts.append(Picture(px, py, side, side, crop))


@dataclass(frozen=True, eq=False)
class JointRow:
    """One picture of the joint figure: (title, picture, score) of the original, each part alone, and both."""

    title: str
    cells: tuple[tuple[str, Image.Image, str], ...]
    fact: str = ""


def joint_plate(rows: Sequence[JointRow], reading: str, width: float = 820.0, ink: Ink = LIGHT) -> Plate:
    """Figure 8: original, each attribute alone, and both, one row a picture or a direction.

    Raises
    ------
    InputError : there are no rows, or rows of different lengths.
    """
    if not rows or len({len(row.cells) for row in rows}) != 1:
        raise InputError("The joint figure needs rows of the same cells: choose a combination that was ranked.")
    count = len(rows[0].cells)
    gap = 12.0
    tile = min(200.0, (width - gap * (count - 1)) / count)
    parts: list[Part] = []
    y = 4.0
    for row in rows:
        if row.title or row.fact:
            parts.append(Words(0, y + 11, row.title, 10.5, ink.text, bold=True))
            start = text_width(row.title, 10.5, True) + 10 if row.title else 0.0
            parts.append(Words(start, y + 11, _cut(row.fact, width - start, 9.5), 9.5, ink.faded))
            y += 19
        for number, (title, image, score) in enumerate(row.cells):
            x = number * (tile + gap)
            frame = ORIGINAL_FRAME if number == 0 else COUNTERFACTUAL_FRAME
            _draw_tile(parts, image, score, frame, None, x, y, tile, ink)
            parts.append(Words(x, y + tile + 12, _cut(title, tile + gap - 4, 9.5), 9.5, ink.text))
        y += tile + 26
    return Plate(width, y, tuple(parts), reading, "joint_attributes", ink)
