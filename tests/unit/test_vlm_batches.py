"""Trials answered side by side come out as each would alone: answers, samples, attention, hidden states."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import InputError
from isi_core.domain.evaluation import ModelOutput
from isi_core.domain.trial import Trial
from isi_core.models.vlm import hugging_face
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.models.vlm.prefill import Prefill
from tests.checkpoints import make_trial, save_llava, save_llava_next

MEASURES = ("answer", "samples", "attention", "hidden_states")
CONTEXTS = ("", "Red.", "People who saw this scene were sure that something red stood in the middle of it.", "A fish.")


def trials(sizes: tuple[tuple[int, int], ...] = ((48, 48),)) -> list[Trial]:
    return [make_trial(context, size=sizes[i % len(sizes)], seed=i) for i, context in enumerate(CONTEXTS)]


def assert_same(together: ModelOutput, alone: ModelOutput) -> None:
    assert together.prompt == alone.prompt
    assert together.answer is not None and alone.answer is not None
    for mine, other in zip(
        (together.answer, *(together.samples or ())), (alone.answer, *(alone.samples or ())), strict=True
    ):
        assert mine.token_ids == other.token_ids
        assert mine.text == other.text
        np.testing.assert_allclose(mine.log_likelihoods, other.log_likelihoods, atol=2e-4)
    assert together.attention is not None and alone.attention is not None
    for name in ("sums", "image_columns", "context_columns", "question_columns"):
        np.testing.assert_allclose(
            getattr(together.attention, name), getattr(alone.attention, name), atol=2e-3, err_msg=name
        )
    assert together.attention.context_tokens == alone.attention.context_tokens
    np.testing.assert_allclose(together.hidden_states, alone.hidden_states, atol=1e-4)


@pytest.mark.parametrize(
    ("strategy", "penalty"), [("greedy", 1.0), ("sample", 1.0), ("greedy", 1.4)], ids=["greedy", "sample", "penalty"]
)
@pytest.mark.parametrize("kind", ["llava", "llava-next"])
def test_a_batch_equals_one_after_the_other(tmp_path: Path, kind: str, strategy, penalty) -> None:
    folder = save_llava(tmp_path / kind) if kind == "llava" else save_llava_next(tmp_path / kind)
    decoding = Decoding(
        strategy=strategy, repetition_penalty=penalty, max_new_tokens=9, n_samples=3, temperature=1.2, seed=5
    )
    batch = HuggingFaceVLM.load(folder, "tiny").evaluate(trials(), decoding, MEASURES)
    single = HuggingFaceVLM.load(folder, "tiny")
    for together, trial in zip(batch, trials(), strict=True):
        [alone] = single.evaluate([trial], decoding, MEASURES)
        assert_same(together, alone)


def test_the_batch_is_really_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = HuggingFaceVLM.load(save_llava(tmp_path / "llava"), "tiny")
    monkeypatch.setattr(vlm, "_evaluate", lambda *_: pytest.fail("one after the other"))
    passes = []
    vlm._model.register_forward_hook(lambda *_: passes.append(1))
    outputs = vlm.evaluate([*trials(), trials()[0]], Decoding(max_new_tokens=5), ("answer",))
    assert len(outputs) == 5 and outputs[0].answer == outputs[4].answer
    # Two prompts alone, together and one token further each way, one pass for all, the check of sharing, four tokens.
    assert len(passes) <= (2 + 1 + 3) + 1 + 4 + 4
    assert len(vlm.prefills) == 4


def conditions(pictures: int = 2) -> list[Trial]:
    """Each picture with each context."""
    return [make_trial(context, seed=seed) for seed in range(pictures) for context in CONTEXTS]


@pytest.mark.parametrize("kind", ["llava", "llava-next"])
def test_a_picture_that_several_trials_show_is_read_once_and_nothing_changes(tmp_path: Path, kind: str) -> None:
    folder = save_llava(tmp_path / kind) if kind == "llava" else save_llava_next(tmp_path / kind)
    decoding = Decoding(max_new_tokens=7, n_samples=3, temperature=1.2, seed=5)
    vlm, single = HuggingFaceVLM.load(folder, "tiny"), HuggingFaceVLM.load(folder, "tiny")
    vlm.evaluate(conditions()[:3], Decoding(max_new_tokens=2), ("answer",))  # with it go the checks
    vlm.prefills.clear()
    shown: list[int] = []
    vlm._model.get_decoder().register_forward_pre_hook(
        lambda _module, _args, given: shown.append(given["inputs_embeds"][..., 0].numel()), with_kwargs=True
    )
    batch = vlm.evaluate(conditions(), decoding, MEASURES)
    prompts = [vlm._prompts.build(trial, 7) for trial in conditions()]
    # The first two passes are over both pictures, once each, and over all that follows them.
    end = prompts[0].image[-1] + 1
    assert shown[:2] == [2 * end, 8 * (max(map(len, prompts)) - end)]
    for together, trial in zip(batch, conditions(), strict=True):
        [alone] = single.evaluate([trial], decoding, MEASURES)
        assert_same(together, alone)


def test_where_reading_a_picture_once_makes_a_difference_it_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm = HuggingFaceVLM.load(save_llava(tmp_path / "llava"), "tiny")
    right = hugging_face.read_once_a_picture

    def wrong(*given: Any) -> list[Prefill]:
        return [replace(prefill, logits=prefill.logits + prefill.logits.std()) for prefill in right(*given)]

    monkeypatch.setattr(hugging_face, "read_once_a_picture", wrong)
    single = HuggingFaceVLM.load(tmp_path / "llava", "tiny")
    decoding = Decoding(max_new_tokens=5, n_samples=2)
    for together, trial in zip(vlm.evaluate(conditions(), decoding, MEASURES), conditions(), strict=True):
        [alone] = single.evaluate([trial], decoding, MEASURES)
        assert_same(together, alone)
    assert vlm._once_a_picture is False


def test_a_prompt_with_its_words_before_the_picture_is_read_whole(tmp_path: Path) -> None:
    template = "{{ messages[0].content[-1].text }} <image>\nASSISTANT:"
    folder = save_llava(tmp_path / "llava")
    vlm = HuggingFaceVLM.load(folder, "tiny", chat_template=template)
    single = HuggingFaceVLM.load(folder, "tiny", chat_template=template)
    decoding = Decoding(max_new_tokens=5, n_samples=2)
    for together, trial in zip(vlm.evaluate(conditions(1), decoding, MEASURES), conditions(1), strict=True):
        [alone] = single.evaluate([trial], decoding, MEASURES)
        assert_same(together, alone)


def test_pictures_of_other_shapes_are_asked_one_by_one(tmp_path: Path) -> None:
    folder = save_llava_next(tmp_path / "next")
    mixed = trials(((48, 48), (96, 40)))
    decoding = Decoding(max_new_tokens=6, n_samples=2)
    single = HuggingFaceVLM.load(folder, "tiny")
    for together, trial in zip(
        HuggingFaceVLM.load(folder, "tiny").evaluate(mixed, decoding, MEASURES), mixed, strict=True
    ):
        [alone] = single.evaluate([trial], decoding, MEASURES)
        assert_same(together, alone)


def test_too_little_memory_for_the_batch_asks_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = HuggingFaceVLM.load(save_llava(tmp_path / "llava"), "tiny")

    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(hugging_face, "decode_together", full)
    outputs = vlm.evaluate(trials(), Decoding(max_new_tokens=4), ("answer",))
    assert all(output.answer is not None for output in outputs)


def test_no_more_prompts_are_read_at_once_than_their_keys_and_values_have_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm = HuggingFaceVLM.load(save_llava(tmp_path / "llava"), "tiny")
    # Room for two prompts and no third.
    longest = max(len(vlm._prompts.build(trial, 4)) for trial in trials())
    vlm.evaluate(trials()[:1], Decoding(max_new_tokens=2), ("answer",))
    prefill = vlm.prefills.get(trials()[0].digest)
    assert prefill is not None
    token = sum(layer.keys.nbytes + layer.values.nbytes for layer in prefill.cache.layers) / len(prefill.prompt)  # type: ignore[union-attr]
    monkeypatch.setattr(hugging_face, "READ_BYTES", int(2.5 * longest * token))
    vlm.prefills.clear()
    read: list[int] = []
    vlm._model.get_decoder().register_forward_pre_hook(
        lambda _module, _args, given: read.append(len(given["inputs_embeds"])), with_kwargs=True
    )
    single = HuggingFaceVLM.load(tmp_path / "llava", "tiny")
    decoding = Decoding(max_new_tokens=4)
    both = [*trials(), *conditions(1)]
    for together, trial in zip(vlm.evaluate(both, decoding, MEASURES), both, strict=True):
        [alone] = single.evaluate([trial], decoding, MEASURES)
        assert_same(together, alone)
    vlm.prefills.clear()
    read.clear()
    vlm.evaluate(both, decoding, ("answer",))
    assert max(read) == 2


def test_progress_never_goes_back_and_a_bad_trial_says_what_is_wrong(tmp_path: Path) -> None:
    vlm = HuggingFaceVLM.load(save_llava(tmp_path / "llava"), "tiny")
    told: list[float] = []
    vlm.evaluate(trials(), Decoding(max_new_tokens=4, n_samples=2), MEASURES, lambda _, done: told.append(done))
    assert told == sorted(told) and told[-1] == 1.0
    with pytest.raises(InputError, match="no question"):
        vlm.evaluate([trials()[0], make_trial("", question=" ")], Decoding(), ("answer",))
