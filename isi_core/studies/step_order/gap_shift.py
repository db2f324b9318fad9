"""The gap under the shift intervention of Liang et al. (NeurIPS 2022, section 5), against accuracy.

Both modalities are moved along the gap vector by λ and normalized anew; asked again are the fine-tuned head, and what
the encoder can do without one: tell which headline goes with which picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from isi_core.domain.errors import InputError
from isi_core.measures.modality_gap import (
    centroid_distance,
    matching_accuracy,
    mean_cosines,
    retrieval_accuracy,
    shifted,
)
from isi_core.studies.step_order.batches import PairBatches, Pictures, split_batch
from isi_core.studies.step_order.results import ShiftPoint

if TYPE_CHECKING:
    from isi_core.domain.step_pairs import StepPair
    from isi_core.studies.step_order.classifier import OrderClassifier
    from isi_core.studies.step_order.gap import StepFeatures

SHIFTS = tuple(i / 8 for i in range(-4, 9))
"""The λ that are asked: from a gap twice as wide, over closed (0.5), to reversed (1)."""
CANDIDATES = 10
"""Pictures that a headline's own is found among."""
_BATCH = 64


def shift_points(
    features: StepFeatures, shifts: Sequence[float], moment: str, heads: Sequence[float] | None = None
) -> list[ShiftPoint]:
    """One point a λ of an encoder's features; `heads` are the accuracies of its head there, where it has one."""
    points = []
    for place, amount in enumerate(shifts):
        text, image = shifted(features.text, features.image, amount)
        true, random = mean_cosines(text, image)
        half = len(text) // 2
        points.append(
            ShiftPoint(
                float(amount),
                centroid_distance(text, image),
                None if heads is None else heads[place],
                moment,
                matching_accuracy((text[:half], image[:half]), (text[half:], image[half:])),
                retrieval_accuracy(text, image, min(CANDIDATES, len(text))),
                true,
                random,
            )
        )
    return points


@torch.inference_mode()
def head_accuracies(
    classifier: OrderClassifier, pairs: Sequence[StepPair], shifts: Sequence[float], pictures: Pictures | None = None
) -> list[float]:
    """Accuracy of a vision + text head with the headlines and pictures moved along the gap, one a λ.

    The head was trained on features that are not normalized: each gets its own length back after the move.

    Raises
    ------
    InputError : the head does not see both modalities, or no picture can be opened.
    """
    if classifier.modality != "vt":
        raise InputError("The shift moves both modalities: choose an encoder that was fine-tuned on vision + text.")
    module = classifier.eval()
    device = next(module.parameters()).device
    data = PairBatches(pairs, classifier.encoder, "vt", pictures or Pictures(classifier.encoder))
    parts: list[list[torch.Tensor]] = []
    labels: list[int] = []
    for batch in data.loader(_BATCH):
        if len(batch["labels"]):
            tokens, pixels = split_batch({name: value.to(device) for name, value in batch.items()})
            parts.append([part.float().cpu() for part in module.features(tokens, pixels)])
            labels += batch["labels"].tolist()
    if not parts:
        raise InputError("No step can be measured: none of the pictures can be opened.")
    title, *steps = (torch.cat(column) for column in zip(*parts, strict=True))
    text, image = torch.cat(steps[:2]).double().numpy(), torch.cat(steps[2:]).double().numpy()
    lengths = [np.linalg.norm(cloud, axis=1, keepdims=True) for cloud in (text, image)]
    weight, bias = (value.detach().float().cpu() for value in (module.head.weight, module.head.bias))
    found = []
    for amount in shifts:
        moved = [
            torch.from_numpy(cloud * length).float()
            for cloud, length in zip(shifted(text, image, amount), lengths, strict=True)
        ]
        joined = torch.cat([title, *moved[0].chunk(2), *moved[1].chunk(2)], dim=-1)
        right = (joined @ weight.T + bias).argmax(-1) == torch.tensor(labels)
        found.append(float(right.float().mean()))
    return found
