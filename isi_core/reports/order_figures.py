"""Charts of step order: accuracies with intervals, learning curves, and the words of the titles.

As in `reports.charts`: each with the sentence that says how to read it, no background of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isi_core.datasets.step_statistics import TitleWords
from isi_core.domain.palette import CONTEXT, IMAGE
from isi_core.reports.chart_parts import GREY, categories, data, finish
from isi_core.reports.charts import MEASURE, Figure
from isi_core.reports.order_tables import SHORT
from isi_core.reports.wording import number, one_line
from isi_core.studies.step_order.results import ALL, CategoryAccuracy, TrainingCurve

# Vision and text have the colours that image and context have on every page; both together, that of no modality.
MODALITY_COLOURS = {"V": IMAGE, "T": CONTEXT, "V+T": MEASURE}
MOST_WORDS = 14
_KIND_WORDS = {"picture": "picture decides", "words": "words decide", "both": "needs both"}


def modality_colour(shown: Sequence[str], legend: bool = True) -> Any:
    """The colour channel of modalities named V, T, V+T."""
    import altair as alt

    names = [name for name in MODALITY_COLOURS if name in shown]
    scale = alt.Scale(domain=names, range=[MODALITY_COLOURS[name] for name in names])
    return alt.Color("modality:N", scale=scale, legend=alt.Legend(title=None, orient="top") if legend else None)


def category_words(category: str, kind: str) -> str:
    """A category with what decides it."""
    name = "all categories" if category == ALL else one_line(category, 32)
    return f"{name} ({_KIND_WORDS[kind]})" if kind in _KIND_WORDS else name


def accuracy_figure(accuracies: Sequence[CategoryAccuracy], encoder: str) -> Figure:
    """Accuracy of one encoder in each category, one dot a modality, with its 95 % interval; chance is 0.5."""
    import altair as alt

    rows = [
        {
            "category": category_words(row.category, row.kind),
            "modality": SHORT[row.modality],
            "accuracy": row.accuracy,
            "low": row.low,
            "high": row.high,
            "shown": f"{number(row.accuracy)} [{number(row.low)}, {number(row.high)}]",
            "n": row.n,
        }
        for row in accuracies
        if row.encoder == encoder
    ]
    order = list(dict.fromkeys(str(row["category"]) for row in rows))
    shown = sorted({str(row["modality"]) for row in rows}, key=list(MODALITY_COLOURS).index)
    x_scale = alt.Scale(
        domain=[min([0.4, *(row.low for row in accuracies if row.encoder == encoder)]), 1.0], nice=False
    )
    x = alt.X("accuracy:Q", title="accuracy (0 to 1; 0.5 is chance)", scale=x_scale, axis=alt.Axis(tickCount=6))
    y = categories("category", "", order=order, limit=240)
    offset = alt.YOffset("modality:N", scale=alt.Scale(domain=shown, paddingOuter=0.3))
    base = alt.Chart(data(rows)).encode(y=y, yOffset=offset, color=modality_colour(shown))
    tooltip = [
        alt.Tooltip("category:N"),
        alt.Tooltip("modality:N"),
        alt.Tooltip("shown:N", title="accuracy [95 %]"),
        alt.Tooltip("n:Q", title="pairs"),
    ]
    chance = alt.Chart(data([{"accuracy": 0.5}])).mark_rule(color=GREY, strokeDash=[5, 4]).encode(x=x)
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", scale=x_scale), x2="high:Q", tooltip=tooltip)
    dots = base.mark_point(filled=True, size=70, opacity=1).encode(x=x, tooltip=tooltip)
    chart = finish(alt.layer(chance, bars, dots), 360, max(60, 17 * len(rows) + 10))
    reading = (
        f"One dot a modality of {one_line(encoder, 60)}, its line the 95 % interval over the test pairs; what touches "
        "the dashed line cannot be told from guessing."
    )
    return Figure(chart, reading, f"accuracy_{_file_name(encoder)}")


def curves_figure(curves: Sequence[TrainingCurve], encoder: str) -> Figure:
    """Loss and validation accuracy of one encoder's trainings over the epochs, one line a modality."""
    import altair as alt

    rows = [
        {
            "epoch": point.epoch,
            "modality": SHORT[curve.modality],
            "run": f"{curve.modality} {curve.category} {curve.seed}",
            "loss": point.loss,
            "validation": point.validation_accuracy,
            "best": point.step == curve.best_step,
            "shown": number(point.loss),
            "shown_validation": number(point.validation_accuracy),
        }
        for curve in curves
        if curve.encoder == encoder
        for point in curve.points
    ]
    shown = sorted({str(row["modality"]) for row in rows}, key=list(MODALITY_COLOURS).index)
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, grid=False))
    base = alt.Chart(data(rows)).encode(x=x, color=modality_colour(shown), detail="run:N")
    losses = base.mark_line(strokeWidth=2).encode(
        y=alt.Y("loss:Q", title="training loss (nats)", scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=5)),
        tooltip=[alt.Tooltip("modality:N"), alt.Tooltip("shown:N", title="loss")],
    )
    guess = alt.Chart(data([{"loss": 0.6931}])).mark_rule(color=GREY, strokeDash=[5, 4]).encode(y="loss:Q")
    checked = alt.Chart(data([row for row in rows if row["validation"] is not None])).encode(
        x=x, color=modality_colour(shown), detail="run:N"
    )
    y = alt.Y(
        "validation:Q",
        title="validation accuracy (0 to 1)",
        scale=alt.Scale(domain=[0.4, 1], clamp=True, nice=False),
        axis=alt.Axis(tickCount=6),
    )
    tooltip = [alt.Tooltip("modality:N"), alt.Tooltip("shown_validation:N", title="validation accuracy")]
    lines = checked.mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=36)).encode(y=y, tooltip=tooltip)
    kept = (
        checked.transform_filter("datum.best")
        .mark_point(shape="diamond", filled=True, size=150, opacity=1, stroke="white", strokeWidth=1.5)
        .encode(y=y, tooltip=tooltip)
    )
    half = alt.Chart(data([{"validation": 0.5}])).mark_rule(color=GREY, strokeDash=[5, 4]).encode(y="validation:Q")
    left = alt.layer(guess, losses).properties(width=210, height=170)
    right = alt.layer(half, lines, kept).properties(width=210, height=170)
    reading = (
        "On the left the training loss, on the right the accuracy on the validation pairs after each epoch; dashed is "
        "guessing, the diamond is the epoch whose weights were kept."
    )
    joined = alt.hconcat(left, right, spacing=36).configure(background="transparent", text={"color": GREY})
    return Figure(joined, reading, f"curves_{_file_name(encoder)}")


def words_figure(words: TitleWords) -> Figure:
    """The most frequent verbs and nouns of the titles as plain bars."""
    import altair as alt

    parts = []
    for title, counts, colour in (("verbs", words.verbs, IMAGE), ("nouns", words.nouns, CONTEXT)):
        rows = [{"word": one_line(word, 18), "count": count} for word, count in counts[:MOST_WORDS]]
        y = categories("word", "", order=[str(row["word"]) for row in rows], limit=110)
        base = alt.Chart(data(rows))
        bars = base.mark_bar(color=colour, height={"band": 0.7}).encode(
            x=alt.X("count:Q", title=f"titles with the {title[:-1]}", axis=alt.Axis(tickCount=4, tickMinStep=1)), y=y
        )
        text = base.mark_text(align="left", dx=4).encode(x="count:Q", y=y, text="count:Q")
        parts.append(alt.layer(bars, text).properties(width=170, height=17 * max(2, len(rows)), title=title))
    joined = alt.hconcat(*parts, spacing=40).configure(background="transparent", text={"color": GREY})
    reading = (
        f"How many titles use each verb and noun; the {MOST_WORDS} most frequent of {len(words.verbs)} verbs and "
        f"{len(words.nouns)} nouns, told apart by {'NLTK' if words.tagger == 'NLTK' else 'the ' + words.tagger}."
    )
    return Figure(joined, reading, "title_words")


def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in text.lower())[:60]
