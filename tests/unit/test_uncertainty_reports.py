"""Charts, tables and PDF of semantic uncertainty: the numbers they hold, and text that must not become markup."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

import numpy as np
import pypdf
import pytest

from isi_core.domain.answer import Answer
from isi_core.measures.answer_groups import ComparedAnswers, Grouping, group
from isi_core.measures.convergence import Step, convergence
from isi_core.measures.side_by_side import side_by_side
from isi_core.measures.statistics import Interval
from isi_core.reports.charts import Figure, figure_png, figure_svg
from isi_core.reports.uncertainty_figures import (
    MOST_TEXTS,
    convergence_figure,
    difference_figure,
    entailment_figure,
    temperature_figure,
    token_figure,
    token_words,
)
from isi_core.reports.uncertainty_report import build_uncertainty_report
from isi_core.reports.uncertainty_tables import (
    ClusterRow,
    answers_csv,
    convergence_csv,
    entailment_csv,
    measure_range,
    measures_csv,
    sweep_csv,
    sweep_points,
)
from tests.evaluations import answer, evaluation

EVIL = "=1+1</text><script>alert(1)</script>\u202e\n\ud800"


def compared(texts: tuple[str, ...], implies: np.ndarray | None = None) -> ComparedAnswers:
    """Answers of which equal texts alone imply each other."""
    same = np.array([[a == b for b in texts] for a in texts])
    implications = np.where(same, 2, 0) if implies is None else implies
    return ComparedAnswers(
        tuple(answer(t or "x") if t else Answer("") for t in texts), implications, same.astype(float)
    )


def rows_of(figure: Figure) -> list[dict]:
    """Every row of a chart's data."""
    specification = figure.chart.to_dict()
    return [row for rows in specification["datasets"].values() for row in rows]


def read(table: bytes) -> list[dict[str, str]]:
    """A CSV's rows."""
    return list(csv.DictReader(io.StringIO(table.decode())))


def test_the_matrix_has_one_cell_a_pair_of_texts_in_the_order_of_clusters() -> None:
    implications = np.array([[2, 0, 1, 1], [0, 2, 0, 0], [2, 0, 2, 2], [0, 0, 1, 2]])
    answers = compared(("Yes.", "No.", "Yes, it is.", "Yes."), implications)
    cells = rows_of(entailment_figure(answers, (0, 1, 0, 0)))
    assert len(cells) == 9
    found = {(c["first"], c["second"]): c["label"] for c in cells}
    assert found["Yes.", "Yes, it is."] == "neutral" and found["Yes, it is.", "Yes."] == "entailment"
    assert found["Yes.", "Yes."] == "neutral"  # what was asked about the repeat, not the diagonal
    assert [c["row"] for c in cells[::3]] == ["1. Yes. (1)", "2. Yes, it is. (1)", "3. No. (2)"]


def test_the_matrix_of_very_many_texts_shows_the_most_frequent_and_says_so() -> None:
    texts = tuple(f"text {i}" for i in range(60)) + ("often",) * 3
    figure = entailment_figure(compared(texts), tuple(range(60)) + (60,) * 3)
    assert len(rows_of(figure)) == MOST_TEXTS**2
    assert f"The {MOST_TEXTS} most frequent of 61" in figure.reading
    assert any(c["first"] == "often" for c in rows_of(figure))


def test_charts_hold_their_numbers_and_render() -> None:
    answers = compared(("Yes.", "No.", "Yes.", ""))
    steps = convergence(answers, Grouping())
    interval = Interval(0.4, 0.1, 0.7, 0.95, 20)
    figures = [
        entailment_figure(answers, (0, 1, 0, 2)),
        convergence_figure(steps),
        temperature_figure([(1.5, 0.9, 0.8), (0.3, 0.1, 0.2)], 10),
        token_figure([answer("Yes it is", -0.5), answer("No", -2.0)], (0, 1)),
        difference_figure(interval, "one", "two", math.log(10)),
    ]
    for figure in figures:
        assert figure.reading.endswith(".") and figure_png(figure).startswith(b"\x89PNG")
    assert [r["n"] for r in rows_of(figures[1]) if "mean" in r] == [2, 3, 4]
    assert [(r["temperature"], r["entropy"]) for r in rows_of(figures[2]) if r["kind"] == "by likelihood"] == [
        (0.3, 0.1),
        (1.5, 0.9),
    ]
    tokens = rows_of(figures[3])
    assert [t["words"] for t in tokens] == ["Yes", "it", "is", "No"]
    assert tokens[-1]["probability"] == pytest.approx(math.exp(-2))
    assert "0.400 nats more uncertain" in figures[4].reading and "zero lies outside" in figures[4].reading


def test_a_difference_is_told_by_its_sign_and_its_bounds() -> None:
    nan = float("nan")
    readings = {
        (0.0, -0.1, 0.1): "equally uncertain",
        (-0.4, -0.9, 0.1): "0.400 nats less uncertain",
        (-0.4, nan, nan): "no interval",
    }
    for (estimate, low, high), words in readings.items():
        figure = difference_figure(Interval(estimate, low, high, 0.95, 8), "a", "b", 1.0)
        assert words in figure.reading and figure_png(figure)
    inside = difference_figure(Interval(-0.4, -0.9, 0.1, 0.95, 8), "a", "b", 1.0)
    assert "zero lies inside" in inside.reading


def test_model_text_is_data_in_every_chart_and_table() -> None:
    answers = compared((EVIL, EVIL, "No."))
    for figure in (entailment_figure(answers, (0, 0, 1)), token_figure(answers.samples, (0, 0, 1))):
        svg = figure_svg(figure).decode()
        assert "<script>" not in svg and "\u202e" not in svg
    table = answers_csv(answers, group(answers, Grouping()))
    assert read(table)[0]["text"].startswith("'=1+1")


def test_tokens_are_written_as_a_reader_would() -> None:
    assert [token_words(t) for t in ("▁Yes", "Ġit", "Ċ", "▁", "</s>")] == ["Yes", "it", "␣", "␣", "</s>"]


def test_tables_hold_full_precision() -> None:
    answers = compared(("Yes.", "No.", "Yes."))
    grouping = Grouping()
    groups = group(answers, grouping)
    measures = read(measures_csv(side_by_side(answers, groups, grouping), {"rule": "loose"}))
    assert float(measures[0]["value"]) == groups.semantic_entropy and measures[0]["rule"] == "loose"
    p_true = next(m for m in measures if m["measure"] == "p_true")
    assert p_true["value"] == "" and "Not measured" in p_true["meaning"]
    assert [row["cluster"] for row in read(answers_csv(answers, groups))] == ["1", "2", "1"]
    pairs = read(entailment_csv(answers))
    assert len(pairs) == 6 and {p["label"] for p in pairs if {p["answer"], p["implies"]} == {"1", "3"}} == {"2"}
    assert read(convergence_csv([Step(2, 0.1, 0.0, 0.2, 1.0)]))[0]["mean"] == "0.1"


def test_a_sweep_is_grouped_as_chosen_now() -> None:
    base = evaluation()
    hot = replace(base, decoding=replace(base.decoding, temperature=1.5))
    unmeasured = evaluation(measured=False)
    grouping = Grouping()
    points = sweep_points([hot, base, unmeasured], grouping)
    assert [t for t, *_ in points] == [0.9, 1.5]
    assert points[0][2] == pytest.approx(base.uncertainty.semantic_entropy if base.uncertainty else -1)
    rows = read(sweep_csv([hot, base], grouping))
    assert [row["temperature"] for row in rows] == ["0.9", "1.5"] and rows[0]["seed"] == "17"


def test_ranges_in_words() -> None:
    answers = compared(("Yes.", "No.", "Yes."))
    rows = {r.key: r for r in side_by_side(answers, group(answers, Grouping()), Grouping())}
    assert measure_range(rows["semantic_entropy"]) == "0 to 1.10 nats"
    assert measure_range(rows["n_clusters"]) == "1 to 3 sets"
    assert measure_range(rows["predictive_entropy"]) == "from 0 nats"


def test_the_pdf_holds_measures_clusters_charts_and_settings() -> None:
    answers = compared(("Yes.", "No.", "Yes.", EVIL))
    groups = group(answers, Grouping())
    rows = side_by_side(answers, groups, Grouping())
    clusters = [ClusterRow(0.5, 0.5, (("Yes.", 2),))] + [ClusterRow(0.25, 0.25, ((EVIL, 1),))] * 60
    figures = [entailment_figure(answers, groups.ids), token_figure(answers.samples, groups.ids)]
    made = build_uncertainty_report(
        EVIL, EVIL * 50, rows, clusters, figures, [("rule", "loose"), ("model", EVIL)], [("Samples", "Ten do.")]
    )
    pages = pypdf.PdfReader(io.BytesIO(made)).pages
    text = " ".join(" ".join(page.extract_text().split()) for page in pages)
    for words in ("Semantic uncertainty", "Ten do.", "p(True)", "The first 40 of 61 clusters", "loose", "<script>"):
        assert words in text
    assert sum(len(page.images) for page in pages) == 2
