"""Pictures, labels and attributes that the small classifiers learn from, drawn once and kept beside the checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import AutoImageProcessor, BaseImageProcessor
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from isi_core.worlds.attributed import AttributeWorld, Subject, world
from isi_core.worlds.attributed import Path as AttributePath
from isi_core.worlds.rules import Rule, shipped_rule, shipped_rules

SIDE = 64
"""Pixels of a side that the classifiers see."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Bank:
    """Pictures with the leaves that are on in them.

    Attributes
    ----------
    pictures : (n, 64, 64, 3) uint8.
    leaves : (n, leaves of the world) 1 where a leaf is on.
    """

    pictures: Bytes
    leaves: Bytes

    def __len__(self) -> int:
        return len(self.pictures)


def build_processor() -> BaseImageProcessor:
    """Resizes any picture to 64 x 64 and scales it to [-1, 1]; saved beside every classifier."""
    processor: BaseImageProcessor = ViTImageProcessorPil(
        do_convert_rgb=True, size={"height": SIDE, "width": SIDE}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return processor


def load_processor(folder: Path) -> BaseImageProcessor:
    """The processor saved in a folder."""
    processor: BaseImageProcessor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    return processor


def pixel_values(pictures: Bytes) -> torch.Tensor:
    """(n, 64, 64, 3) bytes -> (n, 3, 64, 64) in [-1, 1], as the processor makes it."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def leaf_vector(place: AttributeWorld, subject: Subject) -> list[int]:
    """1 for each leaf of the world, in its order, that is on."""
    on = set(subject.leaves)
    return [int(leaf in on) for leaf in place.leaves()]


def small_picture(place: AttributeWorld, subject: Subject, processor: BaseImageProcessor) -> Bytes:
    """(64, 64, 3) the subject's picture at the size that the processor makes of it."""
    resized = processor(place.render(subject), return_tensors="np", do_rescale=False, do_normalize=False)
    return np.moveaxis(np.asarray(resized["pixel_values"][0]), 0, -1).round().astype(np.uint8)


def draw_trained(rng: Random, place: AttributeWorld, held_out: bool) -> Subject:
    """A subject by lot; every second one with one to four attributes turned on or off, as an edit would.

    The shipped rules' spurious attributes are on in one half and off in the other, so that any of
    their correlations with a class can be had by weighing pictures.
    """
    while True:
        subject = place.draw_subject(rng)
        if subject.held_out is held_out:
            break
    if rng.random() < 0.5:
        for _ in range(rng.randint(1, 4)):
            subject = place.with_attribute(subject, rng.choice(place.leaves()), rng.random() < 0.75)
    for rule in map(shipped_rule, shipped_rules()):
        if rule.world == place.name and rule.spurious is not None:
            subject = place.with_attribute(subject, rule.spurious, rng.random() < 0.5)
    return subject


def bank_of(place: AttributeWorld, subjects: Iterable[Subject], count: int) -> Bank:
    """The bank of this many subjects."""
    processor = build_processor()
    pictures = np.empty((count, SIDE, SIDE, 3), np.uint8)
    leaves = np.empty((count, len(place.leaves())), np.uint8)
    for index, subject in enumerate(islice(subjects, count)):
        pictures[index] = small_picture(place, subject, processor)
        leaves[index] = leaf_vector(place, subject)
    return Bank(pictures, leaves)


def draw_bank(rng: Random, place: AttributeWorld, count: int, held_out: bool) -> Bank:
    """A bank by lot, of subjects as trained on but all held out from training, or of none such."""
    return bank_of(place, (draw_trained(rng, place, held_out) for _ in range(count)), count)


def kept_bank(file: Path, world_name: str, count: int, seed: int = 0) -> Bank:
    """The training bank in this .npz file, drawn first where there is none of this size."""
    if file.exists():
        with np.load(file, allow_pickle=False) as saved:
            if len(saved["leaves"]) == count:
                return Bank(saved["pictures"], saved["leaves"])
    bank = draw_bank(Random(f"{seed} bank of {world_name}"), world(world_name), count, held_out=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp.npz")
    np.savez(temporary, pictures=bank.pictures, leaves=bank.leaves)
    temporary.replace(file)
    return bank


def leaves_on(place: AttributeWorld, row: Bytes) -> tuple[AttributePath, ...]:
    """The leaves that a bank's row says are on."""
    return tuple(leaf for leaf, on in zip(place.leaves(), row, strict=True) if on)


def label_bank(bank: Bank, rule: Rule, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(n,) labels by the rule with its noise, and (n,) the chance with which a picture is chosen for training.

    Chances sum to one and let the spurious attribute be on in `spurious_share` of its class and in
    the rest of the share elsewhere.
    """
    place, rng = world(rule.world), Random(f"{seed} labels of {rule.name}")
    on = [leaves_on(place, row) for row in bank.leaves]
    labels = np.array([rule.draw_label_of(rng, leaves) for leaves in on])
    if rule.spurious is None:
        return labels, np.full(len(bank), 1 / len(bank))
    spurious = rule.spurious
    present = np.array([any(leaf[: len(spurious)] == spurious for leaf in leaves) for leaves in on])
    along = labels == rule.classes.index(rule.spurious_class)
    chances = np.where(present == along, rule.spurious_share, 1 - rule.spurious_share)
    return labels, chances / chances.sum()


def disturbed(pictures: Bytes, generator: torch.Generator) -> torch.Tensor:
    """Pixel values of pictures moved by up to two pixels, half of them softened, with a little noise and light.

    Edited pictures come out of a decoder that blurs and grains them: what is read there must not hang on sharp edges.
    """
    n, side = len(pictures), pictures.shape[1]
    dx, dy = (int(torch.randint(0, 5, (1,), generator=generator)) for _ in "xy")
    padded = np.pad(pictures, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    pixels = pixel_values(np.ascontiguousarray(padded[:, dy : dy + side, dx : dx + side]))
    half = n // 2
    share = torch.rand(half, 1, 1, 1, generator=generator) * 0.6
    soft = functional.avg_pool2d(pixels[:half], 3, 1, padding=1, count_include_pad=False)
    pixels[:half] += share * (soft - pixels[:half])
    # Few pieces of grain are drawn and shared: it is their presence that matters, and drawing takes time.
    grain = 0.05 * torch.rand(4, 1, 1, 1, generator=generator) * torch.randn(4, 3, side, side, generator=generator)
    light = 1 + 0.12 * (torch.rand(n, 1, 1, 1, generator=generator) - 0.5)
    return pixels.mul_(light).add_(grain[torch.arange(n) % 4])
