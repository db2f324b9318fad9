"""Rules: logits are sums that can be done by hand, planted influence is exact, bad files are refused."""

import json
import math
from collections import Counter
from random import Random

import pytest

from isi_core.domain.errors import InputError
from isi_core.worlds.attributed import WORLDS, Subject, world
from isi_core.worlds.rules import (
    Rule,
    draw_labelled,
    draw_rule,
    planted_influence,
    read_rule,
    shipped_rule,
    shipped_rules,
)

GREY, BLOND = ("hair", "colour", "grey"), ("hair", "colour", "blond")
ROUND, CAP = ("eyewear", "eyeglasses", "round"), ("headwear", "hat", "cap")
RULE = Rule(
    "by hand",
    "faces",
    ("young", "old"),
    {GREY: (2.0,), ("eyewear",): (1.0,), ("eyewear", "eyeglasses"): (0.5,)},
    ((GREY, ("eyewear", "eyeglasses"), (0.25,)),),
    bias=(-1.0,),
    spurious=CAP,
    spurious_class="old",
    spurious_share=0.9,
)


def _face(*leaves, seed=1):
    return Subject("faces", seed, tuple(sorted(leaves)))


def test_a_logit_is_the_sum_of_what_is_on():
    assert RULE.logit(_face()) == -1
    assert RULE.logit(_face(GREY)) == 1
    assert RULE.logit(_face(ROUND)) == 0.5
    assert RULE.logit(_face(GREY, ROUND)) == pytest.approx(-1 + 2 + 1 + 0.5 + 0.25)
    assert RULE.logit(_face(GREY), 0) == -RULE.logit(_face(GREY))
    assert RULE.class_logits(_face(GREY)) == (0.0, 1.0)
    assert (RULE.likeliest(_face()), RULE.likeliest(_face(GREY))) == (0, 1)


def test_log_odds_of_one_class_of_many_are_those_of_its_softmax_probability():
    rule = shipped_rule("birds-species")
    bird = world("birds").draw_subject(Random(1))
    logits = rule.class_logits(bird)
    total = sum(math.exp(value) for value in logits)
    for index, value in enumerate(logits):
        p = math.exp(value) / total
        assert rule.logit(bird, index) == pytest.approx(math.log(p / (1 - p)))
    with pytest.raises(InputError, match="say which"):
        rule.logit(bird)


def test_labels_are_drawn_with_the_rules_own_probability():
    rng = Random(0)
    counts = Counter(RULE.draw_label(rng, _face(GREY)) for _ in range(4000))
    assert counts[1] / 4000 == pytest.approx(1 / (1 + math.exp(-1)), abs=0.03)


def test_planted_influence_by_hand():
    subjects = [_face(seed=1), _face(GREY, seed=2), _face(BLOND, ROUND, seed=3)]
    influence = planted_influence(RULE, subjects)
    assert influence[GREY] == pytest.approx((2 + 0 + 2.25) / 3)
    assert influence[BLOND] == pytest.approx((0 - 2 + 0) / 3), "blond takes the place of grey"
    assert influence[ROUND] == pytest.approx((1.5 + 1.75 + 0) / 3)
    assert influence["eyewear", "eyeglasses"] == influence[ROUND]
    assert influence[CAP] == influence["headwear",] == 0
    assert set(influence) == set(world("faces").paths())
    lacking = planted_influence(RULE, subjects, paths=[GREY, ROUND], only_lacking=True)
    assert lacking == {GREY: pytest.approx(4.25 / 2), ROUND: pytest.approx(3.25 / 2)}


def test_what_influences_is_what_has_a_weight_above_it_or_below_it():
    assert all(RULE.influences(path) for path in (GREY, ("hair",), ROUND, ("eyewear", "sunglasses", "aviator")))
    assert not any(RULE.influences(path) for path in (CAP, ("hair", "length"), ("skin",)))


@pytest.mark.parametrize("name", WORLDS)
def test_drawn_rules_have_one_interaction_idle_branches_and_both_classes(name):
    place = world(name)
    for seed in range(5):
        rule = draw_rule(Random(seed), place)
        assert rule == draw_rule(Random(seed), place)
        assert Rule.from_json(json.loads(json.dumps(rule.to_json()))) == rule
        (first, second, weight), *others = rule.interactions
        assert not others and first[0] != second[0] and weight[0] != 0
        idle = [one for one in place.tree if not rule.influences((one,))]
        assert idle and not rule.influences(rule.spurious)
        rng = Random(seed)
        share = sum(rule.likeliest(place.draw_subject(rng)) for _ in range(300)) / 300
        assert 0.2 < share < 0.8


def test_leaves_of_a_drawn_rule_share_the_effect_of_their_group():
    within, between = [], []
    for seed in range(20):
        rule = draw_rule(Random(seed), world("faces"))
        groups = {}
        for path, (weight,) in rule.weights.items():
            groups.setdefault(path[:2], []).append(weight)
        means = [sum(values) / len(values) for values in groups.values()]
        within += [abs(value - mean) for values, mean in zip(groups.values(), means, strict=True) for value in values]
        between += [abs(mean) for mean in means]
    assert sum(within) / len(within) < 0.5 * sum(between) / len(between)


@pytest.mark.parametrize("name", ["faces-age", "faces-gender", "birds-species"])
def test_shipped_rules_have_an_interaction_and_a_spurious_attribute_of_no_weight(name):
    assert name in shipped_rules()
    rule = shipped_rule(name)
    assert len(rule.interactions) == 1
    assert rule.spurious is not None and not rule.influences(rule.spurious)
    assert Rule.from_json(json.loads(json.dumps(rule.to_json()))) == rule


@pytest.mark.parametrize("name", ["faces-age", "birds-species"])
def test_the_spurious_attribute_goes_along_with_its_class_in_biased_data_only(name):
    rule = shipped_rule(name)
    place = world(rule.world)
    for biased in (True, False):
        rng = Random(3)
        drawn = [draw_labelled(rng, rule, biased) for _ in range(900)]
        share = {}
        for along in (True, False):
            among = [s for s, label in drawn if (rule.classes[label] == rule.spurious_class) is along]
            share[along] = sum(place.has(subject, rule.spurious) for subject in among) / len(among)
        if biased:
            assert share[True] == pytest.approx(0.85, abs=0.07)
            assert share[False] == pytest.approx(0.15, abs=0.05)
        else:
            assert share[True] == pytest.approx(share[False], abs=0.09)


def test_held_out_subjects_and_the_others_are_told_apart():
    rng = Random(0)
    assert all(draw_labelled(rng, RULE, held_out=True)[0].held_out for _ in range(5))
    assert not any(draw_labelled(rng, RULE, held_out=False)[0].held_out for _ in range(40))


GOOD = {"world": "faces", "classes": ["no", "yes"], "weights": {"hair/colour/grey": 1.0}}


def test_the_least_that_a_rule_needs_can_be_read(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(GOOD))
    rule = read_rule(file)
    assert rule.logit(_face(GREY)) == 1
    assert rule.spurious is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"world": "dragons"}, "no attribute world"),
        ({"classes": ["only"]}, "2 to 100"),
        ({"classes": ["same", "same"]}, "different"),
        ({"weights": {"hair/colour/tartan": 1}}, "no attribute"),
        ({"weights": {"hair/colour/grey": "much"}}, "between"),
        ({"weights": {"hair/colour/grey": float("nan")}}, "between"),
        ({"weights": {"hair/colour/grey": True}}, "between"),
        ({"weights": {"hair/colour/grey": 1e9}}, "between"),
        ({"weights": {"hair/colour/grey": [1, 2]}}, "one number"),
        ({"classes": ["a", "b", "c"]}, "list of 3 numbers"),
        ({"weights": []}, "weights must be given"),
        ({"interactions": [["hair", "eyewear"]]}, "interactions must be given"),
        ({"interactions": [["hair", "hair/colour", 1]]}, "different branches"),
        ({"spurious": "collar"}, "no attribute"),
        ({"spurious_class": "maybe"}, "one of its classes"),
        ({"spurious_share": 3}, "between 0.5 and 1"),
        ({"bias": None}, "between"),
    ],
)
def test_a_bad_rule_is_refused_with_its_reason(tmp_path, change, message):
    file = tmp_path / "bad.json"
    file.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(InputError, match=message):
        read_rule(file)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[1]", '"rule"'])
def test_a_file_that_is_no_rule_is_refused(tmp_path, text):
    file = tmp_path / "bad.json"
    file.write_text(text)
    with pytest.raises(InputError):
        read_rule(file)
    with pytest.raises(InputError, match="cannot be opened"):
        read_rule(tmp_path / "none.json")
