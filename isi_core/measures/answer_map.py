"""A map of sampled answers: places in the plane whose distances are, as far as two dimensions allow, those in meaning.

Classical multidimensional scaling (Torgerson, Psychometrika 17, 1952) of the entailment graph's distances
d_ij = 1 - w_ij, w_ij the mean of the two probabilities that one answer entails the other (`measures.entailment_graph`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isi_core.measures.answer_groups import ComparedAnswers, Groups
from isi_core.measures.entailment_graph import similarity
from isi_core.measures.semantic_entropy import answer_weights

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """One distinct answer on the map.

    Attributes
    ----------
    x, y : where it lies; distances have no unit, 0 is the same meaning and 1 no entailment either way.
    probability : weight of its samples among all, by likelihood; all places' sum to one.
    count : how often it was sampled.
    """

    text: str
    cluster: int
    x: float
    y: float
    probability: float
    count: int


@dataclass(frozen=True)
class AnswerMap:
    """The distinct answers' places, the first sampled first.

    Attributes
    ----------
    stress : Kruskal's stress-1 of the map's distances, sqrt(sum (d - d')^2 / sum d^2) over pairs; 0 is exact.
    """

    places: tuple[Place, ...]
    stress: float


def answer_map(answers: ComparedAnswers, groups: Groups) -> AnswerMap:
    """Lay the distinct answers out in the plane; samples with the same words share a place, sizes add up.

    A text that was moved to several clusters by hand has a place a cluster, at one point.

    Raises
    ------
    InputError : the comparison holds values that are no probabilities.
    """
    texts = answers.texts
    kinds = list(dict.fromkeys(zip(texts, groups.ids, strict=True)))
    first = {kind: texts.index(kind[0]) for kind in kinds}
    chosen = [first[kind] for kind in kinds]
    distances = 1.0 - similarity(answers.entailment_probabilities)[np.ix_(chosen, chosen)]
    same = np.array([[a[0] == b[0] for b in kinds] for a in kinds])
    distances[same] = 0.0
    points = classical_scaling(distances)
    weights = answer_weights(groups.log_likelihoods)
    members = [[i for i, of in enumerate(zip(texts, groups.ids, strict=True)) if of == kind] for kind in kinds]
    places = tuple(
        Place(text, cluster, float(x), float(y), float(weights[own].sum()), len(own))
        for (text, cluster), (x, y), own in zip(kinds, points, members, strict=True)
    )
    return AnswerMap(places, stress(distances, points))


def classical_scaling(distances: ArrayLike) -> Floats:
    """(n, 2) points from (n, n) distances; the larger spread lies along x, and each axis' farthest point on its
    positive side, so that the same distances always give the same map."""
    d = np.asarray(distances, dtype=float)
    n = len(d)
    points = np.zeros((n, 2))
    if n > 1 and d.any():
        from sklearn.manifold import ClassicalMDS

        dimensions = min(2, n)
        with np.errstate(invalid="ignore"):  # the root of a dimension that no plane has is no number
            found = ClassicalMDS(n_components=dimensions, metric="precomputed").fit_transform(d)
        points[:, :dimensions] = np.where(np.isfinite(found), found, 0.0)
    points = points.round(6)  # what is left of a dimension that is not needed
    farthest = points[np.abs(points).argmax(axis=0), [0, 1]]
    signed: Floats = points * np.where(farthest < 0, -1.0, 1.0) + 0.0  # no -0
    return signed


def stress(distances: ArrayLike, points: ArrayLike) -> float:
    """Kruskal's stress-1 of points against the distances they stand for; 0 where there is nothing to lay out."""
    d, p = np.asarray(distances, dtype=float), np.asarray(points, dtype=float)
    shown = np.sqrt(((p[:, None] - p[None, :]) ** 2).sum(axis=-1))
    whole = float((d**2).sum())
    return float(np.sqrt(((d - shown) ** 2).sum() / whole)) if whole else 0.0
