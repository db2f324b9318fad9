"""From logits to influence: class scores, means over pictures with their intervals, interaction, turned classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, logsumexp

from isi_core.domain.attributes import EditSet
from isi_core.domain.errors import InputError
from isi_core.measures.statistics import Interval, bootstrap_interval
from isi_core.studies.counterfactuals.results import Delta, JointResult, SetResult, Turned

Floats = NDArray[np.float64]
Scale = Literal["log-odds", "probability", "logit"]
SCALES: tuple[Scale, ...] = ("log-odds", "probability", "logit")
Direction = Literal["up", "down", "both"]
DIRECTIONS: tuple[Direction, ...] = ("up", "down", "both")

_RESAMPLES = 2_000  # of an interval; an attribute has a few dozen deltas, and a ranking dozens of attributes


def class_scores(logits: Floats, class_index: int, exclusive: bool, scale: Scale = "log-odds") -> Floats:
    """(n,) scores f(x, y) of one class from (n, classes) logits.

    Log-odds do not saturate where a probability does: with exclusive classes the logit minus the log of the summed
    exponentials of the others (with two classes, their difference), else the class's own logit.

    Raises
    ------
    InputError : fewer than two classes, no such class, an unknown scale, or logits that are not numbers.
    """
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise InputError(
            "The classifier tells one class only, so that nothing can change: choose one with two or more."
        )
    if not 0 <= class_index < logits.shape[1]:
        raise InputError(f"The classifier has {logits.shape[1]} classes: there is no class number {class_index}.")
    if not np.isfinite(logits).all():
        raise InputError("The classifier returned values that are not numbers: load it in float32, or choose another.")
    if scale == "logit":
        return logits[:, class_index].astype(np.float64)
    if scale == "probability":
        shares = np.exp(log_softmax(logits, axis=1)) if exclusive else expit(logits)
        return np.asarray(shares[:, class_index], dtype=np.float64)
    if scale != "log-odds":
        raise InputError(f"Unknown scale {scale!r:.40}: choose from {', '.join(SCALES)}.")
    if not exclusive:
        return logits[:, class_index].astype(np.float64)
    others = np.delete(logits, class_index, axis=1)
    return np.asarray(logits[:, class_index] - logsumexp(others, axis=1), dtype=np.float64)


def in_direction(change: float, direction: Direction) -> float:
    """How far a mean change f(s) - f(base) goes the way that is wanted; minus infinity where it is not known.

    A pure maximum of f(s) never finds what lowers it, hence `down` and `both`.
    """
    if not np.isfinite(change):
        return float("-inf")
    return {"up": change, "down": -change, "both": abs(change)}[direction]


def set_result(
    edits: EditSet, deltas: Sequence[Delta], floor_of: Mapping[str, float], level: float = 0.95, seed: int = 0
) -> SetResult:
    """Influence (eq. 1), signed mean with its bootstrap interval, f(s) (eq. 2) and floor, over the valid deltas.

    Parameters
    ----------
    floor_of : |delta| of a no-op edit by picture; the floor is its mean over the pictures with a valid delta.
    """
    valid = [delta for delta in deltas if delta.valid]
    nothing = float("nan")
    if not valid:
        return SetResult(edits, nothing, Interval(nothing, nothing, nothing, level, 0), nothing, nothing, tuple(deltas))
    changes = np.array([delta.change for delta in valid])
    floors = [floor_of[delta.picture] for delta in valid if delta.picture in floor_of]
    return SetResult(
        edits=edits,
        influence=float(np.abs(changes).mean()),
        signed=bootstrap_interval(changes, level=level, n=_RESAMPLES, seed=seed),
        floor=float(np.mean(floors)) if floors else nothing,
        f=float(np.mean([delta.score for delta in valid])),
        deltas=tuple(deltas),
    )


def joint_result(whole: SetResult, parts: Sequence[SetResult], level: float = 0.95, seed: int = 0) -> JointResult:
    """A joint edit with its interaction: joint minus sum of parts, picture by picture where all are valid.

    On the log-odds scale a classifier that adds its evidence up shows none; on the probability scale even such a one
    does, where it saturates.
    """
    single = [{delta.picture: delta.change for delta in part.deltas if delta.valid} for part in parts]
    gaps = [
        delta.change - sum(changes[delta.picture] for changes in single)
        for delta in whole.deltas
        if delta.valid and all(delta.picture in changes for changes in single)
    ]
    if gaps:
        interaction = bootstrap_interval(gaps, level=level, n=_RESAMPLES, seed=seed)
    else:
        interaction = Interval(float("nan"), float("nan"), float("nan"), level, 0)
    return JointResult(whole, tuple(part.signed.estimate for part in parts), interaction)


def turned_classes(edits: EditSet, before: Sequence[int], after: Sequence[int], labels: Sequence[str]) -> list[Turned]:
    """How many pictures the edits turned from one most probable class into another, most first.

    Parameters
    ----------
    before, after : most probable class of each picture with a valid edit, at its base and edited.
    """
    counts: dict[tuple[int, int], int] = {}
    for a, b in zip(before, after, strict=True):
        if a != b:
            counts[a, b] = counts.get((a, b), 0) + 1
    of = {a: list(before).count(a) for a in set(before)}
    made = [Turned(labels[a], labels[b], edits, n, of[a]) for (a, b), n in counts.items()]
    return sorted(made, key=lambda turned: (-turned.count, turned.source, turned.target))
