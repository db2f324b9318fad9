"""The optimizers of both embedded models."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def build_optimizers(
    model: nn.Module, learning_rate: float, heads: Sequence[nn.Module] = ()
) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al., 2024) for the matrices inside the blocks, AdamW for embeddings, norms and heads."""
    matrices: list[nn.Parameter] = []
    rest = [parameter for head in heads for parameter in head.parameters()]
    for name, parameter in model.named_parameters():
        (matrices if parameter.ndim == 2 and "embed" not in name else rest).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=2 * learning_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def set_pace(optimizers: Sequence[torch.optim.Optimizer], pace: float) -> None:
    """Let every optimizer run at this share of its own learning rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = optimizer.defaults["lr"] * pace


def step(optimizers: Sequence[torch.optim.Optimizer], loss: torch.Tensor, parameters: Sequence[nn.Parameter]) -> None:
    """One step down the loss, its gradient clipped to norm one."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    for optimizer in optimizers:
        optimizer.step()
