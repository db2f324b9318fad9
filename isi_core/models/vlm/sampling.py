"""How the next token is chosen: greedy or drawn, with every setting explicit and every random number accounted for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from isi_core.domain.decoding import Decoding


class Choice(Protocol):
    """Chooses the next token of each row."""

    def __call__(
        self, ids: torch.Tensor, logits: torch.Tensor, rows: Sequence[int], step: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Token (n,) and its log-likelihood (n,) under the distribution it was taken from.

        ids (n, tokens so far), logits (n, vocabulary) float32; `rows` are the rows' numbers,
        `step` counts the generated tokens from 0.
        """
        ...


class Greedy:
    """The most likely token, after the repetition penalty; its log-likelihood is the model's own."""

    def __init__(self, decoding: Decoding) -> None:
        self._processors = _penalty(decoding)

    def __call__(
        self, ids: torch.Tensor, logits: torch.Tensor, rows: Sequence[int], step: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self._processors(ids, logits).argmax(dim=-1)
        return tokens, likelihoods(logits, tokens)


class Draw:
    """Tokens drawn after repetition penalty, temperature, top-k and top-p, in `generate`'s order.

    Each row has a stream of random numbers of its own, made from the seed and the row's name. So a
    sample does not depend on how many others are drawn, how they are batched, which of them have
    ended, or on what other threads do.
    """

    def __init__(self, decoding: Decoding, names: Sequence[str]) -> None:
        self._processors = _penalty(decoding)
        self._processors.append(TemperatureLogitsWarper(float(decoding.temperature)))
        if decoding.top_k > 0:
            self._processors.append(TopKLogitsWarper(top_k=decoding.top_k))
        if decoding.top_p < 1.0:
            self._processors.append(TopPLogitsWarper(top_p=decoding.top_p))
        self._numbers = torch.stack([_numbers(decoding.seed, name, decoding.max_new_tokens) for name in names])

    def __call__(
        self, ids: torch.Tensor, logits: torch.Tensor, rows: Sequence[int], step: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        warped = self._processors(ids, logits)
        # What no row can draw is left out, in the vocabulary's order, so that the draws are those from all of it.
        possible = (~warped.isneginf()).any(dim=0).nonzero()[:, 0]
        if len(possible) < warped.shape[-1]:
            warped = warped[:, possible]
        places = invert(warped.softmax(dim=-1).cpu(), self._numbers[list(rows), step]).to(logits.device)
        return possible[places], likelihoods(warped, places)


class Forced:
    """The tokens of an answer that is known already, to learn their likelihoods and attention."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = tokens

    def __call__(
        self, ids: torch.Tensor, logits: torch.Tensor, rows: Sequence[int], step: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = torch.full((len(rows),), self._tokens[step], device=logits.device)
        return tokens, likelihoods(logits, tokens)


def likelihoods(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """(n,) log softmax(logits) at the tokens, in nats; logits (n, vocabulary)."""
    return logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(dim=-1)


def invert(probabilities: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """(n,) tokens by inverting the cumulative distribution; probabilities (n, vocabulary), numbers (n,) in [0, 1)."""
    cumulative = probabilities.double().cumsum(dim=-1)
    total = cumulative[:, -1:].contiguous()
    # Right of equal values, so that a token of probability 0 is never drawn; the last sum is not exactly one.
    tokens = torch.searchsorted(cumulative, numbers[:, None] * total, right=True)
    last_possible = torch.searchsorted(cumulative, total, right=False)
    # Where a probability is not a number, some token stands; its likelihood tells.
    return torch.minimum(tokens, last_possible)[:, 0].clamp(max=probabilities.shape[-1] - 1)


def _penalty(decoding: Decoding) -> Any:
    """The repetition penalty (Keskar et al., "CTRL", 2019) on prompt and answer, or nothing."""
    if decoding.repetition_penalty == 1.0:
        return LogitsProcessorList()
    return LogitsProcessorList([RepetitionPenaltyLogitsProcessor(float(decoding.repetition_penalty))])


def _numbers(seed: int, name: str, count: int) -> torch.Tensor:
    """(count,) uniform numbers in [0, 1) of one stream, from a generator of its own."""
    state = hashlib.sha256(f"{seed} {name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(state[:8], "big") >> 1)
    return torch.rand(count, generator=generator, dtype=torch.float64)
