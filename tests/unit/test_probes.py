"""Probes: planted labels are found where they were planted, shuffled ones nowhere; pooled states are the model's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import InputError
from isi_core.measures.probes import majority, published, ranked, small_mlp, standardized
from isi_core.models.catalogue import DEFAULT_VLM, EMBEDDED
from isi_core.models.pools import POOLS
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.models.vlm.states import layer_count, read_states
from isi_core.studies.failure.explainers import EXPLAINERS, Evidence
from isi_core.studies.failure.plan import FailurePlan
from isi_core.studies.failure.results import Case, ExplainerScore
from isi_core.studies.failure.scoring import (
    correct,
    label_shuffle_control,
    make_table,
    paired_tests,
    permutation_null,
    score,
)
from isi_core.studies.failure.selection import balanced_splits
from tests.checkpoints import make_trial, save_llava, save_llava_next

PLAN = FailurePlan(resamples=2_000, permutations=20)
DECODING = Decoding(max_new_tokens=8)
LAYERS = (1, 2, 3, 4, 5, 6)
PLANTED = 4


def _planted(seed: int = 0, n: int = 600, width: int = 16) -> Evidence:
    """A residual stream of six layers, each of which keeps some of the one before; the label is linear in one."""
    rng = np.random.default_rng(seed)
    stream = [rng.normal(size=(n, width))]
    for _ in LAYERS[1:]:
        stream.append(0.5 * stream[-1] + rng.normal(size=(n, width)))
    states = np.stack(stream, axis=1).astype(np.float32)
    along = states[:, PLANTED - 1] @ rng.normal(size=width)
    success = along > np.median(along)
    splits = balanced_splits(success.tolist(), [str(i) for i in range(n)], n // 2, seed)
    assert splits is not None
    cases = tuple(Case(f"case_{i:04d}", bool(success[i]), splits[i], str(i), "?", answer="yes") for i in range(n))
    return Evidence(cases, states[:, None], LAYERS, ("last",), {})


@pytest.fixture(scope="module")
def embedded() -> HuggingFaceVLM:
    return HuggingFaceVLM.load(EMBEDDED / DEFAULT_VLM, DEFAULT_VLM)


@pytest.fixture(scope="module")
def planted() -> Evidence:
    return _planted()


@pytest.fixture(scope="module")
def planted_scores(planted: Evidence) -> list[ExplainerScore]:
    row = EXPLAINERS["last-token-tuned"]
    return [score(row, make_table(row, planted, layer), layer, PLAN) for layer in LAYERS]


def test_a_planted_direction_is_found_at_its_layer_and_falls_off(planted_scores: list[ExplainerScore]) -> None:
    areas = {s.layer: s.auc.estimate for s in planted_scores}
    assert areas[PLANTED] >= 0.95
    assert all(s.auc.low > 0.5 for s in planted_scores if s.layer == PLANTED)
    assert areas[1] < areas[2] < areas[3] < areas[4] > areas[5] > areas[6]
    assert areas[1] < 0.75
    assert [s.n_train for s in planted_scores] == [300] * 6
    assert max(planted_scores, key=lambda s: s.validation_auc).layer == PLANTED


def test_shuffled_labels_give_a_half_inside_the_interval(planted: Evidence) -> None:
    for key in ("last-token", "last-token-tuned"):
        row = EXPLAINERS[key]
        tables = {layer: make_table(row, planted, layer) for layer in LAYERS}
        control = label_shuffle_control(row, tables, PLAN)
        assert all(s.auc.low <= 0.5 <= s.auc.high for s in control)
        assert max(s.auc.estimate for s in control) < 0.7


def test_the_maximum_over_layers_is_what_the_null_is_of(planted: Evidence) -> None:
    row = EXPLAINERS["last-token"]
    tables = {layer: make_table(row, planted, layer) for layer in LAYERS[:3]}
    null = permutation_null(row, tables, PLAN, observed=0.9)
    assert len(null.maxima) == 20
    assert null.p_value == pytest.approx(1 / 21)
    assert 0.5 < np.mean(null.maxima) < 0.62  # the maximum of three lies above a half
    one = permutation_null(row, {1: tables[1]}, PLAN, observed=0.3)
    assert np.mean(one.maxima) < np.mean(null.maxima)
    assert one.p_value == 1.0


def test_the_published_probe_is_scikit_learns_and_knows_its_training_by_heart() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 100)), np.arange(60) % 2 == 0
    probe = published(100.0)(x, y, x, y, 0)
    theirs = LogisticRegression(C=100.0, max_iter=1_000, random_state=0).fit(x, y)
    fresh = rng.normal(size=(20, 100))
    assert probe.predict(fresh) == pytest.approx(theirs.predict_proba(fresh)[:, 1])
    assert ((probe.predict(x) > 0.5) == y).all()
    assert probe.direction is not None
    assert np.linalg.norm(probe.direction) == pytest.approx(1.0)


def test_regularization_is_chosen_on_the_validation_split() -> None:
    rng = np.random.default_rng(0)
    noise, labels = rng.normal(size=(200, 150)), rng.random(200) < 0.5
    cautious = standardized()(noise[:100], labels[:100], noise[100:], labels[100:], 0)
    assert cautious.settings["C"] <= 0.01  # nothing to learn
    clear = np.concatenate([labels[:, None] * 4.0, noise[:, :3]], axis=1) * 1_000.0
    probe = standardized()(clear[:100], labels[:100], clear[100:], labels[100:], 0)
    assert probe.settings["C"] >= 1.0
    # The direction is in the features' own units: along it, the first feature rises.
    assert probe.direction is not None
    assert abs(probe.direction[0]) > 0.9


def test_extreme_values_do_not_turn_a_single_number_round() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2 == 0
    x = np.where(y, 1.0, 0.0)[:, None] + rng.normal(scale=0.5, size=(200, 1))
    x[:6:2] -= 5_000.0  # three successes far below everything
    fresh = np.linspace(-1, 2, 50)[:, None]
    probe = ranked(x[:100], y[:100], x[100:], y[100:], 0)
    assert (np.diff(probe.predict(fresh)) > 0).mean() > 0.7
    assert np.mean((probe.predict(x[100:]) > 0.5) == y[100:]) > 0.75
    constant = ranked(np.zeros((10, 1)), y[:10], np.zeros((10, 1)), y[:10], 0)
    assert constant.predict(fresh) == pytest.approx(np.full(50, 0.5), abs=1e-6)


def test_an_exclusive_or_needs_the_network() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2))
    y = (x[:, 0] > 0) != (x[:, 1] > 0)
    args = (x[:400], y[:400], x[400:500], y[400:500], 0)
    right = {
        name: np.mean((trainer(*args).predict(x[500:]) > 0.5) == y[500:])
        for name, trainer in (("mlp", small_mlp), ("linear", standardized()))
    }
    assert right["mlp"] > 0.85
    assert right["linear"] < 0.7


def test_features_that_cannot_be_learned_from_are_refused() -> None:
    x, y = np.zeros((4, 2)), np.array([True, False, True, False])
    assert majority(x, y, x, y, 0).predict(x).tolist() == [0.5] * 4
    with pytest.raises(InputError, match="All labels of the training split are equal"):
        published(1.0)(x, np.ones(4, dtype=bool), x, y, 0)
    x[0, 0] = np.nan
    with pytest.raises(InputError, match="not numbers"):
        published(1.0)(x, y, x, y, 0)


def test_cases_that_were_not_measured_are_left_out_and_none_is_told(planted: Evidence) -> None:
    measured = np.full(len(planted.cases), np.nan)
    measured[:300] = np.arange(300)
    evidence = Evidence(planted.cases, None, (), (), {"semantic_entropy": measured})
    row = EXPLAINERS["semantic-entropy"]
    found = score(row, make_table(row, evidence, None), None, PLAN)
    assert found.n_train + found.n_test < 300
    assert set(found.case_ids) <= {case.id for case in planted.cases[:300]}
    nothing = Evidence(planted.cases, None, (), (), {"semantic_entropy": np.full(len(planted.cases), np.nan)})
    with pytest.raises(InputError, match="no measured cases"):
        make_table(row, nothing, None)
    with pytest.raises(InputError, match="captured"):
        make_table(EXPLAINERS["mean-token"], planted, 1)


def test_pairs_are_compared_on_the_cases_they_share_and_corrected(
    planted: Evidence, planted_scores: list[ExplainerScore]
) -> None:
    labels = {case.id: case.success for case in planted.cases}
    flat = EXPLAINERS["majority"]
    constant = score(flat, make_table(flat, planted, None), None, PLAN)
    assert constant.degenerate.startswith("all scores are equal")
    assert constant.p_value == 1.0
    pairs = paired_tests([planted_scores[3], planted_scores[0], constant], labels, 0.999)
    assert [(p.first, p.second) for p in pairs] == [
        ("last-token-tuned @ 4", "last-token-tuned @ 1"),
        ("last-token-tuned @ 4", "majority"),
        ("last-token-tuned @ 1", "majority"),
    ]
    assert pairs[0].difference.estimate > 0.2
    assert pairs[0].p_holm < 1e-6
    assert all(p.p_holm >= p.p_value for p in pairs if not np.isnan(p.p_value))
    assert np.isnan(pairs[1].p_holm) == (planted_scores[3].auc.estimate == 1.0)  # without variance there is no test
    corrected = correct(planted_scores)
    assert corrected[1].p_holm > corrected[1].p_value
    known = [s for s in corrected if not np.isnan(s.p_value)]
    assert min(s.p_holm for s in known) == pytest.approx(len(known) * min(s.p_value for s in known))


@pytest.mark.parametrize("kind", ["llava", "llava-next"])
def test_pooled_states_are_what_the_model_computes_alone(tmp_path: Path, kind: str) -> None:
    save = save_llava if kind == "llava" else save_llava_next
    vlm = HuggingFaceVLM.load(save(tmp_path / kind), "tiny")
    long = "People who saw this scene were sure of it."
    trials = [make_trial(), make_trial(long, seed=1), make_trial(question="Is there a boat or a red car?", seed=2)]
    trials += [make_trial(long, seed=3), make_trial(seed=4, size=(60, 80))]
    layers = (1, layer_count(vlm))
    found = read_states(vlm, trials, layers)
    assert found.states.shape == (5, len(POOLS), 2, 32)
    for i, trial in enumerate(trials):
        (output,) = vlm.evaluate([trial], DECODING, {"hidden_states"})
        assert output.hidden_states is not None
        assert found.tokens[i] == output.prompt_tokens
        for place, layer in enumerate(layers):
            assert found.states[i, 0, place] == pytest.approx(output.hidden_states[layer - 1], abs=1e-3)
        prompt = vlm._prompts.build(trial, 40)
        with torch.inference_mode():
            # Not the last one: transformers gives that behind the final norm.
            states = vlm._model(**prompt.inputs, output_hidden_states=True).hidden_states[1][0]
        for pool, places in (
            ("mean", range(len(prompt))),
            ("image", prompt.image),
            ("context", prompt.context.positions),
            ("question", prompt.question.positions),
        ):
            wanted = states[list(places)].mean(dim=0).numpy() if places else np.zeros(32)
            assert found.states[i, POOLS.index(pool), 0] == pytest.approx(wanted, abs=1e-3), pool
    with pytest.raises(InputError, match="no layer 9"):
        read_states(vlm, trials, (9,))
    assert read_states(vlm, trials[:2], ()).states.size == 0


def test_the_words_are_the_first_tokens_likelihoods(embedded: HuggingFaceVLM) -> None:
    trials = [make_trial(seed=seed) for seed in range(4)]
    found = read_states(embedded, trials, ())
    outputs = embedded.evaluate(trials, DECODING, {"answer"})
    assert np.exp(found.words).sum(axis=1) == pytest.approx(np.ones(4), abs=0.05)
    for words, output in zip(found.words, outputs, strict=True):
        assert output.answer is not None
        said = 0 if output.answer.verdict == "yes" else 1
        assert words[said] >= output.answer.log_likelihoods[0] - 1e-4
        assert words[said] > words[1 - said]
