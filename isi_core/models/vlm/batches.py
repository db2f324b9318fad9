"""Several prompts at once: read in one pass and answered side by side, padded on the left.

A padded row is computed as it would be alone, up to rounding: its padding is masked, and its positions begin at its
own first token. `batches_exactly` finds out whether that holds for a model, which is then asked one prompt after the
other where it does not.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache

from isi_core.models.out_of_memory import is_out_of_memory
from isi_core.models.vlm.generation import Beginning, Generated, OnToken, go_on, next_logits
from isi_core.models.vlm.prefill import Prefill
from isi_core.models.vlm.reading import BatchRecorder, Reader, padded, read_prompts
from isi_core.models.vlm.sampling import Choice
from isi_core.models.vlm.shared_prefix import agree, can_share, share_all

_log = logging.getLogger(__name__)

_CHECKED_PADDING = 3
"""Tokens by which prompts are padded when it is found out whether padding makes a difference."""


def decode_together(
    model: Any,
    prefills: Sequence[Prefill],
    rows: Sequence[int],
    numbers: Sequence[int],
    choose: Choice,
    *,
    end_tokens: Collection[int],
    max_new_tokens: int,
    shared: bool,
    on_token: OnToken | None = None,
    recorder: BatchRecorder | None = None,
) -> list[Generated]:
    """Continue several prompts side by side.

    Parameters
    ----------
    rows : the prompt of each row, as its place in `prefills`.
    numbers : the rows' numbers for `choose`.
    shared : whether rows of a prompt read its keys and values where they are, as for `decode`; else each gets a copy.
    recorder : of the prefills' prompts, where each has one row.
    """
    prompts = [prefills[row].prompt for row in rows]
    ids, mask = padded(prompts)
    positions = [prefills[row].next_position for row in rows]

    def cache(going: torch.Tensor) -> DynamicCache:
        left = [rows[row] for row in going.tolist()]
        if shared:
            return share_all([prefill.cache for prefill in prefills], left)
        return _stacked(prefills, left, ids.shape[1])

    beginning = Beginning(
        ids=ids,
        mask=mask,
        logits=torch.stack([prefills[row].logits for row in rows]),
        positions=None if positions[0] is None else torch.cat([p for p in positions if p is not None], dim=-2),
        cache=cache,
    )
    return go_on(model, beginning, numbers, choose, end_tokens, max_new_tokens, on_token, recorder)


def batches_exactly(model: Any, alone: Sequence[Prefill], read: Reader = read_prompts) -> bool:
    """Whether prompts may be read together: two that were read alone are read so again, and one token further.

    False where it makes a difference beyond `shared_prefix`'s tolerances, or does not work at all.
    """
    if not all(can_share(prefill.cache, len(prefill.prompt)) for prefill in alone):
        return False
    try:
        prompts = [prefill.prompt for prefill in alone]
        together = read(model, prompts, False, None, _CHECKED_PADDING)
        ids, mask = padded(prompts, _CHECKED_PADDING)
        first = torch.stack([prefill.logits for prefill in alone]).argmax(-1)
        positions = [prefill.next_position for prefill in alone]
        after = next_logits(
            model,
            torch.cat([ids, first[:, None]], dim=1),
            torch.cat([mask, torch.ones_like(first[:, None])], dim=1),
            _stacked(together, list(range(len(alone))), ids.shape[1]),
            None if positions[0] is None else torch.cat([p for p in positions if p is not None], dim=-2),
        )
        singly = []
        for prefill, token in zip(alone, first, strict=True):
            own = torch.cat([prefill.prompt.inputs["input_ids"], token.view(1, 1)], dim=1)
            singly.append(next_logits(model, own, torch.ones_like(own), prefill.fork(), prefill.next_position))
    except Exception as error:  # a model built otherwise may fail in any way
        if is_out_of_memory(error):
            raise
        _log.info("Prompts are read one by one", exc_info=True)
        return False
    logits = torch.cat([torch.stack([prefill.logits for prefill in alone]), torch.cat(singly)])
    return agree(logits, torch.cat([torch.stack([prefill.logits for prefill in together]), after]), model.dtype)


def _stacked(prefills: Sequence[Prefill], rows: Sequence[int], tokens: int) -> DynamicCache:
    """The keys and values of these prompts as a batch, padded on the left to `tokens`."""
    cache = DynamicCache()
    chosen = [prefills[row] for row in rows]
    for number in range(len(chosen[0].cache.layers)):
        layers: list[Any] = [prefill.cache.layers[number] for prefill in chosen]
        keys, values = (
            torch.cat([pad(x, (0, 0, tokens - x.shape[-2], 0)) for x in kept])
            for kept in ([layer.keys for layer in layers], [layer.values for layer in layers])
        )
        cache.update(keys, values, number)
    return cache
