"""The main job of the product in a real Chromium, and what only a real browser shows."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

import pypdf
from PIL import Image, ImageChops
from playwright.sync_api import Browser

from isi_core.datasets.built_in import load_dataset
from isi_core.domain import interventions
from isi_core.domain.interventions import Box
from isi_core.reports.run_export import read_run
from isi_core.studies.trials import build_trial
from tests.browser import page as pages
from tests.browser.page import visiting
from tests.browser.studio import serving


def _same(first: Image.Image, second: Image.Image) -> bool:
    return first.size == second.size and ImageChops.difference(first, second).getbbox() is None


def _on_one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_pick_contradict_draw_ask_measure_report(browser: Browser, studio: str) -> None:
    dataset = load_dataset()
    observation = dataset.observations[3]
    with visiting(browser, studio) as (page, errors):
        page.get_by_role("link", name="VQA Interventions").first.click()
        pages.canvas(page)

        search = page.get_by_placeholder("Search pictures")
        search.fill(observation.image.stem)
        search.press("Enter")
        before = pages.picture_address(page)
        pages.widget(page, "vqa_next").click()
        natural = pages.wait_for_picture_other_than(page, before)
        assert _same(pages.shown_picture(page), Image.open(observation.image).convert("RGB"))

        pages.preset(page, "vqa_context_kind", "Contradictory").click()
        page.get_by_text("context · contradictory").wait_for()
        assert page.locator(".st-key-vqa_context textarea").input_value() == observation.contradictory

        pages.drag(page, (0.25, 0.3), (0.6, 0.7))
        drawn = pages.wait_for_picture_other_than(page, natural)
        shown = pages.shown_picture(page)

        words = pages.ask(page)
        pages.measure_uncertainty(page)
        pages.measure_attention(page)
        assert pages.picture_address(page) == drawn

        report = pages.download(page, "vqa_pdf_current")
        data = pages.download(page, "vqa_data_current")
        assert errors == []

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        run = json.loads(archive.read("isi_run/run.json"))
    (evaluation,) = read_run(data)
    assert run["evaluations"][0]["evaluation"]["trial"]["digest"] == evaluation.trial.digest
    trial = evaluation.trial
    assert (trial.observation_id, trial.context, trial.question) == (
        observation.id,
        observation.contradictory,
        observation.question,
    )
    (box,) = (change for change in trial.interventions if isinstance(change, Box))
    for edge, drawn_at in ((box.left, 0.25), (box.top, 0.3), (box.right, 0.6), (box.bottom, 0.7)):
        assert abs(edge - drawn_at) < 0.02
    # The picture on the page, the picture in the data, and what Pillow draws from the data alone are one.
    changes = [interventions.from_json(c) for c in run["evaluations"][0]["evaluation"]["trial"]["interventions"]]
    rendered = build_trial(dataset, observation, changes)
    assert rendered.digest == trial.digest
    assert _same(shown, rendered.image) and _same(shown, trial.image)
    assert not _same(shown, Image.open(observation.image).convert("RGB"))

    assert evaluation.answer is not None and evaluation.answer.text.strip() == words
    assert evaluation.uncertainty is not None and evaluation.attribution is not None
    text = _on_one_line(" ".join(sheet.extract_text() for sheet in pypdf.PdfReader(io.BytesIO(report)).pages))
    for expected in (
        observation.question,
        observation.contradictory,
        words,
        "Semantic entropy",
        evaluation.model.name,
        evaluation.model.revision,
        f"seed {evaluation.decoding.seed}",
        trial.digest,
    ):
        assert _on_one_line(expected) in text, expected


def test_what_is_drawn_can_be_moved_and_taken_back(browser: Browser, studio: str) -> None:
    with visiting(browser, f"{studio}/{pages.PATH}?obs=2") as (page, errors):
        pages.canvas(page)
        bare = pages.picture_address(page)
        pages.drag(page, (0.2, 0.2), (0.4, 0.4))
        first = pages.wait_for_picture_other_than(page, bare)
        before = pages.shown_picture(page)

        pages.toolbar(page, "Edit")
        pages.drag(page, (0.3, 0.3), (0.6, 0.6))
        moved = pages.wait_for_picture_other_than(page, first)
        after = pages.shown_picture(page)
        changed = ImageChops.difference(before, after).getbbox()
        assert changed is not None and changed[2] > 0.65 * after.width and changed[3] > 0.65 * after.height

        pages.toolbar(page, "Undo")
        assert pages.wait_for_picture_other_than(page, moved) == first

        pages.widget(page, "vqa_clear").click()
        assert pages.wait_for_picture_other_than(page, first) == bare
        pages.widget(page, "vqa_undo").click()
        again = pages.wait_for_picture_other_than(page, bare)
        assert again == first
        assert errors == []


def test_drawing_and_results_outlive_a_visit_to_home(browser: Browser, studio: str) -> None:
    with visiting(browser, f"{studio}/{pages.PATH}?obs=5&context=complementary") as (page, errors):
        pages.canvas(page)
        bare = pages.picture_address(page)
        pages.drag(page, (0.3, 0.5), (0.7, 0.9))
        drawn = pages.wait_for_picture_other_than(page, bare)
        words = pages.ask(page)

        page.get_by_role("link", name="Home").first.click()
        page.get_by_text("Last runs").wait_for()
        page.get_by_text(words).first.wait_for()
        page.get_by_role("link", name="VQA Interventions").first.click()

        pages.canvas(page)
        assert pages.answer(page) == words
        assert pages.picture_address(page) == drawn
        assert page.get_by_text("stale").count() == 0
        # The canvas holds the drawing too: it can be moved there.
        pages.toolbar(page, "Edit")
        pages.drag(page, (0.5, 0.7), (0.3, 0.3))
        assert pages.wait_for_picture_other_than(page, drawn) != bare
        page.get_by_text("stale").wait_for()
        assert errors == []


def test_dark_and_narrow(browser: Browser, studio: str) -> None:
    with visiting(browser, f"{studio}/{pages.PATH}?obs=7", width=800, dark=True) as (page, errors):
        pages.canvas(page)
        assert pages.sideways(page) <= 0
        pages.ask(page)
        pages.measure_uncertainty(page)
        pages.measure_attention(page)
        page.wait_for_timeout(1500)
        assert pages.sideways(page) <= 0
        background = page.locator(".stApp").evaluate("app => getComputedStyle(app).backgroundColor")
        assert sum(int(n) for n in re.findall(r"\d+", background)[:3]) < 150
        assert errors == []


def test_a_fresh_servers_first_visitor_may_follow_a_link(browser: Browser, tmp_path: Path) -> None:
    observation = load_dataset().observations[11]
    link = f"?obs={observation.id}&image=annotated&context=contradictory"
    with serving(tmp_path) as url, visiting(browser, f"{url}/{pages.PATH}{link}") as (page, errors):
        pages.canvas(page)
        assert observation.annotated is not None
        assert _same(pages.shown_picture(page), Image.open(observation.annotated).convert("RGB"))
        page.get_by_text("context · contradictory").wait_for()
        # The frame is there: the menu on top, and room for two columns.
        assert page.get_by_role("link", name="Home").first.is_visible()
        left, right = pages.canvas(page).bounding_box(), page.get_by_text("Current input").bounding_box()
        assert left is not None and right is not None
        assert right["x"] > left["x"] + left["width"] and right["x"] > 650
        assert "context=contradictory" in page.evaluate("location.href")
        assert errors == []
