"""The map of answers: distances kept where a plane can hold them, the same map every time, and its chart."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from isi_core.domain.answer import Answer
from isi_core.measures.answer_groups import ComparedAnswers, Grouping, group
from isi_core.measures.answer_map import answer_map, classical_scaling, stress
from isi_core.reports.charts import figure_png, figure_svg
from isi_core.reports.uncertainty_map import map_figure


def compared(texts: list[str], entails: np.ndarray) -> ComparedAnswers:
    """Answers with these words, each with a log-likelihood of its own, and P(row entails column)."""
    samples = tuple(Answer(text, (1,), ("t",), (-0.2 * (i + 1),), (-0.2 * (i + 1),)) for i, text in enumerate(texts))
    return ComparedAnswers(samples, np.where(entails > 0.5, 2, 0).astype(np.int64), entails)


def apart(points: np.ndarray) -> np.ndarray:
    return np.sqrt(((points[:, None] - points[None, :]) ** 2).sum(-1))


def test_distances_of_the_plane_are_kept() -> None:
    points = np.random.default_rng(0).normal(size=(7, 2))
    found = classical_scaling(apart(points))
    assert np.allclose(apart(found), apart(points), atol=1e-5)
    assert stress(apart(points), found) == pytest.approx(0, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(arrays(float, st.integers(1, 9).map(lambda n: (n, n)), elements=st.floats(0, 1)))
def test_any_comparison_gives_a_map_that_is_the_same_every_time(entails: np.ndarray) -> None:
    answers = compared([f"answer {i}" for i in range(len(entails))], entails)
    groups = group(answers, Grouping())
    found = answer_map(answers, groups)
    assert found == answer_map(answers, groups)
    assert all(np.isfinite([p.x, p.y, p.probability]).all() for p in found.places)
    assert sum(p.probability for p in found.places) == pytest.approx(1)
    assert np.isfinite(found.stress) and found.stress >= 0
    assert map_figure(found).chart.to_dict()["config"]


def test_three_meanings_that_have_nothing_in_common_are_a_triangle_of_side_one() -> None:
    texts = ["yes", "no", "maybe", "yes", "yes"]
    same = np.array([[a == b for b in texts] for a in texts], dtype=float)
    answers = compared(texts, same)
    found = answer_map(answers, group(answers, Grouping()))
    assert [(p.text, p.count) for p in found.places] == [("yes", 3), ("no", 1), ("maybe", 1)]
    assert len({p.cluster for p in found.places}) == 3
    between = apart(np.array([[p.x, p.y] for p in found.places]))
    assert np.allclose(between, 1 - np.eye(3), atol=1e-5)
    weights = np.exp([-0.2, -0.4, -0.6, -0.8, -1.0])
    assert found.places[0].probability == pytest.approx(weights[[0, 3, 4]].sum() / weights.sum())


def test_words_that_do_not_entail_themselves_still_have_one_place() -> None:
    entails = np.zeros((3, 3))
    answers = compared(["a", "a", "b"], entails)
    found = answer_map(answers, group(answers, Grouping()))
    places = {p.text: (p.x, p.y) for p in found.places}
    assert len(found.places) == len({(p.text, p.cluster) for p in found.places})
    assert len({(p.x, p.y) for p in found.places if p.text == "a"}) == 1
    assert np.hypot(*np.subtract(places["a"], places["b"])) == pytest.approx(1, abs=1e-5)


def test_the_chart_says_how_to_read_it_and_is_drawn() -> None:
    texts = ["Yes.", "Yes, it is.", "No.", "</script>" + "x" * 200]
    entails = np.array([[1, 0.9, 0, 0], [0.9, 1, 0.1, 0], [0, 0.1, 1, 0.2], [0, 0, 0.3, 1]])
    answers = compared(texts, entails)
    figure = map_figure(answer_map(answers, group(answers, Grouping())))
    assert "entail each other" in figure.reading and "Stress" in figure.reading
    rows = next(iter(figure.chart.to_dict()["datasets"].values()))
    assert [row["answer"][:4] for row in rows] == ["Yes.", "Yes,", "No.", "</sc"]
    assert all(len(row["answer"]) <= 120 for row in rows)
    assert figure_png(figure).startswith(b"\x89PNG") and b"<svg" in figure_svg(figure)
    assert "<script" not in figure_svg(figure).decode().lower()
    json.dumps(figure.chart.to_dict())


def test_answers_of_one_meaning_are_a_heap_and_the_sentence_says_so() -> None:
    answers = compared(["Yes.", "Yes, it is.", "Indeed."], np.ones((3, 3)))
    found = answer_map(answers, group(answers, Grouping()))
    assert found.stress == 0 and {(p.x, p.y) for p in found.places} == {(0.0, 0.0)}
    figure = map_figure(found)
    assert "all lie at one point" in figure.reading
    labels = [row["label"] for row in next(iter(figure.chart.to_dict()["datasets"].values()))]
    assert labels[0].endswith("+2") and labels[1:] == ["", ""]
    assert figure_png(figure).startswith(b"\x89PNG")
