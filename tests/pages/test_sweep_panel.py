"""The sweeps panel: plan, estimate, start, live progress in another tab, pause, analysis, downloads, refusals."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from isi_core.studies.averages import load_averages
from isi_core.studies.sweep.control import PROBE, Sweeps
from isi_core.ui.sweeps import engine, findings
from isi_core.ui.sweeps.desk import Desk
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
        return findings.behind(results, [point], "tiny-llava")[0]

    assert {r.condition for r in picked(model="tiny-llava", condition="random/none")} == {"random/none"}
    assert len(picked(condition="natural/none")) == FIRST and picked(condition="natural/none", family="x") == []
    verdicts = {(r.condition, r.observation): r.verdict for r in results}
    differ = {o for c, o in verdicts if verdicts["natural/none", o] != verdicts["random/none", o]}
    flipped = picked(first="natural/none", second="random/none")
    assert {r.observation for r in flipped} == differ and len(flipped) == 2 * len(differ)
    from isi_core.reports import sweep_export
    from isi_core.ui.sweeps.findings import _analysed

    analysis, calibration, rows = _analysed(sweeps._store.folder, sweep, 6, "natural/none")
    files = sweep_export.sweep_files(
        sweeps.plan(sweep), sweeps.records.get(sweep), rows, sweeps.records.answers(sweep), analysis, calibration
    )
    with zipfile.ZipFile(io.BytesIO(sweep_export.zip_sweep(files))) as archive:
        names = archive.namelist()
        assert {"sweep.json", "results.csv", "effects.csv", "figures/sweep_accuracy.png"} <= set(names)
        assert archive.read("figures/sweep_accuracy.png").startswith(b"\x89PNG")
