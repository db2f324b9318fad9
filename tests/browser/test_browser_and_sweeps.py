"""From a zip file to a sweep's analysis, with the page left and found again in between."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page

from isi_core.datasets.archive import zip_folder
from isi_core.datasets.authoring import export_folder
from isi_core.datasets.built_in import load_dataset
from isi_core.store.runs import Store
from isi_core.store.sweeps import SweepRecords
from tests.browser import page as pages
from tests.browser.page import visiting

PAGE = "Dataset_Browser"
SIX = 6


def _zip(folder: Path, name: str) -> Path:
    """Six observations of the built-in dataset, packed in the published format."""
    whole = load_dataset()
    export_folder(replace(whole, observations=whole.observations[:SIX]), folder / name)
    files = [path for path in (folder / name).rglob("*") if path.is_file()]
    packed = folder / f"{name}.zip"
    packed.write_bytes(zip_folder(folder / name, files, name))
    return packed


def _section(page: Page, name: str) -> None:
    pages.preset(page, "browser_section", name).click()


def _take_out(page: Page, key: str, *choices: str) -> None:
    """Take choices out of a field that holds several."""
    for choice in choices:
        tag = page.locator(f".st-key-{key}").get_by_label(f"Remove {choice}")
        tag.click()
        tag.wait_for(state="detached")


def test_import_filter_open_sweep_leave_come_back_analyse(
    browser: Browser, studio: str, studio_home: Path, tmp_path: Path
) -> None:
    six = load_dataset().observations[:SIX]
    packed = _zip(tmp_path, "six")
    wanted = six[3]
    word = max(wanted.question.split(), key=len).strip("?.,").lower()
    fitting = [
        o for o in six if word in f"{o.question} {o.complementary} {o.contradictory} {o.description} {o.image}".lower()
    ]
    with visiting(browser, f"{studio}/{PAGE}") as (page, errors):
        _section(page, "Import")
        page.locator("input[type=file]").set_input_files(packed)
        pages.widget(page, "browser_import_look").click()
        page.get_by_text("is in the published ISI VQA format").wait_for()
        pages.widget(page, "browser_import").click()
        page.get_by_text("is imported: 6 observations, 6 with an annotated picture").wait_for()
        pages.widget(page, "browser_import_browse").click()

        count = page.locator(".st-key-browser_order")
        count.get_by_text("6 of 6 observations").wait_for()
        search = page.get_by_placeholder("Words of the question")
        search.fill(word)
        search.press("Enter")
        count.get_by_text(f"{len(fitting)} of 6 observations").wait_for()
        cards = page.locator("[class*=st-key-browser_card_]")
        assert cards.count() == len(fitting) and 0 < len(fitting) <= SIX
        pages.widget(page, f"browser_look_{wanted.row}").click()
        page.locator("h4").filter(has_text=wanted.question).wait_for()
        # Every context side by side, as it was packed.
        for text in (wanted.complementary, wanted.contradictory):
            page.get_by_text(text).first.wait_for()
        assert pages.broken_pictures(page) == []
        shown = page.locator(f".st-key-browser_card_{wanted.row} img").get_attribute("src")
        assert shown is not None
        picture = Image.open(io.BytesIO(page.request.get(shown).body()))
        with Image.open(wanted.image) as original:
            assert abs(picture.width / picture.height - original.width / original.height) < 0.02

        _section(page, "Sweeps")
        _take_out(page, "sweeps_images", "annotated", "random")
        _take_out(page, "sweeps_contexts", "contradictory")
        _take_out(page, "sweeps_measures", "uncertainty", "attention")
        page.get_by_text("12 evaluations").wait_for()
        pages.widget(page, "sweeps_start").click()
        page.get_by_text("of 12 done").first.wait_for()
        page.get_by_role("link", name="Home").first.click()
        page.get_by_text("Last runs").wait_for()

        page.get_by_role("link", name="Dataset Browser").first.click()
        # Part and dataset are as they were left; the sweep went on meanwhile.
        page.get_by_text("of 12 done").first.wait_for()
        page.get_by_text("done · 12 of 12 done").wait_for()

        chart = ".st-key-chart_sweeps_"
        page.locator(f"{chart}conditions canvas, {chart}conditions svg").first.wait_for()
        pages.preset(page, "sweeps_analysis", "Effects").click()
        page.locator(f"{chart}effects canvas, {chart}effects svg").first.wait_for()
        pages.preset(page, "sweeps_analysis", "Table").click()
        page.get_by_text("Each cell: the value and its 95 % interval").wait_for()
        assert errors == []

    sweeps = SweepRecords(Store(studio_home).database)
    [rows] = [found for record in sweeps.all() if len(found := sweeps.results(record.id)) == 2 * SIX]
    assert {(row.place, row.condition) for row in rows} == {
        (place, condition) for place in range(1, SIX + 1) for condition in ("natural/none", "natural/complementary")
    }
    assert not any(row.error for row in rows)
    assert {row.truth for row in rows if row.place == wanted.row} == {wanted.truth_word}
