"""The grid of the tiny encoders on the built-in world, quick or whole, and what several seeds say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from isi_core.models.encoders.rows import TINY
from isi_core.studies.step_order.results import MODALITIES, CategoryAccuracy, Modality
from isi_core.studies.step_order.study import StudyPlan

QUICK = (200, 40, 100)
WHOLE = (800, 200, 1_000)
"""Pairs of each category for training, validation and test."""


@dataclass(frozen=True)
class SeedSpread:
    """One cell of the table over several seeds: accuracy's mean and standard deviation (n - 1; 0 for one seed)."""

    encoder: str
    modality: Modality
    category: str
    kind: str
    mean: float
    deviation: float
    seeds: int


def grid_plans(
    data: str = "howto",
    quick: bool = False,
    encoders: Sequence[str] = TINY,
    modalities: Sequence[Modality] = MODALITIES,
    seeds: int = 1,
    seed: int = 0,
    epochs: int = 0,
    per_category: bool = False,
    sizes: tuple[int, int, int] | None = None,
) -> list[StudyPlan]:
    """One study a seed; `run_study` runs each. `epochs` 0 is each encoder's own number."""
    chosen = sizes or (QUICK if quick else WHOLE)
    return [
        StudyPlan(data, tuple(encoders), tuple(modalities), chosen, per_category, epochs, seed + i)
        for i in range(seeds)
    ]


def over_seeds(grids: Sequence[Sequence[CategoryAccuracy]]) -> list[SeedSpread]:
    """Mean and spread of each cell that every seed has, in the order of the first."""
    tables = [{(row.encoder, row.modality, row.category): row for row in rows} for rows in grids]
    found = []
    for key, row in tables[0].items() if tables else ():
        if all(key in table for table in tables):
            values = [table[key].accuracy for table in tables]
            spread = stdev(values) if len(values) > 1 else 0.0
            found.append(
                SeedSpread(row.encoder, row.modality, row.category, row.kind, fmean(values), spread, len(values))
            )
    return found
