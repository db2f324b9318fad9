"""What a fine-tuned encoder says when an input is hidden or swapped, and whether it sticks to one place.

A pair whose answer flips when its pictures are hidden or swapped was answered by the pictures; one that flips with the
headlines, by the words. Both steps exchanged should turn the answer round: where it stays, the encoder went by the
place that a step is shown at (position bias).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isi_core.studies.step_order.results import ALL, Modality

if TYPE_CHECKING:
    from isi_core.domain.progress import Progress
    from isi_core.domain.step_pairs import StepPair
    from isi_core.studies.step_order.batches import Pictures
    from isi_core.studies.step_order.classifier import OrderClassifier

REVERSED = "steps exchanged"
PICTURES_HIDDEN, HEADLINES_HIDDEN = "pictures hidden", "headlines hidden"
PICTURES_SWAPPED, HEADLINES_SWAPPED = "pictures swapped", "headlines swapped"
CHANGES: dict[str, tuple[str, ...]] = {
    "v": (REVERSED, PICTURES_HIDDEN),
    "t": (REVERSED, HEADLINES_HIDDEN),
    "vt": (REVERSED, PICTURES_HIDDEN, HEADLINES_HIDDEN, PICTURES_SWAPPED, HEADLINES_SWAPPED),
}
"""What is changed for a head of each modality; with one modality alone, its swap is the exchange of the steps."""
PER_CATEGORY = 200
"""Test pairs of each category that are asked again, when nothing else is said."""
_BATCH = 64


@dataclass(frozen=True)
class PairFlips:
    """One pair as it is, and changed.

    Attributes
    ----------
    in_order : probability of "in order" for the pair as it is shown.
    changed : the same for the changed pair, by `CHANGES`.
    """

    idx: int
    category: str
    label: int
    in_order: float
    changed: Mapping[str, float]

    @property
    def right(self) -> bool:
        """The answer to the pair as it is shown is the truth."""
        return (self.in_order >= 0.5) == bool(self.label)

    def flips(self, *changes: str) -> bool:
        """Any of these changes turns the answer round."""
        return any((self.changed[c] >= 0.5) != (self.in_order >= 0.5) for c in changes if c in self.changed)


@dataclass(frozen=True)
class Flips:
    """What one fine-tuned encoder said of changed pairs."""

    encoder: str
    modality: Modality
    pairs: tuple[PairFlips, ...]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Flips:
        """The flips from plain values."""
        return cls(str(data["encoder"]), data["modality"], tuple(PairFlips(**entry) for entry in data["pairs"]))


@dataclass(frozen=True)
class PositionBias:
    """How far an encoder goes by the place that a step is shown at.

    Attributes
    ----------
    contradictions : share of n pairs with the same answer to both orders, with its 95 % interval (Wilson); 0 is ideal,
        1 would be an encoder that sees no steps at all.
    says_in_order : share of "in order" among the answers to both orders; 0.5 without a bias.
    """

    encoder: str
    modality: Modality
    category: str
    n: int
    contradictions: float
    low: float
    high: float
    says_in_order: float


def first_of_each(pairs: Sequence[StepPair], per_category: int = PER_CATEGORY) -> list[StepPair]:
    """The first pairs of each category, in their order."""
    counts: dict[str, int] = {}
    chosen = []
    for pair in pairs:
        counts[pair.category] = counts.get(pair.category, 0) + 1
        if counts[pair.category] <= per_category:
            chosen.append(pair)
    return chosen


def measure_flips(
    classifier: OrderClassifier,
    pairs: Sequence[StepPair],
    progress: Progress | None = None,
    pictures: Pictures | None = None,
) -> Flips:
    """Ask again with every change; each picture and headline is encoded once.

    A hidden picture is a grey one, a hidden headline an empty one. Pairs with a picture that cannot be opened are left
    out.

    Raises
    ------
    Cancelled : by `progress`.
    """
    import torch
    from PIL import Image

    from isi_core.models.threads import SMALL, one_thread
    from isi_core.studies.step_order.batches import PairBatches, Pictures, split_batch
    from isi_core.studies.step_order.order_prompt import GREY
    from isi_core.studies.step_order.settings import TrainingSettings
    from isi_core.studies.step_order.train import accelerator_for

    encoder, modality = classifier.encoder, classifier.modality
    accelerator = accelerator_for(TrainingSettings(precision="auto"))  # as the verdicts were made
    device = accelerator.device
    module = classifier.to(device).eval()
    small = device.type == "cpu" and sum(p.numel() for p in module.parameters()) < SMALL
    data = PairBatches(pairs, encoder, modality, pictures or Pictures(encoder))
    found: list[PairFlips] = []
    with one_thread(small), torch.inference_mode(), accelerator.autocast():
        grey = empty = None
        if "v" in modality:
            grey = encoder.image_features(encoder.pixels([Image.new("RGB", (64, 64), GREY)]).to(device))
        if "t" in modality:
            empty = encoder.text_features({k: v.to(device) for k, v in encoder.tokens([""]).items()})
        for batch in data.loader(_BATCH):
            if progress is not None:
                progress(f"{len(found):,} of {len(pairs):,} pairs changed", len(found) / max(1, len(pairs)))
            if not len(batch["labels"]):
                continue
            tokens, pixels = split_batch({name: value.to(device) for name, value in batch.items()})
            title, *steps = module.features(tokens, pixels)
            texts = steps[:2] if "t" in modality else []
            images = steps[-2:] if "v" in modality else []

            def told(words: Sequence[torch.Tensor], sights: Sequence[torch.Tensor], title: Any = title) -> list[float]:
                joined = torch.cat([title, *(p.expand(len(title), -1) for p in (*words, *sights))], dim=-1)
                probabilities: list[float] = torch.softmax(module.head(joined).float(), -1)[:, 1].tolist()
                return probabilities

            shown = told(texts, images)
            changed = {REVERSED: told(texts[::-1], images[::-1])}
            if grey is not None:
                changed[PICTURES_HIDDEN] = told(texts, [grey, grey])
            if empty is not None:
                changed[HEADLINES_HIDDEN] = told([empty, empty], images)
            if modality == "vt":
                changed[PICTURES_SWAPPED] = told(texts, images[::-1])
                changed[HEADLINES_SWAPPED] = told(texts[::-1], images)
            for place, row in enumerate(batch["rows"].tolist()):
                pair = pairs[row]
                answers = {name: round(values[place], 6) for name, values in changed.items()}
                found.append(PairFlips(pair.idx, pair.category, pair.label, round(shown[place], 6), answers))
    return Flips(encoder.name, modality, tuple(found))


def position_bias(flips: Flips, categories: Sequence[str] = ()) -> list[PositionBias]:
    """A row a category, then one over all."""
    from isi_core.measures.statistics import wilson_interval

    rows = []
    for category in (*categories, ALL):
        here = [pair for pair in flips.pairs if category in (ALL, pair.category)]
        if not here:
            continue
        both = [(pair.in_order >= 0.5, pair.changed[REVERSED] >= 0.5) for pair in here]
        same = wilson_interval(sum(first == second for first, second in both), len(both))
        says = sum(first + second for first, second in both) / (2 * len(both))
        rows.append(
            PositionBias(flips.encoder, flips.modality, category, len(both), same.estimate, same.low, same.high, says)
        )
    return rows


IMAGE_MATTERS, TEXT_MATTERS, EITHER_MATTERS = "Image matters", "Text matters", "Both matter"


def flip_kinds(flips: Flips) -> dict[str, list[PairFlips]]:
    """Right answers of a vision + text head by what turns them round, the largest change first.

    A pair is of the kind *image matters* where hiding or swapping the pictures flips it and neither hiding nor swapping
    the headlines does; *text matters* the other way round; *both matter* where either does.
    """
    found: dict[str, list[tuple[float, PairFlips]]] = {IMAGE_MATTERS: [], TEXT_MATTERS: [], EITHER_MATTERS: []}
    for pair in flips.pairs:
        if not pair.right:
            continue
        image, text = pair.flips(PICTURES_HIDDEN, PICTURES_SWAPPED), pair.flips(HEADLINES_HIDDEN, HEADLINES_SWAPPED)
        if image or text:
            kind = EITHER_MATTERS if image and text else IMAGE_MATTERS if image else TEXT_MATTERS
            change = max(abs(value - pair.in_order) for name, value in pair.changed.items() if name != REVERSED)
            found[kind].append((change, pair))
    return {
        kind: [pair for _, pair in sorted(pairs, key=lambda item: (-item[0], item[1].idx))]
        for kind, pairs in found.items()
    }
