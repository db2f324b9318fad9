"""Pictures on their way into a vision tower: what cannot be taken, what the tower sees, the grid of its tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

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
    have one token a patch, or one for a square of patches (Gemma 3, InternVL). Several tiles are no rectangle.
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
