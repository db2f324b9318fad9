"""The modality gap against plain NumPy, and against clouds whose numbers are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from isi_core.domain.errors import InputError
from isi_core.measures.modality_gap import (
    centroid_distance,
    effective_rank,
    gap_vector,
    matching_accuracy,
    mean_cosines,
    normalized,
    principal_axes,
    retrieval_accuracy,
    shifted,
)


@pytest.fixture
def clouds() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    spread = rng.normal(size=(12, 12))
    return rng.normal(size=(40, 12)) @ spread + 1.5, rng.normal(size=(40, 12)) @ spread - 0.5


def test_two_copies_of_a_cloud_are_as_far_apart_as_they_were_shifted(clouds: tuple[np.ndarray, np.ndarray]) -> None:
    text, _ = clouds
    shift = np.arange(12.0)
    assert centroid_distance(text + shift, text) == pytest.approx(float(np.sqrt(506)), abs=1e-9)
    assert gap_vector(text + shift, text) == pytest.approx(shift, abs=1e-9)


def test_the_gap_is_what_plain_numpy_says(clouds: tuple[np.ndarray, np.ndarray]) -> None:
    text, image = (c / np.sqrt((c**2).sum(1))[:, None] for c in clouds)
    assert normalized(clouds[0]) == pytest.approx(text, abs=1e-12)
    expected = np.sqrt(((text.mean(0) - image.mean(0)) ** 2).sum())
    assert centroid_distance(normalized(clouds[0]), normalized(clouds[1])) == pytest.approx(expected, abs=1e-6)
    table = text @ image.T
    true, random = mean_cosines(*clouds)
    assert true == pytest.approx(np.diag(table).mean(), abs=1e-9)
    assert random == pytest.approx(table[~np.eye(40, dtype=bool)].mean(), abs=1e-9)


def test_principal_axes_are_what_plain_numpy_says(clouds: tuple[np.ndarray, np.ndarray]) -> None:
    joined = np.concatenate(clouds)
    axes = principal_axes(clouds)
    values, vectors = np.linalg.eigh(np.cov(joined.T))
    for k in (0, 1):
        plain = (joined - joined.mean(0)) @ vectors[:, -1 - k]
        ours = axes.coordinates(joined)[:, k]
        # The sign of an axis is free.
        assert min(np.abs(ours - plain).max(), np.abs(ours + plain).max()) < 1e-6
        assert axes.explained[k] == pytest.approx(values[-1 - k] / values.sum(), abs=1e-6)
    assert axes.directions @ axes.directions.T == pytest.approx(np.eye(2), abs=1e-9)


def test_the_effective_rank_counts_directions() -> None:
    rng = np.random.default_rng(0)
    line = np.outer(rng.normal(size=50), rng.normal(size=8))
    assert effective_rank(line) == pytest.approx(1.0, abs=1e-6)
    # Four directions of equal strength: the columns of an orthogonal matrix with mean zero.
    frame = np.linalg.qr(rng.normal(size=(50, 5)) - 0)[0]
    frame = np.linalg.qr(np.column_stack([np.ones(50), frame]))[0][:, 1:5]
    assert effective_rank(frame @ np.eye(4, 8)) == pytest.approx(4.0, abs=1e-6)
    assert effective_rank(np.ones((5, 3))) == 0.0


def test_a_shift_of_a_half_closes_the_gap_and_a_negative_one_widens_it() -> None:
    rng = np.random.default_rng(1)
    text, image = rng.normal(size=(200, 6)) * 0.2 + np.eye(6)[0], rng.normal(size=(200, 6)) * 0.2 + np.eye(6)[1]
    gaps = {amount: centroid_distance(*shifted(text, image, amount)) for amount in (-0.5, 0.0, 0.5)}
    assert gaps[0.0] == pytest.approx(centroid_distance(normalized(text), normalized(image)), abs=1e-12)
    assert gaps[0.5] < 0.2 * gaps[0.0] < gaps[0.0] < gaps[-0.5]
    assert np.linalg.norm(shifted(text, image, 0.3)[0], axis=1) == pytest.approx(np.ones(200), abs=1e-9)


def test_retrieval_is_the_mean_over_every_draw_of_other_candidates() -> None:
    rng = np.random.default_rng(5)
    text, image = rng.normal(size=(8, 5)), rng.normal(size=(8, 5))
    image = image + 0.6 * text
    cosines = normalized(text) @ normalized(image).T
    found = [
        cosines[i, i] > max(cosines[i, j] for j in others)
        for i in range(8)
        for others in itertools.combinations([j for j in range(8) if j != i], 3)
    ]
    assert 0.3 < np.mean(found) < 1
    assert retrieval_accuracy(text, image, 4) == pytest.approx(np.mean(found), abs=1e-9)
    many = rng.normal(size=(1500, 4))  # more than one block of rows
    assert retrieval_accuracy(many, many) == 1.0
    assert retrieval_accuracy(many, rng.normal(size=(1500, 4))) == pytest.approx(0.1, abs=0.03)
    assert retrieval_accuracy(np.ones((20, 3)), np.ones((20, 3))) == 0.0  # a collapse knows nothing


def test_matching_compares_own_with_exchanged_pictures(clouds: tuple[np.ndarray, np.ndarray]) -> None:
    text, image = (normalized(cloud) for cloud in clouds)
    first, second = (text[:20], image[:20]), (text[20:], image[20:])
    own = [first[0][i] @ first[1][i] + second[0][i] @ second[1][i] for i in range(20)]
    exchanged = [first[0][i] @ second[1][i] + second[0][i] @ first[1][i] for i in range(20)]
    assert matching_accuracy(first, second) == pytest.approx(np.mean(np.array(own) > np.array(exchanged)))
    assert matching_accuracy((text, text), (-text, -text)) == 1.0
    assert matching_accuracy((text, text), (text, image)) == 0.5  # the same words twice cannot be told apart


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: centroid_distance(np.zeros((0, 3)), np.ones((2, 3))), "at least one row"),
        (lambda: centroid_distance(np.ones((2, 4)), np.ones((2, 3))), "cannot be compared"),
        (lambda: mean_cosines(np.ones((3, 3)), np.ones((2, 3))), "as many texts as images"),
        (lambda: retrieval_accuracy(np.eye(3), np.eye(3)), "Retrieval among 10"),
        (
            lambda: matching_accuracy((np.ones((3, 2)), np.ones((3, 2))), (np.ones((2, 2)), np.ones((2, 2)))),
            "one shape",
        ),
        (lambda: effective_rank(np.array([[np.nan, 1.0]])), "not finite"),
        (lambda: principal_axes([np.ones((1, 3)), np.ones((1, 3))]), "at least three"),
    ],
)
def test_clouds_that_cannot_be_measured_are_refused(call: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        call()  # type: ignore[operator]


def test_features_that_are_all_the_same_have_no_axes_but_a_place() -> None:
    axes = principal_axes([np.ones((4, 3)), np.ones((4, 3))])
    assert axes.explained == (0.0, 0.0)
    assert axes.coordinates(np.ones((4, 3))) == pytest.approx(np.zeros((4, 2)))
