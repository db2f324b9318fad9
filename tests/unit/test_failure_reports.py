"""Charts, sentences, tables and PDF of a failure benchmark: what the numbers say, and severe findings always."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pypdf
import pytest

from isi_core.domain.errors import InputError
from isi_core.measures.statistics import auc_bootstrap, auc_interval, compare_aucs
from isi_core.reports import failure_figures, failure_tables
from isi_core.reports.charts import figure_png, figure_svg
from isi_core.reports.failure_cases import FORESEEN, MISSED, surest_cases
from isi_core.reports.failure_panels import MOST_RULES, LayerPoint, Panel, Rule, interval_words, layer_figure
from isi_core.reports.failure_report import build_failure_report
from isi_core.reports.failure_words import conclusions, name_of, paired, ranked
from isi_core.studies.failure.plan import FailurePlan
from isi_core.studies.failure.results import (
    BenchmarkResult,
    CalibrationBin,
    Case,
    ExplainerScore,
    LintFinding,
    PairedTest,
    PermutationNull,
    Pool,
    RiskCoveragePoint,
)

LEVEL = 0.999
SEVERE = LintFinding("label explained by order", "severe", 4000, ("siqa_0: <b>first</b>",), "Collect again.")


def score(explainer: str, layer: int | None, cases: tuple[Case, ...], strength: float, seed: int) -> ExplainerScore:
    """An explainer whose test scores lean towards the label by `strength`, measured as a run measures it."""
    rng = np.random.default_rng(seed)
    labels = np.array([case.success for case in cases])
    values = 1 / (1 + np.exp(-(rng.normal(size=len(cases)) + strength * (labels - 0.5))))
    auc = auc_interval(labels, values, LEVEL)
    half = compare_aucs(labels, values, rng.normal(size=len(cases)), LEVEL)
    order = np.argsort(-values)
    risk = np.cumsum(~labels[order]) / np.arange(1, len(cases) + 1)
    edges = np.linspace(0, 1, 6)
    bins = []
    for low, high in pairwise(edges):
        inside = (values >= low) & (values < high)
        if inside.any():
            rate = float(labels[inside].mean())
            bins.append(CalibrationBin(low, high, int(inside.sum()), float(values[inside].mean()), rate))
    return ExplainerScore(
        explainer=explainer,
        layer=layer,
        n_train=2 * len(cases),
        n_test=len(cases),
        auc=auc,
        bootstrap=auc_bootstrap(labels, values, LEVEL, 1_000, 0),
        degenerate="",
        p_value=half.p_value,
        p_holm=half.p_value,
        train_auc=1.0 if strength < 0.1 else 0.8,
        average_precision=0.6,
        brier=float(np.mean((values - labels) ** 2)),
        calibration=tuple(bins),
        risk_coverage=tuple(
            RiskCoveragePoint((i + 1) / len(cases), float(r)) for i, r in enumerate(risk) if i % 20 == 19
        ),
        case_ids=tuple(case.id for case in cases),
        scores=tuple(float(v) for v in values),
        validation_auc=auc.estimate,
    )


@cache
def benchmark(probe: float = 0.1, margin: float = 2.0, findings: tuple[LintFinding, ...] = ()) -> BenchmarkResult:
    """A result whose probe and baseline are as good as asked."""
    rng = np.random.default_rng(5)
    cases = tuple(
        Case(
            id=f"case_{i:04d}",
            success=bool(i % 2),
            split="test",
            item=f"scene_{i}",
            question=f"Is object {i} <b>red</b>?",
            context="=1+1" if i == 1 else "",
            answer="no",
            truth="yes" if i % 2 == 0 else "no",
            context_kind=str(rng.choice(["none", "contradictory"])),
        )
        for i in range(400)
    )
    scores = (
        *(score("last-token", layer, cases, probe * layer, layer) for layer in (1, 2, 4)),
        score("option-margin", None, cases, margin, 9),
        score("majority", None, cases, 0.0, 11),
    )
    labels = [c.success for c in cases]
    best = [max(scores[:3], key=lambda s: s.validation_auc), *scores[3:]]
    pairs = []
    for one, other in combinations(best, 2):
        found = compare_aucs(labels, one.scores, other.scores, LEVEL)
        p = 1.0 if np.isnan(found.p_value) else found.p_value
        pairs.append(PairedTest(one.key, other.key, len(cases), found.difference, p, min(1.0, 3 * p)))
    return BenchmarkResult(
        plan=FailurePlan(k=800),
        model={"name": "tiny-llava", "revision": "abcdef0123456789", "dtype": "float32"},
        pool=Pool(3000, 2200, 800, 20, {"none": (1500, 200), "contradictory": (700, 600)}),
        cases=cases,
        findings=findings,
        layers=(1, 2, 4),
        scores=scores,
        comparisons=tuple(pairs),
        permutation=PermutationNull("last-token", (1, 2, 4), 0.53, (0.52, 0.55, 0.5, 0.54), 0.55, 0.6),
        control=tuple(score("last-token", layer, cases, 0.0, 40 + layer) for layer in (1, 2)),
        skipped={"p-true": "the model <i>cannot</i>"},
        seconds={"collect": 30.0, "fit": 5.0},
        library_versions={"scikit-learn": "1"},
        created="2026-01-01T00:00:00+00:00",
    )


def specification(figure: object) -> str:
    return json.dumps(figure.chart.to_dict())  # type: ignore[attr-defined]


def pdf_text(raw: bytes) -> str:
    return " ".join(" ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(raw)).pages).split())


def rows_of(raw: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(raw.decode())))


# -- sentences ------------------------------------------------------------------------------


def test_sentences_follow_the_intervals() -> None:
    said = {c.sentence: c.strength for c in conclusions(benchmark(probe=0.0, margin=2.0))}
    probe = next(s for s in said if "read activations" in s)
    assert "Last-token probe" in probe and "includes 0.5: no evidence" in probe and said[probe] == "none"
    baseline = next(s for s in said if s.startswith("Highest AUC of the others"))
    assert "Option margin" in baseline and "better than chance" in baseline and said[baseline] == "evidence"
    pair = next(s for s in said if " minus " in s)
    assert "Option margin is better" in pair and said[pair] == "evidence"
    assert any("learned cases by heart" in s and strength == "warning" for s, strength in said.items())
    assert any("by luck gives as much" in s for s in said)
    assert any("hold 0.5, as they must" in s for s in said)


def test_a_probe_that_adds_to_the_baseline_is_said_to() -> None:
    said = [c.sentence for c in conclusions(benchmark(probe=0.9, margin=0.0)) if " minus " in c.sentence]
    assert "Last-token probe" in said[0].split(" is better")[0].rsplit(":", 1)[-1]


def test_below_chance_is_not_called_evidence() -> None:
    (probe,) = [c for c in conclusions(benchmark(probe=-0.8, margin=0.0)) if "read activations" in c.sentence]
    assert "worse than chance" in probe.sentence or "no evidence" in probe.sentence
    assert probe.strength == "none"


def test_an_interval_above_one_half_that_the_correction_takes_back_is_no_evidence() -> None:
    result = benchmark(probe=0.9)
    taken_back = replace(result, scores=tuple(replace(s, p_holm=0.02) for s in result.scores))
    assert all(c.strength == "none" for c in conclusions(taken_back) if c.sentence.startswith("Highest AUC"))


def test_a_control_that_misses_one_half_is_a_warning() -> None:
    result = benchmark()
    leaking = replace(result, control=(score("last-token", 1, result.cases, 2.0, 3),))
    assert any(c.strength == "warning" and "Do not trust" in c.sentence for c in conclusions(leaking))


def test_a_severe_finding_comes_first() -> None:
    first = conclusions(benchmark(findings=(SEVERE,)))[0]
    assert first.strength == "warning" and "label explained by order" in first.sentence


def test_a_paired_test_is_turned_round() -> None:
    result = benchmark(probe=0.5)
    test = result.comparisons[0]
    turned = paired(result, test.second, test.first)
    assert turned is not None
    assert turned.difference.estimate == -test.difference.estimate
    assert (turned.difference.low, turned.difference.high) == (-test.difference.high, -test.difference.low)
    assert paired(result, "majority", "majority") is None


def test_no_case_is_foreseen_and_missed() -> None:
    result = benchmark()
    best = ranked(result)[0]
    found = surest_cases(result, best, 400)
    ids = [case.id for kind in found.values() for case, _ in kind]
    assert len(ids) == len(set(ids)) == len(best.case_ids)
    assert all(not case.success for case, _ in found[FORESEEN] + found[MISSED])
    assert max(score for _, score in found[FORESEEN]) <= min(score for _, score in found[MISSED])
    assert [s for _, s in found[FORESEEN]] == sorted(s for _, s in found[FORESEEN])


# -- charts ---------------------------------------------------------------------------------


def test_layers_are_points_and_the_rest_rules() -> None:
    result = benchmark()
    panel = failure_figures.panel_of(result)
    assert [p.layer for p in panel.points] == ["1", "2", "4"] and len(panel.rules) == 2
    figure = failure_figures.auc_figure([result])
    text = specification(figure)
    assert all(word in text for word in ("test AUC (0 to 1)", "decoder layer", '"chance": 0.5'))
    assert "99.9 %" in figure.reading and "grey horizontal lines" in figure.reading
    assert figure_png(figure).startswith(b"\x89PNG") and b"<svg" in figure_svg(figure)


def test_every_figure_tells_of_a_severe_finding() -> None:
    clean, flawed = benchmark(), benchmark(findings=(SEVERE,))
    made = failure_figures.every_figure(flawed, ["last-token", "option-margin"])
    assert {f.name for f in made} == {
        "failure_auc_by_layer",
        "failure_ranking",
        "failure_calibration",
        "failure_risk_coverage",
        "failure_permutation_null",
        "failure_control",
    }
    for figure in made:
        assert "Severe finding: label explained by order" in specification(figure), figure.name
        assert b"Severe finding" in figure_svg(figure), figure.name
    for figure in failure_figures.every_figure(clean, ["last-token"]):
        assert "Severe" not in specification(figure), figure.name


def test_a_null_and_a_control_without_layers_speak_of_none() -> None:
    whole = benchmark()
    null = PermutationNull("option-margin", (), 0.53, (0.52, 0.55, 0.5, 0.54), 0.55, 0.6)
    shuffled = score("option-margin", None, whole.cases, 0.0, 50)
    result = replace(whole, permutation=null, control=(shuffled,))
    drawn = failure_figures.permutation_figure(result)
    assert "how high the score of Option margin comes out" in drawn.reading and "layer" not in drawn.reading
    bars = json.dumps(drawn.chart.to_dict()["layer"][0]["encoding"])
    assert '"test AUC (0 to 1)"' in bars and "layer" not in bars and "highest" not in bars
    control = failure_figures.control_figure(result)
    assert "labels shuffled" in specification(control) and "decoder layer" not in specification(control)
    assert f"the 99.9 % interval ({interval_words(shuffled.auc)}) must hold the dashed 0.5" in control.reading
    assert figure_png(control).startswith(b"\x89PNG") and figure_png(drawn).startswith(b"\x89PNG")
    made = [figure.name for figure in failure_figures.every_figure(result, ["option-margin"])]
    assert {"failure_permutation_null", "failure_control"} <= set(made)
    said = next(c.sentence for c in conclusions(result) if "shuffles" in c.sentence)
    assert "the score reaches" in said and said.endswith("luck gives as much.") and "layer" not in said
    assert "With shuffled labels the interval holds 0.5, as it must." in [c.sentence for c in conclusions(result)]
    layered = failure_figures.permutation_figure(whole)
    assert "the best of 3 layers of" in layered.reading and "highest test AUC over the layers" in specification(layered)


def test_panels_share_their_scale_and_order_layers_by_number() -> None:
    interval = auc_interval([0, 1] * 30, list(range(60)), LEVEL)
    panels = [
        Panel("a", tuple(LayerPoint("scores", layer, interval) for layer in ("25", "5", "10"))),
        Panel("b", (LayerPoint("scores", "5", interval),)),
    ]
    made = layer_figure(panels).chart.to_dict()
    views = made["concat"]
    domains = {
        json.dumps(layer["encoding"]["y"]["scale"]["domain"])
        for view in views
        for layer in view["layer"]
        if "encoding" in layer
    }
    assert len(views) == 2 and len(domains) == 1
    assert '"sort": ["5", "10", "25"]' in json.dumps(views[0])
    with pytest.raises(InputError):
        layer_figure([Panel("empty", ())])


def test_names_of_rules_do_not_cover_each_other() -> None:
    interval = auc_interval([0, 1] * 30, list(range(60)), LEVEL)
    same = tuple(Rule(f"baseline {i}", replace(interval, estimate=0.5 + i * 1e-4)) for i in range(9))
    made = layer_figure([Panel("", (), same)]).chart.to_dict()
    (names,) = [layer for layer in made["layer"] if layer["mark"]["type"] == "text"]
    heights = sorted(row["place"] for row in made["datasets"][names["data"]["name"]])
    low, high = names["encoding"]["y"]["scale"]["domain"]
    assert len(heights) == MOST_RULES and low <= heights[0] and heights[-1] <= high
    assert min(b - a for a, b in pairwise(heights)) > 0.05 * (high - low)


# -- tables and PDF -------------------------------------------------------------------------


def test_tables_hold_the_numbers_and_no_formula() -> None:
    result = benchmark(findings=(SEVERE,))
    scores = rows_of(failure_tables.scores_csv(result))
    assert len(scores) == len(result.scores)
    assert float(scores[0]["auc"]) == result.scores[0].auc.estimate
    assert float(scores[0]["delong_low"]) == result.scores[0].auc.low
    assert {row["severe_findings"] for row in scores} == {"label explained by order"}
    cases = rows_of(failure_tables.cases_csv(result))
    assert len(cases) == len(result.cases) and cases[1]["context"] == "'=1+1"
    best = ranked(result)[0]
    assert float(cases[7][f"score: {best.key}"]) == best.scores[7]
    pair = rows_of(failure_tables.comparisons_csv(result))[0]
    assert float(pair["difference"]) == result.comparisons[0].difference.estimate
    assert rows_of(failure_tables.findings_csv(result.findings))[0]["severity"] == "severe"


def test_the_ranking_is_by_area_and_compares_with_the_first() -> None:
    result = benchmark(probe=0.2, margin=2.0)
    rows = failure_tables.ranking_rows(result)
    areas = [float(row["AUC"]) for row in rows]
    assert areas == sorted(areas, reverse=True) and rows[0]["minus the first"] == "–"
    probe = next(row for row in rows if row["layer"] != "–")
    assert probe["minus the first"].startswith("-") or probe["minus the first"].startswith("−")


def test_exported_test_scores_are_read_back_with_the_same_areas(tmp_path: Path) -> None:
    from isi_core.studies.failure.score_table import score_table

    result = benchmark()
    path = tmp_path / "scores.csv"
    path.write_bytes(failure_tables.predictions_csv(result))
    found = {(s.task, s.layer): s.delong.estimate for s in score_table(path, resamples=1_000)}
    for s in result.scores:
        key = (f"scenes {s.explainer}", "" if s.layer is None else str(s.layer))
        assert found[key] == pytest.approx(s.auc.estimate, abs=1e-12)


def test_the_pdf_has_everything_and_the_warning_on_every_page() -> None:
    result = benchmark(findings=(SEVERE,))
    raw = build_failure_report(result)
    pages = [" ".join(page.extract_text().split()) for page in pypdf.PdfReader(io.BytesIO(raw)).pages]
    assert len(pages) >= 2 and all("Severe findings of the linter" in page for page in pages)
    text = " ".join(pages)
    assert "<b>first</b>" in text and " <b>red</b>?" in text and "the model <i>cannot</i>" in text
    for part in ("allow one to conclude", "Ranking", "Settings", name_of(ranked(result)[0]), result.plan.digest[:8]):
        assert part in text, part


def test_a_run_without_scores_says_so() -> None:
    empty = replace(benchmark(), scores=(), comparisons=(), permutation=None, control=())
    assert [c.sentence for c in conclusions(empty)] == [
        "No explainer could be scored, so there is nothing to conclude."
    ]
    assert failure_figures.every_figure(empty, []) == []
    text = pdf_text(build_failure_report(empty))
    assert "nothing to conclude" in text and "Severe" not in text
