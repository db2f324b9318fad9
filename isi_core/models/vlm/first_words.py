"""How likely a model's reply to a trial is to begin with each of some words: of a local model, or of an endpoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.progress import Progress
from isi_core.domain.trial import Trial
from isi_core.models.vlm.endpoint import EndpointVLM, message_of
from isi_core.models.vlm.protocol import VisionLanguageModel

if TYPE_CHECKING:
    from isi_core.models.vlm.hugging_face import HuggingFaceVLM

_TAIL = 64  # characters at a prompt's end, within which its last token and the reply's first meet


def first_word_likelihoods(
    vlm: VisionLanguageModel, trial: Trial, words: Sequence[str], progress: Progress | None = None
) -> tuple[float, ...]:
    """log p, in nats, that the reply's first token is each of the words, with or without a blank before it.

    Under the model's own distribution, before temperature and top-k. From a local model all of them come from one
    prefill, which is not remembered; from an endpoint they are -inf where they are not among the first tokens that it
    tells (20, for most).

    Raises
    ------
    InputError : no question, or a text too long.
    ModelError : a word is no single token of the model's; the endpoint tells no likelihoods, or of none of the words.
    """
    if isinstance(vlm, EndpointVLM):
        return _of_endpoint(vlm, trial, words, progress)
    from isi_core.models.vlm.hugging_face import HuggingFaceVLM

    if not isinstance(vlm, HuggingFaceVLM):
        raise ModelError(f"{vlm.record.name} does not tell how likely its first token is: use another model.")
    return _of_local(vlm, trial, words, progress)


def _of_local(vlm: HuggingFaceVLM, trial: Trial, words: Sequence[str], progress: Progress | None) -> tuple[float, ...]:
    prompt, likelihoods = vlm.first_token(trial, progress)
    tokens = [_first_tokens(vlm, prompt, word) for word in words]
    found = tuple(float(likelihoods[of].logsumexp(dim=0)) for of in tokens)
    if any(math.isnan(value) for value in found):
        raise ModelError("The model returned values that are not numbers: load it in float32 or bfloat16.")
    return tuple(min(value, 0.0) for value in found)


def _first_tokens(vlm: HuggingFaceVLM, prompt: str, word: str) -> list[int]:
    """The tokens that a reply with this word begins with, told from how prompt and word are tokenized together."""
    tokenizer = vlm.tokenizer
    tail = prompt[-_TAIL:]
    before = list(tokenizer(tail, add_special_tokens=False)["input_ids"])
    found = set()
    for reply in (f" {word}", word):
        ids = list(tokenizer(tail + reply, add_special_tokens=False)["input_ids"])
        if ids[:-1] == before and tokenizer.decode(ids[-1:]).strip() == word:
            found.add(ids[-1])
    if not found:
        raise ModelError(f"{vlm.record.name} has no token for {word!r}: ask another model.")
    return sorted(found)


def _of_endpoint(vlm: EndpointVLM, trial: Trial, words: Sequence[str], progress: Progress | None) -> tuple[float, ...]:
    context, question = trial.context.strip(), trial.question.strip()
    if not question:
        raise InputError("There is no question: type one and ask again.")
    if trial.further_images:
        raise ModelError(f"{vlm.record.name} is asked about one picture at a time: use a model on this machine.")
    text = (f"{context} {question}" if context else question).encode("utf-8", "replace").decode("utf-8")

    def told(done: int, waiting: str) -> None:
        if progress is not None:
            progress(waiting or f"Asking {vlm.record.name} for its first token", float(done))

    [reply] = vlm.chat.ask([[message_of(trial.image, text)]], 1, told)
    if not reply.first:
        raise ModelError(
            f"{vlm.record.name} does not tell the likelihoods of its tokens: ask a model on this machine, or a server "
            "with logprobs."
        )
    found = []
    for word in words:
        mass = sum(math.exp(value) for token, value in reply.first if token.strip() == word)
        found.append(min(0.0, math.log(mass)) if mass else -math.inf)
    if all(value == -math.inf for value in found):
        raise ModelError(
            f"{vlm.record.name} gives none of {', '.join(words)} among its {len(reply.first)} likeliest first tokens: "
            "ask another model."
        )
    return tuple(found)
