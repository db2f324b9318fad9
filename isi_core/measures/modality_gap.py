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


def retrieval_accuracy(text: ArrayLike, image: ArrayLike, candidates: int = 10) -> float:
    """How often a text's own image (row i with row i) is the nearest of `candidates` by cosine, in [0, 1].

    The mean over all draws of the other candidates, in closed form: of n images, r nearer than the own one and e as
    near, one draw without replacement holds no nearer one with C(n-1-r-e, k-1) / C(n-1, k-1) where e is counted as
    nearer; ties are rare, and count against the model. Chance is 1 / `candidates`.

    Raises
    ------
    InputError : the clouds are not of equal shape, or have fewer rows than candidates.
    """
    from scipy.special import gammaln

    words, pictures = (normalized(cloud) for cloud in _clouds(text, image))
    n = len(words)
    if len(pictures) != n or not 2 <= candidates <= n:
        raise InputError(f"Retrieval among {candidates} needs as many pairs; got {n} texts and {len(pictures)} images.")
    nearer = np.empty(n)
    for begin in range(0, n, 512):  # a block of rows at a time, so that memory stays small
        cosines = words[begin : begin + 512] @ pictures.T
        rows = np.arange(len(cosines))
        own = cosines[rows, begin + rows].copy()
        cosines[rows, begin + rows] = -np.inf
        nearer[begin : begin + 512] = (cosines >= own[:, None] - 1e-12).sum(axis=1)
    left, drawn = n - 1 - nearer, candidates - 1
    possible = left >= drawn
    kept = np.where(possible, left, drawn)
    # log C(left, drawn) - log C(n - 1, drawn)
    chance = gammaln(kept + 1) - gammaln(kept - drawn + 1) - gammaln(n) + gammaln(n - drawn)
    return float(np.where(possible, np.exp(chance), 0.0).mean())


def matching_accuracy(first: tuple[ArrayLike, ArrayLike], second: tuple[ArrayLike, ArrayLike]) -> float:
    """Of pairs of steps, the share whose texts match their own images better than the exchanged ones, in [0, 1].

    Each step is (texts (n, d), images (n, d)); a pair counts where cos(t1, i1) + cos(t2, i2) exceeds
    cos(t1, i2) + cos(t2, i1), by a half where both are equal. Chance is 0.5.

    Raises
    ------
    InputError : the four clouds are not of one shape.
    """
    clouds = [normalized(cloud) for step in (first, second) for cloud in _clouds(*step)]
    if len({cloud.shape for cloud in clouds}) != 1:
        raise InputError("Matching needs four clouds of one shape: give each pair's two texts and two images.")
    text, image, other_text, other_image = clouds
    margin = ((text - other_text) * (image - other_image)).sum(axis=1)
    return float(np.where(np.abs(margin) <= 1e-12, 0.5, margin > 0).mean())


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
