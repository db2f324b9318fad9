"""Many answers compared through one of each meaning: the clusters of the whole matrix, from fewer pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isi_core.domain.answer import Answer
from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.evaluation import ModelRecord
from isi_core.domain.uncertainty import Rule, Uncertainty, UncertaintySettings
from isi_core.measures.clustering import ASSIGNMENTS, RULES, cluster
from isi_core.measures.representatives import MANY, representative_probabilities
from isi_core.measures.semantic_entropy import can_recluster, class_probabilities, measure, recluster

SETTINGS = UncertaintySettings(entailment_model="table")


class Table:
    """Entailment by a table of classes over the texts `0`, `1`, …; notes every pair it is asked about."""

    record = ModelRecord("table", "tests", "0", "float64")

    def __init__(self, classes: np.ndarray) -> None:
        self.classes = classes
        self.asked: list[tuple[str, str]] = []

    def classify(self, pairs: Sequence[tuple[str, str]], progress: Any = None) -> np.ndarray:
        self.asked += pairs
        if progress is not None:
            progress("Comparing", 0.0)
            progress("Comparing", 1.0)
        places = [(int(a.split()[-1]), int(b.split()[-1])) for a, b in pairs]
        return np.array([0.1 + 0.7 * np.eye(3)[self.classes[place]] for place in places]).reshape(-1, 3)

    def implications(self, pairs: Sequence[tuple[str, str]], progress: Any = None) -> np.ndarray:
        return self.classify(pairs, progress).argmax(axis=1)


def meanings(count: int, of: int) -> np.ndarray:
    """Classes where text i means the same as every of-th text after it and contradicts the others."""
    means = np.arange(count) % of
    return np.where(means[:, None] == means, 2, 0)


def test_no_more_pairs_than_answers_times_clusters() -> None:
    n, k = 60, 5
    model = Table(meanings(n, k))
    texts = [str(i) for i in range(n)]
    probabilities = representative_probabilities(texts, "Q?", model, "loose")
    assert cluster(probabilities.argmax(-1)) == tuple(i % k for i in range(n))
    assert len(set(model.asked)) == len(model.asked)
    pairs = {frozenset(pair) for pair in model.asked}
    assert len(pairs) == sum(n - 1 - i for i in range(k)) <= n * k
    assert len(model.asked) == 2 * len(pairs)  # both ways
    # What was not asked about is what the representatives say, here the truth.
    np.testing.assert_array_equal(probabilities.argmax(-1), meanings(n, k))


@settings(deadline=None, derandomize=True)
@given(st.data(), st.sampled_from(RULES), st.integers(1, 12))
def test_greedy_clusters_are_those_of_the_whole_matrix(data: st.DataObject, rule: Rule, n: int) -> None:
    """Also where meaning the same is not transitive, and where texts repeat that do not even imply themselves."""
    distinct = data.draw(st.integers(1, n))
    cells = st.lists(st.sampled_from([0, 1, 2]), min_size=distinct**2, max_size=distinct**2)
    classes = np.array(data.draw(cells)).reshape(distinct, distinct)
    texts = [str(data.draw(st.integers(0, distinct - 1))) for _ in range(n)]
    whole = class_probabilities(texts, "Q?", Table(classes)).argmax(-1)
    model = Table(classes)
    found = representative_probabilities(texts, "Q?", model, rule).argmax(-1)
    for assignment in ASSIGNMENTS[:2]:
        assert cluster(found, rule, assignment) == cluster(whole, rule, assignment)
    openers = len(set(cluster(found, rule, "first wins")))
    assert len({frozenset(pair) for pair in model.asked}) <= n * openers
    assert len(set(model.asked)) == len(model.asked)
    diagonal = np.arange(n)
    assert (found[diagonal, diagonal] == 2).all()


def many(n: int) -> list[Answer]:
    return [Answer(str(i), log_likelihoods=(-1.0 - i / n,), sampling_log_likelihoods=(-0.5 - i / n,)) for i in range(n)]


@pytest.mark.parametrize("n", [MANY, MANY + 1])
def test_measure_compares_all_of_few_and_says_when_it_does_not(n: int) -> None:
    model = Table(meanings(n, 3))
    told: list[float] = []
    found = measure(many(n), "Q?", model, SETTINGS, lambda _, fraction: told.append(fraction))
    assert found.all_compared == (n == MANY)
    assert found.semantic_ids == tuple(i % 3 for i in range(n))
    assert len(model.asked) == (n * (n - 1) if n == MANY else 2 * (3 * n - 6))
    assert told == sorted(told)
    assert Uncertainty.from_json(found.to_json()) == found
    old = {key: value for key, value in found.to_json().items() if key != "all_compared"}
    assert Uncertainty.from_json(old).all_compared
    strict = UncertaintySettings(rule="strict", entailment_model="table")
    model_kind = UncertaintySettings(likelihood="model", entailment_model="table")
    assert can_recluster(found, model_kind)
    assert recluster(found, model_kind).all_compared == found.all_compared
    if n == MANY:
        assert recluster(found, strict).semantic_ids == found.semantic_ids
        return
    assert not can_recluster(found, strict)
    with pytest.raises(InputError, match="measure the uncertainty again to group them by the strict"):
        recluster(found, strict)


def test_repeated_answers_do_not_count_as_many() -> None:
    model = Table(meanings(5, 3))
    samples = [Answer(str(i % 5)) for i in range(100)]
    assert measure(samples, "Q?", model, SETTINGS).all_compared
    assert len(model.asked) == 25


def test_values_that_are_not_numbers_are_refused() -> None:
    class Overflown(Table):
        def classify(self, pairs: Any, progress: Any = None) -> np.ndarray:
            return np.full((len(pairs), 3), np.nan)

    with pytest.raises(ModelError, match="float32"):
        representative_probabilities(["0", "1"], None, Overflown(meanings(2, 2)), "loose")
