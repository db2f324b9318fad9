"""Explainers that learn from more than one vector a case: tokens, sparse features, words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isi_core.domain.errors import InputError
from isi_core.measures.attention_probe import attention_pooled
from isi_core.measures.probes import standardized
from isi_core.measures.sparse_features import sparse_head, train_autoencoder
from isi_core.measures.statistics import auc_interval
from isi_core.measures.text_probe import of_texts
from isi_core.models.catalogue import DEFAULT_VLM, EMBEDDED
from isi_core.models.language.hugging_face import HuggingFaceLanguageModel
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.models.vlm.states import read_states, read_token_states
from isi_core.studies.failure.activations import text_token_states
from isi_core.studies.failure.explainers import EXPLAINERS, Evidence
from isi_core.studies.failure.plan import FailurePlan
from isi_core.studies.failure.pools import ScenePool
from isi_core.studies.failure.results import Case
from isi_core.studies.failure.scoring import make_table, score
from tests.language import save_gemma

N, TRAIN = 300, 150


def _parts(x: Any, y: Any) -> tuple[Any, Any, Any, Any]:
    return x[:TRAIN], y[:TRAIN], x[TRAIN:225], y[TRAIN:225]


def _area(probe: Any, x: Any, y: Any) -> float:
    return auc_interval(y[225:], probe.predict(x[225:])).estimate


def test_attention_finds_the_token_that_a_mean_loses() -> None:
    """One token of forty carries the label, wherever it stands; a mark in another dimension tells which one."""
    rng = np.random.default_rng(0)
    y = np.arange(N) % 2 == 0
    tokens = []
    for label in y:
        states = rng.normal(size=(int(rng.integers(30, 50)), 12)).astype(np.float16)
        states[:, 0] = 0
        place = rng.integers(len(states))
        states[place, 0], states[place, 1] = 4.0, 1.5 if label else -1.5
        tokens.append(states)
    x = np.arange(N)[:, None].astype(float)
    probe = attention_pooled(tokens)(*_parts(x, y), 0)
    means = np.stack([states.mean(axis=0, dtype=float) for states in tokens])
    assert _area(probe, x, y) > 0.9
    assert _area(standardized()(*_parts(means, y), 0), means, y) < 0.75
    again = attention_pooled(tokens)(*_parts(x, y), 0)
    assert np.array_equal(again.predict(x), probe.predict(x))


def test_attention_on_noise_learns_nothing_for_certain() -> None:
    rng = np.random.default_rng(1)
    y = np.arange(N) % 2 == 0
    tokens = [rng.normal(size=(8, 6)).astype(np.float16) for _ in range(N)]
    x = np.arange(N)[:, None].astype(float)
    assert 0.3 < _area(attention_pooled(tokens)(*_parts(x, y), 0), x, y) < 0.7
    broken = [np.full((8, 6), np.nan, np.float16), *tokens[1:]]
    with pytest.raises(InputError, match="not numbers"):
        attention_pooled(broken)(*_parts(x, y), 0)


def test_an_autoencoder_finds_the_sparse_causes_of_its_states() -> None:
    """States are sums of three of 24 hidden directions: a top-3 autoencoder takes most of them apart again."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(24, 16))
    active = np.stack([rng.permutation(24) < 3 for _ in range(1_500)])
    states = (active * rng.uniform(1, 2, size=active.shape)) @ directions
    found = train_autoencoder(states, 0, width=48, active=3)
    codes = found.encode(states)
    assert ((codes > 0).sum(axis=1) <= 3).all()
    assert found.unexplained < 0.35
    shuffled = train_autoencoder(rng.normal(size=states.shape) @ np.linalg.cholesky(np.cov(states.T)).T, 0, 48, 3)
    assert shuffled.unexplained > found.unexplained + 0.1  # the same covariance, but no sparse causes
    assert np.linalg.norm(found.decoder, axis=1) == pytest.approx(np.ones(48), abs=1e-4)


def test_a_sparse_head_names_the_feature_and_the_cases_that_fire_it() -> None:
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(12, 10))
    active = np.stack([rng.permutation(12) < 2 for _ in range(N)])
    y = active[:, 0]
    states = (active * 2.0) @ directions + rng.normal(scale=0.05, size=(N, 10))
    probe = sparse_head(*_parts(states, y), 0)
    assert _area(probe, states, y) > 0.8
    assert probe.settings["features_used"] < probe.settings["width"]
    top = probe.examples[0]
    expected = y[:TRAIN] if top.weight > 0 else ~y[:TRAIN]
    assert expected[list(top.rows)].mean() > 0.8
    assert abs(top.weight) >= abs(probe.examples[-1].weight)


def test_words_of_rationales_are_read() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(N) % 2 == 0
    words = ("the", "picture", "shows", "a", "cat", "near", "some", "house")
    texts = [" ".join([*rng.choice(words, 8), "clearly" if label and rng.random() < 0.9 else "perhaps"]) for label in y]
    x = np.arange(N)[:, None].astype(float)
    probe = of_texts(texts)(*_parts(x, y), 0)
    assert _area(probe, x, y) > 0.85
    assert probe.settings["words"]["clearly"] > 0 > probe.settings["words"]["perhaps"]
    with pytest.raises(InputError, match="share no words"):
        of_texts([f"w{i}" for i in range(N)])(*_parts(x, y), 0)


def test_rows_turn_evidence_into_scores_and_cases() -> None:
    """From the registry's rows to a score: rationales, tokens of some cases alone, features with their cases."""
    rng = np.random.default_rng(0)
    y = rng.permutation(N) < N // 2
    splits = np.array(["train"] * TRAIN + ["validation"] * 75 + ["test"] * 75)
    cases = tuple(Case(f"case_{i:03d}", bool(y[i]), splits[i], str(i), "?") for i in range(N))  # type: ignore[arg-type]
    sign = np.where(y, 1.0, -1.0)
    states = rng.normal(size=(N, 1, 1, 8)).astype(np.float32)
    states[:, 0, 0, 0] += 3 * sign
    tokens = {2: [None if i % 5 == 0 else (rng.normal(size=(5, 4)) + sign[i]).astype(np.float16) for i in range(N)]}
    rationales = tuple("I see it well and am sure" if right else "I cannot see it well at all" for right in y)
    evidence = Evidence(cases, states, (2,), ("last",), {}, rationales, tokens)
    plan = FailurePlan(resamples=1_000)
    found = {}
    for key, layer in (("rationale", None), ("attention-pooled", 2), ("sparse-features", 2)):
        row = EXPLAINERS[key]
        found[key] = score(row, make_table(row, evidence, layer), layer, plan)
        assert found[key].auc.estimate > 0.9
    assert found["attention-pooled"].n_test == 60 and found["rationale"].n_test == 75
    named = found["sparse-features"].settings["features"]
    known = {case.id: case for case in cases}
    assert named and all(known[case].split == "train" for feature in named for case in feature["cases"])
    short = replace(evidence, rationales=("yes",) * N)
    with pytest.raises(InputError, match=r"gives no rationale.*0 of 300"):
        make_table(EXPLAINERS["rationale"], short, None)


# -- reading every token ---------------------------------------------------------------------


def test_tokens_are_those_whose_means_are_pooled() -> None:
    vlm = HuggingFaceVLM.load(EMBEDDED / DEFAULT_VLM, DEFAULT_VLM)
    trials = [given.trial for given in ScenePool(3, ("none", "contradictory"), 12).chunk(0)[:5]]
    read, tokens = read_states(vlm, trials, (1, 3)), read_token_states(vlm, trials, (1, 3))
    for i, states in enumerate(tokens):
        assert states.shape[0] == read.tokens[i]
        assert np.allclose(states[-1], read.states[i, 0], atol=0.02)
        assert np.allclose(states.astype(float).mean(axis=0), read.states[i, 1], atol=0.02)


def test_tokens_of_texts_come_back_in_their_order(tmp_path: Path) -> None:
    model = HuggingFaceLanguageModel.load(save_gemma(tmp_path / "tiny-gemma", layers=2), "tiny-gemma")
    prompts = ["a much longer prompt than the others are", "short", "one of middling length", "brief"]
    read, tokens = model.read_states(prompts, (2,)), text_token_states(model, prompts, (2,))
    for i, states in enumerate(tokens):
        assert states.shape[:2] == (read.tokens[i], 1)
        assert np.allclose(states[-1, 0], read.states[i, 0, 0], rtol=2e-3, atol=0.05)
