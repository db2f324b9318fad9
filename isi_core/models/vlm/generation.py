"""Answers decoded token by token from a prefilled prompt; rows that have ended drop out of the batch."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import ModelError
from isi_core.models.out_of_memory import is_out_of_memory
from isi_core.models.vlm.attention_rows import Recorder, recording
from isi_core.models.vlm.prefill import Prefill
from isi_core.models.vlm.sampling import Choice
from isi_core.models.vlm.shared_prefix import agree, can_share, share, sharing

_log = logging.getLogger(__name__)

OnToken = Callable[[int], None]
"""Told how many tokens each row has by now; may raise to stop."""


_CHECKED_TOKENS = 64
"""Tokens of a prompt on which the two ways of continuing it are compared."""


@dataclass
class Generated:
    """One row's tokens, the end token included, with their log-likelihoods in nats.

    Attributes
    ----------
    likelihoods : under the model's own distribution.
    choice_likelihoods : under the distribution the token was chosen from.
    finished : it ended by itself, not by the length limit.
    """

    tokens: list[int] = field(default_factory=list)
    likelihoods: list[float] = field(default_factory=list)
    choice_likelihoods: list[float] = field(default_factory=list)
    finished: bool = False


def decode(
    model: Any,
    prefill: Prefill,
    rows: Sequence[int],
    choose: Choice,
    *,
    end_tokens: Collection[int],
    max_new_tokens: int,
    on_token: OnToken | None = None,
    recorder: Recorder | None = None,
    shared: bool = False,
) -> list[Generated]:
    """Continue the prompt once for each of `rows`, whose numbers `choose` gets.

    A recorder (for one row) gets the attention rows of every answer token but the first,
    which is the prefill's. `shared` rows read the prefill's keys and values where they are, which
    `shares_exactly` must have allowed; else each row gets a copy.
    """
    beginning = Beginning(
        ids=prefill.prompt.inputs["input_ids"].expand(len(rows), -1),
        mask=torch.ones_like(prefill.prompt.inputs["input_ids"]).expand(len(rows), -1),
        logits=prefill.logits.expand(len(rows), -1),
        positions=_positions(prefill, len(rows), 0),
        cache=lambda going: share(prefill.cache) if shared else prefill.fork(len(going)),
    )
    return go_on(model, beginning, rows, choose, end_tokens, max_new_tokens, on_token, recorder)


@dataclass(frozen=True, eq=False)
class Beginning:
    """Where rows of answers begin: one prompt's end, or several prompts', padded on the left.

    Attributes
    ----------
    ids, mask : (rows, tokens) the prompts, and which of their tokens are not padding.
    logits : (rows, vocabulary) float32 of the first answer tokens.
    positions : (..., rows, 1) position ids of the first answer tokens; None where the model takes none.
    cache : makes the keys and values of these rows, which answers are written behind.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    logits: torch.Tensor
    positions: torch.Tensor | None
    cache: Callable[[torch.Tensor], Any]


def go_on(
    model: Any,
    beginning: Beginning,
    rows: Sequence[int],
    choose: Choice,
    end_tokens: Collection[int],
    max_new_tokens: int,
    on_token: OnToken | None = None,
    recorder: Recorder | None = None,
) -> list[Generated]:
    """Decode every row to its end; as for `decode`, which is this for one prompt."""
    done = [Generated() for _ in rows]
    active = list(range(len(rows)))
    ids, mask, logits, positions = beginning.ids, beginning.mask, beginning.logits, beginning.positions
    ends = torch.tensor(sorted(end_tokens), dtype=torch.long, device=logits.device)
    cache = None
    for step in range(max_new_tokens):
        tokens, chosen = choose(ids, logits, [rows[i] for i in active], step)
        own = logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(dim=-1)
        ended = torch.isin(tokens, ends)
        _append([done[i] for i in active], tokens, own, chosen, ended)
        if on_token is not None:
            on_token(step + 1)
        going = (~ended).nonzero()[:, 0]
        if step + 1 == max_new_tokens or not len(going):
            break
        if cache is None:  # only now, so that rows which end at once are never copied
            cache = beginning.cache(going)
        elif len(going) < len(active):
            cache.batch_select_indices(going)
        active = [active[i] for i in going.tolist()]
        ids = torch.cat([ids[going], tokens[going, None]], dim=1)
        mask = torch.cat([mask[going], torch.ones_like(tokens[going, None])], dim=1)
        positions = None if positions is None else positions.index_select(-2, going)
        if recorder is not None:
            recorder.keep(active)
        with recording(recorder):
            logits = next_logits(model, ids, mask, cache, None if positions is None else positions + step)
    return done


def shares_exactly(model: Any, prefill: Prefill) -> bool:
    """Whether answers of this model may share the prompt's keys and values: both ways are run and compared.

    Two steps of the three likeliest first tokens after the prompt's last 64, one of the rows dropping
    out between them. False for sliding windows, capped scores, attention of a model's own, and
    whatever else makes a difference beyond `shared_prefix`'s tolerances.
    """
    if not can_share(prefill.cache, len(prefill.prompt)):
        return False
    prefill = prefill.tail(_CHECKED_TOKENS)
    first = prefill.logits.topk(3).indices
    start = prefill.prompt.inputs["input_ids"][:, -_CHECKED_TOKENS:]
    ways: dict[str, torch.Tensor] = {}
    try:
        for way, cache in (("copied", prefill.fork(len(first))), ("shared", share(prefill.cache))):
            ids = torch.cat([start.expand(len(first), -1), first[:, None]], dim=1)
            logits = [next_logits(model, ids, torch.ones_like(ids), cache, _positions(prefill, len(ids), 0))]
            kept = torch.tensor([0, 2], device=first.device)
            cache.batch_select_indices(kept)
            ids = torch.cat([ids[kept], first[:2, None]], dim=1)
            logits.append(next_logits(model, ids, torch.ones_like(ids), cache, _positions(prefill, len(ids), 1)))
            ways[way] = torch.cat(logits)
    except Exception as error:  # attention of another kind than was expected may fail in any way
        if is_out_of_memory(error):
            raise
        _log.info("Answers get copies of the prompt's keys and values", exc_info=True)
        return False
    return agree(**ways, number=model.dtype)


def beam_search(
    model: Any,
    prefill: Prefill,
    decoding: Decoding,
    end_tokens: Collection[int],
    on_token: OnToken | None = None,
    shared: bool = False,
) -> list[int]:
    """The tokens of the best beam, the end token included, by transformers' own search (length penalty 1).

    `shared` beams read the prompt where it is, as for `decode`.
    """
    inputs = dict(prefill.prompt.inputs)
    cache = prefill.fork_before_last(1 if shared else decoding.num_beams)
    if cache is not None:
        cache = share(cache) if shared else cache
        inputs = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
    ends = sorted(end_tokens)
    config = GenerationConfig(
        do_sample=False,
        num_beams=decoding.num_beams,
        max_new_tokens=decoding.max_new_tokens,
        repetition_penalty=float(decoding.repetition_penalty),
        length_penalty=1.0,
        early_stopping=False,
        use_cache=True,
        eos_token_id=ends,
        pad_token_id=ends[0] if ends else 0,
    )
    start = len(prefill.prompt)
    with sharing(cache):
        output = model.generate(
            **inputs,
            past_key_values=cache,
            generation_config=config,
            stopping_criteria=StoppingCriteriaList([_Reporting(on_token, start)]),
        )
    tokens: list[int] = output[0, start:].tolist()
    end = next((i for i, token in enumerate(tokens) if token in end_tokens), len(tokens) - 1)
    return tokens[: end + 1]


class _Reporting(StoppingCriteria):
    """Tells of every token that `generate` makes and never stops it by itself."""

    def __init__(self, on_token: OnToken | None, start: int) -> None:
        self._on_token = on_token
        self._start = start

    def __call__(self, input_ids: torch.Tensor, scores: Any, **options: Any) -> torch.Tensor:
        if self._on_token is not None:
            self._on_token(input_ids.shape[1] - self._start)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def _positions(prefill: Prefill, rows: int, step: int) -> torch.Tensor | None:
    """(..., rows, 1) position ids of the token generated at `step`."""
    if prefill.next_position is None:
        return None
    position = prefill.next_position + step
    return position.expand(*position.shape[:-2], rows, 1)


def next_logits(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, cache: Any, positions: torch.Tensor | None
) -> torch.Tensor:
    """(n, vocabulary) float32 logits after each row's last token; the cache is extended by it."""
    inputs = model.prepare_inputs_for_generation(
        ids,
        next_sequence_length=1,
        past_key_values=cache,
        attention_mask=mask,
        position_ids=positions,
        use_cache=True,
    )
    with sharing(cache):
        logits: torch.Tensor = model(**inputs, logits_to_keep=1, return_dict=True).logits[:, -1].float()
    return logits


def _append(
    rows: Sequence[Generated], tokens: torch.Tensor, own: torch.Tensor, chosen: torch.Tensor, ended: torch.Tensor
) -> None:
    for row, token, likelihood, choice, end in zip(
        rows, tokens.tolist(), own.tolist(), chosen.tolist(), ended.tolist(), strict=True
    ):
        if math.isnan(likelihood):
            raise ModelError("The model returned values that are not numbers: load it in float32 or bfloat16.")
        row.tokens.append(token)
        row.likelihoods.append(likelihood)
        row.choice_likelihoods.append(choice)
        row.finished = end
