"""The analysis of results whose numbers are known, its charts, its tables, its files."""

from __future__ import annotations

import csv
import io
import json
import math
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader

from isi_core.domain.errors import InputError
from isi_core.measures.statistics import paired_bootstrap, paired_rate_difference, wilson_interval
from isi_core.reports import sweep_breakdowns, sweep_export, sweep_figures, sweep_tables
from isi_core.reports.charts import Figure, figure_png, figure_svg
from isi_core.reports.published import published_means, published_note
from isi_core.reports.sweep_part import WHOLE, Part
from isi_core.reports.sweep_report import sweep_report
from isi_core.reports.wording import duration
from isi_core.store.sweeps import PlannedGroup, SweepRecord, SweepResult
from isi_core.studies.sweep.analysis import MEANS, RATES, Analysis, analyse
from isi_core.studies.sweep.averages import keep_averages, sweep_averages
from isi_core.studies.sweep.calibration import area_under, calibrations, risk_coverage
from isi_core.studies.sweep.plan import Condition, ModelChoice, Perturbation, SweepPlan

CONDITIONS = (Condition(), Condition(context="contradictory"), Condition(perturbation=Perturbation("noise", 50)))
KEYS = [condition.key for condition in CONDITIONS]
MODELS = ["tiny-llava", "llava-1.5-7b (4-bit)"]
N = 40


def result(model: str, condition: str, place: int, verdict: str | None, entropy: float, **other: object) -> SweepResult:
    truth = "yes" if place % 2 else "no"
    shares = {"attention_image": 0.5, "attention_context": 0.1 + 0.001 * place, "attention_question": 0.4}
    measured = {"semantic_entropy": entropy, "n_clusters": 1.0 + place % 3, "predictive_entropy": 0.1, **shares}
    made = SweepResult(f"{model} {condition} {place}", model, condition, f"o{place}", place, "ab"[place % 2], truth)
    return replace(made, verdict=verdict, measured=measured, run=place, **other)  # type: ignore[arg-type]


def right_until(model: str, condition: str, until: int) -> list[SweepResult]:
    """Right on the first `until` of `N` observations, sure where it is right; the last one's verdict is unclear."""
    made = []
    for place in range(1, N + 1):
        truth = "yes" if place % 2 else "no"
        said = truth if place <= until else "unclear" if place == N else "no" if truth == "yes" else "yes"
        made.append(result(model, condition, place, said, 0.1 + 0.01 * place))
    return made


@pytest.fixture(scope="module")
def results() -> list[SweepResult]:
    found = []
    for model in MODELS:
        found += right_until(model, KEYS[0], N)  # all right
        found += right_until(model, KEYS[1], 10)
        found += right_until(model, KEYS[2], 35)[1:]  # its first observation is missing
        found.append(result(model, KEYS[2], 1, None, 0.0, error="It failed."))
    return found


@pytest.fixture(scope="module")
def analysis(results: list[SweepResult]) -> Analysis:
    return analyse(results, MODELS, KEYS)


def test_each_condition_has_its_values_and_intervals(analysis: Analysis) -> None:
    assert [(s.model, s.condition, s.n) for s in analysis.summaries] == [
        (model, key, n) for model in MODELS for key, n in zip(KEYS, (N, N, N - 1), strict=True)
    ]
    clean, contradictory, noisy = analysis.summaries[:3]
    assert set(clean.values) == {*RATES, *MEANS}
    assert clean.values["accuracy"] == wilson_interval(N, N), "resamples of equal values would pretend to be certain"
    assert clean.values["accuracy"].low < 1
    found = contradictory.values["accuracy"]
    assert found.estimate == 0.25 and found.low == 0.125 and found.high == 0.4
    assert contradictory.values["unclear_rate"].estimate == 1 / N
    entropies = [0.1 + 0.01 * place for place in range(1, N + 1)]
    assert clean.values["semantic_entropy"].estimate == pytest.approx(np.mean(entropies))
    standard_error = np.std(entropies) / math.sqrt(N)
    width = clean.values["semantic_entropy"].high - clean.values["semantic_entropy"].low
    assert width == pytest.approx(2 * 1.96 * standard_error, rel=0.1)
    assert noisy.values["accuracy"].estimate == pytest.approx(34 / 39)


def test_effects_are_paired_and_adjusted(analysis: Analysis, results: list[SweepResult]) -> None:
    contradictory, noisy = (e for e in analysis.effects if e.model == MODELS[0])
    assert (contradictory.reference, contradictory.n, contradictory.flips) == (KEYS[0], N, 30)
    assert contradictory.mcnemar is not None and noisy.mcnemar is not None
    assert (contradictory.mcnemar.first_only, contradictory.mcnemar.second_only) == (0, 30)
    assert contradictory.mcnemar.p_value == pytest.approx(2 * 0.5**30)
    assert contradictory.p_adjusted == pytest.approx(2 * contradictory.mcnemar.p_value)
    assert noisy.p_adjusted == noisy.mcnemar.p_value, "the larger of two is not multiplied"
    assert noisy.n == N - 1, "an observation that failed on one side is no pair"
    change = contradictory.differences["accuracy"]
    assert change.estimate == -0.75 and change.high < 0
    assert contradictory.differences["semantic_entropy"].estimate == 0
    here = [1.0] * 10 + [0.0] * 30
    assert change == paired_rate_difference(here, [1.0] * N)
    attention = [0.1 + 0.001 * place for place in range(2, N + 1)]
    assert noisy.differences["attention_context"].estimate == pytest.approx(0), "the same under every condition"
    assert not noisy.differences["attention_context"].bounded
    shifted = [
        replace(r, measured={**r.measured, "attention_context": (r.place % 7) / 7}) if r.condition == KEYS[2] else r
        for r in results
    ]
    spread = analyse(shifted, MODELS, KEYS).effects[1].differences["attention_context"]
    assert spread == paired_bootstrap([(place % 7) / 7 for place in range(2, N + 1)], attention, n=2_000)
    other = analyse(results, MODELS, KEYS, reference=KEYS[1])
    assert other.effects[0].differences["accuracy"].estimate == 0.75


def test_no_spread_is_not_taken_for_certainty() -> None:
    def three(said: dict[str, str]) -> Analysis:
        made = [result("m", key, place, said[key], 0.0) for key in said for place in (1, 3, 5)]  # the truth is yes
        return analyse(made, ["m"], list(said))

    # Right under both: that three observations keep their answer does not mean that all would.
    (same,) = three({"a": "yes", "b": "yes"}).effects
    kept = same.differences["accuracy"]
    assert kept.estimate == 0 and kept.low < -0.5 and kept.high > 0.5
    # All three flip; McNemar's p is 0.25.
    flipped = three({"a": "yes", "b": "no"})
    change = flipped.effects[0].differences["accuracy"]
    assert flipped.effects[0].mcnemar is not None and flipped.effects[0].mcnemar.p_value == 0.25
    assert change.estimate == -1 and change.low == -1 and -0.3 < change.high < 0
    # An entropy of zero in three cases, and its change of zero.
    assert not flipped.summaries[0].values["semantic_entropy"].bounded
    assert not flipped.effects[0].differences["semantic_entropy"].bounded
    tables = [
        sweep_tables.analysis_text(flipped, []),
        str(sweep_tables.summary_rows(flipped)),
        text_of(sweep_report(plan(), record(), [result("m", "a", 1, "yes", 0.0)], flipped, [])),
    ]
    assert all("no interval" in table and "0 to 0)" not in table for table in tables)
    entropies = figure_rows(sweep_figures.effect_figure(flipped, "semantic_entropy"))
    assert [r["bounds"] for r in entropies] == ["none: too few values, or no spread among them"]
    assert "Newcombe" in sweep_figures.effect_figure(flipped, "accuracy").reading
    assert "paired bootstrap" in sweep_figures.effect_figure(flipped, "semantic_entropy").reading
    (first,) = rows(sweep_tables.effects_csv(flipped))
    assert (first["change_of_semantic_entropy"], first["change_of_semantic_entropy_low"]) == ("0.0", "")
    json.dumps(sweep_tables.analysis_json(flipped, []), allow_nan=False)
    # Nor does an entropy that parts two right answers from two wrong ones prove that it always does.
    apart = [result("m", "a", place, "yes", 0.1 * place) for place in (1, 3, 4, 6)]
    (found,) = calibrations(apart, ["m"], ["a"])
    assert found.auroc is not None and found.auroc.estimate == 1 and not found.auroc.bounded


def figure_rows(figure: Figure) -> list[dict[str, object]]:
    """The rows of a chart that have bounds."""
    sets = figure.chart.to_dict()["datasets"].values()
    return list({str(r): r for rows in sets for r in rows if "bounds" in r}.values())


def test_flips_and_families(analysis: Analysis) -> None:
    flips = {(f.first, f.second): f for f in analysis.flips if f.model == MODELS[1]}
    assert len(flips) == 9
    assert flips[KEYS[0], KEYS[1]].share == flips[KEYS[1], KEYS[0]].share == 0.75
    assert flips[KEYS[0], KEYS[0]].flips == 0 and flips[KEYS[0], KEYS[2]].n == N - 1
    families = {(f.condition, f.family): f.accuracy for f in analysis.families if f.model == MODELS[0]}
    assert families[KEYS[1], "a"] == wilson_interval(5, 20) and families[KEYS[0], "b"].estimate == 1


def test_calibration_tells_whether_entropy_knows(results: list[SweepResult]) -> None:
    found = {(c.model, c.condition): c for c in calibrations(results, MODELS, KEYS)}
    assert found[MODELS[0], KEYS[0]].auroc is None, "there is no wrong answer to tell apart"
    wrong = found[MODELS[0], KEYS[1]]
    assert wrong.auroc is not None and wrong.auroc.estimate == 1 and (wrong.n, wrong.wrong) == (N, 30)
    assert [p.risk for p in wrong.curve[:11]] == [0] * 10 + [pytest.approx(1 / 11)]
    assert wrong.curve[-1].coverage == 1 and wrong.curve[-1].risk == 0.75
    assert 0 < wrong.area < 0.75


def test_the_risk_coverage_curve_of_equal_scores_is_flat() -> None:
    flags = [True, False, False, True, False]
    (only,) = risk_coverage(flags, [1.0] * 5)
    assert (only.coverage, only.risk) == (1.0, 0.4) and area_under([only]) == pytest.approx(0.4)
    best, worst = (area_under(risk_coverage(flags, s)) for s in ([4, 1, 2, 5, 3], [1, 4, 5, 2, 3]))
    assert best < 0.4 < worst
    # Within a tie the area is the mean over every order of its members, up to the width of a step.
    lot = np.random.default_rng(0)
    many = lot.random(600) < 0.3
    scores = np.round(lot.random(600), 1)
    orders = [area_under(risk_coverage(list(many), list(scores + 1e-6 * lot.random(600)))) for _ in range(40)]
    assert area_under(risk_coverage(list(many), list(scores))) == pytest.approx(np.mean(orders), abs=0.01)


def test_too_little_is_said_so(results: list[SweepResult]) -> None:
    with pytest.raises(InputError, match="no result"):
        analyse([r for r in results if r.error], MODELS, KEYS)
    with pytest.raises(InputError, match="no condition"):
        analyse(results, MODELS, KEYS, reference="natural/sideways")
    one = analyse(results[:1], MODELS, KEYS)
    assert one.models == (MODELS[0],) and one.conditions == (KEYS[0],) and one.effects == ()
    assert not one.summaries[0].values["semantic_entropy"].bounded
    figure_png(sweep_figures.condition_figure(one, "semantic_entropy"), 1)
    for make in (
        lambda: sweep_figures.effect_figure(one, "accuracy"),
        lambda: sweep_breakdowns.auroc_figure([], MODELS, KEYS),
        lambda: sweep_figures.schedule_figure(one, CONDITIONS[:1], "noise", "accuracy", MODELS[0]),
    ):
        with pytest.raises(InputError):
            make()
    bare = [replace(r, truth="unknown", measured={}, family="") for r in results]
    without = analyse(bare, MODELS, KEYS)
    assert set(without.summaries[0].values) == {"yes_rate", "unclear_rate"} and without.families == ()
    assert without.effects[0].mcnemar is None and without.effects[0].p_adjusted is None
    for make in (
        lambda: sweep_figures.condition_figure(without, "accuracy"),
        lambda: sweep_figures.attention_figure(without, MODELS[0]),
        lambda: sweep_breakdowns.family_figure(without, MODELS[0]),
    ):
        with pytest.raises(InputError, match=r"\.$|:"):
            make()


def plan() -> SweepPlan:
    models = (ModelChoice("tiny-llava"), ModelChoice("llava-1.5-7b", "4-bit"))
    return SweepPlan("isi_scenes", "digest", CONDITIONS, models)


def record() -> SweepRecord:
    def model(name: str, quantization: str = "none") -> dict[str, str]:
        names = ("name", "source", "revision", "dtype", "quantization", "attention", "device")
        return dict(zip(names, (name, name, "r", "float32", quantization, "sdpa", "cpu"), strict=True))

    models = {"tiny-llava": model("tiny-llava"), MODELS[1]: model("llava-1.5-7b", "4-bit")}
    models["entailment: tiny-nli"] = model("tiny-nli")
    groups = tuple(PlannedGroup(m, c, N) for m in MODELS for c in KEYS)
    made = plan()
    return SweepRecord(made.id, "=1+1", "2026-11-24", "isi_scenes", made.to_json(), groups, "run", models)


def test_every_chart_is_drawn_with_its_reading(analysis: Analysis, results: list[SweepResult]) -> None:
    found = calibrations(results, MODELS, KEYS)
    figures = sweep_export.every_figure(analysis, found, plan())
    names = [figure.name for figure in figures]
    assert len(set(names)) == len(names)
    kinds = {"sweep_accuracy", "sweep_effect_accuracy", "sweep_auroc_semantic_entropy", "sweep_flips_tiny-llava"}
    kinds |= {"sweep_families_tiny-llava", "sweep_risk_coverage_tiny-llava", "sweep_attention_tiny-llava"}
    assert kinds | {"sweep_noise_accuracy_llava-1.5-7b__4-bit"} <= set(names)
    for figure in figures:
        assert figure.reading.endswith(".") and len(figure.reading) < 500
        if figure.name in kinds or "noise_accuracy" in figure.name:
            with Image.open(io.BytesIO(figure_png(figure, 1))) as picture:
                assert picture.width > 250 and len(picture.convert("RGB").getcolors(1_000_000) or ()) > 5
            assert figure_svg(figure).startswith(b"<svg")
    assert b"natural/contradictory" in figure_svg(sweep_figures.condition_figure(analysis, "accuracy"))


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_an_export_holds_every_number_and_no_formula(
    analysis: Analysis, results: list[SweepResult], tmp_path: Path
) -> None:
    found = calibrations(results, MODELS, KEYS)
    odd = [replace(results[0], observation="=cmd|' /C calc'!A0"), *results[1:]]
    answers = {results[0].item: '=HYPERLINK("x")'}

    def files():  # type: ignore[no-untyped-def]
        return sweep_export.sweep_files(plan(), record(), odd, answers, analysis, found, pictures=False)

    assert sweep_export.write_sweep(files(), tmp_path / "out") == 8
    table = rows((tmp_path / "out" / "results.csv").read_bytes())
    assert len(table) == len(results) and table[0]["answer"].startswith("'=") and table[0]["observation"][0] == "'"
    assert [r["error"] for r in table].count("It failed.") == 2
    first = rows((tmp_path / "out" / "conditions.csv").read_bytes())[1]
    assert (first["condition"], first["accuracy"], first["n"]) == (KEYS[1], "0.25", str(N))
    assert float(first["accuracy_low"]) == analysis.summaries[1].values["accuracy"].low
    effects = rows((tmp_path / "out" / "effects.csv").read_bytes())
    assert (effects[0]["flips"], effects[0]["change_of_accuracy"], effects[0]["right_only_in_reference"]) == (
        "30",
        "-0.75",
        "30",
    )
    assert len(rows((tmp_path / "out" / "flips.csv").read_bytes())) == 18
    made = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert SweepPlan.from_json(made["plan"]) == plan() and made["models"] == record().models
    with zipfile.ZipFile(io.BytesIO(sweep_export.zip_sweep(files()))) as archive:
        assert archive.read("results.csv") == (tmp_path / "out" / "results.csv").read_bytes()
    with pytest.raises(InputError, match="not an empty folder"):
        sweep_export.write_sweep(files(), tmp_path / "out")
    whole = sweep_tables.analysis_json(analysis, found)
    json.dumps(whole, allow_nan=False)
    assert whole["effects"][0]["mcnemar"]["second_only"] == 30
    text = sweep_tables.analysis_text(analysis, found)
    assert "natural/contradictory · tiny-llava · 40 observations" in text and "30 of 40 verdicts differ" in text


def test_every_file_of_a_slice_says_that_it_is_of_one(results: list[SweepResult]) -> None:
    own = [r for r in results if r.family == "a"]
    found, calibration = analyse(own, MODELS, KEYS), calibrations(own, MODELS, KEYS)
    part = Part("=mine/../Ä 1", "family: a", "Mind the choice.")
    assert part.infix == "_slice_mine-1" and Part("切片", "x").infix == "_slice" and WHOLE.infix == ""

    def files(part: Part, pictures: bool) -> dict[str, bytes]:
        return dict(sweep_export.sweep_files(plan(), record(), own, {}, found, calibration, pictures, part))

    made = files(part, pictures=False)
    tables = [name for name in made if name.endswith(".csv")]
    assert len(tables) == 7
    for name in tables:
        told = {(r["slice"], r["slice_warning"]) for r in rows(made[name])}
        assert told == {("'=mine/../Ä 1: family: a", "Mind the choice.")}, name
    assert json.loads(made["sweep.json"])["slice"] == {
        "name": "=mine/../Ä 1",
        "words": "family: a",
        "warning": "Mind the choice.",
    }
    whole = files(WHOLE, pictures=False)
    assert json.loads(whole["sweep.json"])["slice"] is None
    assert not any("slice" in whole[name].decode() for name in tables)
    assert "slice_warning" not in rows(sweep_tables.results_csv(own, part=Part("mine", "family: a")))[0]


def test_readings_and_charts_of_a_slice_say_so(results: list[SweepResult], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_export, "every_figure", lambda a, c, p: [sweep_figures.condition_figure(a, "accuracy")])
    found = analyse(results, MODELS, KEYS)
    part = Part("mine", "family: a", "Mind the choice.")
    made = dict(sweep_export.sweep_files(plan(), record(), results, {}, found, [], part=part))
    assert {"figures/sweep_accuracy_slice_mine.png", "figures/sweep_accuracy_slice_mine.svg"} <= set(made)
    lines = made["figures/readings.txt"].decode().splitlines()
    assert lines[:2] == ["Of the slice mine: family: a.", "Mind the choice."]
    assert lines[3].startswith("sweep_accuracy_slice_mine: One row a condition")


def test_a_finished_sweep_gives_the_averages_of_its_models(results: list[SweepResult], tmp_path: Path) -> None:
    tiny, large = sweep_averages(plan(), record(), results)
    assert (tiny.model["name"], large.model["name"], large.model["quantization"]) == (
        "tiny-llava",
        "llava-1.5-7b",
        "4-bit",
    )
    assert list(tiny.presets) == KEYS[:2], "a perturbed condition is no preset"
    assert tiny.presets[KEYS[1]].accuracy == 0.25 and tiny.presets[KEYS[1]].changed_rate == 0.75
    assert len(keep_averages(plan(), record(), results, tmp_path)) == 2
    assert keep_averages(replace(plan(), observations=("o1",)), record(), results, tmp_path / "b") == []
    assert not (tmp_path / "b").exists()


def test_published_means_are_a_footnote() -> None:
    assert published_note(["tiny-llava"]) == "" and published_means("my-llava-1.5") is None
    note = published_note(["tiny-llava", "llava-1.5-13b", "llava-next-34b"])
    assert "LLaVA: semantic entropy 1.21, clusters 4.90" in note and "0.35 / 0.44 / 0.26" in note
    assert "Published" in note and "Vicuna" not in note


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("llava-1.5-7b (4-bit)", "LLaVA"),
        ("llava-hf/llava-1.5-7b-hf", "LLaVA"),
        ("/models/llava-v1.6-vicuna-13b-hf/", "LLaVA-Vicuna"),
        ("llava-hf/llava-v1.6-34b-hf", "LLaVA-NeXT"),
    ],
)
def test_published_means_are_found_by_name_hub_id_and_folder(model: str, family: str) -> None:
    found = published_means(model)
    assert found is not None and found.family == family


def text_of(pdf: bytes) -> str:
    return " ".join(" ".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages).split())


def test_the_report_has_plan_tables_charts_and_footnote(analysis: Analysis, results: list[SweepResult]) -> None:
    made = sweep_report(plan(), record(), results, analysis, calibrations(results, MODELS, KEYS))
    text = text_of(made)
    assert made.startswith(b"%PDF") and "40 observations of isi_scenes under 3 conditions, put to 2 models" in text
    assert "2 failed and do not count" in text and plan().id in text and "revision r" in text
    # Numbers of the analysis: accuracy 10 of 40 under contradiction, 30 verdicts that differ, none right only here.
    assert "30 of 40" in text and "-0.75" in text.replace("−", "-") and "0 / 30" in text
    for words in (
        "Each condition",
        "Effects against natural/none",
        "Is entropy higher where it is wrong?",
        "Verdicts that differ between conditions",
        "Families of questions",
        "Perturbation schedules",
        "LLaVA: semantic entropy 1.21",
        "guessed spans",
    ):
        assert words in text, words
    pages = PdfReader(io.BytesIO(made)).pages
    assert len(pages) < 20 and sum(len(page.images) for page in pages) >= 12
    assert "Only a slice" not in text
    own = [r for r in results if r.family == "a"]
    part = analyse(own, MODELS, KEYS)
    text = text_of(
        sweep_report(plan(), record(), own, part, calibrations(own, MODELS, KEYS), "mine: family: a", "Mind.")
    )
    assert "20 observations" in text and "Of the slice mine: family: a" in text and "Only a slice" in text


def test_a_report_of_little_leaves_out_what_there_is_not(results: list[SweepResult]) -> None:
    bare = [replace(r, truth="unknown", measured={}, family="") for r in results if r.condition == KEYS[0]]
    text = text_of(sweep_report(plan(), record(), bare, analyse(bare, MODELS, KEYS), calibrations(bare, MODELS, KEYS)))
    assert "Each condition" in text and "planned evaluations are missing" in text
    for words in ("Effects against", "Is entropy higher", "Families of questions", "Attention: relative"):
        assert words not in text, words


def test_time_spans_are_words() -> None:
    spans = {0: "0 s", 0.2: "1 s", 89: "89 s", 197: "3.3 min", 5_300: "88 min", 9_000: "2.5 h", 260_000: "3.0 days"}
    assert {seconds: duration(seconds) for seconds in spans} == spans
