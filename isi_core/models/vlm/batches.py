"""Several prompts at once: read in one pass and answered side by side, padded on the left.

A padded row is computed as it would be alone, up to rounding: its padding is masked, and its positions begin at its
own first token. `batches_exactly` finds out whether that holds for a model, which is then asked one prompt after the
other where it does not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch.nn.functional import one_hot, pad
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from isi_core.domain.attribution import GROUPS
from isi_core.domain.errors import ModelError
from isi_core.models.out_of_memory import is_out_of_memory
from isi_core.models.vlm.attention_rows import Rows, no_rows, watched
from isi_core.models.vlm.generation import Beginning, Generated, OnToken, go_on, next_logits
from isi_core.models.vlm.prefill import Prefill, first_pass
from isi_core.models.vlm.prompt import Prompt
from isi_core.models.vlm.sampling import Choice
from isi_core.models.vlm.shared_prefix import agree, can_share, share_all

_log = logging.getLogger(__name__)

_CHECKED_PADDING = 3
"""Tokens by which prompts are padded when it is found out whether padding makes a difference."""

# Inputs whose rows can stand below each other; others (grids of picture parts, token types) are asked one by one.
_STACKABLE = {"input_ids", "attention_mask", "pixel_values", "image_sizes"}


class BatchRecorder:
    """Records what `RowRecorder` does for one prompt, for a batch of padded ones in the same few operations."""

    def __init__(self, prompts: Sequence[Prompt], device: torch.device) -> None:
        tokens = max(map(len, prompts))
        places = [[place + tokens - len(prompt) for place in watched(prompt)] for prompt in prompts]
        self._counts = list(map(len, places))
        widest = max(self._counts)
        groups = [pad(one_hot(p.groups(), len(GROUPS)), (0, 0, tokens - len(p), 0)) for p in prompts]
        self._weights = torch.stack(groups).float().to(device)
        self._watched = torch.tensor([row + [0] * (widest - len(row)) for row in places], device=device)
        # As in `RowRecorder`, a prompt's first position is not shown.
        first = torch.tensor([[tokens - len(prompt)] for prompt in prompts], device=device)
        self._shown = (self._watched != first).float()
        self._active = list(range(len(prompts)))
        self._steps: list[list[int]] = []
        self._sums: dict[int, list[torch.Tensor]] = {}
        self._columns: dict[int, list[torch.Tensor]] = {}

    def keep(self, rows: Sequence[int]) -> None:
        """Only these rows, numbered from the beginning, go on."""
        self._active = list(rows)

    def add(self, layer: int, shares: torch.Tensor, new: int) -> None:
        """Record a layer's last rows, (n, heads, keys) shares of attention."""
        sums = self._sums.setdefault(layer, [])
        if len(sums) == len(self._steps):
            self._steps.append(self._active)
        weights, watched_, shown = (x[self._active] for x in (self._weights, self._watched, self._shown))
        generated = shares.shape[-1] - weights.shape[1]
        if generated:
            weights = pad(weights, (0, 0, 0, generated))
            weights[:, -generated:, GROUPS.index("generated")] = 1.0
        sums.append(torch.matmul(shares, weights))
        self._columns.setdefault(layer, []).append((shares.mean(dim=1).gather(1, watched_) * shown).half())

    def rows(self, row: int) -> Rows:
        """What was recorded of one row of the batch, layers in order."""
        order = sorted(self._sums)
        at = [(step, active.index(row)) for step, active in enumerate(self._steps) if row in active]
        device = self._weights.device

        def gathered(kept: dict[int, list[torch.Tensor]]) -> torch.Tensor:
            return torch.stack(
                [torch.stack([kept[layer][step][i] for step, i in at]).to(device) for layer in order], dim=1
            )

        if not order or not at:
            return no_rows()
        return Rows(gathered(self._sums), gathered(self._columns)[..., : self._counts[row]])


def stackable(prompts: Sequence[Prompt]) -> bool:
    """Whether these prompts can be read in one pass: pictures of one shape, and nothing else than text and pictures."""
    shapes = [
        {key: value.shape[1:] for key, value in p.inputs.items() if key not in ("input_ids", "attention_mask")}
        for p in prompts
    ]
    return all(set(p.inputs) <= _STACKABLE and shape == shapes[0] for p, shape in zip(prompts, shapes, strict=True))


def read_prompts(
    model: Any,
    prompts: Sequence[Prompt],
    record_rows: bool,
    on_block: Callable[[int, int], None] | None = None,
    padding: int = 0,
) -> list[Prefill]:
    """Run prompts that are `stackable` through the model in one pass; each one's prefill is as if read alone.

    `on_block(done, of)` is called after each decoder block and may raise to stop. Each prompt is padded to the
    longest one's length and by `padding` tokens more.

    Raises
    ------
    ModelError : the model's output is not a number (a half-precision overflow).
    """
    ids, mask = _padded(prompts, padding)
    recorder = BatchRecorder(prompts, model.device) if record_rows else None
    given = {
        key: torch.cat([prompt.inputs[key] for prompt in prompts])
        for key in prompts[0].inputs
        if key not in ("input_ids", "attention_mask")
    }
    first = first_pass(model, ids, given | {"attention_mask": mask}, recorder, on_block)
    states, positions = first.hidden_states, first.next_position
    return [
        Prefill(
            prompt=prompt,
            cache=_row_of(first.cache, row, ids.shape[1] - len(prompt)),
            logits=first.logits[row],
            rows=recorder.rows(row) if recorder is not None else None,
            hidden_states=None if states is None else states[row],
            next_position=None if positions is None else positions[..., row : row + 1, :],
        )
        for row, prompt in enumerate(prompts)
    ]


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
    ids, mask = _padded(prompts)
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


def batches_exactly(model: Any, alone: Sequence[Prefill]) -> bool:
    """Whether prompts may be read together: two that were read alone are read again so, and one token further.

    False where it makes a difference beyond `shared_prefix`'s tolerances, or does not work at all.
    """
    if not all(can_share(prefill.cache, len(prefill.prompt)) for prefill in alone):
        return False
    try:
        prompts = [prefill.prompt for prefill in alone]
        together = read_prompts(model, prompts, record_rows=False, padding=_CHECKED_PADDING)
        ids, mask = _padded(prompts, _CHECKED_PADDING)
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


def _padded(prompts: Sequence[Prompt], padding: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, tokens) ids and mask. A row is padded with its own first token, so that no token of it is added."""
    longest = max(map(len, prompts)) + padding
    ids, masks = [], []
    for prompt in prompts:
        own = prompt.inputs["input_ids"]
        missing = longest - own.shape[1]
        ids.append(torch.cat([own[:, :1].expand(1, missing), own], dim=1))
        masks.append(pad(torch.ones_like(own), (missing, 0)))
    return torch.cat(ids), torch.cat(masks)


def _row_of(cache: DynamicCache, row: int, padding: int) -> DynamicCache:
    """One row's keys and values without its padding, as memory of their own: the batch's need not live on."""
    own = DynamicCache()
    layers: list[Any] = cache.layers
    for number, layer in enumerate(layers):
        if type(layer) is not DynamicLayer:
            raise ModelError("This model's memory of a prompt cannot be taken apart: its prompts are read one by one.")
        kept: Any = layer
        keys, values = (x[row : row + 1, :, padding:].clone() for x in (kept.keys, kept.values))
        own.update(keys, values, number)
    return own


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
