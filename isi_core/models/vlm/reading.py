"""Prompts read in one pass, padded on the left; and those with one picture after one reading of it.

A padded row is computed as it would be alone, up to rounding: its padding is masked, and its positions begin at its
own first token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.nn.functional import one_hot, pad
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from isi_core.domain.attribution import GROUPS
from isi_core.domain.errors import ModelError
from isi_core.models.vlm.attention_rows import Rows, no_rows, watched
from isi_core.models.vlm.prefill import FirstPass, Prefill, first_pass
from isi_core.models.vlm.prompt import Prompt

Reader = Callable[[Any, Sequence[Prompt], bool, Callable[[int, int], None] | None, int], list[Prefill]]

# Inputs whose rows can stand below each other; others (grids of picture parts, token types) are asked one by one.
_STACKABLE = {"input_ids", "attention_mask", "pixel_values", "image_sizes"}


class BatchRecorder:
    """Records what `RowRecorder` does for one prompt, for a batch of padded ones in the same few operations.

    `mask`, (n, tokens), says where each prompt's tokens stand in its row; None where they are padded on the left.
    """

    def __init__(self, prompts: Sequence[Prompt], device: torch.device, mask: torch.Tensor | None = None) -> None:
        mask = padded(prompts)[1] if mask is None else mask
        standing = [row.nonzero()[:, 0] for row in mask.cpu()]
        places = [own[watched(prompt)].tolist() for own, prompt in zip(standing, prompts, strict=True)]
        self._counts = list(map(len, places))
        widest = max(self._counts)
        weights = torch.zeros(*mask.shape, len(GROUPS))
        for row, (own, prompt) in enumerate(zip(standing, prompts, strict=True)):
            weights[row, own] = one_hot(prompt.groups(), len(GROUPS)).float()
        self._weights = weights.to(device)
        self._watched = torch.tensor([row + [0] * (widest - len(row)) for row in places], device=device)
        # As in `RowRecorder`, a prompt's first position is not shown.
        first = torch.tensor([[int(own[0])] for own in standing], device=device)
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
    shapes = [{key: p.inputs[key].shape[1:] for key in _given(p)} for p in prompts]
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
    recorder = BatchRecorder(prompts, model.device) if record_rows else None
    first, _, mask = _pass_over(model, prompts, recorder, on_block, padding)
    return _taken_apart(prompts, first, mask, recorder)


def read_once_a_picture(
    model: Any,
    prompts: Sequence[Prompt],
    record_rows: bool,
    on_block: Callable[[int, int], None] | None = None,
    padding: int = 0,
) -> list[Prefill]:
    """The same, but what prompts with one picture have in common, up to the picture's end, is read once.

    So nine conditions of an observation with three pictures cost three pictures, however many tokens they have.
    `on_block` tells of the pass over the pictures, which is the longer one.
    """
    pictures = pictures_of(prompts)
    firsts = [prompts[pictures.index(picture)] for picture in range(max(pictures) + 1)]
    begun = [_cut(prompt, 0, prompt.image[-1] + 1) for prompt in firsts]
    first, ids, mask = _pass_over(model, begun, None, on_block, padding)
    read = first.cache
    rows = torch.tensor(pictures, device=ids.device)
    read.batch_select_indices(rows)
    rest_ids, rest_mask = padded([_cut(prompt, prompt.image[-1] + 1, len(prompt)) for prompt in prompts], padding)
    ids, mask = torch.cat([ids[rows], rest_ids], dim=1), torch.cat([mask[rows], rest_mask], dim=1)
    recorder = BatchRecorder(prompts, model.device, mask) if record_rows else None
    return _taken_apart(prompts, first_pass(model, ids, {"attention_mask": mask}, recorder, begun=read), mask, recorder)


def _pass_over(
    model: Any,
    prompts: Sequence[Prompt],
    recorder: BatchRecorder | None,
    on_block: Callable[[int, int], None] | None,
    padding: int,
) -> tuple[FirstPass, torch.Tensor, torch.Tensor]:
    """One pass over prompts and their pictures; and the (n, tokens) ids and mask that they were padded to."""
    ids, mask = padded(prompts, padding)
    given = {key: torch.cat([prompt.inputs[key] for prompt in prompts]) for key in _given(prompts[0])}
    return first_pass(model, ids, given | {"attention_mask": mask}, recorder, on_block), ids, mask


def pictures_of(prompts: Sequence[Prompt]) -> list[int]:
    """For each prompt the number of its picture, counted from 0, where prompts are the same up to the picture's end."""
    found: list[Prompt] = []
    numbers = []
    for prompt in prompts:
        number = next((i for i, other in enumerate(found) if _begin_alike(prompt, other)), len(found))
        if number == len(found):
            found.append(prompt)
        numbers.append(number)
    return numbers


def _begin_alike(prompt: Prompt, other: Prompt) -> bool:
    end = prompt.image[-1] + 1 if prompt.image else 0
    return bool(
        end
        and prompt.image == other.image
        and end < min(len(prompt), len(other))
        and torch.equal(prompt.inputs["input_ids"][:, :end], other.inputs["input_ids"][:, :end])
        and all(torch.equal(prompt.inputs[key], other.inputs[key]) for key in _given(prompt))
    )


def _given(prompt: Prompt) -> list[str]:
    """The names of the inputs that are not text."""
    return [key for key in prompt.inputs if key not in ("input_ids", "attention_mask")]


def _cut(prompt: Prompt, begin: int, end: int) -> Prompt:
    """Some of a prompt's tokens."""
    return replace(prompt, inputs=prompt.inputs | {"input_ids": prompt.inputs["input_ids"][:, begin:end]})


def _taken_apart(
    prompts: Sequence[Prompt], first: FirstPass, mask: torch.Tensor, recorder: BatchRecorder | None
) -> list[Prefill]:
    """Each prompt's own prefill of a pass over all of them."""
    states, positions = first.hidden_states, first.next_position
    return [
        Prefill(
            prompt=prompt,
            cache=_row_of(first.cache, row, mask[row].bool()),
            logits=first.logits[row],
            rows=recorder.rows(row) if recorder is not None else None,
            hidden_states=None if states is None else states[row],
            next_position=None if positions is None else positions[..., row : row + 1, :],
        )
        for row, prompt in enumerate(prompts)
    ]


def padded(prompts: Sequence[Prompt], padding: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, tokens) ids and mask. A row is padded with its own first token, so that no token of it is added."""
    longest = max(map(len, prompts)) + padding
    ids, masks = [], []
    for prompt in prompts:
        own = prompt.inputs["input_ids"]
        missing = longest - own.shape[1]
        ids.append(torch.cat([own[:, :1].expand(1, missing), own], dim=1))
        masks.append(pad(torch.ones_like(own), (missing, 0)))
    return torch.cat(ids), torch.cat(masks)


def _row_of(cache: DynamicCache, row: int, kept: torch.Tensor) -> DynamicCache:
    """One row's keys and values at the kept places, as memory of their own: the batch's need not live on."""
    own = DynamicCache()
    layers: list[Any] = cache.layers
    for number, layer in enumerate(layers):
        if type(layer) is not DynamicLayer:
            raise ModelError("This model's memory of a prompt cannot be taken apart: its prompts are read one by one.")
        own_layer: Any = layer
        keys, values = (x[row : row + 1, :, kept] for x in (own_layer.keys, own_layer.values))
        own.update(keys, values, number)
    return own
