"""Comparing very many answers through one of each meaning, instead of all with all.

The greedy clusterings (Farquhar et al., Nature 630, 2024; see `measures.clustering`) look only at answers that open a
cluster and compare each of these with all later ones. So no more than n·k pairs of n answers need be asked about,
both ways, for k clusters, and `cluster` finds in them what it would have found in all n (n - 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isi_core.domain.errors import ModelError
from isi_core.domain.progress import Progress, part_of
from isi_core.domain.uncertainty import Rule
from isi_core.measures.clustering import equivalent
from isi_core.models.entailment.protocol import CLASSES, ENTAILMENT, EntailmentModel, told_question

MANY = 30
"""Different answers above which not every pair is asked about."""

Floats = NDArray[np.float64]


def representative_probabilities(
    texts: Sequence[str],
    question: str | None,
    entailment: EntailmentModel,
    rule: Rule,
    progress: Progress | None = None,
) -> Floats:
    """(n, n, 3) class probabilities of ordered pairs of answers, as `semantic_entropy.class_probabilities` gives them.

    Exact in the rows and columns of every answer that opens a cluster under `rule`, from there on;
    so the greedy clusters under that rule, last or first wins, are those of the whole matrix. In
    a pair that was not asked about, the earlier answer is stood for by the one whose cluster it is in.

    Raises
    ------
    ModelError : the model gave values that are not numbers.
    """
    entailment, question = told_question(entailment, question)
    n = len(texts)
    shown = list(texts) if question is None else [f"{question} {text}" for text in texts]
    certain = np.eye(len(CLASSES))[ENTAILMENT]
    table: Floats = np.broadcast_to(certain, (n, n, len(CLASSES))).copy()
    known: dict[tuple[str, str], Floats] = {}
    representative = np.full(n, -1)
    for i in range(n):
        if representative[i] >= 0:
            continue
        representative[i] = i
        later = range(i + 1, n)
        there = [(shown[i], shown[j]) for j in later]
        back = [(shown[j], shown[i]) for j in later]
        asked = [pair for pair in dict.fromkeys([*there, *back]) if pair not in known]
        known |= zip(asked, _ask(asked, entailment, part_of(progress, i / n, (i + 1) / n)), strict=True)
        for j, forward, backward in zip(later, there, back, strict=True):
            table[i, j], table[j, i] = known[forward], known[backward]
        # A later cluster takes over an answer, as the published code has it.
        representative[i + 1 :][_same(table[i, i:], table[i:, i], rule)] = i
    for i in range(n):  # nothing changes for a representative itself
        table[i, i + 1 :] = table[representative[i], i + 1 :]
        table[i + 1 :, i] = table[i + 1 :, representative[i]]
    if progress is not None:
        progress("Compared the answers", 1.0)
    return table


def _same(there: Floats, back: Floats, rule: Rule) -> NDArray[np.bool_]:
    """(m - 1,) which later answers mean the same as the first, from (m, 3) probabilities each way, its own in front."""
    star = np.full((len(there), len(there)), ENTAILMENT)
    star[0], star[:, 0] = there.argmax(axis=-1), back.argmax(axis=-1)
    same: NDArray[np.bool_] = equivalent(star, rule)[0, 1:]
    return same


def _ask(pairs: list[tuple[str, str]], entailment: EntailmentModel, progress: Progress | None) -> Floats:
    if not pairs:
        return np.empty((0, len(CLASSES)))
    found = np.asarray(entailment.classify(pairs, progress), dtype=float)
    if found.shape != (len(pairs), len(CLASSES)) or not np.isfinite(found).all():
        raise ModelError(f"{entailment.record.name} returned values that are not numbers: load it in float32.")
    return found
