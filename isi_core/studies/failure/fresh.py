"""Inputs that no explainer has seen, and what explainers say of them."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.progress import Progress
from isi_core.models.pools import POOLS
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.models.vlm.states import read_states
from isi_core.studies.failure.collection import DECODING, answered_case
from isi_core.studies.failure.explainers import Evidence, ExplainerRow, joined
from isi_core.studies.failure.lending import Lender
from isi_core.studies.failure.plan import FailurePlan
from isi_core.studies.failure.pools import PictureInput, ScenePool, open_pool

_AT_ONCE = 16
_BALANCED = 12


@dataclass(frozen=True)
class Fresh:
    """Inputs with what the model answered and what was read of them, aligned."""

    inputs: tuple[PictureInput, ...]
    evidence: Evidence

    @property
    def failures(self) -> NDArray[np.bool_]:
        """(n,) whether the model was wrong."""
        return np.array([not case.success for case in self.evidence.cases], dtype=bool)


def fresh_inputs(
    plan: FailurePlan, contexts: Sequence[str], count: int, used: Collection[str], lot: int
) -> list[PictureInput]:
    """Up to `count` inputs under these contexts: scenes by another lot; of a dataset what is not like those `used`.

    Parameters
    ----------
    used : ids of the observations that must not come again.
    """
    if plan.task == "scenes":
        size = -(-count // _BALANCED) * _BALANCED
        return ScenePool(plan.seed + lot, contexts, size).chunk(0)[:count]
    pool = open_pool(replace(plan, contexts=tuple(contexts)))
    inputs: list[PictureInput] = []
    for number in itertools.count():
        part = pool.chunk(number)
        if not part:
            break
        inputs += part
    taken = {given.group for given in inputs if given.trial.observation_id in used}
    return [given for given in inputs if given.group not in taken][:count]


def ask(lend: Lender, inputs: Sequence[PictureInput], layers: Sequence[int], progress: Progress | None = None) -> Fresh:
    """Ask the model, and read its states at `layers`.

    Raises
    ------
    InputError : there is nothing to ask.
    ModelError : the model does not tell its hidden states.
    """
    if not inputs:
        raise InputError("There are no inputs left that the explainers have not seen: take generated scenes.")
    cases, states = [], []
    for begin in range(0, len(inputs), _AT_ONCE):
        part = inputs[begin : begin + _AT_ONCE]
        trials = [given.trial for given in part]
        with lend() as vlm:
            if not isinstance(vlm, HuggingFaceVLM):
                raise ModelError(f"{vlm.record.name} does not tell its hidden states: choose another model.")
            outputs = vlm.evaluate(trials, DECODING, {"answer"})
            read = read_states(vlm, trials, layers)
        for i, (given, output) in enumerate(zip(part, outputs, strict=True)):
            case = answered_case(given, f"fresh_{begin + i:07d}", output)
            cases.append(replace(case, option_likelihoods=tuple(read.words[i].tolist())))
        states.append(read.states)
        if progress is not None:
            progress(f"Asked {len(cases):,} of {len(inputs):,} new inputs", len(cases) / len(inputs))
    return Fresh(tuple(inputs), Evidence(tuple(cases), np.concatenate(states), tuple(layers), POOLS, {}))


def predict(row: ExplainerRow, layer: int | None, known: Evidence, new: Evidence, seed: int) -> NDArray[np.float64]:
    """(n,) probability of success of new cases, said by an explainer that learned from the known ones.

    Raises
    ------
    InputError : it needs measures that new cases do not have, or cannot learn from these.
    """
    if row.extras or row.tokens:
        raise InputError(f"{row.title} needs measures that were not taken of new inputs.")
    features = row.features(joined((known, new), layer), layer)
    count = len(known.cases)
    finite = np.isfinite(features).all(axis=1)
    if not finite[count:].all():
        raise InputError(f"{row.title} was not measured for every new input.")
    labels = np.array([case.success for case in known.cases], dtype=bool)
    splits = np.array([case.split for case in known.cases])
    parts = [(splits == split) & finite[:count] for split in ("train", "validation")]
    (x, y), (xv, yv) = ((features[:count][part], labels[part]) for part in parts)
    return row.trainer()(x, y, xv, yv, seed).predict(features[count:])
