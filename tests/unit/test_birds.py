"""The bird world: attributes that can be switched by themselves, and species that have characteristic sets of them."""

from random import Random

import numpy as np
import pytest

from isi_core.worlds.attributed import Subject, world
from isi_core.worlds.birds import SPECIES
from isi_core.worlds.rules import shipped_rule

BIRDS = world("birds")


@pytest.mark.parametrize("leaf", BIRDS.leaves(), ids="/".join)
def test_a_leaf_changes_pixels_and_only_inside_its_region(leaf):
    for seed in (3, 11):
        bare = Subject("birds", seed)
        before = np.asarray(BIRDS.render(bare), dtype=int)
        changed = np.abs(np.asarray(BIRDS.render(BIRDS.with_attribute(bare, leaf)), dtype=int) - before).max(-1) > 2
        assert changed.sum() >= 12, "nobody would see it"
        left, top, right, bottom = (round(128 * edge) for edge in BIRDS.regions[leaf[:2]])
        changed[top:bottom, left:right] = False
        assert not changed.any(), np.argwhere(changed)[:5]


def test_no_two_leaves_of_a_group_look_the_same():
    bare = Subject("birds", 3)
    for group in {leaf[:2] for leaf in BIRDS.leaves()}:
        drawn = [BIRDS.render(BIRDS.with_attribute(bare, leaf)).tobytes() for leaf in BIRDS.leaves(group)]
        assert len(set(drawn)) == len(drawn), group


def test_there_are_six_species_or_more_each_told_by_leaves_of_the_tree():
    assert len(SPECIES) >= 6
    for typical in SPECIES.values():
        assert len(typical) >= 3
        assert {(*group, leaf) for group, leaf in typical.items()} <= set(BIRDS.leaves())
    assert len({tuple(sorted(typical.items())) for typical in SPECIES.values()}) == len(SPECIES)


def test_the_rule_knows_a_typical_bird_of_each_species_and_has_exceptions_among_drawn_ones():
    rule = shipped_rule("birds-species")
    assert set(rule.classes) == set(SPECIES)
    for name, typical in SPECIES.items():
        bird = Subject("birds", 1, tuple(sorted((*group, leaf) for group, leaf in typical.items())))
        assert rule.classes[rule.likeliest(bird)] == name
    rng = Random(0)
    birds = [BIRDS.draw_subject(rng) for _ in range(700)]
    counts = np.bincount([rule.likeliest(bird) for bird in birds], minlength=len(SPECIES))
    assert counts.min() > 40
    whole = sum(
        any({(*g, leaf) for g, leaf in t.items()} <= set(bird.leaves) for t in SPECIES.values()) for bird in birds
    )
    assert 200 < whole < 600


def test_birds_of_one_seed_share_place_and_background():
    bare = Subject("birds", 8)
    crested = BIRDS.with_attribute(bare, ("head", "crest", "fan"))
    before, after = (np.asarray(BIRDS.render(bird))[70:] for bird in (bare, crested))
    assert (before == after).all()
