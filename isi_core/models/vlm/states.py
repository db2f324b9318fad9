"""Pooled hidden states of many prompts, and what the model would say first: what probes of failure learn from."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.trial import Trial
from isi_core.models.hidden_states import every_token, mean_weights, pooling
from isi_core.models.pools import POOLS
from isi_core.models.threads import is_small, one_thread
from isi_core.models.vlm.prefill import decoder_blocks
from isi_core.models.vlm.prompt import Prompt

if TYPE_CHECKING:
    from isi_core.models.vlm.hugging_face import HuggingFaceVLM

_BATCH = 32
ROOM = 40
"""Tokens kept free for an answer, as `Decoding` has it."""


@dataclass(frozen=True, eq=False)
class TrialStates:
    """What was read of n trials.

    Attributes
    ----------
    states : (n, len(POOLS), layers, hidden) float32.
    words : (n, 2) log p that the answer begins with yes, with no, in nats; NaN where the tokenizer splits the word.
    tokens : (n,) length of each prompt.
    """

    states: NDArray[np.float32]
    words: NDArray[np.float64]
    tokens: NDArray[np.int64]


def layer_count(vlm: HuggingFaceVLM) -> int:
    """How many decoder blocks there are; 0 where they cannot be found."""
    return len(decoder_blocks(vlm.network))


def read_states(vlm: HuggingFaceVLM, trials: Sequence[Trial], layers: Sequence[int]) -> TrialStates:
    """Read prompts and pool their states at `layers` (1-based, ascending; none reads the words alone).

    Prompts of one shape go through together, unpadded, so that every model computes them as it would alone.

    Raises
    ------
    InputError : a layer that does not exist, or a prompt that does not fit.
    ModelError : the model's blocks cannot be found, or its output is not a number.
    """
    model = vlm.network
    blocks = decoder_blocks(model)
    if layers and not blocks:
        raise ModelError(f"{vlm.record.name} does not tell its hidden states: use another model.")
    if wrong := [layer for layer in layers if not 1 <= layer <= len(blocks)]:
        raise InputError(f"{vlm.record.name} has {len(blocks)} layers, no layer {wrong[0]}.")
    words = yes_and_no(vlm)
    rows: dict[int, tuple[NDArray[np.float32], NDArray[np.float64], int]] = {}
    with torch.inference_mode(), one_thread(is_small(model)):
        for places, prompts in alike(vlm.prompts(trials, ROOM), _BATCH):
            states, said = _read(model, blocks, prompts, layers, words)
            for row, (i, prompt) in enumerate(zip(places, prompts, strict=True)):
                rows[i] = (states[row], said[row], len(prompt))
    order = range(len(trials))
    return TrialStates(
        states=np.stack([rows[i][0] for i in order]),
        words=np.stack([rows[i][1] for i in order]),
        tokens=np.array([rows[i][2] for i in order]),
    )


def read_token_states(vlm: HuggingFaceVLM, trials: Sequence[Trial], layers: Sequence[int]) -> list[NDArray[np.float16]]:
    """(tokens, layers, hidden) float16 of each trial's prompt, every token of it; layers 1-based, ascending.

    Raises
    ------
    InputError : a prompt that does not fit.
    ModelError : the model's blocks cannot be found.
    """
    model = vlm.network
    blocks = decoder_blocks(model)
    if not blocks:
        raise ModelError(f"{vlm.record.name} does not tell its hidden states: use another model.")
    found: dict[int, NDArray[np.float16]] = {}
    with torch.inference_mode(), one_thread(is_small(model)):
        for places, prompts in alike(vlm.prompts(trials, ROOM), _BATCH):
            with every_token(blocks, layers) as kept:
                answer_logits(model, prompts)
            (batch,) = kept.batches()
            found.update(zip(places, batch, strict=True))
    return [found[i] for i in range(len(trials))]


def alike(prompts: Sequence[Prompt], most: int) -> Iterator[tuple[list[int], list[Prompt]]]:
    """Places and prompts that can be read side by side without padding: of one shape, `most` at a time."""
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for i, prompt in enumerate(prompts):
        groups[tuple((name, tuple(value.shape)) for name, value in sorted(prompt.inputs.items()))].append(i)
    for members in groups.values():
        for begin in range(0, len(members), most):
            part = members[begin : begin + most]
            yield part, [prompts[i] for i in part]


def answer_logits(model: Any, prompts: Sequence[Prompt]) -> torch.Tensor:
    """(n, vocabulary) float32 of the first answer token, for prompts of one shape; no cache is kept."""
    given: dict[str, Any] = {key: torch.cat([p.inputs[key] for p in prompts]) for key in prompts[0].inputs}
    ids = given.pop("input_ids")
    given["use_cache"] = False
    if "position_ids" in inspect.signature(model.forward).parameters:
        given["position_ids"] = model._prepare_position_ids_for_generation(ids, given)
    inputs = model.prepare_inputs_for_generation(ids, is_first_iteration=True, **given)
    logits: torch.Tensor = model(**inputs, logits_to_keep=1, return_dict=True).logits[:, -1].float()
    return logits


def word_likelihoods(logits: torch.Tensor, words: Sequence[torch.Tensor]) -> torch.Tensor:
    """(n, words) log p of each word, summed over its spellings, in nats; NaN for a word without a token.

    Raises
    ------
    ModelError : the logits are not numbers.
    """
    likelihoods = logits.log_softmax(dim=-1)
    if likelihoods.isnan().any():
        raise ModelError("The model returned values that are not numbers: load it in float32 or bfloat16.")
    said = torch.stack([likelihoods[:, w.to(likelihoods.device)].logsumexp(dim=-1) for w in words], dim=1)
    split = torch.tensor([not len(word) for word in words], device=said.device)
    return said.masked_fill(split, float("nan"))


def _read(
    model: Any,
    blocks: Sequence[torch.nn.Module],
    prompts: Sequence[Prompt],
    layers: Sequence[int],
    words: Sequence[torch.Tensor],
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """((n, pools, layers, hidden), (n, words)) of prompts of one shape."""
    tokens = len(prompts[0])
    last = torch.full((len(prompts),), tokens - 1)
    pools = [(range(tokens), p.image, p.context.positions, p.question.positions) for p in prompts]
    with pooling(blocks, layers, last, mean_weights(pools, tokens)) as kept:
        logits = answer_logits(model, prompts)
    said = word_likelihoods(logits, words)
    states = kept.stacked() if layers else torch.zeros(len(prompts), len(POOLS), 0, 0)
    return states.numpy(), said.cpu().double().numpy()


def yes_and_no(vlm: HuggingFaceVLM) -> list[torch.Tensor]:
    """Ids of the tokens that are the word yes, the word no, in any case, with or without a space before."""
    vocabulary: dict[str, int] = vlm.tokenizer.get_vocab()
    # What stands for a space at a word's beginning in byte-level and in sentencepiece vocabularies.
    bare = {i: token.strip("\u0120\u2581 ").lower() for token, i in vocabulary.items()}
    return [torch.tensor(sorted(i for i, token in bare.items() if token == word)).long() for word in ("yes", "no")]
