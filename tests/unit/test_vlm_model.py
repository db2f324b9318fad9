"""The whole model on checkpoints of random weights: answers, samples, hidden states, one prefill, cancelling."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForImageTextToText,
    GenerationConfig,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from isi_core.domain.answer import Answer
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import Cancelled, InputError, ModelError
from isi_core.domain.evaluation import ModelOutput
from isi_core.domain.trial import Trial
from isi_core.models.out_of_memory import is_out_of_memory
from isi_core.models.vlm.answers import to_answer, token_texts
from isi_core.models.vlm.generation import Generated
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.models.vlm.prefill import decoder_blocks
from isi_core.models.vlm.prompt import Prompt, PromptBuilder
from isi_core.models.vlm.protocol import VisionLanguageModel
from tests.checkpoints import (
    PATCH,
    POSITIONS,
    byte_level_tokenizer,
    make_trial,
    save_llava,
    save_llava_next,
    whole_text,
)

TRIAL = make_trial("People saw something red.")
DECODING = Decoding(max_new_tokens=12, n_samples=6, temperature=1.3, top_k=40, top_p=0.95)
KINDS = ["llava", "llava-next"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {"llava": save_llava(root / "llava"), "llava-next": save_llava_next(root / "next")}


@pytest.fixture
def vlm(folders: dict[str, Path]) -> HuggingFaceVLM:
    return HuggingFaceVLM.load(folders["llava"], "tiny")


def load_plain(folder: Path) -> tuple[Any, list[int]]:
    """The model as transformers loads it, without its generation settings, and its end tokens."""
    model: Any = AutoModelForImageTextToText.from_pretrained(folder).eval()
    ends = model.generation_config.eos_token_id
    model.generation_config = GenerationConfig()
    return model, ends


def build_prompt(vlm: HuggingFaceVLM, trial: Trial) -> Prompt:
    return PromptBuilder(vlm._processor, "tiny", patch_size=PATCH).build(trial, 1)


def teacher_forced(model: Any, prompt: Prompt, answer: Answer) -> torch.Tensor:
    """(tokens, vocabulary) logits that predict each answer token, from one pass over the whole text."""
    with torch.no_grad(), whole_text(model, prompt.inputs, answer.token_ids) as inputs:
        logits: torch.Tensor = model(**inputs).logits[0, len(prompt) - 1 : -1]
    return logits


def one(vlm: HuggingFaceVLM, measure: Any, decoding: Decoding = DECODING, trial: Trial = TRIAL) -> ModelOutput:
    [output] = vlm.evaluate([trial], decoding, [measure])
    return output


def answer_of(output: ModelOutput) -> Answer:
    assert output.answer is not None
    return output.answer


def samples_of(output: ModelOutput) -> tuple[Answer, ...]:
    assert output.samples is not None
    return output.samples


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("strategy", "penalty", "options"),
    [("greedy", 1.0, {}), ("greedy", 1.4, {}), ("beam", 1.0, {"num_beams": 3}), ("beam", 1.4, {"num_beams": 4})],
)
def test_answers_equal_generate(
    folders: dict[str, Path], kind: str, strategy: Any, penalty: float, options: dict[str, int]
) -> None:
    vlm = HuggingFaceVLM.load(folders[kind], "tiny")
    model, ends = load_plain(folders[kind])
    for seed in range(3):
        trial = make_trial("Something red.", seed=seed)
        decoding = Decoding(strategy=strategy, repetition_penalty=penalty, max_new_tokens=12, **options)
        answer = answer_of(one(vlm, "answer", decoding, trial))
        prompt = build_prompt(vlm, trial)
        expected = model.generate(
            **prompt.inputs,
            **options,
            do_sample=False,
            repetition_penalty=penalty,
            max_new_tokens=12,
            eos_token_id=ends,
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
        assert list(answer.token_ids) == expected[: len(answer.token_ids)]
        assert all(token == 0 for token in expected[len(answer.token_ids) :])
        own = teacher_forced(model, prompt, answer).log_softmax(-1)[range(len(answer.tokens)), answer.token_ids]
        np.testing.assert_allclose(answer.log_likelihoods, own, atol=1e-4)
        assert answer.sampling_log_likelihoods == answer.log_likelihoods


@pytest.mark.parametrize("kind", KINDS)
def test_sampled_likelihoods_equal_a_teacher_forced_pass(folders: dict[str, Path], kind: str) -> None:
    vlm = HuggingFaceVLM.load(folders[kind], "tiny")
    model, ends = load_plain(folders[kind])
    prompt = build_prompt(vlm, TRIAL)
    samples = samples_of(one(vlm, "samples"))
    assert len({len(sample.token_ids) for sample in samples}) > 2  # rows end at different steps
    assert {sample.finished for sample in samples} == {True, False}
    for sample in samples:
        logits = teacher_forced(model, prompt, sample)
        places = range(len(sample.token_ids)), sample.token_ids
        np.testing.assert_allclose(sample.log_likelihoods, logits.log_softmax(-1)[places], atol=1e-4)
        warped = TemperatureLogitsWarper(1.3)(None, logits)
        warped = TopPLogitsWarper(0.95)(None, TopKLogitsWarper(40)(None, warped))
        np.testing.assert_allclose(sample.sampling_log_likelihoods, warped.log_softmax(-1)[places], atol=1e-4)
        assert sample.finished == (sample.token_ids[-1] in ends)
        assert not set(sample.token_ids[:-1]) & set(ends)
        assert len(sample.tokens) == len(sample.token_ids) <= 12


def test_a_seed_gives_the_same_answers_whatever_else_is_measured(vlm: HuggingFaceVLM, folders: dict[str, Path]) -> None:
    drawn = Decoding(**(DECODING.to_json() | {"strategy": "sample"}))
    torch.manual_seed(3)
    first = samples_of(one(vlm, "samples", drawn))
    torch.manual_seed(4)
    [everything] = vlm.evaluate([TRIAL], drawn, ["hidden_states", "attention", "samples", "answer"])
    assert samples_of(everything) == first
    other = HuggingFaceVLM.load(folders["llava"], "again")
    assert answer_of(one(other, "answer", drawn)) == answer_of(everything)
    assert samples_of(one(other, "samples", Decoding(**(drawn.to_json() | {"seed": 1})))) != first
    # Fewer samples are the first of many, as far as a batch of another size computes the same.
    fewer = samples_of(one(vlm, "samples", Decoding(**(drawn.to_json() | {"n_samples": 2}))))
    assert [sample.token_ids for sample in fewer] == [sample.token_ids for sample in first[:2]]


def test_a_seed_gives_the_same_answers_in_another_process(vlm: HuggingFaceVLM, folders: dict[str, Path]) -> None:
    program = (
        "import json, sys\n"
        "from isi_core.domain.decoding import Decoding\n"
        "from isi_core.models.vlm.hugging_face import HuggingFaceVLM\n"
        "from tests.checkpoints import make_trial\n"
        "vlm = HuggingFaceVLM.load(sys.argv[1], 'tiny')\n"
        "decoding = Decoding.from_json(json.loads(sys.argv[2]))\n"
        "[output] = vlm.evaluate([make_trial('People saw something red.')], decoding, ['samples'])\n"
        "print(json.dumps([sample.to_json() for sample in output.samples]))\n"
    )
    command = [sys.executable, "-c", program, str(folders["llava"]), json.dumps(DECODING.to_json())]
    root = Path(__file__).parents[2]
    printed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    assert json.loads(printed.splitlines()[-1]) == [sample.to_json() for sample in samples_of(one(vlm, "samples"))]


def test_samples_in_several_batches_are_the_same(vlm: HuggingFaceVLM, monkeypatch: pytest.MonkeyPatch) -> None:
    together = samples_of(one(vlm, "samples"))
    monkeypatch.setattr("isi_core.models.vlm.samples.SAMPLE_BYTES", 1)
    apart = samples_of(one(vlm, "samples"))
    assert [sample.token_ids for sample in apart] == [sample.token_ids for sample in together]
    for a, b in zip(apart, together, strict=True):
        np.testing.assert_allclose(a.log_likelihoods, b.log_likelihoods, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_are_the_blocks_outputs_before_the_final_norm(folders: dict[str, Path], kind: str) -> None:
    vlm = HuggingFaceVLM.load(folders[kind], "tiny")
    model, _ = load_plain(folders[kind])
    states = one(vlm, "hidden_states").hidden_states
    assert states is not None
    with torch.no_grad():
        reference = model(**build_prompt(vlm, TRIAL).inputs, output_hidden_states=True).hidden_states
        final = model.get_decoder().norm(torch.from_numpy(states[-1]))
    assert len(states) == len(reference) - 1
    for state, expected in zip(states[:-1], reference[1:-1], strict=True):
        np.testing.assert_allclose(state, expected[0, -1], atol=1e-5)
    np.testing.assert_allclose(final, reference[-1][0, -1], atol=1e-5)


def test_only_what_was_asked_for_comes_back(vlm: HuggingFaceVLM) -> None:
    output = one(vlm, "samples")
    assert (output.answer, output.attention, output.hidden_states) == (None, None, None)
    output = one(vlm, "attention")
    assert output.answer is not None
    assert (output.samples, output.hidden_states) == (None, None)
    assert output.prompt.startswith("USER: <image>\n")
    assert output.prompt_tokens == len(build_prompt(vlm, TRIAL))
    assert vlm.evaluate([], DECODING, ["answer"]) == []


def test_one_prefill_serves_every_measure(vlm: HuggingFaceVLM, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    vlm._model.model.vision_tower.register_forward_hook(lambda *_: passes.append("picture"))
    other = make_trial("", seed=9)
    for measure in ("answer", "samples", "attention", "hidden_states"):
        one(vlm, measure)
    vlm.evaluate([TRIAL], Decoding(n_samples=3, temperature=0.4, strategy="beam"), ["answer", "samples"])
    assert len(passes) == 1
    one(vlm, "answer", trial=other)
    one(vlm, "answer")
    assert len(passes) == 2
    assert len(vlm.prefills) == 2
    assert vlm.prefills.nbytes > 0


def test_remembered_prompts_are_bounded_in_bytes(folders: dict[str, Path]) -> None:
    vlm = HuggingFaceVLM.load(folders["llava"], "tiny", cache_bytes=1)
    before = answer_of(one(vlm, "answer"))
    for seed in range(3):
        one(vlm, "answer", trial=make_trial(seed=seed))
        assert len(vlm.prefills) == 1
    size = vlm.prefills.nbytes
    vlm.prefills.limit = 3 * size
    for seed in range(6):
        one(vlm, "answer", trial=make_trial(seed=seed))
        assert vlm.prefills.nbytes <= 3 * size
    assert len(vlm.prefills) == 3
    assert answer_of(one(vlm, "answer")) == before


def test_progress_rises_and_is_told_at_every_token(vlm: HuggingFaceVLM) -> None:
    told: list[tuple[str, float]] = []
    trials = [TRIAL, make_trial(seed=1)]
    for strategy in ("greedy", "beam"):
        told.clear()
        decoding = Decoding(strategy=strategy, n_samples=2, max_new_tokens=10)  # type: ignore[arg-type]
        outputs = vlm.evaluate(trials, decoding, ["answer", "samples"], lambda *news: told.append(news))
        fractions = [fraction for _, fraction in told]
        assert fractions == sorted(fractions)
        assert fractions[0] >= 0
        assert told[-1] == ("Done", 1.0)
        lengths = [len(answer_of(output).tokens) for output in outputs]
        # Greedy answers are decoded side by side, beams one prompt after the other.
        steps = max(lengths) if strategy == "greedy" else sum(lengths)
        assert sum("Answering" in message for message, _ in told) == steps
    assert sum("layer" in message for message, _ in told) == 0  # remembered by the second round


@pytest.mark.parametrize("where", ["layer 2", "Answering", "Searching", "Drawing"])
def test_cancelling_stops_at_once_and_leaves_the_model_as_it_was(vlm: HuggingFaceVLM, where: str) -> None:
    decoding = Decoding(**(DECODING.to_json() | {"strategy": "beam" if where == "Searching" else "greedy"}))
    told = []

    def cancel(message: str, fraction: float) -> None:
        told.append(message)
        if where in message:
            raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        vlm.evaluate([TRIAL, TRIAL], decoding, ["answer", "attention", "samples"], cancel)
    assert sum(where in message for message in told) == 1
    assert not any(block._forward_hooks for block in decoder_blocks(vlm._model))
    after = one(vlm, "attention")
    vlm.prefills.clear()
    fresh = one(vlm, "attention")
    assert answer_of(after) == answer_of(fresh)
    assert after.attention is not None
    assert fresh.attention is not None
    np.testing.assert_array_equal(after.attention.sums, fresh.attention.sums)


def test_what_cannot_be_measured_is_said(vlm: HuggingFaceVLM) -> None:
    with pytest.raises(InputError, match="Unknown measure"):
        one(vlm, "mood")
    with pytest.raises(InputError, match="shorten the context"):
        one(vlm, "answer", trial=make_trial("red car " * 2500))
    one(vlm, "answer")
    with pytest.raises(InputError, match="shorter answer"):  # also when the prompt is remembered
        one(vlm, "answer", Decoding(max_new_tokens=POSITIONS))


def test_answers_end_where_the_checkpoint_says(vlm: HuggingFaceVLM) -> None:
    assert vlm._end_tokens == frozenset([2, *range(60, 90)])
    tokenizer = byte_level_tokenizer()
    ids = tokenizer.encode("Yes, there is.", add_special_tokens=False)
    likelihoods = [-1.0] * (len(ids) + 1)
    answer = to_answer(Generated([*ids, 65], likelihoods, likelihoods, finished=True), tokenizer)
    assert answer.text == "Yes, there is."
    assert answer.verdict == "yes"
    assert "".join(answer.tokens[:-1]) == "Yes, there is."
    assert len(answer.tokens) == len(answer.log_likelihoods) == len(ids) + 1


@pytest.mark.parametrize("text", ["Yes, a red car.", " two  spaces", "a 🚗 and 家!", "🚗🚗", "é" * 9])
def test_tokens_joined_are_the_text(text: str) -> None:
    tokenizer = byte_level_tokenizer()
    ids = tokenizer.encode(text, add_special_tokens=False)
    texts = token_texts(ids, tokenizer)
    assert len(texts) == len(ids)
    assert "".join(texts) == text


def test_bytes_that_make_no_character_keep_their_places() -> None:
    tokenizer = byte_level_tokenizer()
    car = tokenizer.encode("🚗", add_special_tokens=False)
    yes = tokenizer.encode("Yes", add_special_tokens=False)
    texts = token_texts([*car[:2], *yes, car[0]], tokenizer)
    assert len(texts) == len(yes) + 3
    assert "".join(texts) == tokenizer.decode([*car[:2], *yes, car[0]])


def test_it_is_a_vision_language_model(vlm: HuggingFaceVLM) -> None:
    model: VisionLanguageModel = vlm
    seen = model.model_sees(TRIAL.image)
    assert (seen.size, seen.mode) == ((48, 48), "RGB")
    capabilities = model.capabilities
    assert capabilities.attention
    assert capabilities.hidden_states
    assert capabilities.likelihoods
    assert capabilities.beam


def test_running_out_of_memory_is_said_and_gives_some_back(vlm: HuggingFaceVLM) -> None:
    one(vlm, "answer")

    def exhaust(message: str, fraction: float) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(ModelError, match="ran out of memory on cpu"):
        vlm.evaluate([TRIAL], DECODING, ["answer"], exhaust)
    assert len(vlm.prefills) == 0
    assert answer_of(one(vlm, "answer")).tokens


@contextmanager
def room_for(vlm: HuggingFaceVLM, rows: int) -> Iterator[list[int]]:
    """A model whose memory runs out at the third token of a batch of more rows; yields the sizes that failed."""
    failed: list[int] = []
    steps = 0

    def check(module: torch.nn.Module, args: Any, options: dict[str, Any]) -> None:
        nonlocal steps
        size, new = options["inputs_embeds"].shape[:2]
        steps = 0 if new > 1 else steps + 1
        if size > rows and steps >= 3:
            failed.append(size)
            steps = 0
            raise torch.OutOfMemoryError("CUDA out of memory.")

    hook = vlm._model.get_decoder().register_forward_pre_hook(check, with_kwargs=True)
    try:
        yield failed
    finally:
        hook.remove()


@pytest.mark.parametrize("shared", [True, False])
def test_a_batch_that_runs_out_of_memory_is_drawn_in_halves(vlm: HuggingFaceVLM, shared: bool) -> None:
    decoding = Decoding(**(DECODING.to_json() | {"n_samples": 24}))
    before = samples_of(one(vlm, "samples", decoding))
    assert vlm._shares is True
    vlm._shares = shared
    one(vlm, "answer", trial=make_trial(seed=1))
    told: list[tuple[str, float]] = []
    with room_for(vlm, 4) as failed:
        [output] = vlm.evaluate([TRIAL], decoding, ["samples"], lambda *news: told.append(news))
    assert len(failed) >= 2
    assert failed == sorted(failed, reverse=True)
    assert [sample.token_ids for sample in samples_of(output)] == [sample.token_ids for sample in before]
    assert len(vlm.prefills) == 1  # the other trial's made room
    assert [fraction for _, fraction in told] == sorted(fraction for _, fraction in told)
    assert any("at a time, since memory ran out" in message for message, _ in told)


def test_no_room_even_for_one_sample_is_said(vlm: HuggingFaceVLM) -> None:
    with room_for(vlm, 0), pytest.raises(ModelError, match="ran out of memory on cpu"):
        one(vlm, "samples", Decoding(**(DECODING.to_json() | {"seed": 2})))
    assert len(vlm.prefills) == 0


def test_every_devices_way_of_running_out_of_memory_is_known() -> None:
    with pytest.raises(RuntimeError) as real:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(real.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_another_failure_is_not_taken_for_a_lack_of_memory(vlm: HuggingFaceVLM) -> None:
    def fail(message: str, fraction: float) -> None:
        if "Drawing" in message:
            raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        vlm.evaluate([TRIAL], DECODING, ["samples"], fail)


def test_the_thread_setting_is_left_as_it_was(vlm: HuggingFaceVLM) -> None:
    inside = []
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        vlm.evaluate([TRIAL], DECODING, ["answer"], lambda *_: inside.append(torch.get_num_threads()))
        assert set(inside[:-1]) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
