"""Exactly k successes and k failures, split 50 / 25 / 25 and balanced, groups kept together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from random import Random

from isi_core.studies.failure.results import SPLITS, Split


def split_sizes(k: int) -> dict[Split, int]:
    """Cases of each class in each split; they sum to k."""
    train, validation = round(k / 2), round(k / 4)
    return {"train": train, "validation": validation, "test": k - train - validation}


def balanced_splits(labels: Sequence[bool], groups: Sequence[str], k: int, seed: int) -> dict[int, Split] | None:
    """Index of each chosen case to its split; None where the groups do not allow k of each class.

    Groups come in random order, so that neither the order of asking nor a group's size tells the class. A group goes
    to one split, with a chance in proportion to the room there; members beyond that room are left out.
    """
    rng = Random(f"failure splits {seed}")
    members: dict[str, list[int]] = defaultdict(list)
    for i, group in enumerate(groups):
        members[group].append(i)
    order = list(members)
    rng.shuffle(order)
    room = {split: {True: size, False: size} for split, size in split_sizes(k).items()}
    left = {True: k, False: k}
    chosen: dict[int, Split] = {}
    for group in order:
        classes = {labels[i] for i in members[group]}
        chances = [sum(room[split][label] for label in classes) for split in SPLITS]
        if not sum(chances):
            continue
        (split,) = rng.choices(SPLITS, chances)
        inside = members[group][:]
        rng.shuffle(inside)
        for i in inside:
            if room[split][labels[i]]:
                room[split][labels[i]] -= 1
                left[labels[i]] -= 1
                chosen[i] = split
        if not any(left.values()):
            return chosen
    return None


def largest_k(labels: Sequence[bool], groups: Sequence[str], seed: int) -> int:
    """The largest k that these cases allow; 0 where a class is empty."""
    low, high = 0, min(sum(labels), len(labels) - sum(labels))
    while low < high:
        middle = (low + high + 1) // 2
        if balanced_splits(labels, groups, middle, seed) is None:
            high = middle - 1
        else:
            low = middle
    return low
