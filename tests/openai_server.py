"""A small OpenAI-style server over a real model of this repository: chat completions with `n`, `logprobs`,
`temperature`, `top_p`, `top_k`, `seed` and `max_tokens`, on 127.0.0.1.

It can also be as difficult as real ones: refuse or ignore fields, ask for a key, or first play a list of faults.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

from isi_core.domain.answer import Answer
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import StudioError
from isi_core.domain.trial import Trial
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.models.vlm.part import Part

FIELDS = {
    "model", "messages", "stream", "temperature", "top_p", "top_k", "n", "logprobs", "seed", "repetition_penalty",
    "max_tokens", "max_completion_tokens", "top_logprobs",
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """A reply that is played instead of an answer; `{key}` in it becomes the Authorization header that came."""

    status: int = 200
    body: bytes | str | dict = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What came in; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class OpenAIServer:
    """A running server.

    Attributes
    ----------
    refuses : fields that get status 422 and a message that names them; `style` is how it is put.
    ignores : fields that are taken and left aside.
    key : asked for where it is not "".
    faults : replies played first, one a request; a callable stands for one that plays itself.
    delay : seconds before each answer.
    seen : the requests, in the order in which they came.
    most_at_once : requests that were open at the same time, at most.
    """

    vlm: HuggingFaceVLM
    model: str = "random-llava"
    refuses: set[str] = field(default_factory=set)
    ignores: set[str] = field(default_factory=set)
    style: str = "Unsupported fields in the request: {names}"
    key: str = ""
    faults: list[Fault | Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=list)
    delay: float = 0.0
    seen: list[Request] = field(default_factory=list)
    most_at_once: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)
    open_now: int = 0

    @property
    def name(self) -> str:
        """What `find_vlm` finds it by."""
        return f"endpoint:{self.model}@{self.url}"

    def asked(self) -> list[dict[str, Any]]:
        """The bodies of the chat completions asked for."""
        return [r.body for r in self.seen if r.path.endswith("/chat/completions")]

    def _top(self, trial: Trial, count: int) -> list[dict[str, Any]]:
        """The likeliest first tokens of a reply, from the model's own logits."""
        if not count:
            return []
        with self.lock, self.vlm._running():
            prefill = self.vlm._prefill(trial, 1, Part(None))
            values, ids = prefill.logits.float().log_softmax(dim=-1).topk(min(count, len(prefill.logits)))
        decode = self.vlm._processor.tokenizer.decode
        return [{"token": decode([i]), "logprob": p} for i, p in zip(ids.tolist(), values.tolist(), strict=True)]

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """The chat completion that the model makes."""
        parts = body["messages"][0]["content"]
        [url] = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        [text] = [part["text"] for part in parts if part["type"] == "text"]
        assert url.startswith("data:image/png;base64,")
        image = Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))
        assert (image.format, image.mode) == ("PNG", "RGB")
        image.load()
        count = 1 if "n" in self.ignores else body.get("n", 1)
        decoding = Decoding(
            temperature=body["temperature"] or 1.0,
            top_p=body.get("top_p", 1.0),
            top_k=max(0, body.get("top_k", 0)),
            max_new_tokens=body["max_tokens"],
            n_samples=count,
            seed=body.get("seed", 0),
        )
        greedy = body["temperature"] == 0
        with self.lock:
            [output] = self.vlm.evaluate(
                [Trial("x", image, "", text, None)], decoding, ["answer" if greedy else "samples"]
            )
        answers = [output.answer] * count if greedy else list(output.samples or ())
        told = body.get("logprobs") and "logprobs" not in self.ignores
        top = self._top(Trial("x", image, "", text, None), body.get("top_logprobs", 0)) if told else []
        return {
            "object": "chat.completion",
            "model": self.model,
            "choices": [_choice(i, answer, bool(told), top) for i, answer in enumerate(answers) if answer is not None],
            "usage": {"prompt_tokens": output.prompt_tokens},
        }


def _choice(index: int, answer: Answer, told: bool, top: list[dict[str, Any]]) -> dict[str, Any]:
    count = len(answer.tokens) - answer.finished  # servers leave the end token out
    tokens = zip(answer.tokens[:count], answer.log_likelihoods[:count], strict=True)
    content = [{"token": t, "logprob": p, "bytes": list(t.encode()), "top_logprobs": []} for t, p in tokens]
    if top and not content:  # the reply ended at once: its end token is told then
        content = [{"token": answer.tokens[0], "logprob": answer.log_likelihoods[0]}]
    for entry in content[:1]:  # of the others, no client here asks
        entry["top_logprobs"] = top
    return {
        "index": index,
        "message": {"role": "assistant", "content": answer.text},
        "logprobs": {"content": content} if told else None,
        "finish_reason": "stop" if answer.finished else "length",
    }


class _Handler(BaseHTTPRequestHandler):
    studio: OpenAIServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve({})

    def do_POST(self) -> None:
        self._serve(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _serve(self, body: dict[str, Any]) -> None:
        server = self.studio
        with server.lock:
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.seen.append(Request(self.command, self.path, headers, body))
            fault = server.faults.pop(0) if server.faults else None
            server.open_now += 1
            server.most_at_once = max(server.most_at_once, server.open_now)
        try:
            if callable(fault):
                fault(self)
                return
            if fault is None:
                time.sleep(server.delay)
                fault = Fault(*self._answer(body))
        finally:
            with server.lock:
                server.open_now -= 1
        self._send(fault)

    def _answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        server = self.studio
        if server.key and self.headers.get("Authorization") != f"Bearer {server.key}":
            return 401, {"error": {"message": f"Incorrect API key provided: {self.headers.get('Authorization')}"}}
        if self.path == "/v1/models":
            return 200, {"data": [{"id": server.model}]}
        if self.path != "/v1/chat/completions":
            return 404, {"detail": "Not Found"}
        if body["model"] != server.model:
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}
        if refused := sorted((set(body) & server.refuses) | (set(body) - FIELDS)):
            return 422, {"detail": server.style.format(names=refused)}
        try:
            return 200, server.complete(body)
        except StudioError as error:
            return 400, {"error": {"message": str(error)}}

    def _send(self, reply: Fault) -> None:
        sent = self.headers.get("Authorization", "")
        body = json.dumps(reply.body) if isinstance(reply.body, dict) else reply.body
        raw = body.replace("{key}", sent).encode() if isinstance(body, str) else body
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value.replace("{key}", sent))
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are part of the tests; anything else is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*_)  # type: ignore[arg-type]


@contextmanager
def serve(vlm: HuggingFaceVLM, **options: Any) -> Iterator[OpenAIServer]:
    """An `OpenAIServer` on a free port, until the `with` block ends."""
    studio = OpenAIServer(vlm, **options)
    handler = type("Handler", (_Handler,), {"studio": studio})
    server = _Server(("127.0.0.1", 0), handler)
    studio.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield studio
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
