"""Heat maps and thumbnails: exact cells, uniform colours, safe sizes."""

import numpy as np
import pytest
from PIL import Image

from isi_core.domain.errors import InputError
from isi_core.reports.figures import (
    colour_table,
    heat_map_legend,
    heat_map_overlay,
    heat_map_picture,
    heat_map_reading,
    is_grid,
    thumbnail,
)
from tests.evaluations import scene


def _lightness(colours: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB colours."""
    c = colours / 255.0
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    y = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(y > 0.008856, 116 * np.cbrt(y) - 16, 903.3 * y)


def test_colours_grow_lighter_in_even_steps():
    steps = np.diff(_lightness(colour_table()[::15].astype(float)))
    assert (steps > 0).all()
    assert steps.max() < 2 * steps.min()


def test_each_cell_is_one_flat_colour_in_its_own_place():
    heat = np.array([[0.0, 0.1, 0.2], [0.3, 0.0, 0.6]])
    pixels = np.asarray(heat_map_picture(heat, (90, 40)))
    assert pixels.shape == (40, 90, 3)
    table = colour_table()
    for row in range(2):
        for column in range(3):
            cell = pixels[row * 20 : (row + 1) * 20, column * 30 : (column + 1) * 30].reshape(-1, 3)
            assert (cell == table[round(heat[row, column] / 0.6 * 255)]).all()


def test_an_overlay_blends_the_map_over_the_grey_picture():
    picture = scene(2, 96)
    heat = np.eye(4)
    assert heat_map_overlay(picture, heat, 0.0).tobytes() == picture.convert("L").convert("RGB").tobytes()
    assert heat_map_overlay(picture, heat, 1.0).tobytes() == heat_map_picture(heat, picture.size).tobytes()
    half = np.asarray(heat_map_overlay(picture, heat, 0.5), dtype=float)
    expected = (np.asarray(picture.convert("L"), dtype=float)[..., None] + colour_table()[255]) / 2
    assert np.abs(half[:24, :24] - expected[:24, :24]).max() <= 1
    smooth = np.asarray(heat_map_overlay(picture, heat, 1.0, smooth=True))
    assert len(np.unique(smooth.reshape(-1, 3), axis=0)) > 10


def test_a_map_without_attention_is_all_low_and_a_broken_one_is_refused():
    flat = np.asarray(heat_map_picture(np.zeros((2, 2)), (4, 4)))
    assert (flat == colour_table()[0]).all()
    for broken in (np.array([[np.nan]]), np.array([[-0.1]]), np.zeros(3), np.zeros((0, 4))):
        with pytest.raises(InputError, match="heat map"):
            heat_map_picture(broken, (4, 4))
    with pytest.raises(InputError, match="opacity"):
        heat_map_overlay(scene(), np.ones((2, 2)), 1.5)


def test_the_legend_runs_from_low_to_high_and_names_its_end():
    one, other = (heat_map_legend(np.array([[peak]]), 300) for peak in (0.0231, 0.9))
    first, last = np.asarray(one)[0, 0, :3], np.asarray(one)[0, -1, :3]
    assert (first == colour_table()[0]).all() and (last == colour_table()[255]).all()
    assert one.mode == "RGBA" and np.asarray(one)[-1, 0, 3] == 0
    assert one.tobytes() != other.tobytes()
    assert "0.0231" in heat_map_reading(np.array([[0.0231, 0], [0, 0]]))
    assert "2 × 2" in heat_map_reading(np.array([[0.0231, 0], [0, 0]]))
    assert "crops" not in heat_map_reading(np.ones((2, 2)), (30, 30))
    assert "crops its input saw less than the whole picture." in heat_map_reading(np.ones((2, 2)), (30, 20))


def test_tokens_of_several_tiles_are_no_picture_grid():
    assert is_grid(np.ones((4, 4))) and is_grid(np.ones((1, 1)))
    assert not is_grid(np.ones((1, 128)))


def test_thumbnails_fit_keep_proportions_and_never_grow():
    assert thumbnail(Image.new("RGB", (1000, 500)), 100).size == (100, 50)
    assert thumbnail(Image.new("RGB", (2, 9000)), 100).size == (1, 100)
    small = scene(1, 64)
    same = thumbnail(small, 100)
    assert same.size == (64, 64) and same.tobytes() == small.tobytes() and same is not small
