"""How far some work is, told while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import overload

Progress = Callable[[str, float], None]
"""Told a message and the fraction done, in [0, 1]; may raise `Cancelled` to stop the work."""


@overload
def part_of(progress: Progress, low: float, high: float) -> Progress: ...
@overload
def part_of(progress: None, low: float, high: float) -> None: ...
@overload
def part_of(progress: Progress | None, low: float, high: float) -> Progress | None: ...
def part_of(progress: Progress | None, low: float, high: float) -> Progress | None:
    """The progress of a stretch of the whole work, from `low` to `high` of it; None tells nobody."""
    if progress is None:
        return None
    return lambda message, fraction: progress(message, low + (high - low) * fraction)


def told_at(progress: Progress, fraction: float) -> Callable[[str], None]:
    """For work that only says what it does: its messages told at a fraction that stays."""
    return lambda message: progress(message, fraction)
