"""What reports on A4 pages have in common: the frame with its foot, charts over their readings, a table of settings."""

from __future__ import annotations

import io
from collections.abc import Iterable

from reportlab import rl_config
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, Image, PageTemplate, Spacer, Table

from isi_core import __version__
from isi_core.domain.palette import WRONG
from isi_core.reports.charts import Figure, figure_png, figure_size
from isi_core.reports.typeset import (
    BOLD,
    FADED,
    NOTE,
    REGULAR,
    RULED,
    SMALL,
    SMALL_BOLD,
    WIDTH,
    fit,
    paragraph,
)
from isi_core.reports.wording import one_line

MARGIN = (A4[0] - WIDTH) / 2
FOOT, HEAD = 46.0, 40.0
"""Points below and above what is set on a page."""
HEIGHT = A4[1] - FOOT - HEAD

_SCALE = 3.0  # pixels drawn a chart's pixel


def chart(figure: Figure, points: float = 0.68, width: float = WIDTH, tallest: float = 560.0) -> list[Flowable]:
    """A chart over its reading, `points` a pixel but no larger than `width` x `tallest`.

    At 0.68 its 11 pixel type comes out at 7.5 points.
    """
    png = figure_png(figure, _SCALE)
    across, down = figure_size(png, _SCALE)
    size = min(points, width / across, tallest / down)
    return [
        Image(io.BytesIO(png), across * size, down * size, hAlign="LEFT"),
        Spacer(1, 3),
        paragraph(figure.reading, NOTE),
    ]


def settings_table(pairs: Iterable[tuple[str, str]]) -> Table:
    """Names and what they were set to."""
    rows = [[paragraph(name, SMALL_BOLD), paragraph(one_line(words, 600), SMALL)] for name, words in pairs]
    return Table(rows, colWidths=[110, WIDTH - 110], style=RULED[3:], hAlign="LEFT")


def typeset(story: list[Flowable], title: str, warning: str = "", head: float = HEAD) -> bytes:
    """The story as a PDF whose pages have the title and their number at the foot, and above them a warning, if any."""
    # Binary streams: the file comes out a fifth smaller and in half the time.
    rl_config.useA85 = 0
    buffer = io.BytesIO()
    frame = Frame(
        MARGIN, FOOT, WIDTH, A4[1] - FOOT - head, leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0
    )
    document = BaseDocTemplate(
        buffer, pagesize=A4, title=title, author=f"ISI Studio {__version__}", creator=f"ISI Studio {__version__}"
    )

    def around(canvas: Canvas, _: object) -> None:
        if warning:
            canvas.setFont(BOLD, 7.5)
            canvas.setFillColor(HexColor(WRONG))
            canvas.drawString(MARGIN, A4[1] - 32, fit(warning, WIDTH, BOLD, 7.5))
        canvas.setFont(REGULAR, 7)
        canvas.setFillColor(FADED)
        canvas.drawString(MARGIN, 25, fit(f"ISI Studio {__version__} · {title}", WIDTH - 60, REGULAR, 7))
        canvas.drawRightString(A4[0] - MARGIN, 25, f"page {canvas.getPageNumber()}")

    document.addPageTemplates(PageTemplate("page", [frame], onPage=around))
    document.build(story)
    return buffer.getvalue()
