"""The pictures of step pairs: opened, and as PNG."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from isi_core.datasets.pictures import open_picture
from isi_core.domain.step_pairs import PictureSource, StepPair


def open_image(source: PictureSource) -> Image.Image:
    """A step's picture as RGB.

    Raises
    ------
    InputError : a file that is missing, damaged or not a picture.
    """
    return open_picture(source) if isinstance(source, Path) else source()


def open_images(pair: StepPair) -> tuple[Image.Image, Image.Image]:
    """Both pictures of a pair, in the order shown; raises as `open_image`."""
    first, second = pair.images
    return open_image(first), open_image(second)


def png_bytes(picture: Image.Image) -> bytes:
    """The picture as PNG, always the same bytes."""
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()
