"""Recorded attention against eager attention matrices, and recorders that do not mix."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, GenerationConfig

from isi_core.domain.attribution import GROUPS, AttentionRecord
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import ModelError
from isi_core.domain.evaluation import ModelOutput
from isi_core.domain.trial import Trial
from isi_core.measures.attribution import attribute
from isi_core.models.vlm import attention_rows
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.models.vlm.prompt import Prompt, PromptBuilder
from tests.checkpoints import PATCH, make_trial, save_llava, save_llava_next, whole_text

DECODING = Decoding(max_new_tokens=8)
CONTEXT = "People saw something red."


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {
        "heads of their own": save_llava(root / "mha"),
        "grouped-query heads": save_llava(root / "gqa", kv_heads=2),
        "several tiles": save_llava_next(root / "next"),
    }


def eager_rows(folder: Path, prompt: Prompt, tokens: Sequence[int]) -> list[list[torch.Tensor]]:
    """For each answer token, a row (heads, keys) a layer: a teacher-forced pass of the whole text."""
    model: Any = AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="eager")
    with torch.no_grad(), whole_text(model, prompt.inputs, tokens) as inputs:
        matrices = model.eval()(**inputs, output_attentions=True).attentions
    first = len(prompt) - 1
    return [[matrix[0, :, first + step, : len(prompt) + step] for matrix in matrices] for step in range(len(tokens))]


def build_prompt(vlm: HuggingFaceVLM, trial: Trial) -> Prompt:
    return PromptBuilder(vlm._processor, "tiny", patch_size=PATCH).build(trial, 1)


@pytest.mark.parametrize("kind", ["heads of their own", "grouped-query heads", "several tiles"])
def test_sums_and_columns_equal_eager_attention(folders: dict[str, Path], kind: str) -> None:
    vlm = HuggingFaceVLM.load(folders[kind], "tiny")
    trial = make_trial(CONTEXT)
    [output] = vlm.evaluate([trial], DECODING, ["attention"])
    record, answer = output.attention, output.answer
    assert record is not None
    assert answer is not None
    prompt = build_prompt(vlm, trial)
    rows = eager_rows(folders[kind], prompt, answer.token_ids)
    steps = len(answer.token_ids) - answer.finished
    assert steps > 1
    layers, heads = len(rows[0]), len(rows[0][0])
    assert record.sums.shape == (steps, layers, heads, len(GROUPS))
    generated = torch.full((steps,), GROUPS.index("generated"))
    groups = torch.cat([prompt.groups(), generated])
    for step in range(steps):
        for layer, row in enumerate(rows[step]):
            expected = [row[:, groups[: row.shape[-1]] == group].sum(-1) for group in range(len(GROUPS))]
            np.testing.assert_allclose(record.sums[step, layer], torch.stack(expected, -1), atol=1e-5)
            mean = row.mean(0).numpy()
            on_image = prompt.by_place(mean[list(prompt.image)])
            np.testing.assert_allclose(record.image_columns[step, layer], on_image, atol=1e-3)
            for columns, positions in (
                (record.context_columns, prompt.context.positions),
                (record.question_columns, prompt.question.positions),
            ):
                np.testing.assert_allclose(columns[step, layer], mean[list(positions)], atol=5e-4)
    assert "".join(record.context_tokens) == CONTEXT
    assert "".join(record.question_tokens) == trial.question
    assert record.image_columns.dtype == np.float16


def test_the_record_is_what_attribution_takes(folders: dict[str, Path]) -> None:
    vlm = HuggingFaceVLM.load(folders["heads of their own"], "tiny")
    [output] = vlm.evaluate([make_trial(CONTEXT)], DECODING, ["attention"])
    assert output.attention is not None
    assert output.answer is not None
    attribution = attribute(output.attention, output.answer.tokens)
    assert sum(attribution.relative.values()) == pytest.approx(1)
    assert attribution.heat_map.shape == (4, 4)
    assert attribution.heat_map.sum() == pytest.approx(attribution.absolute["image"], abs=2e-3)


def test_an_end_token_is_left_out_and_a_cut_answer_is_not(folders: dict[str, Path]) -> None:
    vlm = HuggingFaceVLM.load(folders["heads of their own"], "tiny")
    seen = set()
    for seed in range(8):
        decoding = Decoding(strategy="sample", temperature=2.0, top_k=0, max_new_tokens=6, seed=seed)
        [output] = vlm.evaluate([make_trial(CONTEXT)], decoding, ["attention"])
        assert output.attention is not None
        assert output.answer is not None
        assert len(output.attention.sums) == len(output.answer.tokens) - output.answer.finished
        seen.add(output.answer.finished)
    assert seen == {True, False}


def test_the_first_position_keeps_its_attention_out_of_the_columns(folders: dict[str, Path]) -> None:
    picture_first = "{% for m in messages %}{{ '<image>' }}{{ m['content'][1]['text'] }}{% endfor %}"
    vlm = HuggingFaceVLM.load(folders["several tiles"], "tiny", chat_template=picture_first)
    trial = make_trial(CONTEXT)
    [output] = vlm.evaluate([trial], DECODING, ["attention"])
    assert output.attention is not None and output.answer is not None
    first = output.attention.sums[..., GROUPS.index("first")]
    assert first.min() > 0
    [prompt] = vlm.prompts([trial], 8)
    assert prompt.image[0] == 0
    for layer, row in enumerate(eager_rows(folders["several tiles"], prompt, output.answer.token_ids)[0]):
        mean = row.mean(0).numpy()
        with_first = prompt.by_place(mean[list(prompt.image)])
        mean[0] = 0
        without = prompt.by_place(mean[list(prompt.image)])
        np.testing.assert_allclose(output.attention.image_columns[0, layer], without, atol=5e-4)
        assert with_first.sum() - without.sum() == pytest.approx(first[0, layer].mean(), abs=1e-5)


def test_models_in_other_threads_do_not_mix(folders: dict[str, Path]) -> None:
    vlms = [HuggingFaceVLM.load(folders[kind], "tiny") for kind in ("heads of their own", "grouped-query heads")]
    trials = [make_trial(CONTEXT, seed=seed) for seed in range(3)]
    decoding = Decoding(max_new_tokens=12, n_samples=3)

    def measure(vlm: HuggingFaceVLM) -> list[ModelOutput]:
        vlm.prefills.clear()
        return vlm.evaluate(trials, decoding, ["attention", "samples"])

    alone = [measure(vlm) for vlm in vlms]
    together: list[list[ModelOutput]] = [[], []]
    start = threading.Barrier(2)

    def work(i: int) -> None:
        start.wait()
        together[i] = measure(vlms[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for before, after in zip(chain(*alone), chain(*together), strict=True):
        assert before.answer == after.answer
        assert before.samples == after.samples
        assert isinstance(before.attention, AttentionRecord)
        assert isinstance(after.attention, AttentionRecord)
        np.testing.assert_array_equal(before.attention.sums, after.attention.sums)


def test_nothing_is_recorded_without_a_recorder_and_a_failing_pass_leaves_none() -> None:
    assert attention_rows._recorder.get() is None
    with pytest.raises(ValueError, match="stop"), attention_rows.recording(object()):  # type: ignore[arg-type]
        raise ValueError("stop")
    assert attention_rows._recorder.get() is None


def test_capped_and_unknown_attention_is_left_alone(folders: dict[str, Path]) -> None:
    eager = AutoModelForImageTextToText.from_pretrained(folders["grouped-query heads"], attn_implementation="eager")
    assert not attention_rows.install(eager)
    capped = AutoModelForImageTextToText.from_pretrained(folders["grouped-query heads"])
    capped.config.text_config.attn_logit_softcapping = 30.0
    assert not attention_rows.install(capped)
    assert capped.config.text_config._attn_implementation == "sdpa"


def test_an_incomplete_record_is_refused(folders: dict[str, Path]) -> None:
    vlm = HuggingFaceVLM.load(folders["heads of their own"], "tiny")
    rows = attention_rows.Rows(torch.zeros(1, 2, 4, 6), torch.zeros(1, 2, 0))
    with pytest.raises(ModelError, match="2 of the model's 3 layers"):
        attention_rows.attention_record(build_prompt(vlm, make_trial()), rows, 3)


def test_attention_through_this_module_changes_nothing(folders: dict[str, Path]) -> None:
    """Logits with the function installed, recording or not, are those of plain scaled-dot-product attention."""
    plain: Any = AutoModelForImageTextToText.from_pretrained(folders["grouped-query heads"]).eval()
    plain.generation_config = GenerationConfig()
    prompt = build_prompt(HuggingFaceVLM.load(folders["grouped-query heads"], "tiny"), make_trial(CONTEXT))
    with torch.no_grad():
        before = plain(**prompt.inputs).logits
        assert attention_rows.install(plain)
        after = plain(**prompt.inputs).logits
        with attention_rows.recording(attention_rows.RowRecorder(prompt, plain.device)):
            recorded = plain(**prompt.inputs).logits
    assert torch.equal(before, after)
    assert torch.equal(before, recorded)
