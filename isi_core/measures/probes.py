"""Probes: small classifiers that read success or failure off features, trained on one split, chosen on another.

Every trainer takes features (n, d) and labels (n,) of the training and the validation split and a seed, and returns a
`Probe`. Labels are 1 for success; a probe predicts the probability of success.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isi_core.domain.errors import InputError

Floats = NDArray[np.float64]
Features = NDArray[np.floating[Any]]
Labels = NDArray[np.bool_]
Trainer = Callable[[Features, Labels, Features, Labels, int], "Probe"]

STRENGTHS = tuple(float(10.0**e) for e in range(-5, 3))
"""Inverse regularizations that are tried on the validation split."""


@dataclass(frozen=True)
class Example:
    """A feature that a probe found, and where it shows.

    Attributes
    ----------
    weight : towards success.
    fires : share of the training cases in which it is active.
    rows : of the training split, the most active ones first.
    """

    feature: int
    weight: float
    fires: float
    rows: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Probe:
    """A trained probe.

    Attributes
    ----------
    predict : (n, d) features to (n,) probabilities of success.
    settings : what was chosen, for the record.
    direction : (d,) unit vector towards success in the features' own space; None where the probe is not linear.
    examples : the features it relies on most, for a probe that has any of its own.
    """

    predict: Callable[[Features], Floats]
    settings: dict[str, Any] = field(default_factory=dict)
    direction: Floats | None = None
    examples: tuple[Example, ...] = ()


def majority(x: Features, y: Labels, _xv: Features, _yv: Labels, _seed: int) -> Probe:
    """Says the training split's share of successes of every case."""
    check_training(x, y)
    share = float(np.mean(y))
    return Probe(lambda features: np.full(len(features), share), {"share": share})


def published(strength: float) -> Trainer:
    """scikit-learn's `LogisticRegression` on features as they are, as *Why It Failed* trains it.

    `strength` is its C: 1.0 is the default that the paper states, 100 that of its released metrics.
    """

    def train(x: Features, y: Labels, _xv: Features, _yv: Labels, seed: int) -> Probe:
        check_training(x, y)
        return _linear(np.asarray(x, dtype=float), y, strength, seed, np.zeros(x.shape[1]), np.ones(x.shape[1]))

    return train


def standardized(strengths: Sequence[float] = STRENGTHS) -> Trainer:
    """Logistic regression on standardized features, its C the one with the lowest validation log-loss."""

    def train(x: Features, y: Labels, xv: Features, yv: Labels, seed: int) -> Probe:
        check_training(x, y)
        centre, scale = standardization(x)
        scaled = (np.asarray(x, dtype=float) - centre) / scale
        best: tuple[float, Probe] | None = None
        for strength in strengths:
            probe = _linear(scaled, y, strength, seed, centre, scale)
            loss = log_loss(yv, probe.predict(xv))
            if best is None or loss < best[0] - 1e-9:
                best = loss, probe
        assert best is not None
        return best[1]

    return train


def ranked(x: Features, y: Labels, xv: Features, yv: Labels, seed: int) -> Probe:
    """For one number a case: tuned logistic regression on its place among the training cases' numbers, in [0, 1].

    Places keep the order and so the AUC; a few extreme values would otherwise decide which way the probe points.
    """
    check_training(x, y)
    values, counts = np.unique(np.asarray(x, dtype=float)[:, 0], return_counts=True)
    places = (np.cumsum(counts) - counts / 2) / len(x)

    def place(features: Features) -> Floats:
        found: Floats = np.interp(np.asarray(features, dtype=float)[:, 0], values, places)[:, None]
        return found

    probe = standardized()(place(x), y, place(xv), yv, seed)
    return Probe(lambda features: probe.predict(place(features)), {**probe.settings, "scale": "training ranks"})


def small_mlp(x: Features, y: Labels, xv: Features, yv: Labels, seed: int) -> Probe:
    """A network with 32 hidden units on standardized features; its weight decay is chosen by validation log-loss."""
    from sklearn.neural_network import MLPClassifier

    check_training(x, y)
    centre, scale = standardization(x)
    best: tuple[float, Probe] | None = None
    for decay in (10.0, 1.0, 0.1):
        network = MLPClassifier((32,), alpha=decay, max_iter=150, random_state=seed, n_iter_no_change=8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it could be trained longer
            network.fit((x - centre) / scale, y)

        def predict(features: Features, network: Any = network) -> Floats:
            found: Floats = network.predict_proba((features - centre) / scale)[:, 1].astype(float)
            return found

        loss = log_loss(yv, predict(xv))
        if best is None or loss < best[0] - 1e-9:
            best = loss, Probe(predict, {"hidden": 32, "weight_decay": decay})
    assert best is not None
    return best[1]


def standardization(x: Features) -> tuple[Floats, Floats]:
    """(d,) mean and standard deviation; 1 where a feature does not vary."""
    centre = np.mean(x, axis=0, dtype=float)
    scale = np.std(x, axis=0, dtype=float)
    return centre, np.where(scale > 1e-12, scale, 1.0)


def log_loss(labels: Labels, probabilities: Floats) -> float:
    """Mean surprise in nats; 0 without labels, so that the strongest regularization, tried first, is kept."""
    if not len(labels):
        return 0.0
    said = np.clip(np.where(labels, probabilities, 1.0 - probabilities), 1e-15, 1.0)
    return float(-np.mean(np.log(said)))


def _linear(x: Floats, y: Labels, strength: float, seed: int, centre: Floats, scale: Floats) -> Probe:
    """Trained on `x`, which is (features - centre) / scale."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=1_000, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unscaled features may not converge; that is the published probe
        model.fit(x, y)
    weights: Floats = model.coef_[0].astype(float) / scale
    norm = float(np.linalg.norm(weights))

    def predict(features: Features) -> Floats:
        found: Floats = model.predict_proba((np.asarray(features, dtype=float) - centre) / scale)[:, 1].astype(float)
        return found

    return Probe(predict, {"C": strength}, weights / norm if norm else None)


def check_training(x: Features, y: Labels) -> None:
    """See that a probe can be trained.

    Raises
    ------
    InputError : other than one row a label, one class alone, or features that are not numbers.
    """
    if len(x) != len(y) or x.ndim != 2:
        raise InputError("A probe needs one row of features a label.")
    if len(set(np.asarray(y).tolist())) < 2:
        raise InputError("All labels of the training split are equal: collect successes and failures.")
    if not np.isfinite(x).all():
        raise InputError("There are features that are not numbers: load the model in float32.")
