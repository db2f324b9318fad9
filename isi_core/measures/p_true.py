"""p(True): the model is shown a question, its sampled answers and a proposed one, and asked whether that is true.

Kadavath et al., "Language Models (Mostly) Know What They Know" (arXiv 2207.05221, 2022). The wording and the number
are those of Farquhar et al.'s published code (Nature 630, 2024): after

    Question: {question}
    Brainstormed Answers: {answer}          (the samples, one a line, and the proposed one once more)
    Possible answer: {proposed}
    Is the possible answer:
    A) True
    B) False
    The possible answer is:

the measure is the probability of the token A, among all tokens, not only A and B. Differences to that code: the
vision-language model sees the trial's picture and context too, as when it answered; its chat template stands around
the text, so that A begins the reply (with or without a blank before it: both count); and no examples stand in front
by default (zero-shot). With examples (few-shot) the text has their solved forms first, without their pictures, since
many models take one picture a prompt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from isi_core.domain.answer import Answer
from isi_core.domain.errors import InputError
from isi_core.domain.p_true import PTrue
from isi_core.domain.progress import Progress
from isi_core.domain.trial import Trial
from isi_core.models.vlm.first_words import first_word_likelihoods
from isi_core.models.vlm.protocol import VisionLanguageModel

LETTERS = ("A", "B")
"""What the reply begins with where the proposed answer is true, and where it is false."""


@dataclass(frozen=True)
class Shot:
    """A solved example: a question, answers to it, the proposed one, and whether that was true."""

    question: str
    answers: tuple[str, ...]
    proposed: str
    true: bool


def p_true_text(question: str, answers: Sequence[str], proposed: str, shots: Sequence[Shot] = ()) -> str:
    """The text that the model is asked; see the module for its form."""
    solved = [
        f"{_form(shot.question, shot.answers, shot.proposed)} {LETTERS[0] if shot.true else LETTERS[1]}\n\n"
        for shot in shots
    ]
    return "".join(solved) + _form(question, answers, proposed)


def _form(question: str, answers: Sequence[str], proposed: str) -> str:
    brainstormed = "\n".join(_line(answer) for answer in [*answers, proposed])
    return (
        f"Question: {_line(question)}\nBrainstormed Answers: {brainstormed}\nPossible answer: {_line(proposed)}\n"
        f"Is the possible answer:\n{LETTERS[0]}) True\n{LETTERS[1]}) False\nThe possible answer is:"
    )


def _line(text: str) -> str:
    return " ".join(text.split())


def measure_p_true(
    trial: Trial,
    samples: Sequence[Answer],
    proposed: str,
    vlm: VisionLanguageModel,
    shots: Sequence[Shot] = (),
    progress: Progress | None = None,
) -> PTrue:
    """Ask the model whether the proposed answer to the trial is true; costs one prefill.

    Raises
    ------
    InputError : there are no samples, or the text is too long for the model.
    ModelError : the model does not tell the likelihoods of its first token, or has no token for A and B.
    """
    if not samples:
        raise InputError("p(True) needs sampled answers to show to the model: draw some first.")
    text = p_true_text(trial.question, [answer.text for answer in samples], proposed, shots)
    likelihoods = first_word_likelihoods(vlm, replace(trial, question=text), LETTERS, progress)
    true, false = (math.exp(value) for value in likelihoods)
    return PTrue(true, false, proposed, len(samples), len(shots))
