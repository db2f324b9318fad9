"""Type for the PDF: embedded fonts, styles, text made safe for reportlab, and small drawings that flow with text.

Fonts: DejaVu Sans from `assets/fonts` where the three files lie there; else Bitstream Vera, which comes with reportlab
and has the same shapes and widths but Western European letters only. What the font lacks, and what reads from right
to left (which reportlab cannot set), is printed as code points, so that nothing is dropped or printed wrong.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib.colors import HexColor
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Paragraph, Spacer

FONTS_FOLDER = Path(__file__).parents[2] / "assets" / "fonts"
REGULAR, BOLD, ITALIC = "Report", "Report-Bold", "Report-Italic"
INK, FADED, RULE, PANEL = (HexColor(c) for c in ("#1a1a1a", "#666666", "#d0d0d0", "#f5f5f5"))
CODE_POINT_NOTE = (
    "Characters that this PDF's font cannot print stand as code points, [U+…]; run.json has them as typed."
)

_FACES = {
    REGULAR: ("DejaVuSans.ttf", "Vera.ttf"),
    BOLD: ("DejaVuSans-Bold.ttf", "VeraBd.ttf"),
    ITALIC: ("DejaVuSans-Oblique.ttf", "VeraIt.ttf"),
}
WIDTH = 499.0
"""Points between the margins of an A4 page."""

BARE: list[Any] = [
    ("LEFTPADDING", (0, 0), (-1, -1), 0),
    ("RIGHTPADDING", (0, 0), (-1, -1), 0),
    ("TOPPADDING", (0, 0), (-1, -1), 0),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 0),
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
]
"""Table style: columns of flowables, nothing drawn."""

RULED: list[Any] = [
    ("LINEBELOW", (0, 0), (-1, -1), 0.4, RULE),
    ("BACKGROUND", (0, 0), (-1, 0), PANEL),
    ("TOPPADDING", (0, 0), (-1, -1), 2.5),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
    ("LEFTPADDING", (0, 0), (-1, -1), 4),
    ("RIGHTPADDING", (0, 0), (-1, -1), 4),
]
"""Table style: a shaded head and a hairline under every row."""

# A longer run of unprintable characters is shown by its first ones and its length.
_RUN = 12
_EMPTY_LINES = re.compile(r"\n{4,}")
_CHUNK = 30
_RIGHT_TO_LEFT = {"R", "AL", "AN", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "PDF", "PDI"}


@cache
def register_fonts() -> frozenset[int]:
    """Register the report's fonts with reportlab, once; the code points that all of them have."""
    wide = all((FONTS_FOLDER / names[0]).is_file() for names in _FACES.values())
    faces = []
    for name, (preferred, bundled) in _FACES.items():
        font = TTFont(name, str(FONTS_FOLDER / preferred) if wide else bundled)
        pdfmetrics.registerFont(font)
        faces.append(frozenset(font.face.charToGlyph))
    pdfmetrics.registerFontFamily(REGULAR, normal=REGULAR, bold=BOLD, italic=ITALIC, boldItalic=BOLD)
    return frozenset.intersection(*faces)


def _printable(character: str) -> bool:
    if character in "\n\t ":
        return True
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn"):
        return False
    # reportlab writes no correct map to Unicode for characters beyond the basic plane: they could not be copied out.
    if ord(character) > 0xFFFF:
        return False
    return ord(character) in register_fonts() and unicodedata.bidirectional(character) not in _RIGHT_TO_LEFT


def _code_points(run: str) -> str:
    shown = " ".join(f"U+{ord(c):04X}" for c in run[:_RUN])
    return f"[{shown}]" if len(run) <= _RUN else f"[{shown} … {len(run):,} characters]"


def printable(text: str) -> str:
    """The text with every run of characters that the font lacks replaced by its code points."""
    composed = unicodedata.normalize("NFC", _unix(text))
    parts: list[str] = []
    run = ""
    for character in composed:
        if _printable(character):
            if run:
                parts.append(_code_points(run))
                run = ""
            parts.append(character)
        else:
            run += character
    return "".join(parts) + (_code_points(run) if run else "")


def has_code_points(text: str) -> bool:
    """Whether `printable` would replace anything."""
    return any(not _printable(c) for c in unicodedata.normalize("NFC", _unix(text)))


def safe(text: str) -> str:
    """Text as reportlab markup that shows it as it is: escaped, line breaks kept, unprintable characters replaced."""
    return escape(printable(text).replace("\t", "    ")).replace("\n", "<br/>")


def _style(name: str, size: float, leading: float, **options: Any) -> ParagraphStyle:
    return ParagraphStyle(
        name, **{"fontName": REGULAR, "fontSize": size, "leading": leading, "textColor": INK, **options}
    )


TITLE = _style("title", 17, 21, fontName=BOLD, spaceAfter=2)
HEADING = _style("heading", 13, 17, fontName=BOLD, spaceAfter=2)
SUBHEADING = _style("subheading", 9.5, 13, fontName=BOLD, spaceBefore=9, spaceAfter=3)
BODY = _style("body", 8.5, 12)
LABELLED = _style("labelled", 8.5, 12, leftIndent=62, bulletIndent=0, bulletFontName=BOLD, bulletFontSize=8.5)
CELL = _style("cell", 8, 10.5)
CELL_BOLD = _style("cell bold", 8, 10.5, fontName=BOLD)
NUMBER = _style("number", 8, 10.5, alignment=2)
NUMBER_BOLD = _style("number bold", 8, 10.5, alignment=2, fontName=BOLD)
SMALL = _style("small", 7.2, 9.4)
SMALL_BOLD = _style("small bold", 7.2, 9.4, fontName=BOLD)
NOTE = _style("note", 7, 9.4, textColor=FADED)


def paragraph(text: str, style: ParagraphStyle = BODY) -> Paragraph:
    """A paragraph of plain text from anywhere."""
    register_fonts()
    return Paragraph(safe(text), style)


def labelled(label: str, text: str) -> list[Flowable]:
    """Text behind a bold label in the margin; it wraps over pages, however long it is.

    reportlab takes quadratic time to break one paragraph of many lines, so that text is set in several.
    """
    register_fonts()
    lines = _EMPTY_LINES.sub(lambda m: f"\n[{len(m[0]) - 1:,} empty lines]\n", _unix(text)).split("\n")
    parts = ["\n".join(lines[i : i + _CHUNK]) for i in range(0, len(lines), _CHUNK)]
    story: list[Flowable] = [
        Paragraph(safe(part) or "&nbsp;", LABELLED, bulletText=None if i else label) for i, part in enumerate(parts)
    ]
    return [*story, Spacer(1, 4)]


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def fit(text: str, width: float, font: str = REGULAR, size: float = 8) -> str:
    """One line of printable text cut with an ellipsis so that it is at most `width` points wide."""
    register_fonts()
    line = " ".join(printable(text).split())
    if pdfmetrics.stringWidth(line, font, size) <= width:
        return line
    low, high = 0, len(line)
    while low < high:
        middle = (low + high + 1) // 2
        if pdfmetrics.stringWidth(line[:middle].rstrip() + "…", font, size) <= width:
            low = middle
        else:
            high = middle - 1
    return line[:low].rstrip() + "…"


def wrapped(text: str, width: float, lines: int, font: str = REGULAR, size: float = 8) -> list[str]:
    """Printable text in at most `lines` lines of `width` points; the last is cut with an ellipsis."""
    register_fonts()
    words = printable(text).split()
    result: list[str] = []
    while words and len(result) < lines - 1:
        line = words[0]
        taken = 1
        while taken < len(words) and pdfmetrics.stringWidth(f"{line} {words[taken]}", font, size) <= width:
            line += f" {words[taken]}"
            taken += 1
        result.append(fit(line, width, font, size))
        words = words[taken:]
    if words:
        result.append(fit(" ".join(words), width, font, size))
    return result


def draw_scale(
    canvas: Canvas,
    x: float,
    y: float,
    width: float,
    height: float,
    fraction: float,
    colour: str,
    mean: float | None = None,
) -> None:
    """A bar filled to `fraction` of its range, with a tick where the dataset's mean lies on it."""
    canvas.setFillColor(HexColor("#e6e6e6"))
    canvas.rect(x, y, width, height, stroke=0, fill=1)
    canvas.setFillColor(HexColor(colour))
    canvas.rect(x, y, width * min(max(fraction, 0.0), 1.0), height, stroke=0, fill=1)
    if mean is not None:
        place = x + width * min(max(mean, 0.0), 1.0)
        canvas.setFillColor(HexColor("#ffffff"))
        canvas.rect(place - 1.5, y - 2, 3, height + 4, stroke=0, fill=1)
        canvas.setFillColor(HexColor("#000000"))
        canvas.rect(place - 0.7, y - 2, 1.4, height + 4, stroke=0, fill=1)


class Scale(Flowable):
    """`draw_scale` as a table's cell."""

    def __init__(self, width: float, fraction: float, colour: str, mean: float | None = None) -> None:
        super().__init__()
        self.width, self.height = width, 8.0
        self._drawing = (fraction, colour, mean)

    def draw(self) -> None:
        """Draw at the flowable's place."""
        fraction, colour, mean = self._drawing
        draw_scale(self.canv, 0, 1, self.width, 6, fraction, colour, mean)


class Bookmark(Flowable):
    """A place that links lead to, with an entry in the document's outline."""

    def __init__(self, key: str, title: str, level: int = 0) -> None:
        super().__init__()
        self.width = self.height = 0.0
        self._entry = (key, title, level)

    def draw(self) -> None:
        """Set the mark at the flowable's place."""
        key, title, level = self._entry
        self.canv.bookmarkPage(key)
        self.canv.addOutlineEntry(title, key, level, closed=level > 0)


def draw_badge(canvas: Canvas, x: float, y: float, text: str, colour: str, size: float = 8) -> float:
    """White words on a coloured plate whose lower left corner is (x, y); its width in points."""
    register_fonts()
    width = pdfmetrics.stringWidth(text, BOLD, size) + size
    canvas.setFillColor(HexColor(colour))
    canvas.roundRect(x, y, width, size * 1.6, size * 0.35, stroke=0, fill=1)
    canvas.setFillColor(HexColor("#ffffff"))
    canvas.setFont(BOLD, size)
    canvas.drawString(x + size / 2, y + size * 0.48, text)
    return width


class Badge(Flowable):
    """A badge behind a bold label in the margin, as in `labelled`."""

    def __init__(self, label: str, text: str, colour: str) -> None:
        super().__init__()
        self.width, self.height = WIDTH, 19.0
        self._words = (label, text, colour)

    def draw(self) -> None:
        """Draw at the flowable's place."""
        label, text, colour = self._words
        self.canv.setFont(BOLD, LABELLED.fontSize)
        self.canv.setFillColor(INK)
        self.canv.drawString(0, 8, label)
        draw_badge(self.canv, LABELLED.leftIndent, 4.5, text, colour)
