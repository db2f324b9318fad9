"""Loading: what is recorded, what is refused, and number formats."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig

from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import ModelError
from isi_core.domain.evaluation import ModelRecord
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.models.vlm.loading import load_checkpoint
from tests.checkpoints import make_trial, save_llava, save_llava_next, whole_text

HEAD = "language_model.lm_head.weight"  # as the file names it
DECODING = Decoding(max_new_tokens=5, n_samples=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llava(tmp_path_factory.mktemp("checkpoints") / "half", hidden=64, dtype=torch.float16)


def copy_to(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def test_a_model_stored_in_half_precision_runs_in_float32_on_a_cpu(folder: Path) -> None:
    assert load_file(folder / "model.safetensors")[HEAD].dtype == torch.float16
    vlm = HuggingFaceVLM.load(folder, "tiny", device="cpu")
    assert {parameter.dtype for parameter in vlm._model.parameters()} == {torch.float32}
    assert vlm.record == ModelRecord(
        name="tiny",
        source="half",
        revision=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        dtype="float32",
        quantization="none",
        attention="sdpa",
        device="cpu",
    )


def test_another_number_format_runs(folder: Path) -> None:
    vlm = HuggingFaceVLM.load(folder, "tiny", dtype="bfloat16", device="cpu")
    assert vlm.record.dtype == "bfloat16"
    [output] = vlm.evaluate([make_trial("Red.")], DECODING, ["attention", "samples", "hidden_states"])
    assert output.attention is not None
    assert output.samples is not None
    with pytest.raises(ModelError, match="unknown"):
        HuggingFaceVLM.load(folder, "tiny", dtype="float17")


@pytest.mark.parametrize(("quantization", "kind"), [("4-bit", "Linear4bit"), ("8-bit", "Linear8bitLt")])
def test_quantized_language_models_answer_and_tell_their_attention(folder: Path, quantization: str, kind: str) -> None:
    vlm = HuggingFaceVLM.load(folder, "tiny", quantization=quantization, device="cpu")  # type: ignore[arg-type]
    assert (vlm.record.quantization, vlm.record.dtype) == (quantization, "float32")
    quantized = {name for name, module in vlm._model.named_modules() if type(module).__name__ == kind}
    assert len(quantized) == 3 * 7  # every product in the three blocks, none outside
    assert all(name.startswith("model.language_model.layers.") for name in quantized)
    decoding = Decoding(strategy="sample", max_new_tokens=5, n_samples=2, seed=1)
    [output] = vlm.evaluate([make_trial("Red.")], decoding, ["attention", "samples"])
    assert output.answer is not None
    assert output.attention is not None
    assert output.attention.sums.sum(-1) == pytest.approx(1, abs=1e-5)
    full = HuggingFaceVLM.load(folder, "tiny", device="cpu")
    assert vlm._model.get_memory_footprint() < 0.7 * full._model.get_memory_footprint()


@pytest.mark.parametrize(("text", "kv_heads"), [(MistralConfig, 2), (LlamaConfig, 4)])
def test_four_bit_llava_next_tells_every_measure(tmp_path: Path, text: Any, kv_heads: int) -> None:
    """The shapes of LLaVA-NeXT (Mistral) and LLaVA-Vicuna: several tiles, grouped or own key heads."""
    folder = save_llava_next(tmp_path / "next", hidden=64, kv_heads=kv_heads, text=text)
    vlm = HuggingFaceVLM.load(folder, "next", quantization="4-bit", device="cpu")
    quantized = [name for name, module in vlm.network.named_modules() if type(module).__name__ == "Linear4bit"]
    assert len(quantized) == 2 * 7
    assert all(name.startswith("model.language_model.layers.") for name in quantized)
    trials = [make_trial("Red.", size=(90, 40)), make_trial("A red house.", seed=1, size=(90, 40))]
    decoding = Decoding(max_new_tokens=8, n_samples=6, top_k=40)
    outputs = vlm.evaluate(trials, decoding, ["answer", "attention", "samples", "hidden_states"])
    assert vlm._shares
    model, [prompt, _] = vlm.network, vlm.prompts(trials, 8)
    with torch.inference_mode():
        expected = model.generate(
            **prompt.inputs, do_sample=False, max_new_tokens=8, eos_token_id=sorted(vlm._end_tokens), pad_token_id=0
        )[0, len(prompt) :].tolist()
    [answer, samples] = outputs[0].answer, outputs[0].samples
    assert answer is not None and samples is not None
    assert list(answer.token_ids) == expected
    for output in outputs:
        assert output.attention is not None and output.hidden_states is not None
        assert output.attention.sums.sum(-1) == pytest.approx(1, abs=1e-5)
        assert output.attention.sums[..., 1:5].min() >= 0
        assert len(output.hidden_states) == 2
    with torch.inference_mode(), whole_text(model, prompt.inputs, samples[0].token_ids) as inputs:
        logits = model(**inputs).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    own = logits[range(len(samples[0].token_ids)), list(samples[0].token_ids)]
    # Products of one row and of many go through different 4-bit kernels.
    assert samples[0].log_likelihoods == pytest.approx(own.tolist(), abs=0.1)


def test_the_end_of_an_answer_is_all_that_is_taken_from_the_generation_config(folder: Path) -> None:
    checkpoint = load_checkpoint(folder, "tiny", device="cpu")
    assert checkpoint.end_tokens == frozenset([2, *range(60, 90)])
    assert checkpoint.model.generation_config.temperature is None
    assert checkpoint.model.generation_config.repetition_penalty is None


def test_without_a_generation_config_the_text_model_says_where_answers_end(folder: Path, tmp_path: Path) -> None:
    bare = copy_to(folder, tmp_path / "bare")
    (bare / "generation_config.json").unlink()
    assert load_checkpoint(bare, "tiny", device="cpu").end_tokens == {2}


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no folder"):
        HuggingFaceVLM.load(tmp_path / "nowhere", "tiny")


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="could not be loaded"):
        HuggingFaceVLM.load(tmp_path, "tiny")


def test_damaged_weights(folder: Path, tmp_path: Path) -> None:
    broken = copy_to(folder, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"\x10" * 100)
    with pytest.raises(ModelError, match="could not be loaded"):
        HuggingFaceVLM.load(broken, "tiny")


def test_pickled_weights_are_not_read(folder: Path, tmp_path: Path) -> None:
    pickled = copy_to(folder, tmp_path / "pickled")
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="safetensors"):
        HuggingFaceVLM.load(pickled, "tiny")


def test_missing_weights_are_not_made_up(folder: Path, tmp_path: Path) -> None:
    partial = copy_to(folder, tmp_path / "partial")
    weights = load_file(partial / "model.safetensors")
    weights.pop(HEAD)
    save_file(weights, partial / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"missing in tiny \(1 of them, such as lm_head.weight\)"):
        HuggingFaceVLM.load(partial, "tiny")


def test_code_of_a_checkpoint_is_not_run(folder: Path, tmp_path: Path) -> None:
    remote = copy_to(folder, tmp_path / "remote")
    config = (remote / "config.json").read_text()
    config = config.replace('"model_type": "llava"', '"model_type": "mine", "auto_map": {"AutoConfig": "code.Mine"}')
    (remote / "config.json").write_text(config)
    (remote / "code.py").write_text("raise SystemExit('run')")
    with pytest.raises(ModelError, match="could not be loaded"):
        HuggingFaceVLM.load(remote, "tiny")


def test_a_language_model_without_eyes(tmp_path: Path) -> None:
    config = LlamaConfig(vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="could not be loaded"):
        HuggingFaceVLM.load(tmp_path, "tiny")


def test_an_unknown_quantization(folder: Path) -> None:
    with pytest.raises(ModelError, match="unknown: choose none, 4-bit, 8-bit"):
        HuggingFaceVLM.load(folder, "tiny", quantization="2-bit")  # type: ignore[arg-type]


def test_a_released_model_says_so(folder: Path) -> None:
    vlm = HuggingFaceVLM.load(folder, "tiny", device="cpu")
    vlm.evaluate([make_trial("Red.")], DECODING, ["answer"])
    vlm.close()
    assert len(vlm.prefills) == 0
    with pytest.raises(ModelError, match="released"):
        vlm.evaluate([make_trial("Red.")], DECODING, ["answer"])
    with pytest.raises(ModelError, match="released"):
        vlm.model_sees(make_trial().image)


def test_weights_that_are_not_numbers_are_noticed(folder: Path, tmp_path: Path) -> None:
    broken = copy_to(folder, tmp_path / "nan")
    weights = load_file(broken / "model.safetensors")
    weights[HEAD][:] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    vlm = HuggingFaceVLM.load(broken, "tiny", device="cpu")
    with pytest.raises(ModelError, match="not numbers"):
        vlm.evaluate([make_trial("Red.")], DECODING, ["answer"])
