"""Answers that share their prompt's keys and values: the same as with copies, and one copy of the prompt in memory."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForImageTextToText,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    MistralConfig,
)
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from isi_core.domain.answer import Answer
from isi_core.domain.decoding import Decoding
from isi_core.models.vlm import generation, shared_prefix
from isi_core.models.vlm.generation import beam_search, decode, shares_exactly
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.models.vlm.prefill import Prefill
from isi_core.models.vlm.sampling import Draw
from isi_core.models.vlm.shared_prefix import attend, can_share, share, sharing
from tests.checkpoints import make_trial, save_llava, save_llava_next

TRIAL = make_trial("People saw something red.")
DECODING = Decoding(max_new_tokens=16, n_samples=12, temperature=1.2, top_k=0)
SHARING = ["heads of their own", "grouped-query heads", "several tiles"]


def save_sliding(folder: Path, window: int) -> Path:
    """A LLaVA with a Mistral whose layers see the latest `window` tokens only."""
    plain = save_llava(folder, kv_heads=2)
    config: Any = LlavaConfig.from_pretrained(plain)
    text = config.text_config.to_dict()
    for name in ("model_type", "architectures", "layer_types"):
        text.pop(name, None)
    config.text_config = MistralConfig(**text | {"sliding_window": window})
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(5)
    model.save_pretrained(folder)
    LlavaProcessor.from_pretrained(plain).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {
        "heads of their own": save_llava(root / "mha"),
        "grouped-query heads": save_llava(root / "gqa", kv_heads=2),
        "several tiles": save_llava_next(root / "next"),
        "sliding window": save_sliding(root / "sliding", window=16),
    }


def measure(folder: Path, shares: bool | None, **options: Any) -> tuple[HuggingFaceVLM, Any]:
    """Everything of one trial, the prompt shared or copied; None leaves the choice to the model."""
    vlm = HuggingFaceVLM.load(folder, "tiny", device="cpu", **options)
    vlm._shares = shares
    [output] = vlm.evaluate([TRIAL], DECODING, ["samples", "attention"])
    return vlm, output


def prefill_of(vlm: HuggingFaceVLM) -> Prefill:
    vlm.evaluate([TRIAL], Decoding(max_new_tokens=1), ["answer"])
    prefill = vlm.prefills.get(TRIAL.digest)
    assert prefill is not None
    return prefill


def assert_same(answers: tuple[Answer, ...], others: tuple[Answer, ...]) -> None:
    for answer, other in zip(answers, others, strict=True):
        assert answer.token_ids == other.token_ids
        np.testing.assert_allclose(answer.log_likelihoods, other.log_likelihoods, atol=2e-5)
        np.testing.assert_allclose(answer.sampling_log_likelihoods, other.sampling_log_likelihoods, atol=2e-5)


@pytest.mark.parametrize("kind", SHARING)
def test_sharing_gives_the_answers_and_attention_of_copying(folders: dict[str, Path], kind: str) -> None:
    vlm, shared = measure(folders[kind], None)
    assert vlm._shares is True
    _, copied = measure(folders[kind], False)
    assert len({len(sample.token_ids) for sample in shared.samples}) > 3  # rows drop out at different steps
    assert len({sample.token_ids for sample in shared.samples}) > 6
    assert_same(shared.samples, copied.samples)
    assert_same((shared.answer,), (copied.answer,))
    np.testing.assert_allclose(shared.attention.sums, copied.attention.sums, atol=1e-6)
    np.testing.assert_allclose(shared.attention.image_columns, copied.attention.image_columns, atol=1e-3)


@pytest.mark.parametrize("kind", SHARING)
def test_beams_share_too(folders: dict[str, Path], kind: str) -> None:
    vlm = HuggingFaceVLM.load(folders[kind], "tiny", device="cpu")
    decoding = Decoding(strategy="beam", num_beams=4, max_new_tokens=10)
    prefill = prefill_of(vlm)
    with torch.inference_mode():
        shared, copied = (
            beam_search(vlm._model, prefill, decoding, vlm._end_tokens, shared=shared) for shared in (True, False)
        )
    assert vlm._shares is True
    assert shared == copied
    assert len(shared) > 2


def test_a_sliding_window_is_copied_as_before(folders: dict[str, Path]) -> None:
    vlm, output = measure(folders["sliding window"], None)
    assert vlm._shares is False
    prefill = prefill_of(vlm)
    assert len(prefill.prompt) > 16
    assert not can_share(prefill.cache, len(prefill.prompt))
    _, copied = measure(folders["sliding window"], False)
    assert_same(output.samples, copied.samples)


def test_eager_and_capped_attention_is_copied(folders: dict[str, Path]) -> None:
    vlm = HuggingFaceVLM.load(folders["grouped-query heads"], "tiny", device="cpu")
    prefill = prefill_of(vlm)
    eager: Any = AutoModelForImageTextToText.from_pretrained(
        folders["grouped-query heads"], attn_implementation="eager"
    )
    with torch.inference_mode():
        assert shares_exactly(vlm._model, prefill)
        assert not shares_exactly(eager.eval(), prefill)


@pytest.mark.parametrize("number", ["bfloat16", "float16"])
def test_16_bits_share_too(folders: dict[str, Path], number: str) -> None:
    vlm, output = measure(folders["grouped-query heads"], None, dtype=number)
    assert vlm._shares is True
    assert len(output.samples) == DECODING.n_samples


# -- memory ---------------------------------------------------------------------------------


def storages(tokens: int) -> set[int]:
    """Addresses of all memory that holds keys or values of at least so many tokens."""
    found = set()
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor) and thing.ndim == 4 and thing.shape[-2] >= tokens:
            found.add(thing.untyped_storage().data_ptr())
    return found


@pytest.mark.parametrize("shared", [True, False])
def test_the_prompts_keys_and_values_exist_once(folders: dict[str, Path], shared: bool) -> None:
    vlm = HuggingFaceVLM.load(folders["grouped-query heads"], "tiny", device="cpu")
    prefill = prefill_of(vlm)
    tokens = len(prefill.prompt)
    own = {tensor.untyped_storage().data_ptr() for x in prefill.cache.layers for tensor in (x.keys, x.values)}
    assert len(own) == 2 * vlm._layers
    gc.collect()
    before = storages(tokens)
    assert own <= before
    extra = []
    hook = (
        vlm._model.get_decoder()
        .layers[-1]
        .register_forward_hook(lambda *_: extra.append(len(storages(tokens) - before)))
    )
    with torch.inference_mode():
        decode(
            vlm._model,
            prefill,
            range(6),
            Draw(DECODING, list("abcdef")),
            end_tokens=(),
            max_new_tokens=4,
            shared=shared,
        )
    hook.remove()
    assert len(extra) == 3
    if shared:
        assert extra == [0, 0, 0]
    else:
        assert min(extra) >= 2 * vlm._layers  # the test sees copies where there are some


def test_reading_a_prompt_keeps_one_token_of_each_block(folders: dict[str, Path]) -> None:
    """Hidden states must be copies: views of the last token would hold every block's whole output."""
    vlm = HuggingFaceVLM.load(folders["several tiles"], "tiny", device="cpu")
    parameters = {parameter.untyped_storage().data_ptr() for parameter in vlm._model.parameters()}
    too_large: list[int] = []
    kept: list[int] = []

    def look(*_: Any) -> None:
        for thing in gc.get_objects():
            if type(thing) is torch.Tensor and thing.shape in ((32,), (1, 32)) and thing.dtype == torch.float32:
                storage = thing.untyped_storage()
                if storage.data_ptr() not in parameters:
                    kept.append(storage.nbytes())
                    too_large.extend([storage.nbytes()] * (storage.nbytes() > 4 * 32))

    hook = vlm._model.get_decoder().norm.register_forward_pre_hook(look)
    prefill_of(vlm)
    hook.remove()
    assert len(kept) >= vlm._layers
    assert too_large == []


def test_rows_hold_their_own_tokens_only(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = HuggingFaceVLM.load(folders["several tiles"], "tiny", device="cpu")
    prefill = prefill_of(vlm)
    caches: list[DynamicCache] = []

    def kept(cache: DynamicCache) -> DynamicCache:
        caches.append(share(cache))
        return caches[-1]

    monkeypatch.setattr(generation, "share", kept)
    with torch.inference_mode():
        decode(
            vlm._model,
            prefill,
            range(5),
            Draw(DECODING, list("abcde")),
            end_tokens=(),
            max_new_tokens=7,
            shared=True,
        )
    [cache] = caches
    for layer, source in zip(cache.layers, prefill.cache.layers, strict=True):
        assert layer.prompt_keys.data_ptr() == source.keys.data_ptr()
        assert layer.prompt_values.data_ptr() == source.values.data_ptr()
        assert layer.keys.shape == (5, source.keys.shape[1], 6, source.keys.shape[3])  # the 7th token is not read
        assert layer.get_seq_length() == len(prefill.prompt) + 6
        assert source.keys.shape[-2] == len(prefill.prompt)


# -- the attention itself -------------------------------------------------------------------


class Attention(torch.nn.Module):
    layer_idx = 0

    def __init__(self, grouped: int) -> None:
        super().__init__()
        self.num_key_value_groups = grouped


@pytest.mark.parametrize("grouped", [1, 4])
@pytest.mark.parametrize("mask", ["none", "bool", "float"])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_attention_equals_one_over_the_whole_text(grouped: int, mask: str, scaling: float | None) -> None:
    torch.manual_seed(0)
    rows, heads, prompt, own, size = 3, 8, 11, 5, 4
    cache = DynamicCache()
    cache.layers = [DynamicLayer()]
    cache.update(*(torch.randn(1, heads // grouped, prompt, size) * 2 for _ in range(2)), 0)
    query = torch.randn(rows, heads, 1, size) * 2
    keys, values = (torch.randn(rows, heads // grouped, own, size) * 2 for _ in range(2))
    hidden: torch.Tensor | None = None
    if mask != "none":
        seen = torch.rand(rows, 1, 1, prompt + own) > 0.4
        hidden = seen if mask == "bool" else torch.where(seen, 0.0, torch.finfo(torch.float32).min)
    module = Attention(grouped)
    whole = [
        torch.cat([x.expand(rows, -1, -1, -1), y], dim=2)
        for x, y in ((cache.layers[0].keys, keys), (cache.layers[0].values, values))
    ]
    expected, _ = sdpa_attention_forward(module, query, *whole, hidden, scaling=scaling)

    assert attend(module, query, keys, values, hidden, scaling) is None  # nothing is shared here
    shared = share(cache)
    with sharing(shared):
        found = attend(module, query, *shared.update(keys, values, 0), hidden, scaling)
    assert found is not None
    torch.testing.assert_close(found[0], expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found[1].sum(-1), torch.ones(rows, heads))
    torch.testing.assert_close(
        torch.einsum("bhk,bhkd->bhd", found[1], whole[1].repeat_interleave(grouped, dim=1)), expected[:, 0]
    )


@pytest.mark.parametrize("option", ["softcap", "s_aux", "position_bias"])
def test_attention_of_other_kinds_is_refused(option: str) -> None:
    cache = DynamicCache()
    cache.layers = [DynamicLayer()]
    cache.update(torch.ones(1, 1, 3, 2), torch.ones(1, 1, 3, 2), 0)
    shared = share(cache)
    with sharing(shared), pytest.raises(NotImplementedError):
        own = shared.update(torch.ones(2, 1, 1, 2), torch.ones(2, 1, 1, 2), 0)
        attend(Attention(1), torch.ones(2, 1, 1, 2), *own, None, None, **{option: torch.ones(1)})
    with pytest.raises(NotImplementedError):
        shared.layers[0].crop(-1)


Attended = tuple[torch.Tensor, torch.Tensor] | None


def rows_mixed_up(result: Attended) -> Attended:
    return None if result is None else (result[0].flip(0), result[1])


def heads_mixed_up(result: Attended) -> Attended:
    return None if result is None else (result[0].flip(2), result[1])


def slightly_off(result: Attended) -> Attended:
    return None if result is None else (result[0] * 1.001, result[1])


@pytest.mark.parametrize("broken", [rows_mixed_up, heads_mixed_up, slightly_off])
def test_a_model_on_which_sharing_makes_a_difference_is_found(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, broken: Callable[[Attended], Attended]
) -> None:
    _, expected = measure(folders["grouped-query heads"], False)
    monkeypatch.setattr(shared_prefix, "attend", lambda *args, **options: broken(attend(*args, **options)))
    vlm, output = measure(folders["grouped-query heads"], None)
    assert vlm._shares is False
    assert_same(output.samples, expected.samples)


def test_attention_that_forgets_the_prompt_is_found(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """As attention of a model's own would, which never asks for the prompt."""
    monkeypatch.setattr(shared_prefix, "attend", lambda *args, **options: None)
    vlm, _ = measure(folders["heads of their own"], None)
    assert vlm._shares is False
