"""The memory estimate against what a model takes: samples share one copy of the prompt's keys and values."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from isi_core.models import memory
from isi_core.models.catalogue import find_entailment, find_vlm
from isi_core.models.memory import memory_need, readiness, samples_bytes, weight_bytes
from tests.checkpoints import save_llava
from tests.family_checkpoints import save_gemma3, save_qwen25_vl

GIGA = 1 << 30
MEGA = 1 << 20

# 576 image tokens, and keys and values of 24 kB a token beside weights of 8 MB.
SHAPE = {"size": 288, "hidden": 256, "layers": 12, "heads": 8, "kv_heads": 8}
TOKEN = 2 * 12 * 256 * 4

MEASURE = """
import json, sys
from pathlib import Path
from isi_core.domain.decoding import Decoding
from isi_core.models.memory import ANSWER_TOKENS, SAMPLES
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from tests.checkpoints import make_trial

def read(name):
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) * 1024

vlm = HuggingFaceVLM.load(sys.argv[1], "measured", device="cpu")
vlm._end_tokens = frozenset()
trial = make_trial("People saw something red.")
vlm.evaluate([make_trial()], Decoding(n_samples=2, max_new_tokens=2), ["samples"])
vlm.prefills.clear()
before = read("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
[output] = vlm.evaluate([trial], Decoding(n_samples=SAMPLES, max_new_tokens=ANSWER_TOKENS), ["samples"])
assert vlm._shares and all(len(sample.token_ids) == ANSWER_TOKENS for sample in output.samples)
print(json.dumps({"tokens": output.prompt_tokens, "growth": read("VmHWM") - before}))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read from Linux's /proc")
def test_samples_take_what_is_estimated(tmp_path: Path) -> None:
    folder = save_llava(tmp_path / "wide", **SHAPE)  # type: ignore[arg-type]
    # Freed memory goes back at once, so that the process's size tells what is held.
    allocator = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder)],
        cwd=Path(__file__).parents[2],
        env=os.environ | allocator | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    measured = json.loads(done.stdout.splitlines()[-1])
    prompt = TOKEN * measured["tokens"]
    estimate = prompt + samples_bytes(TOKEN, prompt)
    print(f"measured {measured['growth'] / MEGA:.1f} MB, estimated {estimate / MEGA:.1f} MB")
    assert measured["tokens"] > 576
    assert 0.7 * estimate < measured["growth"] < 1.4 * estimate
    # Ten copies of the prompt would be far from it.
    assert prompt + samples_bytes(TOKEN, prompt, shared=False) > 4 * measured["growth"]


def test_keys_and_values_are_counted_from_the_weights(tmp_path: Path) -> None:
    row = find_vlm(str(save_llava(tmp_path / "random", heads=8, kv_heads=2, layers=4, hidden=64)))
    token = 2 * 4 * 2 * 8 * 4  # keys and values, layers, key heads, their size, float32
    prompt = token * (memory.IMAGE_TOKENS + memory.TEXT_TOKENS)
    loaded = weight_bytes(row) * 1.05 + 50 * MEGA + weight_bytes(find_entailment("tiny-nli"))
    assert memory_need(row) == pytest.approx(loaded + prompt + samples_bytes(token, prompt) + 10 * prompt, rel=1e-3)


def test_samples_of_a_model_with_sliding_windows_copy_the_prompt(tmp_path: Path) -> None:
    assert memory._slides(find_vlm(str(save_gemma3(tmp_path / "gemma"))))
    qwen = save_qwen25_vl(tmp_path / "qwen")
    assert not memory._slides(find_vlm(str(qwen)))
    config = json.loads((qwen / "config.json").read_text())
    config["text_config"] |= {"sliding_window": 32768, "use_sliding_window": False, "layer_types": None}
    (qwen / "config.json").write_text(json.dumps(config))
    assert not memory._slides(find_vlm(str(qwen)))  # as the published one is
    for damaged in ("", "[]", '{"text_config": 3}', "[" * 5000):
        (qwen / "config.json").write_text(damaged)
        assert not memory._slides(find_vlm(str(qwen)))
    assert samples_bytes(10, 1000, shared=False) == 10 * (40 * 10 + 1000)
    assert samples_bytes(10, 1000) == 10 * 40 * 10
    assert samples_bytes(10, 3 * GIGA, shared=False) == 3 * GIGA + 400  # one at a time, where no two fit


@pytest.mark.parametrize(
    ("name", "quantization", "published"),
    [("llava-1.5-7b", "4-bit", 8), ("llava-vicuna-7b", "4-bit", 12), ("llava-next-7b", "4-bit", 12)],
)
def test_the_need_is_of_the_published_order(
    name: str, quantization: str, published: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ISI paper's numbers in GB; it holds whole attention matrices of long prompts, which are not made here."""
    monkeypatch.setattr(memory, "_accelerated", lambda: True)
    assert 0.5 < memory_need(find_vlm(name), quantization) / (published * GIGA) < 1.1


def test_the_entailment_model_is_of_the_published_order() -> None:
    assert 0.5 < memory_need(find_entailment("deberta-v2-xlarge-mnli")) / (7 * GIGA) < 1.1


@pytest.mark.parametrize(
    ("name", "quantization", "free", "advice"),
    [
        ("llava-next-34b", "none", 32, "choose 4-bit, which needs about"),
        ("llava-next-34b", "4-bit", 13, "choose llava-next-7b in 4-bit"),
        ("llava-vicuna-13b", "none", 10, "choose llava-vicuna-7b in 4-bit"),
        ("llava-vicuna-7b", "4-bit", 2, "choose tiny-llava, or close other programs, or ask it where it runs"),
    ],
)
def test_what_does_not_fit_says_what_would(
    name: str, quantization: str, free: int, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_accelerated", lambda: True)
    monkeypatch.setattr(memory, "free_memory", lambda: free * GIGA)
    found = readiness(find_vlm(name), quantization)
    assert found.state == "too large"
    assert advice in found.sentence


def test_endpoints_are_only_advised_where_they_may_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_accelerated", lambda: True)
    monkeypatch.setattr(memory, "free_memory", lambda: GIGA)
    monkeypatch.setenv("ISI_MODELS_TYPED", "hub")
    assert "endpoint" not in readiness(find_vlm("llava-vicuna-7b"), "4-bit").sentence
