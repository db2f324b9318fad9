"""The sweeps panel: plan, estimate, start, live progress in another tab, pause, analysis, downloads, refusals."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from isi_core.datasets.built_in import load_dataset
from isi_core.store.sweeps import SweepResult
from isi_core.studies.averages import load_averages
from isi_core.studies.slices import Slice, save_slice
from isi_core.studies.sweep.control import PROBE, Sweeps
from isi_core.studies.sweep.plan import Condition, ModelChoice, SweepPlan, dataset_digest
from isi_core.ui import frame
from isi_core.ui.sweeps import downloads, engine
from isi_core.ui.sweeps.analysed import analysed
from isi_core.ui.sweeps.desk import Desk
from isi_core.ui.sweeps.rows import behind
from tests.pages import visitor

FIRST = 3


def page() -> None:
    """A page that holds nothing but the panel."""
    from isi_core.ui.sweeps import panel

    panel.show("isi_scenes")


@pytest.fixture
def at() -> AppTest:
    return visitor.run(AppTest.from_function(page, default_timeout=visitor.PATIENCE))


@pytest.fixture
def sweeps(home: Path) -> Iterator[Sweeps]:
    found = engine.sweeps()
    yield found
    for status in found.all():
        found.cancel(status.id)
        found.wait(status.id, visitor.PATIENCE)


def desk(at: AppTest) -> Desk:
    found: Desk = at.session_state["sweeps_desk"]
    return found


def plan_few(at: AppTest, images: list[str], contexts: list[str], measures: list[str]) -> AppTest:
    """Choose the first few observations and these conditions."""
    at.selectbox(key="sweeps_take").set_value("first")
    visitor.run(at)
    at.number_input(key="sweeps_first").set_value(FIRST)
    at.multiselect(key="sweeps_images").set_value(images)
    at.multiselect(key="sweeps_contexts").set_value(contexts)
    at.multiselect(key="sweeps_measures").set_value(measures)
    return visitor.run(at)


def settle(at: AppTest, sweeps: Sweeps) -> AppTest:
    assert not sweeps.wait(desk(at).sweep, visitor.PATIENCE).running
    return visitor.run(at)


def keys(at: AppTest, kind: str) -> set[str]:
    return {str(e.key) for e in at.get(kind)}


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> dict[str, frame.Download]:
    """What the page offered to take away, by the files' names."""
    found: dict[str, frame.Download] = {}
    real = frame.downloads

    def keep(files: Sequence[frame.Download], tertiary: bool = False) -> None:
        found.update({file.file: file for file in files})
        real(files, tertiary)

    for module in (frame, downloads):
        monkeypatch.setattr(module, "downloads", keep)
    return found


def test_the_panel_counts_before_anything_runs(at: AppTest, sweeps: Sweeps) -> None:
    assert visitor.shows(at, "900 evaluations") and visitor.shows(at, "100 observations × 9 conditions × 1 model")
    at.multiselect(key="sweeps_noise").set_value([25.0, 50.0])
    visitor.run(at)
    assert visitor.shows(at, "2,700 evaluations")
    at.multiselect(key="sweeps_models").set_value(["tiny-llava", "llava-1.5-7b"])
    visitor.run(at)
    assert visitor.shows(at, "5,400 evaluations")
    at.multiselect(key="sweeps_images").set_value([])
    visitor.run(at)
    assert visitor.shows(at, "Choose at least one picture") and "sweeps_start" not in keys(at, "button")
    assert sweeps.all() == []


def test_plan_estimate_start_and_analyse(at: AppTest, sweeps: Sweeps) -> None:
    plan_few(at, ["natural", "random"], ["none", "contradictory"], ["answer", "uncertainty", "attention"])
    assert visitor.shows(at, "12 evaluations")
    visitor.press(at, "sweeps_estimate")
    settle(at, sweeps)
    assert visitor.shows(at, f"planned, not started · {PROBE} of 12 done") and visitor.shows(at, "left")
    visitor.press(at, "sweeps_start")
    settle(at, sweeps)
    assert visitor.shows(at, "done · 12 of 12 done")
    groups = at.dataframe[0].value
    assert list(groups["done"]) == [3, 3, 3, 3] and next(iter(groups["condition"])) == "natural/none"
    assert visitor.shows(at, "the mark is the accuracy over its observations")
    for view, words in {
        "Effects": "Condition minus “natural/none” on the same observations",
        "Attention": "how the attention of its answers was divided",
        "Flips": "got another verdict under the one condition",
        "Families": "Accuracy of each family of questions",
        "Table": "Each cell: the value and its 95 % interval",
    }.items():
        at.button_group(key="sweeps_analysis").set_value(view)
        visitor.run(at)
        assert visitor.shows(at, words), view
    at.button_group(key="sweeps_analysis").set_value("Calibration")
    visitor.run(at)
    assert visitor.shows(at, "If only the surest answers were given") or visitor.shows(at, "needs right and wrong")
    # Some observations only: single values keep standing beside averages of the whole dataset.
    assert (found := load_averages("tiny-llava", "isi_scenes")) is None or max(p.n for p in found.presets.values()) > 3


def test_another_tab_sees_it_and_a_new_session_finds_it_done(at: AppTest, sweeps: Sweeps) -> None:
    plan_few(at, ["natural"], ["none", "contradictory"], ["answer"])
    visitor.press(at, "sweeps_start")
    tab = visitor.run(AppTest.from_function(page, default_timeout=visitor.PATIENCE))
    assert desk(tab).sweep == desk(at).sweep
    settle(tab, sweeps)
    assert visitor.shows(tab, "done · 6 of 6 done")
    assert sweeps.status(desk(at).sweep).done == 6


def test_pause_resume_cancel_and_delete(at: AppTest, sweeps: Sweeps) -> None:
    visitor.press(at, "sweeps_start")  # 900 evaluations: it is still running when the next button is pressed
    sweep = desk(at).sweep
    assert {"sweeps_pause", "sweeps_cancel"} <= keys(at, "button")
    visitor.press(at, "sweeps_pause")
    settle(at, sweeps)
    done = sweeps.status(sweep).done
    assert sweeps.status(sweep).state == "paused" and done < 900
    assert visitor.shows(at, f"paused · {done} of 900 done")
    visitor.press(at, "sweeps_resume")
    visitor.press(at, "sweeps_cancel")
    settle(at, sweeps)
    assert sweeps.status(sweep).state == "cancelled" and sweeps.status(sweep).done >= done
    visitor.press(at, "sweeps_delete")
    assert sweeps.all() == [] and "sweeps_resume" not in keys(at, "button")


def test_a_saved_slice_is_swept_and_every_chart_can_be_of_a_slice(
    at: AppTest, sweeps: Sweeps, offered: dict[str, frame.Download]
) -> None:
    assert "sweeps_slice" not in keys(at, "selectbox"), "there is nothing to choose before a slice was saved"
    dataset = load_dataset()
    family = dataset.observations[0].family
    members = [o.id for o in dataset.observations if o.family == family]
    save_slice("one family", "isi_scenes", Slice(families=(family,)))
    save_slice("first", "isi_scenes", Slice(words=dataset.observations[0].image.stem))
    save_slice("none of it", "isi_scenes", Slice(words=next(o for o in dataset.observations if o.family != family).id))
    save_slice("asked", "isi_scenes", Slice(model="tiny-llava", verdicts=("yes", "no", "unclear")))
    visitor.run(at)
    at.multiselect(key="sweeps_images").set_value(["natural"])
    at.multiselect(key="sweeps_contexts").set_value(["none"])
    at.multiselect(key="sweeps_measures").set_value(["answer"])
    at.selectbox(key="sweeps_take").set_value("slice: one family")
    visitor.run(at)
    assert visitor.shows(at, f"**{len(members)} evaluations**") and visitor.shows(at, f"family: {family}")
    visitor.press(at, "sweeps_start")
    settle(at, sweeps)
    sweep = desk(at).sweep
    assert "slice: one family" in sweeps.status(sweep).title
    assert {r.observation for r in sweeps.results(sweep)} == set(members)
    at.selectbox(key="sweeps_slice").set_value("first")
    visitor.run(at)
    assert visitor.shows(at, "Slice first: ") and not visitor.shows(at, "estimate how often")
    assert {r.observation for r in analysed(desk(at), dataset, sweep).results} == {dataset.observations[0].id}
    label = analysed(desk(at), dataset, sweep).part.label
    assert label.startswith("first: ")
    own = f"sweep_{sweep}_slice_first"
    tables = ["sweep_accuracy_slice_first.csv", *(f"{own}_{name}.csv" for name in ("results", "conditions"))]
    for name in tables:
        told = csv.DictReader(io.StringIO(offered[name].make().decode()))
        assert {row["slice"] for row in told} == {label}, name
    assert {f"{own}.zip", f"{own}.pdf", "sweep_accuracy_slice_first.png"} <= set(offered)
    with zipfile.ZipFile(io.BytesIO(offered[f"{own}.zip"].make())) as archive:
        assert json.loads(archive.read("sweep.json"))["slice"]["name"] == "first"
        assert archive.read("figures/readings.txt").decode().startswith(f"Of the slice {label}")
    at.selectbox(key="sweeps_slice").set_value("asked")
    visitor.run(at)
    assert visitor.shows(at, "do not estimate how often such things happen")
    assert len(analysed(desk(at), dataset, sweep).results) == len(members)
    at.selectbox(key="sweeps_slice").set_value("none of it")
    visitor.run(at)
    assert visitor.shows(at, "No evaluation of this sweep lies in this slice")
    assert "sweeps_download_pdf" not in keys(at, "download_button")


def test_an_analysis_is_of_the_results_that_there_are_now(home: Path, sweeps: Sweeps) -> None:
    dataset = load_dataset()
    items = [o for o in dataset.observations if o.truth is not None][:5]
    plan = SweepPlan(
        "isi_scenes",
        dataset_digest(dataset),
        (Condition(),),
        (ModelChoice("tiny-llava"),),
        measures=("answer",),
        observations=tuple(o.id for o in items),
    )

    def store_results(right: int, failed: int = 0) -> None:
        """Results of the five: so many right ones, and the last ones failed."""
        for place, item in enumerate(plan.items(dataset)):
            o = item.observation
            if item.key in sweeps.records.finished_items(plan.id):
                continue
            made = SweepResult(item.key, "tiny-llava", "natural/none", o.id, o.row, o.family, o.truth_word)
            verdict = o.truth_word if place < right else "unclear"
            error = "It ran out of memory." if place >= len(items) - failed else ""
            made = replace(made, error=error, verdict=None if error else verdict, seconds=1.0 + 0.001 * right)
            sweeps.records.add_result(plan.id, made)

    desk = Desk(sweep=sweeps.create(plan, dataset), reference="natural/none")

    def accuracy() -> tuple[int, float]:
        (summary,) = analysed(desk, dataset, plan.id).analysis.summaries
        return summary.n, summary.values["accuracy"].estimate

    store_results(right=2, failed=2)
    assert accuracy() == (3, pytest.approx(2 / 3))
    assert sweeps.retry_failures(plan.id) == 2
    store_results(right=5)  # what failed is right now, and so five results are five results again
    assert accuracy() == (5, 0.8)
    sweeps.delete(plan.id)
    assert sweeps.create(plan, dataset) == plan.id
    store_results(right=1)
    assert accuracy() == (5, 0.2), "the same plan has the same id, but its results are others"


def test_an_unknown_model_is_refused_in_one_sentence(at: AppTest, sweeps: Sweeps) -> None:
    desk(at).models = ["<b>no model</b>"]
    visitor.run(at)
    visitor.press(at, "sweeps_start")
    (message,) = visitor.messages(at)
    assert "No model" in message and sweeps.all() == []
    desk(at).models = ["tiny-llava"]
    visitor.run(at)


def test_rows_behind_a_mark_and_files(at: AppTest, sweeps: Sweeps) -> None:
    plan_few(at, ["natural", "random"], ["none"], ["answer"])
    visitor.press(at, "sweeps_start")
    settle(at, sweeps)
    sweep = desk(at).sweep
    results = sweeps.results(sweep)

    def picked(**point: Any) -> list[Any]:
        return behind(results, [point], "tiny-llava")[0]

    assert {r.condition for r in picked(model="tiny-llava", condition="random/none")} == {"random/none"}
    assert len(picked(condition="natural/none")) == FIRST and picked(condition="natural/none", family="x") == []
    verdicts = {(r.condition, r.observation): r.verdict for r in results}
    differ = {o for c, o in verdicts if verdicts["natural/none", o] != verdicts["random/none", o]}
    flipped = picked(first="natural/none", second="random/none")
    assert {r.observation for r in flipped} == differ and len(flipped) == 2 * len(differ)
    labels = {e.label for e in at.get("download_button")}
    assert {"PDF", "PNG", "SVG", "CSV", "Everything (zip)", "CSV: rows"} <= labels
    from isi_core.reports import sweep_export
    from isi_core.reports.sweep_report import sweep_report

    found, record = analysed(desk(at), load_dataset(), sweep), sweeps.records.get(sweep)
    whole = found.plan, record, found.results
    files = sweep_export.sweep_files(*whole, sweeps.records.answers(sweep), found.analysis, found.calibration)
    with zipfile.ZipFile(io.BytesIO(sweep_export.zip_sweep(files))) as archive:
        names = archive.namelist()
        assert {"sweep.json", "results.csv", "effects.csv", "figures/sweep_accuracy.png"} <= set(names)
        assert archive.read("figures/sweep_accuracy.png").startswith(b"\x89PNG")
    assert sweep_report(*whole, found.analysis, found.calibration).startswith(b"%PDF")
    for view, column in {"Effects": "change_of_accuracy", "Flips": "share", "Families": "family"}.items():
        assert column in downloads.table(found, view)().decode().split("\n")[0], view
    for view in ("Calibration", "Risk", "Perturbations", "Attention"):
        downloads.table(found, view)()


def test_what_a_point_of_a_risk_coverage_curve_stands_for() -> None:
    def result(name: str, entropy: float | None, truth: str = "yes") -> SweepResult:
        measured = {} if entropy is None else {"semantic_entropy": entropy}
        made = SweepResult(name, "m", "natural/none", name, 1, "", truth)
        return replace(made, verdict="yes", measured=measured)

    results = [result("a", 0.1), result("b", 0.3), result("c", 0.3 + 1e-12), result("d", 0.5), result("e", None)]
    results.append(result("f", 0.2, "unknown"))
    found, words = behind(results, [{"condition": "natural/none", "limit": 0.3}], "m")
    assert [r.observation for r in found] == ["a", "b", "c"] and "up to 0.3" in words
