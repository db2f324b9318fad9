"""The modality gap of an encoder before and after fine-tuning, a category and over all, on the same two axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from isi_core.domain.errors import InputError
from isi_core.domain.progress import Progress
from isi_core.domain.step_pairs import StepPair
from isi_core.measures.modality_gap import (
    Axes,
    centroid_distance,
    effective_rank,
    mean_cosines,
    normalized,
    principal_axes,
)
from isi_core.models.encoders.protocol import PairEncoder
from isi_core.models.threads import SMALL, one_thread
from isi_core.studies.step_order.batches import PairBatches, Pictures, split_batch
from isi_core.studies.step_order.classifier import OrderClassifier
from isi_core.studies.step_order.gap_shift import head_accuracies, shift_points
from isi_core.studies.step_order.results import ALL, CategoryGap, GapMoment, GapResult, ShiftPoint
from isi_core.studies.step_order.settings import TrainingSettings
from isi_core.studies.step_order.train import accelerator_for

MAX_POINTS = 1_000
"""Points of each cloud that a result keeps for drawing."""
STEPS = 200
"""Steps of a category that are measured, when nothing else is asked for."""
_BATCH = 64

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StepFeatures:
    """Projected features of steps, not normalized.

    Attributes
    ----------
    text, image : (n, width) of the headlines and the pictures; row i is one step's: those shown first of all pairs,
        then those shown second, in the same order.
    categories : (n,) of the steps.
    problems : one sentence for each picture that could not be opened.
    """

    text: Floats
    image: Floats
    categories: tuple[str, ...]
    problems: tuple[str, ...] = ()


def distinct_steps(pairs: Sequence[StepPair], per_category: int = STEPS) -> list[StepPair]:
    """Pairs whose steps are the first `per_category` or so different ones of each category, two a pair."""
    counts: dict[str, int] = {}
    seen: set[object] = set()
    chosen = []
    for pair in pairs:
        steps = [*zip(pair.headlines, pair.images, strict=True)]
        if counts.get(pair.category, 0) + 2 > per_category or any(step in seen for step in steps):
            continue
        seen.update(steps)
        counts[pair.category] = counts.get(pair.category, 0) + 2
        chosen.append(pair)
    return chosen


@torch.inference_mode()
def step_features(
    encoder: PairEncoder, pairs: Sequence[StepPair], progress: Progress | None = None, pictures: Pictures | None = None
) -> StepFeatures:
    """Features of both steps of every pair: n = twice the pairs whose pictures can be opened.

    Raises
    ------
    InputError : no picture can be opened.
    Cancelled : by `progress`.
    """
    accelerator = accelerator_for(TrainingSettings(precision="no"))
    module = encoder.module.to(accelerator.device).eval()
    small = accelerator.device.type == "cpu" and sum(p.numel() for p in module.parameters()) < SMALL
    seen = pictures or Pictures(encoder)
    data = PairBatches(pairs, encoder, "vt", seen)
    texts: list[list[Floats]] = []
    images: list[list[Floats]] = []
    categories: list[str] = []
    with one_thread(small):
        for batch in data.loader(_BATCH):
            if progress is not None:
                progress(f"{2 * len(categories):,} steps encoded", len(categories) / len(pairs))
            if not len(batch["labels"]):
                continue
            tokens, pixels = split_batch({name: value.to(accelerator.device) for name, value in batch.items()})
            count = len(batch["labels"])
            headlines = {name: value[count:] for name, value in tokens.items()}
            assert pixels is not None
            for into, made in ((texts, encoder.text_features(headlines)), (images, encoder.image_features(pixels))):
                into.append([part.numpy() for part in made.float().cpu().double().chunk(2)])
            categories += [pairs[int(row)].category for row in batch["rows"]]
    if not texts:
        raise InputError("No step can be measured: none of the pictures can be opened.")
    text, image = (np.concatenate([part[i] for i in (0, 1) for part in parts]) for parts in (texts, images))
    return StepFeatures(text, image, tuple(categories * 2), tuple(seen.problems))


def category_gap(category: str, text: Floats, image: Floats, axes: Axes) -> CategoryGap:
    """Every number of one category from normalized features (n, width)."""
    true, random = mean_cosines(text, image)
    (text_x, text_y), (image_x, image_y) = (axes.coordinates(cloud).mean(axis=0) for cloud in (text, image))
    return CategoryGap(
        category,
        len(text),
        centroid_distance(text, image),
        true,
        random,
        effective_rank(text),
        effective_rank(image),
        (float(text_x), float(text_y)),
        (float(image_x), float(image_y)),
    )


def gap_moment(features: StepFeatures, axes: Axes) -> GapMoment:
    """Both clouds on the axes, and the numbers of each category."""
    text, image = normalized(features.text), normalized(features.image)
    labels = np.array(features.categories)
    rows = tuple(
        category_gap(name, text[labels == name], image[labels == name], axes) for name in dict.fromkeys(labels.tolist())
    )
    # Every k-th step: all categories stay in the picture.
    shown = np.unique(np.linspace(0, len(labels) - 1, min(MAX_POINTS, len(labels))).round().astype(int))
    return GapMoment(
        category_gap(ALL, text, image, axes),
        rows,
        tuple(labels[shown].tolist()),
        _points(axes.coordinates(text[shown])),
        _points(axes.coordinates(image[shown])),
    )


def _points(coordinates: Floats) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in coordinates)


def measure_gap(
    before: PairEncoder,
    after: OrderClassifier | None,
    pairs: Sequence[StepPair],
    per_category: int = STEPS,
    progress: Progress | None = None,
    shifts: Sequence[float] = (),
) -> GapResult:
    """The gap before and after fine-tuning on the same steps; the axes are those of all clouds together.

    Parameters
    ----------
    before : as it was pre-trained.
    after : fine-tuned; None measures `before` alone.
    shifts : the λ at which the accuracies are asked again, before and after; the head's only of vision + text.

    Raises
    ------
    InputError : too few steps, or pictures that cannot be opened.
    Cancelled : by `progress`.
    """
    chosen = distinct_steps(pairs, per_category)
    if not chosen:
        raise InputError("There is no step to measure: give pairs, and at least two steps a category.")
    pictures = Pictures(before) if after is None or after.encoder.name == before.name else None
    half = None if progress is None else (lambda message, share: progress(message, share / (1 if after is None else 2)))
    first = step_features(before, chosen, half, pictures)
    second = None
    if after is not None:
        rest = None if progress is None else (lambda message, share: progress(message, 0.5 + share / 2))
        second = step_features(after.encoder, chosen, rest, pictures)
        if second.text.shape[1] != first.text.shape[1]:
            raise InputError("Before and after are encoders of different sizes: choose one encoder's two states.")
    moments = [features for features in (first, second) if features is not None]
    axes = principal_axes([normalized(cloud) for features in moments for cloud in (features.text, features.image)])
    return GapResult(
        before.name,
        after.modality if after is not None else None,
        gap_moment(first, axes),
        gap_moment(second, axes) if second is not None else None,
        axes.explained,
        (*shift_points(first, shifts, "before"), *_shifts_after(second, after, chosen, shifts, pictures)),
    )


def _shifts_after(
    features: StepFeatures | None,
    after: OrderClassifier | None,
    pairs: Sequence[StepPair],
    shifts: Sequence[float],
    pictures: Pictures | None,
) -> list[ShiftPoint]:
    if features is None or after is None or not shifts:
        return []
    heads = head_accuracies(after, pairs, shifts, pictures) if after.modality == "vt" else None
    return shift_points(features, shifts, "after", heads)
