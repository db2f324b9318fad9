"""Short questions to an endpoint beside any trial: a judge's verdicts, the likelihoods of an answer's first token."""

from __future__ import annotations

import json
import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from isi_core.domain.errors import ModelError
from isi_core.models.vlm.endpoint_address import Endpoint
from isi_core.models.vlm.endpoint_http import Line, Patience, Reply
from isi_core.models.vlm.endpoint_key import endpoint_key
from isi_core.models.vlm.endpoint_reply import (
    read_completion,
    refusal,
    refused_fields,
    unknown_model,
    wants_other_limit,
)

IN_PARALLEL = 4
"""Requests under way at a time."""
TOP = 20
"""Likeliest first tokens asked for, the most that servers tell."""

Message = dict[str, Any]

_OPTIONAL = ("top_logprobs", "logprobs", "seed", "temperature")
"""Fields that not every server takes; in this order they are left out where a refusal names none."""
_TELL_EVERY = 0.1  # seconds between two looks at whether the caller cancelled


@dataclass(frozen=True)
class ChatReply:
    """What a server said to one question.

    Attributes
    ----------
    first : the likeliest first tokens with their log-likelihoods in nats; empty where the server does not tell.
    model : which model answered, in the server's words; "" where it is not told.
    """

    text: str
    first: tuple[tuple[str, float], ...]
    model: str


class Chat:
    """Asks one endpoint questions that have nothing to do with each other, greedily; what it refuses is left out.

    Attributes
    ----------
    refused : fields that the server was found not to take.
    """

    def __init__(self, endpoint: Endpoint, patience: Patience | None = None) -> None:
        self._endpoint, self._patience = endpoint, patience or Patience.from_environment()
        self._taken: set[str] = set()
        self._limit = "max_tokens"
        self._lock = threading.Lock()
        self.refused: set[str] = set()

    def ask(
        self, questions: Sequence[Sequence[Message]], max_tokens: int, told: Callable[[int, str], None] | None = None
    ) -> list[ChatReply]:
        """One reply to each list of messages, in their order.

        `told` gets the number of replies that are there and why requests wait ("" where none does), several times a
        second; what it raises ends every request at once.

        Raises
        ------
        ModelError : the server cannot be reached, refuses or answers nonsense.
        """
        line, key = Line(self._endpoint, self._patience), endpoint_key(self._endpoint)
        queue = deque(enumerate(questions))
        replies: dict[int, ChatReply] = {}
        pending: dict[Future[ChatReply], int] = {}
        pool = ThreadPoolExecutor(IN_PARALLEL, thread_name_prefix="endpoint chat")
        try:
            while queue or pending:
                # Alone until one was answered: what the server refuses is then found out once, not four times.
                while queue and len(pending) < (IN_PARALLEL if self._taken else 1):
                    number, messages = queue.popleft()
                    pending[pool.submit(self._complete, line, key, list(messages), max_tokens)] = number
                if told is not None:
                    told(len(replies), line.waiting)
                for done in wait(pending, _TELL_EVERY, FIRST_COMPLETED).done:
                    replies[pending.pop(done)] = done.result()
        finally:
            line.stop()
            pool.shutdown(wait=False, cancel_futures=True)
        return [replies[number] for number in range(len(questions))]

    def _complete(self, line: Line, key: str | None, messages: list[Message], max_tokens: int) -> ChatReply:
        optional = {"temperature": 0.0, "seed": 0, "logprobs": True, "top_logprobs": TOP}
        with self._lock:
            left_out, limit = set(self.refused), self._limit
        while True:
            sent = {name: value for name, value in optional.items() if name not in left_out}
            body = {"model": self._endpoint.model, "messages": messages, "stream": False, limit: max_tokens, **sent}
            reply = line.send("POST", "/chat/completions", json.dumps(body).encode(), key)
            if reply.status == 200:
                break
            if limit == "max_tokens" and reply.status in (400, 422) and wants_other_limit(reply):
                limit = "max_completion_tokens"
                continue
            left_out |= self._to_leave_out(line, key, reply, sent)
        completion = read_completion(reply, self._endpoint, key)
        with self._lock:
            self.refused |= left_out
            self._taken |= {"model", *sent}
            self._limit = limit
        return ChatReply(completion.answers[0].text, _first_tokens(reply), completion.model)

    def _to_leave_out(self, line: Line, key: str | None, reply: Reply, sent: dict[str, Any]) -> set[str]:
        """Which fields to try without after a refusal; raises where the refusal is not about them."""
        doubtful = [name for name in _OPTIONAL if name in sent and name not in self._taken]
        if reply.status in (400, 422, 501) and doubtful:
            left_out = set(refused_fields(reply, doubtful) or doubtful[:1])
            # A server that tells no likelihoods has none of other tokens either.
            return left_out | ({"top_logprobs"} if "logprobs" in left_out else set())
        if reply.status in (400, 404):
            try:
                known = unknown_model(self._endpoint, line.send("GET", "/models", key=key), key)
            except ModelError:
                known = None
            if known is not None:
                raise known
        raise refusal(reply, self._endpoint, key)


def _first_tokens(reply: Reply) -> tuple[tuple[str, float], ...]:
    """The first token and its alternatives in a chat completion, by likelihood; empty where they cannot be read.

    Several tokens may have the same text (a letter, and its byte).
    """
    try:
        entry = json.loads(reply.body)["choices"][0]["logprobs"]["content"][0]
        # Most servers list the token itself among its alternatives, some leave it out.
        listed = entry.get("top_logprobs") or []
        itself = [] if any(told["token"] == entry["token"] for told in listed) else [entry]
        found = []
        for told in [*listed, *itself]:
            token, value = told["token"], told["logprob"]
            if isinstance(token, str) and isinstance(value, (int, float)) and math.isfinite(value) and value < 1e-3:
                found.append((token, min(float(value), 0.0)))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return ()
    return tuple(sorted(found, key=lambda pair: -pair[1]))
