"""Steering: a vector added to the residual stream behind a decoder block, while a model runs.

Turner et al., *Activation Addition* (2023); Li et al., *Inference-Time Intervention* (NeurIPS 2023).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from isi_core.domain.errors import InputError

Where = Literal["last", "all"]
"""At the last token of each pass (a prompt's last, then each new one), or at every token."""


@contextmanager
def steering(
    blocks: Sequence[torch.nn.Module], layer: int, vector: NDArray[np.floating[Any]] | None, where: Where = "last"
) -> Iterator[None]:
    """Within it, `vector` (hidden,) is added to the output of block `layer` (1-based); None adds nothing.

    With `last`, prompts must not be padded on the right. What a model remembers of prompts it read without the
    vector does not hold here: read them anew.

    Raises
    ------
    InputError : the layer does not exist, or the vector has another width.
    """
    if not 1 <= layer <= len(blocks):
        raise InputError(f"The model has {len(blocks)} layers, no layer {layer}: choose 1 to {len(blocks)}.")
    if vector is None:
        yield
        return
    added = torch.as_tensor(np.asarray(vector, dtype=np.float32))

    def add(
        _block: torch.nn.Module, _inputs: object, output: torch.Tensor | tuple[torch.Tensor, ...]
    ) -> torch.Tensor | tuple[torch.Tensor, ...]:
        states = output[0] if isinstance(output, tuple) else output
        if states.shape[-1] != len(added):
            raise InputError(f"The vector has {len(added)} numbers, the layer's states {states.shape[-1]}.")
        here = added.to(states.device, states.dtype)
        if where == "all":
            moved = states + here
        else:
            moved = torch.cat([states[:, :-1], states[:, -1:] + here], dim=1)
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    handle = blocks[layer - 1].register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
