"""Cases of step order in a PDF: both pictures, both headlines, and what turns the answer round."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from reportlab.platypus import Flowable, KeepTogether, Spacer, Table
from reportlab.platypus import Image as Picture

from isi_core.datasets.step_pictures import open_images, png_bytes
from isi_core.domain.errors import InputError
from isi_core.domain.step_pairs import StepPair
from isi_core.reports.figures import thumbnail
from isi_core.reports.typeset import CELL, CELL_BOLD, SUBHEADING, paragraph
from isi_core.reports.wording import one_line

_SIDE = 108.0  # points


@dataclass(frozen=True)
class ReportCase:
    """One case: of which kind, which pair, and what was found."""

    kind: str
    pair: StepPair
    words: str


def case_flowables(cases: Sequence[ReportCase]) -> list[Flowable]:
    """The cases one below the other; those whose pictures cannot be opened any more are left out."""
    made: list[Flowable] = []
    for case in cases:
        try:
            pictures = [_picture(png_bytes(thumbnail(picture, 256))) for picture in open_images(case.pair)]
        except InputError:
            continue
        order = "in order" if case.pair.label else "reversed"
        told = [
            paragraph(one_line(f"{case.kind}: {case.pair.title}", 140), CELL_BOLD),
            paragraph(one_line(f"{case.pair.category}; truth: {order}", 140), CELL),
            *[paragraph(one_line(f"{i + 1}. {text}", 200), CELL) for i, text in enumerate(case.pair.headlines)],
            paragraph(one_line(case.words, 300), CELL),
        ]
        table = Table([[*pictures, told]], colWidths=[_SIDE + 6, _SIDE + 6, None], hAlign="LEFT")
        table.setStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0)])
        heading = [] if made else [paragraph("Cases", SUBHEADING)]
        made.append(KeepTogether([*heading, table, Spacer(1, 6)]))
    return made


def _picture(png: bytes) -> Picture:
    picture = Picture(io.BytesIO(png))
    scale = _SIDE / max(picture.imageWidth, picture.imageHeight)
    picture.drawWidth, picture.drawHeight = picture.imageWidth * scale, picture.imageHeight * scale
    return picture
