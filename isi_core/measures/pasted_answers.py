"""Answers from anywhere, pasted as text: one a line, with or without their log-likelihoods."""

from __future__ import annotations

import json
import math
from typing import Any

from isi_core.domain.answer import Answer
from isi_core.domain.errors import InputError

MOST_ANSWERS = 200
LONGEST_ANSWER = 2_000
LEAST_LIKELY = -1e6  # nats; no real token is less likely


def read_answers(text: str) -> tuple[Answer, ...]:
    """Answers from lines of `answer`, `log-likelihood<TAB>answer` or `[token log-likelihoods]<TAB>answer`.

    Natural logarithms, at most 0, for every answer or for none; a single number counts as one
    token, whichever way lengths are treated. Empty lines are left out. The likelihoods stand
    for both kinds, the model's own and those of sampling.

    Raises
    ------
    InputError : nothing is there, too much is, or a line cannot be read; the message names the line.
    """
    lines = [(number, line.strip("\r ")) for number, line in enumerate(text.split("\n"), start=1)]
    lines = [(number, line) for number, line in lines if line.strip()]
    if len(lines) < 2:
        raise InputError("Paste at least two answers, one a line: with one there is nothing to compare.")
    if len(lines) > MOST_ANSWERS:
        raise InputError(f"These are {len(lines):,} answers: paste at most {MOST_ANSWERS}.")
    read = [_read(number, line) for number, line in lines]
    if any(answer.log_likelihoods for answer in read):
        for (number, _), answer in zip(lines, read, strict=True):
            if not answer.log_likelihoods:
                raise InputError(f"Line {number} has no log-likelihood: give one for every answer or for none.")
    return tuple(read)


def _read(number: int, line: str) -> Answer:
    head, tab, rest = line.partition("\t")
    values = _likelihoods(head.strip()) if tab else None
    words = line if values is None else rest
    if len(words) > LONGEST_ANSWER:
        raise InputError(f"The answer in line {number} is too long: at most {LONGEST_ANSWER:,} characters fit.")
    if values is None:
        return Answer(" ".join(words.split()))
    # Barely above 0 is rounding of a certain token.
    if not values or not all(LEAST_LIKELY <= v <= 1e-6 for v in values):
        raise InputError(f"Line {number}: log-likelihoods must be numbers of at most 0, in nats, before the tab.")
    return Answer(" ".join(words.split()), log_likelihoods=values, sampling_log_likelihoods=values)


def _likelihoods(head: str) -> tuple[float, ...] | None:
    """The numbers in front of a tab; NaN for what is meant as a number and is none; None where it is words."""
    try:
        read: Any = json.loads(head)
    except (ValueError, RecursionError):
        return (math.nan,) if head.startswith("[") else None
    if not isinstance(read, list):
        read = [read]
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in read):
        return (math.nan,) if head.startswith("[") else None
    try:
        return tuple(float(v) for v in read)
    except OverflowError:
        return (math.nan,)
