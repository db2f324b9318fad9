"""Uncertainty from the graph of entailments between answers, without any clusters.

Lin, Trivedi & Sun, "Generating with Confidence: Uncertainty Quantification for Black-box Large Language Models"
(TMLR 2024, arXiv 2305.19187). Nodes are the m answers; the weight of an edge is the mean of the two probabilities that
one answer entails the other (the paper's a_NLI,entail); every answer is like itself (weight 1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isi_core.domain.errors import InputError

Floats = NDArray[np.float64]


def similarity(entailment_probabilities: ArrayLike) -> Floats:
    """(m, m) symmetric weights w_ij = (a_ij + a_ji) / 2 in [0, 1], w_ii = 1, from (m, m) P(row entails column).

    Raises
    ------
    InputError : no square table of probabilities.
    """
    entails = np.asarray(entailment_probabilities, dtype=float)
    if entails.ndim != 2 or entails.shape[0] != entails.shape[1] or not len(entails):
        raise InputError("The entailment graph needs a square table of probabilities, one row an answer.")
    if not np.isfinite(entails).all() or (entails < -1e-9).any() or (entails > 1 + 1e-9).any():
        raise InputError("The entailment graph needs probabilities between 0 and 1: compare the answers again.")
    weights: Floats = np.clip((entails + entails.T) / 2.0, 0.0, 1.0)
    np.fill_diagonal(weights, 1.0)
    return weights


def eigenvalue_uncertainty(entailment_probabilities: ArrayLike) -> float:
    """U_EigV = sum_k max(0, 1 - lambda_k), a continuous number of meanings, in [1, m] (Lin et al., Sec. 4.2).

    lambda_k are the eigenvalues of the symmetric normalized Laplacian L = I - D^(-1/2) W D^(-1/2),
    D the diagonal of W's row sums. For answers that fall into k groups, alike within and unlike
    between, it is k.
    """
    weights = similarity(entailment_probabilities)
    scale = 1.0 / np.sqrt(weights.sum(axis=1))
    # 1 - lambda are the eigenvalues of the scaled weights themselves.
    values = np.linalg.eigvalsh(scale[:, None] * weights * scale[None, :])
    return float(np.clip(np.maximum(values, 0.0).sum(), 1.0, len(weights)))


def degree_uncertainty(entailment_probabilities: ArrayLike) -> float:
    """U_Deg = trace(m I - D) / m^2, the mean dissimilarity of two answers, in [0, 1 - 1/m] (Lin et al., Sec. 4.2)."""
    weights = similarity(entailment_probabilities)
    return max(0.0, float(1.0 - weights.mean()))
