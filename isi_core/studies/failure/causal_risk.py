"""Do inputs that an explainer calls risky fail more often? The same new pictures, each shown in several ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

from isi_core.domain.errors import InputError
from isi_core.domain.interventions import GaussianNoise
from isi_core.domain.progress import Progress
from isi_core.domain.rendering import apply
from isi_core.measures.statistics import paired_bootstrap
from isi_core.studies.failure.causal import CausalPlan, Risk
from isi_core.studies.failure.explainers import EXPLAINERS, Evidence, context_words
from isi_core.studies.failure.fresh import ask, fresh_inputs, predict
from isi_core.studies.failure.lending import Lender
from isi_core.studies.failure.plan import FailurePlan
from isi_core.studies.failure.pools import PictureInput
from isi_core.studies.failure.results import BenchmarkResult

NOISE = 40.0
"""Standard deviation of the noise of the noisy ways, in grey levels of 255."""
_LOT = 1_000_003
_MOST = 1_000_000


def find_risk(
    plan: CausalPlan, result: BenchmarkResult, known: Evidence, lend: Lender, progress: Progress | None = None
) -> list[Risk]:
    """A row for each explainer of the benchmark that can say something of new inputs, at its chosen layer.

    Raises
    ------
    InputError : there are too few new inputs.
    """
    seen = {case.item for case in result.cases if case.split != "test"}
    ways = shown_in_ways(result.plan, plan.inputs, seen)
    names = list(ways)
    count = len(ways[names[0]])
    fresh = ask(lend, [given for name in names for given in ways[name]], result.layers, progress)
    failed = fresh.failures.reshape(len(names), count)
    found = []
    for key in dict.fromkeys(score.explainer for score in result.scores):
        best, row = result.best(key), EXPLAINERS.get(key)
        if row is None or best is None or row.extras or row.tokens:
            continue
        layer = plan.layer if key == plan.explainer and plan.layer is not None else best.layer
        try:
            said = predict(row, layer, known, fresh.evidence, result.plan.seed).reshape(len(names), count)
        except InputError:
            continue
        # Ways that look equally risky are taken in equal parts.
        chosen = said <= said.min(axis=0) + 1e-12
        risky = (failed * chosen).sum(axis=0) / chosen.sum(axis=0)
        random = failed.mean(axis=0)
        shares: Counter[str] = Counter()
        for place, name in enumerate(names):
            shares[name] = float((chosen[place] / chosen.sum(axis=0)).mean())  # type: ignore[assignment]
        found.append(
            Risk(
                explainer=key,
                layer=layer,
                n=count,
                risky=float(risky.mean()),
                random=float(random.mean()),
                rise=paired_bootstrap(risky, random, level=plan.level, seed=plan.seed),
                ways={name: round(share, 4) for name, share in shares.most_common() if share > 0},
            )
        )
    return found


def shown_in_ways(plan: FailurePlan, count: int, used: Collection[str]) -> dict[str, list[PictureInput]]:
    """The same new pictures in every way: under each context kind of the benchmark, with and without noise.

    Raises
    ------
    InputError : there are fewer than four pictures that have them all.
    """
    by_kind = {
        kind: {given.trial.observation_id: given for given in _of_kind(plan, kind, count, used)}
        for kind in plan.contexts
    }
    shared = [name for name in by_kind[plan.contexts[0]] if all(name in found for found in by_kind.values())][:count]
    if len(shared) < 4:
        raise InputError("There are too few pictures that the explainers have not seen: take generated scenes.")
    ways: dict[str, list[PictureInput]] = {}
    for kind, found in by_kind.items():
        plain = [found[name] for name in shared]
        ways[context_words(kind)] = plain
        ways[f"{context_words(kind)}, noise"] = _noisy(plain, plan.seed)
    return ways


def _of_kind(plan: FailurePlan, kind: str, count: int, used: Collection[str]) -> list[PictureInput]:
    # Of a dataset all: which of them have every context is known only when all kinds are there.
    return fresh_inputs(plan, (kind,), count if plan.task == "scenes" else _MOST, used, _LOT)


def _noisy(inputs: Sequence[PictureInput], seed: int) -> list[PictureInput]:
    found = []
    for place, given in enumerate(inputs):
        noise = GaussianNoise(NOISE, seed + place)
        trial = given.trial
        found.append(
            replace(
                given,
                trial=replace(trial, image=apply(trial.image, noise), interventions=(*trial.interventions, noise)),
            )
        )
    return found
