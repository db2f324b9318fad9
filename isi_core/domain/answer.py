"""Answer: what a model said, token by token, and its verdict on a yes/no question."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Verdict = Literal["yes", "no", "unclear"]

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_YES = {"yes", "yeah", "yep", "yup", "true", "correct", "indeed", "certainly", "definitely", "absolutely", "right"}
_NO = {"no", "nope", "nah", "false", "incorrect", "wrong", "not"}


def parse_verdict(text: str) -> Verdict:
    """Read yes or no from an answer in words.

    The first word decides when it is a clear one ("Yes, it is"); else the answer
    counts as yes or no when only one of the two words occurs in its first sentence.
    """
    words = [w.lower() for w in _WORD.findall(text)]
    if not words:
        return "unclear"
    if words[0] in _YES:
        return "yes"
    if words[0] in _NO:
        return "no"
    first_sentence = re.split(r"[.!?\n]", text.strip(), maxsplit=1)[0]
    leading = [w.lower() for w in _WORD.findall(first_sentence)]
    yes, no = "yes" in leading, "no" in leading
    if yes != no:
        return "yes" if yes else "no"
    return "unclear"


@dataclass(frozen=True)
class Answer:
    """One generated answer.

    Attributes
    ----------
    text : the decoded answer, special tokens removed, stripped.
    token_ids : the generated tokens, the end token included where one was generated.
    tokens : each token as text.
    log_likelihoods : log p of each token under the model's own distribution (raw
        logits), in nats; empty where an endpoint gives none.
    sampling_log_likelihoods : log p of each token under the distribution it was drawn
        from (after temperature, top-k and top-p), in nats; for greedy and beam answers
        equal to `log_likelihoods`.
    finished : the answer ended by itself, not by the length limit.
    """

    text: str
    token_ids: tuple[int, ...] = ()
    tokens: tuple[str, ...] = ()
    log_likelihoods: tuple[float, ...] = ()
    sampling_log_likelihoods: tuple[float, ...] = ()
    finished: bool = True

    @property
    def verdict(self) -> Verdict:
        """yes, no or unclear, read from the text."""
        return parse_verdict(self.text)

    def mean_log_likelihood(self, kind: Literal["model", "sampling"] = "model") -> float:
        """Mean token log-likelihood, in nats per token; NaN where there are none."""
        values = self.log_likelihoods if kind == "model" else self.sampling_log_likelihoods
        return float(np.mean(values)) if len(values) else float("nan")

    def to_json(self) -> dict[str, Any]:
        """The answer as plain JSON values."""
        return {
            "text": self.text,
            "verdict": self.verdict,
            "token_ids": list(self.token_ids),
            "tokens": list(self.tokens),
            "log_likelihoods": list(self.log_likelihoods),
            "sampling_log_likelihoods": list(self.sampling_log_likelihoods),
            "finished": self.finished,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Answer:
        """The answer from `to_json`'s form."""
        return cls(
            text=data["text"],
            token_ids=tuple(data["token_ids"]),
            tokens=tuple(data["tokens"]),
            log_likelihoods=tuple(data["log_likelihoods"]),
            sampling_log_likelihoods=tuple(data["sampling_log_likelihoods"]),
            finished=data["finished"],
        )
