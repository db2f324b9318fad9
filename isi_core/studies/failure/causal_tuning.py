"""Does training on the slice that an explanation names mend more than training on a random one?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.progress import Progress, part_of
from isi_core.domain.trial import Trial
from isi_core.measures.statistics import Interval, paired_rate_difference
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.models.vlm.tuning import TunedCopy, tuning_prompts, why_not
from isi_core.studies.failure.causal import CausalPlan, Tuned
from isi_core.studies.failure.explainers import EXPLAINERS, Evidence
from isi_core.studies.failure.fresh import ask, fresh_inputs, predict
from isi_core.studies.failure.lending import Lender
from isi_core.studies.failure.results import BenchmarkResult

_LOT = 2_000_003
_TIMES = 3
"""Inputs that a slice is chosen from, in slices."""


def tune(
    plan: CausalPlan,
    result: BenchmarkResult,
    layer: int | None,
    known: Evidence,
    test: Sequence[Trial],
    lend: Lender,
    progress: Progress | None = None,
) -> Tuned:
    """Train two copies for `plan.steps` steps and ask them the test cases.

    Parameters
    ----------
    test : trials of the test cases, their truth known.

    Raises
    ------
    InputError : too few new inputs.
    ModelError : the model is too large or cannot be trained.
    """
    with lend() as vlm:
        if not isinstance(vlm, HuggingFaceVLM):
            raise ModelError(f"{vlm.record.name} cannot be trained here: choose a model that is loaded.")
        if lacks := why_not(vlm):
            raise ModelError(lacks)
    used = {case.item for case in result.cases}
    inputs = fresh_inputs(result.plan, result.plan.contexts, _TIMES * plan.slice_size, used, _LOT)
    if len(inputs) < 2 * plan.slice_size:
        raise InputError(
            f"Only {len(inputs)} inputs are left that the benchmark has not used: choose a slice of "
            f"{len(inputs) // _TIMES} or less, or generated scenes."
        )
    fresh = ask(lend, inputs, result.layers, part_of(progress, 0.0, 0.3))
    said = predict(EXPLAINERS[plan.explainer], layer, known, fresh.evidence, result.plan.seed)
    rng = np.random.default_rng([plan.seed, 29])
    # By lot first, so that equal scores come in no order of their own.
    shuffled = rng.permutation(len(inputs))
    risky = shuffled[np.argsort(said[shuffled], kind="stable")][: plan.slice_size]
    random = rng.choice(len(inputs), plan.slice_size, replace=False)
    truth = np.array([0 if trial.truth else 1 for trial in test])
    right = {}
    losses: list[float] = []
    for number, (name, chosen) in enumerate((("before", None), ("risky", risky), ("random", random))):
        with lend() as vlm:
            assert isinstance(vlm, HuggingFaceVLM)
            copy = TunedCopy(vlm)
            asked = tuning_prompts(vlm, test)
            learned = [] if chosen is None else tuning_prompts(vlm, [inputs[i].trial for i in chosen])
        if chosen is not None:
            truths = [bool(inputs[i].trial.truth) for i in chosen]
            here = part_of(progress, 0.3 + 0.35 * (number - 1), 0.3 + 0.35 * number)
            found = copy.train(learned, truths, steps=plan.steps, seed=plan.seed, progress=here)
            losses = found if name == "risky" else losses
        right[name] = (copy.likelihoods(asked).argmax(axis=1) == truth).astype(float)
    quarter = max(1, len(losses) // 4)

    def gain(first: str, second: str) -> Interval:
        return paired_rate_difference(right[first], right[second], level=plan.level)

    return Tuned(
        n=len(truth),
        before=float(right["before"].mean()),
        risky=float(right["risky"].mean()),
        random=float(right["random"].mean()),
        risky_gain=gain("risky", "before"),
        random_gain=gain("random", "before"),
        beyond_random=gain("risky", "random"),
        slice_failures=float(fresh.failures[risky].mean()),
        random_failures=float(fresh.failures[random].mean()),
        loss=(float(np.mean(losses[:quarter])), float(np.mean(losses[-quarter:]))),
    )
