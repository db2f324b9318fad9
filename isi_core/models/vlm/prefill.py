"""The prompt's one pass through the model, and what every measure continues from."""

from __future__ import annotations

import copy
import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from isi_core.domain.errors import ModelError
from isi_core.models.vlm.attention_rows import Recorder, RowRecorder, Rows, recording
from isi_core.models.vlm.prompt import Prompt

CACHE_BYTES = 1 << 30

# Layers whose update makes new tensors, so that forks may share the old ones.
_SHAREABLE = (DynamicLayer, DynamicSlidingWindowLayer)


@dataclass(frozen=True, eq=False)
class Prefill:
    """A prompt that the model has read, all of it, and what is known at its last token.

    The last token is part of the pass (and not left to the continuation), so that it is exact for
    models whose prompt attends to itself in both directions too; its attention, logits and hidden
    states are taken on the way.

    Attributes
    ----------
    prompt : the prompt.
    cache : keys and values of all prompt tokens, batch 1; continue from `fork`s of it.
    logits : (vocabulary,) float32, of the first answer token.
    rows : the attention that predicts the first answer token; None where it is not recorded.
    hidden_states : (layers, hidden) float32 output of each decoder block at the last prompt
        token, before the final norm; None where the blocks could not be found.
    next_position : (..., 1, 1) position id of the first answer token; None where the model takes none.
    """

    prompt: Prompt
    cache: DynamicCache
    logits: torch.Tensor
    rows: Rows | None
    hidden_states: NDArray[np.float32] | None
    next_position: torch.Tensor | None

    def fork(self, rows: int = 1) -> DynamicCache:
        """A cache to write on for `rows` continuations; with one row nothing is copied."""
        fork = _fork(self.cache)
        if rows > 1:
            fork.batch_repeat_interleave(rows)
        return fork

    def fork_before_last(self, rows: int = 1) -> DynamicCache | None:
        """The same without the last token, which `generate` wants to read itself.

        None where that cannot be: a sliding window has forgotten what came before, and positions in
        several dimensions (pictures in Qwen-VL) would be taken from another prompt's prefill.
        """
        sliding = any(type(layer) is not DynamicLayer for layer in self.cache.layers)
        if sliding or (self.next_position is not None and self.next_position.ndim > 2):
            return None
        fork = _fork(self.cache)
        fork.crop(-1)
        if rows > 1:
            fork.batch_repeat_interleave(rows)
        return fork

    def tail(self, tokens: int) -> Prefill:
        """The same as if the model had forgotten all but the last tokens; nothing is copied."""
        cache = _fork(self.cache)
        layers: list[Any] = cache.layers
        for layer in layers:
            layer.keys, layer.values = layer.keys[..., -tokens:, :], layer.values[..., -tokens:, :]
        return replace(self, cache=cache)

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes, by the keys and values and by the prompt's tensors; the rest is small."""
        held = [value for layer in self.cache.layers for value in vars(layer).values()]
        tensors = (value for value in (*held, *self.prompt.inputs.values()) if isinstance(value, torch.Tensor))
        return sum(tensor.nbytes for tensor in tensors)


class PrefillCache:
    """The latest prefills by trial digest, up to `limit` bytes, and always the very last one.

    So *Ask*, *Measure uncertainty* and *Measure attention* on one trial share one prefill, however long it is.
    """

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self.limit = limit
        self._prefills: OrderedDict[str, Prefill] = OrderedDict()

    def get(self, digest: str) -> Prefill | None:
        """The prefill of a trial, if it is still here."""
        if digest in self._prefills:
            self._prefills.move_to_end(digest)
        return self._prefills.get(digest)

    def put(self, digest: str, prefill: Prefill) -> None:
        """Keep a prefill; the longest unused ones go."""
        self._prefills[digest] = prefill
        self._prefills.move_to_end(digest)
        while len(self._prefills) > 1 and self.nbytes > self.limit:
            self._prefills.popitem(last=False)

    def clear(self, but: Prefill | None = None) -> None:
        """Let all of them go, or all but one."""
        self._prefills = OrderedDict((digest, kept) for digest, kept in self._prefills.items() if kept is but)

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return sum(prefill.nbytes for prefill in self._prefills.values())

    def __len__(self) -> int:
        return len(self._prefills)


def read_prompt(
    model: Any, prompt: Prompt, record_rows: bool, on_block: Callable[[int, int], None] | None = None
) -> Prefill:
    """Run the prompt through the model, batch 1.

    `on_block(done, of)` is called after each decoder block and may raise to stop.

    Raises
    ------
    ModelError : the model's output is not a number (a half-precision overflow).
    """
    recorder = RowRecorder(prompt, model.device) if record_rows else None
    given = {key: value for key, value in prompt.inputs.items() if key != "input_ids"}
    first = first_pass(model, prompt.inputs["input_ids"], given, recorder, on_block)
    return Prefill(
        prompt=prompt,
        cache=first.cache,
        logits=first.logits[0],
        rows=recorder.rows() if recorder is not None and recorder.layers else None,
        hidden_states=None if first.hidden_states is None else first.hidden_states[0],
        next_position=first.next_position,
    )


@dataclass(frozen=True, eq=False)
class FirstPass:
    """What a pass over prompts of one length leaves at their last tokens.

    Attributes
    ----------
    cache : keys and values of all tokens.
    logits : (n, vocabulary) float32.
    hidden_states : (n, layers, hidden) float32; None where the blocks could not be found.
    next_position : (..., n, 1) position ids of the first answer tokens; None where the model takes none.
    """

    cache: DynamicCache
    logits: torch.Tensor
    hidden_states: NDArray[np.float32] | None
    next_position: torch.Tensor | None


def first_pass(
    model: Any,
    ids: torch.Tensor,
    given: dict[str, Any],
    recorder: Recorder | None,
    on_block: Callable[[int, int], None] | None = None,
    begun: DynamicCache | None = None,
) -> FirstPass:
    """Run prompts, (n, tokens) ids with whatever else the model is `given`, as `generate` does.

    `begun` holds what an earlier pass read of their beginnings, all pictures among it, and is written on.

    Raises
    ------
    ModelError : the model's output is not a number (a half-precision overflow).
    """
    hidden: list[torch.Tensor] = []
    blocks = decoder_blocks(model)

    def keep(_block: torch.nn.Module, _inputs: Any, output: Any) -> None:
        output = output[0] if isinstance(output, tuple) else output
        # A copy, since a view of the last token would keep all tokens' states of every block.
        hidden.append(output[:, -1].to("cpu", torch.float32, copy=True))
        if on_block is not None:
            on_block(len(hidden), len(blocks))

    cache = DynamicCache(config=model.config) if begun is None else begun
    given = given | {"past_key_values": cache, "use_cache": True}
    next_position = None
    if "position_ids" in inspect.signature(model.forward).parameters:
        # Positions handed over, and not left to the model, since some models remember where text stands after a
        # picture from their latest prefill, which may be another prompt's when this one is continued.
        given["position_ids"] = model._prepare_position_ids_for_generation(ids, given)
        next_position = given["position_ids"][..., -1:] + 1
    new = None if begun is None else ids.shape[1] - begun.get_seq_length()
    inputs = model.prepare_inputs_for_generation(
        ids, next_sequence_length=new, is_first_iteration=begun is None, **given
    )
    with forward_hooks(blocks, keep), recording(recorder):
        output = model(**inputs, logits_to_keep=1, return_dict=True)
    logits = output.logits[:, -1].float()
    if logits.isnan().any():
        raise ModelError("The model returned values that are not numbers: load it in float32 or bfloat16.")
    states = torch.stack(hidden, dim=1).numpy() if blocks else None
    return FirstPass(output.past_key_values, logits, states, next_position)


def decoder_blocks(model: Any) -> list[torch.nn.Module]:
    """The language model's blocks in order; none where it is built otherwise."""
    blocks = getattr(model.get_decoder(), "layers", None)
    return list(blocks) if isinstance(blocks, torch.nn.ModuleList) else []


def key_value_bytes(model: Any) -> int:
    """What the language model keeps of a token, keys and values of all blocks; 0 where its config does not tell."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", 0)
    size = getattr(config, "head_dim", None) or getattr(config, "hidden_size", 0) // max(1, heads)
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    return int(2 * getattr(config, "num_hidden_layers", 0) * key_heads * size * model.dtype.itemsize)


@contextmanager
def forward_hooks(blocks: list[torch.nn.Module], hook: Callable[[torch.nn.Module, Any, Any], None]) -> Iterator[None]:
    """Within it, the hook is called with each block, what went in and what came out."""
    handles = [block.register_forward_hook(hook) for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _fork(cache: DynamicCache) -> DynamicCache:
    fork = copy.copy(cache)
    fork.layers = [copy.copy(x) if type(x) in _SHAREABLE else copy.deepcopy(x) for x in cache.layers]
    return fork
