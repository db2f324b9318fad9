"""A step pair changed by hand, and what fine-tuned encoders then say: hide, noise, swap, edit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from PIL import Image

from isi_core.datasets.step_pictures import open_images
from isi_core.domain.interventions import GaussianNoise
from isi_core.domain.rendering import apply
from isi_core.studies.step_order.order_prompt import hidden

if TYPE_CHECKING:
    from isi_core.domain.step_pairs import StepPair
    from isi_core.studies.step_order.classifier import OrderClassifier


@dataclass(frozen=True)
class PairChange:
    """What is done to a pair, in this order: swap, hide, noise; then the words as they are written here.

    Attributes
    ----------
    swap_pictures, swap_headlines : exchange the two, the other modality stays.
    hide : which picture turns grey, as shown after the swap.
    noise : standard deviation of Gaussian noise on both pictures, grey levels of 255.
    title, headlines : other words; None leaves those of the pair (after the swap).
    """

    swap_pictures: bool = False
    swap_headlines: bool = False
    hide: tuple[bool, bool] = (False, False)
    noise: float = 0.0
    seed: int = 0
    title: str | None = None
    headlines: tuple[str | None, str | None] = (None, None)

    @property
    def nothing(self) -> bool:
        """The pair stays as it is."""
        return self == PairChange(seed=self.seed)


def changed_pair(pair: StepPair, change: PairChange) -> StepPair:
    """The pair after the change; its label stays that of the pair as it was.

    Raises
    ------
    InputError : a picture cannot be opened.
    """
    pictures = list(open_images(pair))
    if change.swap_pictures:
        pictures.reverse()
    for place, hide in enumerate(change.hide):
        if hide:
            pictures[place] = hidden(pictures[place])
    if change.noise:
        pictures = [
            apply(picture, GaussianNoise(change.noise, change.seed + place)) for place, picture in enumerate(pictures)
        ]
    own = pair.headlines[::-1] if change.swap_headlines else pair.headlines
    first, second = (mine if other is None else other for mine, other in zip(own, change.headlines, strict=True))
    return replace(
        pair,
        title=pair.title if change.title is None else change.title,
        headlines=(first, second),
        images=(partial(_same, pictures[0]), partial(_same, pictures[1])),
    )


def _same(picture: Image.Image) -> Image.Image:
    return picture


def in_order(classifier: OrderClassifier, pairs: Sequence[StepPair]) -> list[float]:
    """Probability of "in order" of each pair.

    Raises
    ------
    InputError : a picture cannot be opened.
    """
    import torch

    from isi_core.models.threads import SMALL, one_thread

    encoder, modality = classifier.encoder, classifier.modality
    small = sum(p.numel() for p in classifier.parameters()) < SMALL
    device = next(classifier.parameters()).device
    with one_thread(small and device.type == "cpu"), torch.inference_mode():
        texts = [pair.title for pair in pairs]
        if "t" in modality:
            texts += [pair.headlines[i] for i in (0, 1) for pair in pairs]
        tokens = {name: value.to(device) for name, value in encoder.tokens(texts).items()}
        pixels = None
        if "v" in modality:
            opened = [open_images(pair) for pair in pairs]
            pixels = encoder.pixels([both[i] for i in (0, 1) for both in opened]).to(device)
        found: list[float] = torch.softmax(classifier.eval()(tokens, pixels).float(), -1)[:, 1].tolist()
    return found
