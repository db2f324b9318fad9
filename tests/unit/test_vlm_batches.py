"""Trials answered side by side come out as each would alone: answers, samples, attention, hidden states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import InputError
from isi_core.domain.evaluation import ModelOutput
from isi_core.domain.trial import Trial
from isi_core.models.vlm import hugging_face
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
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


def test_progress_never_goes_back_and_a_bad_trial_says_what_is_wrong(tmp_path: Path) -> None:
    vlm = HuggingFaceVLM.load(save_llava(tmp_path / "llava"), "tiny")
    told: list[float] = []
    vlm.evaluate(trials(), Decoding(max_new_tokens=4, n_samples=2), MEASURES, lambda _, done: told.append(done))
    assert told == sorted(told) and told[-1] == 1.0
    with pytest.raises(InputError, match="no question"):
        vlm.evaluate([trials()[0], make_trial("", question=" ")], Decoding(), ("answer",))
