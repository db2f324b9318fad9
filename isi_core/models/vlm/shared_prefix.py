"""One copy of the prompt's keys and values for any number of answers that are decoded side by side.

Answers to one prompt differ in their own tokens only. Here each layer's cache holds just those, a row an answer,
while the prompt's keys and values are read where they lie: one product of all rows' queries with the prompt's keys,
one with each row's own, and *one* softmax over both, so that the result is the usual attention's up to rounding.
Nothing of the prompt is copied, neither once a row nor (as a growing cache does) once a token.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import torch
from torch.nn.functional import pad
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
    """A layer's keys and values of the answers' own tokens, after those of the prompts they answer.

    Attributes
    ----------
    prompt_keys, prompt_values : (prompts, key heads, tokens, d), padded on the left.
    places : (rows,) where each row stands when as many rows are laid out for each prompt as the one with most
        has, one prompt after the other; None where there is one prompt.
    width : rows laid out for each prompt.
    """

    is_croppable = False

    def __init__(
        self,
        prompt_keys: torch.Tensor,
        prompt_values: torch.Tensor,
        places: torch.Tensor | None = None,
        width: int = 0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.prompt_keys = prompt_keys
        self.prompt_values = prompt_values
        self.places = places
        self.width = width

    def get_seq_length(self) -> int:
        """Tokens of the prompt and of each answer so far."""
        return int(self.prompt_keys.shape[-2]) + (0 if self.keys is None else int(self.keys.shape[-2]))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these answers only."""
        if self.places is not None:
            self.places = self.places[indices]
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


def share_all(caches: Sequence[DynamicCache], rows: Sequence[int]) -> DynamicCache:
    """The same for rows that continue several prompts' caches; `rows` names the prompt of each.

    The prompts stand one below the other, padded on the left to the longest: one copy of each, however many rows.
    """
    longest = max(cache.get_seq_length() for cache in caches)
    seen: Counter[int] = Counter()
    slots = []
    for row in rows:
        slots.append((row, seen[row]))
        seen[row] += 1
    width = max(seen.values())
    shared = copy.copy(caches[0])
    shared.layers = []
    for number, first in enumerate(caches[0].layers):
        kept: list[Any] = [cache.layers[number] for cache in caches]
        device = cast(Any, first).keys.device
        keys, values = (
            torch.cat([pad(x, (0, 0, longest - x.shape[-2], 0)) for x in tensors])
            for tensors in ([layer.keys for layer in kept], [layer.values for layer in kept])
        )
        places = torch.tensor([row * width + slot for row, slot in slots], device=device)
        shared.layers.append(SuffixLayer(keys, values, places, width))
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
    on_prompt = _by_prompt(layer, grouped, layer.prompt_keys.transpose(2, 3))
    on_own = torch.matmul(grouped, own_keys.transpose(2, 3))
    scores = torch.cat([on_prompt, on_own], dim=-1).float()
    if attention_mask is not None:
        mask = attention_mask[:, :, -1, : scores.shape[-1]].expand(rows, heads, -1)
        mask = mask.reshape(rows, groups, heads // groups, -1).transpose(0, 1)
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    shares = scores.softmax(dim=-1)

    prompt_tokens = layer.prompt_keys.shape[-2]
    weights = shares.to(value.dtype)
    output = _by_prompt(layer, weights[..., :prompt_tokens], layer.prompt_values)
    output = output + torch.matmul(weights[..., prompt_tokens:], own_values)
    output = output.transpose(0, 1).reshape(rows, 1, heads, -1)
    return output, shares.transpose(0, 1).reshape(rows, heads, -1)


def _by_prompt(layer: SuffixLayer, rows: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
    """The product of each row with the matrix of the prompt that it answers.

    rows (key heads, rows, grouped heads, n), prompts (prompts, key heads, n, m) -> (key heads, rows, grouped heads, m).
    """
    heads, count, grouped, _ = rows.shape
    if layer.places is None:
        return torch.matmul(rows.flatten(1, 2), prompts[0]).view(heads, count, grouped, -1)
    laid = rows.new_zeros(heads, len(prompts) * layer.width, grouped, rows.shape[-1])
    laid[:, layer.places] = rows
    product = torch.matmul(laid.view(heads, len(prompts), layer.width * grouped, -1), prompts.transpose(0, 1))
    return product.view(heads, len(prompts) * layer.width, grouped, -1)[:, layer.places]


def agree(copied: torch.Tensor, shared: torch.Tensor, number: torch.dtype) -> bool:
    """Whether logits of the two ways are the same up to the rounding of the number format the model runs in."""
    tolerance = FINE_TOLERANCE if number in (torch.float32, torch.float64) else COARSE_TOLERANCE
    return bool((copied - shared).abs().max() <= tolerance * copied.std())  # False for what is not a number
