"""Interventions change what they name, only there, and always in the same way."""

import json
import unicodedata

import numpy as np
import pytest
from PIL import Image
from reportlab.pdfbase.ttfonts import TTFont

from isi_core.domain.errors import InputError
from isi_core.domain.interventions import (
    Arrow,
    Blur,
    Box,
    Freehand,
    GaussianNoise,
    Occlusion,
    TextLabel,
    from_json,
    to_json,
)
from isi_core.domain.rendering import FONT_FILE, apply, difference_box

CHANGES = [
    (Box(0.25, 0.25, 0.75, 0.5), (50, 25, 150, 50)),
    (Box(0.25, 0.25, 0.75, 0.5, filled=True, opacity=0.5), (50, 25, 150, 50)),
    (Arrow(0.2, 0.2, 0.8, 0.8), (36, 16, 162, 82)),
    (Freehand(((0.1, 0.1), (0.5, 0.9), (0.9, 0.1))), (18, 8, 182, 92)),
    (TextLabel(0.2, 0.2, "fish", size=0.2), (38, 18, 100, 48)),
    (Blur(0.25, 0.25, 0.75, 0.75), (50, 25, 150, 75)),
    (Occlusion(0.25, 0.25, 0.75, 0.75), (50, 25, 150, 75)),
]


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (100, 200, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("change", "area"), CHANGES, ids=[type(c).__name__ + str(i) for i, (c, _) in enumerate(CHANGES)]
)
def test_a_change_stays_where_it_belongs_and_repeats(picture, change, area):
    before = picture.tobytes()
    first = apply(picture, change)
    box = difference_box(picture, first)
    assert box is not None
    assert box[0] >= area[0] and box[1] >= area[1] and box[2] <= area[2] and box[3] <= area[3]
    assert apply(picture, change).tobytes() == first.tobytes()
    assert picture.tobytes() == before
    assert apply(picture, from_json(json.loads(json.dumps(to_json(change))))).tobytes() == first.tobytes()


def test_a_filled_box_is_exactly_its_pixels(picture):
    after = np.asarray(apply(picture, Box(0.25, 0.25, 0.75, 0.5, colour="#ff0000", filled=True)))
    assert (after[25:50, 50:150] == [255, 0, 0]).all()
    assert (np.asarray(picture)[25:50, :50] == after[25:50, :50]).all()


def test_an_arrow_ends_at_its_tip():
    after = np.asarray(apply(Image.new("RGB", (400, 400), "white"), Arrow(0.2, 0.5, 0.8, 0.5, colour="#000000")))
    dark = np.argwhere(after.sum(axis=2) < 600)
    assert abs(dark[:, 1].max() - 320) <= 3
    assert abs(dark[dark[:, 1] == dark[:, 1].max(), 0].mean() - 200) <= 2


def test_noise_has_its_strength_and_its_seed():
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    one, same, other = (apply(grey, GaussianNoise(20, seed)) for seed in (1, 1, 2))
    assert one.tobytes() == same.tobytes() != other.tobytes()
    assert np.asarray(one).std() == pytest.approx(20, rel=0.03)
    assert apply(grey, GaussianNoise(0)).tobytes() == grey.tobytes()


@pytest.mark.parametrize("change", [Box(0.5, 0.5, 0.5, 0.9), Box(1.2, 1.2, 1.5, 1.5), Arrow(0.5, 0.5, 0.5, 0.5)])
def test_nothing_to_draw_changes_nothing(picture, change):
    assert apply(picture, change).tobytes() == picture.tobytes()


def _label(text: str) -> bytes:
    return apply(Image.new("RGB", (400, 100), "white"), TextLabel(0.02, 0.02, text, size=0.3)).tobytes()


def test_a_label_shows_every_character_that_it_takes():
    blank = Image.new("RGB", (400, 100), "white").tobytes()
    drawn = [_label(c) for c in "éñΩЖ→≤ßŁ"]
    assert len({*drawn, blank}) == 9, "some characters look alike, as boxes do"
    assert _label("e\u0301") == _label("é")
    assert _label("a\tb\r\nc") == _label("a    b\nc") != _label("a    bc")
    assert _label(" \t ") == blank


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a 漢 字", "漢 (U+6F22), 字 (U+5B57):"),
        ("שלום", "U+05E9"),
        ("\x07", " U+0007:"),
        ("a\u202eb", " U+202E:"),
        ("漢" * 400, "漢 (U+6F22):"),
        ("一二三四五六七", "五 (U+4E94) and 2 more:"),
        ("\ud800", " U+D800:"),
    ],
)
def test_what_a_label_cannot_show_is_named(text, named):
    with pytest.raises(InputError) as refused:
        _label(text)
    assert named in str(refused.value) and "\n" not in str(refused.value) and len(str(refused.value)) < 200


def test_a_label_refuses_exactly_what_its_font_lacks():
    has = TTFont("label", str(FONT_FILE)).face.charToGlyph
    skipped = {"R", "AL", "AN", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "PDF", "PDI"}
    tried = 0
    for point in range(0x21, 0x20000, 61):
        character = chr(point)
        # A character that composes into another is drawn as that one.
        if unicodedata.bidirectional(character) in skipped or unicodedata.normalize("NFC", character) != character:
            continue
        tried += 1
        try:
            _label(f"a{character}")
        except InputError:
            assert point not in has, hex(point)
        else:
            assert point in has or unicodedata.category(character) == "Cc", hex(point)
    assert tried > 1500


@pytest.mark.parametrize("seed", [-1, True, 1.5, "1", None])
@pytest.mark.parametrize(
    "data",
    [
        {"type": "gaussian_noise", "sigma": 20},
        {"type": "image_preset", "kind": "random"},
        {"type": "context_preset", "kind": "random"},
        {"type": "question_preset", "kind": "random"},
    ],
    ids=lambda data: data["type"],
)
def test_a_seed_is_a_whole_number_from_0_on(data, seed):
    assert from_json({**data, "seed": 7}).seed == 7
    with pytest.raises(InputError, match=f"{data['type']}: the seed must be a whole number of at least 0"):
        from_json({**data, "seed": seed})


@pytest.mark.parametrize(
    "data",
    [
        {"type": "magic"},
        {"type": "box", "left": 0.1},
        {"type": "box", "left": 0, "top": 0, "right": float("nan"), "bottom": 1},
        {"type": "occlusion", "left": 0, "top": 0, "right": 1, "bottom": 1, "colour": "red"},
        {"type": "gaussian_noise", "sigma": 1, "extra": 2},
        "box",
    ],
)
def test_foreign_json_is_refused_with_a_sentence(data):
    with pytest.raises(InputError):
        from_json(data)
