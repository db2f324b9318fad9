"""Results in words: numbers to three significant digits, verdicts, interventions, provenance."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isi_core.domain.decoding import Decoding
from isi_core.domain.evaluation import Evaluation
from isi_core.domain.interventions import (
    Arrow,
    Blur,
    Box,
    ContextPreset,
    EditText,
    Freehand,
    GaussianNoise,
    ImagePreset,
    Intervention,
    Occlusion,
    QuestionPreset,
    TextLabel,
)
from isi_core.domain.palette import RIGHT, UNCLEAR, WRONG
from isi_core.domain.uncertainty import UncertaintySettings

if TYPE_CHECKING:
    from isi_core.measures.statistics import Rank

NOT_MEASURED = "–"


def number(value: float | None) -> str:
    """A value to three significant digits, such as 0.500, 12.3, 1,230 or 2.30e-5; a dash for none and NaN."""
    if value is None or math.isnan(value):
        return NOT_MEASURED
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) < 1e-12:  # what rounding leaves of a zero
        return "0"
    sign = "−" if value < 0 else ""
    rounded = float(f"{abs(value):.2e}")
    if rounded >= 100:
        return f"{sign}{rounded:,.0f}"
    if rounded < 1e-3:
        mantissa, exponent = f"{rounded:.2e}".split("e")
        return f"{sign}{mantissa}e{int(exponent)}"
    return f"{sign}{rounded:.{2 - math.floor(math.log10(rounded))}f}"


def plain(value: float) -> str:
    """A setting as it was set: 0.9, 50, 1.05; no digits are added or lost."""
    return repr(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def percent(fraction: float) -> str:
    """A fraction as a percentage with up to three significant digits: 30 %, 12.5 %."""
    return f"{fraction * 100:.3g} %"


def duration(seconds: float) -> str:
    """A time span in words: 40 s, 12 min, 3.5 h, 2.1 days."""
    for most, size, unit in ((90, 1, "s"), (90 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < most:
            return f"{max(1, round(seconds)) if seconds > 0 else 0} s" if size == 1 else f"{seconds / size:.2g} {unit}"
    return f"{seconds / 86400:,.1f} days"


def rank_words(rank: Rank) -> str:
    """How much of a population lies below a value, and how much is level with it: above 1 % and the same as 98 %.

    A single value that is the same is left out: most often it is the trial itself, among its dataset's.
    """
    if rank.same == rank.n > 1:
        return "the same as all"
    above = {0: "above none", rank.n: "above all"}.get(rank.below, f"above {percent(rank.below / rank.n)}")
    return f"{above} and the same as {percent(rank.same / rank.n)}" if rank.same > 1 else above


def preset_words(key: str) -> str:
    """A preset, "image kind/context kind", in words: the natural picture and no context."""
    image, context = key.split("/")
    return f"the {image} picture and {'no' if context == 'none' else context} context"


def one_line(text: str, limit: int = 60) -> str:
    """Text on one line, white space and control characters collapsed, cut with an ellipsis at `limit` characters."""
    spaced = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text)
    line = " ".join(spaced.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


@dataclass(frozen=True)
class Judgement:
    """Whether an answer is right, in a word, a sign and a colour."""

    word: str
    sign: str
    colour: str


def judgement(evaluation: Evaluation) -> Judgement:
    """Right, wrong or unclear; `not judged` where there is no answer or no truth to judge it by."""
    truth = evaluation.trial.truth
    if evaluation.answer is None or truth is None:
        return Judgement("not judged", "–", UNCLEAR)
    verdict = evaluation.answer.verdict
    if verdict == "unclear":
        return Judgement("unclear", "?", UNCLEAR)
    if (verdict == "yes") == truth:
        return Judgement("right", "✓", RIGHT)
    return Judgement("wrong", "✗", WRONG)


def verdict_words(evaluation: Evaluation) -> str:
    """The answer's verdict and whether it is right: `no: wrong`, or `unclear` alone."""
    if evaluation.answer is None:
        return "not asked"
    word = judgement(evaluation).word
    verdict = evaluation.answer.verdict
    return verdict if verdict == word else f"{verdict}: {word}"


def decoding_words(decoding: Decoding) -> str:
    """The decoding in one phrase, every setting that shapes an answer but the seed."""
    answer = decoding.strategy if decoding.strategy != "beam" else f"beam ({decoding.num_beams} beams)"
    repetition = (
        "" if decoding.repetition_penalty == 1 else f", repetition penalty {plain(decoding.repetition_penalty)}"
    )
    return (
        f"{answer}, {decoding.n_samples} samples at temperature {plain(decoding.temperature)}, "
        f"top-k {decoding.top_k or 'off'}, top-p {plain(decoding.top_p)}{repetition}, "
        f"at most {decoding.max_new_tokens} tokens"
    )


def grouping_words(settings: UncertaintySettings) -> str:
    """How answers are grouped and weighed, in one phrase."""
    return f"rule {settings.rule}, likelihoods {settings.likelihood}, entailment by {settings.entailment_model}"


def provenance(evaluation: Evaluation) -> str:
    """The line every result carries: model, revision, dtype, decoding, seed, digest, time."""
    model = evaluation.model
    quantization = "" if model.quantization == "none" else f" ({model.quantization})"
    return " · ".join(
        (
            model.name,
            f"revision {model.revision[:8]}",
            f"{model.dtype}{quantization}",
            decoding_words(evaluation.decoding),
            f"seed {evaluation.decoding.seed}",
            f"digest {evaluation.trial.digest[:8]}",
            evaluation.created or "time not recorded",
        )
    )


def _place(x: float, y: float) -> str:
    return f"({percent(x)}, {percent(y)})"


def _area(area: Box | Blur | Occlusion) -> str:
    return f"from {_place(area.left, area.top)} to {_place(area.right, area.bottom)}"


def _seeded(kind: str, seed: int) -> str:
    return f"{kind} (seed {seed})" if kind == "random" else kind


def intervention_words(change: Intervention) -> str:
    """One intervention in words; places are (across, down) in per cent of the picture, sizes of its shorter side."""
    match change:
        case Box():
            outline = f"outline {percent(change.width)} wide"
            return (
                f"Box {_area(change)}, {'filled' if change.filled else outline}, "
                f"colour {change.colour}, opacity {plain(change.opacity)}"
            )
        case TextLabel():
            return (
                f"Text “{change.text}” at {_place(change.x, change.y)}, "
                f"size {percent(change.size)}, colour {change.colour}"
            )
        case Arrow():
            return (
                f"Arrow from {_place(change.x1, change.y1)} to {_place(change.x2, change.y2)}, width "
                f"{percent(change.width)}, head {percent(change.head)}, colour {change.colour}"
            )
        case Freehand():
            start, end = _place(*change.points[0]), _place(*change.points[-1])
            return (
                f"Freehand stroke of {len(change.points)} points from {start} to {end}, width "
                f"{percent(change.width)}, colour {change.colour}"
            )
        case GaussianNoise():
            return f"Gaussian noise, standard deviation {plain(change.sigma)} of 255 grey levels, seed {change.seed}"
        case Blur():
            return f"Blur {_area(change)}, standard deviation {percent(change.radius)}"
        case Occlusion():
            return f"Occlusion {_area(change)}, colour {change.colour}"
        case ImagePreset():
            return f"Picture preset: {_seeded(change.kind, change.seed)}"
        case ContextPreset():
            return f"Context preset: {_seeded(change.kind, change.seed)}"
        case QuestionPreset():
            return f"Question preset: {_seeded(change.kind, change.seed)}"
        case EditText():
            return f"{change.field.capitalize()} typed by hand ({len(change.text):,} characters)"
