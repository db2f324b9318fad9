"""Causal tests: steering moves what it should and nothing else, risky inputs, training on a slice; the command."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

from isi_core.cli import main
from isi_core.domain.errors import InputError, ModelError
from isi_core.measures.statistics import Interval
from isi_core.models.catalogue import DEFAULT_VLM, EMBEDDED
from isi_core.models.shelf import Shelf
from isi_core.models.steering import steering
from isi_core.models.vlm import tuning
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.models.vlm.prefill import decoder_blocks
from isi_core.models.vlm.states import read_states
from isi_core.models.vlm.tuning import TunedCopy, tuning_prompts
from isi_core.studies.failure import causal_conclusions, pools
from isi_core.studies.failure.causal import CausalPlan, CausalResult
from isi_core.studies.failure.causal_risk import shown_in_ways
from isi_core.studies.failure.causal_run import ask_pictures, causal_plan, run_causal, steered_cases
from isi_core.studies.failure.causal_steering import steer
from isi_core.studies.failure.plan import FailurePlan
from isi_core.studies.failure.pools import ScenePool
from isi_core.studies.failure.results import BenchmarkResult
from isi_core.studies.failure.run import run
from tests.language import save_gemma

FAST: dict[str, Any] = {"resamples": 1_000, "permutations": 1, "k": 8}
SMALL: dict[str, Any] = {"cases": 4, "directions": 2, "strengths": (16.0,), "inputs": 4, "slice_size": 4, "steps": 2}


@pytest.fixture(scope="module")
def vlm() -> HuggingFaceVLM:
    return HuggingFaceVLM.load(EMBEDDED / DEFAULT_VLM, DEFAULT_VLM)


@pytest.fixture(scope="module")
def trials() -> list[Any]:
    return [given.trial for given in ScenePool(3, ("none", "contradictory"), 12).chunk(0)[:6]]


# -- steering --------------------------------------------------------------------------------


class Block(torch.nn.Module):
    def forward(self, states: torch.Tensor) -> tuple[torch.Tensor, str]:
        return states * 2, "cache"


def test_a_vector_is_added_where_it_should_be_and_taken_away_again() -> None:
    blocks, states = [Block(), Block()], torch.ones(2, 3, 4)
    vector = np.array([1.0, 0, 0, -1])
    with steering(blocks, 2, vector, "last"):
        moved, kept = blocks[1](states)
        assert torch.equal(blocks[0](states)[0], states * 2)
    assert kept == "cache"
    assert torch.equal(moved[:, :2], states[:, :2] * 2)
    assert torch.allclose(moved[:, 2], torch.tensor([3.0, 2, 2, 1]).expand(2, 4))
    with steering(blocks, 1, vector, "all"):
        assert torch.allclose(blocks[0](states)[0], states * 2 + torch.tensor(vector).float())
    assert torch.equal(blocks[0](states)[0], states * 2)
    with pytest.raises(InputError, match="2 layers, no layer 3"), steering(blocks, 3, vector):
        pass
    with pytest.raises(InputError, match="3 numbers"), steering(blocks, 1, vector[:3]):
        blocks[0](states)


def test_steering_the_last_block_moves_the_words_as_its_own_head_says(vlm: HuggingFaceVLM, trials: list[Any]) -> None:
    """Behind the last block only the norm and the head remain: what they make of the moved state is what is told."""
    blocks = decoder_blocks(vlm.network)
    last = len(blocks)
    read = read_states(vlm, trials, (last,))
    vector = np.random.default_rng(0).normal(size=read.states.shape[-1])
    told = ask_pictures(lambda: nullcontext(vlm), trials, last, "last")(vector)
    with torch.inference_mode():
        states = torch.tensor(read.states[:, 0, 0] + vector.astype(np.float32))
        logits = vlm.network.lm_head(vlm.network.get_decoder().norm(states)).log_softmax(-1)
    from isi_core.models.vlm.states import word_likelihoods, yes_and_no

    assert np.allclose(told, word_likelihoods(logits, yes_and_no(vlm)).numpy(), atol=2e-4)
    assert np.abs(told - read.words).max() > 0.01
    assert np.allclose(read_states(vlm, trials, ()).words, read.words, atol=1e-5)  # nothing is left behind


def test_a_direction_that_decides_the_answer_is_found_and_random_ones_are_not() -> None:
    rng = np.random.default_rng(1)
    width, n = 1_024, 60
    along = np.zeros(width)
    along[0] = 1.0
    truth = rng.integers(0, 2, n)
    states = rng.normal(size=(n, width)) * 0.5

    def ask(vector: Any) -> Any:
        """Towards `along` the right option is likelier, as a probe of success would have it."""
        moved = states + (0 if vector is None else vector)
        sure = moved[:, 0]
        return np.stack([np.where(truth == 0, sure, -sure), np.where(truth == 1, sure, -sure)], axis=1)

    plan = CausalPlan("x", strengths=(1.0, 4.0), directions=19)
    accuracy, rows = steer(ask, truth.tolist(), along, 0.5, plan)
    assert accuracy == pytest.approx(0.5, abs=0.15)
    by = {(row.direction, row.strength): row for row in rows}
    up, down, random = by["towards success", 4.0], by["towards failure", 4.0], by["random", 4.0]
    assert up.accuracy == 1.0 and down.accuracy == 0.0
    assert up.mended == 1.0 and up.broken == 0.0 and down.broken == 1.0
    assert up.beyond_random is not None and up.beyond_random.low > 0.2
    assert up.p_value == pytest.approx(1 / 20)
    assert random.change.low <= 0.05 and abs(random.change.estimate) < 0.1 and math.isnan(random.p_value)
    assert by["towards success", 1.0].accuracy < up.accuracy
    assert "the way the probe says" in causal_conclusions.steering_sentence(up, accuracy)
    # A direction without any hold on the answer is told as such.
    other = np.zeros(width)
    other[1] = 1.0
    _, rows = steer(ask, truth.tolist(), other, 0.5, plan)
    idle = next(row for row in rows if row.direction == "towards success" and row.strength == 4.0)
    assert idle.changed.estimate == 0.0
    weaker = replace(idle, changed_beyond_random=Interval(-0.2, -0.3, -0.1, 0.95, n))
    assert "less hold on the answers than random directions" in causal_conclusions.steering_sentence(weaker, accuracy)
    with pytest.raises(InputError, match="no single token"):
        steer(lambda _: np.full((n, 2), np.nan), truth.tolist(), along, 0.5, plan)


# -- training --------------------------------------------------------------------------------


def test_a_copy_learns_and_the_model_stays_as_it_is(vlm: HuggingFaceVLM, trials: list[Any]) -> None:
    before = read_states(vlm, trials, ()).words
    copy, prompts = TunedCopy(vlm), tuning_prompts(vlm, trials)
    assert np.allclose(copy.likelihoods(prompts), before, atol=1e-4)
    wrong = [not trial.truth for trial in trials]  # what it does not say by itself
    losses = copy.train(prompts, wrong, steps=6, learning_rate=1e-3, seed=0)
    assert losses[-1] < losses[0] / 2
    said = copy.likelihoods(prompts)
    chosen = list(range(len(trials)))
    column = [0 if truth else 1 for truth in wrong]
    assert (said[chosen, column] > before[chosen, column]).all()
    assert np.array_equal(read_states(vlm, trials, ()).words, before)


def test_what_is_too_large_is_not_trained(vlm: HuggingFaceVLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "MOST_PARAMETERS", 1_000_000)
    with pytest.raises(ModelError, match=r"million parameters: only models of up to 1 million"):
        TunedCopy(vlm)


# -- from a benchmark to its result ----------------------------------------------------------


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> tuple[BenchmarkResult, Path]:
    """Answered by the embedded model with nothing of the picture left: it is often wrong."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    blind = tmp_path_factory.mktemp("models") / "blind"
    model: Any = LlavaForConditionalGeneration.from_pretrained(EMBEDDED / DEFAULT_VLM, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.model.multi_modal_projector.parameters():
            parameter.zero_()
    model.save_pretrained(blind)
    AutoProcessor.from_pretrained(EMBEDDED / DEFAULT_VLM).save_pretrained(blind)
    plan = FailurePlan(
        model=str(blind),
        contexts=("none", "contradictory"),
        layers=(2, 4),
        explainers=("majority", "last-token-tuned", "context-kind"),
        **FAST,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pools, "CHUNK", 24)
        return run(plan, Shelf(), folder), folder


def test_every_part_of_a_picture_benchmark(
    benchmark: tuple[BenchmarkResult, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    result, folder = benchmark
    options = ["--cases", "4", "--directions", "2", "--strengths", "16", "--inputs", "4", "--slice-size", "4"]
    assert main(["failure", "causal", str(folder), *options, "--steps", "2", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data.pop("conclusions")
    found = CausalResult.from_json(data)
    assert found.to_json() == data and found.skipped == {}
    assert found.plan == replace(causal_plan(result), **SMALL)
    assert [(row.direction, row.strength) for row in found.steering] == [
        *(("random", 16.0), ("towards success", 16.0), ("towards failure", 16.0))
    ]
    assert found.layer in (2, 4) and found.spread > 0 and found.n == 4
    risk = {row.explainer: row for row in found.risk}
    assert set(risk) == {"majority", "last-token-tuned", "context-kind"}
    # Who says the same of every way has chosen none.
    assert risk["majority"].rise.estimate == 0.0
    assert sum(risk["last-token-tuned"].ways.values()) == pytest.approx(1.0, abs=1e-3)
    assert found.tuning is not None and found.tuning.n == 4 and found.tuning.before == pytest.approx(0.5, abs=0.26)
    assert len(list(folder.glob("causal-*.json"))) == 1


def test_what_cannot_be_tried_is_told(benchmark: tuple[BenchmarkResult, Path]) -> None:
    result, folder = benchmark
    plan = causal_plan(result, **SMALL)
    with pytest.raises(InputError, match="layers 2, 4, not 3"):
        run_causal(replace(plan, layer=3), result, Shelf(), folder)
    with pytest.raises(InputError, match="no explainer mlp"):
        run_causal(replace(plan, explainer="mlp"), result, Shelf(), folder)
    with pytest.raises(InputError, match="no direction to steer along"):
        run_causal(replace(plan, explainer="majority", parts=("steer",)), result, Shelf(), folder)
    with pytest.raises(InputError, match="another benchmark"):
        run_causal(replace(plan, run="x"), result, Shelf(), folder)
    for wrong in ({"parts": ()}, {"strengths": (0.0,)}, {"cases": 1}, {"level": 1.0}):
        with pytest.raises(InputError):
            replace(plan, **wrong)  # type: ignore[arg-type]


def test_new_pictures_are_the_same_in_every_way_and_new(benchmark: tuple[BenchmarkResult, Path]) -> None:
    result, _ = benchmark
    plan = replace(result.plan, contexts=("none", "contradictory"))
    ways = shown_in_ways(plan, 12, set())
    assert list(ways) == [f"{kind} context{noise}" for kind in ("no", "contradictory") for noise in ("", ", noise")]
    plain, wrong, noisy = ways["no context"], ways["contradictory context"], ways["no context, noise"]
    for a, b, c in zip(plain, wrong, noisy, strict=True):
        assert a.trial.image_digest == b.trial.image_digest != c.trial.image_digest
        assert a.trial.context == "" != b.trial.context
        assert a.trial.question == b.trial.question == c.trial.question
    known = {case.picture for case in result.cases}
    assert not {f"pictures/{given.trial.image_digest[:24]}.png" for given in plain} & known
    cases = steered_cases(result.cases, 4, 0)
    assert sum(case.success for case in cases) == 2 and all(case.split == "test" for case in cases)


def test_a_text_benchmark_is_steered(tmp_path: Path) -> None:
    model = save_gemma(tmp_path / "tiny-gemma", layers=2)
    source = tmp_path / "items.jsonl"
    records = [
        {"goal": f"open jar {i}", "sol1": f"turn {i * 3}", "sol2": f"hit {i * 7}", "label": i % 2} for i in range(60)
    ]
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    benchmark = FailurePlan(
        task="piqa", source=str(source), model=str(model), layers=(1,), explainers=("last-token-tuned",), **FAST
    )
    result = run(benchmark, Shelf(), tmp_path / "run")
    plan = causal_plan(result, **{**SMALL, "strengths": (200.0,)})
    found = run_causal(plan, result, Shelf(), tmp_path / "run")
    assert found.accuracy == pytest.approx(0.5)  # the test cases are balanced, and asked as they were
    assert len(found.steering) == 3 and set(found.skipped) == {"inputs", "tune"}
    assert max(row.changed.estimate for row in found.steering) > 0
