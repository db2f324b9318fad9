"""Scores of predicted failure: AUC with both intervals, calibration, risk and coverage, tables from anywhere."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from isi_core.domain.errors import InputError
from isi_core.measures.failure_scores import average_precision, brier, calibration, delong_caveat, risk_coverage
from isi_core.measures.statistics import auc_bootstrap, auc_interval, auc_p_value
from isi_core.studies.failure.score_table import score_table

SHARED = Path(__file__).resolve().parents[3] / "shared" / "why_it_failed"
needs_published = pytest.mark.skipif(not SHARED.exists(), reason="the published data are not part of this repository")


def _scores(seed: int, n: int = 200, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(n) % 2).astype(bool)
    scores = 1 / (1 + np.exp(-(rng.normal(size=n) + 0.6 * truth)))
    return truth, np.round(scores, 1) if ties else scores


@pytest.mark.parametrize("ties", [False, True])
def test_bootstrap_agrees_with_resampling_one_by_one(ties: bool) -> None:
    truth, scores = _scores(1, 60, ties)
    found = auc_bootstrap(truth, scores, level=0.9, n=4_000, seed=3)
    # The slow way: every resample's pairs compared one by one.
    rng = np.random.default_rng(0)
    right = rng.choice(scores[truth], (4_000, 30))
    wrong = rng.choice(scores[~truth], (4_000, 30))
    pairs = right[:, :, None] - wrong[:, None, :]
    slow = ((pairs > 0) + 0.5 * (pairs == 0)).mean(axis=(1, 2))
    assert found.estimate == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert found.low == pytest.approx(np.quantile(slow, 0.05), abs=0.012)
    assert found.high == pytest.approx(np.quantile(slow, 0.95), abs=0.012)


def test_both_intervals_end_within_a_hundredth_at_999_and_quickly() -> None:
    truth, scores = _scores(5, 1_000)
    before = time.process_time()
    bootstrap = auc_bootstrap(truth, scores, level=0.999, n=20_000)
    assert time.process_time() - before < 5.0
    delong = auc_interval(truth, scores, 0.999)
    assert abs(bootstrap.low - delong.low) < 0.01
    assert abs(bootstrap.high - delong.high) < 0.01
    assert auc_bootstrap(truth, scores, 0.999, 20_000) == bootstrap  # the same seed


def test_the_p_value_against_chance_is_uniform_where_there_is_nothing() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(200) % 2
    values = [auc_p_value(truth, rng.normal(size=200)) for _ in range(400)]
    assert stats.kstest(values, "uniform").pvalue > 0.01
    assert auc_p_value(truth, np.full(200, 0.5)) == 1.0
    assert np.isnan(auc_p_value([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]))
    assert auc_p_value(*_scores(5, 1_000)) < 1e-6


def test_precision_and_brier_are_scikit_learns_and_errors_are_named() -> None:
    truth, scores = _scores(2)
    assert average_precision(truth, scores) == pytest.approx(average_precision_score(truth, scores))
    assert brier(truth, scores) == pytest.approx(brier_score_loss(truth, scores))
    with pytest.raises(InputError, match="between 0 and 1"):
        brier([0, 1], [0.5, 1.5])
    with pytest.raises(InputError, match="not numbers"):
        calibration([0, 1], [0.5, float("nan")])


def test_calibration_bins_hold_every_case_once() -> None:
    truth, scores = np.array([1, 0, 1, 1, 0]), np.array([1.0, 0.0, 0.95, 0.31, 0.35])
    bins = calibration(truth, scores)
    assert [(b.low, b.n) for b in bins] == [(0.0, 1), (0.3, 2), (0.9, 2)]
    assert bins[1].mean_score == pytest.approx(0.33)
    assert bins[1].success_rate == 0.5


def test_risk_falls_with_confidence_and_ends_at_the_share_of_failures() -> None:
    truth = np.array([1] * 50 + [0] * 50)
    points = risk_coverage(truth, np.linspace(1, 0, 100))
    assert points[0].risk == 0.0
    assert points[-1] == (1.0, 0.5)
    assert risk_coverage(truth, np.linspace(1, 0, 100), points=4)[2] == (0.75, pytest.approx(25 / 75))
    # Scores that say nothing have the same risk everywhere, in whatever order the cases come.
    assert {round(p.risk, 9) for p in risk_coverage(truth, np.full(100, 0.5))} == {0.5}


def test_where_delong_is_degenerate_is_said() -> None:
    assert delong_caveat([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4]) == ""
    assert "apart" in delong_caveat([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4])
    assert "equal" in delong_caveat([0, 0, 1, 1], [0.5] * 4)
    assert "single" in delong_caveat([0, 0, 0, 1], [0.1, 0.2, 0.3, 0.4])


@needs_published
def test_the_published_predictions_say_other_than_the_paper_reads() -> None:
    found = score_table(SHARED / "predictions.csv")
    assert [(s.task, s.layer) for s in found] == [(t, str(n)) for t in ("boolq", "piqa") for n in (5, 10, 15, 20, 25)]
    rows = list(csv.DictReader((SHARED / "predictions.csv").open()))
    for entry in found:
        mine = [r for r in rows if (r["task"], r["layer"]) == (entry.task, entry.layer)]
        area = roc_auc_score([int(r["label"]) for r in mine], [float(r["score"]) for r in mine])
        assert entry.delong.estimate == pytest.approx(area, abs=1e-12)
        assert entry.n == 1_000
        assert abs(entry.delong.low - entry.bootstrap.low) < 0.01
        assert abs(entry.delong.high - entry.bootstrap.high) < 0.01
    boolq = [s for s in found if s.task == "boolq"]
    assert [round(s.delong.estimate, 3) for s in boolq] == [0.570, 0.561, 0.590, 0.611, 0.609]
    assert all(s.delong.low > 0.5 and s.bootstrap.low > 0.5 for s in boolq)
    assert set(found[0].to_json()) == {
        *("task", "layer", "n", "auc", "delong_low", "delong_high", "bootstrap_low", "bootstrap_high")
    }
    assert found[0].to_json()["layer"] == 5


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("task,layer,score\nx,1,0.5\n", "lacks the column label"),
        ("task,layer,label,score\n", "no rows"),
        ("task,layer,label,score\nx,1,1,0.5\nx,1,1,0.6\n", "All 2 labels of task x, layer 1 are successes"),
        ("task,layer,label,score\nx,1,1,0.5\nx,1,0,nan\n", "line 3: the score is not a number"),
        ("task,layer,label,score\nx,1,1,0.5\nx,1,0,\n", "line 3: the score is not a number"),
        ("task,layer,label,score\nx,1,yes,0.5\n", "label must be 0"),
        ("task,layer,label,score\nx,1,0.5,0.5\n", "label must be 0"),
    ],
)
def test_bad_tables_are_refused_in_one_sentence(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=problem):
        score_table(path)


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        score_table(tmp_path / "missing.csv")
    path = tmp_path / "scores.csv"
    path.write_bytes(b"\xff\xfe\x00task")
    with pytest.raises(InputError, match="UTF-8"):
        score_table(path)


def test_a_degenerate_layer_keeps_its_numbers_plain(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(
        "task,layer,label,score\n" + "".join(f"x,last,{i},{v}\n" for i, v in ((0, 0.1), (1, 0.4), (1, 0.5)))
    )
    (entry,) = score_table(path)
    assert "single" in entry.degenerate
    data = json.loads(json.dumps(entry.to_json(), allow_nan=False))
    assert (data["layer"], data["auc"], data["delong_low"]) == ("last", 1.0, None)
