"""A visitor of the pages: opens them, presses, types, draws, waits for the model, and looks at what is shown."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image
from streamlit.testing.v1 import AppTest

from isi_core.domain.evaluation import Evaluation
from isi_core.ui import resources
from isi_core.ui.vqa.desk import Desk

ROOT = Path(__file__).resolve().parents[2]
HOME, PAGE = ROOT / "Home.py", ROOT / "pages" / "1_VQA_Interventions.py"
PATIENCE = 90
"""Seconds that anything may take on a slow, busy machine before it counts as broken."""

sent: Any = None
"""The store of the pictures that the last run sent; the fixture `media` fills it."""


def run(at: AppTest) -> AppTest:
    """Run the page; whatever happens, no traceback may reach it."""
    at.run(timeout=PATIENCE)
    assert not at.exception, at.exception
    assert not any("Traceback" in text or "Something went wrong" in text for text in texts(at))
    return at


def visit_home() -> AppTest:
    """A new visitor of the landing page."""
    return run(AppTest.from_file(str(HOME), default_timeout=PATIENCE))


def visit(**link: str) -> AppTest:
    """A new visitor of VQA Interventions, with a deep link's parameters."""
    at = AppTest.from_file(str(HOME), default_timeout=PATIENCE)
    run(at)
    at.switch_page(str(PAGE.relative_to(ROOT)))
    for name, value in link.items():
        at.query_params[name] = value
    return run(at)


def desk(at: AppTest) -> Desk:
    """What lies on the visitor's desk."""
    found: Desk = at.session_state["vqa_desk"]
    return found


def press(at: AppTest, key: str) -> AppTest:
    """Press a button."""
    button = at.button(key=key)
    assert not button.disabled, f"{key} is off"
    button.click()
    return run(at)


def choose(at: AppTest, key: str, value: str) -> AppTest:
    """Choose a segment of a row of presets."""
    at.button_group(key=key).set_value(value)
    return run(at)


def write(at: AppTest, key: str, text: str) -> AppTest:
    """Type into a field and leave it."""
    field = at.text_area(key=key) if key in ("vqa_context", "vqa_upload_context") else at.text_input(key=key)
    field.set_value(text)
    return run(at)


def settle(at: AppTest) -> AppTest:
    """Wait until the running work has ended, and see what it made."""
    while (job := desk(at).job) is not None:
        assert not resources.jobs().wait(job, PATIENCE).live
        run(at)
    return at


def measure(at: AppTest, key: str = "vqa_ask") -> Evaluation:
    """Press one of the buttons and wait; the evaluation of the input on the desk."""
    settle(press(at, key))
    assert not at.error, [e.value for e in at.error]
    entry = desk(at).entry_for(desk(at).trial())
    assert entry is not None
    return entry.evaluation


def draw(at: AppTest, objects: Sequence[dict[str, Any]]) -> AppTest:
    """Leave a drawing on the canvas, as the browser would send it."""
    lying = desk(at)
    from isi_core.ui.drawing import CanvasSize
    from isi_core.ui.vqa.inputs import CANVAS_SIDE

    size = CanvasSize.fitting(lying.trial().image.size, CANVAS_SIDE)
    key = f"vqa_canvas_{lying.version}_{size.width}x{size.height}_{lying.draft.observation}"
    at.session_state[key] = {"drawing": {"raw": {"version": "7.4.0", "objects": list(objects)}, "data": None}}
    return run(at)


def rectangle(left: float, top: float, right: float, bottom: float, **style: Any) -> dict[str, Any]:
    """A filled rectangle as the canvas has it; corners in fractions of a square picture."""
    # The canvas component can be imported only while a page runs, or after one has.
    from isi_core.ui.vqa.inputs import CANVAS_SIDE as side

    return {
        "type": "Rect",
        "originX": "left",
        "originY": "top",
        "left": left * side,
        "top": top * side,
        "width": (right - left) * side,
        "height": (bottom - top) * side,
        "stroke": "rgba(0, 114, 178, 0)",
        "strokeWidth": 0,
        "fill": "rgba(0, 114, 178, 1)",
        **style,
    }


def upload(at: AppTest, name: str, raw: bytes, question: str = "Is there a red car?", context: str = "") -> AppTest:
    """Upload a picture with a question and take it."""
    at.file_uploader(key="vqa_upload_file").set_value((name, raw, "image/png"))
    at.text_input(key="vqa_upload_question").set_value(question)
    at.text_area(key="vqa_upload_context").set_value(context)
    run(at)
    return press(at, "vqa_upload_use")


def elements(at: AppTest) -> list[Any]:
    """Every element of the page, from top to bottom."""
    found: list[Any] = []

    def walk(node: Any) -> None:
        if hasattr(node, "children"):
            for child in node.children.values():
                walk(child)
        else:
            found.append(node)

    walk(at.main)
    return found


def texts(at: AppTest) -> list[str]:
    """Every text on the page."""
    return [str(e.value) for e in elements(at) if isinstance(getattr(e, "value", None), str)]


def shows(at: AppTest, words: str) -> bool:
    """Some text on the page holds these words; Markdown's escapes are read as what they show."""
    return any(words in re.sub(r"\\(.)", r"\1", text) for text in texts(at))


def answer(at: AppTest) -> str | None:
    """The answer as it stands on the page; None where none does."""
    for text in texts(at):
        if text.startswith("#### "):
            return re.sub(r"\\(.)", r"\1", text[5:])
    return None


def messages(at: AppTest) -> list[str]:
    """Errors and warnings on the page, each of which has to be one line."""
    found = [re.sub(r"\\(.)", r"\1", e.value) for e in (*at.error, *at.warning)]
    assert all("\n" not in text and len(text) < 600 for text in found)
    return found


def current_picture(at: AppTest) -> Image.Image:
    """The picture of *Current input*, as it was sent to the browser."""
    below = False
    for element in elements(at):
        if element.type == "subheader" or getattr(element, "tag", "") == "h3":
            below = element.value == "Current input"
        elif below and element.type in ("imgs", "image"):
            url = element.proto.imgs[0].url
            file = sent.get_file(PurePosixPath(url).name)
            return Image.open(io.BytesIO(file.content)).convert("RGB")
    raise AssertionError("There is no picture below Current input")
