"""The face world: every attribute can be switched by itself, and only its own place changes."""

import json
from random import Random

import numpy as np
import pytest

from isi_core.domain.errors import InputError
from isi_core.worlds.attributed import Subject, world

FACES = world("faces")
PLAIN = Subject("faces", 3)


def _pixels(subject, side=128):
    return np.asarray(FACES.render(subject, side), dtype=int)


def test_the_tree_has_three_levels_and_at_least_forty_leaves():
    assert len(FACES.leaves()) >= 40
    assert {len(path) for path in FACES.paths()} == {1, 2, 3}
    assert len(set(FACES.paths())) == len(FACES.paths())
    for table in (FACES.phrases, FACES.regions):
        assert set(table) <= set(FACES.paths())


def test_phrases_of_leaves_differ_from_each_other_where_their_groups_are_one():
    for group in {leaf[:2] for leaf in FACES.leaves()}:
        phrases = [FACES.phrase(leaf) for leaf in FACES.leaves(group)]
        assert len(set(phrases)) == len(phrases)
    assert FACES.phrase(("facial hair", "beard", "goatee")) == "goatee beard"
    assert FACES.phrase(("hair", "colour", "blond")) == "blond hair"


@pytest.mark.parametrize("leaf", FACES.leaves(), ids="/".join)
def test_a_leaf_changes_pixels_and_only_inside_its_region(leaf):
    for seed in (3, 11):
        bare = Subject("faces", seed)
        changed = np.abs(_pixels(FACES.with_attribute(bare, leaf)) - _pixels(bare)).max(-1) > 2
        assert changed.sum() >= 12, "nobody would see it"
        left, top, right, bottom = (round(128 * edge) for edge in FACES.regions[leaf[:2]])
        changed[top:bottom, left:right] = False
        assert not changed.any(), np.argwhere(changed)[:5]


def test_on_any_portrait_turning_a_leaf_on_and_off_again_gives_the_same_picture():
    rng = Random(5)
    for _ in range(20):
        subject = FACES.draw_subject(rng)
        leaf = rng.choice([leaf for leaf in FACES.leaves() if not FACES.has(subject, leaf[:2])])
        on = FACES.with_attribute(subject, leaf)
        assert FACES.has(on, leaf)
        assert set(on.leaves) - set(subject.leaves) == {leaf}
        assert FACES.with_attribute(on, leaf, present=False) == subject


def test_no_two_leaves_of_a_group_look_the_same():
    for group in {leaf[:2] for leaf in FACES.leaves()}:
        drawn = [FACES.render(FACES.with_attribute(PLAIN, leaf)).tobytes() for leaf in FACES.leaves(group)]
        assert len(set(drawn)) == len(drawn), group


def test_a_leaf_takes_the_place_of_another_of_its_group():
    goatee, full = ("facial hair", "beard", "goatee"), ("facial hair", "beard", "full")
    subject = FACES.with_attribute(FACES.with_attribute(PLAIN, goatee), full)
    assert subject.leaves == (full,)


@pytest.mark.parametrize("group", [("facial hair",), ("facial hair", "beard")])
def test_a_group_turns_on_exactly_one_leaf_which_the_seed_decides(group):
    drawn = {seed: FACES.with_attribute(PLAIN, group, seed=seed) for seed in range(20)}
    assert all(len(subject.leaves) == 1 and subject.leaves[0][: len(group)] == group for subject in drawn.values())
    assert len(set(drawn.values())) > 1
    assert drawn[7] == FACES.with_attribute(PLAIN, group, seed=7)
    hat = FACES.with_attribute(PLAIN, ("headwear", "hat", "cap"))
    assert set(drawn[7].leaves) < set(FACES.with_attribute(hat, group, seed=7).leaves), "not of what else is on"
    assert FACES.with_attribute(drawn[7], group, seed=8) == drawn[7]


def test_turning_a_group_off_turns_off_all_that_is_on_in_it():
    subject = PLAIN
    for leaf in (("facial hair", "beard", "full"), ("facial hair", "mustache", "walrus"), ("headwear", "hat", "cap")):
        subject = FACES.with_attribute(subject, leaf)
    assert FACES.with_attribute(subject, ("facial hair",), present=False).leaves == (("headwear", "hat", "cap"),)


def test_the_same_state_of_chance_draws_the_same_subject_and_the_same_picture():
    first, second = FACES.draw_subject(Random(9)), FACES.draw_subject(Random(9))
    assert first == second
    assert FACES.render(first).tobytes() == FACES.render(second).tobytes()
    assert FACES.draw_subject(Random(10)) != first


def test_every_leaf_occurs_and_drawn_subjects_have_one_leaf_a_group():
    rng = Random(0)
    subjects = [FACES.draw_subject(rng) for _ in range(1500)]
    assert {leaf for subject in subjects for leaf in subject.leaves} == set(FACES.leaves())
    for subject in subjects:
        groups = [leaf[:2] for leaf in subject.leaves]
        assert len(set(groups)) == len(groups)


@pytest.mark.parametrize("side", [64, 100, 128, 256])
def test_a_portrait_of_any_size_is_the_same_portrait(side):
    subject = FACES.draw_subject(Random(2))
    picture = FACES.render(subject, side)
    assert picture.size == (side, side) and picture.mode == "RGB"
    small = np.asarray(picture.resize((32, 32)), dtype=float)
    usual = np.asarray(FACES.render(subject).resize((32, 32)), dtype=float)
    assert np.abs(small - usual).mean() < 6


def test_captions_name_only_what_is_on_in_changing_order_with_omissions():
    subject = FACES.draw_subject(Random(4))
    phrases = {FACES.phrase(leaf) for leaf in subject.leaves}
    rng = Random(0)
    captions = [FACES.caption(rng, subject) for _ in range(60)]
    named = [caption.split(", ") for caption in captions if caption]
    assert all(set(part) <= phrases and len(set(part)) == len(part) for part in named)
    assert len(set(captions)) > 30
    assert {phrase for part in named for phrase in part} == phrases


def test_a_subject_goes_through_json():
    rng = Random(1)
    for _ in range(20):
        subject = FACES.draw_subject(rng)
        again = Subject.from_json(json.loads(json.dumps(subject.to_json())))
        assert again == subject
        assert again.digest() == subject.digest()
    assert PLAIN.digest() != Subject("faces", 4).digest()


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"world": "faces", "seed": 1},
        {"world": "dragons", "seed": 1, "leaves": []},
        {"world": "faces", "seed": -1, "leaves": []},
        {"world": "faces", "seed": True, "leaves": []},
        {"world": "faces", "seed": 10**40, "leaves": []},
        {"world": "faces", "seed": 1, "leaves": [["hair", "colour", "tartan"]]},
        {"world": "faces", "seed": 1, "leaves": [["hair", "colour"]]},
        {"world": "faces", "seed": 1, "leaves": [["hair", "colour", "red"], ["hair", "colour", "grey"]]},
        {"world": "faces", "seed": 1, "leaves": [["hair", "colour", {}]]},
        {"world": ["faces"], "seed": 1, "leaves": []},
    ],
)
def test_a_subject_that_is_none_is_refused(value):
    with pytest.raises(InputError):
        Subject.from_json(value)


def test_an_unknown_attribute_or_size_is_refused():
    with pytest.raises(InputError, match="no attribute"):
        FACES.with_attribute(PLAIN, ("hair", "colour", "tartan"))
    with pytest.raises(InputError, match="no attribute"):
        FACES.with_attribute(PLAIN, ())
    with pytest.raises(InputError, match="side"):
        FACES.render(PLAIN, 5000)


def test_edits_of_a_held_out_subject_stay_held_out():
    rng = Random(3)
    held = [subject for subject in (FACES.draw_subject(rng) for _ in range(800)) if subject.held_out]
    assert 20 < len(held) < 100
    assert all(FACES.with_attribute(subject, ("headwear",)).held_out for subject in held)
