"""Clusters of answers that mean the same, by every published rule, from implications alone.

Meaning the same is not transitive to an entailment model: with 0 like 2 and 1 like 2 but 0 unlike 1, the greedy
rules disagree about answer 2, and connected components join all three.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import connected_components

from isi_core.domain.errors import InputError
from isi_core.domain.uncertainty import Rule
from isi_core.models.entailment.protocol import CONTRADICTION, ENTAILMENT, NEUTRAL

Assignment = Literal["last wins", "first wins", "components"]
RULES: tuple[Rule, ...] = ("loose", "strict")
ASSIGNMENTS: tuple[Assignment, ...] = ("last wins", "first wins", "components")


def equivalent(implications: ArrayLike, rule: Rule = "loose") -> NDArray[np.bool_]:
    """(n, n) symmetric: do answers i and j mean the same?

    `loose`: neither direction is a contradiction and not both are neutral.
    `strict`: both directions are entailments.
    """
    forward = np.asarray(implications)
    backward = forward.T
    same: NDArray[np.bool_]
    if rule == "strict":
        same = (forward == ENTAILMENT) & (backward == ENTAILMENT)
    elif rule == "loose":
        contradicts = (forward == CONTRADICTION) | (backward == CONTRADICTION)
        same = ~contradicts & ~((forward == NEUTRAL) & (backward == NEUTRAL))
    else:
        raise InputError(f"The clustering rule {rule!r} is unknown: choose loose or strict.")
    return same


def cluster(implications: ArrayLike, rule: Rule = "loose", assignment: Assignment = "last wins") -> tuple[int, ...]:
    """(n,) semantic ids, numbered by their first answer, from (n, n) implications (0 contradiction … 2 entailment).

    `last wins`: greedy from the first answer, as the Nature code publishes it: every answer
    without a cluster opens one and takes in *all* later equivalent answers, also those that
    an earlier cluster had taken.
    `first wins`: greedy, but an answer stays in the first cluster that took it (lm-polygraph).
    `components`: connected components of the graph of equivalent answers; no order matters.
    """
    same = equivalent(implications, rule)
    if assignment == "components":
        _, labels = connected_components(same, directed=False)
        return renumbered([int(label) for label in labels])
    if assignment not in ASSIGNMENTS:
        raise InputError(f"The assignment {assignment!r} is unknown: choose one of {', '.join(ASSIGNMENTS)}.")
    ids = np.full(len(same), -1)
    clusters = 0
    for i in range(len(same)):
        if ids[i] < 0:
            ids[i] = clusters
            later = ids[i + 1 :]
            later[same[i, i + 1 :] & ((later < 0) | (assignment == "last wins"))] = clusters
            clusters += 1
    return tuple(int(k) for k in ids)


def renumbered(ids: Sequence[int]) -> tuple[int, ...]:
    """The same clusters, numbered 0, 1, … in the order of their first answers."""
    order: dict[int, int] = {}
    return tuple(order.setdefault(i, len(order)) for i in ids)


def moved(ids: Sequence[int], answer: int, cluster: int) -> tuple[int, ...]:
    """Clusters after one answer was put into another by hand; the number after the last opens a new one.

    A cluster that loses its last answer disappears, and the others are numbered anew.

    Raises
    ------
    InputError : there is no such answer or no such cluster.
    """
    if not 0 <= answer < len(ids):
        raise InputError(f"There is no answer {answer + 1}: choose one of the {len(ids)} answers.")
    if not 0 <= cluster <= max(ids) + 1:
        raise InputError(f"There is no cluster {cluster + 1}: choose one of 1 to {max(ids) + 2}.")
    changed = list(ids)
    changed[answer] = cluster
    return renumbered(changed)
