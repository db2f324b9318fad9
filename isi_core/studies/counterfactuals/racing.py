"""Racing: pictures are spent on the attributes whose place among the first k is still open.

Successive rounds give every open attribute a few more pictures. An attribute is decided as soon as confidence bounds
tell that it is among the k of greatest influence, or that it is not (Maron & Moore, Hoeffding races, NIPS 1993;
Heidrich-Meisner & Igel, ICML 2009, for choosing k). The bounds are t-bounds of paired differences: all attributes
edit the same pictures in the same order, and what a picture adds to every edit of it falls out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from isi_core.domain.attributes import EditSet
from isi_core.domain.errors import InputError

Floats = NDArray[np.float64]
Effects = Callable[[EditSet, Sequence[int]], Sequence[float]]
"""|delta| of an edit set on the pictures of these numbers; NaN where the edit is not valid."""

FIRST = 4
"""Pictures that every attribute gets before anything is decided."""
ROUND = 2
"""Pictures more for each open attribute a round."""
_SHARED = 4  # pictures with valid edits of both that a comparison needs


@dataclass(frozen=True)
class Race:
    """How a race went.

    Attributes
    ----------
    top : the k sets of greatest influence, strongest first.
    means : mean |delta| of every set over the pictures it got; NaN where no edit was valid.
    spent : pictures that each set got.
    open : sets that were still undecided when the pictures ran out.
    """

    top: tuple[EditSet, ...]
    means: dict[EditSet, float]
    spent: dict[EditSet, int]
    open: tuple[EditSet, ...]

    @property
    def edits(self) -> int:
        """Edits that it took."""
        return sum(self.spent.values())


def race(
    sets: Sequence[EditSet],
    effects: Effects,
    pictures: int,
    k: int = 5,
    error: float = 0.05,
    first: int = FIRST,
    step: int = ROUND,
) -> Race:
    """The k sets of greatest mean |delta|, each on as few of the `pictures` as its place asks for.

    Parameters
    ----------
    error : chance, about, that the k are not those that all pictures would give; divided among all comparisons.

    Raises
    ------
    InputError : k, the pictures or the error make no sense.
    """
    if k < 1 or pictures < 1 or not 0.0 < error < 1.0:
        raise InputError("A race needs at least one picture, k of at least 1 and an error between 0 and 1.")
    n = len(sets)
    table = np.full((n, pictures), np.nan)
    spent = np.zeros(n, dtype=int)
    running = np.ones(n, dtype=bool)
    sure = np.zeros(n, dtype=bool)  # among the first k

    def spend(which: Sequence[int], upto: int) -> None:
        for i in which:
            if spent[i] < upto:
                numbers = list(range(spent[i], upto))
                table[i, numbers] = effects(sets[i], numbers)
                spent[i] = upto

    upto = min(max(2, first), pictures)
    spend(range(n), upto)
    while running.any() and upto < pictures:
        _decide(table, running, sure, k, error)
        if not running.any() or sure.sum() >= k:
            break
        upto = min(upto + step, pictures)
        spend([int(i) for i in np.flatnonzero(running)], upto)
    if upto >= pictures:
        _decide(table, running, sure, k, error)
    means = _means(table)
    # Those decided to be in come first even where a later picture would have changed their mean by a little.
    order = sorted(range(n), key=lambda i: (not sure[i], bool(not running[i] and not sure[i]), -means[i], sets[i]))
    top = sorted(order[:k], key=lambda i: (-means[i], sets[i]))
    return Race(
        top=tuple(sets[i] for i in top if np.isfinite(means[i])),
        means={edits: float(m) if np.isfinite(m) else float("nan") for edits, m in zip(sets, means, strict=True)},
        spent={edits: int(s) for edits, s in zip(sets, spent, strict=True)},
        open=tuple(sets[int(i)] for i in np.flatnonzero(running)) if sure.sum() < k else (),
    )


def _decide(table: Floats, running: NDArray[np.bool_], sure: NDArray[np.bool_], k: int, error: float) -> None:
    """Mark who is in and who is out, in place. Only what still runs is compared, for the places still free."""
    alive = np.flatnonzero(running)
    free = k - int(sure.sum())
    if free <= 0 or len(alive) <= free:
        sure[alive[: max(free, 0)]] = True
        running[alive] = False
        return
    # Who is wrongly in or out was compared wrongly with one of the other side: free x the rest are such pairs.
    wins = _beats(table[alive], error / (free * (len(alive) - free)))
    beats, beaten_by = wins.sum(axis=1), wins.sum(axis=0)
    accepted = beats >= len(alive) - free
    rejected = beaten_by >= free
    sure[alive[accepted]] = True
    running[alive[accepted | rejected]] = False


def _beats(table: Floats, error: float) -> NDArray[np.bool_]:
    """(m, m): row i's mean lies above row j's by more than chance, in paired differences of the pictures both have."""
    m = len(table)
    has = np.isfinite(table)
    values = np.where(has, table, 0.0)
    weight = has.astype(float)
    n = weight @ weight.T
    total = values @ weight.T - weight @ values.T
    square = (values**2) @ weight.T + weight @ (values**2).T - 2 * values @ values.T
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n
        variance = np.maximum(square / n - mean**2, 0.0) * n / (n - 1)
        reach = stats.t.ppf(1 - error, np.maximum(n - 1, 1)) * np.sqrt(variance / n)
        # Equal to rounding is no win; a few pictures in common that happen to agree tell nothing.
        above = (mean > reach) & (mean > 1e-12) & (n >= _SHARED)
    wins: NDArray[np.bool_] = np.array(above, dtype=np.bool_)
    # A set whose edits never worked has no influence to defend.
    never = ~np.asarray(has.any(axis=1), dtype=np.bool_)
    wins[:, never] = ~never[:, None]
    wins[np.arange(m), np.arange(m)] = False
    return wins


def _means(table: Floats) -> Floats:
    has = np.isfinite(table)
    count = has.sum(axis=1)
    sums = np.where(has, table, 0.0).sum(axis=1)
    return np.where(count > 0, sums / np.maximum(count, 1), -np.inf)
