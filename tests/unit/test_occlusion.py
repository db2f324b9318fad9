"""The occlusion check, and the likelihoods of a given answer that it rests on, on real checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isi_core.domain.answer import Answer
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import Cancelled, InputError, ModelError
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.models.vlm.protocol import AnswerLikelihoods
from isi_core.studies.occlusion import OcclusionCheck, attention_on_parts, covered_pictures, occlude, rank_agreement
from tests.checkpoints import make_trial, save_llava, save_llava_next
from tests.unit.test_vlm_model import answer_of, build_prompt, load_plain, one, room_for, teacher_forced

TRIAL = make_trial("People saw something red.")
DECODING = Decoding(max_new_tokens=8)
TOKENS = (70, 104, 111, 45, 61)  # two of them would end an answer of these models'


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {"llava": save_llava(root / "llava"), "llava-next": save_llava_next(root / "next")}


@pytest.fixture
def vlm(folders: dict[str, Path]) -> HuggingFaceVLM:
    return HuggingFaceVLM.load(folders["llava"], "tiny")


def expected(folder: Path, vlm: HuggingFaceVLM, trials: Sequence[object], tokens: Sequence[int]) -> np.ndarray:
    """The same from one pass of transformers' own model over each whole text."""
    model, _ = load_plain(folder)
    rows = []
    for trial in trials:
        answer = Answer("", token_ids=tuple(tokens))
        logits = teacher_forced(model, build_prompt(vlm, trial), answer)  # type: ignore[arg-type]
        rows.append(logits.log_softmax(-1)[range(len(tokens)), list(tokens)].numpy())
    return np.array(rows)


@pytest.mark.parametrize("kind", ["llava", "llava-next"])
@pytest.mark.parametrize("batched", [True, False])
def test_likelihoods_equal_a_teacher_forced_pass(folders: dict[str, Path], kind: str, batched: bool) -> None:
    vlm = HuggingFaceVLM.load(folders[kind], "tiny")
    if not batched:
        vlm._batches = False
    trials = [TRIAL, *[make_trial("A red car." * i, seed=i) for i in range(4)]]
    found = vlm.likelihoods(trials, TOKENS)
    np.testing.assert_allclose(found, expected(folders[kind], vlm, trials, TOKENS), atol=1e-4)
    assert np.ptp(np.array(found).sum(axis=1)) > 0.1  # they do differ
    np.testing.assert_allclose(vlm.likelihoods([TRIAL], TOKENS), found[:1], atol=1e-4)


def test_the_models_own_answer_is_rated_as_it_was_made(vlm: HuggingFaceVLM) -> None:
    answer = answer_of(one(vlm, "answer", DECODING))
    [found] = vlm.likelihoods([TRIAL], answer.token_ids)
    np.testing.assert_allclose(found, answer.log_likelihoods, atol=1e-5)


def test_rating_forgets_nothing_and_remembers_nothing_new(vlm: HuggingFaceVLM) -> None:
    one(vlm, "answer", DECODING)
    kept = vlm.prefills.get(TRIAL.digest)
    vlm.prefills.limit = vlm.prefills.nbytes
    told: list[float] = []
    vlm.likelihoods([TRIAL, *[make_trial(seed=i) for i in range(20)]], TOKENS, lambda _, done: told.append(done))
    assert len(vlm.prefills) == 1
    assert vlm.prefills.get(TRIAL.digest) is kept
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)


def test_rating_can_be_cancelled(vlm: HuggingFaceVLM) -> None:
    def cancel(message: str, done: float) -> None:
        raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        vlm.likelihoods([TRIAL], TOKENS, cancel)
    assert len(vlm.likelihoods([TRIAL], TOKENS)) == 1


def test_rating_goes_on_in_halves_where_memory_runs_out(vlm: HuggingFaceVLM) -> None:
    trials = [make_trial(seed=i) for i in range(6)]
    before = vlm.likelihoods(trials, TOKENS)
    with room_for(vlm, 2) as failed:
        after = vlm.likelihoods(trials, TOKENS)
    assert failed
    np.testing.assert_allclose(after, before, atol=1e-4)
    with room_for(vlm, 0), pytest.raises(ModelError, match="ran out of memory"):
        vlm.likelihoods(trials, TOKENS)


def test_an_answer_without_tokens_cannot_be_rated(vlm: HuggingFaceVLM) -> None:
    with pytest.raises(InputError, match="ask first"):
        vlm.likelihoods([TRIAL], ())
    with pytest.raises(InputError, match="ask first"):
        occlude(TRIAL, Answer("yes"), vlm)
    assert isinstance(vlm, AnswerLikelihoods)


def test_a_check_is_what_covered_pictures_say_one_by_one(vlm: HuggingFaceVLM, folders: dict[str, Path]) -> None:
    answer = answer_of(one(vlm, "answer", DECODING))
    found = occlude(TRIAL, answer, vlm, side=3)
    assert found.side == 3
    assert found.covered.shape == (3, 3, len(answer.token_ids))
    pixels = np.asarray(TRIAL.image).copy()
    pixels[20:40, 53:80] = np.rint(np.asarray(TRIAL.image).reshape(-1, 3).mean(axis=0))  # the middle row's last part
    by_hand = make_trial(TRIAL.context)
    object.__setattr__(by_hand, "image", Image.fromarray(pixels))
    own = expected(folders["llava"], vlm, [TRIAL, by_hand], answer.token_ids)
    np.testing.assert_allclose(found.whole, own[0], atol=1e-4)
    np.testing.assert_allclose(found.covered[1, 2], own[1], atol=1e-4)
    assert found.drops()[1, 2] == pytest.approx(own[0].sum() - own[1].sum(), abs=1e-3)
    assert found.drops([1])[1, 2] == pytest.approx(own[0][1] - own[1][1], abs=1e-3)
    assert np.abs(found.drops()).max() > 0.01


@pytest.mark.parametrize(("size", "side"), [((80, 60), 4), ((37, 53), 8), ((5, 5), 5)])
def test_parts_cover_the_picture_once(size: tuple[int, int], side: int) -> None:
    image = make_trial(size=size).image
    before = np.asarray(image).astype(int)
    mean = np.rint(before.mean(axis=(0, 1)))
    times = np.zeros(before.shape[:2], dtype=int)
    for picture in covered_pictures(image, side):
        after = np.asarray(picture).astype(int)
        changed = (after != before).any(axis=-1)
        assert (after[changed] == mean).all()
        times += (after == mean).all(axis=-1) & ~(before == mean).all(axis=-1)
    assert (times == (~(before == mean).all(axis=-1))).all()


def test_a_picture_that_cannot_be_cut_is_said() -> None:
    image = make_trial(size=(5, 5)).image
    for side in (1, 6, 17):
        with pytest.raises(InputError, match="choose fewer"):
            covered_pictures(image, side)


def test_attention_on_parts_keeps_its_sum_and_its_place() -> None:
    heat_map = np.arange(36.0).reshape(6, 6)
    np.testing.assert_allclose(attention_on_parts(heat_map, 3), heat_map.reshape(3, 2, 3, 2).sum(axis=(1, 3)))
    cut = attention_on_parts(heat_map, 4)
    assert cut.sum() == pytest.approx(heat_map.sum())
    assert cut[0, 0] == pytest.approx(heat_map[0, 0] + heat_map[0, 1] / 2 + heat_map[1, 0] / 2 + heat_map[1, 1] / 4)
    np.testing.assert_allclose(attention_on_parts(np.ones((2, 2)), 4), np.full((4, 4), 0.25))


def test_agreement_of_two_maps() -> None:
    attention = np.arange(16.0).reshape(4, 4)
    assert rank_agreement(attention, attention**3) == pytest.approx(1)
    assert rank_agreement(attention, -attention) == pytest.approx(-1)
    swapped = attention.copy()
    swapped[0, 0], swapped[0, 1] = 1, 0
    assert rank_agreement(attention, swapped) == pytest.approx(1 - 6 * 2 / (16 * 255))
    assert rank_agreement(attention, np.ones((4, 4))) is None
    with pytest.raises(InputError, match="different parts"):
        rank_agreement(attention, np.ones((6, 6)))


def test_drops_add_up_over_the_answer() -> None:
    found = OcclusionCheck(np.array([-0.1, -0.2]), np.zeros((2, 2, 2)) - np.array([0.5, 0.1]))
    np.testing.assert_allclose(found.drops(), 0.3)
    np.testing.assert_allclose(found.drops([0]), 0.4)
    np.testing.assert_allclose(found.drops([1]), -0.1)
