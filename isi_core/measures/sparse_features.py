"""Features of a top-k sparse autoencoder, and a sparse logistic head that names the few which foretell failure.

Gao et al., *Scaling and evaluating sparse autoencoders* (2024): z = TopK(W_e (x - b)), x' = W_d z + b.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isi_core.measures.probes import Example, Features, Floats, Labels, Probe, check_training, log_loss, standardization

ACTIVE = 16
"""Features that may be active in a case."""
_WIDER, _MOST = 4, 4_096
_STEPS, _BATCH, _RATE = 400, 256, 2e-3
_STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_SHOWN, _CASES = 8, 6


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """A trained top-k autoencoder of (d,) states; (width, d) `encoder` and `decoder`, whose rows are unit vectors.

    Attributes
    ----------
    unexplained : share of the states' variance that is lost.
    """

    centre: Floats
    scale: Floats
    encoder: NDArray[np.float32]
    decoder: NDArray[np.float32]
    active: int
    unexplained: float

    def encode(self, states: Features) -> NDArray[np.float32]:
        """(n, width) activations, at most `active` of each row above zero."""
        scaled = ((np.asarray(states, dtype=float) - self.centre) / self.scale).astype(np.float32)
        raw: NDArray[np.float32] = np.maximum(scaled @ self.encoder.T, 0.0)
        if raw.shape[1] > self.active:
            least = np.partition(raw, -self.active, axis=1)[:, [-self.active]]
            raw = np.where(raw >= least, raw, np.float32(0))
        return raw


def train_autoencoder(states: Features, seed: int, width: int | None = None, active: int | None = None) -> Autoencoder:
    """Train on (n, d) states, each dimension standardized; no label enters.

    `width` features, four a dimension where it is not given; `active` of them a case, `ACTIVE` or fewer of a small
    width.
    """
    import torch

    centre, scale = standardization(states)
    x = torch.from_numpy(((np.asarray(states, dtype=float) - centre) / scale).astype(np.float32))
    d = x.shape[1]
    width = width or min(_MOST, _WIDER * d)
    active = min(active or min(ACTIVE, max(2, width // 16)), width)
    generator = torch.Generator().manual_seed(seed)
    start = torch.nn.functional.normalize(torch.randn(width, d, generator=generator), dim=1)
    encoder, decoder = start.clone().requires_grad_(), start.clone().requires_grad_()
    optimizer = torch.optim.Adam([encoder, decoder], lr=_RATE)
    for _ in range(_STEPS):
        part = x[torch.randint(len(x), (min(_BATCH, len(x)),), generator=generator)]
        raw = (part @ encoder.T).relu()
        best = raw.topk(active, dim=1)
        again = torch.zeros_like(raw).scatter(1, best.indices, best.values) @ decoder
        optimizer.zero_grad(set_to_none=True)
        ((again - part) ** 2).mean().backward()
        optimizer.step()
        with torch.no_grad():  # else features could grow strong and directions weak
            decoder.copy_(torch.nn.functional.normalize(decoder, dim=1))
    found = Autoencoder(centre, scale, encoder.detach().numpy(), decoder.detach().numpy(), active, 0.0)
    lost = found.encode(states) @ found.decoder - x.numpy()
    return Autoencoder(
        centre, scale, found.encoder, found.decoder, active, float((lost**2).sum() / max(1e-12, (x**2).sum().item()))
    )


def sparse_head(x: Features, y: Labels, xv: Features, yv: Labels, seed: int) -> Probe:
    """An autoencoder of both splits' states, and an L1 logistic regression on its features, its C chosen on validation.

    The probe's `examples` are the features with the largest weights and the training rows that fire them most.
    """
    from sklearn.linear_model import LogisticRegression

    check_training(x, y)
    autoencoder = train_autoencoder(np.concatenate([x, xv]) if len(xv) else x, seed)
    codes, validation = autoencoder.encode(x), autoencoder.encode(xv)
    size = np.maximum(codes.std(axis=0), 1e-6)
    best: tuple[float, float, Any] | None = None
    for strength in _STRENGTHS:
        head = LogisticRegression(**_L1, C=strength, random_state=seed, max_iter=300)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it could be trained longer
            head.fit(codes / size, y)
        loss = log_loss(yv, head.predict_proba(validation / size)[:, 1])
        if best is None or loss < best[0] - 1e-9:
            best = loss, strength, head
    assert best is not None
    _, strength, head = best
    weights = head.coef_[0]

    def predict(features: Features) -> Floats:
        found: Floats = head.predict_proba(autoencoder.encode(features) / size)[:, 1].astype(float)
        return found

    used = [int(i) for i in np.argsort(-np.abs(weights), kind="stable") if weights[i] != 0]
    settings = {
        "C": strength,
        "width": codes.shape[1],
        "active": autoencoder.active,
        "unexplained": round(autoencoder.unexplained, 4),
        "features_used": len(used),
    }
    examples = tuple(
        Example(i, float(weights[i]), float((codes[:, i] > 0).mean()), _firing(codes[:, i])) for i in used[:_SHOWN]
    )
    return Probe(predict, settings, examples=examples)


_L1: dict[str, Any] = {"solver": "liblinear", "l1_ratio": 1.0}


def _firing(activations: NDArray[np.float32]) -> tuple[int, ...]:
    """Rows in which a feature is most active."""
    order = np.argsort(-activations, kind="stable")[:_CASES]
    return tuple(int(i) for i in order if activations[i] > 0)
