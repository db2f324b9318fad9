"""Semantic Uncertainty in a real browser: from an answer to clusters and measures, regrouped without any model."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from playwright.sync_api import Browser, Page

from isi_core.domain.uncertainty import Rule
from isi_core.measures.answer_groups import ComparedAnswers, Grouping, Groups, group
from isi_core.reports.run_export import read_run
from isi_core.reports.wording import number
from isi_core.store.job_records import JobRecords
from isi_core.store.runs import Store
from tests.browser import page as pages
from tests.browser.page import visiting

MEASURES = (
    "Semantic entropy",
    "Discrete semantic entropy",
    "Predictive entropy, plain",
    "Lexical similarity",
)


def _shows(page: Page, rule: Rule, expected: Groups) -> None:
    """The page's table of measures is made by this rule and has these groups' numbers."""
    page.get_by_text(re.compile(rf"rule {rule}, last wins")).first.wait_for()
    clusters, count = len(expected.probabilities), len(expected.ids)
    words = f"All {count} answers mean the same" if clusters == 1 else f"{clusters} meanings"
    page.get_by_text(words).first.wait_for()
    table = page.locator("[data-testid=stTable]").first
    cells = {
        row.locator("td").nth(0).inner_text(): row.locator("td").nth(1).inner_text()
        for row in table.locator("tbody tr").all()
    }
    assert set(MEASURES) <= set(cells), cells
    assert cells["Semantic entropy"] == number(expected.semantic_entropy)


def test_sample_cluster_regroup_and_take_along(browser: Browser, studio: str, studio_home: Path) -> None:
    with visiting(browser, f"{studio}/{pages.PATH}?obs=9&context=contradictory") as (page, errors):
        words = pages.ask(page)
        page.get_by_role("link", name="Semantic Uncertainty").first.click()
        page.locator(".st-key-uncertainty_card").get_by_text(words).first.wait_for()
        assert page.locator(".st-key-uncertainty_table").count() == 0

        primary = page.locator("button[kind=primary], [data-testid=stBaseButton-primary]")
        assert primary.count() == 1 and primary.inner_text().endswith("Draw 10 answers")
        primary.click()
        page.get_by_text("One row a meaning:").wait_for()
        page.locator("svg.marks").nth(1).wait_for()

        (made,) = read_run(pages.download(page, "uncertainty_download_run"))
        assert made.uncertainty is not None and len(made.uncertainty.samples) == 10
        assert made.trial.context_kind == "contradictory" and made.answer is not None and made.answer.text == words
        answers = ComparedAnswers.of(made.uncertainty)
        _shows(page, "loose", group(answers, Grouping(rule="loose")))
        loose = pages.download(page, "uncertainty_download_measures")

        jobs = JobRecords(Store(studio_home).database)
        asked = len(jobs.list("uncertainty"))
        assert asked >= 1
        pages.preset(page, "uncertainty_rule", "strict").click()
        strict = group(answers, Grouping(rule="strict"))
        _shows(page, "strict", strict)
        rows = list(csv.DictReader(io.StringIO(pages.download(page, "uncertainty_download_measures").decode())))
        pages.preset(page, "uncertainty_rule", "loose").click()
        _shows(page, "loose", group(answers, Grouping(rule="loose")))
        # Nothing was asked of a model for it, and going back gives the same file.
        assert len(jobs.list("uncertainty")) == asked
        assert pages.download(page, "uncertainty_download_measures") == loose
        assert errors == []

    assert {row["rule"] for row in rows} == {"strict"} and {row["digest"] for row in rows} == {made.trial.digest}
    values = {row["measure"]: float(row["value"]) for row in rows if row["value"]}
    assert values["n_clusters"] == len(strict.probabilities)
    assert abs(values["semantic_entropy"] - strict.semantic_entropy) < 1e-9
