"""Gradient relevancy: which tokens of the prompt an answer token's logit hangs on, by attention times its gradient.

Chefer, Gur and Wolf, "Generic attention-model explainability for interpreting bi-modal and encoder-decoder
transformers" (ICCV 2021), equations 5 and 6, as LVLM-Interpret uses it for models that only decode. With y the logit
of the answer token and A the attention of one layer, (heads, tokens, tokens):

    R := 1;   for each layer, lowest first:   R := R + mean over heads of (dy/dA * A)+  R

and the answer token's relevancies are the row of R at the position that predicts it. That row alone is wanted, so it
is carried from the top layer down, r := r + r mean(dy/dA * A)+, the way gradients come; no R exists. The model is run
once without keeping anything but each block's input; then block by block, from the top, is run again, differentiated
and forgotten. So one layer's attention matrices are in memory at a time, and not those of all layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from isi_core.domain.answer import Answer
from isi_core.domain.attribution import AttentionRecord
from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.progress import Progress
from isi_core.domain.trial import Trial
from isi_core.models.memory import free_memory
from isi_core.models.out_of_memory import give_back, is_out_of_memory
from isi_core.models.threads import is_small, one_thread
from isi_core.models.vlm.one_pass import (
    Opened,
    check_likelihoods,
    check_memory,
    eager_attention,
    model_bytes,
    only_one,
    read_inputs,
    shown_attention,
    token_record,
)
from isi_core.models.vlm.prefill import decoder_blocks
from isi_core.models.vlm.prompt import Prompt
from isi_core.models.vlm.protocol import VisionLanguageModel
from isi_core.models.vlm.relevancy_memory import too_large


def relevancy(
    vlm: VisionLanguageModel,
    trial: Trial,
    answer: Answer,
    steps: Sequence[int],
    progress: Progress | None = None,
) -> AttentionRecord:
    """`answer_relevancy` of an answer that the model gave to a trial; the caller holds the model.

    Raises
    ------
    InputError, ModelError : as `answer_relevancy`, and of a model that only a server has.
    """
    if not isinstance(vlm, Opened):
        raise ModelError(
            f"{vlm.record.name} cannot be differentiated: choose a model that runs here for gradient relevancy."
        )
    [prompt] = vlm.prompts([trial], len(answer.token_ids))
    try:
        with one_thread(is_small(vlm.network)):
            return answer_relevancy(vlm.network, prompt, answer, steps, progress)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        give_back()
        needed = model_bytes(vlm.network, len(prompt) + len(answer.token_ids))
        raise ModelError(too_large(needed, free_memory())) from error


def answer_relevancy(
    model: Any, prompt: Prompt, answer: Answer, steps: Sequence[int], progress: Progress | None = None
) -> AttentionRecord:
    """Gradient relevancy of the prompt's tokens for some tokens of its answer, numbered from 0.

    The record has a row a step and one "layer" of one "head": shares of relevancy instead of attention, each row
    scaled to sum to one without the predicting position's own 1 of the unit matrix; all 0 where nothing was relevant.
    Everything that reads attention (`measures.attribution`, `measures.attention_views`) reads it.

    Attention is computed by transformers' eager functions meanwhile, and by what it was before afterwards, whatever
    happens. The caller holds the model's lock.

    Raises
    ------
    InputError : there is no such step.
    ModelError : too little memory is free, the model shows no attention matrices, or it does not read prompt and
        answer in one pass as it does one token after the other.
    """
    chosen = list(steps)
    if not chosen or min(chosen) < 0 or max(chosen) >= len(answer.token_ids):
        raise InputError(f"The answer has {len(answer.token_ids)} tokens: choose among them.")
    check_memory(model, len(prompt) + max(chosen))
    # Tensors of inference mode cannot take part in a differentiation.
    with torch.inference_mode(False), torch.enable_grad(), eager_attention(model), _frozen(model):
        rows = _rows(model, prompt, answer, chosen, progress)
    shares = [(row / total if (total := float(row.sum())) > 0 else row).numpy() for row in rows]
    return token_record(prompt, np.stack(shares)[:, None])


def _rows(
    model: Any, prompt: Prompt, answer: Answer, steps: Sequence[int], progress: Progress | None
) -> list[torch.Tensor]:
    """For each step, (tokens,) float32 relevancy of everything before it."""
    passed = _forward(model, prompt, answer.token_ids[: max(steps)], progress)
    first = len(prompt) - 1
    check_likelihoods(model, passed.logits.detach(), answer, range(max(steps) + 1))
    tokens = answer.token_ids
    gradients = [
        torch.autograd.grad(passed.logits[step, tokens[step]], passed.top, retain_graph=True)[0] for step in steps
    ]
    # In float64, as the many products of small shares cost nothing beside the model.
    rows = [torch.zeros(first + 1 + max(steps), dtype=torch.float64) for _ in steps]
    for row, step in zip(rows, steps, strict=True):
        row[first + step] = 1.0
    count = len(passed.blocks)
    while passed.blocks:
        block = passed.blocks.pop()
        hidden, output, attention = block.again(len(prompt))
        for i in range(len(steps)):
            gradient, gradients[i] = torch.autograd.grad(
                output, [attention, hidden], gradients[i], retain_graph=i + 1 < len(steps)
            )
            rows[i] = rows[i] + _through(rows[i].to(attention.device), attention[0].detach(), gradient[0]).cpu()
            del gradient
        del hidden, output, attention, block
        if progress is not None:
            done = count - len(passed.blocks)
            progress(f"Going back through the model: layer {done} of {count}", 0.25 + 0.75 * done / count)
    for row, step in zip(rows, steps, strict=True):
        row[first + step] -= 1.0
    return [row.float() for row in rows]


def _through(row: torch.Tensor, attention: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """(tokens,) `row` times the mean over heads of the positive part of gradient times attention.

    attention, gradient (heads, tokens, tokens), a head at a time, so that no third such tensor is needed.
    """
    total = torch.zeros_like(row)
    for head in range(len(attention)):
        total += row @ (gradient[head].float() * attention[head].float()).clamp_(min=0).double()
    return total / len(attention)


@dataclass(eq=False)
class _Block:
    """A decoder block and what it was given in the model's pass."""

    module: torch.nn.Module
    hidden: torch.Tensor
    arguments: tuple[Any, ...]
    named: dict[str, Any]

    def again(self, prompt_tokens: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Run it once more, to be differentiated: its input, its output and its attention (1, heads, tokens, tokens).

        Raises
        ------
        ModelError : it shows no attention matrix.
        """
        hidden = self.hidden.detach().requires_grad_()
        with shown_attention(self.module) as shown:
            output = self.module(hidden, *self.arguments, **self.named)
        return hidden, output[0] if isinstance(output, tuple) else output, only_one(shown, prompt_tokens)


@dataclass(eq=False)
class _Pass:
    """A pass over prompt and answer: the answer's logits (steps, vocabulary), the top block's output, all blocks."""

    logits: torch.Tensor
    top: torch.Tensor
    blocks: list[_Block]


def _forward(model: Any, prompt: Prompt, said: Sequence[int], progress: Progress | None) -> _Pass:
    """Run prompt and the beginning of the answer; only what follows the last block can be differentiated."""
    modules = decoder_blocks(model)
    if not modules:
        raise ModelError("This model's layers could not be found: gradient relevancy needs another model.")
    blocks: list[_Block] = []
    top: list[torch.Tensor] = []

    def before(module: torch.nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        named = dict(named)
        hidden, *rest = (named.pop("hidden_states"),) if "hidden_states" in named else arguments
        blocks.append(_Block(module, hidden, tuple(rest), named))
        if progress is not None:
            message = f"Reading prompt and answer: layer {len(blocks)} of {len(modules)}"
            progress(message, 0.25 * len(blocks) / len(modules))

    def after(_module: torch.nn.Module, _inputs: Any, output: Any) -> Any:
        whole = isinstance(output, tuple)
        top.append((output[0] if whole else output).detach().requires_grad_())
        return (top[0], *output[1:]) if whole else top[0]

    inputs = read_inputs(model, prompt, said)
    with ExitStack() as hooks:
        for module in modules:
            hooks.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
        hooks.callback(modules[-1].register_forward_hook(after).remove)
        output = model(**inputs, logits_to_keep=len(said) + 1, return_dict=True)
    return _Pass(output.logits[0].float(), top[0], blocks)


@contextmanager
def _frozen(model: Any) -> Iterator[None]:
    """No gradients for weights: their memory, and the graph below the blocks, are spared."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
