"""A drawn figure of pictures, frames and words, laid out once and written as PNG, SVG or onto a PDF page.

Lengths are in nominal pixels, (0, 0) is the upper left corner.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.colors import HexColor
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.platypus import Flowable

from isi_core.reports.typeset import BOLD, FONTS_FOLDER, REGULAR, printable, register_fonts

_SVG_FONT = "DejaVu Sans, Verdana, Arial, sans-serif"
Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Ink:
    """Colours of a plate: `plate` is its ground (None: transparent), `rim` goes around black frames."""

    text: str = "#1a1a1a"
    faded: str = "#666666"
    rule: str = "#d0d0d0"
    plate: str | None = "#ffffff"
    rim: str | None = None


LIGHT = Ink()
DARK = Ink("#e6ebf0", "#9aa7b4", "#39444f", None, "#e6ebf0")


@dataclass(frozen=True)
class Box:
    """A rectangle: filled, outlined or both; `line` is the outline's width."""

    x: float
    y: float
    width: float
    height: float
    fill: str | None = None
    outline: str | None = None
    line: float = 1.0


@dataclass(frozen=True)
class Words:
    """One line of text whose baseline is at `y`."""

    x: float
    y: float
    text: str
    size: float
    colour: str
    bold: bool = False
    anchor: Anchor = "start"


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture scaled into a rectangle; one that is smaller than its place keeps its hard pixels."""

    x: float
    y: float
    width: float
    height: float
    image: Image.Image


Part = Box | Words | Picture


@dataclass(frozen=True, eq=False)
class Plate:
    """The parts in the order in which they are drawn, the sentence that says how to read them, a name for files."""

    width: float
    height: float
    parts: tuple[Part, ...]
    reading: str
    name: str
    ink: Ink = LIGHT


@cache
def _font(bold: bool, tenths: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONTS_FOLDER / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"), tenths / 10)


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Width of a line in nominal pixels."""
    register_fonts()
    return float(pdfmetrics.stringWidth(printable(text), BOLD if bold else REGULAR, size))


def plate_picture(plate: Plate, scale: float = 2) -> Image.Image:
    """The plate as pixels, RGBA where its ground is transparent."""
    size = round(plate.width * scale), round(plate.height * scale)
    ground = plate.ink.plate
    drawn = Image.new("RGB" if ground else "RGBA", size, ground or (0, 0, 0, 0))
    pen = ImageDraw.Draw(drawn)
    for part in plate.parts:
        match part:
            case Box():
                _draw_box(pen, part, scale)
            case Words():
                anchor = {"start": "ls", "middle": "ms", "end": "rs"}[part.anchor]
                font = _font(part.bold, round(part.size * scale * 10))
                pen.text(
                    (part.x * scale, part.y * scale), printable(part.text), fill=part.colour, font=font, anchor=anchor
                )
            case Picture():
                place = max(1, round(part.width * scale)), max(1, round(part.height * scale))
                drawn.paste(_scaled(part.image, place), (round(part.x * scale), round(part.y * scale)))
    return drawn


def _draw_box(pen: ImageDraw.ImageDraw, box: Box, scale: float) -> None:
    left, top = round(box.x * scale), round(box.y * scale)
    right, bottom = round((box.x + box.width) * scale) - 1, round((box.y + box.height) * scale) - 1
    if right < left or bottom < top:
        return
    width = max(1, round(box.line * scale)) if box.outline else 0
    pen.rectangle((left, top, right, bottom), fill=box.fill, outline=box.outline, width=width)


def _scaled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    enlarged = size[0] >= 3 * image.width and size[1] >= 3 * image.height
    return image.convert("RGB").resize(size, Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS)


def plate_png(plate: Plate, scale: float = 2) -> bytes:
    """The plate as PNG, `scale` times its nominal size."""
    buffer = io.BytesIO()
    plate_picture(plate, scale).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def plate_svg(plate: Plate) -> bytes:
    """The plate as SVG (UTF-8): words stay words, pictures are embedded at their own resolution."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{plate.width:g}" height="{plate.height:g}" '
        f'viewBox="0 0 {plate.width:g} {plate.height:g}" font-family={quoteattr(_SVG_FONT)}>'
    ]
    if plate.ink.plate:
        lines.append(f'<rect width="100%" height="100%" fill="{plate.ink.plate}"/>')
    for part in plate.parts:
        match part:
            case Box():
                inset = part.line / 2 if part.outline else 0.0
                stroke = f' stroke="{part.outline}" stroke-width="{part.line:g}"' if part.outline else ""
                lines.append(
                    f'<rect x="{part.x + inset:g}" y="{part.y + inset:g}" width="{max(0.0, part.width - 2 * inset):g}" '
                    f'height="{max(0.0, part.height - 2 * inset):g}" fill="{part.fill or "none"}"{stroke}/>'
                )
            case Words():
                weight = ' font-weight="bold"' if part.bold else ""
                lines.append(
                    f'<text x="{part.x:g}" y="{part.y:g}" font-size="{part.size:g}" fill="{part.colour}" '
                    f'text-anchor="{part.anchor}"{weight}>{escape(printable(part.text))}</text>'
                )
            case Picture():
                buffer = io.BytesIO()
                part.image.convert("RGB").save(buffer, format="PNG")
                data = base64.b64encode(buffer.getvalue()).decode()
                lines.append(
                    f'<image x="{part.x:g}" y="{part.y:g}" width="{part.width:g}" height="{part.height:g}" '
                    f'preserveAspectRatio="none" href="data:image/png;base64,{data}"/>'
                )
    return ("\n".join([*lines, "</svg>"]) + "\n").encode()


class PlateFlowable(Flowable):
    """A plate on a PDF page, `width` points wide: words are words, frames are lines."""

    def __init__(self, plate: Plate, width: float) -> None:
        super().__init__()
        self._plate, self._scale = plate, width / plate.width
        self.width, self.height = width, plate.height * self._scale

    def draw(self) -> None:
        """Draw at the flowable's place."""
        register_fonts()
        canvas, scale = self.canv, self._scale

        def up(y: float) -> float:
            return self.height - y * scale

        for part in self._plate.parts:
            match part:
                case Box():
                    inset = part.line / 2 if part.outline else 0.0
                    if part.fill:
                        canvas.setFillColor(HexColor(part.fill))
                    if part.outline:
                        canvas.setStrokeColor(HexColor(part.outline))
                        canvas.setLineWidth(part.line * scale)
                    canvas.rect(
                        (part.x + inset) * scale,
                        up(part.y + part.height - inset),
                        max(0.0, part.width - 2 * inset) * scale,
                        max(0.0, part.height - 2 * inset) * scale,
                        stroke=int(bool(part.outline)),
                        fill=int(bool(part.fill)),
                    )
                case Words():
                    canvas.setFont(BOLD if part.bold else REGULAR, part.size * scale)
                    canvas.setFillColor(HexColor(part.colour))
                    draw: dict[Anchor, Callable[[float, float, str], None]] = {
                        "start": canvas.drawString,
                        "middle": canvas.drawCentredString,
                        "end": canvas.drawRightString,
                    }
                    draw[part.anchor](part.x * scale, up(part.y), printable(part.text))
                case Picture():
                    reader = ImageReader(part.image.convert("RGB"))
                    canvas.drawImage(
                        reader,
                        part.x * scale,
                        up(part.y + part.height),
                        part.width * scale,
                        part.height * scale,
                    )
