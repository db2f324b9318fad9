"""The settings of LEDITS++ edits: the paper's for each domain, and those of the embedded pipeline. Light to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from isi_core.domain.errors import InputError

Masks = Literal["intersect", "attention", "noise"]
MASKS: tuple[Masks, ...] = get_args(Masks)
DEFAULT_DIFFUSION = "stabilityai/stable-diffusion-xl-base-1.0"
"""What DiffEx edits with."""


@dataclass(frozen=True)
class LeditsSettings:
    """Everything that shapes an edit but the model, the picture and the attributes.

    Attributes
    ----------
    steps : denoising steps of the inversion and of each edit.
    skipped : the noisiest steps of the schedule that are left out; more of them, and edits keep closer to the
        picture. The schedule has steps + skipped of them. DiffEx skips 25.
    guidance : edit guidance scale s_e at strength 1 (LEDITS++, eq. 5).
    threshold : quantile lambda, 0 to 1, below which the guidance is cut away; high for small regions (eq. 8).
    masks : where guidance acts: where the words' cross-attention and the largest guidance `intersect`, or one alone.
    warmup : steps without guidance at the beginning of an edit.
    side : pixels of the square that has the working size's area; 0 is what the model was trained on.
    seed : of the inversion's noise, with the picture's digest.

    Raises
    ------
    InputError : a value out of its range.
    """

    steps: int = 50
    skipped: int = 25
    guidance: float = 10.0
    threshold: float = 0.75
    masks: Masks = "intersect"
    warmup: int = 0
    side: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.steps <= 1000 or not 0 <= self.skipped <= self.steps or self.steps + self.skipped > 1000:
            raise InputError("LEDITS++ takes 2 to 1000 steps and skips at most as many.")
        if not 0 < self.guidance <= 100 or not 0 <= self.threshold <= 1:
            raise InputError("Edit guidance lies above 0 and up to 100, the edit threshold between 0 and 1.")
        if not 0 <= self.warmup < self.steps or self.masks not in MASKS:
            raise InputError("The warm-up must be shorter than the steps, and masks be intersect, attention or noise.")
        if self.side and not 64 <= self.side <= 2048:
            raise InputError("The working size lies between 64 and 2048 pixels; 0 is the model's own.")


# Thresholds follow the share of the picture that an attribute of the domain takes: high for small ones.
DOMAIN_THRESHOLDS: Mapping[str, float] = {
    "face": 0.85,
    "bird": 0.85,
    "pet": 0.8,
    "wildcat": 0.8,
    "fashion": 0.75,
    "plant health": 0.7,
    "food": 0.7,
    "retina": 0.8,
    "places": 0.6,
}


def paper_settings(domain: str) -> LeditsSettings:
    """DiffEx's settings for SDXL: 25 skipped steps, the pipeline's 50 steps, and a threshold by domain."""
    by_one = DOMAIN_THRESHOLDS.get(domain.removesuffix("s"), LeditsSettings.threshold)
    return LeditsSettings(threshold=DOMAIN_THRESHOLDS.get(domain, by_one))


TINY_SETTINGS = LeditsSettings(steps=24, skipped=4, guidance=6.0, threshold=0.6, masks="attention")
"""For the embedded tiny-diffusion: fewer steps, since its small latents have little to refine, and from nearly pure
noise, where it listens to the prompt most. Chosen on portraits of another seed than the benchmark's: with a guidance of
15 and masks from the noise more edits are read (0.92 against 0.83), but they change more than they say, and influence
follows that of exact edits less well."""
