"""What the page Step Order shows as tables, on the page and for a spreadsheet; no cell is a formula."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from isi_core.datasets.step_statistics import CategoryCount
from isi_core.reports.run_tables import csv_bytes
from isi_core.reports.wording import number
from isi_core.studies.step_order.flips import Flips, PositionBias
from isi_core.studies.step_order.results import (
    ALL,
    MODALITIES,
    CategoryAccuracy,
    GapResult,
    GridResult,
    Modality,
    ModalityComparison,
)

SHORT = {"v": "V", "t": "T", "vt": "V+T"}
"""The modalities as the paper's tables head them."""


@dataclass(frozen=True)
class AccuracyRow:
    """One category of the accuracy table (the paper's Table 2).

    Attributes
    ----------
    cells : the accuracy of each (encoder, modality) that was tested.
    best : the keys with the row's highest accuracy.
    """

    category: str
    kind: str
    cells: Mapping[tuple[str, Modality], CategoryAccuracy]
    best: frozenset[tuple[str, Modality]]


def accuracy_rows(accuracies: Sequence[CategoryAccuracy]) -> list[AccuracyRow]:
    """A row a category in the order of the results, the row over all categories last."""
    names = list(dict.fromkeys(row.category for row in accuracies if row.category != ALL))
    rows = []
    for category in (*names, ALL):
        cells = {(row.encoder, row.modality): row for row in accuracies if row.category == category}
        if not cells:
            continue
        top = max(row.accuracy for row in cells.values())
        best = frozenset(key for key, row in cells.items() if row.accuracy == top)
        kind = next((row.kind for row in cells.values() if row.kind), "")
        rows.append(AccuracyRow(category, kind, cells, best))
    return rows


def tested_columns(accuracies: Sequence[CategoryAccuracy]) -> list[tuple[str, Modality]]:
    """Every (encoder, modality) tested: by encoder in the order of the results, V before T before V+T."""
    found = {(row.encoder, row.modality) for row in accuracies}
    encoders = dict.fromkeys(row.encoder for row in accuracies)
    return [(encoder, modality) for encoder in encoders for modality in MODALITIES if (encoder, modality) in found]


def significance(comparison: ModalityComparison) -> str:
    """Whether V+T is better or worse beyond chance (5 %), in words."""
    if comparison.p >= 0.05:
        return "not clear"
    return "better" if comparison.difference > 0 else "worse"


def p_words(p: float) -> str:
    """A p value in words: three digits, and no more than "< 0.001" of what is smaller."""
    return "p < 0.001" if p < 0.001 else f"p {number(p)}"


def accuracies_csv(grid: GridResult) -> bytes:
    """One row an encoder, modality and category (UTF-8), with the settings."""
    settings = {"data": grid.data, "created": grid.created, "complete": grid.complete}
    return csv_bytes([{**asdict(row), **settings} for row in grid.accuracies])


def comparisons_csv(grid: GridResult) -> bytes:
    """One row a paired test of V+T against one modality (UTF-8); exact McNemar, two-sided."""
    return csv_bytes([asdict(row) for row in grid.comparisons])


def curves_csv(grid: GridResult) -> bytes:
    """One row a point of a learning curve (UTF-8); losses in nats."""
    return csv_bytes(
        [
            {
                "encoder": curve.encoder,
                "modality": curve.modality,
                "category": curve.category,
                "seed": curve.seed,
                **asdict(point),
                "best": point.step == curve.best_step,
            }
            for curve in grid.curves
            for point in curve.points
        ]
    )


def gaps_csv(gaps: Sequence[GapResult]) -> bytes:
    """One row an encoder, moment (before, after) and category (UTF-8); distances in units of the unit sphere."""
    rows = []
    for gap in gaps:
        for moment, found in (("before", gap.before), ("after", gap.after)):
            if found is None:
                continue
            for row in (*found.categories, found.whole):
                values = {k: v for k, v in asdict(row).items() if not k.endswith("_centroid")}
                rows.append({"encoder": gap.encoder, "fine_tuned_on": gap.modality or "", "moment": moment, **values})
    return csv_bytes(rows)


def shift_csv(gaps: Sequence[GapResult]) -> bytes:
    """One row an encoder, moment and λ of the shift intervention (UTF-8)."""
    return csv_bytes([{"encoder": gap.encoder, **asdict(point)} for gap in gaps for point in gap.shift])


def position_csv(rows: Sequence[PositionBias]) -> bytes:
    """One row an encoder, modality and category (UTF-8)."""
    return csv_bytes([asdict(row) for row in rows])


def flips_csv(flips: Sequence[Flips]) -> bytes:
    """One row a pair (UTF-8): the probability of "in order" as it is shown and after each change."""
    return csv_bytes(
        [
            {
                "encoder": one.encoder,
                "modality": one.modality,
                "idx": pair.idx,
                "category": pair.category,
                "label": pair.label,
                "as shown": pair.in_order,
                **pair.changed,
            }
            for one in flips
            for pair in one.pairs
        ]
    )


def statistics_csv(rows: Sequence[CategoryCount]) -> bytes:
    """One row a category (UTF-8)."""
    return csv_bytes([{**asdict(row), "pairs": row.pairs} for row in rows])
