"""Pictures for pages and reports, by Pillow: heat map overlay, its legend, thumbnails."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from isi_core.domain.errors import InputError
from isi_core.reports.wording import number

# Anchors of viridis (van der Walt and Smith, public domain): perceptually uniform, readable in grey and by the
# colour-blind. Between them colours are interpolated linearly.
_ANCHORS = ("440154", "482878", "3e4989", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725")


def colour_table() -> NDArray[np.uint8]:
    """(256, 3) RGB colours from low (dark violet) to high (yellow)."""
    anchors = np.array([[int(a[i : i + 2], 16) for i in (0, 2, 4)] for a in _ANCHORS], dtype=float)
    places = np.linspace(0, len(anchors) - 1, 256)
    channels = [np.interp(places, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
    colours: NDArray[np.uint8] = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    return colours


def heat_map_picture(
    heat_map: NDArray[np.float64], size: tuple[int, int], smooth: bool = False, peak: float | None = None
) -> Image.Image:
    """The (rows, columns) heat map in colours, from 0 to its maximum, as an RGB picture of `size` (width, height).

    `peak` stands in for the maximum, so that several maps have one scale.

    Raises
    ------
    InputError : the map is not a grid of finite values of 0 or more.
    """
    values = np.asarray(heat_map, dtype=float)
    if values.ndim != 2 or values.size == 0 or not np.isfinite(values).all() or (values < 0).any():
        raise InputError("The heat map is not a grid of shares: measure the attention again.")
    peak = max(float(values.max()), peak or 0.0)
    levels = np.rint(values / peak * 255).astype(np.uint8) if peak > 0 else np.zeros(values.shape, dtype=np.uint8)
    if smooth:
        levels = np.asarray(Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC))
        return Image.fromarray(colour_table()[levels])
    return Image.fromarray(colour_table()[levels]).resize(size, Image.Resampling.NEAREST)


def heat_map_overlay(
    image: Image.Image,
    heat_map: NDArray[np.float64],
    opacity: float = 0.55,
    smooth: bool = False,
    peak: float | None = None,
) -> Image.Image:
    """The picture with its attention laid over it, of the picture's size.

    Each cell of the token grid is one flat colour unless `smooth`, so that nothing is shown that was not
    measured. The picture turns grey beneath, so that every colour comes from the map.

    Raises
    ------
    InputError : the opacity does not lie between 0 and 1, or the map is no grid of shares.
    """
    if not 0 <= opacity <= 1:
        raise InputError("The overlay's opacity must lie between 0 and 1.")
    grey = image.convert("L").convert("RGB")
    return Image.blend(grey, heat_map_picture(heat_map, image.size, smooth, peak), opacity)


def heat_map_legend(
    heat_map: NDArray[np.float64],
    width: int = 360,
    ink: str = "#808080",
    background: str | None = None,
    what: str = "share of attention per cell",
) -> Image.Image:
    """The colour scale from 0 to the map's maximum, with both ends labelled; transparent unless `background`."""
    size = max(9, round(width / 28))
    font = ImageFont.load_default(size=size)
    bar = max(8, round(width / 30))
    legend = Image.new("RGBA", (width, bar + round(1.9 * size)), background or (0, 0, 0, 0))
    scale = Image.fromarray(colour_table()[None, :, :]).resize((width, bar), Image.Resampling.BILINEAR)
    legend.paste(scale, (0, 0))
    pen = ImageDraw.Draw(legend)
    high = number(float(np.max(heat_map)))
    pen.text((0, bar + size * 0.4), "0", font=font, fill=ink)
    pen.text((width / 2, bar + size * 0.4), what, font=font, fill=ink, anchor="ma")
    pen.text((width, bar + size * 0.4), high, font=font, fill=ink, anchor="ra")
    return legend


def is_grid(heat_map: NDArray[np.float64]) -> bool:
    """Whether the map's cells lie on the picture; the tokens of several tiles come as one row and do not."""
    rows, columns = np.shape(heat_map)
    return bool(rows > 1 or columns == 1)


def heat_map_reading(heat_map: NDArray[np.float64], size: tuple[int, int] | None = None) -> str:
    """How to read the overlay, in a few sentences; `size` of the picture below it, where it may have been cropped."""
    rows, columns = np.shape(heat_map)
    return (
        f"Each of the {rows} × {columns} cells is one image token; yellow cells got the most attention while the "
        f"answer was written, up to {number(float(np.max(heat_map)))} of all attention, violet ones the least. "
        "Bright single cells at a border are often attention sinks, which mean little."
        + (" A model that crops its input saw less than the whole picture." if size and size[0] != size[1] else "")
    )


def thumbnail(image: Image.Image, side: int) -> Image.Image:
    """A copy that fits a square of `side` pixels, proportions kept; smaller pictures stay as they are."""
    copy = image.convert("RGB")
    if max(copy.size) <= side:
        return copy.copy()
    scale = side / max(copy.size)
    size = (max(1, round(copy.width * scale)), max(1, round(copy.height * scale)))
    return copy.resize(size, Image.Resampling.LANCZOS)
