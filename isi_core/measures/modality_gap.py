"""The modality gap (Liang et al., NeurIPS 2022) and what may be mistaken for it: collapse, and weak alignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isi_core.domain.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Axes:
    """Two directions of a space of features.

    Attributes
    ----------
    mean : (d,) origin.
    directions : (2, d), orthonormal.
    explained : shares of the variance on them, in [0, 1].
    """

    mean: Floats
    directions: Floats
    explained: tuple[float, float]

    def coordinates(self, features: ArrayLike) -> Floats:
        """(n, 2) of features (n, d)."""
        placed: Floats = (_cloud(features) - self.mean) @ self.directions.T
        return placed


def normalized(features: ArrayLike) -> Floats:
    """Features (n, d), each of length one; a feature of zeros stays one."""
    cloud = _cloud(features)
    scaled: Floats = cloud / np.maximum(np.linalg.norm(cloud, axis=1, keepdims=True), 1e-12)
    return scaled


def gap_vector(text: ArrayLike, image: ArrayLike) -> Floats:
    """(d,) from the centroid of the image features to that of the text features, which are taken as they are."""
    words, pictures = _clouds(text, image)
    vector: Floats = words.mean(axis=0) - pictures.mean(axis=0)
    return vector


def centroid_distance(text: ArrayLike, image: ArrayLike) -> float:
    """Length of `gap_vector`; the modality gap where the features are `normalized`."""
    return float(np.linalg.norm(gap_vector(text, image)))


def mean_cosines(text: ArrayLike, image: ArrayLike) -> tuple[float, float]:
    """Mean cosine of true pairs (row i with row i) and of random ones (row i with every other row).

    Raises
    ------
    InputError : the clouds are not of equal shape; with one row there are no random pairs and the second is NaN.
    """
    words, pictures = _clouds(text, image)
    if len(words) != len(pictures):
        raise InputError(f"Pairs need as many texts as images; got {len(words)} and {len(pictures)}.")
    words, pictures = normalized(words), normalized(pictures)
    n = len(words)
    true = float((words * pictures).sum(axis=1).mean())
    # The sum over all pairs is the product of the sums.
    every = float(words.sum(axis=0) @ pictures.sum(axis=0))
    return true, (every - n * true) / (n * (n - 1)) if n > 1 else float("nan")


def effective_rank(features: ArrayLike) -> float:
    """exp of the entropy (nats) of the normalized singular values after centering (Roy & Vetterli, EUSIPCO 2007).

    Between 1 (all on a line) and min(n - 1, d); 0 where all features are the same.
    """
    cloud = _cloud(features)
    values = np.linalg.svd(cloud - cloud.mean(axis=0), compute_uv=False)
    total = values.sum()
    if total <= 1e-12 * max(1.0, float(np.abs(cloud).max())):
        return 0.0
    shares = values[values > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))


def principal_axes(clouds: Sequence[ArrayLike]) -> Axes:
    """The first two principal components of all clouds together; signs are fixed by the largest entry.

    Raises
    ------
    InputError : fewer than three features, or features of fewer than two numbers.
    """
    from sklearn.decomposition import PCA

    joined = np.concatenate([_cloud(cloud) for cloud in clouds])
    if joined.shape[0] < 3 or joined.shape[1] < 2:
        raise InputError("Two principal axes need at least three features of two numbers: choose more steps.")
    if not np.ptp(joined, axis=0).any():
        return Axes(joined.mean(axis=0), np.eye(2, joined.shape[1]), (0.0, 0.0))
    found = PCA(n_components=2, svd_solver="full").fit(joined)
    first, second = (float(share) for share in found.explained_variance_ratio_)
    return Axes(found.mean_, found.components_, (first, second))


def shifted(text: ArrayLike, image: ArrayLike, amount: float) -> tuple[Floats, Floats]:
    """Both clouds, normalized, moved along the gap vector and normalized anew (Liang et al., section 5).

    Parameters
    ----------
    amount : λ; each modality moves by λ times the gap vector: 0 leaves them, 0.5 joins the centroids before they are
        normalized anew, negative widens the gap.
    """
    words, pictures = normalized(text), normalized(image)
    vector = gap_vector(words, pictures)
    return normalized(words - amount * vector), normalized(pictures + amount * vector)


def _cloud(features: ArrayLike) -> Floats:
    cloud: Floats = np.asarray(features, dtype=np.float64)
    if cloud.ndim != 2 or not cloud.size:
        raise InputError("Features must be a table of at least one row: choose more steps.")
    if not np.isfinite(cloud).all():
        raise InputError("Some features are not finite numbers: the encoder's training went astray, train it again.")
    return cloud


def _clouds(text: ArrayLike, image: ArrayLike) -> tuple[Floats, Floats]:
    words, pictures = _cloud(text), _cloud(image)
    if words.shape[1] != pictures.shape[1]:
        raise InputError(
            f"Texts have {words.shape[1]} numbers a feature and images {pictures.shape[1]}: they cannot be compared."
        )
    return words, pictures
