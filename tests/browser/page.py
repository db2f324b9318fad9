"""What a person does on the page VQA Interventions and sees there, in a real browser."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Locator, Page

from tests.browser.studio import PATIENCE

PATH = "VQA_Interventions"
SETTLED = 700
"""Milliseconds after which a stroke on the canvas has been sent."""

# Streamlit looks for its own server below the page's path before it looks at the root; those 404s are no faults.
_PROBES = "/_stcore/"
_MEDIA = "/media/"


@contextmanager
def visiting(browser: Browser, address: str, width: int = 1400, dark: bool = False) -> Iterator[tuple[Page, list[str]]]:
    """A new visitor of an address; yields the page and the errors that its console shows."""
    context = browser.new_context(
        viewport={"width": width, "height": 1000},
        color_scheme="dark" if dark else "light",
        accept_downloads=True,
    )
    errors: list[str] = []
    try:
        page = context.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.on("pageerror", lambda error: errors.append(str(error)))

        def listen(message: Any) -> None:
            url = message.location.get("url", "")
            # A picture that a rerun took away before it was fetched is no error; see `broken_pictures`.
            if message.type == "error" and _PROBES not in url and _MEDIA not in url:
                errors.append(f"{message.text} ({url})")

        page.on("console", listen)
        page.goto(address)
        yield page, errors
    finally:
        context.close()


def broken_pictures(page: Page) -> list[str]:
    """Addresses of pictures on the page that could not be shown."""
    found: list[str] = page.evaluate(
        "[...document.images].filter(i => i.complete && !i.naturalWidth && i.checkVisibility()).map(i => i.src)"
    )
    return found


def widget(page: Page, key: str, tag: str = "button") -> Locator:
    """The clickable part of the widget with a key."""
    return page.locator(f".st-key-{key} {tag}").first


def preset(page: Page, key: str, name: str) -> Locator:
    """One segment of a row of presets."""
    return page.locator(f".st-key-{key}").get_by_role("radio", name=name, exact=True)


def canvas(page: Page) -> Locator:
    """The canvas, once it can be drawn on."""
    found = page.locator("canvas.upper-canvas")
    found.wait_for()
    # The background picture's arrival costs one more run of the page.
    page.wait_for_timeout(1000)
    found.scroll_into_view_if_needed()
    return found


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Press the mouse on the canvas at `start`, a fraction of its size, and let go at `end`."""
    box = canvas(page).bounding_box()
    assert box is not None
    (x0, y0), (x1, y1) = ((box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end))
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move(x1, y1, steps=6)
    page.mouse.up()
    page.wait_for_timeout(SETTLED)


def toolbar(page: Page, title: str) -> None:
    """Press a button of the canvas's own toolbar, which shows while the mouse is over the picture."""
    canvas(page).hover(position={"x": 5, "y": 5})
    page.locator(f"button[title='{title}']").click()
    page.wait_for_timeout(SETTLED)


def _current_picture(page: Page) -> Locator:
    return page.locator("xpath=//h3[contains(., 'Current input')]/following::img[1]")


def shown_picture(page: Page) -> Image.Image:
    """The picture of *Current input*, as the browser got it."""
    source = _current_picture(page).get_attribute("src")
    assert source is not None
    answer = page.request.get(source)
    assert answer.ok
    return Image.open(io.BytesIO(answer.body())).convert("RGB")


def wait_for_picture_other_than(page: Page, source: str | None) -> str:
    """Wait until *Current input* shows another picture than that of the address `source`; its address."""
    page.wait_for_function(
        """before => {
            const heading = [...document.querySelectorAll('h3')].find(h => h.innerText.includes('Current input'));
            const next = heading && document.evaluate(
                'following::img[1]', heading, null, XPathResult.FIRST_ORDERED_NODE_TYPE).singleNodeValue;
            return next && next.complete && next.src && next.src !== before;
        }""",
        arg=source,
    )
    return picture_address(page)


def picture_address(page: Page) -> str:
    """The address of the picture of *Current input*, which goes by its content."""
    address: str = _current_picture(page).evaluate("image => image.src")
    return address


def download(page: Page, key: str) -> bytes:
    """What a download button gives, once the page's run is over: before, it may still be the last run's."""
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    with page.expect_download() as download:
        widget(page, key).click()
    return download.value.path().read_bytes()


def ask(page: Page) -> str:
    """Press Ask and return the answer's words."""
    widget(page, "vqa_ask").click()
    return answer(page)


def answer(page: Page) -> str:
    """The words of the answer, once it is on the page."""
    return page.locator(".st-key-vqa_answer h4").inner_text().strip()


def measure_uncertainty(page: Page) -> None:
    """Press Measure uncertainty and wait for the figures."""
    widget(page, "vqa_measure_uncertainty").click()
    page.locator(".st-key-vqa_uncertainty [data-testid=stMetricValue]").first.wait_for()


def measure_attention(page: Page) -> None:
    """Press Measure attention and wait for the heat map."""
    widget(page, "vqa_measure_attention").click()
    page.locator(".st-key-vqa_attention img").first.wait_for()


def sideways(page: Page) -> int:
    """How many pixels of the page lie outside of the window, to the side."""
    pixels: int = page.evaluate(
        """() => Math.max(...[document.documentElement, ...document.querySelectorAll('[data-testid=stMain]')].map(
            e => e.scrollWidth - e.clientWidth))"""
    )
    return pixels
