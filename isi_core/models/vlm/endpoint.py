"""A model behind an OpenAI-compatible server (vLLM, SGLang, TGI, llama.cpp, Ollama, `transformers serve`, a cloud)."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
from collections import deque
from collections.abc import Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, get_args

from PIL import Image

from isi_core.domain.answer import Answer
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.evaluation import Measure, ModelOutput, ModelRecord
from isi_core.domain.progress import Progress, part_of
from isi_core.domain.trial import Trial
from isi_core.models.vlm.endpoint_address import Endpoint
from isi_core.models.vlm.endpoint_chat import Chat
from isi_core.models.vlm.endpoint_http import Line, Patience, Reply
from isi_core.models.vlm.endpoint_key import endpoint_key
from isi_core.models.vlm.endpoint_reply import (
    Completion,
    read_completion,
    refusal,
    refused_fields,
    unknown_model,
    wants_other_limit,
)
from isi_core.models.vlm.endpoint_serve import FIELD, INSIDE, generation_config, is_transformers_serve
from isi_core.models.vlm.protocol import Capabilities

IN_PARALLEL = 4
"""Requests under way at a time."""
CHOICES = 25
"""Answers asked for in one request, so that progress is seen and a lost reply costs little."""

NOT_TOLD = "not told"
MAIN = -1  # the main answer's place among the numbers of the samples
_OPTIONAL = ("repetition_penalty", "top_k", "n", "logprobs", "seed")
"""Fields that not every server takes; in this order they are left out where a refusal names none."""
_TELL_EVERY = 0.1  # seconds between two looks at whether the caller cancelled


@dataclass
class _Server:
    """What was found out of a server (`own_field`: it is `transformers serve`). Guarded by `lock`."""

    taken: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    limit: str = "max_tokens"
    model: str = ""
    own_field: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


class EndpointVLM:
    """A server's model behind the `VisionLanguageModel` protocol. Nothing is loaded; no attention, no hidden states.

    The server puts its own chat template around the text, and draws with its own random numbers: the seed is sent,
    whether the same seed gives the same answers is the server's matter. What it refuses (`n`, `logprobs`, `seed`,
    `top_k`, `repetition_penalty`) is found out once and then left out; `record.dtype` names the settings that are.

    Log-likelihoods are what the server says they are, and stand for both kinds, the model's own and the sampling
    distribution's: most servers tell the model's own, before temperature and top-k; some tell them after.
    Token ids are not told.
    """

    def __init__(self, endpoint: Endpoint, patience: Patience | None = None) -> None:
        self._endpoint = endpoint
        self._patience = patience or Patience.from_environment()
        self._server = _Server()
        self._closed = False

    @property
    def record(self) -> ModelRecord:
        """Which model, as far as the server tells; the settings that it does not take stand in `dtype`."""
        elsewhere = INSIDE if self._server.own_field else frozenset()
        missing = [name for name in ("top_k", "seed") if name in self._server.refused - elsewhere]
        return ModelRecord(
            name=self._endpoint.name,
            source=self._endpoint.base_url,
            revision=self._server.model or NOT_TOLD,
            dtype=f"as served, without {' and '.join(missing)}" if missing else "as served",
            quantization="none",
            attention=NOT_TOLD,
            device="endpoint",
        )

    @property
    def chat(self) -> Chat:
        """The same server, for questions that have nothing to do with each other."""
        return Chat(self._endpoint, self._patience)

    @property
    def capabilities(self) -> Capabilities:
        """Likelihoods until the server is found to give none."""
        likelihoods = "logprobs" not in self._server.refused
        return Capabilities(attention=False, hidden_states=False, likelihoods=likelihoods, beam=False)

    def evaluate(
        self,
        trials: Sequence[Trial],
        decoding: Decoding,
        measures: Collection[Measure],
        progress: Progress | None = None,
    ) -> list[ModelOutput]:
        """One output a trial, with its `answer` and `samples` as asked for; a prompt length of 0 was not told.

        Up to `IN_PARALLEL` requests are under way at a time. `progress` is told several times a second; what it
        raises ends every request at once.

        Raises
        ------
        InputError : no question, or an unknown measure.
        ModelError : the server cannot be reached, refuses or answers nonsense; attention, hidden states or beam search.
        """
        self._check(decoding, measures)
        outputs = []
        for i, trial in enumerate(trials):
            part = part_of(progress, i / len(trials), (i + 1) / len(trials))
            outputs.append(self._evaluate(trial, decoding, measures, part))
        if progress is not None and outputs:
            progress("Done", 1.0)
        return outputs

    def model_sees(self, image: Image.Image) -> Image.Image:
        """The picture as it is sent; how the server scales it is not told."""
        return image.convert("RGB")

    def close(self) -> None:
        """The model cannot be used afterwards."""
        self._closed = True

    def _check(self, decoding: Decoding, measures: Collection[Measure]) -> None:
        name = self._endpoint.name
        if self._closed:
            raise ModelError(f"{name} was released: load it again.")
        if unknown := set(measures) - set(get_args(Measure)):
            raise InputError(f"Unknown measure {', '.join(sorted(unknown))}: use {', '.join(get_args(Measure))}.")
        if "attention" in measures:
            raise ModelError(f"{name} does not tell its attention: measure it with a model on this machine.")
        if "hidden_states" in measures:
            raise ModelError(f"{name} does not tell its hidden states: use a model on this machine.")
        if decoding.strategy == "beam" and "answer" in measures:
            raise ModelError(f"{name} does not search beams: choose greedy or sample.")

    def _evaluate(
        self, trial: Trial, decoding: Decoding, measures: Collection[Measure], progress: Progress | None
    ) -> ModelOutput:
        context, question = (_whole(text.strip()) for text in (trial.context, trial.question))
        if not question:
            raise InputError("There is no question: type one and ask again.")
        text = f"{context} {question}" if context else question
        asked: list[tuple[int, ...]] = [(MAIN,)] if "answer" in measures else []
        if "samples" in measures:
            numbers = range(decoding.n_samples)
            asked += [tuple(numbers[i : i + CHOICES]) for i in range(0, len(numbers), CHOICES)]
        answers, prompt_tokens = _Question(self, trial.image, text, decoding).ask(asked, progress)
        return ModelOutput(
            prompt=f"<image>\n{text}",
            prompt_tokens=prompt_tokens,
            answer=answers.get(MAIN),
            samples=tuple(answers[i] for i in range(decoding.n_samples)) if "samples" in measures else None,
        )


class _Question:
    """One trial's requests."""

    def __init__(self, vlm: EndpointVLM, image: Image.Image, text: str, decoding: Decoding) -> None:
        self._endpoint, self._server, self._decoding = vlm._endpoint, vlm._server, decoding
        self._message = message_of(image, text)
        self._line = Line(vlm._endpoint, vlm._patience)
        self._key = endpoint_key(vlm._endpoint)

    def ask(self, asked: Sequence[tuple[int, ...]], progress: Progress | None) -> tuple[dict[int, Answer], int]:
        """The answers by number, and the prompt's length in tokens; ends every request before it raises."""
        queue = deque(asked)
        total = sum(map(len, asked))
        answers: dict[int, Answer] = {}
        prompt_tokens = 0
        pending: dict[Future[Completion], tuple[int, ...]] = {}
        pool = ThreadPoolExecutor(IN_PARALLEL, thread_name_prefix="endpoint")
        try:
            while queue or pending:
                # Alone until one was answered: what the server refuses is then found out once, not four times.
                while queue and len(pending) < (IN_PARALLEL if self._server.taken else 1):
                    numbers = queue.popleft()
                    pending[pool.submit(self._complete, numbers)] = numbers
                if progress is not None:
                    message = self._line.waiting or f"Asking {self._endpoint.model}: {len(answers)} of {total} answers"
                    progress(message, len(answers) / total)
                for done in wait(pending, _TELL_EVERY, FIRST_COMPLETED).done:
                    numbers = pending.pop(done)
                    completion = done.result()
                    answers.update(zip(numbers, completion.answers, strict=False))
                    prompt_tokens = prompt_tokens or completion.prompt_tokens
                    # A server that leaves `n` out gives one answer: the others are asked for one by one.
                    queue.extend((number,) for number in numbers[len(completion.answers) :])
        finally:
            self._line.stop()
            pool.shutdown(wait=False, cancel_futures=True)
        return answers, prompt_tokens

    def _complete(self, numbers: tuple[int, ...]) -> Completion:
        fields, optional = self._fields(numbers)
        with self._server.lock:
            left_out = set(self._server.refused)
            limit, own_field = self._server.limit, self._server.own_field
        inside = generation_config(self._decoding, MAIN not in numbers or self._decoding.strategy == "sample")
        while True:
            sent = {name: value for name, value in optional.items() if name not in left_out}
            body = {**fields, limit: self._decoding.max_new_tokens, **sent, **(inside if own_field else {})}
            reply = self._line.send("POST", "/chat/completions", json.dumps(body).encode(), self._key)
            if reply.status == 200:
                break
            if limit == "max_tokens" and reply.status in (400, 422) and wants_other_limit(reply):
                limit = "max_completion_tokens"
                continue
            if own_field and FIELD.encode() in reply.body and self._decoding.repetition_penalty == 1.0:
                own_field = False  # another server with the same words
                continue
            own_field = is_transformers_serve(reply)
            left_out |= self._to_leave_out(reply, sent, own_field)
        completion = read_completion(reply, self._endpoint, self._key)
        self._learn(left_out, limit, sent, own_field, completion)
        return completion

    def _fields(self, numbers: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What every server takes, and what not every one does.

        Each setting is sent, also where it changes nothing: some servers take what is left out from the checkpoint.
        """
        decoding = self._decoding
        draws = numbers != (MAIN,) or decoding.strategy == "sample"
        fields: dict[str, Any] = {"model": self._endpoint.model, "messages": [self._message], "stream": False}
        fields |= {"temperature": decoding.temperature if draws else 0.0, "top_p": decoding.top_p if draws else 1.0}
        optional: dict[str, Any] = {"logprobs": True, "repetition_penalty": decoding.repetition_penalty}
        optional["seed"] = _seed(decoding.seed, numbers[0])
        if draws:
            optional["top_k"] = decoding.top_k or -1  # servers that know it keep every token then
        if len(numbers) > 1:
            optional["n"] = len(numbers)
        return fields, optional

    def _to_leave_out(self, reply: Reply, sent: dict[str, Any], own_field: bool) -> set[str]:
        """Which fields to try without after a refusal; raises where the refusal is not about them."""
        doubtful = [name for name in _OPTIONAL if name in sent and name not in self._server.taken]
        left_out = set(refused_fields(reply, doubtful))
        if not left_out and reply.status in (400, 422, 501):
            left_out = set(doubtful[:1])
        elif not left_out and reply.status == 500:  # most often a fault of the server's own
            left_out = {"n"} & set(doubtful)
        if not left_out or reply.status not in (400, 422, 500, 501):
            raise self._refusal(reply)
        if "repetition_penalty" in left_out and self._decoding.repetition_penalty != 1.0 and not own_field:
            raise self._refusal(reply)
        return left_out

    def _refusal(self, reply: Reply) -> ModelError:
        if reply.status in (400, 404):  # an unknown model, perhaps
            try:
                known = unknown_model(self._endpoint, self._line.send("GET", "/models", key=self._key), self._key)
            except ModelError:
                known = None
            if known is not None:
                return known
        return refusal(reply, self._endpoint, self._key)

    def _learn(
        self, left_out: set[str], limit: str, sent: dict[str, Any], own_field: bool, completion: Completion
    ) -> None:
        ignored = set()
        if "logprobs" in sent and not completion.likelihoods:
            ignored.add("logprobs")
        if "n" in sent and len(completion.answers) < sent["n"]:
            ignored.add("n")
        server = self._server
        with server.lock:
            server.refused |= left_out | ignored
            server.taken |= {"model", *sent} - ignored
            server.limit, server.own_field = limit, own_field
            if completion.model not in ("", self._endpoint.model):
                server.model = completion.model


def message_of(image: Image.Image, text: str) -> dict[str, Any]:
    """The user's message: the picture as a PNG data URL, then the text."""
    png = io.BytesIO()
    image.convert("RGB").save(png, "PNG")
    url = "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    return {"role": "user", "content": parts}


def _seed(seed: int, number: int) -> int:
    """(31 bits) The seed of an answer, so that no two of them draw alike; those of one request share the first's."""
    drawn = hashlib.sha256(f"{seed} {'answer' if number == MAIN else f'sample {number}'}".encode()).digest()
    return int.from_bytes(drawn[:4]) >> 1


def _whole(text: str) -> str:
    """The text without lone surrogates, which no server takes."""
    return text.encode("utf-8", "replace").decode("utf-8")
