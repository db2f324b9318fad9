"""The report: one or several trials as an A4 PDF that says what was asked, of whom, how, and what came out."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from reportlab import rl_config
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, PageBreak, PageTemplate, Spacer

from isi_core import __version__
from isi_core.domain.errors import InputError
from isi_core.domain.evaluation import Evaluation
from isi_core.reports.overview import Grid
from isi_core.reports.sections import dataset_mean, trial_section
from isi_core.reports.typeset import (
    BODY,
    FADED,
    NOTE,
    REGULAR,
    RULE,
    TITLE,
    WIDTH,
    Bookmark,
    fit,
    paragraph,
    register_fonts,
)
from isi_core.reports.wording import judgement, one_line
from isi_core.studies.averages import Averages

_MARGIN = (A4[0] - WIDTH) / 2
_TOP, _BOTTOM = 40.0, 46.0
_HEIGHT = A4[1] - _TOP - _BOTTOM


def build_report(
    evaluations: Sequence[Evaluation],
    *,
    labels: Sequence[str] | None = None,
    title: str = "ISI Studio report",
    averages: Averages | Sequence[Averages | None] | None = None,
) -> bytes:
    """The PDF of one or several trials; several begin with one page that shows them all.

    Parameters
    ----------
    labels : a name for each trial; made from its picture and context where none are given.
    averages : the averages over the dataset, of all trials or one for each; their means stand beside the values
        of the model and the settings that made them.

    Raises
    ------
    InputError : there are no evaluations, or not as many labels or averages as evaluations.
    """
    if not evaluations:
        raise InputError("A report needs at least one trial: press Ask first.")
    names = list(labels) if labels is not None else [default_label(e) for e in evaluations]
    if len(names) != len(evaluations):
        raise InputError(f"{len(evaluations)} trials need as many labels, not {len(names)}.")
    usual = [averages] * len(evaluations) if averages is None or isinstance(averages, Averages) else list(averages)
    if len(usual) != len(evaluations):
        raise InputError(f"{len(evaluations)} trials need as many averages, not {len(usual)}.")
    register_fonts()
    shown_title = one_line(title, 80) or "ISI Studio report"
    story: list[Flowable] = []
    if len(evaluations) > 1:
        story += _overview(evaluations, names, shown_title, usual)
    for i, (evaluation, label, own) in enumerate(zip(evaluations, names, usual, strict=True)):
        if story:
            story.append(PageBreak())
        story += trial_section(i + 1, len(evaluations), evaluation, label, own)
    return _typeset(story, evaluations, shown_title)


def default_label(evaluation: Evaluation) -> str:
    """A trial's name where it was given none: its picture, context and number of drawings."""
    trial = evaluation.trial
    context = "no context" if trial.context_kind == "none" else f"{trial.context_kind} context"
    drawn = sum(not c.type.endswith("_preset") and c.type != "edit_text" for c in trial.interventions)
    changes = "" if not drawn else f", {drawn} change{'s' if drawn > 1 else ''} to the picture"
    return f"{trial.image_kind} picture, {context}{changes}"


def _overview(
    evaluations: Sequence[Evaluation], labels: Sequence[str], title: str, averages: Sequence[Averages | None]
) -> list[Flowable]:
    """The title and the grid of all trials, on one page."""
    questions = {e.trial.question: e.trial.truth_word for e in evaluations}
    if len(questions) == 1:
        ((question, truth),) = questions.items()
        asked = f"Question: {one_line(question, 300)} Truth: {truth}."
    else:
        asked = f"{len(questions)} different questions."
    words = [judgement(e).word for e in evaluations]
    counts = [f"{words.count(w)} {w}" for w in ("right", "wrong", "unclear", "not judged") if w in words]
    models = sorted({e.model.name for e in evaluations})
    summary = f"{len(evaluations)} trials ({', '.join(counts)}) put to {one_line(', '.join(models), 120)}."
    means = [dataset_mean(own, e, "semantic_entropy") for own, e in zip(averages, evaluations, strict=True)]
    tick = "" if all(mean is None for mean in means) else "; its tick is the dataset's mean"
    reading = (
        "How to read a card: the picture, context and answer of one trial; the badge is the answer's verdict, judged "
        "against the truth; the upper bar is filled to the semantic entropy within its possible range (an empty bar is "
        f"a sure model{tick}); the lower one divides the attention paid to image, context and question. "
        "Click a card to go to its pages."
    )
    head: list[Flowable] = [
        Bookmark("overview", "The investigation at a glance"),
        paragraph(title, TITLE),
        paragraph(asked, BODY),
        paragraph(summary, BODY),
        Spacer(1, 10),
    ]
    foot: list[Flowable] = [Spacer(1, 8), paragraph(reading, NOTE)]
    used = sum(part.wrap(WIDTH, _HEIGHT)[1] for part in (*head, *foot)) + 16
    return [*head, Grid(evaluations, labels, means, WIDTH, _HEIGHT - used), *foot]


class _Pages(Canvas):
    """A canvas that knows how many pages there are by the time it writes them."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.footer = ""

    def showPage(self) -> None:
        """Finish a page; the total is filled in by a form when the document is saved."""
        self._footer()
        super().showPage()

    def _footer(self) -> None:
        self.saveState()
        self.setStrokeColor(RULE)
        self.setLineWidth(0.4)
        self.line(_MARGIN, 36, A4[0] - _MARGIN, 36)
        self.setFont(REGULAR, 7)
        self.setFillColor(FADED)
        self.drawString(_MARGIN, 25, fit(f"ISI Studio {__version__} · {self.footer}", WIDTH - 80, REGULAR, 7))
        self.drawRightString(A4[0] - _MARGIN - 14, 25, f"page {self.getPageNumber()} of")
        self.doForm("total")
        self.restoreState()

    def save(self) -> None:
        """Write the document, the number of pages now being known."""
        self.beginForm("total")
        self.setFont(REGULAR, 7)
        self.setFillColor(FADED)
        self.drawString(A4[0] - _MARGIN - 12, 25, str(self.getPageNumber() - 1))
        self.endForm()
        super().save()


def _typeset(story: list[Flowable], evaluations: Sequence[Evaluation], title: str) -> bytes:
    # Binary streams: the file comes out a fifth smaller and in half the time.
    rl_config.useA85 = 0
    buffer = io.BytesIO()
    frame = Frame(_MARGIN, _BOTTOM, WIDTH, _HEIGHT, leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0)
    models = ", ".join(sorted({e.model.name for e in evaluations}))
    document = BaseDocTemplate(
        buffer,
        pagesize=A4,
        title=title,
        author=f"ISI Studio {__version__}",
        subject=f"{len(evaluations)} trial{'s' if len(evaluations) > 1 else ''} put to {one_line(models, 200)}",
        keywords=[e.trial.digest[:8] for e in evaluations[:50]],
        creator=f"ISI Studio {__version__}",
    )

    def start(canvas: Canvas, _: object) -> None:
        canvas.footer = title  # type: ignore[attr-defined]

    document.addPageTemplates(PageTemplate("page", [frame], onPage=start))
    document.build(story, canvasmaker=_Pages)
    return buffer.getvalue()
