"""Semantic entropy against the published oracle, an independent reading of the algorithm, and its invariants."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isi_core.domain.answer import Answer
from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.evaluation import ModelRecord
from isi_core.domain.uncertainty import Rule, UncertaintySettings
from isi_core.measures.semantic_entropy import (
    cluster,
    cluster_assignment_entropy,
    cluster_probabilities,
    entropy,
    entropy_case,
    entropy_cases,
    measure,
    predictive_entropy,
    rao_entropy,
    recluster,
)

STEADY = settings(deadline=None, derandomize=True)

SHARED = Path(__file__).resolve().parents[3] / "shared"
RULES: tuple[Rule, ...] = ("loose", "strict")
SETTINGS = UncertaintySettings(entailment_model="first-letter")


# -- the oracle -----------------------------------------------------------------------------


@pytest.mark.skipif(not SHARED.exists(), reason="the oracle is not part of this repository")
def test_oracle_cases_to_1e_9() -> None:
    cases = json.loads((SHARED / "oracles" / "semantic_entropy.json").read_text())
    assert len(cases) == 60
    inputs = [{key: case[key] for key in ("token_log_likelihoods", "implications")} for case in cases]
    results = entropy_cases(inputs)
    json.dumps(results, allow_nan=False)  # plain values
    for case, found in zip(cases, results, strict=True):
        assert found.keys() == {"predictive_entropy", "loose", "strict"}
        assert found["predictive_entropy"] == pytest.approx(case["predictive_entropy"], abs=1e-9)
        for rule in RULES:
            assert found[rule].keys() == case[rule].keys()
            assert found[rule]["semantic_ids"] == case[rule]["semantic_ids"]
            for key in ("cluster_probabilities", "semantic_entropy", "cluster_assignment_entropy", "n_clusters"):
                assert found[rule][key] == pytest.approx(case[rule][key], abs=1e-9)


# -- clustering -----------------------------------------------------------------------------


def implication_matrices(size: st.SearchStrategy[int]) -> st.SearchStrategy[np.ndarray]:
    def square(n: int) -> st.SearchStrategy[np.ndarray]:
        cells = st.lists(st.sampled_from([0, 1, 2]), min_size=n * n, max_size=n * n)
        return cells.map(lambda values: np.array(values).reshape(n, n))

    return size.flatmap(square)


def greedy_by_the_book(implications: np.ndarray, rule: Rule) -> list[int]:
    """The published algorithm in its plainest words, as a check of the array version."""
    n = len(implications)
    ids: list[int | None] = [None] * n
    opened = 0
    for i in range(n):
        if ids[i] is not None:
            continue
        ids[i] = opened
        for j in range(i + 1, n):
            pair = [int(implications[i, j]), int(implications[j, i])]
            same = pair == [2, 2] if rule == "strict" else 0 not in pair and pair != [1, 1]
            if same:
                ids[j] = opened
        opened += 1
    return [k for k in ids if k is not None]


@STEADY
@given(implication_matrices(st.integers(1, 8)), st.sampled_from(RULES))
def test_clusters_are_greedy_and_later_ones_overwrite(implications: np.ndarray, rule: Rule) -> None:
    assert list(cluster(implications, rule)) == greedy_by_the_book(implications, rule)


def test_a_later_cluster_takes_over_an_answer() -> None:
    implications = np.zeros((3, 3), dtype=int)
    for i, j in [(0, 2), (1, 2)]:
        implications[i, j] = implications[j, i] = 2
    assert cluster(implications) == (0, 1, 1)  # first wins would give (0, 1, 0)


def test_one_entailment_beside_a_neutral_is_the_same_only_loosely() -> None:
    implications = np.array([[2, 2], [1, 2]])
    assert cluster(implications, "loose") == (0, 0)
    assert cluster(implications, "strict") == (0, 1)
    assert cluster(np.ones((2, 2), dtype=int), "loose") == (0, 1)


@STEADY
@given(st.integers(1, 20), st.sampled_from(RULES))
def test_answers_that_all_entail_each_other_are_one_cluster(n: int, rule: Rule) -> None:
    ids = cluster(np.full((n, n), 2), rule)
    assert ids == (0,) * n
    assert entropy(cluster_probabilities(np.linspace(-3, 0, n), ids)) == pytest.approx(0.0, abs=1e-12)
    assert cluster_assignment_entropy(ids) == 0.0


@STEADY
@given(implication_matrices(st.integers(1, 8)))
def test_strict_never_joins_what_loose_keeps_apart_in_pairs(implications: np.ndarray) -> None:
    n = len(implications)
    for i, j in itertools.combinations(range(n), 2):
        two = implications[np.ix_([i, j], [i, j])]
        if cluster(two, "strict") == (0, 0):
            assert cluster(two, "loose") == (0, 0)


def test_unknown_rule() -> None:
    with pytest.raises(InputError, match="loose or strict"):
        cluster(np.full((2, 2), 2), "soft")  # type: ignore[arg-type]


# -- probabilities and entropies ------------------------------------------------------------

log_likelihoods = st.lists(st.floats(-1000, 0), min_size=1, max_size=12)


@STEADY
@given(log_likelihoods, st.data())
def test_cluster_probabilities_sum_to_one_and_entropy_is_bounded(values: list[float], data: st.DataObject) -> None:
    implications = data.draw(implication_matrices(st.just(len(values))))
    for rule in RULES:
        ids = cluster(implications, rule)
        k = len(set(ids))
        p = cluster_probabilities(values, ids)
        assert len(p) == k and sorted(set(ids)) == list(range(k))
        assert p.sum() == pytest.approx(1.0, abs=1e-12)
        assert 0.0 <= entropy(p) <= math.log(k) + 1e-12
        assert 0.0 <= cluster_assignment_entropy(ids) <= math.log(k) + 1e-12


@STEADY
@given(st.lists(st.floats(-20, 0), min_size=1, max_size=40))
def test_a_lone_cluster_has_no_entropy_at_all(values: list[float]) -> None:
    assert entropy(cluster_probabilities(values, [0] * len(values))) == 0.0


def test_only_what_rounding_leaves_is_none() -> None:
    assert entropy([1 - 2**-53]) == 0.0 and entropy([1 + 2**-52]) == 0.0
    assert entropy([1 - 1e-9, 1e-9]) == pytest.approx(2.17e-8, rel=0.01)


def test_entropy_by_hand() -> None:
    assert entropy([0.5, 0.5]) == pytest.approx(math.log(2))
    assert entropy([1.0, 0.0]) == 0.0
    p = cluster_probabilities([math.log(0.2), math.log(0.1), math.log(0.1)], [0, 1, 0])
    assert p == pytest.approx([0.75, 0.25])
    assert predictive_entropy([-1.0, -2.0]) == 1.5


@STEADY
@given(
    st.lists(st.lists(st.floats(-20, 0), min_size=1, max_size=8), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
    st.data(),
)
def test_order_of_tokens_does_not_matter(tokens: list[list[float]], random: Any, data: st.DataObject) -> None:
    implications = data.draw(implication_matrices(st.just(len(tokens)))).tolist()
    shuffled = [random.sample(answer, len(answer)) for answer in tokens]
    first = entropy_case({"token_log_likelihoods": tokens, "implications": implications})
    second = entropy_case({"token_log_likelihoods": shuffled, "implications": implications})
    for rule in RULES:
        assert first[rule]["semantic_entropy"] == pytest.approx(second[rule]["semantic_entropy"], abs=1e-9)
    assert first["predictive_entropy"] == pytest.approx(second["predictive_entropy"], abs=1e-9)


@STEADY
@given(st.integers(1, 8), st.data())
def test_rao_entropy_lies_in_0_1(n: int, data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.floats(0, 1), min_size=n * n, max_size=n * n))
    weights = data.draw(st.lists(st.floats(1e-6, 1), min_size=n, max_size=n))
    value = rao_entropy(np.array(numbers).reshape(n, n), weights)
    assert 0.0 <= value < 1.0
    p = np.array(weights) / sum(weights)
    assert value <= 1 - (p**2).sum() + 1e-12  # Gini-Simpson: every answer wholly apart


def test_rao_entropy_by_hand() -> None:
    entails = [[0.0, 0.8], [0.4, 0.0]]  # the diagonal must not count
    assert rao_entropy(entails, [3, 1]) == pytest.approx(2 * 0.75 * 0.25 * (1 - 0.6))
    assert rao_entropy(np.ones((5, 5)), np.ones(5)) == 0.0
    assert rao_entropy(np.zeros((5, 5)), np.ones(5)) == pytest.approx(0.8)


# -- measuring with a model -----------------------------------------------------------------


class FirstLetter:
    """An entailment rule that needs no network: answers that start alike entail each other, else contradict."""

    record = ModelRecord("first-letter", "tests", "0", "float64")

    def __init__(self, question: str) -> None:
        self.question = question
        self.asked: list[tuple[str, str]] = []

    def classify(
        self, pairs: Sequence[tuple[str, str]], progress: Callable[[str, float], None] | None = None
    ) -> np.ndarray:
        self.asked += pairs
        if progress is not None:
            progress("Comparing", 1.0)
        start = len(self.question) + 1
        assert all(text.startswith(f"{self.question} ") for pair in pairs for text in pair)
        alike = [first[start : start + 1] == second[start : start + 1] for first, second in pairs]
        return np.array([[0.1, 0.1, 0.8] if same else [0.7, 0.2, 0.1] for same in alike])

    def implications(
        self, pairs: Sequence[tuple[str, str]], progress: Callable[[str, float], None] | None = None
    ) -> np.ndarray:
        return self.classify(pairs, progress).argmax(axis=1)


def answers(*texts: str) -> list[Answer]:
    return [
        Answer(text, log_likelihoods=(-1.0, -0.5 * i), sampling_log_likelihoods=(-0.1 * i, -0.3))
        for i, text in enumerate(texts)
    ]


def test_measure_asks_each_pair_of_texts_once_and_groups_them() -> None:
    model = FirstLetter("Is it red?")
    samples = answers("Yes.", "No.", "Yes, it is.", "Yes.")
    found = measure(samples, "Is it red?", model, SETTINGS)
    assert len(model.asked) == len(set(model.asked)) == 6 + 1  # 3 texts both ways, and the repeated one with itself
    assert ("Is it red? Yes.", "Is it red? No.") in model.asked
    assert found.semantic_ids == (0, 1, 0, 0) and found.n_clusters == 2
    assert found.implications == ((2, 0, 2, 2), (0, 2, 0, 0), (2, 0, 2, 2), (2, 0, 2, 2))
    means = np.array([np.mean(a.sampling_log_likelihoods) for a in samples])
    weights = np.exp(means) / np.exp(means).sum()
    assert found.cluster_probabilities == pytest.approx([1 - weights[1], weights[1]])
    assert found.semantic_entropy == pytest.approx(
        -(1 - weights[1]) * math.log(1 - weights[1]) - weights[1] * math.log(weights[1])
    )
    assert found.predictive_entropy == pytest.approx(-means.mean())
    assert found.cluster_assignment_entropy == pytest.approx(entropy([0.75, 0.25]))
    distances = np.array([[0, 0.9, 0.2, 0.2], [0.9, 0, 0.9, 0.9], [0.2, 0.9, 0, 0.2], [0.2, 0.9, 0.2, 0]])
    assert found.rao_entropy == pytest.approx(weights @ distances @ weights)
    assert found.likelihoods_available and found.clusters_json()[0]["answers"][0] == {"text": "Yes.", "count": 2}


def test_the_kind_of_likelihood_is_the_one_asked_for() -> None:
    samples = answers("Yes.", "No.", "Yes.")
    for kind in ("model", "sampling"):
        found = measure(samples, "Q?", FirstLetter("Q?"), replace(SETTINGS, likelihood=kind))
        assert found.predictive_entropy == pytest.approx(-np.mean([a.mean_log_likelihood(kind) for a in samples]))


def test_likelihoods_of_the_other_kind_do_not_stand_in() -> None:
    samples = [replace(answer, log_likelihoods=()) for answer in answers("Yes.", "No.")]
    assert measure(samples, "Q?", FirstLetter("Q?"), SETTINGS).likelihoods_available
    assert not measure(samples, "Q?", FirstLetter("Q?"), replace(SETTINGS, likelihood="model")).likelihoods_available


@pytest.mark.parametrize("missing", ["all", "one"])
def test_without_likelihoods_answers_weigh_the_same(missing: str) -> None:
    samples = answers("Yes.", "No.", "Yes.")
    for i in range(3 if missing == "all" else 1):
        samples[i] = Answer(samples[i].text)
    found = measure(samples, "Q?", FirstLetter("Q?"), SETTINGS)
    assert not found.likelihoods_available
    assert found.cluster_probabilities == pytest.approx([2 / 3, 1 / 3])
    assert found.semantic_entropy == pytest.approx(found.cluster_assignment_entropy)
    assert math.isnan(found.predictive_entropy)


def test_one_answer_needs_no_model() -> None:
    model = FirstLetter("Q?")
    found = measure(answers("Yes."), "Q?", model, SETTINGS)
    assert (found.semantic_ids, found.semantic_entropy, found.rao_entropy) == ((0,), 0.0, 0.0)
    assert model.asked == []


def test_no_answers() -> None:
    with pytest.raises(InputError, match="at least one sample"):
        measure([], "Q?", FirstLetter("Q?"), SETTINGS)


def test_settings_name_the_model_that_was_used() -> None:
    found = measure(answers("a", "b"), "Q?", FirstLetter("Q?"), UncertaintySettings(entailment_model="other"))
    assert found.settings == SETTINGS


def test_values_that_are_not_numbers_are_refused() -> None:
    class Overflown(FirstLetter):
        def classify(self, pairs: Any, progress: Any = None) -> np.ndarray:
            return np.full((len(pairs), 3), np.nan)

    with pytest.raises(ModelError, match="float32"):
        measure(answers("a", "b"), "Q?", Overflown("Q?"), SETTINGS)
    bad = [*answers("a"), Answer("b", log_likelihoods=(-math.inf,), sampling_log_likelihoods=(math.nan,))]
    for kind in ("model", "sampling"):
        with pytest.raises(ModelError, match="not a number"):
            measure(bad, "Q?", FirstLetter("Q?"), replace(SETTINGS, likelihood=kind))


def test_recluster_equals_measuring_again() -> None:
    class Lopsided(FirstLetter):
        """Longer answers entail shorter ones; the other way round is neutral."""

        def classify(self, pairs: Any, progress: Any = None) -> np.ndarray:
            return np.array([[0.0, 0.1, 0.9] if len(a) >= len(b) else [0.0, 0.9, 0.1] for a, b in pairs])

    samples = answers("Yes, it is red.", "Yes.", "No.", "No, it is not.")
    first = measure(samples, "Q?", Lopsided("Q?"), SETTINGS)
    assert (first.implications[0][1], first.implications[1][0]) == (2, 1)  # row implies column
    assert (first.entailment_probabilities[0][1], first.entailment_probabilities[1][0]) == (0.9, 0.1)
    changed = replace(SETTINGS, rule="strict", likelihood="model")
    assert recluster(first, changed) == measure(samples, "Q?", Lopsided("Q?"), changed)
    assert recluster(first, changed).semantic_ids != first.semantic_ids
    assert recluster(recluster(first, changed), SETTINGS) == first
    with pytest.raises(InputError, match="measure the uncertainty again"):
        recluster(first, UncertaintySettings(entailment_model="another"))


# -- cases from a file ----------------------------------------------------------------------

GOOD: dict[str, Any] = {"token_log_likelihoods": [[-1.0, -2.0], [-0.5]], "implications": [[2, 0], [0, 2]]}


def test_a_case_without_likelihoods_counts_answers() -> None:
    found = entropy_case({**GOOD, "token_log_likelihoods": [[], []]})
    assert found["predictive_entropy"] is None
    assert found["loose"]["cluster_probabilities"] == [0.5, 0.5]


@pytest.mark.parametrize(
    "change",
    [
        {"token_log_likelihoods": None},
        {"token_log_likelihoods": []},
        {"token_log_likelihoods": "text"},
        {"token_log_likelihoods": [-1.0, -2.0]},
        {"token_log_likelihoods": [[-1.0], []]},
        {"token_log_likelihoods": [[-1.0], [math.nan]]},
        {"token_log_likelihoods": [[-1.0], [-math.inf]]},
        {"token_log_likelihoods": [[-1.0], [0.7]]},
        {"token_log_likelihoods": [[-1.0], [True]]},
        {"token_log_likelihoods": [[-1.0], [None]]},
        {"token_log_likelihoods": [[-1.0], ["-1"]]},
        {"token_log_likelihoods": [[-1.0], [-1e308]]},
        {"token_log_likelihoods": [[-1.0], [-(10**400)]]},
        {"token_log_likelihoods": [[-1.0]]},
        {"implications": None},
        {"implications": []},
        {"implications": {}},
        {"implications": [[2, 0], [0]]},
        {"implications": [[2, 0, 1], [0, 2, 1]]},
        {"implications": [[2, 0]]},
        {"implications": [[2, 3], [0, 2]]},
        {"implications": [[2, -1], [0, 2]]},
        {"implications": [[2, 0.5], [0, 2]]},
        {"implications": [[2, math.nan], [0, 2]]},
        {"implications": [[2, True], [0, 2]]},
        {"implications": [[2, "1"], [0, 2]]},
        {"implications": [[2, None], [0, 2]]},
        {"implications": [[2, [1]], [0, 2]]},
    ],
)
def test_malformed_cases_get_one_sentence(change: dict[str, Any]) -> None:
    entropy_case(GOOD)
    with pytest.raises(InputError) as caught:
        entropy_case({**GOOD, **change})
    assert "\n" not in str(caught.value)


def test_malformed_files_name_the_case() -> None:
    with pytest.raises(InputError, match=r"^Case 2: "):
        entropy_cases([GOOD, {}])
    with pytest.raises(InputError, match=r"^Case 1: "):
        entropy_cases([[1, 2]])
    for data in (None, 3, "text"):
        with pytest.raises(InputError, match="JSON list"):
            entropy_cases(data)
    assert entropy_cases([]) == [] and entropy_cases(GOOD) == [entropy_case(GOOD)]
