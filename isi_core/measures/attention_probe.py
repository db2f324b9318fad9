"""A probe that attends: which of a prompt's tokens it reads is learned with what it reads there.

McKenzie et al., *Detecting High-Stakes Interactions with Activation Probes* (2025): the score is
softmax_t(q h_t) . (v h_t) + b over the tokens' states h_t, with a query q and a value v of the states' width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isi_core.domain.errors import InputError
from isi_core.measures.probes import Features, Floats, Labels, Probe, Trainer, check_training, log_loss

if TYPE_CHECKING:
    import torch

_EPOCHS, _PATIENCE = 60, 8
_BATCH = 16
_RATE, _DECAY = 5e-3, 1e-3
_READ = 64


def attention_pooled(tokens: Sequence[NDArray[np.floating[Any]]]) -> Trainer:
    """A trainer whose features (n, 1) are places in `tokens`, each (tokens, hidden) of a case.

    Trained by AdamW on the training split, stopped by the log-loss of the validation split.
    """

    def train(x: Features, y: Labels, xv: Features, yv: Labels, seed: int) -> Probe:
        import torch

        check_training(x, y)
        chosen = [tokens[int(i)] for i in x[:, 0]]
        centre, scale = _spread(chosen)
        width = len(centre)
        generator = torch.Generator().manual_seed(seed)
        query = torch.zeros(width, requires_grad=True)
        value = (torch.randn(width, generator=generator) * 0.01).requires_grad_()
        bias = torch.zeros(1, requires_grad=True)
        optimizer = torch.optim.AdamW([query, value, bias], lr=_RATE, weight_decay=_DECAY)
        labels = torch.tensor(np.asarray(y), dtype=torch.float32)

        def logits(part: Sequence[NDArray[np.floating[Any]]]) -> torch.Tensor:
            states, mask = _padded(part, centre, scale)
            weights = (states @ query).masked_fill(~mask, float("-inf")).softmax(dim=-1)
            return (weights * (states @ value)).sum(dim=-1) + bias

        def predict(features: Features) -> Floats:
            asked = [tokens[int(i)] for i in features[:, 0]]
            found = np.zeros(len(asked))
            with torch.inference_mode():
                for begin in range(0, len(asked), _READ):
                    found[begin : begin + _READ] = logits(asked[begin : begin + _READ]).sigmoid().double().numpy()
            return found

        best, kept, epoch, waited = np.inf, [p.detach().clone() for p in (query, value, bias)], 0, 0
        while epoch < _EPOCHS and waited < _PATIENCE:
            epoch += 1
            order = torch.randperm(len(chosen), generator=generator).tolist()
            for begin in range(0, len(order), _BATCH):
                part = order[begin : begin + _BATCH]
                optimizer.zero_grad(set_to_none=True)
                loss = torch.nn.functional.binary_cross_entropy_with_logits(
                    logits([chosen[i] for i in part]), labels[part]
                )
                loss.backward()
                optimizer.step()
            found = log_loss(yv, predict(xv)) if len(yv) else float(epoch == 1)
            waited += 1
            if found < best - 1e-6:
                best, waited, kept = found, 0, [p.detach().clone() for p in (query, value, bias)]
        with torch.no_grad():
            for parameter, good in zip((query, value, bias), kept, strict=True):
                parameter.copy_(good)
        return Probe(predict, {"epochs": epoch, "weight_decay": _DECAY})

    return train


def _spread(parts: Sequence[NDArray[np.floating[Any]]]) -> tuple[Floats, Floats]:
    """(hidden,) mean and standard deviation over all tokens, case by case so that memory does not grow."""
    count, total, squares = 0, np.zeros(parts[0].shape[1]), np.zeros(parts[0].shape[1])
    for part in parts:
        here = np.asarray(part, dtype=float)
        count, total, squares = count + len(here), total + here.sum(axis=0), squares + (here**2).sum(axis=0)
    if not np.isfinite(squares).all():
        raise InputError("There are features that are not numbers: load the model in float32.")
    centre = total / count
    scale = np.sqrt(np.maximum(squares / count - centre**2, 0.0))
    return centre, np.where(scale > 1e-6, scale, 1.0)


def _padded(
    parts: Sequence[NDArray[np.floating[Any]]], centre: Floats, scale: Floats
) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, tokens, hidden) standardized states and (n, tokens) which of them there are."""
    import torch

    longest = max(len(part) for part in parts)
    states = np.zeros((len(parts), longest, len(centre)), np.float32)
    mask = np.zeros((len(parts), longest), bool)
    for i, part in enumerate(parts):
        states[i, : len(part)] = (np.asarray(part, dtype=np.float32) - centre) / scale
        mask[i, : len(part)] = True
    return torch.from_numpy(states), torch.from_numpy(mask)
