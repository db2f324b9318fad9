"""The catalogue's rows, their prompts, and what is told of a model's memory before it is loaded."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    MistralConfig,
)

from isi_core.domain.errors import ModelError
from isi_core.models import memory
from isi_core.models.catalogue import (
    DEFAULT_ENTAILMENT,
    DEFAULT_VLM,
    ROWS,
    CatalogueRow,
    find_entailment,
    find_vlm,
    sizes,
    vlm_families,
)
from isi_core.models.memory import Readiness, free_memory, memory_need, readiness, weight_bytes
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.models.vlm.prompt import PromptBuilder
from isi_core.models.weights import count_weights
from tests.checkpoints import llava_processor, make_trial, save_llava

GIGA = 1 << 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llava(tmp_path_factory.mktemp("checkpoints") / "random-llava")


def test_families_and_sizes() -> None:
    assert vlm_families()[:4] == ["Tiny LLaVA", "LLaVA-1.5", "LLaVA-Vicuna", "LLaVA-NeXT"]
    assert {"Qwen2.5-VL", "Qwen3-VL", "Gemma 3", "SmolVLM2", "InternVL3", "PaliGemma 2", "Idefics3"} == {
        *vlm_families()[4:]
    }
    assert [row.size for row in sizes("Qwen3-VL")] == ["4B", "8B"]
    assert [row.size for row in sizes("LLaVA-1.5")] == ["7B", "13B"]
    assert [row.source for row in sizes("LLaVA-NeXT")] == [
        "llava-hf/llava-v1.6-mistral-7b-hf",
        "llava-hf/llava-v1.6-34b-hf",
    ]
    assert sizes("nothing") == []
    assert find_vlm(DEFAULT_VLM).embedded and find_entailment(DEFAULT_ENTAILMENT).embedded
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_a_model_is_found_by_name_hub_id_and_folder(folder: Path) -> None:
    assert find_vlm("llava-1.5-7b") is find_vlm(" llava-hf/llava-1.5-7b-hf ")
    other = find_vlm("Qwen/Qwen2.5-VL-32B-Instruct")
    assert (other.name, other.source, other.chat_template) == (other.source, "Qwen/Qwen2.5-VL-32B-Instruct", None)
    local = find_vlm(str(folder))
    assert (local.name, local.source) == ("random-llava", folder.resolve())
    assert find_entailment("microsoft/deberta-large-mnli").kind == "entailment"


@pytest.mark.parametrize(
    "name", ["", "tiny", "tiny-nli", "../x", "a/b/c", "owner/..", "a\x00/b", "x" * 5000, "https://h.co/a", "~nobody9/x"]
)
def test_what_is_no_model_is_refused_with_the_way_out(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # "../x" is a folder beside some checkout
    with pytest.raises(ModelError, match=r"choose one of tiny-llava, .*or give a hub id"):
        find_vlm(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("llava-1.5-13b", "USER: <image>\nRed. Is it? \nASSISTANT:"),
        (
            "llava-vicuna-7b",
            "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, "
            "detailed, and polite answers to the human's questions. USER: <image>\nRed. Is it? ASSISTANT:",
        ),
        ("llava-next-7b", "[INST] <image>\nRed. Is it? [/INST]"),
    ],
)
def test_published_prompt_forms(name: str, expected: str) -> None:
    prompts = PromptBuilder(llava_processor(), name, find_vlm(name).chat_template)
    prompt = prompts.build(make_trial("Red.", "Is it?"), 10)
    assert prompt.text == expected
    assert "".join(prompt.question.tokens).strip() == "Is it?"


def _real(name: str) -> torch.nn.Module:
    """The architecture of a published checkpoint, without its weights."""
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
        projection_dim=768,
    )
    wide = {
        "hidden_size": 5120,
        "intermediate_size": 13824,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
        "num_key_value_heads": 40,
    }
    text = {
        "llava-1.5-13b": LlamaConfig(vocab_size=32064, **wide),
        "llava-vicuna-7b": LlamaConfig(vocab_size=32064),
        "llava-next-7b": MistralConfig(vocab_size=32064, intermediate_size=14336, num_key_value_heads=8),
    }[name]
    with torch.device("meta"):
        if name.startswith("llava-1.5"):
            return LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text))
        return LlavaNextForConditionalGeneration(LlavaNextConfig(vision_config=vision, text_config=text))


@pytest.mark.parametrize("name", ["llava-1.5-13b", "llava-vicuna-7b", "llava-next-7b"])
def test_counts_are_those_of_the_architecture(name: str) -> None:
    model, row = _real(name), find_vlm(name)
    assert row.parameters == sum(p.numel() for p in model.parameters())
    products = [
        m.weight.numel()
        for path, m in model.named_modules()
        if isinstance(m, torch.nn.Linear) and ".language_model.layers." in path
    ]
    assert row.quantizable == sum(products)
    config = model.config.get_text_config()
    head = config.hidden_size // config.num_attention_heads
    assert row.key_values == 2 * config.num_hidden_layers * config.num_key_value_heads * head


@pytest.mark.parametrize("row", [row for row in ROWS if row.embedded], ids=lambda row: row.name)
def test_counts_of_the_embedded_models(row: CatalogueRow) -> None:
    assert isinstance(row.source, Path)
    if not row.source.is_dir():
        pytest.skip("not trained yet")
    assert row.parameters == count_weights(row.source).parameters


def test_weights_are_counted_from_the_files(folder: Path) -> None:
    model = HuggingFaceVLM.load(folder, "x", device="cpu")._model
    found = count_weights(folder)
    assert found.parameters == sum(p.numel() for p in model.parameters())
    products = [m.weight for m in model.model.language_model.layers.modules() if isinstance(m, torch.nn.Linear)]
    assert found.quantizable == sum(p.numel() for p in products)
    row = find_vlm(str(folder))
    assert weight_bytes(row) == 4 * found.parameters
    assert weight_bytes(row, "4-bit") < weight_bytes(row, "8-bit") < weight_bytes(row)
    with pytest.raises(ModelError, match="unknown"):
        weight_bytes(row, "2-bit")


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 100, b"\x02\0\0\0\0\0\0\0[]", b'\x08\0\0\0\0\0\0\0{"a": 1}', b"\x01\0\0\0\0\0\0\0{"]
)
def test_damaged_weights(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        count_weights(tmp_path)
    assert readiness(find_vlm(str(tmp_path))).state == "missing"


def test_the_need_is_of_the_published_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ISI paper: 8 GB for 4-bit LLaVA 7B, 12 GB for Vicuna and NeXT, 7 GB for DeBERTa."""
    monkeypatch.setattr(memory, "_accelerated", lambda: True)
    assert 4 * GIGA < memory_need(find_vlm("llava-1.5-7b"), "4-bit") < 10 * GIGA
    assert 6 * GIGA < memory_need(find_vlm("llava-vicuna-7b"), "4-bit") < 14 * GIGA
    assert 3 * GIGA < memory_need(find_entailment("deberta-v2-xlarge-mnli")) < 8 * GIGA
    beside = memory_need(find_vlm("llava-1.5-7b"), "4-bit", find_entailment("deberta-v2-xlarge-mnli"))
    assert beside - memory_need(find_vlm("llava-1.5-7b"), "4-bit") > 3 * GIGA
    assert memory_need(find_vlm("owner/unknown")) == 0


def test_readiness(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < free_memory() < 1 << 50
    local = readiness(find_vlm(str(folder)))
    assert (local.state, local.usable) == ("on disk", True)
    assert 0 < local.need_bytes < local.free_bytes
    (tmp_path / "empty").mkdir()
    assert readiness(find_vlm(str(tmp_path / "empty"))).state == "missing"
    embedded = replace(find_vlm(DEFAULT_VLM), source=folder)
    assert readiness(embedded).state == "built in"
    gone = readiness(replace(embedded, source=tmp_path / "gone"))
    assert (gone.state, gone.usable) == ("missing", False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert readiness(find_vlm("owner/not-there")).state == "to download"


def _readiness(name: str, free: int, monkeypatch: pytest.MonkeyPatch) -> Readiness:
    monkeypatch.setattr(memory, "_accelerated", lambda: True)
    monkeypatch.setattr(memory, "free_memory", lambda: free)
    return readiness(find_vlm(name))


@pytest.mark.parametrize(
    ("free", "advice"), [(32, "choose 4-bit"), (13, "choose llava-next-7b in 4-bit"), (1, "choose tiny-llava")]
)
def test_too_large_says_what_would_fit(free: int, advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _readiness("llava-next-34b", free * GIGA, monkeypatch)
    assert (found.state, found.usable) == ("too large", False)
    assert advice in found.sentence and f"{free}.0 GB are free" in found.sentence
    assert readiness(find_vlm("llava-next-34b"), freed=200 * GIGA).state == "to download"


def test_a_checkpoint_in_the_hub_cache_counts_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from isi_core.models.catalogue import find_vlm; from isi_core.models.memory import readiness;"
        "import sys; found = readiness(find_vlm('owner/name'));"
        "print(found.state, 'torch' in sys.modules)"
    )
    snapshot = tmp_path / "models--owner--name" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (tmp_path / "models--owner--name" / "refs").mkdir()
    (tmp_path / "models--owner--name" / "refs" / "main").write_text("0" * 40)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors.index.json").write_text('{"weight_map": {"a": "one.safetensors"}}')

    def state() -> str:
        environment = {"HF_HUB_CACHE": str(tmp_path), "PATH": "", "PYTHONPATH": str(Path.cwd())}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert state().startswith("to download")
    (snapshot / "one.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    assert state().startswith("on disk")
    if not Path("/dev/nvidia0").exists():
        assert state() == "on disk False"  # torch was not needed
