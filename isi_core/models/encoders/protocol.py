"""What step order asks of an encoder: a vector of one size for a short text and for a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import nn

Family = Literal["clip", "blip", "siglip", "vit-roberta"]


class PairEncoder(Protocol):
    """A text tower and an image tower whose projected features are of equal size.

    Attributes
    ----------
    name : as the tables show it.
    family : which of the four it is.
    source : hub id or folder name it was loaded from.
    revision : commit of the hub, or SHA-256 of the folder's weights.
    module : every weight, for optimizers and devices; `text_features` and `image_features` run through it.
    width : numbers in a feature.
    """

    name: str
    family: Family
    source: str
    revision: str
    module: nn.Module
    width: int

    @property
    def longest(self) -> int:
        """Tokens of a text at most; what is longer is cut."""

    def tokens(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Token ids and mask of n texts, each (n, length)."""

    def pixels(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """RGB pictures as the processor sizes them, before normalization: uint8 (n, 3, height, width)."""

    def text_features(self, tokens: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Projected features (n, width), not normalized."""

    def image_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Projected features (n, width) of uint8 pixels (n, 3, height, width), not normalized."""

    def save(self, folder: Path) -> None:
        """Weights, tokenizer and processor, so that `load_encoder` loads them from this folder."""
