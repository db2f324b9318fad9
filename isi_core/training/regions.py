"""Which cells of a grid over a picture a world's region covers."""

from __future__ import annotations

from functools import cache

import torch


@cache
def covered(region: tuple[float, float, float, float], cells: int) -> torch.Tensor:
    """(cells, cells) covered width times height of each cell, in fractions of the picture; not to be written to.

    Parameters
    ----------
    region : (left, top, right, bottom) in fractions of the picture.
    cells : of a side.
    """
    left, top, right, bottom = region
    edges = torch.arange(cells + 1) / cells
    across = (edges[1:].clamp(max=right) - edges[:-1].clamp(min=left)).clamp(min=0)
    down = (edges[1:].clamp(max=bottom) - edges[:-1].clamp(min=top)).clamp(min=0)
    return down[:, None] * across
