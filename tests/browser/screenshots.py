"""`make screenshots`: pictures of the pages for the README, taken of the running app.

python -m tests.browser.screenshots [--out FOLDER]
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page

from tests.browser import page as pages
from tests.browser.page import visiting
from tests.browser.studio import ROOT, browsing, serving

OBSERVATION = "3"
WIDTH = 1400


def _save(page: Page, path: Path) -> None:
    """The whole page as a PNG, packed as tightly as Pillow can."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1500)
    # Streamlit scrolls inside the window, so the window has to be as tall as the page is long.
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.mouse.move(2, height - 2)
    page.wait_for_timeout(1500)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.save(path, optimize=True)
    print(f"{path.name}: {picture.width} x {picture.height}, {path.stat().st_size // 1024} kB")


def _example(page: Page) -> None:
    """A contradictory context, a box on the picture, and everything measured."""
    pages.canvas(page)
    bare = pages.picture_address(page)
    pages.drag(page, (0.3, 0.3), (0.7, 0.7))
    pages.wait_for_picture_other_than(page, bare)
    pages.ask(page)
    pages.widget(page, "vqa_measure_all").click()
    page.locator(".st-key-vqa_attention img").first.wait_for()
    page.locator(".st-key-vqa_uncertainty [data-testid=stMetricValue]").first.wait_for()


def take(browser: Browser, studio: str, folder: Path) -> None:
    """Every picture that the README shows."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, dark in (("light", False), ("dark", True)):
        link = f"{studio}/{pages.PATH}?obs={OBSERVATION}&context=contradictory"
        with visiting(browser, link, WIDTH, dark) as (page, _):
            _example(page)
            _save(page, folder / f"vqa_{name}.png")
    with visiting(browser, studio, WIDTH) as (page, _):
        page.get_by_text("Last runs").wait_for()
        _save(page, folder / "home.png")
    with visiting(browser, f"{studio}/Dataset_Browser", WIDTH) as (page, _):
        pages.preset(page, "browser_section", "Sweeps").click()
        page.locator(".st-key-chart_sweeps_conditions").first.wait_for()
        _save(page, folder / "sweep.png")


def sweep(home: Path) -> None:
    """The built-in dataset under nine conditions, every measure, with the embedded model; some minutes."""
    conditions = ["--images", "natural,annotated,random", "--contexts", "none,complementary,contradictory"]
    measures = ["--measure", "answer,uncertainty,attention"]
    command = [sys.executable, "-m", "isi_core", "sweep", "run", "--dataset", "isi_scenes", "--model", "tiny-llava"]
    began = time.monotonic()
    subprocess.run([*command, *conditions, *measures, "--store", str(home)], check=True, cwd=ROOT)
    print(f"nine conditions, all measures: {(time.monotonic() - began) / 60:.1f} minutes")


def main() -> None:
    """Take the pictures with a store of their own."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screenshots", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "screenshots", metavar="FOLDER")
    folder = parser.parse_args().out
    with tempfile.TemporaryDirectory() as home:
        sweep(Path(home))
        with serving(Path(home)) as studio, browsing() as browser:
            take(browser, studio, folder)


if __name__ == "__main__":
    main()
