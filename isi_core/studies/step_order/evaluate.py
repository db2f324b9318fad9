"""Test fine-tuned encoders: accuracy a category with intervals, and modalities compared on the same pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from isi_core.domain.progress import Progress
from isi_core.domain.step_pairs import StepPair
from isi_core.measures.statistics import mcnemar, wilson_interval
from isi_core.models.threads import SMALL, one_thread
from isi_core.studies.step_order.batches import PairBatches, Pictures
from isi_core.studies.step_order.classifier import OrderClassifier
from isi_core.studies.step_order.results import ALL, CategoryAccuracy, Modality, ModalityComparison, PairVerdict
from isi_core.studies.step_order.settings import TrainingSettings
from isi_core.studies.step_order.train import accelerator_for, predict

_BATCH = 64


@dataclass(frozen=True)
class Tested:
    """What one fine-tuned encoder said of every test pair.

    Attributes
    ----------
    verdicts : of the pairs whose pictures could be opened.
    problems : one sentence for each picture that could not.
    skipped : how many pairs were left out for them.
    """

    encoder: str
    modality: Modality
    verdicts: tuple[PairVerdict, ...]
    problems: tuple[str, ...] = ()
    skipped: int = 0


def evaluate(
    classifier: OrderClassifier,
    pairs: Sequence[StepPair],
    progress: Progress | None = None,
    pictures: Pictures | None = None,
) -> Tested:
    """Ask a fine-tuned encoder about pairs.

    Raises
    ------
    Cancelled : by `progress`.
    """
    accelerator = accelerator_for(TrainingSettings(precision="auto"))
    encoder = classifier.encoder
    seen = pictures or Pictures(encoder)
    data = PairBatches(pairs, encoder, classifier.modality, seen)
    small = accelerator.device.type == "cpu" and sum(p.numel() for p in classifier.parameters()) < SMALL
    with one_thread(small), torch.inference_mode():
        found = predict(accelerator, accelerator.prepare(classifier), data, _BATCH, progress)
    verdicts = tuple(
        PairVerdict(pairs[row].idx, pairs[row].category, pairs[row].label, in_order)
        for row, in_order in sorted(found.items())
    )
    return Tested(encoder.name, classifier.modality, verdicts, tuple(seen.problems), len(data.skipped))


def accuracies(tested: Tested, kinds: Mapping[str, str]) -> list[CategoryAccuracy]:
    """A row a category, in the order of `kinds`, then one over all; Wilson intervals, 95 %.

    Parameters
    ----------
    kinds : what decides each category: picture, words, both or "".
    """
    rows = []
    for category in (*kinds, ALL):
        right = [v.right for v in tested.verdicts if category in (ALL, v.category)]
        if not right:
            continue
        found = wilson_interval(sum(right), len(right))
        rows.append(
            CategoryAccuracy(
                tested.encoder, tested.modality, category, kinds.get(category, ""),
                found.estimate, found.low, found.high, found.n,
            )
        )  # fmt: skip
    return rows


def compare_modalities(tested: Sequence[Tested], categories: Sequence[str]) -> list[ModalityComparison]:
    """Vision + text against vision and against text, of each encoder, on the pairs that both were asked about."""
    by_key = {(one.encoder, one.modality): {v.idx: v for v in one.verdicts} for one in tested}
    rows = []
    for (encoder, modality), joint in by_key.items():
        if modality != "vt":
            continue
        for other in ("v", "t"):
            alone = by_key.get((encoder, other))
            for category in (*categories, ALL) if alone else ():
                shared = [i for i, v in joint.items() if i in (alone or {}) and category in (ALL, v.category)]
                if not shared or not alone:
                    continue
                first, second = [joint[i].right for i in shared], [alone[i].right for i in shared]
                test = mcnemar(first, second)
                difference = (sum(first) - sum(second)) / len(shared)
                counts = test.first_only, test.second_only, test.p_value, len(shared)
                rows.append(ModalityComparison(encoder, category, other, difference, *counts))
    return rows
