"""The investigation at a glance: every trial as a card, all on one page, as in Figure 6 of the ISI paper."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import get_args

from PIL import Image
from reportlab.lib.colors import HexColor
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable

from isi_core.domain.evaluation import Evaluation
from isi_core.domain.interventions import PictureIntervention
from isi_core.domain.palette import INPUT_COLOURS
from isi_core.reports.charts import MEASURE
from isi_core.reports.figures import thumbnail
from isi_core.reports.typeset import (
    BOLD,
    FADED,
    INK,
    REGULAR,
    RULE,
    draw_badge,
    draw_scale,
    fit,
    register_fonts,
    wrapped,
)
from isi_core.reports.wording import judgement, number, verdict_words

# A card is drawn at this size in points and scaled as a whole to the grid's cell.
CARD_WIDTH, CARD_HEIGHT = 248.0, 200.0
_PICTURE = 114.0
_GAP = 10.0
_EMBEDDED_BYTES = 300_000


def image_file(image: Image.Image, side: int) -> io.BytesIO:
    """A picture's file for reportlab, at most `side` pixels: lossless while it is small, else JPEG of high quality."""
    small = thumbnail(image, side)
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    if buffer.tell() > _EMBEDDED_BYTES:
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=92, subsampling=0)
    buffer.seek(0)
    return buffer


def fitted(image: Image.Image, width: float, height: float) -> tuple[float, float]:
    """(width, height) in points of a picture scaled into a frame, proportions kept."""
    scale = min(width / image.width, height / image.height)
    return max(1.0, image.width * scale), max(1.0, image.height * scale)


def grid_shape(count: int, width: float, height: float) -> tuple[int, int]:
    """(columns, rows) of the grid in which `count` cards come out largest."""
    shapes = [(columns, math.ceil(count / columns)) for columns in range(1, count + 1)]
    return max(shapes, key=lambda shape: _scale(shape, width, height))


def _scale(shape: tuple[int, int], width: float, height: float) -> float:
    columns, rows = shape
    across = (width - _GAP * (columns - 1)) / columns / CARD_WIDTH
    down = (height - _GAP * (rows - 1)) / rows / CARD_HEIGHT
    return min(across, down, 1.0)


class Grid(Flowable):
    """The cards of all trials, in rows, on one page; `means` are the dataset's mean semantic entropies."""

    def __init__(
        self,
        evaluations: Sequence[Evaluation],
        labels: Sequence[str],
        means: Sequence[float | None],
        width: float,
        height: float,
    ) -> None:
        super().__init__()
        register_fonts()
        self.evaluations, self.labels, self.means = evaluations, labels, means
        self.shape = grid_shape(len(evaluations), width, height)
        self.scale = _scale(self.shape, width, height)
        self.width = width
        self.height = self.shape[1] * CARD_HEIGHT * self.scale + (self.shape[1] - 1) * _GAP

    def draw(self) -> None:
        """Draw card by card, each a link to its trial's pages."""
        columns, _ = self.shape
        across, down = CARD_WIDTH * self.scale, CARD_HEIGHT * self.scale
        # Cards that do not fill the width are spread over it.
        space = (self.width - columns * across) / (columns - 1) if columns > 1 else 0.0
        space = min(space, 3 * _GAP)
        for i, (evaluation, label) in enumerate(zip(self.evaluations, self.labels, strict=True)):
            row, column = divmod(i, columns)
            x = column * (across + space)
            y = self.height - (row + 1) * down - row * _GAP
            self.canv.saveState()
            self.canv.translate(x, y)
            self.canv.scale(self.scale, self.scale)
            _draw_card(self.canv, i + 1, evaluation, label, self.means[i])
            self.canv.restoreState()
            self.canv.linkRect("", f"trial-{i + 1}", (x, y, x + across, y + down), relative=1, thickness=0)


def _draw_card(canvas: Canvas, place: int, evaluation: Evaluation, label: str, mean: float | None) -> None:
    trial = evaluation.trial
    canvas.setStrokeColor(RULE)
    canvas.setLineWidth(0.7)
    canvas.roundRect(0, 0, CARD_WIDTH, CARD_HEIGHT, 4)
    top = CARD_HEIGHT - 9
    _line(canvas, 9, top - 9, fit(f"{place}  {label}", CARD_WIDTH - 18, BOLD, 10), BOLD, 10)
    top -= 17

    width, height = fitted(trial.image, _PICTURE, _PICTURE)
    x, y = 9 + (_PICTURE - width) / 2, top - (_PICTURE + height) / 2
    canvas.drawImage(ImageReader(image_file(trial.image, 400)), x, y, width, height)
    canvas.setStrokeColor(RULE)
    canvas.setLineWidth(0.4)
    canvas.rect(x, y, width, height)

    left, room = 9 + _PICTURE + 9, CARD_WIDTH - _PICTURE - 27
    y = top - 6
    for line in wrapped(_picture_words(evaluation), room, 2, REGULAR, 7):
        _line(canvas, left, y, line, REGULAR, 7, faded=True)
        y -= 9
    _line(canvas, left, y - 2, _context_words(evaluation), REGULAR, 7, faded=True)
    y -= 12
    for line in wrapped(trial.context[:1000], room, 4, REGULAR, 7):
        _line(canvas, left, y, line, REGULAR, 7)
        y -= 9
    _draw_answer(canvas, left, top - _PICTURE, room, evaluation)
    _draw_measures(canvas, 9, top - _PICTURE - 13, CARD_WIDTH - 18, evaluation, mean)


def _picture_words(evaluation: Evaluation) -> str:
    trial = evaluation.trial
    drawn = [c.type.replace("_", " ") for c in trial.interventions if isinstance(c, get_args(PictureIntervention))]
    return " + ".join([f"{trial.image_kind} picture", *dict.fromkeys(drawn)])


def _context_words(evaluation: Evaluation) -> str:
    kind = evaluation.trial.context_kind
    return "no context" if kind == "none" else f"{kind} context:"


def _draw_answer(canvas: Canvas, x: float, y: float, room: float, evaluation: Evaluation) -> None:
    """The answer over its badge, standing on the line y."""
    verdict = judgement(evaluation)
    if evaluation.answer is None:
        _line(canvas, x, y + 2, "not asked", REGULAR, 8, faded=True)
        return
    draw_badge(canvas, x, y, verdict_words(evaluation), verdict.colour, 7.5)
    shown = wrapped(f"“{evaluation.answer.text[:1000]}”", room, 2, BOLD, 8)
    for i, line in enumerate(reversed(shown)):
        _line(canvas, x, y + 17 + 10 * i, line, BOLD, 8)


def _draw_measures(
    canvas: Canvas, x: float, y: float, width: float, evaluation: Evaluation, mean: float | None
) -> None:
    """Semantic entropy on its scale and the relative attention shares as one bar, under the line y."""
    uncertainty, attribution = evaluation.uncertainty, evaluation.attribution
    if uncertainty is None:
        _line(canvas, x, y - 6, "semantic entropy: not measured", REGULAR, 7, faded=True)
    else:
        largest = math.log(max(len(uncertainty.samples), 2))
        _line(canvas, x, y - 6, "semantic entropy", REGULAR, 7, faded=True)
        words = f"{number(uncertainty.semantic_entropy)} nats"
        detail = f" of at most {number(largest)}, {_clusters(uncertainty.n_clusters)}"
        right = x + width - stringWidth(detail, REGULAR, 7)
        _line(canvas, right, y - 6, detail, REGULAR, 7, faded=True)
        _line(canvas, right - stringWidth(words, BOLD, 7), y - 6, words, BOLD, 7)
        tick = None if mean is None else mean / largest
        draw_scale(canvas, x, y - 16, width, 5, uncertainty.semantic_entropy / largest, MEASURE, tick)
    if attribution is None:
        _line(canvas, x, y - 30, "attention: not measured", REGULAR, 7, faded=True)
        return
    _line(canvas, x, y - 29, "attention", REGULAR, 7, faded=True)
    cursor = x + width
    for name in reversed(list(attribution.relative)):
        words = f"{name} {number(attribution.relative[name])}"
        cursor -= stringWidth(words, REGULAR, 7)
        _line(canvas, cursor, y - 29, words, REGULAR, 7)
        canvas.setFillColor(HexColor(INPUT_COLOURS[name]))
        canvas.rect(cursor - 8, y - 29.5, 6, 6, stroke=0, fill=1)
        cursor -= 16
    start = x
    for name, share in attribution.relative.items():
        canvas.setFillColor(HexColor(INPUT_COLOURS[name]))
        canvas.rect(start, y - 40, width * share, 6, stroke=0, fill=1)
        start += width * share


def _clusters(count: int) -> str:
    return "1 cluster" if count == 1 else f"{count} clusters"


def _line(canvas: Canvas, x: float, y: float, text: str, font: str, size: float, faded: bool = False) -> None:
    canvas.setFont(font, size)
    canvas.setFillColor(FADED if faded else INK)
    canvas.drawString(x, y, text)
