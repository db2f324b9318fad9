"""What tiny-diffusion is trained on: portraits of the face world, their prompts, and a bank of their latents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import functional

from isi_core.training.diffusion_model import LATENT_SIDE, SIDE
from isi_core.training.regions import covered
from isi_core.worlds.attributed import AttributeWorld, Subject, world
from isi_core.worlds.attributed import Path as AttributePath

WORLD = "faces"
MOST_PHRASES = 5
"""Phrases of a prompt, so that it always fits the tokenizer's length."""
_EMPTY, _SINGLE, _GROUP = 0.1, 0.3, 0.1
_PLACE_WEIGHT = 1.0


def prompts_of(place: AttributeWorld) -> dict[AttributePath, str]:
    """The words of every attribute, groups of level 1 left out: they are too wide to be a caption."""
    return {path: place.phrase(path) for path in place.paths() if len(path) > 1}


def draw_prompt(
    rng: Random, leaves: Sequence[AttributePath], about: AttributePath | None = None
) -> list[AttributePath]:
    """What the words for a portrait name: nothing one time in ten (classifier-free guidance), one attribute or several.

    Single ones are frequent because an edit's prompt is one; now and then a leaf goes by the name
    of its group. `about`, one of the leaves, is among them unless nothing is.
    """
    kind = rng.random()
    if kind < _EMPTY or not leaves:
        return []
    count = 1 if kind < _EMPTY + _SINGLE else rng.randint(min(2, len(leaves)), min(MOST_PHRASES, len(leaves)))
    first = [] if about is None else [about]
    chosen = first + rng.sample([leaf for leaf in leaves if leaf != about], count - len(first))
    rng.shuffle(chosen)
    return [leaf[:2] if rng.random() < _GROUP else leaf for leaf in chosen]


def place_weights(named: Sequence[AttributePath]) -> torch.Tensor:
    """(LATENT_SIDE, LATENT_SIDE) weights of mean 1, larger where the named attributes can be seen.

    Each has the same share of the whole, however small its place: a mustache is 6 % of a portrait,
    and by area alone its word would be the last that the denoiser learns.
    """
    weights = torch.ones(LATENT_SIDE, LATENT_SIDE)
    for path in named:
        place = covered(world(WORLD).regions[path[:2]], LATENT_SIDE)
        weights += _PLACE_WEIGHT * place / place.mean() / len(named)
    return weights / weights.mean()


def draw_portraits(rng: Random, count: int, held_out: bool) -> list[Subject]:
    """Subjects by lot, all held out from training or none."""
    place = world(WORLD)
    found: list[Subject] = []
    while len(found) < count:
        subject = place.draw_subject(rng)
        if subject.held_out is held_out:
            found.append(subject)
    return found


def render(subjects: Sequence[Subject]) -> torch.Tensor:
    """(subjects, 3, SIDE, SIDE) pixels, 0 to 255, uint8."""
    place = world(WORLD)
    pixels = np.stack([np.asarray(place.render(subject, SIDE)) for subject in subjects])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def to_unit(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels from -1 to 1, as the autoencoder takes them."""
    return pixels.float() / 127.5 - 1


def edge_weights(pictures: torch.Tensor) -> torch.Tensor:
    """(pictures, 1, SIDE, SIDE) weights of mean 1, larger near edges, so that thin lines count.

    Parameters
    ----------
    pictures : (pictures, 3, SIDE, SIDE) from -1 to 1.
    """
    across = functional.pad((pictures[..., 1:] - pictures[..., :-1]).abs().amax(1, keepdim=True), (0, 1))
    down = functional.pad((pictures[..., 1:, :] - pictures[..., :-1, :]).abs().amax(1, keepdim=True), (0, 0, 0, 1))
    near = functional.max_pool2d(torch.maximum(across, down), 3, stride=1, padding=1)
    weights = 1 + 4 * near.clamp(max=1)
    return weights / weights.mean(dim=(1, 2, 3), keepdim=True)


@dataclass(frozen=True, eq=False)
class Bank:
    """Latents of many portraits with what they show.

    Attributes
    ----------
    latents : (portraits, 4, 16, 16) float32.
    leaves : the leaves that are on, a portrait.
    """

    latents: torch.Tensor
    leaves: list[list[AttributePath]]

    @cached_property
    def showing(self) -> dict[AttributePath, list[int]]:
        """The portraits that show each leaf."""
        found: dict[AttributePath, list[int]] = {}
        for at, leaves in enumerate(self.leaves):
            for leaf in leaves:
                found.setdefault(leaf, []).append(at)
        return found


def _world_digest(place: AttributeWorld) -> str:
    told = [["/".join(path), place.phrase(path)] for path in place.leaves()]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def save_bank(path: Path, latents: torch.Tensor, subjects: Sequence[Subject]) -> None:
    """Write a bank as safetensors: latents, and a row of yes and no a portrait for the world's leaves."""
    place = world(WORLD)
    number = {leaf: at for at, leaf in enumerate(place.leaves())}
    present = torch.zeros(len(subjects), len(number), dtype=torch.uint8)
    for row, subject in enumerate(subjects):
        present[row, [number[leaf] for leaf in subject.leaves]] = 1
    unfinished = path.with_suffix(".tmp")
    save_file({"latents": latents, "present": present}, unfinished, metadata={"world": _world_digest(place)})
    unfinished.replace(path)


def load_bank(path: Path) -> Bank:
    """Read a bank; ValueError where it was drawn from another state of the world."""
    place = world(WORLD)
    with safe_open(path, "pt") as file:
        if (file.metadata() or {}).get("world") != _world_digest(place):
            raise ValueError("The bank of latents belongs to another state of the face world: run `latents` again.")
        latents, present = file.get_tensor("latents"), file.get_tensor("present")
    leaves = place.leaves()
    return Bank(latents, [[leaves[at] for at in row.nonzero().flatten().tolist()] for row in present])
