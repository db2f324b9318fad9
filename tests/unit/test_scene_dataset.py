"""Generated datasets: balanced, repeatable, true to their scenes, and never seen in training."""

from collections import Counter
from random import Random

import numpy as np
import pytest

from isi_core.datasets.built_in import BUILT_IN_FOLDER, load_dataset
from isi_core.datasets.isi_folder import load_isi_folder
from isi_core.datasets.pictures import open_picture
from isi_core.datasets.scene_dataset import annotated_picture, draw_scene_observations, write_scene_dataset
from isi_core.domain.errors import InputError
from isi_core.worlds.scenes.drawing import render_scene
from isi_core.worlds.scenes.graph import draw_training_scene
from isi_core.worlds.scenes.language import describe
from isi_core.worlds.scenes.questions import FAMILIES
from tests.unit.test_scenes import _holds

SEED = 0
"""The seed of the built-in dataset, as its README says."""


@pytest.fixture(scope="module")
def observations():
    return draw_scene_observations(100, SEED)


@pytest.mark.parametrize("count", [1, 6, 7, 12, 50, 100, 500])
def test_truths_and_families_are_balanced_as_evenly_as_the_number_allows(count):
    drawn = draw_scene_observations(count, 3)
    assert len(drawn) == count
    cells = Counter((o.question.family, o.question.truth) for o in drawn)
    families = Counter(o.question.family for o in drawn)
    truths = Counter(o.question.truth for o in drawn)
    assert abs(truths[True] - truths[False]) <= count % 2
    assert max(families.values()) - min(families[f] for f in FAMILIES) <= 1
    assert max(cells.values()) - min(cells[f, t] for f in FAMILIES for t in (True, False)) <= 1
    assert sum(len(o.scene.objects) == 6 for o in drawn) == round(count / 10)


def test_the_order_does_not_give_the_truth_away(observations):
    truths = [o.question.truth for o in observations]
    for step in (1, 2, 3, 6):
        same = np.mean([a == b for a, b in zip(truths, truths[step:], strict=False)])
        assert 0.3 < same < 0.7


def test_truth_contexts_and_descriptions_are_right(observations):
    for o in observations:
        assert _holds(o.scene, o.question) is o.question.truth
        assert o.complementary != o.contradictory
    colours = [o for o in observations if o.question.family == "colour"]
    for o in colours:
        (index,) = o.question.objects
        real = o.scene.objects[index].colour
        assert real in o.complementary
        assert real not in o.contradictory


def test_no_scene_was_or_can_be_trained_on(observations):
    digests = {o.scene.digest() for o in observations}
    assert len(digests) == len({o.name for o in observations}) == 100
    assert all(o.scene.held_out for o in observations)
    rng = Random("training")
    assert not digests & {draw_training_scene(rng).digest() for _ in range(2_000)}


def test_the_same_command_writes_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("one", 5), ("same", 5), ("other", 6)):
        write_scene_dataset(3, seed, tmp_path / name)
    files = {
        name: {str(p.relative_to(tmp_path / name)): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
        for name in ("one", "same", "other")
    }
    assert len(files["one"]) == 8
    assert files["one"] == files["same"]
    assert not set(files["one"].values()) & set(files["other"].values())
    dataset = load_isi_folder(tmp_path / "one")
    assert dataset.problems == ()
    for drawn, loaded in zip(draw_scene_observations(3, 5), dataset.observations, strict=True):
        assert open_picture(loaded.image).tobytes() == render_scene(drawn.scene).tobytes()
        assert open_picture(loaded.annotated).tobytes() == annotated_picture(drawn).tobytes()


@pytest.mark.parametrize("count", [0, -1, 10_001])
def test_a_number_that_makes_no_sense_is_refused(tmp_path, count):
    with pytest.raises(InputError, match="between 1 and"):
        write_scene_dataset(count, 0, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_built_in_dataset_is_what_its_command_makes(observations):
    dataset = load_dataset()
    assert dataset == load_dataset("isi_scenes") and dataset.name == "isi_scenes"
    assert dataset.problems == ()
    assert f"scenes --count 100 --seed {SEED}" in (BUILT_IN_FOLDER / "README.md").read_text()
    assert len(dataset) == 100
    for i, (drawn, loaded) in enumerate(zip(observations, dataset.observations, strict=True)):
        assert (loaded.image.name, loaded.question) == (drawn.name, drawn.question.text)
        assert (loaded.truth, loaded.family) == (drawn.question.truth, drawn.question.family)
        assert (loaded.complementary, loaded.contradictory) == (drawn.complementary, drawn.contradictory)
        assert loaded.description == describe(drawn.scene)
        if i % 10 == 0:  # drawing all of them takes ten seconds
            assert open_picture(loaded.image).tobytes() == render_scene(drawn.scene).tobytes()
            assert open_picture(loaded.annotated).tobytes() == annotated_picture(drawn).tobytes()
