"""Entailment by a language model behind an OpenAI-compatible server: an LLM judge.

Farquhar et al. (Nature 630, 2024) also let language models judge entailment; the wording of the question is that of
their published code.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isi_core.domain.errors import ModelError
from isi_core.domain.evaluation import ModelRecord
from isi_core.domain.progress import Progress
from isi_core.models.entailment.judge_address import judge_name
from isi_core.models.entailment.protocol import CLASSES, CONTRADICTION, ENTAILMENT, NEUTRAL, Pair
from isi_core.models.vlm.endpoint_address import Endpoint
from isi_core.models.vlm.endpoint_chat import Chat, ChatReply, Message
from isi_core.models.vlm.endpoint_http import Patience

REMEMBERED = 20_000
"""Pairs whose verdict is kept, the last ones."""
MOST_TOKENS = 256
_LONGEST = 2_000  # characters of a text that a judge reads
_SURE = 0.5  # of the first token's probability has to lie on the classes' own words

_NOT_TOLD = "not told"
_THOUGHTS = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|$)", re.DOTALL | re.IGNORECASE)
_WORDS = {CONTRADICTION: r"contradict\w*", NEUTRAL: r"neutral\w*|unrelated", ENTAILMENT: r"entail\w*|impl(?:y|ies)"}
_CLASS = re.compile("|".join(f"(?P<c{number}>\\b(?:{words}))" for number, words in _WORDS.items()))
_NEGATED = re.compile(r"(?:\b(?:not|no|never|neither|nor|cannot|without)|n['’]t)\b(?:\W+\w+){0,3}?\W+$")
_LEAD = re.compile(r"\W*(?:(?:answer|response|label|class|relation|verdict)\W+(?:is\W+)?)?")


class JudgeEntailment:
    """A server's language model behind the `EntailmentModel` protocol. Nothing is loaded.

    Where the server tells the likelihoods of its first token, the classes' probabilities are read from them; else its
    word counts as certain. A pair is asked once and remembered, for each question it was asked about.
    """

    def __init__(self, endpoint: Endpoint, patience: Patience | None = None) -> None:
        self._endpoint = endpoint
        self._chat = Chat(endpoint, patience)
        self._known: OrderedDict[tuple[str, str, str], NDArray[np.float64]] = OrderedDict()
        self._served = ""
        self._closed = False

    @property
    def record(self) -> ModelRecord:
        """Which model, as far as the server tells."""
        return ModelRecord(
            name=judge_name(self._endpoint),
            source=self._endpoint.base_url,
            revision=self._served or _NOT_TOLD,
            dtype="as served",
            attention=_NOT_TOLD,
            device="endpoint",
        )

    def about(self, question: str) -> AboutQuestion:
        """This judge, told the question that the pairs' texts answer."""
        return AboutQuestion(self, question)

    def classify(self, pairs: Sequence[Pair], progress: Progress | None = None) -> NDArray[np.float64]:
        """(n, 3) probabilities of `CLASSES` for pairs of texts that answer no question known to the judge."""
        return self.judge("", pairs, progress)

    def implications(self, pairs: Sequence[Pair], progress: Progress | None = None) -> NDArray[np.int64]:
        """(n,) most probable class of each pair: 0 contradiction, 1 neutral, 2 entailment."""
        classes: NDArray[np.int64] = self.classify(pairs, progress).argmax(axis=1).astype(np.int64)
        return classes

    def judge(self, question: str, pairs: Sequence[Pair], progress: Progress | None = None) -> NDArray[np.float64]:
        """(n, 3) probabilities of contradiction, neutral and entailment for pairs of answers to a question.

        A reply that names none of the three counts as neutral, as in the published code.

        Raises
        ------
        ModelError : the server cannot be reached or refuses; none of its replies names one of the three.
        """
        if self._closed:
            raise ModelError(f"{judge_name(self._endpoint)} was released: choose it again.")
        keys = [(question, premise, hypothesis) for premise, hypothesis in pairs]
        found = {key: self._known[key] for key in keys if key in self._known}
        missing = [key for key in dict.fromkeys(keys) if key not in found]

        def told(done: int, waiting: str) -> None:
            if progress is not None:
                progress(waiting or f"Judging answers: {done} of {len(missing)} pairs", done / max(1, len(missing)))

        replies = self._chat.ask([judge_messages(*key) for key in missing], MOST_TOKENS, told) if missing else []
        read = [class_probabilities(reply) for reply in replies]
        if replies and all(row is None for row in read):
            raise ModelError(_unread(self._endpoint, replies))
        for key, row, reply in zip(missing, read, replies, strict=True):
            self._served = reply.model if reply.model not in ("", self._endpoint.model) else self._served
            found[key] = np.eye(len(CLASSES))[NEUTRAL] if row is None else row
            if row is not None:
                self._known[key] = row
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        if progress is not None and pairs:
            progress(f"Judged {len(missing)} pairs of answers", 1.0)
        return np.array([found[key] for key in keys]).reshape(-1, len(CLASSES))

    def close(self) -> None:
        """The judge cannot be used afterwards."""
        self._closed = True
        self._known.clear()


class AboutQuestion:
    """A judge and the question whose answers it compares; an `EntailmentModel` too."""

    def __init__(self, judge: JudgeEntailment, question: str) -> None:
        self._judge, self._question = judge, question

    @property
    def record(self) -> ModelRecord:
        """The judge's."""
        return self._judge.record

    def classify(self, pairs: Sequence[Pair], progress: Progress | None = None) -> NDArray[np.float64]:
        """(n, 3) probabilities of `CLASSES` for pairs of answers."""
        return self._judge.judge(self._question, pairs, progress)

    def implications(self, pairs: Sequence[Pair], progress: Progress | None = None) -> NDArray[np.int64]:
        """(n,) most probable class of each pair."""
        classes: NDArray[np.int64] = self.classify(pairs, progress).argmax(axis=1).astype(np.int64)
        return classes


def judge_messages(question: str, premise: str, hypothesis: str) -> list[Message]:
    """What the judge is asked, in the words of Farquhar et al.'s published code; texts on one line each."""
    about = f'We are evaluating answers to the question "{_line(question)}"\n' if question.strip() else ""
    kind = "Possible Answer" if about else "Text"
    text = (
        f"{about}Here are two {'possible answers' if about else 'texts'}:\n"
        f"{kind} 1: {_line(premise)}\n{kind} 2: {_line(hypothesis)}\n"
        f"Does {kind} 1 semantically entail {kind} 2? Respond with entailment, contradiction, or neutral."
    )
    return [{"role": "user", "content": text}]


def class_probabilities(reply: ChatReply) -> NDArray[np.float64] | None:
    """(3,) probabilities of `CLASSES` from a reply: the first token's where they are told, else the word's; None
    where it names no class."""
    mass = np.zeros(len(CLASSES))
    for token, value in reply.first:
        begun = re.sub(r"\W", "", token).lower()
        fitting = [i for i, name in enumerate(CLASSES) if begun and name.startswith(begun)]
        if len(fitting) == 1:
            mass[fitting[0]] += math.exp(value)
    said = read_class(reply.text)
    # Where the reply says something first, its first token tells nothing of the class.
    if mass.sum() >= _SURE and said in (None, int(mass.argmax())):
        probabilities: NDArray[np.float64] = mass / mass.sum()
        return probabilities
    return None if said is None else np.eye(len(CLASSES))[said]


def read_class(text: str) -> int | None:
    """The class that a judge's words name, leniently: the word it begins with, else the last one that is not negated.

    “Not entailment”, with nothing else said, is neutral. None where it names no class.
    """
    words = _THOUGHTS.sub(" ", text).lower()
    lead = _LEAD.match(words)
    if lead is not None and (first := _CLASS.match(words, lead.end())):
        return _number(first)
    named: list[int] = []
    denied: list[int] = []
    for match in _CLASS.finditer(words):
        (denied if _NEGATED.search(words[: match.start()]) else named).append(_number(match))
    if named:
        return named[-1]
    return NEUTRAL if ENTAILMENT in denied else None


def _number(match: re.Match[str]) -> int:
    return int(str(match.lastgroup)[1:])


def _line(text: str) -> str:
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())[:_LONGEST]


def _unread(endpoint: Endpoint, replies: Sequence[ChatReply]) -> str:
    said = " ".join(replies[0].text.split())[:80]
    if replies[0].text.lstrip().startswith("<think"):
        return f"{endpoint.model} at {endpoint.base_url} thinks too long to judge: switch its thinking off there."
    return (
        f"{endpoint.model} at {endpoint.base_url} answers none of {len(replies)} pairs with entailment, neutral or "
        f"contradiction (it said “{said}”): choose a larger model as judge."
    )
