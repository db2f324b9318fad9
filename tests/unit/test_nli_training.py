"""Entailment pairs of the scene world: right labels, nothing held out is trained on, real loading."""

from random import Random

import pytest

from isi_core.models.entailment.hugging_face import HuggingFaceEntailment
from isi_core.training.nli import draw_pairs, save_model, train
from isi_core.worlds.scenes.entailment import Pair, draw_pair


def test_every_class_occurs_and_the_same_text_is_always_entailed():
    rng = Random(0)
    pairs = [draw_pair(rng) for _ in range(3000)]
    assert {pair.label for pair in pairs} == {0, 1, 2}
    assert all(pair.label == 2 for pair in pairs if pair.premise == pair.hypothesis)


def test_a_pair_never_has_two_labels():
    labels: dict[tuple[str, str], int] = {}
    rng = Random(1)
    for _ in range(20_000):
        pair = draw_pair(rng)
        assert labels.setdefault((pair.premise, pair.hypothesis), pair.label) == pair.label, pair


def test_opposite_verdicts_contradict_in_both_directions():
    rng = Random(2)
    for pair in (draw_pair(rng) for _ in range(3000)):
        if "? Yes" in pair.premise and "? No" in pair.hypothesis:
            assert pair.label == 0


def test_held_out_pairs_are_not_trained_on():
    held_out = {(p.premise, p.hypothesis) for p in draw_pairs(Random(0), 300, held_out=True)}
    trained = {(p.premise, p.hypothesis) for p in draw_pairs(Random(0), 3000, held_out=False)}
    assert held_out
    assert not held_out & trained


@pytest.mark.timeout(120)
def test_a_trained_model_saves_resumes_and_loads_through_the_real_loader(tmp_path, capsys):
    state = tmp_path / "nli.pt"
    train(state, steps=2, minutes=1, batch=4, seed=0, report_every=100)
    train(state, steps=4, minutes=1, batch=4, seed=0, report_every=100)
    save_model(state, tmp_path / "tiny-nli")
    model = HuggingFaceEntailment.load(tmp_path / "tiny-nli", name="tiny-nli")
    pair = Pair("Is the fish red? Yes.", "Is the fish red? No.", 0)
    probabilities = model.classify([(pair.premise, pair.hypothesis)])
    assert probabilities.shape == (1, 3)
    assert probabilities.sum() == pytest.approx(1.0)
