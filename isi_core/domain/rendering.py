"""Interventions drawn into pictures by Pillow: deterministic, at native resolution, smooth at the edges."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from isi_core.domain.errors import InputError
from isi_core.domain.interventions import (
    Arrow,
    Blur,
    Box,
    Freehand,
    GaussianNoise,
    Occlusion,
    PictureIntervention,
    TextLabel,
)

FONT_FILE = Path(__file__).parents[2] / "assets" / "fonts" / "DejaVuSans.ttf"
_OVERSAMPLING = 4
_NO_CHARACTER = "\uffff"
_RIGHT_TO_LEFT = {"R", "AL", "AN", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "PDF", "PDI"}
Point = tuple[float, float]


def _paint(
    image: Image.Image,
    points: Sequence[Point],
    margin: float,
    colour: str,
    opacity: float,
    draw: Callable[[ImageDraw.ImageDraw, Callable[[Point], Point], float], None],
) -> Image.Image:
    """Lay `colour` over the picture through a mask drawn oversampled around `points` (in pixels)."""
    left = max(0, math.floor(min(x for x, _ in points) - margin) - 1)
    top = max(0, math.floor(min(y for _, y in points) - margin) - 1)
    right = min(image.width, math.ceil(max(x for x, _ in points) + margin) + 1)
    bottom = min(image.height, math.ceil(max(y for _, y in points) + margin) + 1)
    if right <= left or bottom <= top:
        return image.copy()
    # A mask of many megapixels is not oversampled: its edges are fine enough, and memory is bounded.
    scale = _OVERSAMPLING if (right - left) * (bottom - top) <= 4_000_000 else 1
    mask = Image.new("L", ((right - left) * scale, (bottom - top) * scale), 0)
    draw(ImageDraw.Draw(mask), lambda p: ((p[0] - left) * scale, (p[1] - top) * scale), scale)
    mask = mask.resize((right - left, bottom - top), Image.Resampling.BOX)
    if opacity < 1:
        mask = mask.point(lambda value: round(value * opacity))
    result = image.copy()
    result.paste(Image.new("RGB", mask.size, colour), (left, top), mask)
    return result


def _corners(image: Image.Image, box: Box | Blur | Occlusion) -> tuple[float, float, float, float]:
    xs, ys = (
        sorted((box.left * image.width, box.right * image.width)),
        sorted((box.top * image.height, box.bottom * image.height)),
    )
    return xs[0], ys[0], xs[1], ys[1]


def _whole_pixels(image: Image.Image, box: Blur | Occlusion) -> tuple[int, int, int, int]:
    left, top, right, bottom = (round(v) for v in _corners(image, box))
    return max(0, left), max(0, top), min(image.width, right), min(image.height, bottom)


def _box(image: Image.Image, box: Box) -> Image.Image:
    left, top, right, bottom = _corners(image, box)
    if right <= left or bottom <= top:
        return image.copy()
    width = max(1.0, box.width * min(image.size))

    def draw(pen: ImageDraw.ImageDraw, place: Callable[[Point], Point], scale: float) -> None:
        (x0, y0), (x1, y1) = place((left, top)), place((right, bottom))
        area = (round(x0), round(y0), max(round(x0), round(x1) - 1), max(round(y0), round(y1) - 1))
        if box.filled:
            pen.rectangle(area, fill=255)
        else:
            pen.rectangle(area, outline=255, width=max(1, round(width * scale)))

    return _paint(image, [(left, top), (right, bottom)], 0, box.colour, box.opacity, draw)


def _stroke(pen: ImageDraw.ImageDraw, points: Sequence[Point], width: float) -> None:
    """A line through points with round ends and joints."""
    if len(points) > 1:
        pen.line(points, fill=255, width=max(1, round(width)), joint="curve")
    radius = width / 2
    for x, y in points if len(points) < 3 else (points[0], points[-1]):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)


def _arrow(image: Image.Image, arrow: Arrow) -> Image.Image:
    shorter = min(image.size)
    tail = (arrow.x1 * image.width, arrow.y1 * image.height)
    tip = (arrow.x2 * image.width, arrow.y2 * image.height)
    length = math.dist(tail, tip)
    if length == 0:
        return image.copy()
    width = max(1.0, arrow.width * shorter)
    head = min(length, max(arrow.head * shorter, 1.5 * width))
    along = ((tip[0] - tail[0]) / length, (tip[1] - tail[1]) / length)
    neck = (tip[0] - head * along[0], tip[1] - head * along[1])
    wing = (-along[1] * head * 0.5, along[0] * head * 0.5)
    triangle = [tip, (neck[0] + wing[0], neck[1] + wing[1]), (neck[0] - wing[0], neck[1] - wing[1])]

    def draw(pen: ImageDraw.ImageDraw, place: Callable[[Point], Point], scale: float) -> None:
        pen.line([place(tail), place(neck)], fill=255, width=max(1, round(width * scale)))
        pen.polygon([place(p) for p in triangle], fill=255)

    return _paint(image, [tail, *triangle], width, arrow.colour, 1.0, draw)


def _freehand(image: Image.Image, stroke: Freehand) -> Image.Image:
    width = max(1.0, stroke.width * min(image.size))
    points = [(x * image.width, y * image.height) for x, y in stroke.points]

    def draw(pen: ImageDraw.ImageDraw, place: Callable[[Point], Point], scale: float) -> None:
        _stroke(pen, [place(p) for p in points], width * scale)

    return _paint(image, points, width, stroke.colour, 1.0, draw)


@cache
def _font(size: float) -> ImageFont.FreeTypeFont:
    try:
        # The basic layout is the same on every machine; the other one needs libraries that some lack.
        return ImageFont.truetype(FONT_FILE, size, layout_engine=ImageFont.Layout.BASIC)
    except OSError:
        raise InputError(f"The font {FONT_FILE.name} is missing: restore the folder assets/fonts.") from None


@cache
def _drawable(character: str) -> bool:
    """Whether the font has the character, and drawing from left to right shows it as it is read."""
    if unicodedata.bidirectional(character) in _RIGHT_TO_LEFT:
        return False
    font = _font(32.0)

    def drawn(text: str) -> tuple[tuple[int, int], bytes, float]:
        mask = font.getmask(text)
        return mask.size, bytes(mask), font.getlength(text)

    # What the font lacks is drawn as the box of a code point that is no character.
    return drawn(character) != drawn(_NO_CHARACTER)


def _label_text(text: str) -> str:
    """A label's words as they are drawn: composed characters, spaces for tabs.

    Raises
    ------
    InputError : a character that the font lacks, or of a right-to-left script.
    """
    words = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    lacking = list(dict.fromkeys(c for c in words if c != "\n" and not _drawable(c)))
    if lacking:
        named = ", ".join(f"{c} (U+{ord(c):04X})" if c.isprintable() else f"U+{ord(c):04X}" for c in lacking[:5])
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        raise InputError(f"A text label cannot show {named}{more}: write it in other characters.")
    return words


def _text(image: Image.Image, label: TextLabel) -> Image.Image:
    if not label.text.strip():
        return image.copy()
    words = _label_text(label.text)
    font = _font(max(1.0, label.size * min(image.size)))
    mask = Image.new("L", image.size, 0)
    ImageDraw.Draw(mask).text((label.x * image.width, label.y * image.height), words, font=font, fill=255)
    result = image.copy()
    result.paste(Image.new("RGB", image.size, label.colour), (0, 0), mask)
    return result


def _noise(image: Image.Image, noise: GaussianNoise) -> Image.Image:
    values = np.asarray(image, dtype=np.float32)
    drawn = np.random.Generator(np.random.PCG64(noise.seed)).normal(0.0, noise.sigma, values.shape)
    return Image.fromarray(np.clip(np.rint(values + drawn), 0, 255).astype(np.uint8))


def _blur(image: Image.Image, blur: Blur) -> Image.Image:
    area = _whole_pixels(image, blur)
    result = image.copy()
    if area[2] > area[0] and area[3] > area[1]:
        blurred = image.filter(ImageFilter.GaussianBlur(blur.radius * min(image.size)))
        result.paste(blurred.crop(area), area[:2])
    return result


def _occlusion(image: Image.Image, occlusion: Occlusion) -> Image.Image:
    area = _whole_pixels(image, occlusion)
    result = image.copy()
    if area[2] > area[0] and area[3] > area[1]:
        result.paste(occlusion.colour, area)
    return result


def apply(image: Image.Image, change: PictureIntervention) -> Image.Image:
    """The RGB picture after one change, of the same size; the given picture is left as it is.

    Raises
    ------
    InputError : a text label holds what the font cannot show.
    """
    match change:
        case Box():
            return _box(image, change)
        case Arrow():
            return _arrow(image, change)
        case Freehand():
            return _freehand(image, change)
        case TextLabel():
            return _text(image, change)
        case GaussianNoise():
            return _noise(image, change)
        case Blur():
            return _blur(image, change)
        case Occlusion():
            return _occlusion(image, change)


def apply_all(image: Image.Image, changes: Sequence[PictureIntervention]) -> Image.Image:
    """The picture after every change, in order."""
    for change in changes:
        image = apply(image, change)
    return image


def difference_box(before: Image.Image, after: Image.Image) -> tuple[int, int, int, int] | None:
    """(left, top, right, bottom) of the pixels that two pictures of one size do not share; None when equal."""
    return ImageChops.difference(before, after).getbbox()
