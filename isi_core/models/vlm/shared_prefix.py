"""One copy of the prompt's keys and values for any number of answers that are decoded side by side.

Answers to one prompt differ in their own tokens only. Here each layer's cache holds just those, a row an answer,
while the prompt's keys and values are read where they lie: one product of all rows' queries with the prompt's keys,
one with each row's own, and *one* softmax over both, so that the result is the usual attention's up to rounding.
Nothing of the prompt is copied, neither once a row nor (as a growing cache does) once a token.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

FINE_TOLERANCE = 5e-5
"""Largest difference from the copying way that passes as rounding in float32, in standard deviations of the logits."""
COARSE_TOLERANCE = 0.1
"""The same in 16 bits, where two kernels of the same attention may differ by a good part of it."""

# Options of an attention function that change the scores: no layer with one of them shares.
_FOREIGN = ("softcap", "s_aux", "position_bias")

# Of the thread that runs the model, as the recorder of attention rows is.
_active: ContextVar[DynamicCache | None] = ContextVar("cache with a shared prefix", default=None)


class SuffixLayer(DynamicLayer):
    """A layer's keys and values of the answers' own tokens, after a prompt's (1, key heads, tokens, d)."""

    is_croppable = False

    def __init__(self, prompt_keys: torch.Tensor, prompt_values: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.prompt_keys = prompt_keys
        self.prompt_values = prompt_values

    def get_seq_length(self) -> int:
        """Tokens of the prompt and of each answer so far."""
        return int(self.prompt_keys.shape[-2]) + (0 if self.keys is None else int(self.keys.shape[-2]))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these answers only."""
        if self.is_initialized:
            super().batch_select_indices(indices)

    def crop(self, tokens_to_remove: int) -> None:
        """Refused: the prompt is others' too."""
        raise NotImplementedError("A shared prompt cannot be cropped.")


def can_share(cache: DynamicCache, tokens: int) -> bool:
    """Whether every layer of a prompt's cache is plain full attention over all its `tokens`, batch 1."""

    def plain(layer: Any) -> bool:
        keys: Any = layer.keys if type(layer) is DynamicLayer else None
        return keys is not None and keys.shape[::2] == (1, tokens)

    return bool(cache.layers) and all(plain(layer) for layer in cache.layers)


def share(cache: DynamicCache) -> DynamicCache:
    """A cache for answers of any number of rows that continues `cache` without a copy of it.

    Use it within `sharing`: only this module's attention knows where the prompt is.
    """
    shared = copy.copy(cache)
    layers: list[Any] = cache.layers
    shared.layers = [SuffixLayer(layer.keys, layer.values) for layer in layers]
    return shared


@contextmanager
def sharing(cache: DynamicCache | None) -> Iterator[None]:
    """Within it, this thread's forward passes read the prompt from `cache`, if it is one of `share`'s."""
    shared = cache is not None and any(isinstance(layer, SuffixLayer) for layer in cache.layers)
    token = _active.set(cache if shared else None)
    try:
        yield
    finally:
        _active.reset(token)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None,
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Attention of one new token a row, where a shared prompt is in use; else None.

    Parameters
    ----------
    query : (rows, heads, 1, d).
    key, value : (rows, key heads, answer tokens, d), the answers' own; heads may be grouped.

    Returns
    -------
    (rows, 1, heads, d) output, and (rows, heads, tokens) float32 shares of attention, prompt first.

    Raises
    ------
    NotImplementedError : the attention is not a plain one.
    """
    cache = _active.get()
    if cache is None:
        return None
    layer: Any = cache.layers[int(module.layer_idx)]  # type: ignore[arg-type]
    if query.shape[2] != 1 or key is not layer.keys or any(options.get(name) is not None for name in _FOREIGN):
        raise NotImplementedError("This attention cannot share a prompt.")
    rows, heads, _, size = query.shape
    groups = key.shape[1]
    own_keys, own_values = key.transpose(0, 1), value.transpose(0, 1)  # (key heads, rows, tokens, d)
    grouped = query.view(rows, groups, heads // groups, size).transpose(0, 1)  # (key heads, rows, grouped heads, d)
    grouped = grouped * (size**-0.5 if scaling is None else scaling)  # before the product, which float16 may not hold
    on_prompt = torch.matmul(grouped.flatten(1, 2), layer.prompt_keys[0].transpose(1, 2))
    on_own = torch.matmul(grouped, own_keys.transpose(2, 3))
    scores = torch.cat([on_prompt.view(*grouped.shape[:3], -1), on_own], dim=-1).float()
    if attention_mask is not None:
        mask = attention_mask[:, :, -1, : scores.shape[-1]].expand(rows, heads, -1)
        mask = mask.reshape(rows, groups, heads // groups, -1).transpose(0, 1)
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    shares = scores.softmax(dim=-1)

    prompt_tokens = layer.prompt_keys.shape[-2]
    weights = shares.to(value.dtype)
    output = torch.matmul(weights[..., :prompt_tokens].flatten(1, 2), layer.prompt_values[0])
    output = output.view(*grouped.shape[:3], -1) + torch.matmul(weights[..., prompt_tokens:], own_values)
    output = output.transpose(0, 1).reshape(rows, 1, heads, -1)
    return output, shares.transpose(0, 1).reshape(rows, heads, -1)


def agree(copied: torch.Tensor, shared: torch.Tensor, number: torch.dtype) -> bool:
    """Whether logits of the two ways are the same up to the rounding of the number format the model runs in."""
    tolerance = FINE_TOLERANCE if number in (torch.float32, torch.float64) else COARSE_TOLERANCE
    return bool((copied - shared).abs().max() <= tolerance * copied.std())  # False for what is not a number
