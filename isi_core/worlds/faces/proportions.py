"""What a portrait's seed decides: proportions, colours of skin, hair, clothes and background."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np

from isi_core.worlds.brush import Colour, colour

_SKINS = tuple(map(colour, ("#f6d2b4", "#efc09a", "#e0a77c", "#c68a5e", "#a36a45", "#7d4e33")))
_BROWNS = tuple(map(colour, ("#5b3a26", "#6f4629", "#4a3024")))
_GARMENTS = tuple(map(colour, ("#2f5d73", "#b5533c", "#3f7d62", "#caa24a", "#6b5b8c", "#41506b", "#a8677a")))
_BACKGROUNDS = tuple(
    (colour(top), colour(bottom))
    for top, bottom in (
        ("#dfeaf0", "#b9d0dc"),
        ("#f4e6d6", "#e6cdb2"),
        ("#e3ecdf", "#bfd4bb"),
        ("#ece4f0", "#cdbfd9"),
        ("#f6e3e0", "#e3bdb6"),
        ("#e6e8ea", "#c3c9cf"),
    )
)
HAIR_COLOURS = {
    "black": colour("#26222a"),
    "blond": colour("#e3bd66"),
    "red": colour("#b4491f"),
    "grey": colour("#a9acb2"),
}


@lru_cache(maxsize=8)
def _circle(n: int) -> tuple[Any, Any]:
    """Sine and cosine of n angles from the top clockwise."""
    angle = np.linspace(0, 2 * math.pi, n, endpoint=False)
    return np.sin(angle), np.cos(angle)


@dataclass(frozen=True)
class Proportions:
    """Places and sizes in fractions of the picture.

    Attributes
    ----------
    x : of the face's middle line; `eyes`, `mouth` : y of the two; `gap` : from the middle line to an eye.
    width, top, chin : half width of the face, y of its highest and lowest point.
    jaw : exponent of the lower half's outline: 2 an ellipse, more is squarer, less is more pointed.
    """

    x: float
    eyes: float
    mouth: float
    gap: float
    width: float
    top: float
    chin: float
    jaw: float
    skin: Colour
    brown: Colour
    garment: Colour
    background: tuple[Colour, Colour]
    strands: int

    @property
    def middle(self) -> float:
        """y of the face's widest place."""
        return self.eyes + 0.01

    def outline(self, scale: float = 1.0, n: int = 72) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(n, 2) the face's outline from its top clockwise, made larger about its widest place."""
        side, up = _circle(n)
        exponent = np.where(up < 0, 2 / self.jaw, 1.0)
        across = np.sign(side) * np.abs(side) ** np.where(up < 0, exponent, 0.92)
        down = np.where(up < 0, np.abs(up) ** exponent * (self.chin - self.middle), -up * (self.middle - self.top))
        return np.stack([self.x + scale * self.width * across, self.middle + scale * down], 1)


@lru_cache(maxsize=4096)
def proportions(seed: int, shape: str) -> Proportions:
    """Of the portrait with this seed, its face in this shape ("" is oval)."""
    rng = Random(f"face {seed}")
    x = 0.5 + rng.uniform(-0.012, 0.012)
    eyes = 0.465 + rng.uniform(-0.012, 0.012)
    mouth = 0.648 + rng.uniform(-0.01, 0.01)
    gap = 0.098 + rng.uniform(-0.006, 0.006)
    width = 0.226 + rng.uniform(-0.008, 0.008)
    chin = 0.772 + rng.uniform(-0.01, 0.01)
    stretch, drop, jaw = {
        "round": (1.12, -0.018, 2.15),
        "square": (1.05, -0.004, 2.9),
        "heart-shaped": (1.06, 0.012, 1.55),
        "long": (0.92, 0.045, 2.1),
    }.get(shape, (1.0, 0.0, 2.0))
    return Proportions(
        x=x,
        eyes=eyes,
        mouth=mouth,
        gap=gap,
        width=width * stretch,
        top=0.19,
        chin=chin + drop,
        jaw=jaw,
        skin=rng.choice(_SKINS),
        brown=rng.choice(_BROWNS),
        garment=rng.choice(_GARMENTS),
        background=rng.choice(_BACKGROUNDS),
        strands=rng.getrandbits(30),
    )
