"""The residual stream behind chosen decoder blocks, pooled on the way: all tokens' states are never kept.

Layer l (1-based) is the output of decoder block l, before the final norm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass
class PooledStates:
    """What the hooks keep of one forward pass: (n, pools, hidden) by layer."""

    layers: dict[int, torch.Tensor] = field(default_factory=dict)

    def stacked(self) -> torch.Tensor:
        """(n, pools, layers, hidden) float32 on the CPU, layers ascending."""
        return torch.stack([self.layers[layer].to("cpu", torch.float32) for layer in sorted(self.layers)], dim=2)


@contextmanager
def pooling(
    blocks: Sequence[torch.nn.Module], layers: Sequence[int], last: torch.Tensor, weights: torch.Tensor
) -> Iterator[PooledStates]:
    """Within it, a forward pass of n prompts leaves its pooled states; without layers nothing is hooked.

    Parameters
    ----------
    blocks : the model's decoder blocks.
    layers : 1-based.
    last : (n,) place of each prompt's last token.
    weights : (n, pools - 1, tokens) what each token weighs in the means; rows sum to one, or to zero.
    """
    kept = PooledStates()

    def keep(layer: int, states: torch.Tensor) -> None:
        at_last = states[torch.arange(len(states), device=states.device), last.to(states.device)]
        # In the states' own number format: a float32 copy of all tokens would cost more than the product.
        means = torch.bmm(weights.to(states.device, states.dtype), states)
        kept.layers[layer] = torch.cat([at_last[:, None], means], dim=1)

    with _told(blocks, layers, keep):
        yield kept


@dataclass
class TokenStates:
    """What the hooks of `every_token` keep: by layer, (n, tokens, hidden) float16 of each forward pass."""

    layers: dict[int, list[NDArray[np.float16]]] = field(default_factory=dict)

    def batches(self) -> Iterator[NDArray[np.float16]]:
        """(n, tokens, layers, hidden) of each pass, layers ascending."""
        for parts in zip(*(self.layers[layer] for layer in sorted(self.layers)), strict=True):
            yield np.stack(parts, axis=2)


@contextmanager
def every_token(blocks: Sequence[torch.nn.Module], layers: Sequence[int]) -> Iterator[TokenStates]:
    """Within it, forward passes leave the states of all their tokens, padding included, in half precision."""
    kept = TokenStates({layer: [] for layer in layers})

    def keep(layer: int, states: torch.Tensor) -> None:
        # Residual streams may leave half precision's range at single places; their sign and rank stay.
        kept.layers[layer].append(states.float().clamp(-65_000, 65_000).to("cpu", torch.float16).numpy())

    with _told(blocks, layers, keep):
        yield kept


@contextmanager
def _told(
    blocks: Sequence[torch.nn.Module], layers: Sequence[int], keep: Callable[[int, torch.Tensor], None]
) -> Iterator[None]:
    """Within it, `keep` is told the states of each of the layers, (n, tokens, hidden), at every forward pass."""

    def hook(layer: int) -> torch.utils.hooks.RemovableHandle:
        def tell(_block: torch.nn.Module, _inputs: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
            keep(layer, output[0] if isinstance(output, tuple) else output)

        return blocks[layer - 1].register_forward_hook(tell)

    handles = [hook(layer) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def mean_weights(groups: Sequence[Sequence[Sequence[int]]], tokens: int) -> torch.Tensor:
    """(n, pools, tokens) weights of means over the places in `groups[prompt][pool]`; zero where there is none."""
    weights = torch.zeros(len(groups), len(groups[0]), tokens)
    for prompt, pools in enumerate(groups):
        for pool, places in enumerate(pools):
            if places:
                weights[prompt, pool, list(places)] = 1.0 / len(places)
    return weights
