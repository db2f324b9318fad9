"""Pictures on their way into a vision tower: what cannot be taken, what the tower sees, the grid of its tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers.image_processing_utils import select_best_resolution

from isi_core.domain.errors import InputError

MIN_SIDE = 4  # pixels; below it, processors take a picture's sides for its colour channels
MAX_ASPECT = 100  # a processor that scales the shorter side to the tower's size would need gigabytes for more


def check_picture(image: Image.Image) -> None:
    """Raise `InputError` for a picture that no processor can scale to a vision tower's size."""
    shorter, longer = sorted(image.size)
    if shorter < MIN_SIDE:
        raise InputError(f"The picture is {image.width} by {image.height} pixels: choose a larger one.")
    if longer > MAX_ASPECT * shorter:
        raise InputError(
            f"The picture is {image.width} by {image.height} pixels, too narrow a strip for the model: crop it."
        )


def image_grid(
    inputs: Mapping[str, Any], tokens: int, patch_size: int | Sequence[int] | None, merge_size: int = 1
) -> tuple[int, int]:
    """(rows, columns) of a picture's tokens; (1, tokens) where they do not fill one rectangle.

    Models of the Qwen-VL kind report a grid of patches, `merge_size`^2 of which make a token. Towers of a fixed size
    have one token a patch, or one for a square of patches (Gemma 3, InternVL). Several tiles are no rectangle; see
    `anyres_tiles`.
    `patch_size` is the side of a patch in pixels, or (height, width); None where it is not known.
    """
    strip = (1, tokens)
    if (reported := inputs.get("image_grid_thw")) is not None:
        frames, rows, columns = (int(value) for value in reported[0])
        rows, columns = rows // merge_size, columns // merge_size
        return (rows, columns) if frames * rows * columns == tokens else strip
    pixels = inputs.get("pixel_values")
    if isinstance(pixels, torch.Tensor) and pixels.ndim == 5:  # Idefics: (prompts, tiles, ...)
        pixels = pixels.flatten(0, 1)
    if not isinstance(pixels, torch.Tensor) or pixels.ndim != 4 or len(pixels) != 1 or not patch_size or not tokens:
        return strip
    sides = (patch_size, patch_size) if isinstance(patch_size, int) else patch_size
    rows, columns = (length // side for length, side in zip(pixels.shape[-2:], sides, strict=True))
    pooled = math.isqrt(rows * columns // tokens)
    if not pooled or rows % pooled or columns % pooled or rows * columns != tokens * pooled**2:
        return strip
    return rows // pooled, columns // pooled


@dataclass(frozen=True)
class Tiles:
    """The tokens of a picture that is seen as a whole and in tiles (LLaVA-NeXT's anyres), in their order.

    First come those of the whole, scaled down to one tile; then the rows of all tiles put side by side, without the
    padding around the picture, each row with one more token that ends it.

    Attributes
    ----------
    whole : (rows, columns) of the tokens of the whole.
    rows, columns : of the tiles' tokens.
    """

    whole: tuple[int, int]
    rows: int
    columns: int

    @property
    def tokens(self) -> int:
        """How many there are."""
        return self.whole[0] * self.whole[1] + self.rows * (self.columns + 1)

    def put_back(self, values: NDArray[Any]) -> NDArray[Any]:
        """(..., rows x columns) what falls on each place of the picture, of (..., tokens) shares.

        What a token of the whole has is spread evenly over the places it covers. What ends a row lies nowhere in the
        picture and is left out, so the places may sum to less than the tokens.
        """
        lead, first = values.shape[:-1], self.whole[0] * self.whole[1]
        tiles = values[..., first:].reshape(*lead, self.rows, self.columns + 1)[..., :-1]
        whole = values[..., :first].reshape(*lead, *self.whole).astype(np.float64)
        spread = _spread(self.whole[0], self.rows).T @ whole @ _spread(self.whole[1], self.columns)
        return (tiles + spread).reshape(*lead, self.rows * self.columns).astype(values.dtype)


def _spread(coarse: int, fine: int) -> NDArray[np.float64]:
    """(coarse, fine) share of each of `coarse` equal stretches that lies in each of `fine` ones; rows sum to one."""
    edges, finer = np.arange(coarse + 1) / coarse, np.arange(fine + 1) / fine
    low, high = np.maximum(edges[:-1, None], finer[None, :-1]), np.minimum(edges[1:, None], finer[None, 1:])
    shares: NDArray[np.float64] = np.clip(high - low, 0, None) * coarse
    return shares


def anyres_tiles(
    inputs: Mapping[str, Any], tokens: int, patch_size: int | Sequence[int] | None, image_processor: Any
) -> Tiles | None:
    """How the tokens of a picture in tiles lie; None where it is not in tiles, or other tiles than LLaVA-NeXT's."""
    pixels, sizes = inputs.get("pixel_values"), inputs.get("image_sizes")
    pinpoints = getattr(image_processor, "image_grid_pinpoints", None)
    if not isinstance(pixels, torch.Tensor) or pixels.ndim != 5 or not isinstance(patch_size, int):
        return None
    if sizes is None or len(sizes) != 1 or not pinpoints:
        return None
    height, width = (int(length) for length in sizes[0])
    tile = pixels.shape[-2] // patch_size, pixels.shape[-1] // patch_size
    best = select_best_resolution((height, width), pinpoints)
    rows, columns = (length // side * held for length, side, held in zip(best, pixels.shape[-2:], tile, strict=True))
    # The picture keeps its shape within the tiles; the padding beside it is cut away again, as much on both sides.
    if width / height > columns / rows:
        rows -= 2 * ((rows - int(round(height * columns / width, 7))) // 2)
    else:
        columns -= 2 * ((columns - int(round(width * rows / height, 7))) // 2)
    found = Tiles(tile, rows, columns)
    return found if found.tokens == tokens else None


def tower_picture(image_processor: Any, image: Image.Image) -> Image.Image:
    """The picture as the vision tower gets it: scaled and cropped, the colours put back; of tiles, the overview.

    A processor that hands its tower loose patches gives no picture to show; then it is the picture itself.
    """
    image = image.convert("RGB")
    check_picture(image)
    # Some put the overview last (Idefics, SmolVLM; InternVL): without tiles it is the only one.
    tiles = ("do_image_splitting", "crop_to_patches", "do_pan_and_scan")
    whole = {name: False for name in tiles if hasattr(image_processor, name)}
    pixels = image_processor(images=[image], return_tensors="pt", **whole)["pixel_values"]
    while pixels.ndim > 3:
        pixels = pixels[0]
    if pixels.ndim != 3 or pixels.shape[0] != 3:
        return image
    values = pixels.double().numpy()
    if getattr(image_processor, "do_normalize", False):
        mean, std = (np.asarray(v, dtype=float) for v in (image_processor.image_mean, image_processor.image_std))
        values = values * std[:, None, None] + mean[:, None, None]
    if getattr(image_processor, "do_rescale", False):
        values = values / float(image_processor.rescale_factor)
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
