"""Scores, beam, greedy and exhaustive search, racing: on functions whose best is known."""

from __future__ import annotations

import numpy as np
import pytest

from isi_core.domain.attributes import Attribute, Corpus, Edit, EditSet
from isi_core.domain.errors import InputError
from isi_core.studies.counterfactuals.racing import race
from isi_core.studies.counterfactuals.results import Delta
from isi_core.studies.counterfactuals.scores import (
    class_scores,
    in_direction,
    joint_result,
    set_result,
    turned_classes,
)
from isi_core.studies.counterfactuals.search import (
    beam_search,
    both_ways,
    exhaustive_search,
    greedy_search,
    leaf_sets,
)

CORPUS = Corpus.from_json(
    {
        "domain": "toy",
        "categories": {
            "beard": {"shape": ["goatee", "full"], "length": ["long", "short"]},
            "hat": {"kind": ["cap", "fedora"]},
            "eyes": {"color": ["blue", "green"]},
            "nose": {"size": ["big", "small"]},
        },
    }
)
WEIGHTS = {
    ("beard", "shape", "goatee"): 3.0,
    ("beard", "shape", "full"): 1.0,
    ("beard", "length", "long"): 0.4,
    ("beard", "length", "short"): 0.2,
    ("hat", "kind", "cap"): 2.0,
    ("hat", "kind", "fedora"): 0.6,
    ("eyes", "color", "blue"): 0.3,
    ("eyes", "color", "green"): 0.1,
    ("nose", "size", "big"): 0.05,
    ("nose", "size", "small"): -0.4,
}


def effect(edits: EditSet) -> float:
    """Sum over the edits of the mean weight of the leaves below, and goatee with blue eyes together 4 more."""
    total = sum(
        float(np.mean([w for p, w in WEIGHTS.items() if p[: e.attribute.level] == e.attribute.path])) for e in edits
    )
    paths = {e.attribute.path for e in edits}
    return total + (4.0 if {("beard", "shape", "goatee"), ("eyes", "color", "blue")} <= paths else 0.0)


class Counting:
    """The effects of sets, each asked for once."""

    def __init__(self) -> None:
        self.asked: list[EditSet] = []

    def __call__(self, sets: list[EditSet]) -> list[float]:
        self.asked += sets
        return [effect(edits) for edits in sets]


def leaf(*path: str) -> Edit:
    return Edit(Attribute(path))


def test_beam_search_finds_the_best_leaf_and_looks_at_nothing_twice() -> None:
    score = Counting()
    found = beam_search(CORPUS, score, beam=2)
    assert found.best == (leaf("beard", "shape", "goatee"),)
    assert found.beam[0] == found.best
    assert len(score.asked) == len(set(score.asked)) < len(CORPUS.attributes())


def test_a_child_is_kept_only_if_it_beats_its_parent_and_unbeaten_parents_survive() -> None:
    flat = {Attribute(("hat",)): 2.0}  # nothing below is better

    def score(sets: list[EditSet]) -> list[float]:
        return [flat.get(edits[0].attribute, 1.0) for edits in sets]

    found = beam_search(CORPUS, score, beam=1)
    assert found.best == (leaf("hat"),)
    assert found.beam == [(leaf("hat"),)]


def test_a_good_leaf_below_a_poor_group_is_found() -> None:
    good = ("beard", "length", "short")

    def score(sets: list[EditSet]) -> list[float]:
        by_level = {1: 1.0, 2: 0.5, 3: 0.2}
        return [5.0 if e[0].attribute.path == good else by_level[e[0].attribute.level] for e in sets]

    assert beam_search(CORPUS, score, beam=4).best == (leaf(*good),)


def test_the_threshold_keeps_groups_from_being_expanded() -> None:
    score = Counting()
    found = beam_search(CORPUS, score, beam=4, threshold=1.2)
    assert {edits[0].attribute.branch for edits in score.asked if edits[0].attribute.level > 1} == {"hat"}
    assert found.best == (leaf("hat", "kind", "cap"),)
    nothing = beam_search(CORPUS, Counting(), beam=4, threshold=100.0)
    assert nothing.best == () and nothing.beam == []


def test_joint_attributes_come_from_different_branches_and_the_interaction_is_found() -> None:
    found = beam_search(CORPUS, Counting(), beam=3, joint=2)
    whole = exhaustive_search(CORPUS, Counting(), joint=2)
    assert set(found.best) == set(whole.best) == {leaf("beard", "shape", "goatee"), leaf("eyes", "color", "blue")}
    assert all(len({e.attribute.branch for e in edits}) == len(edits) for edits in found.scores)
    assert len(found.scores) < len(whole.scores)


def test_both_ways_finds_a_pair_of_the_sign_that_no_single_attribute_leads_to() -> None:
    """The strongest single attributes raise the score, the strongest pair lowers it."""
    signed = {("beard",): 3.0, ("hat",): -2.5, ("eyes",): -2.4, ("nose",): 0.1}

    def change(sets: list[EditSet]) -> list[float]:
        return [sum(signed[e.attribute.path[:1]] for e in edits) for edits in sets]

    by_size = beam_search(CORPUS, lambda sets: [abs(c) for c in change(sets)], beam=1, joint=2)
    found = both_ways(lambda score: beam_search(CORPUS, score, beam=1, joint=2), change)
    assert {e.attribute.branch for e in by_size.best} == {"beard", "nose"}
    assert {e.attribute.branch for e in found.best} == {"hat", "eyes"}
    assert found.scores[found.best] == pytest.approx(4.9)
    unknown = both_ways(lambda score: beam_search(CORPUS, score), lambda sets: [float("nan")] * len(sets))
    assert unknown.best == () and unknown.beam == []


def test_greedy_is_a_beam_of_one_and_takes_the_fewest_sets() -> None:
    greedy, beam = greedy_search(CORPUS, Counting()), beam_search(CORPUS, Counting(), beam=4)
    assert greedy.best == (leaf("hat", "kind", "cap"),)  # the best root, which is not above the best leaf
    assert len(greedy.scores) < len(beam.scores)


def test_sets_without_a_known_score_never_lead() -> None:
    found = beam_search(CORPUS, lambda sets: [float("-inf")] * len(sets), joint=2)
    assert found.best == () and found.beam == []


def test_exhaustive_looks_at_every_pair_across_branches() -> None:
    score = Counting()
    exhaustive_search(CORPUS, score, joint=2)
    assert sum(len(edits) == 2 for edits in score.asked) == len(leaf_sets(CORPUS.leaves(), 2)) == 4 * 6 + 3 * 4
    with pytest.raises(InputError):
        beam_search(CORPUS, score, beam=0)
    with pytest.raises(InputError):
        beam_search(Corpus("empty", {}), score)


def test_log_odds_are_those_of_the_class_against_the_rest() -> None:
    logits = np.array([[0.0, 2.0, 1.0], [3.0, -40.0, 0.0]])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert class_scores(logits, 1, True, "log-odds") == pytest.approx(np.log(p[:, 1] / (1 - p[:, 1])), rel=1e-9)
    assert class_scores(logits, 1, True, "probability") == pytest.approx(p[:, 1])
    assert class_scores(logits, 1, False, "probability") == pytest.approx(1 / (1 + np.exp(-logits[:, 1])))
    assert (
        class_scores(logits, 1, False, "log-odds").tolist()
        == class_scores(logits, 1, True, "logit").tolist()
        == [2, -40]
    )


@pytest.mark.parametrize(
    ("logits", "index", "said"),
    [([[1.0]], 0, "one class"), ([[1.0, float("nan")]], 0, "not numbers"), ([[1.0, 2.0]], 2, "no class")],
)
def test_unusable_logits_are_refused(logits: list[list[float]], index: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        class_scores(np.array(logits), index, True)


def test_directions() -> None:
    assert [in_direction(-2.0, d) for d in ("up", "down", "both")] == [-2.0, 2.0, 2.0]
    assert in_direction(float("nan"), "both") == float("-inf")


def deltas(changes: list[float], reasons: dict[int, str] | None = None) -> list[Delta]:
    return [
        Delta(str(i), 1.0, 1.0 + c, (reasons[i],) if reasons and i in reasons else ()) for i, c in enumerate(changes)
    ]


def test_influence_is_the_mean_size_and_flagged_edits_enter_no_mean() -> None:
    edits = (leaf("hat"),)
    found = set_result(
        edits, deltas([1.0, -3.0, 100.0], {2: "it is not there afterwards"}), {"0": 0.2, "1": 0.4, "2": 9.0}
    )
    assert found.influence == pytest.approx(2.0)
    assert found.signed.estimate == pytest.approx(-1.0)
    assert found.signed.low <= -1.0 <= found.signed.high
    assert found.floor == pytest.approx(0.3)
    assert found.f == pytest.approx(0.0)
    assert (found.images, found.valid, found.flagged) == (3, 2, {"it is not there afterwards": 1})
    assert found.ranked and not found.significant


def test_a_set_whose_edits_mostly_fail_is_not_ranked_but_one_with_nothing_to_do_is() -> None:
    failed = dict.fromkeys(range(3), "the picture did not change")
    there = dict.fromkeys(range(3), "it was there before")
    assert not set_result((leaf("hat"),), deltas([1.0] * 5, failed), {}).ranked
    assert set_result((leaf("hat"),), deltas([1.0] * 5, there), {}).ranked
    assert not set_result((leaf("hat"),), deltas([1.0] * 3, there), {}).ranked


def test_interaction_is_joint_minus_sum_of_parts_picture_by_picture() -> None:
    one = set_result((leaf("hat"),), deltas([1.0, 2.0, 3.0]), {})
    two = set_result((leaf("eyes"),), deltas([0.5, 0.5, 0.5], {2: "it is not there afterwards"}), {})
    both = set_result((leaf("eyes"), leaf("hat")), deltas([2.5, 3.5, 50.0]), {})
    found = joint_result(both, [two, one])
    assert found.interaction.estimate == pytest.approx(1.0)
    assert found.interaction.n == 2
    assert found.parts == (0.5, 2.0)


def test_turned_classes_are_counted() -> None:
    found = turned_classes((leaf("hat"),), [0, 0, 0, 1], [1, 1, 0, 2], ["wren", "tit", "owl"])
    assert [(t.source, t.target, t.count, t.of) for t in found] == [("wren", "tit", 2, 3), ("tit", "owl", 1, 1)]


def _noisy(n: int, pictures: int, seed: int) -> tuple[list[EditSet], np.ndarray]:
    rng = np.random.default_rng(seed)
    means = np.concatenate([np.linspace(3.0, 2.0, 5), rng.uniform(0.0, 1.2, n - 5)])
    table = np.abs(means[:, None] + 0.2 * rng.normal(size=(1, pictures)) + 0.3 * rng.normal(size=(n, pictures)))
    return [(leaf("a", "b", f"leaf {i:02}"),) for i in range(n)], table


@pytest.mark.parametrize("seed", range(5))
def test_racing_finds_the_same_five_with_less_than_half_of_the_edits(seed: int) -> None:
    sets, table = _noisy(60, 24, seed)
    went = race(sets, lambda edits, numbers: table[sets.index(edits), list(numbers)].tolist(), 24, k=5)
    assert set(went.top) == {sets[i] for i in np.argsort(-table.mean(axis=1))[:5]}
    assert 2 * went.edits <= table.size
    assert went.edits == sum(went.spent.values()) and went.open == ()


def test_racing_spends_all_pictures_where_places_stay_open_and_says_so() -> None:
    sets, table = _noisy(10, 12, 0)
    table[:] = np.random.default_rng(1).uniform(size=(1, 12)) + 1e-3 * np.random.default_rng(2).normal(size=table.shape)
    went = race(sets, lambda edits, numbers: table[sets.index(edits), list(numbers)].tolist(), 12, k=3)
    assert went.open and all(went.spent[edits] == 12 for edits in went.open)
    assert len(went.top) == 3


def test_racing_passes_over_sets_whose_edits_never_work() -> None:
    sets, table = _noisy(12, 24, 3)
    table[0] = np.nan
    table[1, ::2] = np.nan
    went = race(sets, lambda edits, numbers: table[sets.index(edits), list(numbers)].tolist(), 24, k=5)
    assert sets[0] not in went.top and sets[1] in went.top and np.isnan(went.means[sets[0]])
    with pytest.raises(InputError):
        race(sets, lambda edits, numbers: [0.0] * len(numbers), 0)
