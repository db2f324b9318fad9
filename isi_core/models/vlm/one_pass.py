"""A prompt and the answer to it read in one pass that shows its attention matrices, a layer at a time."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from isi_core.domain.answer import Answer
from isi_core.domain.attribution import GROUPS, AttentionRecord
from isi_core.domain.errors import ModelError
from isi_core.domain.trial import Trial
from isi_core.models.memory import free_memory
from isi_core.models.vlm.prompt import Prompt
from isi_core.models.vlm.relevancy_memory import relevancy_bytes, too_large

# How far the answer's likelihood in one pass may be from what it was when it was generated token by token, in nats.
_TOLERANCE = {torch.float32: 0.01}
_COARSE_TOLERANCE = 0.5  # of 16 bits and quantized weights, whose kernels differ with the number of rows
_OTHERWISE = (
    "Read in one pass, prompt and answer mean something else to this model than one token after the other ({}): look "
    "into another model, or ask anew."
)


@runtime_checkable
class Opened(Protocol):
    """A model whose network is at hand, and the prompts that it reads."""

    @property
    def network(self) -> Any:
        """The model itself, as transformers has it."""
        ...

    def prompts(self, trials: Sequence[Trial], room: int) -> list[Prompt]:
        """The trials as the model reads them, with room for an answer of so many tokens."""
        ...


def model_bytes(model: Any, tokens: int) -> int:
    """`relevancy_bytes` of a loaded model for a prompt and answer of so many tokens."""
    config = model.config.get_text_config()
    return relevancy_bytes(
        layers=int(config.num_hidden_layers),
        heads=int(config.num_attention_heads),
        tokens=tokens,
        width=int(config.hidden_size),
        itemsize=model.get_input_embeddings().weight.dtype.itemsize,
    )


def check_memory(model: Any, tokens: int) -> None:
    """Raise `ModelError` where less is free than `model_bytes`."""
    needed, free = model_bytes(model, tokens), free_memory()
    if needed > free:
        raise ModelError(too_large(needed, free))


def read_inputs(model: Any, prompt: Prompt, said: Sequence[int]) -> dict[str, Any]:
    """What the model's forward takes for the prompt and the beginning of its answer, nothing cached.

    Raises
    ------
    ModelError : the answer holds the token that stands for a picture.
    """
    if getattr(model.config, "image_token_id", None) in said:
        raise ModelError("The answer holds the token that stands for a picture: it cannot be read in one pass.")
    prompt_ids = prompt.inputs["input_ids"]
    more = torch.tensor([list(said)], dtype=prompt_ids.dtype, device=prompt_ids.device)
    given: dict[str, Any] = {"use_cache": False}
    for name, value in prompt.inputs.items():
        # What goes along with the ids grows with them: what was said is attended to, and is text (0).
        filled = torch.full_like(more, 1 if name == "attention_mask" else 0, dtype=value.dtype)
        given[name] = torch.cat([value, filled], dim=1) if value.shape == prompt_ids.shape else value
    given.pop("input_ids")
    ids = torch.cat([prompt_ids, more], dim=1)
    if "position_ids" in inspect.signature(model.forward).parameters:
        given["position_ids"] = model._prepare_position_ids_for_generation(ids, given)
    inputs: dict[str, Any] = model.prepare_inputs_for_generation(ids, is_first_iteration=True, **given)
    return inputs


def check_likelihoods(model: Any, logits: torch.Tensor, answer: Answer, steps: Sequence[int]) -> None:
    """Raise `ModelError` where a pass does not give an answer's tokens the likelihoods they were generated with.

    `logits` are (steps, vocabulary), the first one's of the first answer token.
    """
    if len(answer.log_likelihoods) != len(answer.token_ids):
        return
    found = logits.log_softmax(dim=-1)
    tolerance = _COARSE_TOLERANCE
    if not getattr(model, "is_quantized", False):
        tolerance = _TOLERANCE.get(model.dtype, tolerance)
    off = max(abs(float(found[step, answer.token_ids[step]]) - answer.log_likelihoods[step]) for step in steps)
    if not off <= tolerance:
        raise ModelError(_OTHERWISE.format(f"{off:.2g} nats apart"))


@contextmanager
def eager_attention(model: Any) -> Iterator[None]:
    """Within it, the language model's attention is by transformers' eager functions, which show their matrices."""
    config = model.get_decoder().config
    before = config._attn_implementation
    part = next((key for key in model.config.sub_configs if getattr(model.config, key) is config), None)
    if before == "eager":
        yield
        return
    if part is None:
        raise ModelError("This model's attention cannot be switched: choose another model to look into it.")
    try:
        model.set_attn_implementation({part: "eager"})
        yield
    finally:
        model.set_attn_implementation({part: before})


@contextmanager
def shown_attention(block: torch.nn.Module) -> Iterator[list[torch.Tensor]]:
    """Within it, the (1, heads, tokens, tokens) matrices that the block's attention computes come into the list."""
    shown: list[torch.Tensor] = []

    def keep(_module: torch.nn.Module, _inputs: Any, output: Any) -> None:
        second = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        if isinstance(second, torch.Tensor) and second.ndim == 4 and second.shape[-1] == second.shape[-2]:
            shown.append(second)

    with ExitStack() as hooks:
        for module in block.modules():
            if module is not block and hasattr(module, "layer_idx"):
                hooks.callback(module.register_forward_hook(keep).remove)
        yield shown


def only_one(shown: Sequence[torch.Tensor], prompt_tokens: int) -> torch.Tensor:
    """The block's attention.

    Raises
    ------
    ModelError : it showed none, or several; or tokens of the answer were attended to before they were said (a prefix
        language model such as PaliGemma, whose prompt attends to itself in both directions).
    """
    if len(shown) != 1:
        raise ModelError("This model does not show its attention matrices: choose another one to look into it.")
    predicting = shown[0][0, :, prompt_tokens - 1 :, prompt_tokens:]
    if predicting.detach().triu().any():
        raise ModelError(_OTHERWISE.format("its prompt attends to the answer"))
    return shown[0]


def token_record(prompt: Prompt, rows: np.ndarray) -> AttentionRecord:
    """(steps, parts, tokens) shares of prompt and answer as a record of attention, a part in the place of a layer."""
    steps, parts, _ = rows.shape
    groups = prompt.groups().numpy()
    sums = np.zeros((steps, parts, 1, len(GROUPS)), dtype=np.float32)
    for k in range(len(GROUPS)):
        sums[:, :, 0, k] = rows[..., : len(prompt)][..., groups == k].sum(axis=-1)
    sums[:, :, 0, GROUPS.index("generated")] += rows[..., len(prompt) :].sum(axis=-1)
    # The first position is left out of every column, as in records of attention.
    shown = rows.copy()
    shown[..., 0] = 0
    image, context, question = (
        shown[..., list(held)] for held in (prompt.image, prompt.context.positions, prompt.question.positions)
    )
    return AttentionRecord(
        sums=sums,
        image_columns=prompt.by_place(image),
        image_grid=prompt.image_grid,
        context_columns=context,
        question_columns=question,
        context_tokens=prompt.context.tokens,
        question_tokens=prompt.question.tokens,
    )
