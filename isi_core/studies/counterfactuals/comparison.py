"""Two rankings held against each other: two classifiers, two editors, two methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from isi_core.domain.attributes import Attribute
from isi_core.studies.counterfactuals.results import Result


@dataclass(frozen=True)
class Row:
    """An attribute's places; None where a ranking does not hold it."""

    attribute: Attribute
    first_place: int | None
    second_place: int | None
    first_signed: float | None
    second_signed: float | None


@dataclass(frozen=True)
class Comparison:
    """How two rankings agree.

    Attributes
    ----------
    rows : every attribute of either, best place first.
    shared : attributes that both rank.
    spearman : rank correlation of their influence; None with fewer than three, or without any spread.
    top_shared : attributes among the first k of both.
    """

    rows: tuple[Row, ...]
    shared: int
    spearman: float | None
    top_shared: tuple[Attribute, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "shared": self.shared,
            "spearman": self.spearman,
            "top_shared": [attribute.to_json() for attribute in self.top_shared],
            "rows": [
                {
                    "attribute": row.attribute.to_json(),
                    "first": row.first_place,
                    "second": row.second_place,
                    "first_signed": row.first_signed,
                    "second_signed": row.second_signed,
                }
                for row in self.rows
            ],
        }


def compare_rankings(first: Result, second: Result, top: int = 5) -> Comparison:
    """Places, rank correlation and shared top of two rankings."""
    ones = {found.attribute: (place, found) for place, found in enumerate(first.ranking, 1)}
    twos = {found.attribute: (place, found) for place, found in enumerate(second.ranking, 1)}
    rows = []
    for attribute in dict.fromkeys((*ones, *twos)):
        one, two = ones.get(attribute), twos.get(attribute)
        rows.append(
            Row(
                attribute,
                one[0] if one else None,
                two[0] if two else None,
                one[1].signed.estimate if one else None,
                two[1].signed.estimate if two else None,
            )
        )
    rows.sort(key=lambda row: min(place for place in (row.first_place, row.second_place) if place))
    both = [attribute for attribute in ones if attribute in twos]
    spearman = None
    if len(both) >= 3:
        values = [[part[a][1].influence for a in both] for part in (ones, twos)]
        if all(np.ptp(column) > 0 for column in values):
            spearman = float(spearmanr(*values).statistic)
    shared_top = tuple(a for a in both if ones[a][0] <= top and twos[a][0] <= top)
    return Comparison(tuple(rows), len(both), spearman, shared_top)
