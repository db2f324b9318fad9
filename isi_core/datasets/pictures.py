"""Pictures from anywhere, opened safely, as RGB."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from isi_core.domain.errors import InputError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MAX_PIXELS = 40_000_000
MAX_BYTES = 60_000_000


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith(("I", "F")):
        # Sixteen bits a pixel: Pillow's own conversion clips at 255 instead of scaling.
        values = np.asarray(picture, dtype=np.float64)
        return Image.fromarray(np.clip(np.rint(values / 257.0), 0, 255).astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        whole = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")
    return picture.convert("RGB")


def _turned(picture: Image.Image) -> Image.Image:
    """The picture as its EXIF says it is to be held; EXIF that cannot be read counts as none."""
    try:
        return ImageOps.exif_transpose(picture)
    except (struct.error, OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, AttributeError):
        return picture


def open_picture(source: Path | bytes, name: str = "") -> Image.Image:
    """A picture file as RGB: first frame, turned as its EXIF says, transparency over white, 16 bit scaled to 8.

    Raises
    ------
    InputError : not one of `FORMATS`, damaged, or larger than `MAX_PIXELS` or `MAX_BYTES`;
        the size is checked before anything is decoded.
    """
    shown = name or (source.name if isinstance(source, Path) else "The picture")
    try:
        size = source.stat().st_size if isinstance(source, Path) else len(source)
        if size > MAX_BYTES:
            raise InputError(f"{shown} is larger than {MAX_BYTES // 1_000_000} MB: save a smaller copy.")
        raw = source.read_bytes() if isinstance(source, Path) else source
    except OSError as error:
        raise InputError(f"{shown} cannot be read ({error.strerror}): check the file.") from None
    try:
        with warnings.catch_warnings():
            # Pillow warns of a bomb from 89 megapixels on; the check below is stricter.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(raw), formats=FORMATS)
        if picture.width * picture.height > MAX_PIXELS:
            raise InputError(
                f"{shown} has {picture.width} x {picture.height} pixels: save a copy of at most 40 megapixels."
            )
        picture.seek(0)
        picture.load()
        return _to_rgb(_turned(picture))
    except Image.DecompressionBombError:
        raise InputError(f"{shown} has far too many pixels: save a copy of at most 40 megapixels.") from None
    except UnidentifiedImageError:
        raise InputError(f"{shown} is not a picture that can be used: give PNG, JPEG, WebP, BMP or GIF.") from None
    except (struct.error, OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError):
        raise InputError(f"{shown} is damaged or cut short: save it again and retry.") from None
