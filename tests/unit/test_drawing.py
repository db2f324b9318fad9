"""Drawings between the canvas and the picture: nothing a person drew may change on the way."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isi_core.domain.interventions import Arrow, Blur, Box, Freehand, Occlusion, TextLabel
from isi_core.ui.drawing import (
    TOOLS,
    CanvasSize,
    Pen,
    canvas_from_interventions,
    interventions_from_canvas,
    pen_style,
)

SIZE = CanvasSize(420, 315)
fractions = st.floats(0.02, 0.98)


def there_and_back(*changes):
    drawing = json.loads(json.dumps(canvas_from_interventions(changes, SIZE)))
    return interventions_from_canvas(drawing, SIZE)


@given(fractions, fractions, fractions, fractions, st.sampled_from([0.02, 0.05, 0.11, 0.15]))
def test_an_arrow_keeps_its_ends_and_its_head(x1, y1, x2, y2, head):
    if math.dist((x1 * SIZE.width, y1 * SIZE.height), (x2 * SIZE.width, y2 * SIZE.height)) < 3:
        return
    [arrow] = there_and_back(Arrow(x1, y1, x2, y2, colour="#0072b2", head=head))
    assert (arrow.x1, arrow.y1, arrow.x2, arrow.y2) == pytest.approx((x1, y1, x2, y2))
    assert (arrow.head, arrow.colour) == (head, "#0072b2")


@pytest.mark.parametrize(
    "change",
    [
        Box(0.1, 0.2, 0.4, 0.6, colour="#112233", opacity=0.5),
        Box(0.1, 0.2, 0.4, 0.6, colour="#112233", filled=True, opacity=0.25),
        Blur(0.1, 0.2, 0.4, 0.6, radius=0.045),
        Occlusion(0.1, 0.2, 0.4, 0.6, colour="#445566"),
    ],
    ids=lambda change: f"{change.type}",
)
def test_boxes_come_back_where_they_were(change):
    [back] = there_and_back(change)
    assert type(back) is type(change)
    for name in change.__dataclass_fields__:
        value, found = getattr(change, name), getattr(back, name)
        if name == "width":
            assert found == pytest.approx(value, abs=0.6 / SIZE.shorter)  # whole pixels of the canvas
        elif isinstance(value, float):
            assert found == pytest.approx(value, abs=1e-6), name
        else:
            assert found == value, name


def test_words_and_strokes_come_back():
    label, stroke = TextLabel(0.2, 0.3, "red fish", size=0.1), Freehand(((0.1, 0.1), (0.5, 0.4), (0.2, 0.8)))
    back_label, back_stroke = there_and_back(label, stroke)
    assert (back_label.text, back_label.x, back_label.y) == ("red fish", pytest.approx(0.2), pytest.approx(0.3))
    assert back_stroke.points == tuple(pytest.approx(point) for point in stroke.points)


def test_a_moved_stroke_is_where_it_was_moved_to():
    drawing = canvas_from_interventions([Freehand(((0.1, 0.1), (0.3, 0.2)))], SIZE)
    drawing["objects"][0]["left"] += 0.5 * SIZE.width
    [stroke] = interventions_from_canvas(drawing, SIZE)
    assert stroke.points[0] == pytest.approx((0.6, 0.1))


def test_a_turned_box_becomes_the_upright_box_around_it():
    drawing = canvas_from_interventions([Box(0.4, 0.4, 0.6, 0.5, filled=True)], CanvasSize(400, 400))
    # Fabric turns about the centre and keeps the corner: the centre of this box stays at (0.5, 0.45).
    drawing["objects"][0] |= {"angle": 90, "left": 0.5 * 400 + 20, "top": 0.45 * 400 - 40}
    [box] = interventions_from_canvas(drawing, CanvasSize(400, 400))
    assert (box.left, box.top, box.right, box.bottom) == pytest.approx((0.45, 0.35, 0.55, 0.55))


def test_scaling_on_the_canvas_scales_the_box():
    drawing = canvas_from_interventions([Box(0.1, 0.1, 0.2, 0.2, filled=True)], SIZE)
    drawing["objects"][0] |= {"scaleX": 2, "scaleY": 3}
    [box] = interventions_from_canvas(drawing, SIZE)
    assert (box.right - box.left, box.bottom - box.top) == pytest.approx((0.2, 0.3))


def test_what_is_no_drawing_is_left_out():
    hostile = [
        {"type": "Rect"},
        {"type": "Line", "x1": "a"},
        {"type": "Path", "path": [["M"], ["Q", 1]]},
        {"type": "Image", "src": "x"},
        {"type": "Rect", "left": 1, "top": 1, "width": 0.2, "height": 0.2},
        {"type": "IText", "text": "   ", "left": 0, "top": 0},
        {"type": "Rect", "left": 1e300, "top": 0, "width": 50, "height": 50},
        5,
    ]
    assert interventions_from_canvas({"objects": hostile}, SIZE) == ()
    assert interventions_from_canvas(None, SIZE) == ()


@pytest.mark.parametrize("tool", TOOLS)
def test_what_a_pen_draws_is_read_as_its_tool(tool):
    pen = Pen(tool=tool, colour="#0072b2", head=0.08, radius=0.05)
    style = pen_style(pen, SIZE)
    shape = {"type": "Rect", "left": 50, "top": 50, "width": 80, "height": 60}
    if tool == "Arrow":
        shape = {"type": "Line", "left": 90, "top": 80, "originX": "center", "originY": "center"}
        shape |= {"x1": -40, "y1": -30, "x2": 40, "y2": 30, "width": 80, "height": 60}
    if tool == "Freehand":
        shape = {"type": "Path", "left": 50, "top": 50, "width": 10, "height": 10, "path": [["M", 5, 5], ["L", 15, 15]]}
    if tool == "Text":
        shape = {"type": "IText", "left": 50, "top": 50, "width": 90, "height": 30, "text": "fish"}
        shape["fontSize"] = style["font_size"]
    look = {"stroke": style["stroke_color"], "fill": style["fill_color"], "strokeWidth": style["stroke_width"]}
    [made] = interventions_from_canvas({"objects": [shape | look]}, SIZE)
    kinds = {"Box": Box, "Arrow": Arrow, "Text": TextLabel, "Freehand": Freehand, "Blur": Blur, "Cover": Occlusion}
    assert type(made) is kinds[tool]
    if tool != "Blur":
        assert made.colour == "#0072b2"
    if tool == "Arrow":
        assert made.head == pytest.approx(0.08)
    if tool == "Blur":
        assert made.radius == pytest.approx(0.05)
