"""The heads of one decoder layer: what each attended to while the answer was chosen, on demand."""

from __future__ import annotations

import torch

from isi_core.domain.answer import Answer
from isi_core.domain.attribution import AttentionRecord
from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.progress import Progress
from isi_core.domain.trial import Trial
from isi_core.models.threads import is_small, one_thread
from isi_core.models.vlm.one_pass import (
    Opened,
    check_likelihoods,
    check_memory,
    eager_attention,
    only_one,
    read_inputs,
    shown_attention,
    token_record,
)
from isi_core.models.vlm.prefill import decoder_blocks, forward_hooks
from isi_core.models.vlm.protocol import VisionLanguageModel


def layer_heads(
    vlm: VisionLanguageModel,
    trial: Trial,
    answer: Answer,
    steps: int,
    layer: int,
    progress: Progress | None = None,
) -> AttentionRecord:
    """Attention of each head of a layer (from 0) for the first `steps` tokens of an answer; the caller holds the model.

    A record of attention whose "layers" are the layer's heads, so that what reads records reads it. Prompt and answer
    are read in one pass with eager attention; the matrices of one layer at a time are in memory.

    Raises
    ------
    InputError : there is no such layer, or the answer has fewer tokens.
    ModelError : only a server has the model, too little memory is free, it shows no attention, or it does not read
        prompt and answer in one pass as it does one token after the other.
    """
    if not isinstance(vlm, Opened):
        raise ModelError(f"{vlm.record.name} does not show its heads: choose a model that runs here.")
    model = vlm.network
    blocks = decoder_blocks(model)
    if not 0 <= layer < len(blocks):
        raise InputError(f"The model has {len(blocks)} layers: choose one of them.")
    if not 0 < steps <= len(answer.token_ids):
        raise InputError(f"The answer has {len(answer.token_ids)} tokens: choose among them.")
    [prompt] = vlm.prompts([trial], len(answer.token_ids))
    check_memory(model, len(prompt) + steps)
    done = 0

    def tell(_module: torch.nn.Module, _inputs: object, _output: object) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(f"Reading prompt and answer: layer {done} of {len(blocks)}", done / len(blocks))

    inputs = read_inputs(model, prompt, answer.token_ids[: steps - 1])
    with (
        torch.no_grad(),
        one_thread(is_small(model)),
        eager_attention(model),
        shown_attention(blocks[layer]) as shown,
        forward_hooks(blocks, tell),
    ):
        output = model(**inputs, logits_to_keep=steps, return_dict=True)
    check_likelihoods(model, output.logits[0].float(), answer, range(steps))
    rows = only_one(shown, len(prompt))[0, :, len(prompt) - 1 :].transpose(0, 1)  # (steps, heads, tokens)
    return token_record(prompt, rows.float().cpu().numpy())
