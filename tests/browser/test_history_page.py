"""Run History in a real browser: a sweep's runs found, two held side by side and taken away."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Browser, Page

from isi_core.datasets.built_in import load_dataset
from isi_core.domain.decoding import Decoding
from isi_core.models.shelf import Shelf
from isi_core.reports.run_export import read_run
from isi_core.store.run_search import RunFilter, search_runs
from isi_core.store.runs import Store
from isi_core.studies.jobs import Jobs
from isi_core.studies.sweep.control import Sweeps
from isi_core.studies.sweep.plan import ModelChoice, SweepPlan, dataset_digest, grid
from tests.browser import page as pages
from tests.browser.page import visiting
from tests.browser.studio import PATIENCE

_ROW = 35
"""Pixels of a row of the table, and of its head."""


def _sweep(store: Store) -> str:
    """Two observations under two contexts, asked by another process than the app's; the sweep's id."""
    dataset = load_dataset()
    sweeps = Sweeps(store, Jobs(store, workers=1), Shelf)
    plan = SweepPlan(
        dataset=dataset.name,
        dataset_digest=dataset_digest(dataset),
        conditions=grid(["natural"], ["none", "contradictory"]),
        models=(ModelChoice("tiny-llava"),),
        decoding=Decoding(seed=7),  # no run of another test
        measures=("answer",),
        observations=tuple(o.id for o in dataset.observations[20:22]),
    )
    sweep = sweeps.create(plan, dataset)
    sweeps.start(sweep, dataset)
    status = sweeps.wait(sweep, PATIENCE)
    assert (status.state, status.done) == ("done", 4), status
    return sweep


def _tick(page: Page, row: int) -> None:
    """Tick a row of the table, which is drawn on a canvas."""
    page.locator("[class*=st-key-runs_table] canvas").first.wait_for(state="attached")
    page.locator("[class*=st-key-runs_table] [data-testid=stDataFrame]").click(
        position={"x": 18, "y": _ROW * (row + 1) + _ROW // 2}
    )


def test_a_sweeps_runs_are_found_compared_and_exported(browser: Browser, studio: str, studio_home: Path) -> None:
    store = Store(studio_home)
    sweep = _sweep(store)
    with visiting(browser, f"{studio}/Run_History") as (page, errors):
        search = page.get_by_placeholder("Words of the question, answer, label")
        search.fill(sweep)
        search.press("Enter")
        page.get_by_text("4 runs. Tick one to see it").wait_for()
        shown, count = search_runs(store, RunFilter(words=sweep))
        assert count == 4

        _tick(page, 0)
        page.get_by_text(f"Run {shown[0].id} ·").wait_for()
        pages.widget(page, "runs_open").wait_for()
        _tick(page, 1)
        for run in shown[:2]:
            page.get_by_text(f"Run {run.id} · sweep {sweep}: {run.image_kind}/{run.context_kind}").wait_for()
            page.get_by_text(f"“{run.answer}”").first.wait_for()
        page.locator("svg.marks").first.wait_for()
        page.get_by_text(re.compile("All were made by the same model under the same settings")).wait_for()

        taken = read_run(pages.download(page, "runs_zip"))
        assert errors == []

    assert len(taken) == 2
    for made, run in zip(taken, shown[:2], strict=True):
        kept = store.load(run.id)
        assert (made.trial.digest, made.answer, made.decoding, made.model) == (
            kept.trial.digest,
            kept.answer,
            kept.decoding,
            kept.model,
        )
