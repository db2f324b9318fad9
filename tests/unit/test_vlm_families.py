"""The one mechanism on other families' language models: exact against `generate` and eager attention.

Prompts are made by hand, since these families' processors are not what is tested here: a text
that attends to itself both ways (PaliGemma), sliding windows and two-way pictures (Gemma 3), and
positions in three dimensions that the model remembers from its latest prompt (Qwen2.5-VL).
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GenerationConfig,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from isi_core.domain.attribution import GROUPS
from isi_core.domain.decoding import Decoding
from isi_core.models.vlm import attention_rows
from isi_core.models.vlm.generation import beam_search, decode, shares_exactly
from isi_core.models.vlm.prefill import Prefill, read_prompt
from isi_core.models.vlm.prompt import Prompt, Span
from isi_core.models.vlm.sampling import Draw, Forced, Greedy

IMAGE, END, STEPS = 10, 2, 12
TEXT = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "eos_token_id": END,
    "pad_token_id": 0,
}
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32}


def qwen() -> tuple[Any, list[dict[str, torch.Tensor]]]:
    rope = {"rope_type": "default", "type": "mrope", "mrope_section": [1, 1, 2]}
    config = Qwen2_5_VLConfig(
        text_config=TEXT | {"num_key_value_heads": 2, "rope_scaling": rope},
        vision_config={
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 16,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [0],
        },
        image_token_id=IMAGE,
        vision_start_token_id=11,
        vision_end_token_id=12,
        video_token_id=13,
    )
    inputs = []
    for rows, columns in ((4, 8), (8, 8)):  # another grid moves the text to other positions
        ids = torch.tensor([[1, 20, 11] + [IMAGE] * (rows * columns // 4) + [12, 30, 31, 32, 33, 34]])
        inputs.append(
            {
                "input_ids": ids,
                "mm_token_type_ids": (ids == IMAGE).long(),
                "pixel_values": torch.randn(rows * columns, 3 * 2 * 16),
                "image_grid_thw": torch.tensor([[1, rows, columns]]),
            }
        )
    return Qwen2_5_VLForConditionalGeneration(config), inputs


def paligemma() -> tuple[Any, list[dict[str, torch.Tensor]]]:
    config = PaliGemmaConfig(
        text_config=TEXT | {"model_type": "gemma", "num_key_value_heads": 1, "head_dim": 8},
        vision_config=TOWER | {"model_type": "siglip_vision_model", "patch_size": 8},
        image_token_id=IMAGE,
        projection_dim=32,
    )
    ids = torch.tensor([[IMAGE] * 16 + [1, 30, 31, 32, 33, 34]])
    inputs = {
        "input_ids": ids,
        "token_type_ids": torch.zeros_like(ids),
        "pixel_values": torch.randn(1, 3, 32, 32),
    }
    return PaliGemmaForConditionalGeneration(config), [inputs]


def gemma3() -> tuple[Any, list[dict[str, torch.Tensor]]]:
    config = Gemma3Config(
        text_config=TEXT | {"num_hidden_layers": 6, "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 16},
        vision_config=TOWER | {"patch_size": 4},
        image_token_id=IMAGE,
        mm_tokens_per_image=16,
    )
    ids = torch.tensor([[1, 20, 21] + [IMAGE] * 16 + [30, 31, 32, 33, 34]])
    inputs = {
        "input_ids": ids,
        "token_type_ids": (ids == IMAGE).long(),
        "pixel_values": torch.randn(1, 3, 32, 32),
    }
    return Gemma3ForConditionalGeneration(config), [inputs]


def make_prompt(inputs: dict[str, torch.Tensor]) -> Prompt:
    ids = inputs["input_ids"][0]
    tokens = len(ids)
    return Prompt(
        text="",
        inputs=inputs | {"attention_mask": torch.ones_like(inputs["input_ids"])},
        context=Span((tokens - 4, tokens - 3), ("a", "b")),
        question=Span((tokens - 2,), ("c",)),
        image=tuple((ids == IMAGE).nonzero()[:, 0].tolist()),
        image_grid=(1, int((ids == IMAGE).sum())),
    )


@torch.inference_mode()
@pytest.mark.parametrize(("family", "shares"), [(qwen, True), (paligemma, True), (gemma3, False)])
def test_continuations_are_what_generate_makes(family: Any, shares: bool) -> None:
    """A prompt that attends to itself both ways is shared all the same: it was read whole, and answers look back."""
    torch.manual_seed(0)
    model, all_inputs = family()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.mul_(5)
    model.eval()
    model.generation_config = GenerationConfig()
    assert attention_rows.install(model)
    prefills = [read_prompt(model, make_prompt(inputs), record_rows=True) for inputs in all_inputs]
    for prefill in prefills:  # each continued only when all have been read
        assert shares_exactly(model, prefill) == shares
        for shared in {shares, False}:
            check_against_generate(model, prefill, shared)


def check_against_generate(model: Any, prefill: Prefill, shared: bool) -> None:
    prompt = prefill.prompt
    recorder = attention_rows.RowRecorder(prompt, model.device, len(prompt))
    limits = {"end_tokens": {END}, "max_new_tokens": STEPS, "shared": shared}
    [greedy] = decode(model, prefill, [0], Greedy(Decoding()), recorder=recorder, **limits)
    samples = decode(model, prefill, range(3), Draw(Decoding(top_k=0), ["a", "b", "c"]), **limits)
    beam = beam_search(
        model, prefill, Decoding(strategy="beam", max_new_tokens=STEPS, num_beams=3), {END}, shared=shared
    )
    rows = prefill.rows
    assert rows is not None
    rows = rows + recorder.rows()

    options = {"do_sample": False, "max_new_tokens": STEPS, "eos_token_id": END, "pad_token_id": 0}
    try:
        model.set_attn_implementation("eager")
        reference = model.generate(
            **prompt.inputs, **options, output_attentions=True, output_logits=True, return_dict_in_generate=True
        )
    finally:
        model.set_attn_implementation("sdpa")
        attention_rows.install(model)
    tokens = reference.sequences[0, len(prompt) :].tolist()
    assert greedy.tokens == tokens
    own = torch.stack(reference.logits, 1)[0].log_softmax(-1)[range(len(tokens)), tokens]
    torch.testing.assert_close(torch.tensor(greedy.likelihoods), own, atol=1e-4, rtol=0)
    for step, layers in enumerate(reference.attentions):
        for layer, matrix in enumerate(layers):
            expected = group_sums(matrix[0, :, -1], prompt, len(prompt) + step)
            torch.testing.assert_close(rows.sums[step, layer], expected, atol=1e-5, rtol=0)

    reference_beam = model.generate(**prompt.inputs, **options, num_beams=3)[0, len(prompt) :].tolist()
    assert beam == reference_beam[: len(beam)]
    for sample in samples:  # in a batch, against alone
        [again] = decode(
            model, prefill, [0], Forced(sample.tokens), end_tokens={END}, max_new_tokens=len(sample.tokens)
        )
        assert again.likelihoods == pytest.approx(sample.likelihoods, abs=1e-4)


def group_sums(row: torch.Tensor, prompt: Prompt, seen: int) -> torch.Tensor:
    """(heads, 6) sums of a row (heads, keys), whose keys are the last of the tokens seen."""
    generated = torch.full((seen - len(prompt),), GROUPS.index("generated"))
    groups = torch.cat([prompt.groups(), generated])[seen - row.shape[-1] :]
    return torch.stack([row[:, groups == group].sum(-1) for group in range(len(GROUPS))], dim=-1)
