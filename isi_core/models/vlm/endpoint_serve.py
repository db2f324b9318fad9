"""`transformers serve` takes the settings that OpenAI's schema lacks in one field of its own.

It draws only where the checkpoint's own generation config says so, whatever the temperature: without this field all
samples of many checkpoints would be the greedy answer. It refuses `top_k` and `repetition_penalty` by name, in words
by which it is known.
"""

from __future__ import annotations

import json

from isi_core.domain.decoding import Decoding
from isi_core.models.vlm.endpoint_http import Reply

FIELD = "generation_config"
INSIDE = frozenset({"top_k", "repetition_penalty"})
"""Settings that travel in the field."""

_WORDS = b"Unexpected fields in the request"


def is_transformers_serve(reply: Reply) -> bool:
    """Whether a refusal is `transformers serve`'s, and not about the field itself."""
    return reply.status == 422 and _WORDS in reply.body and FIELD.encode() not in reply.body


def generation_config(decoding: Decoding, draws: bool) -> dict[str, str]:
    """The field: every setting that shapes an answer; where answers end, the checkpoint says."""
    settings: dict[str, object] = {"do_sample": draws, "repetition_penalty": decoding.repetition_penalty}
    if draws:
        settings |= {"temperature": decoding.temperature, "top_k": decoding.top_k, "top_p": decoding.top_p}
    return {FIELD: json.dumps(settings)}
