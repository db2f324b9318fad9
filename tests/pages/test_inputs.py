"""VQA Interventions, what goes in: picking, presets, words, drawings, links."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from isi_core.datasets.built_in import load_dataset
from isi_core.datasets.pictures import open_picture
from isi_core.domain.interventions import (
    Arrow,
    Blur,
    Box,
    ContextPreset,
    EditText,
    Freehand,
    GaussianNoise,
    Occlusion,
    TextLabel,
)
from isi_core.studies.trials import build_trial
from tests.pages import visitor
from tests.pages.visitor import rectangle

DATASET = load_dataset()
FIRST = DATASET.observations[0]
STRANGE = (
    "Is it 🦜 or 🐟?",
    "هل توجد سيارة حمراء في الصورة؟",
    "Is there a <image> here? USER: <s> ASSISTANT: </s> [INST]",
    "<b>Is</b> it & <script>alert(1)</script> **red** $x^2$ :red[red]?",
    "nul \x00 and \x1b[31mescape",
)


def _equal(first: Image.Image, second: Image.Image) -> bool:
    return np.array_equal(np.asarray(first), np.asarray(second))


def _shows_what_would_be_asked(at: AppTest) -> None:
    """The picture on the page has the pixels that `build_trial` renders from the draft alone."""
    draft = visitor.desk(at).draft
    rendered = build_trial(DATASET, DATASET.find(draft.observation), draft.interventions)
    assert _equal(visitor.current_picture(at), rendered.image)
    assert visitor.shows(at, rendered.digest[:8])


def test_the_page_alone_and_empty() -> None:
    at = visitor.run(AppTest.from_file(str(visitor.PAGE), default_timeout=visitor.PATIENCE))
    assert [title.value for title in at.title] == ["VQA Interventions"]
    assert visitor.shows(at, "No answer yet") and visitor.answer(at) is None
    assert visitor.shows(at, "Every answer becomes a card")
    assert visitor.desk(at).draft.observation == FIRST.id
    assert not at.button(key="vqa_ask").disabled
    assert visitor.messages(at) == []
    _shows_what_would_be_asked(at)


def test_search_next_and_previous() -> None:
    at = visitor.visit()
    visitor.press(at, "vqa_next")
    assert visitor.desk(at).draft.observation == DATASET.observations[1].id
    visitor.press(visitor.press(at, "vqa_previous"), "vqa_previous")
    assert visitor.desk(at).draft.observation == DATASET.observations[-1].id
    _shows_what_would_be_asked(at)

    wanted = DATASET.observations[41]
    visitor.write(at, "vqa_search", wanted.image.stem.upper())
    visitor.press(at, "vqa_next")
    assert visitor.desk(at).draft.observation == wanted.id
    visitor.write(at, "vqa_search", "nothing fits such words")
    assert visitor.shows(at, "try fewer") and at.button(key="vqa_next").disabled
    assert visitor.desk(at).draft.observation == wanted.id

    visitor.write(at, "vqa_search", "")
    at.selectbox(key="vqa_observation").set_value(FIRST.id)
    visitor.run(at)
    assert visitor.desk(at).draft.observation == FIRST.id and visitor.shows(at, FIRST.question)


def test_presets_choose_picture_and_context() -> None:
    at = visitor.visit()
    for kind in ("annotated", "random", "natural"):
        visitor.choose(at, "vqa_image_kind", kind)
        assert visitor.desk(at).trial().image_kind == kind
        _shows_what_would_be_asked(at)
    expected = {"complementary": FIRST.complementary, "contradictory": FIRST.contradictory, "none": ""}
    for kind, words in expected.items():
        visitor.choose(at, "vqa_context_kind", kind)
        assert at.text_area(key="vqa_context").value == words == visitor.desk(at).trial().context
        assert visitor.shows(at, f"context · {kind}") and visitor.shows(at, words)
    visitor.choose(at, "vqa_context_kind", "random")
    first = visitor.desk(at).trial().context
    assert first in {o.complementary for o in DATASET.observations} - {FIRST.complementary}
    visitor.press(at, "vqa_context_another")
    assert visitor.desk(at).draft.context == ContextPreset("random", 1)
    # Another observation under the same presets.
    visitor.choose(at, "vqa_context_kind", "contradictory")
    visitor.press(at, "vqa_next")
    assert visitor.desk(at).trial().context == DATASET.observations[1].contradictory


def test_own_words_and_reset() -> None:
    at = visitor.visit()
    assert visitor.shows(at, f"truth: {FIRST.truth_word}")
    visitor.write(at, "vqa_context", "Trees are what they are.")
    visitor.write(at, "vqa_question", "Is there a boat?")
    trial = visitor.desk(at).trial()
    assert (trial.context, trial.context_kind) == ("Trees are what they are.", "edited")
    assert (trial.question, trial.question_kind, trial.truth) == ("Is there a boat?", "edited", None)
    assert visitor.shows(at, "truth: unknown")

    visitor.press(at, "vqa_reset")
    trial = visitor.desk(at).trial()
    assert (trial.context, trial.question, trial.truth) == ("", FIRST.question, FIRST.truth)
    assert at.text_input(key="vqa_question").value == FIRST.question and at.text_area(key="vqa_context").value == ""
    assert at.button(key="vqa_reset").disabled

    visitor.press(at, "vqa_question_random")
    assert visitor.desk(at).trial().question_kind == "random" and visitor.shows(at, "truth: unknown")
    visitor.write(at, "vqa_question", FIRST.question)
    assert visitor.desk(at).trial().truth == FIRST.truth


def test_an_empty_question_loses_nothing_else() -> None:
    at = visitor.visit()
    visitor.choose(at, "vqa_context_kind", "contradictory")
    visitor.draw(at, [rectangle(0.2, 0.2, 0.5, 0.5)])
    visitor.write(at, "vqa_question", "   ")
    (message,) = visitor.messages(at)
    assert "question is empty" in message
    assert at.button(key="vqa_ask").disabled and at.button(key="vqa_measure_all").disabled
    visitor.write(at, "vqa_question", "Is there a boat?")
    assert visitor.messages(at) == []
    trial = visitor.desk(at).trial()
    assert trial.context == FIRST.contradictory and len(visitor.desk(at).draft.drawings) == 1
    _shows_what_would_be_asked(at)


def test_a_drawing_becomes_interventions_and_exactly_the_pixels_shown() -> None:
    from isi_core.ui.vqa.inputs import CANVAS_SIDE as side

    at = visitor.visit()
    filled = rectangle(0.25, 0.3, 0.6, 0.7)
    visitor.draw(at, [filled])
    expected = Box(0.25, 0.3, 0.6, 0.7, colour="#0072b2", filled=True)
    (box,) = visitor.desk(at).draft.drawings
    assert isinstance(box, Box) and (box.colour, box.filled, box.opacity) == ("#0072b2", True, 1.0)
    assert np.allclose((box.left, box.top, box.right, box.bottom), (0.25, 0.3, 0.6, 0.7))
    assert _equal(visitor.current_picture(at), build_trial(DATASET, FIRST, (expected,)).image)
    assert not _equal(visitor.current_picture(at), open_picture(FIRST.image))

    line = {
        **{"type": "Line", "originX": "center", "originY": "center", "left": 0.5 * side, "top": 0.5 * side},
        **{"x1": -0.2 * side, "y1": 0.1 * side, "x2": 0.2 * side, "y2": -0.1 * side},
        **{"width": 0.4 * side, "height": 0.2 * side, "stroke": "#d55e00", "strokeWidth": 4},
    }
    words = {
        **{"type": "IText", "originX": "left", "originY": "top", "left": 0.1 * side, "top": 0.1 * side},
        **{"text": "a <b>boat</b> é ☀", "fontSize": 30, "fill": "#d55e00", "width": 100, "height": 34},
    }
    path = {
        **{"type": "Path", "originX": "center", "originY": "center", "left": 0.7 * side, "top": 0.8 * side},
        **{"path": [["M", 100, 100], ["Q", 120, 110, 140, 140], ["L", 160, 100]], "width": 60, "height": 40},
        **{"stroke": "#009e73", "strokeWidth": 5},
    }
    blur = rectangle(0.0, 0.5, 0.4, 0.9, stroke="rgba(2, 30, 1, 0.6)", strokeWidth=1)
    cover = rectangle(0.6, 0.0, 0.9, 0.2, stroke="rgba(3, 0, 1, 0.6)", strokeWidth=1, fill="rgba(128, 128, 128, 1)")
    visitor.draw(at, [filled, line, words, path, blur, cover])
    drawn = visitor.desk(at).draft.drawings
    assert [type(change) for change in drawn] == [Box, Arrow, TextLabel, Freehand, Blur, Occlusion]
    _shows_what_would_be_asked(at)
    visitor.draw(at, [filled, {"type": "Image"}, {"type": "Rect", "left": "nonsense"}, {}])
    assert visitor.desk(at).draft.drawings == (box,)


def test_a_label_that_cannot_be_drawn_is_one_sentence_and_nothing_is_lost() -> None:
    at = visitor.visit()
    visitor.draw(at, [rectangle(0.2, 0.2, 0.5, 0.5)])
    before = visitor.current_picture(at)
    label = {"type": "IText", "left": 50, "top": 50, "fontSize": 30, "fill": "#d55e00", "width": 100, "height": 34}
    visitor.draw(at, [rectangle(0.2, 0.2, 0.5, 0.5), {**label, "text": "boat 🚤"}])
    assert visitor.messages(at) == ["A text label cannot show 🚤 (U+1F6A4): write it in other characters."]
    assert at.button(key="vqa_ask").disabled and len(visitor.desk(at).draft.drawings) == 2
    visitor.press(at, "vqa_undo")
    assert visitor.messages(at) == [] and _equal(visitor.current_picture(at), before)


def test_undo_redo_clear_and_noise() -> None:
    at = visitor.visit()
    assert at.button(key="vqa_undo").disabled and at.button(key="vqa_clear").disabled
    visitor.draw(at, [rectangle(0.2, 0.2, 0.5, 0.5)])
    drawings = visitor.desk(at).draft.drawings
    at.slider(key="vqa_noise").set_value(30.0)
    visitor.run(at)
    assert visitor.desk(at).draft.noise == GaussianNoise(30.0) and visitor.desk(at).draft.drawings == drawings
    _shows_what_would_be_asked(at)
    noisy = visitor.current_picture(at)

    visitor.press(at, "vqa_clear")
    assert visitor.desk(at).draft.picture_changes == 0
    assert _equal(visitor.current_picture(at), open_picture(FIRST.image))
    visitor.press(at, "vqa_undo")
    assert _equal(visitor.current_picture(at), noisy) and at.slider(key="vqa_noise").value == 30.0
    visitor.press(at, "vqa_undo")
    assert visitor.desk(at).draft.noise is None and visitor.desk(at).draft.drawings == drawings
    visitor.press(at, "vqa_undo")
    assert visitor.desk(at).draft.picture_changes == 0
    visitor.press(visitor.press(at, "vqa_redo"), "vqa_redo")
    assert _equal(visitor.current_picture(at), noisy) and at.button(key="vqa_undo").disabled is False


@pytest.mark.parametrize("text", STRANGE)
def test_strange_words_are_shown_as_they_are_and_asked(text: str) -> None:
    at = visitor.visit()
    visitor.write(at, "vqa_context", text)
    visitor.write(at, "vqa_question", text)
    made = visitor.measure(at, "vqa_measure_all")
    assert made.trial.context == made.trial.question == text
    assert made.answer is not None and visitor.answer(at) in (made.answer.text, "*(an empty answer)*")
    assert visitor.messages(at) == []
    # Foreign words reach the page escaped in Markdown only.
    assert not any(text in element.value for element in at.get("html") if isinstance(element.value, str))


def test_twenty_thousand_characters_of_context() -> None:
    at = visitor.visit()
    text = ("The tree stands by the sea. " * 800)[:20_000]
    visitor.write(at, "vqa_context", text)
    assert visitor.desk(at).trial().context == text
    settled = visitor.settle(visitor.press(at, "vqa_measure_all"))
    entry = visitor.desk(at).entry_for(visitor.desk(at).trial())
    # Answered, or one sentence on why this model cannot read so much; the words stay either way.
    assert (entry is not None) != bool(visitor.messages(settled))
    assert at.text_area(key="vqa_context").value == text


def test_a_deep_link_lays_out_the_desk() -> None:
    observation = DATASET.observations[16]
    at = visitor.visit(obs=observation.id, image="annotated", context="contradictory", model="tiny-llava")
    trial = visitor.desk(at).trial()
    assert (trial.observation_id, trial.image_kind, trial.context) == (
        observation.id,
        "annotated",
        observation.contradictory,
    )
    _shows_what_would_be_asked(at)
    assert visitor.messages(at) == []
    by_row = visitor.visit(obs="17", context="Only words of my own.")
    assert visitor.desk(by_row).draft.observation == observation.id
    assert visitor.desk(by_row).draft.context == EditText("context", "Only words of my own.")


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ({"obs": "no such thing"}, "no such thing"),
        ({"obs": "-1"}, "-1"),
        ({"obs": "../../etc/passwd\x00"}, "etc"),
        ({"image": "<b>purple</b>"}, "purple"),
        ({"model": "no such model"}, "no such model"),
        ({"model": "../.."}, ""),
        ({"obs": "9" * 5000, "image": "é" * 500}, "999"),
    ],
)
def test_a_nonsense_link_is_one_line_and_a_working_page(link: dict[str, str], words: str) -> None:
    at = visitor.visit(**link)
    if words:
        assert any(words in message for message in visitor.messages(at))
    _shows_what_would_be_asked(at)
    visitor.press(at, "vqa_next")
