"""Pictures, captions and headlines of the how-to world, drawn once and kept, for pre-training the tiny encoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image

from isi_core.worlds.howtos import CATEGORIES, StepScene, draw_articles, render_step

PROGRESS = (
    "not begun",
    "barely begun",
    "a little done",
    "less than half done",
    "half done",
    "more than half done",
    "nearly done",
    "complete",
)
"""How a caption names the levels 0 to 7 of progress that a picture can show."""


@dataclass(frozen=True, eq=False)
class StepBank:
    """Steps of articles that may be trained on.

    Attributes
    ----------
    pixels : uint8 (n, 3, side, side), as the processor sizes them.
    sights : (n,) what a picture shows: equal numbers show the same category at the same level.
    captions : what the picture shows, in words; nothing of the step's place that the picture does not show.
    titles, headlines : of the steps.
    """

    pixels: torch.Tensor
    sights: torch.Tensor
    captions: tuple[str, ...]
    titles: tuple[str, ...]
    headlines: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.captions)

    def texts(self, rng: Random, rows: Sequence[int]) -> list[str]:
        """Captions, half of them behind their step's headline, as captions of the web say more than is seen."""
        return [
            f"{self.headlines[row]} {self.captions[row]}" if rng.random() < 0.5 else self.captions[row] for row in rows
        ]


def caption(scene: StepScene) -> str:
    """What a step's picture shows: the category, and the level where there is one."""
    return f"a {scene.category}" if scene.level is None else f"a {scene.category}, {PROGRESS[scene.level]}"


def sight(scene: StepScene) -> int:
    """One number for a category at a level."""
    return list(CATEGORIES).index(scene.category) * (len(PROGRESS) + 1) + (
        0 if scene.level is None else scene.level + 1
    )


SIGHTS = len(CATEGORIES) * (len(PROGRESS) + 1)


def draw_bank(
    folder: Path,
    seed: str,
    articles: int,
    to_pixels: Callable[[list[Image.Image]], torch.Tensor],
    held_out: bool = False,
) -> StepBank:
    """The bank of a seed; its pictures are drawn once and read from `folder` thereafter."""
    steps = [
        (article.title, step) for article in draw_articles(seed, articles, held_out=held_out) for step in article.steps
    ]
    path = folder / f"{seed.replace(' ', '-')}-{articles}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        parts = [
            to_pixels([render_step(step) for _, step in steps[start : start + 64]]).numpy()
            for start in range(0, len(steps), 64)
        ]
        np.save(path, np.concatenate(parts), allow_pickle=False)
    return StepBank(
        torch.from_numpy(np.load(path, allow_pickle=False)),
        torch.tensor([sight(step.scene) for _, step in steps]),
        tuple(caption(step.scene) for _, step in steps),
        tuple(title for title, _ in steps),
        tuple(step.headline for _, step in steps),
    )
