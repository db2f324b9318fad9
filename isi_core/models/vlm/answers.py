"""Generated tokens as answers in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isi_core.domain.answer import Answer
from isi_core.models.vlm.generation import Generated

_UNFINISHED = "\ufffd"  # how a tokenizer decodes the first bytes of a character
_CONTEXT = 4  # tokens decoded with a new one, so that it keeps its space; a character has at most as many bytes


def to_answer(generated: Generated, tokenizer: Any) -> Answer:
    """The answer that the tokens make; the end token is counted but not part of the text."""
    said = generated.tokens[:-1] if generated.finished else generated.tokens
    return Answer(
        text=str(tokenizer.decode(said, skip_special_tokens=True)).strip(),
        token_ids=tuple(generated.tokens),
        tokens=token_texts(generated.tokens, tokenizer),
        log_likelihoods=tuple(generated.likelihoods),
        sampling_log_likelihoods=tuple(generated.choice_likelihoods),
        finished=generated.finished,
    )


def token_texts(ids: Sequence[int], tokenizer: Any) -> tuple[str, ...]:
    """Each token's part of the text, spaces kept; of a character that several tokens make, all at the last of them."""
    texts: list[str] = []
    shown = 0  # tokens whose text is out
    for end in range(1, len(ids) + 1):
        start = max(0, shown - _CONTEXT)
        before = tokenizer.decode(ids[start:shown], skip_special_tokens=False)
        now = tokenizer.decode(ids[start:end], skip_special_tokens=False)
        unfinished = now.endswith(_UNFINISHED) and end - shown < _CONTEXT and end < len(ids)
        texts.append("" if unfinished else now[len(before) :])
        shown = shown if unfinished else end
    return tuple(texts)
