"""Explainers put to the test: trained on one split, tested on another, compared, corrected for how many there are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isi_core.domain.errors import InputError
from isi_core.domain.progress import Progress
from isi_core.measures import failure_scores
from isi_core.measures.probes import Features, Labels, Probe, Trainer
from isi_core.measures.statistics import auc_bootstrap, auc_interval, auc_p_value, compare_aucs, holm
from isi_core.studies.failure.explainers import Evidence, ExplainerRow
from isi_core.studies.failure.plan import FailurePlan
from isi_core.studies.failure.results import (
    SPLITS,
    BenchmarkResult,
    CalibrationBin,
    ExplainerScore,
    PairedTest,
    PermutationNull,
    RiskCoveragePoint,
    Split,
)


@dataclass(frozen=True, eq=False)
class Table:
    """One explainer's features at one layer, with the labels and the splits; rows that were not measured left out.

    Attributes
    ----------
    features : (n, d).
    labels : (n,) True for success.
    splits : (n,) of `SPLITS`.
    case_ids : (n,)
    trainer : makes the explainer's probe of them.
    """

    features: Features
    labels: Labels
    splits: NDArray[np.str_]
    case_ids: tuple[str, ...]
    trainer: Trainer

    def part(self, split: Split) -> tuple[Features, Labels]:
        """Features and labels of one split."""
        inside = self.splits == split
        return self.features[inside], self.labels[inside]

    def shuffled(self, rng: np.random.Generator) -> Table:
        """The same with the labels permuted within each split, which keeps the balance."""
        labels = self.labels.copy()
        for split in SPLITS:
            inside = np.flatnonzero(self.splits == split)
            labels[inside] = labels[rng.permutation(inside)]
        return replace(self, labels=labels)


def make_table(row: ExplainerRow, evidence: Evidence, layer: int | None) -> Table:
    """The features of an explainer at a layer.

    Raises
    ------
    InputError : no case was measured, or a class is missing in a split.
    """
    features = row.features(evidence, layer)
    known = np.isfinite(features).all(axis=1) if features.shape[1] else np.zeros(len(features), dtype=bool)
    table = Table(
        features=features[known],
        labels=np.array([case.success for case in evidence.cases], dtype=bool)[known],
        splits=np.array([case.split for case in evidence.cases])[known],
        case_ids=tuple(case.id for case, inside in zip(evidence.cases, known, strict=True) if inside),
        trainer=row.make_trainer(evidence, layer),
    )
    needed: tuple[Split, ...] = ("train", "test")
    for split in needed:
        labels = table.part(split)[1]
        if len(set(labels.tolist())) < 2:
            raise InputError(f"{row.title}: the {split} split has no measured cases of both classes.")
    return table


def train_probe(table: Table, seed: int) -> Probe:
    """A probe trained on the training split, its settings chosen on the validation split."""
    return table.trainer(*table.part("train"), *table.part("validation"), seed)


def score(row: ExplainerRow, table: Table, layer: int | None, plan: FailurePlan) -> ExplainerScore:
    """An explainer's score on the test split."""
    probe = train_probe(table, plan.seed)
    test, truth = table.part("test")
    scores = np.clip(probe.predict(test), 0.0, 1.0)
    caveat = failure_scores.delong_caveat(truth, scores)
    return ExplainerScore(
        explainer=row.key,
        layer=layer,
        n_train=len(table.part("train")[1]),
        n_test=len(truth),
        auc=auc_interval(truth, scores, plan.level),
        bootstrap=auc_bootstrap(truth, scores, plan.level, plan.resamples, plan.seed),
        degenerate=caveat,
        p_value=auc_p_value(truth, scores),
        p_holm=math.nan,
        train_auc=_auc(table, "train", probe),
        validation_auc=_auc(table, "validation", probe),
        average_precision=failure_scores.average_precision(truth, scores),
        brier=failure_scores.brier(truth, scores),
        calibration=tuple(CalibrationBin(*b) for b in failure_scores.calibration(truth, scores)),
        risk_coverage=tuple(RiskCoveragePoint(*p) for p in failure_scores.risk_coverage(truth, scores)),
        case_ids=tuple(c for c, s in zip(table.case_ids, table.splits, strict=True) if s == "test"),
        scores=tuple(scores.tolist()),
        settings={**probe.settings, **_shown_examples(probe, table)},
    )


def _shown_examples(probe: Probe, table: Table) -> dict[str, Any]:
    """The features a probe relies on most, each with the training cases that fire it."""
    if not probe.examples:
        return {}
    training = [case for case, split in zip(table.case_ids, table.splits, strict=True) if split == "train"]
    return {
        "features": [
            {
                "feature": example.feature,
                "weight": example.weight,
                "fires": example.fires,
                "cases": [training[row] for row in example.rows],
            }
            for example in probe.examples
        ]
    }


def _auc(table: Table, split: Split, probe: Probe) -> float:
    features, labels = table.part(split)
    if len(set(labels.tolist())) < 2:
        return math.nan
    return auc_interval(labels, probe.predict(features)).estimate


def permutation_null(
    row: ExplainerRow,
    tables: dict[int | None, Table],
    plan: FailurePlan,
    observed: float,
    progress: Progress | None = None,
) -> PermutationNull:
    """The maximum test AUC over the layers when labels mean nothing, `plan.permutations` times.

    Every layer sees the same shuffle, so that the maximum is over what would have been looked at.
    """
    maxima = []
    for number in range(plan.permutations):
        best = 0.0
        for table in tables.values():
            shuffled = table.shuffled(np.random.default_rng([plan.seed, number]))
            best = max(best, _auc(shuffled, "test", train_probe(shuffled, plan.seed)))
        maxima.append(best)
        if progress is not None:
            progress(f"Shuffled labels {number + 1} of {plan.permutations} times", (number + 1) / plan.permutations)
    beaten = sum(value >= observed - 1e-12 for value in maxima)
    return PermutationNull(
        explainer=row.key,
        layers=tuple(layer for layer in tables if layer is not None),
        observed=observed,
        maxima=tuple(maxima),
        threshold=float(np.quantile(maxima, 0.95)),
        p_value=(1 + beaten) / (1 + len(maxima)),
    )


def label_shuffle_control(
    row: ExplainerRow, tables: dict[int | None, Table], plan: FailurePlan
) -> list[ExplainerScore]:
    """The explainer on labels that mean nothing, by layer: the interval must hold 0.5."""
    return [
        score(row, table.shuffled(np.random.default_rng([plan.seed, 1_000_003])), layer, plan)
        for layer, table in tables.items()
    ]


def paired_tests(result: Sequence[ExplainerScore], labels: dict[str, bool], level: float) -> list[PairedTest]:
    """DeLong's test of every two scores on the test cases they share, Holm-corrected over all pairs.

    Parameters
    ----------
    labels : case id to success.
    """
    found = []
    for first, second in combinations(result, 2):
        mine, other = (dict(zip(s.case_ids, s.scores, strict=True)) for s in (first, second))
        shared = [case for case in first.case_ids if case in other]
        truth = [labels[case] for case in shared]
        if len(set(truth)) < 2:
            continue
        test = compare_aucs(truth, [mine[c] for c in shared], [other[c] for c in shared], level)
        found.append(PairedTest(first.key, second.key, len(shared), test.difference, test.p_value, math.nan))
    corrected = _holm([pair.p_value for pair in found])
    return [replace(pair, p_holm=p) for pair, p in zip(found, corrected, strict=True)]


def correct(scores: Sequence[ExplainerScore]) -> tuple[ExplainerScore, ...]:
    """The scores with their p-values corrected for how many there are."""
    corrected = _holm([s.p_value for s in scores])
    return tuple(replace(s, p_holm=p) for s, p in zip(scores, corrected, strict=True))


def correct_together(results: Sequence[BenchmarkResult]) -> list[BenchmarkResult]:
    """Several tasks' results with p-values corrected over all their explainers, layers and tasks."""
    every = iter(correct([s for result in results for s in result.scores]))
    return [replace(result, scores=tuple(next(every) for _ in result.scores)) for result in results]


def _holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction of those that are known; NaN stays."""
    known = [i for i, p in enumerate(p_values) if math.isfinite(p)]
    corrected = [math.nan] * len(p_values)
    if known:
        for i, p in zip(known, holm([p_values[i] for i in known]), strict=True):
            corrected[i] = float(p)
    return corrected
