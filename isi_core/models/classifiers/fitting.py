"""Fitting an image classifier to labelled pictures: the short training that a repair takes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image
from torch.nn import functional

from isi_core.domain.errors import InputError, ModelError
from isi_core.models.classifiers.hugging_face import HuggingFaceClassifier
from isi_core.models.out_of_memory import give_back, is_out_of_memory
from isi_core.models.threads import is_small, one_thread

OnStep = Callable[[int, int], None]
"""Told (steps done, steps in all) at each one; may raise `Cancelled`."""

MOST_PIXEL_BYTES = 2_000_000_000
_WARM_UP = 10
_LAST_PACE = 0.02


@dataclass(frozen=True)
class FitSettings:
    """How a classifier is fitted.

    Attributes
    ----------
    steps, batch : optimizer steps (AdamW), and pictures a step, chosen by lot.
    rate : highest learning rate; it rises over the first ten steps and falls along a cosine.
    decay : weight decay.
    fresh : begin with random weights; without, with the classifier's own.

    Raises
    ------
    InputError : a value out of its range.
    """

    steps: int = 120
    batch: int = 64
    rate: float = 1e-3
    decay: float = 0.02
    fresh: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 100_000 or not 2 <= self.batch <= 4096:
            raise InputError("Fitting takes 1 to 100,000 steps of 2 to 4,096 pictures.")
        if not 0 < self.rate <= 1 or not 0 <= self.decay <= 1:
            raise InputError("The learning rate lies above 0 and up to 1, the weight decay between 0 and 1.")


def pixels_of(classifier: HuggingFaceClassifier, images: Sequence[Image.Image], batch: int = 64) -> torch.Tensor:
    """(n, channels, height, width) pixel values on the CPU, as the classifier's own processor makes them.

    Raises
    ------
    InputError : there is no picture, or they would take more than 2 GB.
    """
    if not images:
        raise InputError("There is no picture to fit a classifier to: give at least two.")
    parts = []
    for at in range(0, len(images), batch):
        parts.append(classifier.pixels(images[at : at + batch]).cpu())
        if parts[0][0].numel() * 4 * len(images) > MOST_PIXEL_BYTES:
            raise InputError("So many pictures of this size do not fit into memory: use fewer of them.")
    return torch.cat(parts)


def fitted(
    classifier: HuggingFaceClassifier,
    pixels: torch.Tensor,
    labels: ArrayLike,
    settings: FitSettings | None = None,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> HuggingFaceClassifier:
    """A copy of the classifier, fitted by cross-entropy to pictures that are shifted a little at every step.

    Parameters
    ----------
    pixels : (n, channels, height, width), by `pixels_of`.
    labels : (n,) indices of the classifier's classes.
    seed : of the order of the pictures, the shifts, dropout, and of fresh weights.

    Raises
    ------
    InputError : labels that do not fit, or a classifier whose classes do not exclude each other.
    ModelError : out of memory, or the loss is not a number any more.
    """
    settings = settings or FitSettings()
    wanted = torch.as_tensor(np.asarray(labels), dtype=torch.long)
    if not classifier.exclusive:
        raise InputError("Its classes do not exclude each other: choose a classifier that gives each picture one.")
    if len(wanted) != len(pixels) or len(wanted) < 2 or wanted.min() < 0 or wanted.max() >= len(classifier.labels):
        raise InputError("Each of two pictures or more needs a label that is one of the classifier's classes.")
    # Only torch's own generator of the CPU is put back: nothing else here draws from the global one.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = copy.deepcopy(classifier.module)
        if settings.fresh:
            place = model.device
            model = type(model)(copy.deepcopy(model.config)).to(place)
        try:
            with one_thread(is_small(model)):
                _run(model, pixels, wanted, settings, seed, on_step)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            give_back()
            raise ModelError("Fitting ran out of memory: use smaller batches or a smaller classifier.") from error
    return classifier.with_module(model.eval(), {"steps": settings.steps, "seed": seed, "fresh": settings.fresh})


def _run(
    model: torch.nn.Module,
    pixels: torch.Tensor,
    labels: torch.Tensor,
    settings: FitSettings,
    seed: int,
    on_step: OnStep | None,
) -> None:
    place = next(model.parameters()).device
    model.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.rate, weight_decay=settings.decay)
    draw = torch.Generator().manual_seed(seed)
    order: list[int] = []
    size = min(settings.batch, len(pixels))
    for step in range(settings.steps):
        if on_step is not None:
            on_step(step, settings.steps)
        pace = _LAST_PACE + (1 - _LAST_PACE) * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * pace * min(1.0, (step + 1) / _WARM_UP)
        while len(order) < size:  # every picture once before any comes again
            order += torch.randperm(len(pixels), generator=draw).tolist()
        rows, order = order[:size], order[size:]
        logits = model(pixel_values=_shifted(pixels[rows], draw).to(place)).logits.float()
        if logits.shape[1] == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        loss = functional.cross_entropy(logits, labels[rows].to(place))
        if not torch.isfinite(loss):
            raise ModelError("The fitting came apart (the loss is no number): choose a lower learning rate.")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.requires_grad_(False)


def _shifted(pixels: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """The batch moved by up to a thirty-second of its side, its edges repeated."""
    height, width = pixels.shape[2:]
    reach = max(1, height // 32)
    padded = functional.pad(pixels, (reach,) * 4, mode="replicate")
    down, right = (int(torch.randint(0, 2 * reach + 1, (1,), generator=draw)) for _ in "yx")
    return padded[:, :, down : down + height, right : right + width].contiguous()
