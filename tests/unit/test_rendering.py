"""Interventions change what they name, only there, and always in the same way."""

import json

import numpy as np
import pytest
from PIL import Image

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
from isi_core.domain.rendering import apply, difference_box

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
