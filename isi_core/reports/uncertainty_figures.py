"""Charts of sampled answers: how they imply each other, their tokens, and what more samples or heat would change.

As in `reports.charts`: each with the sentence that says how to read it, no background of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from isi_core.domain.answer import Answer
from isi_core.domain.uncertainty import LikelihoodKind
from isi_core.measures.answer_groups import ComparedAnswers
from isi_core.measures.convergence import Step
from isi_core.measures.statistics import Interval
from isi_core.reports.chart_parts import GREY, categories, data, finish
from isi_core.reports.charts import MEASURE, Figure
from isi_core.reports.wording import number, one_line

MOST_TEXTS = 24
"""Distinct answers that a matrix shows; more would be too small to read."""
MOST_ANSWERS, MOST_TOKENS = 30, 40
_LABELS = ("contradiction", "neutral", "entailment")
# From sure (pale) to surprising (dark); readable in grey and by the colour-blind.
_SURPRISE = ["#f3e3ec", "#CC79A7", "#5b2340"]


def entailment_figure(answers: ComparedAnswers, ids: Sequence[int]) -> Figure:
    """The entailment matrix of the distinct answers, those of one cluster side by side."""
    import altair as alt

    texts = answers.texts
    first = {text: i for i, text in reversed(list(enumerate(texts)))}
    counts = {text: texts.count(text) for text in first}
    order = sorted(first, key=lambda t: (-counts[t], first[t]))[:MOST_TEXTS]
    order.sort(key=lambda t: (ids[first[t]], first[t]))
    names = {}
    for place, text in enumerate(order, start=1):
        shown = one_line(text, 22) or "(empty answer)"
        names[text] = f"{place}. {shown} ({ids[first[text]] + 1})"
    rows = []
    for a in order:
        for b in order:
            i, j = first[a], _other(texts, first, a) if a == b else first[b]
            label = _LABELS[int(answers.implications[i, j])]
            probability = float(answers.entailment_probabilities[i, j])
            rows.append(
                {
                    "row": names[a],
                    "column": names[b],
                    "label": label,
                    "letter": label[0].upper(),
                    "probability": probability,
                    "shown": number(probability),
                    "first": one_line(a, 90) or "(empty answer)",
                    "second": one_line(b, 90) or "(empty answer)",
                    "dark": probability > 0.55,
                }
            )
    domain = [names[t] for t in order]
    x = alt.X(
        "column:N",
        sort=domain,
        title="does it imply this one?",
        axis=alt.Axis(
            labelExpr="split(datum.label, '.')[0]",
            labelAngle=0,
            domain=False,
            ticks=False,
            orient="top",
            labelPadding=4,
        ),
    )
    y = categories("row", "answer (its cluster)", order=domain, limit=190)
    base = alt.Chart(data(rows)).encode(x=x, y=y)
    tooltip = [
        alt.Tooltip("first:N", title="answer"),
        alt.Tooltip("second:N", title="implies"),
        alt.Tooltip("label:N", title="label"),
        alt.Tooltip("shown:N", title="P(entailment)"),
    ]
    cells = base.mark_rect(color=MEASURE, stroke=GREY, strokeOpacity=0.35).encode(
        opacity=alt.Opacity("probability:Q", scale=alt.Scale(domain=[0, 1], range=[0.04, 1]), legend=None),
        tooltip=tooltip,
    )
    layers = [cells]
    if len(order) <= 16:
        ink = alt.condition("datum.dark", alt.value("black"), alt.value(GREY))
        layers.append(base.mark_text(fontSize=11).encode(text="letter:N", color=ink, tooltip=tooltip))
    side = max(2, len(order))
    left_out = len(first) - len(order)
    reading = (
        "Row implies column: the fuller the colour, the more probable is entailment; E, N and C are the most probable "
        "label (entailment, neutral, contradiction). Answers with the same words share a row."
        + (f" The {len(order)} most frequent of {len(first)} texts are shown." if left_out else "")
    )
    return Figure(finish(alt.layer(*layers), 300, 32 * side), reading, "entailment_matrix")


def _other(texts: Sequence[str], first: Mapping[str, int], text: str) -> int:
    """A repeat of the text, whose comparison with itself was asked; itself where it came once."""
    return next((i for i in range(first[text] + 1, len(texts)) if texts[i] == text), first[text])


def convergence_figure(steps: Sequence[Step]) -> Figure:
    """Semantic entropy against the number of samples: mean and 90 % band of subsets without repeats."""
    import altair as alt

    rows = [
        {"n": s.n, "mean": s.mean, "low": s.low, "high": s.high, "shown": number(s.mean)}
        | {"band": f"{number(s.low)} to {number(s.high)}"}
        for s in steps
    ]
    top = max([s.high for s in steps] + [math.log(2)]) * 1.08
    x = alt.X(
        "n:Q",
        title="number of sampled answers",
        scale=alt.Scale(domain=[min(s.n for s in steps), max(s.n for s in steps)], nice=False),
        axis=alt.Axis(tickMinStep=1, grid=False),
    )
    scale = alt.Scale(domain=[0, top], nice=False)
    axis = alt.Axis(tickCount=5)
    title = "semantic entropy (nats)"
    base = alt.Chart(data(rows)).encode(x=x)
    tooltip = [
        alt.Tooltip("n:Q", title="samples"),
        alt.Tooltip("shown:N", title="mean (nats)"),
        alt.Tooltip("band:N", title="90 % of subsets"),
    ]
    band = base.mark_area(color=MEASURE, opacity=0.28).encode(
        y=alt.Y("low:Q", title=title, scale=scale, axis=axis), y2="high:Q"
    )
    line = base.mark_line(color=MEASURE, strokeWidth=2.5, point=alt.OverlayMarkDef(color=MEASURE, size=34)).encode(
        y=alt.Y("mean:Q", title=title, scale=scale, axis=axis), tooltip=tooltip
    )
    whole = alt.Chart(data([{"whole": steps[-1].mean}])).mark_rule(color=GREY, strokeDash=[5, 4])
    layers = [band, whole.encode(y=alt.Y("whole:Q", title=title, scale=scale)), line]
    if steps[-1].n > 10:
        layers.append(alt.Chart(data([{"n": 10}])).mark_rule(color=GREY, strokeDash=[2, 3]).encode(x="n:Q"))
    reading = (
        "Mean and 90 % band of the entropy of subsets of the answers, drawn without repeats; the dashed level is that "
        f"of all {steps[-1].n}, the dotted upright the published 10 samples. Towards the right the band narrows also "
        "because the subsets come to be the same answers."
    )
    return Figure(finish(alt.layer(*layers), 340, 200), reading, "convergence")


def temperature_figure(points: Sequence[tuple[float, float, float]], n: int) -> Figure:
    """Semantic entropy against sampling temperature; points are (temperature, semantic, discrete semantic entropy)."""
    import altair as alt

    kinds = ("by likelihood", "by count")
    rows = [
        {"temperature": t, "kind": kind, "entropy": value, "shown": number(value)}
        for t, *values in sorted(points)
        for kind, value in zip(kinds, values, strict=True)
    ]
    most = math.log(max(n, 2))
    heats = [t for t, *_ in sorted(points)]
    chart = (
        alt.Chart(data(rows))
        .mark_line(strokeWidth=2.5, point=alt.OverlayMarkDef(size=60, filled=True))
        .encode(
            x=alt.X(
                "temperature:Q",
                title="sampling temperature",
                scale=alt.Scale(zero=False),
                axis=alt.Axis(grid=False, values=heats),
            ),
            y=alt.Y(
                "entropy:Q",
                title="semantic entropy (nats)",
                scale=alt.Scale(domain=[0, most], nice=False),
                axis=alt.Axis(tickCount=5),
            ),
            color=alt.Color(
                "kind:N",
                scale=alt.Scale(domain=list(kinds), range=[MEASURE, GREY]),
                legend=alt.Legend(title=None, orient="top", symbolType="stroke", symbolStrokeWidth=3),
            ),
            strokeDash=alt.StrokeDash(
                "kind:N", scale=alt.Scale(domain=list(kinds), range=[[1, 0], [5, 4]]), legend=None
            ),
            tooltip=[
                alt.Tooltip("temperature:Q"),
                alt.Tooltip("kind:N", title="clusters weighed"),
                alt.Tooltip("shown:N", title="entropy (nats)"),
            ],
        )
    )
    reading = (
        f"Each point is the entropy of {n} answers drawn at that temperature, clusters weighed by likelihood (solid) "
        f"or by count (dashed); the axis ends at ln {n} = {number(most)}, as many meanings as answers. A curve that "
        "rises early belongs to a model that is unsure; one that stays at 0 to one that says the same however it is "
        "drawn from."
    )
    return Figure(finish(chart, 340, 240), reading, "temperature_sweep")


def token_figure(samples: Sequence[Answer], ids: Sequence[int], kind: LikelihoodKind = "sampling") -> Figure:
    """Log-likelihood of every token of every answer, an answer a row; the token itself on hover."""
    import altair as alt

    rows: list[dict[str, Any]] = []
    names = []
    for place, (answer, cluster) in enumerate(zip(samples[:MOST_ANSWERS], ids, strict=False), start=1):
        name = f"{place}. {one_line(answer.text, 24) or '(empty answer)'} ({cluster + 1})"
        names.append(name)
        values = answer.log_likelihoods if kind == "model" else answer.sampling_log_likelihoods
        for token, value in enumerate(values[:MOST_TOKENS]):
            words = answer.tokens[token] if token < len(answer.tokens) else ""
            rows.append(
                {
                    "answer": name,
                    "token": token + 1,
                    "words": token_words(words) if words else f"token {token + 1}",
                    "probability": math.exp(min(value, 0.0)),
                    "likelihood": number(value),
                    "shown": number(math.exp(min(value, 0.0))),
                }
            )
    chart = (
        alt.Chart(data(rows))
        .mark_rect(stroke=GREY, strokeOpacity=0.5)
        .encode(
            x=alt.X("token:O", title="token of the answer", axis=alt.Axis(labelAngle=0, ticks=False, domain=False)),
            y=categories("answer", "answer (its cluster)", order=names, limit=190),
            color=alt.Color(
                "probability:Q",
                # Reversed: what surprised the model stands out.
                scale=alt.Scale(domain=[1, 0], range=_SURPRISE),
                legend=alt.Legend(title="probability", orient="right", gradientLength=70, gradientThickness=10),
            ),
            tooltip=[
                alt.Tooltip("words:N", title="token"),
                alt.Tooltip("likelihood:N", title="log-likelihood (nats)"),
                alt.Tooltip("shown:N", title="probability"),
            ],
        )
    )
    which = "the distribution it was drawn from" if kind == "sampling" else "the model's own distribution"
    cut = len(samples) > MOST_ANSWERS or any(len(a.log_likelihoods) > MOST_TOKENS for a in samples)
    reading = (
        f"One row an answer, one cell a token, dark where the token was improbable under {which}; hover for the token "
        "and its log-likelihood. A dark cell is where the answer could have gone another way."
        + (f" The first {MOST_ANSWERS} answers and {MOST_TOKENS} tokens are shown; the CSV has all." if cut else "")
    )
    return Figure(finish(chart, 340, max(120, 24 * len(names))), reading, "token_likelihoods")


def token_words(token: str) -> str:
    """A token as a reader would write it: word-boundary marks are spaces, white space is shown."""
    words = one_line(token.replace("▁", " ").replace("Ġ", " ").replace("Ċ", "\n"), 24)
    return words or "␣"


def difference_figure(interval: Interval, first: str, second: str, most: float) -> Figure:
    """The difference of two semantic entropies with its interval, on a scale around zero."""
    import altair as alt

    scale = alt.Scale(domain=[-most, most], nice=False)
    title = f"semantic entropy of the first minus the second (nats, −{number(most)} to {number(most)})"
    row = {
        "estimate": interval.estimate,
        "low": max(-most, interval.low) if interval.bounded else interval.estimate,
        "high": min(most, interval.high) if interval.bounded else interval.estimate,
        "shown": number(interval.estimate),
        "bounds": f"{number(interval.low)} to {number(interval.high)}",
    }
    tooltip = [alt.Tooltip("shown:N", title="difference"), alt.Tooltip("bounds:N", title="95 % interval")]
    base = alt.Chart(data([row]))
    axis = alt.Axis(tickCount=7, grid=False)
    zero = alt.Chart(data([{"zero": 0}])).mark_rule(color=GREY, strokeDash=[4, 3])
    layers = [
        zero.encode(x=alt.X("zero:Q", scale=scale, title=title, axis=axis)),
        base.mark_rule(color=MEASURE, strokeWidth=5, opacity=0.5).encode(
            x=alt.X("low:Q", scale=scale, title=title, axis=axis), x2="high:Q", tooltip=tooltip
        ),
        base.mark_point(shape="diamond", filled=True, size=170, color=MEASURE, opacity=1, stroke="white").encode(
            x=alt.X("estimate:Q", scale=scale, title=title, axis=axis), tooltip=tooltip
        ),
    ]
    return Figure(finish(alt.layer(*layers), 340, 46), difference_reading(interval, first, second), "difference")


def difference_reading(interval: Interval, first: str, second: str) -> str:
    """The difference in words, how its interval came about, and what it cannot see."""
    a, b = one_line(first, 80), one_line(second, 80)
    if interval.estimate == 0:
        words = f"“{a}” and “{b}” are equally uncertain"
    else:
        more = "more" if interval.estimate > 0 else "less"
        words = f"“{a}” is {number(abs(interval.estimate))} nats {more} uncertain than “{b}”"
    if not interval.bounded:
        return f"{words}; with fewer than 4 answers on a side there is no interval."
    apart = interval.low > 0 or interval.high < 0
    says = "zero lies outside of it" if apart else "zero lies inside: the two may be equally uncertain"
    return (
        f"{words}, 95 % interval {number(interval.low)} to {number(interval.high)}; {says}. It comes from 2,000 "
        "halves of each trial's answers drawn without repeats, in the clusters of all. The usual bootstrap draws with "
        "repeats; a repeated answer always agrees with itself, so that every resample would look surer than the trial. "
        "Meanings that no answer had yet are not in it."
    )
