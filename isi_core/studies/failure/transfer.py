"""Does what tells failure in one place tell it in another? Trained on one domain, tested on each; and shared failures.

A domain is a run (a task and a model), or the cases of a run under one context kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from isi_core.domain.errors import InputError
from isi_core.domain.progress import Progress, part_of
from isi_core.measures.failure_scores import delong_caveat
from isi_core.measures.statistics import Interval, auc_bootstrap, auc_interval, bootstrap_interval
from isi_core.models.vlm.part import never_back
from isi_core.studies.failure.collection import input_identity, read_asked
from isi_core.studies.failure.evidence import evidence_of
from isi_core.studies.failure.explainers import Evidence, ExplainerRow, context_words, find_explainer, joined
from isi_core.studies.failure.results import BenchmarkResult, Case, plain_json

if TYPE_CHECKING:
    from isi_core.models.shelf import Shelf

By = Literal["run", "context"]
_FEWEST = 4
"""Test cases of each class below which a cell is left empty."""


@dataclass(frozen=True)
class Run:
    """A finished benchmark, its folder, and what it is called in the matrix."""

    name: str
    result: BenchmarkResult
    folder: Path


@dataclass(frozen=True)
class TransferCell:
    """An explainer trained on one domain and tested on another.

    Attributes
    ----------
    n_train, n_test : cases; test cases that are like one of the training domain's are left out.
    auc : None where it could not be measured; `why` says it then.
    """

    train: str
    test: str
    n_train: int
    n_test: int
    auc: Interval | None
    why: str = ""


@dataclass(frozen=True)
class SharedFailures:
    """Inputs that two runs asked both, and how often both models failed.

    Attributes
    ----------
    n : inputs in common.
    first_failed, second_failed, both_failed : of them.
    share : failures in common, of the failures of either (Jaccard), with its bootstrap interval; None without failures.
    by_chance : the same share where the two failed independently of each other, each as often as it did.
    """

    first: str
    second: str
    n: int
    first_failed: int
    second_failed: int
    both_failed: int
    share: Interval | None
    by_chance: float


@dataclass(frozen=True)
class TransferResult:
    """The matrix, row by row, and what runs have in common."""

    explainer: str
    layer: int | None
    by: By
    domains: tuple[str, ...]
    cells: tuple[TransferCell, ...]
    shared: tuple[SharedFailures, ...]

    def cell(self, train: str, test: str) -> TransferCell:
        """The cell of two domains."""
        return next(c for c in self.cells if (c.train, c.test) == (train, test))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        data: dict[str, Any] = {
            "explainer": self.explainer,
            "layer": self.layer,
            "by": self.by,
            "domains": list(self.domains),
            "cells": plain_json(self.cells),
            "shared": plain_json(self.shared),
        }
        return data


@dataclass(frozen=True, eq=False)
class _Domain:
    name: str
    evidence: Evidence
    rows: NDArray[np.int64]


def transfer(
    runs: Sequence[Run],
    shelf: Shelf,
    explainer: str,
    layer: int | None = None,
    by: By = "run",
    level: float = 0.95,
    progress: Progress | None = None,
) -> TransferResult:
    """The explainer trained on the training cases of each domain and tested on the test cases of each.

    Parameters
    ----------
    layer : for explainers that read layers; None takes the one that the first run's validation cases chose.

    Raises
    ------
    InputError : fewer than two domains, an explainer that cannot be applied to other cases, or no such layer.
    """
    progress = never_back(progress) if progress is not None else None
    row = find_explainer(explainer)
    if row.extras or row.tokens:
        raise InputError(f"{row.title} is measured case by case and cannot be carried over: choose another explainer.")
    if not runs:
        raise InputError("A transfer matrix needs a finished run: choose one.")
    if len({run.name for run in runs}) < len(runs):
        raise InputError("Two of these runs are the same: choose different ones.")
    if row.by_layer and layer is None:
        best = runs[0].result.best(explainer)
        layer = best.layer if best is not None else (runs[0].result.layers or (None,))[-1]
    if row.by_layer and not all(run.result.layers for run in runs):
        raise InputError(f"{row.title} reads activations, and not every run has any: choose another explainer.")
    layer = layer if row.by_layer else None
    domains: list[_Domain] = []
    for place, run in enumerate(runs):
        here = part_of(progress, 0.5 * place / len(runs), 0.5 * (place + 1) / len(runs))
        domains += _domains(run, evidence_of(run.result, run.folder, shelf, here), by, many=len(runs) > 1)
    if len(domains) < 2:
        raise InputError("There is nothing to transfer to: choose another run, or one with several context kinds.")
    cells = []
    for place, train in enumerate(domains):
        if progress is not None:
            progress(f"Training on {train.name}", 0.5 + 0.5 * place / len(domains))
        cells += _row(train, domains, row, layer, runs[0].result.plan.seed, level)
    return TransferResult(
        explainer=explainer,
        layer=layer,
        by=by,
        domains=tuple(domain.name for domain in domains),
        cells=tuple(cells),
        shared=tuple(_shared(a, b, level) for a, b in combinations(runs, 2)),
    )


def _domains(run: Run, evidence: Evidence, by: By, many: bool) -> list[_Domain]:
    if by == "run":
        return [_Domain(run.name, evidence, np.arange(len(evidence.cases)))]
    kinds = dict.fromkeys(case.context_kind for case in evidence.cases)
    return [
        _Domain(
            f"{run.name}: {context_words(kind)}" if many else context_words(kind),
            evidence,
            np.array([i for i, case in enumerate(evidence.cases) if case.context_kind == kind]),
        )
        for kind in kinds
    ]


def _row(
    train: _Domain, domains: Sequence[_Domain], row: ExplainerRow, layer: int | None, seed: int, level: float
) -> list[TransferCell]:
    found = []
    for test in domains:
        try:
            found.append(_cell(train, test, row, layer, seed, level))
        except InputError as error:
            found.append(TransferCell(train.name, test.name, 0, 0, None, str(error)))
    return found


def _cell(train: _Domain, test: _Domain, row: ExplainerRow, layer: int | None, seed: int, level: float) -> TransferCell:
    learned = [train.evidence.cases[i] for i in train.rows]
    both = joined((train.evidence, test.evidence), layer)
    features = row.features(both, layer)
    labels = np.array([case.success for case in both.cases], dtype=bool)
    finite = np.isfinite(features).all(axis=1)
    parts = [
        np.array([i for i in train.rows if both.cases[i].split == split and finite[i]], dtype=int)
        for split in ("train", "validation")
    ]
    known = {name for case in learned if case.split != "test" for name in _names(case)}
    offset = len(train.evidence.cases)
    asked = [
        offset + i
        for i in test.rows
        if test.evidence.cases[i].split == "test" and finite[offset + i] and not _names(test.evidence.cases[i]) & known
    ]
    fewest = min(sum(labels[asked]), sum(~labels[asked])) if asked else 0
    if fewest < _FEWEST:
        raise InputError(f"Only {fewest} test cases of the rarer class are left: collect more.")
    probe = row.make_trainer(both, layer)(
        features[parts[0]], labels[parts[0]], features[parts[1]], labels[parts[1]], seed
    )
    scores, truth = probe.predict(features[asked]), labels[asked]
    caveat = delong_caveat(truth, scores)
    auc = auc_bootstrap(truth, scores, level) if caveat else auc_interval(truth, scores, level)
    return TransferCell(train.name, test.name, len(parts[0]), len(asked), auc)


def _names(case: Case) -> set[str]:
    """What makes another case nearly the same: its picture, or the text item it is."""
    if case.picture:
        return {case.picture}
    return {f"{case.question}|{case.context}"}


def _shared(first: Run, second: Run, level: float) -> SharedFailures:
    mine, other = ({_input(run, a.case): not a.case.success for a in read_asked(run.folder)} for run in (first, second))
    both = [name for name in mine if name in other]
    a, b = np.array([mine[n] for n in both], dtype=bool), np.array([other[n] for n in both], dtype=bool)
    either = a | b
    share, chance = None, float("nan")
    if either.any():
        share = bootstrap_interval((a & b)[either].astype(float), level=level)
        p, q = a.mean(), b.mean()
        chance = float(p * q / (p + q - p * q))
    return SharedFailures(
        *(first.name, second.name, len(both), int(a.sum()), int(b.sum()), int((a & b).sum())), share, chance
    )


def _input(run: Run, case: Case) -> str:
    return (
        input_identity(case) if case.picture else f"{run.result.plan.task}|{case.item}|{case.question}|{case.context}"
    )
