"""Replies of an OpenAI-compatible server as answers, and its refusals as sentences. Nothing in them is trusted."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from isi_core.domain.answer import Answer
from isi_core.domain.errors import ModelError
from isi_core.models.vlm.endpoint_address import Endpoint
from isi_core.models.vlm.endpoint_http import Reply, busy
from isi_core.models.vlm.endpoint_key import HOSTS_VARIABLE, KEY_VARIABLE, has_key, holds_key, may_have_key, without_key

_MOST_CHARACTERS = 100_000  # of an answer; the longest that can be asked for has 2,048 tokens
_MOST_SAID = 300  # characters of a server's own message that are repeated
_ADDRESS = "check the address, which for most servers ends in /v1"


@dataclass(frozen=True)
class Completion:
    """What one request brought.

    Attributes
    ----------
    answers : one a choice, in the server's order.
    likelihoods : the server told them, or there was no token to tell of.
    prompt_tokens : of the prompt, picture included; 0 where it is not told.
    model : which model answered, in the server's words; "" where it is not told.
    """

    answers: tuple[Answer, ...]
    likelihoods: bool
    prompt_tokens: int
    model: str


def read_completion(reply: Reply, endpoint: Endpoint, key: str | None) -> Completion:
    """The answers in a reply of status 200.

    Raises
    ------
    ModelError : it is no chat completion, or it repeats the key.
    """
    data = _json(reply.body)
    if data is None and reply.body.lstrip()[:1] == b"<":
        raise ModelError(f"{endpoint.base_url} answers with a web page instead of JSON: {_ADDRESS}.")
    choices = data.get("choices") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(choices, list) or not choices:
        if isinstance(data, dict) and data.get("error"):  # some servers put their errors under status 200
            raise ModelError(f"{endpoint.base_url} could not answer: {_said(data, key) or 'it does not tell why'}")
        raise ModelError(f"{endpoint.base_url} answers with something that is no chat completion: {_ADDRESS}.")
    try:
        answers = tuple(_answer(choice) for choice in choices)
        usage = data.get("usage")
        told = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        model = data.get("model")
        found = Completion(
            answers,
            all(answer.log_likelihoods or not answer.text for answer in answers),
            told if isinstance(told, int) and not isinstance(told, bool) and 0 <= told < 1 << 40 else 0,
            _one_line(without_key(model, key))[:200] if isinstance(model, str) else "",
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise ModelError(
            f"{endpoint.base_url} answers with a chat completion of an unknown form: update the server."
        ) from None
    if any(holds_key(answer.text, key) or holds_key("".join(answer.tokens), key) for answer in answers):
        raise ModelError(f"{endpoint.base_url} repeats the key in its answer, which was thrown away: change the key.")
    return found


def refusal(reply: Reply, endpoint: Endpoint, key: str | None) -> ModelError:
    """The error for a reply of any other status, with the way out."""
    base, status = endpoint.base_url, reply.status
    if status in (401, 403):
        return ModelError(f"{base} {_key_refused(endpoint, key)}")
    if status >= 500:
        return ModelError(busy(endpoint, status))
    if status == 413:
        return ModelError(f"{base} finds the picture or the text too large (413): give a smaller picture.")
    if status in (404, 405):
        return ModelError(f"{base} does not offer chat completions ({status}): {_ADDRESS}.")
    said = _said(_json(reply.body), key)
    if said:
        return ModelError(f"{base} refuses the question ({status}): {said}")
    return ModelError(f"{base} refuses the question ({status}) and does not tell why: {_ADDRESS}, and its log.")


def unknown_model(endpoint: Endpoint, models: Reply | None, key: str | None) -> ModelError | None:
    """The error for a model that the server does not list in its reply to `/models`; None where it lists none."""
    data = _json(models.body) if models is not None and models.status == 200 else None
    listed = data.get("data") if isinstance(data, dict) else None
    if not isinstance(listed, list):
        return None
    names = [entry["id"] for entry in listed if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    names = [name for name in (_one_line(without_key(name, key))[:100] for name in names) if name]
    if endpoint.model in names or not names:
        return None
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ModelError(f"{endpoint.base_url} has no model {endpoint.model}: choose {', '.join(names[:5])}{more}.")


def refused_fields(reply: Reply, fields: Collection[str]) -> list[str]:
    """Those of a request's fields that the server's refusal names."""
    data = _json(reply.body)
    error = data.get("error") if isinstance(data, dict) else None
    if isinstance(error, dict) and error.get("param") in fields:
        return [error["param"]]
    said = _message(data)
    return [name for name in fields if re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", said)]


def wants_other_limit(reply: Reply) -> bool:
    """The server takes `max_completion_tokens` instead of `max_tokens`."""
    return "max_completion_tokens" in _message(_json(reply.body))


def _key_refused(endpoint: Endpoint, key: str | None) -> str:
    # The server's own words are left out: some repeat a part of the key in them.
    if key is not None:
        return f"does not accept the key: correct {KEY_VARIABLE}."
    if not has_key():
        return f"asks for a key: set {KEY_VARIABLE}, or isi_endpoint_key in .streamlit/secrets.toml."
    if not may_have_key(endpoint):
        return f"asks for a key, which is sent to listed hosts only: add {endpoint.host} to {HOSTS_VARIABLE}."
    return f"asks for a key: set {KEY_VARIABLE}."


def _answer(choice: dict[str, Any]) -> Answer:
    text = _content(choice["message"].get("content"))
    if len(text) > _MOST_CHARACTERS:
        raise ValueError
    told = choice.get("logprobs")
    entries = told.get("content") if isinstance(told, dict) else None
    tokens, likelihoods = _tokens(entries) if isinstance(entries, list) else ((), ())
    return Answer(
        text=text.strip(),
        tokens=tokens,
        log_likelihoods=likelihoods,
        sampling_log_likelihoods=likelihoods,
        finished=choice.get("finish_reason") != "length",
    )


def _content(content: Any) -> str:
    """The words of a message: a text, parts, or nothing (a model that only thought)."""
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if part.get("type") == "text")
    if content is None:
        return ""
    if not isinstance(content, str):
        raise TypeError
    return _whole(content)


def _tokens(entries: list[Any]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Texts and log-likelihoods of tokens; of a character that several tokens make, all at the last of them."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    texts, likelihoods = [], []
    for entry in entries:
        value = entry["logprob"]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError
        if not math.isfinite(value) or value > 1e-3:  # barely above 0 is rounding of a certain token
            raise ModelError("The endpoint gave a token likelihood that is not a log-probability: update the server.")
        likelihoods.append(min(float(value), 0.0))
        raw = entry.get("bytes")
        texts.append(decoder.decode(bytes(raw)) if isinstance(raw, list) else _whole(str(entry["token"])))
    return tuple(texts), tuple(likelihoods)


def _json(body: bytes) -> Any:
    """The JSON value; None for what is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _message(data: Any) -> str:
    """What an error reply says, in the forms that servers use."""
    if not isinstance(data, dict):
        return ""
    error = data.get("error")
    for told in (error.get("message") if isinstance(error, dict) else error, data.get("detail"), data.get("message")):
        if isinstance(told, str):
            return told
        if isinstance(told, list):
            parts = [part for part in told if isinstance(part, dict)]
            return "; ".join(f"{(part.get('loc') or [''])[-1:]} {part.get('msg')}" for part in parts)
    return ""


def _said(data: Any, key: str | None) -> str:
    said = _one_line(without_key(_message(data), key))
    return said if len(said) <= _MOST_SAID else said[:_MOST_SAID] + "…"


def _whole(text: str) -> str:
    """The text without lone surrogates, which JSON can spell and no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
