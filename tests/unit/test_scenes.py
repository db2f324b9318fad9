"""The scene world: deterministic drawing, and questions whose stated truth is the graph's truth."""

from random import Random

import numpy as np
import pytest

from isi_core.worlds.scenes.drawing import render_annotated, render_scene
from isi_core.worlds.scenes.graph import (
    COLOURS,
    COLUMNS,
    KINDS,
    ROWS,
    Scene,
    draw_held_out_scene,
    draw_scene,
    draw_training_scene,
)
from isi_core.worlds.scenes.language import answers, describe, nudge
from isi_core.worlds.scenes.pictograms import COLOUR_VALUES, sprite
from isi_core.worlds.scenes.questions import FAMILIES, Question, draw_question


def test_the_same_seed_draws_the_same_picture_and_another_seed_another():
    first, again, other = (render_scene(draw_scene(Random(s)), 128) for s in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
    assert first.size == (128, 128)
    assert first.mode == "RGB"


@pytest.mark.parametrize("seed", range(20))
def test_objects_stand_inside_the_picture_in_cells_of_their_own(seed):
    scene = draw_scene(Random(seed))
    assert all(0 < edge < 1 for item in scene.objects for edge in item.box)
    assert len({(o.column, o.row) for o in scene.objects}) == len(scene.objects)


def test_every_pictogram_is_its_own_and_bears_its_colour():
    seen = set()
    for kind in KINDS:
        for colour in COLOURS:
            figure = sprite(kind, colour, 64)
            seen.add(figure.tobytes())
            pixels = np.asarray(figure).reshape(-1, 4)
            solid = pixels[pixels[:, 3] > 250, :3].astype(float)
            distance = np.abs(solid - np.array(COLOUR_VALUES[colour])).sum(axis=1)
            assert (distance < 60).mean() > 0.2, (kind, colour)
    assert len(seen) == len(KINDS) * len(COLOURS)


def test_annotation_changes_the_picture_only_near_what_it_marks():
    scene = draw_scene(Random(5), count=2, repeated=False)
    natural, annotated = (np.asarray(f(scene, 256)).astype(int) for f in (render_scene, render_annotated))
    changed = np.abs(natural - annotated).sum(axis=2) > 0
    assert changed.any()
    near = np.zeros_like(changed)
    for item in scene.objects:
        left, top, right, bottom = (round(v * 256) for v in item.box)
        near[max(0, top - 26) : bottom + 26, max(0, left - 60) : right + 60] = True
    assert not (changed & ~near).any()


def _holds(scene: Scene, question: Question) -> bool:
    """The truth of a claim, worked out again from the graph alone."""
    claim = question.claim
    kind = claim.subject.split()[-1]
    found = scene.of_kind(kind)
    if claim.family == "existence":
        words = claim.subject.split()
        return any(len(words) == 1 or o.colour == words[0] for o in found)
    if claim.family == "count":
        return len(found) == {"one": 1, "two": 2, "three": 3}[claim.value]
    (item,) = found
    if claim.family == "colour":
        return item.colour == claim.value
    if claim.family == "position":
        return claim.value in (COLUMNS[item.column], ROWS[item.row])
    (other,) = scene.of_kind(claim.reference)
    if claim.family == "comparison":
        return (item.extent > other.extent) == (claim.value == "larger")
    return {
        "left": item.x < other.x,
        "right": item.x > other.x,
        "above": item.y < other.y,
        "below": item.y > other.y,
    }[claim.value]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_stated_truth_is_the_truth_of_the_graph(family):
    rng = Random(family)
    made = 0
    for _ in range(400):
        scene = draw_scene(rng)
        truth = rng.random() < 0.5
        question = draw_question(rng, scene, family, truth)
        if question is None:
            continue
        made += 1
        assert question.truth is truth
        assert _holds(scene, question) is truth, (scene, question)
        for text in answers(question):
            assert text.startswith("Yes" if truth else "No")
        for towards in (True, False):
            sentence = nudge(rng, question.claim, towards)
            assert sentence.endswith(".")
            assert "{" not in sentence
            assert "Yes" not in sentence
    assert made > 100


def test_a_description_names_every_object():
    scene = draw_scene(Random(9), count=4, repeated=False)
    text = describe(scene)
    assert all(f"{o.size} {o.colour} {o.kind}" in text for o in scene.objects)


def test_no_scene_is_both_trained_on_and_held_out():
    trained = {draw_training_scene(Random(seed)).digest() for seed in range(300)}
    held_out = {draw_held_out_scene(Random(seed)).digest() for seed in range(300)}
    assert len(held_out) > 250
    assert not trained & held_out
    assert not any(digest.startswith("0") for digest in trained)
