"""Gradient relevancy against the paper's equations written out, and what it must leave as it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText

from isi_core.domain.answer import Answer
from isi_core.domain.attribution import GROUPS, AttentionRecord
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import Cancelled, InputError, ModelError
from isi_core.domain.trial import Trial
from isi_core.measures.attribution import attribute
from isi_core.models.vlm import one_pass
from isi_core.models.vlm import relevancy as measured
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.models.vlm.layer_heads import layer_heads
from isi_core.models.vlm.prompt import Prompt
from isi_core.models.vlm.relevancy_memory import relevancy_bytes, whole_bytes
from tests.checkpoints import make_trial, save_llava, save_llava_next, whole_text
from tests.family_checkpoints import FAMILIES

DECODING = Decoding(max_new_tokens=6)
SAMPLED = Decoding(strategy="sample", temperature=1.0, top_k=0, max_new_tokens=6)
TRIAL = make_trial("People saw something red.")
KINDS = ("heads of their own", "grouped-query heads", "several tiles")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {
        "heads of their own": save_llava(root / "mha"),
        "grouped-query heads": save_llava(root / "gqa", kv_heads=2),
        "several tiles": save_llava_next(root / "next"),
    }


def ask(folder: Path, trial: Trial = TRIAL) -> tuple[HuggingFaceVLM, Answer]:
    """A model and the answer that it gave, which names no picture and has three tokens before its end."""
    vlm = HuggingFaceVLM.load(folder, "tiny")
    for seed in range(20):
        [output] = vlm.evaluate([trial], replace(SAMPLED, seed=seed), ["answer"])
        assert output.answer is not None
        tokens = output.answer.token_ids
        if vlm.network.config.image_token_id not in tokens and len(tokens) > 3:
            return vlm, output.answer
    raise AssertionError("every answer names a picture")


def written_out(folder: Path, prompt: Prompt, answer: Sequence[int], step: int) -> np.ndarray:
    """(tokens,) relevancies of one answer token: all layers' matrices and gradients, R from below, as in the paper."""
    model: Any = AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="eager").eval()
    with whole_text(model, prompt.inputs, answer[:step]) as inputs:
        output = model(**inputs, output_attentions=True)
    position = len(prompt) + step - 1
    return carried(output.logits[0, position, answer[step]], output.attentions, position)


def carried(logit: torch.Tensor, attentions: Sequence[torch.Tensor], position: int) -> np.ndarray:
    """(tokens,) the row of R at a position, R built from below with every layer's whole matrices and gradients."""
    gradients = torch.autograd.grad(logit, attentions)
    R = torch.eye(position + 1)
    for attention, gradient in zip(attentions, gradients, strict=True):
        R = R + (gradient * attention)[0].clamp(min=0).mean(dim=0) @ R
    R = R - torch.eye(position + 1)
    row: np.ndarray = R[position].detach().numpy()
    return row


def shares_of(prompt: Prompt, row: np.ndarray) -> np.ndarray:
    """(6,) of the row's sum on each of `GROUPS`."""
    groups = [*prompt.groups().tolist(), *[GROUPS.index("generated")] * (len(row) - len(prompt))]
    sums = np.array([row[[g == k for g in groups]].sum() for k in range(len(GROUPS))])
    shares: np.ndarray = sums / row.sum()
    return shares


@pytest.mark.parametrize("kind", KINDS)
def test_relevancies_equal_the_papers_equations_written_out(folders: dict[str, Path], kind: str) -> None:
    vlm, answer = ask(folders[kind])
    [prompt] = vlm.prompts([TRIAL], len(answer.token_ids))
    steps = [0, 2, 1]
    record = measured.relevancy(vlm, TRIAL, answer, steps)
    assert record.sums.shape == (3, 1, 1, len(GROUPS))
    for i, step in enumerate(steps):
        row = written_out(folders[kind], prompt, answer.token_ids, step)
        assert row.sum() > 0
        np.testing.assert_allclose(record.sums[i, 0, 0], shares_of(prompt, row), atol=1e-5)
        shares = row / row.sum()
        on_image = prompt.by_place(shares[list(prompt.image)])
        np.testing.assert_allclose(record.image_columns[i, 0], on_image, atol=1e-5)
        for columns, positions in (
            (record.context_columns, prompt.context.positions),
            (record.question_columns, prompt.question.positions),
        ):
            assert positions
            np.testing.assert_allclose(columns[i, 0], shares[list(positions)], atol=1e-5)


def test_everything_that_reads_attention_reads_relevancy(folders: dict[str, Path]) -> None:
    vlm, answer = ask(folders["heads of their own"])
    record = measured.relevancy(vlm, TRIAL, answer, [0, 1])
    found = attribute(record, answer.tokens[:2])
    assert found.heat_map.shape == (4, 4)
    assert found.heat_map.sum() == pytest.approx(found.absolute["image"])
    assert sum(found.absolute.values()) == pytest.approx(1)
    assert "".join(record.question_tokens) == TRIAL.question


def state(vlm: HuggingFaceVLM) -> tuple[Any, ...]:
    config = vlm.network.config
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in vlm.network.modules())
    learning = [p.requires_grad for p in vlm.network.parameters()]
    kept = [p.grad is None for p in vlm.network.parameters()]
    return config.text_config._attn_implementation, config.vision_config._attn_implementation, hooks, learning, kept


def test_the_model_is_afterwards_what_it_was(folders: dict[str, Path]) -> None:
    vlm, answer = ask(folders["grouped-query heads"])
    before, first = state(vlm), vlm.evaluate([TRIAL], DECODING, ["answer", "attention"])[0]
    measured.relevancy(vlm, TRIAL, answer, [1])
    assert state(vlm) == before
    vlm.prefills.clear()
    again = vlm.evaluate([TRIAL], DECODING, ["answer", "attention"])[0]
    assert again.answer == first.answer
    assert isinstance(first.attention, AttentionRecord) and isinstance(again.attention, AttentionRecord)
    np.testing.assert_array_equal(again.attention.sums, first.attention.sums)


@pytest.mark.parametrize("after", [0, 1, 3, 4, 5])
def test_a_cancelled_pass_leaves_the_model_as_it_was(folders: dict[str, Path], after: int) -> None:
    vlm, answer = ask(folders["heads of their own"])
    before, told = state(vlm), []

    def progress(message: str, fraction: float) -> None:
        told.append((message, fraction))
        if len(told) > after:
            raise Cancelled("The job was cancelled.")

    with pytest.raises(Cancelled):
        measured.relevancy(vlm, TRIAL, answer, [0], progress)
    assert state(vlm) == before
    assert [fraction for _, fraction in told] == sorted(fraction for _, fraction in told)


def test_too_little_memory_is_a_sentence_and_nothing_runs(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm, answer = ask(folders["heads of their own"])
    monkeypatch.setattr(one_pass, "free_memory", lambda: 1 << 16)
    with pytest.raises(ModelError, match=r"needs about 1 MB .* shorten the context"):
        measured.relevancy(vlm, TRIAL, answer, [0])


def test_memory_grows_with_the_square_of_the_tokens_and_not_with_the_layers() -> None:
    small, large = (relevancy_bytes(32, 32, tokens, 4096, 2) for tokens in (650, 2_950))
    assert 10 < large / small < 21
    assert large < 8e9 < whole_bytes(32, 32, 2_950)
    assert relevancy_bytes(64, 32, 2_950, 4096, 2) < 1.5 * large


def test_what_cannot_be_told_is_said(folders: dict[str, Path]) -> None:
    vlm, answer = ask(folders["heads of their own"])
    for steps in ([], [len(answer.token_ids)], [-1]):
        with pytest.raises(InputError, match=f"has {len(answer.token_ids)} tokens"):
            measured.relevancy(vlm, TRIAL, answer, steps)
    with pytest.raises(ModelError, match="cannot be differentiated"):
        measured.relevancy(NotHere(), TRIAL, answer, [0])  # type: ignore[arg-type]
    picture = vlm.network.config.image_token_id
    with pytest.raises(ModelError, match="stands for a picture"):
        measured.relevancy(vlm, TRIAL, Answer("", (picture, 5, 6), ("", "", "")), [1])
    unlike = Answer(answer.text, answer.token_ids, answer.tokens, tuple(v - 1 for v in answer.log_likelihoods))
    with pytest.raises(ModelError, match="1 nats apart"):
        measured.relevancy(vlm, TRIAL, unlike, [0])
    vlm.close()
    with pytest.raises(ModelError, match="released"):
        measured.relevancy(vlm, TRIAL, answer, [0])


@pytest.mark.parametrize("kind", ["grouped-query heads", "several tiles"])
def test_a_layers_heads_are_those_of_the_record(folders: dict[str, Path], kind: str) -> None:
    vlm, answer = ask(folders[kind])
    before = state(vlm)
    model: Any = AutoModelForImageTextToText.from_pretrained(folders[kind], attn_implementation="eager").eval()
    [prompt] = vlm.prompts([TRIAL], len(answer.token_ids))
    with torch.no_grad(), whole_text(model, prompt.inputs, answer.token_ids[:2]) as inputs:
        matrix = model(**inputs, output_attentions=True).attentions[1][0].numpy()
    record = layer_heads(vlm, TRIAL, answer, 3, 1)
    first = len(prompt) - 1
    for step in range(3):
        expected = matrix[:, first + step]
        on_image = prompt.by_place(expected[:, list(prompt.image)])
        np.testing.assert_allclose(record.image_columns[step], on_image, atol=1e-5)
        groups = np.array([*prompt.groups().tolist(), *[GROUPS.index("generated")] * 2])
        sums = np.stack([expected[:, groups == k].sum(axis=-1) for k in range(len(GROUPS))], axis=-1)
        np.testing.assert_allclose(record.sums[step, :, 0], sums, atol=1e-5)
    assert state(vlm) == before
    with pytest.raises(InputError, match="choose one of them"):
        layer_heads(vlm, TRIAL, answer, 1, 9)
    with pytest.raises(ModelError, match="does not show its heads"):
        layer_heads(NotHere(), TRIAL, answer, 1, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["qwen2.5-vl", "gemma-3"])
def test_positions_of_their_own_and_windows_are_read_alike(tmp_path: Path, name: str) -> None:
    vlm, answer = ask(FAMILIES[name](tmp_path / name))
    heads = layer_heads(vlm, TRIAL, answer, 3, 1)
    decodings = (replace(SAMPLED, seed=seed) for seed in range(20))
    outputs = (vlm.evaluate([TRIAL], decoding, ["attention"])[0] for decoding in decodings)
    output = next(made for made in outputs if made.answer is not None and made.answer.token_ids == answer.token_ids)
    assert output.attention is not None
    np.testing.assert_allclose(heads.sums[:, :, 0], output.attention.sums[:3, 1], atol=1e-5)
    model: Any = AutoModelForImageTextToText.from_pretrained(tmp_path / name, attn_implementation="eager").eval()
    [prompt] = vlm.prompts([TRIAL], len(answer.token_ids))
    made = model(**one_pass.read_inputs(model, prompt, answer.token_ids[:2]), output_attentions=True)
    row = carried(made.logits[0, len(prompt) + 1, answer.token_ids[2]], made.attentions, len(prompt) + 1)
    record = measured.relevancy(vlm, TRIAL, answer, [2])
    np.testing.assert_allclose(record.sums[0, 0, 0], shares_of(prompt, row), atol=1e-5)


def test_a_model_that_reads_an_answer_otherwise_in_one_pass_is_refused(tmp_path: Path) -> None:
    vlm, answer = ask(FAMILIES["paligemma"](tmp_path / "paligemma"))
    with pytest.raises(ModelError, match="one token after the other"):
        measured.relevancy(vlm, TRIAL, answer, [2])
    with pytest.raises(ModelError, match="one token after the other"):
        layer_heads(vlm, TRIAL, answer, 3, 0)


class NotHere:
    """A model that only a server has."""

    class record:
        name = "served"
