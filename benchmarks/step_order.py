"""The grid of the tiny encoders against what was built into the how-to world; prints each number beside its target.

`python -m benchmarks.step_order [--quick]`: 3 encoders × 3 modalities on the built-in how-tos. A grid that was run
before is read, one that was stopped goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from isi_core.measures.statistics import wilson_interval
from isi_core.models.encoders.rows import TINY
from isi_core.studies.step_order.grid import grid_plans
from isi_core.studies.step_order.results import ALL, CategoryAccuracy, GridResult
from isi_core.studies.step_order.study import read_study, run_study

WHOLE_MINUTES, QUICK_MINUTES = 90.0, 10.0
LEAST = 0.85


def pooled(rows: Sequence[CategoryAccuracy], encoder: str, modality: str, kind: str) -> tuple[float, float, float, int]:
    """(accuracy, low, high, n) of all categories of one kind together."""
    chosen = [row for row in rows if (row.encoder, row.modality, row.kind) == (encoder, modality, kind)]
    n = sum(row.n for row in chosen)
    found = wilson_interval(round(sum(row.accuracy * row.n for row in chosen)), n)
    return found.estimate, found.low, found.high, n


def report(grid: GridResult, quick: bool) -> None:
    """Every target, and whether it is reached."""
    encoders = dict.fromkeys(row.encoder for row in grid.accuracies)
    for encoder in encoders:
        cells = {row.modality: row for row in grid.accuracies if (row.encoder, row.category) == (encoder, ALL)}
        if "vt" in cells:
            _line(encoder, "vision + text, all", cells["vt"].accuracy, f"≥ {LEAST}", cells["vt"].accuracy >= LEAST)
        for modality, decided, blind in (("v", "picture", "words"), ("t", "words", "picture")):
            if modality not in cells:
                continue
            accuracy, _, _, n = pooled(grid.accuracies, encoder, modality, decided)
            _line(encoder, f"{modality} on {decided}-decided, n {n}", accuracy, f"≥ {LEAST}", accuracy >= LEAST)
            accuracy, low, high, n = pooled(grid.accuracies, encoder, modality, blind)
            told = f"0.5 in [{low:.3f}, {high:.3f}]"
            _line(encoder, f"{modality} on {blind}-decided, n {n}", accuracy, told, low <= 0.5 <= high)
    wall, processor = (sum(getattr(c, name) for c in grid.curves) / 60 for name in ("seconds", "cpu_seconds"))
    limit = QUICK_MINUTES if quick else WHOLE_MINUTES
    print(f"{len(grid.curves)} trainings: {wall:.1f} minutes, of one processor {processor:.1f}; target ≤ {limit:.0f}")


def _line(encoder: str, what: str, value: float, target: str, reached: bool) -> None:
    print(f"{encoder:<20}{what:<34}{value:.3f}   target {target:<24}{'reached' if reached else 'MISSED'}")


def main() -> None:
    """Run or read the grid and report."""
    parser = argparse.ArgumentParser(description="The tiny grid against what was built into the how-to world.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--encoders", default=",".join(TINY))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    (plan,) = grid_plans(quick=arguments.quick, encoders=arguments.encoders.split(","), seed=arguments.seed)
    last = [""]

    def tell(message: str, fraction: float) -> None:
        part, colon, _ = message.partition(":")
        if colon and part != last[0]:
            last[0] = part
            print(f"{fraction:4.0%} {part}", file=sys.stderr, flush=True)

    report(read_study(run_study(plan, tell)).grid, arguments.quick)


if __name__ == "__main__":
    main()
