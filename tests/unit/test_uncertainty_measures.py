"""Clustering rules, graph and lexical measures, and all measures side by side: by hand, and their invariants."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isi_core.domain.answer import Answer
from isi_core.domain.errors import InputError
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.measures.answer_groups import ComparedAnswers, Grouping, as_uncertainty, entropies, group
from isi_core.measures.clustering import ASSIGNMENTS, Assignment, cluster, equivalent, moved
from isi_core.measures.entailment_graph import degree_uncertainty, eigenvalue_uncertainty, similarity
from isi_core.measures.lexical_similarity import lexical_similarity, longest_common_subsequence, rouge_l
from isi_core.measures.pasted_answers import read_answers
from isi_core.measures.semantic_entropy import (
    class_probabilities,
    cluster_assignment_entropy,
    cluster_probabilities,
    entropy,
    monte_carlo_entropy,
    recluster,
)
from isi_core.measures.side_by_side import side_by_side
from tests.unit.test_semantic_entropy import FirstLetter, implication_matrices, log_likelihoods

STEADY = settings(deadline=None, derandomize=True)


def _square(size: st.SearchStrategy[int]) -> st.SearchStrategy[np.ndarray]:
    return size.flatmap(
        lambda n: st.lists(st.floats(0, 1), min_size=n * n, max_size=n * n).map(lambda v: np.array(v).reshape(n, n))
    )


def _partition(ids: Any) -> set[frozenset[int]]:
    return {frozenset(i for i, k in enumerate(ids) if k == c) for c in set(ids)}


# -- clusters -------------------------------------------------------------------------------


def test_where_the_published_rules_part() -> None:
    implications = np.zeros((3, 3), dtype=int)
    for i, j in [(0, 2), (1, 2)]:
        implications[i, j] = implications[j, i] = 2
    found = {assignment: cluster(implications, "loose", assignment) for assignment in ASSIGNMENTS}
    assert found == {"last wins": (0, 1, 1), "first wins": (0, 1, 0), "components": (0, 0, 0)}


@STEADY
@given(implication_matrices(st.integers(1, 8)), st.sampled_from(["loose", "strict"]))
def test_first_wins_by_the_book(implications: np.ndarray, rule: Any) -> None:
    same = equivalent(implications, rule)
    openers: list[int] = []
    expected = []
    for j in range(len(same)):
        found = next((c for c, i in enumerate(openers) if same[i, j]), None)
        if found is None:
            found = len(openers)
            openers.append(j)
        expected.append(found)
    assert list(cluster(implications, rule, "first wins")) == expected


@STEADY
@given(implication_matrices(st.integers(1, 8)), st.randoms(use_true_random=False))
def test_components_do_not_depend_on_the_order_of_the_answers(implications: np.ndarray, random: Any) -> None:
    n = len(implications)
    order = random.sample(range(n), n)
    plain = cluster(implications, "loose", "components")
    shuffled = cluster(implications[np.ix_(order, order)], "loose", "components")
    assert _partition(plain) == {frozenset(order[i] for i in part) for part in _partition(shuffled)}
    same = equivalent(implications)
    assert all(plain[i] == plain[j] for i, j in itertools.combinations(range(n), 2) if same[i, j])


@STEADY
@given(implication_matrices(st.integers(1, 8)), st.sampled_from(["loose", "strict"]))
def test_components_are_the_coarsest(implications: np.ndarray, rule: Any) -> None:
    joined = cluster(implications, rule, "components")
    for assignment in ASSIGNMENTS:
        for i, j in itertools.combinations(range(len(implications)), 2):
            ids = cluster(implications, rule, assignment)
            assert ids[i] != ids[j] or joined[i] == joined[j]


def test_unknown_assignment() -> None:
    with pytest.raises(InputError, match="last wins, first wins, components"):
        cluster(np.full((2, 2), 2), "loose", "best")  # type: ignore[arg-type]


def test_moving_an_answer_by_hand() -> None:
    assert moved((0, 1, 0), 2, 1) == (0, 1, 1)
    assert moved((0, 1, 0), 0, 2) == (0, 1, 2)  # a cluster of its own, now the first
    assert moved((0, 1, 0), 1, 0) == (0, 0, 0)  # cluster 2 has lost its only answer
    for answer, target in ((3, 0), (-1, 0), (0, 3), (0, -1)):
        with pytest.raises(InputError):
            moved((0, 1, 0), answer, target)


@STEADY
@given(log_likelihoods, st.data())
def test_merging_two_clusters_never_raises_an_entropy(values: list[float], data: st.DataObject) -> None:
    n = len(values)
    ids = list(moved([*data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))], 0, 0))
    first, second = data.draw(st.integers(0, max(ids))), data.draw(st.integers(0, max(ids)))
    joined = [first if k == second else k for k in ids]
    joined = list(moved(joined, 0, joined[0]))
    for measure in (
        lambda k: entropy(cluster_probabilities(values, k)),
        cluster_assignment_entropy,
        lambda k: monte_carlo_entropy(cluster_probabilities(values, k), k),
    ):
        assert measure(joined) <= measure(ids) + 1e-9


@STEADY
@given(log_likelihoods, st.data())
def test_the_monte_carlo_form_is_never_below_the_discrete_one(values: list[float], data: st.DataObject) -> None:
    ids = moved(data.draw(st.lists(st.integers(0, 3), min_size=len(values), max_size=len(values))), 0, 0)
    found = monte_carlo_entropy(cluster_probabilities(values, ids), ids)
    assert math.isfinite(found) and found >= cluster_assignment_entropy(ids) - 1e-9
    equal = cluster_probabilities(np.zeros(len(ids)), ids)
    assert monte_carlo_entropy(equal, ids) == pytest.approx(cluster_assignment_entropy(ids), abs=1e-9)


def test_the_monte_carlo_form_by_hand() -> None:
    assert monte_carlo_entropy([0.75, 0.25], (0, 1)) == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)


# -- graph ----------------------------------------------------------------------------------


@STEADY
@given(_square(st.integers(1, 8)), st.randoms(use_true_random=False))
def test_graph_measures_keep_their_ranges_and_ignore_the_order(entails: np.ndarray, random: Any) -> None:
    m = len(entails)
    order = random.sample(range(m), m)
    shuffled = entails[np.ix_(order, order)]
    eigenvalues, degree = eigenvalue_uncertainty(entails), degree_uncertainty(entails)
    assert 1.0 <= eigenvalues <= m
    assert 0.0 <= degree <= 1 - 1 / m + 1e-12
    assert eigenvalue_uncertainty(shuffled) == pytest.approx(eigenvalues, abs=1e-8)
    assert degree_uncertainty(shuffled) == pytest.approx(degree)


@pytest.mark.parametrize("sizes", [(5,), (3, 2), (1, 1, 1), (4, 2, 1)])
def test_wholly_alike_groups_are_as_many_as_they_are(sizes: tuple[int, ...]) -> None:
    ids = np.repeat(range(len(sizes)), sizes)
    entails = (ids[:, None] == ids).astype(float)
    assert eigenvalue_uncertainty(entails) == pytest.approx(len(sizes))
    assert degree_uncertainty(entails) == pytest.approx(1 - sum(s * s for s in sizes) / sum(sizes) ** 2)


def test_the_eigenvalues_are_the_normalized_laplacians() -> None:
    entails = np.random.default_rng(3).random((6, 6))
    weights = similarity(entails)
    degrees = np.diag(weights.sum(axis=1))
    laplacian = np.eye(6) - np.linalg.inv(np.sqrt(degrees)) @ weights @ np.linalg.inv(np.sqrt(degrees))
    expected = sum(max(0.0, 1 - value) for value in np.linalg.eigvalsh(laplacian))
    assert eigenvalue_uncertainty(entails) == pytest.approx(expected)
    assert degree_uncertainty(entails) == pytest.approx(np.trace(6 * np.eye(6) - degrees) / 36)


def test_graphs_that_are_none() -> None:
    for wrong in (np.zeros((2, 3)), np.zeros((0, 0)), np.full((2, 2), np.nan), np.full((2, 2), 1.5)):
        with pytest.raises(InputError):
            similarity(wrong)


# -- words ----------------------------------------------------------------------------------


@STEADY
@given(st.lists(st.sampled_from("abc"), max_size=9), st.lists(st.sampled_from("abc"), max_size=9))
def test_longest_common_subsequence_equals_the_textbook_table(first: list[str], second: list[str]) -> None:
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    assert longest_common_subsequence(first, second) == table[-1][-1]


def test_rouge_l_by_hand() -> None:
    assert rouge_l("Police killed the gunman.", "police KILL the gunman") == pytest.approx(3 / 4)
    assert rouge_l("the gunman kill police", "police killed the gunman") == pytest.approx(2 / 4)
    assert rouge_l("Yes.", "yes!") == 1.0
    assert rouge_l("Yes", "No") == 0.0
    assert rouge_l("", "…") == 1.0 and rouge_l("", "Yes") == 0.0


@STEADY
@given(st.lists(st.sampled_from(["Yes.", "Yes, it is.", "No, it is not.", ""]), min_size=2, max_size=8))
def test_lexical_similarity_is_the_mean_over_pairs(texts: list[str]) -> None:
    pairs = [rouge_l(a, b) for a, b in itertools.combinations(texts, 2)]
    assert lexical_similarity(texts) == pytest.approx(sum(pairs) / len(pairs))
    assert lexical_similarity(texts[::-1]) == pytest.approx(lexical_similarity(texts))


def test_one_answer_has_no_lexical_similarity() -> None:
    assert math.isnan(lexical_similarity(["Yes."]))


# -- all of them ----------------------------------------------------------------------------


def compared(ids: tuple[int, ...] = (0, 1, 0, 2), values: tuple[float, ...] | None = None) -> ComparedAnswers:
    """Answers whose meanings are known; `values` are their log-likelihoods, of two tokens each."""
    samples = tuple(
        Answer(f"answer {k}", log_likelihoods=(v / 2, v / 2), sampling_log_likelihoods=(v, v))
        if values
        else Answer(f"answer {k}")
        for k, v in zip(ids, values or [0.0] * len(ids), strict=True)
    )
    same = np.equal.outer(ids, ids)
    return ComparedAnswers(samples, np.where(same, 2, 0), same.astype(float))


def test_rows_hold_what_the_functions_say() -> None:
    answers = compared(values=(-1.0, -2.0, -1.5, -3.0))
    grouping = Grouping()
    rows = {row.key: row for row in side_by_side(answers, group(answers, grouping), grouping)}
    means = np.array([-1.0, -2.0, -1.5, -3.0])
    p = cluster_probabilities(means, (0, 1, 0, 2))
    expected = {
        "semantic_entropy": entropy(p),
        "semantic_entropy_monte_carlo": monte_carlo_entropy(p, (0, 1, 0, 2)),
        "discrete_semantic_entropy": entropy([0.5, 0.25, 0.25]),
        "n_clusters": 3,
        "eigenvalue_uncertainty": 3,
        "degree_uncertainty": 1 - 6 / 16,
        "predictive_entropy": 2 * 7.5 / 4,
        "predictive_entropy_normalized": 7.5 / 4,
        "rao_entropy": 1 - (p**2).sum(),
        "lexical_similarity": (1 + 5 * 0.5) / 6,
    }
    assert {key: row.value for key, row in rows.items() if row.measured} == pytest.approx(expected)
    assert not rows["p_true"].measured and "Not measured" in rows["p_true"].meaning


@STEADY
@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.booleans(), st.sampled_from(ASSIGNMENTS), st.data())
def test_every_value_lies_in_its_range(ids: list[int], likely: bool, assignment: Assignment, data: Any) -> None:
    n = len(ids)
    values = tuple(data.draw(st.lists(st.floats(-50, 0), min_size=n, max_size=n))) if likely else None
    answers = compared(tuple(ids), values)
    grouping = Grouping(data.draw(st.sampled_from(["loose", "strict"])), assignment, "model", data.draw(st.booleans()))
    for row in side_by_side(answers, group(answers, grouping), grouping):
        assert not row.measured or row.low - 1e-9 <= row.value <= row.high + 1e-9
        assert row.measured or row.meaning.startswith("Not measured")


@STEADY
@given(st.permutations(range(6)), st.sampled_from(["components", "first wins", "last wins"]))
def test_no_measure_depends_on_the_order_where_meanings_are_clear(order: list[int], assignment: Assignment) -> None:
    answers = compared((0, 1, 0, 2, 2, 0), (-1.0, -2.0, -0.5, -3.0, -1.0, -0.1))
    grouping = Grouping(assignment=assignment)
    first = side_by_side(answers, group(answers, grouping), grouping)
    shuffled = answers.subset(order)
    second = side_by_side(shuffled, group(shuffled, grouping), grouping)
    for a, b in zip(first, second, strict=True):
        assert b.value == pytest.approx(a.value, nan_ok=True)


def test_length_normalization_and_the_kind_of_likelihood_are_the_ones_chosen() -> None:
    answers = compared((0, 1), (-1.0, -2.0))
    cases = {
        ("sampling", True): (1, 2),
        ("sampling", False): (2, 4),
        ("model", True): (0.5, 1),
        ("model", False): (1, 2),
    }
    for (kind, normalized), expected in cases.items():
        found = group(answers, Grouping(likelihood=kind, normalized=normalized))  # type: ignore[arg-type]
        assert found.log_likelihoods == pytest.approx([-e for e in expected])


def test_groups_agree_with_the_measure_that_the_other_page_shows() -> None:
    answers = compared((0, 1, 0), (-1.0, -2.0, -0.5))
    made = as_uncertainty(answers, group(answers, Grouping()), UncertaintySettings())
    assert recluster(made, UncertaintySettings()) == made
    assert ComparedAnswers.of(made).texts == answers.texts


def test_clusters_by_hand_take_the_place_of_the_rule() -> None:
    answers = compared((0, 1, 0))
    assert group(answers, Grouping(), (0, 1, 2)).semantic_entropy == pytest.approx(math.log(3))
    with pytest.raises(InputError, match="3 answers"):
        group(answers, Grouping(), (0, 1))


def test_entropies_of_subsets() -> None:
    answers = compared((0, 1, 0, 2), (-1.0, -2.0, -1.5, -3.0))
    groups = group(answers, Grouping())
    found = entropies(groups)(np.array([[0, 2], [0, 1], [1, 3]]))
    expected = [group(answers.subset(rows), Grouping()).semantic_entropy for rows in ([0, 2], [0, 1], [1, 3])]
    assert found == pytest.approx(expected)


def test_answers_and_comparisons_must_fit() -> None:
    with pytest.raises(InputError, match="at least one"):
        ComparedAnswers((), np.zeros((0, 0), dtype=int), np.zeros((0, 0)))
    with pytest.raises(InputError, match="2 rows"):
        ComparedAnswers((Answer("a"), Answer("b")), np.zeros((3, 3), dtype=int), np.zeros((3, 3)))


def test_the_question_is_left_out_where_that_is_chosen() -> None:
    asked: list[tuple[str, str]] = []

    class Listening(FirstLetter):
        def classify(self, pairs: Any, progress: Any = None) -> np.ndarray:
            asked.extend(pairs)
            return np.tile([0.1, 0.2, 0.7], (len(pairs), 1))

    found = class_probabilities(["Yes.", "No."], None, Listening("Q?"))
    assert asked == [("Yes.", "No."), ("No.", "Yes.")]
    assert found[0, 1].tolist() == [0.1, 0.2, 0.7] and found[0, 0].tolist() == [0, 0, 1]


# -- pasted ---------------------------------------------------------------------------------


def test_pasted_answers_in_every_form() -> None:
    plain = read_answers("Yes.\r\n\n  No, it is\u00a0not. \nYes.\n")
    assert [a.text for a in plain] == ["Yes.", "No, it is not.", "Yes."]
    assert not any(a.log_likelihoods for a in plain)
    likely = read_answers("-0.5\tYes.\n[-0.1, -0.3]\tNo way.\n0\t\n")
    assert [a.text for a in likely] == ["Yes.", "No way.", ""]
    assert [a.sampling_log_likelihoods for a in likely] == [(-0.5,), (-0.1, -0.3), (0.0,)]
    assert [a.text for a in read_answers("a\tb\nc")] == ["a b", "c"]  # words in front of a tab are words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least two"),
        ("Yes.\n\n", "at least two"),
        ("x\n" * 201, "at most 200"),
        ("x\n" + "y" * 2001, "line 2 is too long"),
        ("-0.5\tYes.\nNo.", "Line 2 has no log-likelihood"),
        ("0.5\tYes.\n-1\tNo.", "Line 1: log-likelihoods"),
        ("NaN\tYes.\n-1\tNo.", "Line 1: log-likelihoods"),
        ("-Infinity\tYes.\n-1\tNo.", "Line 1: log-likelihoods"),
        ("[]\tYes.\n-1\tNo.", "Line 1: log-likelihoods"),
        ("[-1, true]\tYes.\n-1\tNo.", "Line 1: log-likelihoods"),
        ("[-1,\tYes.\n-1\tNo.", "Line 1: log-likelihoods"),
        ("1" + "0" * 400 + "\tYes.\n-1\tNo.", "Line 1: log-likelihoods"),
        ("[" * 100_000 + "\tYes.\n-1\tNo.", "Line 1: log-likelihoods"),
    ],
)
def test_pasted_answers_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_answers(text)
