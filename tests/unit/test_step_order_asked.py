"""Vision-language models asked which step comes first: the prompt, its parts, both orders, what is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isi_core.cli import main
from isi_core.datasets import step_catalogue
from isi_core.datasets.step_pairs import drawn_pairs
from isi_core.domain.attribution import AttentionRecord
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import Cancelled, InputError
from isi_core.domain.home import HOME_VARIABLE
from isi_core.measures.attribution import attribute
from isi_core.models.catalogue import EMBEDDED
from isi_core.models.shelf import Shelf
from isi_core.models.vlm import hugging_face
from isi_core.studies.step_order import zero_shot
from isi_core.studies.step_order.asked import AskPlan, OrderAnswer, PairAnswers, asked_ids, forget_asked, read_asked
from isi_core.studies.step_order.order_prompt import (
    GREY,
    PARTS,
    attention_parts,
    context_of,
    stitched,
    takes_several,
    trial_of,
)
from isi_core.studies.step_order.zero_shot import ask_pairs, chosen_pairs
from isi_core.studies.step_order.zero_shot_rows import zero_shot_rows
from tests.step_study import sample_of

PLAN_DECODING = Decoding(max_new_tokens=6)
PLAN = AskPlan(data="two", pairs=2, test=4, samples=0)
pair, *_ = drawn_pairs(0, 2, 2, 2, side=32, categories=("dish",)).test


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def two(tmp_path: Path) -> None:
    """How-tos of two categories, so that there is little to ask."""
    step_catalogue.import_howtos(sample_of({"kite", "dish"}, tmp_path), "two")


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return Shelf()


def test_pictures_are_stitched_on_a_square_and_hidden_ones_are_grey() -> None:
    left, right = Image.new("RGB", (20, 10), "#ff0000"), Image.new("RGB", (10, 10), "#0000ff")
    made = np.asarray(stitched(left, right))
    assert made.shape == (40, 40, 3)
    assert (made[15:25, :20] == (255, 0, 0)).all() and (made[10:30, 20:] == (0, 0, 255)).all()
    assert (made[:10] == GREY).all() and (made[30:] == GREY).all() and (made[10:15, :20] == GREY).all()
    shown = trial_of(pair, "t", several=False)
    assert len(shown.image.getcolors() or []) == 1
    both = trial_of(pair, "vt", several=True)
    assert len(both.further_images) == 1 and both.further_images[0].size == both.image.size
    other = replace(both, further_images=(Image.new("RGB", both.image.size),))
    assert other.digest != both.digest  # the second picture counts for caches too
    assert trial_of(pair, "vt", several=False).truth is bool(pair.label)
    assert trial_of(pair.reversed(), "vt", several=False).truth is not bool(pair.label)


def test_what_a_modality_may_not_see_is_not_in_the_prompt() -> None:
    for modality in ("t", "vt"):
        told = context_of(pair, modality, several=False)  # type: ignore[arg-type]
        assert told.index(pair.title) < told.index(pair.headlines[0]) < told.rindex(pair.headlines[1])
    assert pair.headlines[0] not in context_of(pair, "v", several=False)
    assert "second picture" in context_of(pair, "vt", several=True)


@pytest.mark.parametrize("several", [False, True])
def test_attention_is_shared_out_to_each_picture_and_headline(several: bool) -> None:
    """Synthetic attention whose shares are known: it lies where it was put."""
    context = context_of(pair, "vt", several)
    tokens = tuple(context[i : i + 3] for i in range(0, len(context), 3))
    heard = pair.headlines[1]
    begin = context.rindex(heard)
    on_second = [3 * i < begin + len(heard) and 3 * i + 3 > begin for i in range(len(tokens))]
    columns = np.zeros((1, 2, len(tokens)))
    columns[..., on_second] = 0.2 / sum(on_second)
    grid = (1, 8) if several else (2, 4)
    image = np.zeros((1, 2, 8))
    # Of the left half of each row, or of the first of two pictures.
    image[..., [0, 1, 2, 3] if several else [0, 1, 4, 5]] = 0.05
    image[..., 7] = 0.1
    sums = np.zeros((1, 2, 1, 6))
    sums[..., :] = (0.0, 0.3, 0.2, 0.4, 0.1, 0.0)
    found = AttentionRecord(sums, image, grid, columns, np.zeros((1, 2, 0)), tokens, ())
    parts = attention_parts(attribute(found, ("Yes",)), pair, several)
    assert set(parts) == set(PARTS) and sum(parts.values()) == pytest.approx(1)
    assert (parts["first picture"], parts["second picture"]) == pytest.approx((0.2, 0.1))
    assert (parts["second headline"], parts["question"], parts["rest"]) == pytest.approx((0.2, 0.4, 0.1))
    assert parts["title"] == pytest.approx(0) and parts["first headline"] == pytest.approx(0, abs=0.03)
    strip = replace(found, image_grid=(1, 8))
    if not several:
        assert attention_parts(attribute(strip, ("Yes",)), pair, several)["pictures"] == pytest.approx(0.3)


def test_rows_count_contradictions_and_unclear_answers() -> None:
    def answers(idx: int, label: int, shown: str, swapped: str, entropy: float = 0.5) -> PairAnswers:
        told = [OrderAnswer(word, word, entropy, {"title": 1.0}) for word in (shown, swapped)]  # type: ignore[arg-type]
        return PairAnswers(idx, "dish" if idx else "kite", "words" if idx else "both", label, told[0], told[1])

    given = [
        answers(0, 1, "yes", "no"),  # knows it
        answers(1, 0, "yes", "yes"),  # contradicts itself, wrong as shown
        answers(2, 1, "yes", "yes"),  # contradicts itself, right as shown
        answers(3, 0, "unclear", "yes"),  # unclear is wrong, and no contradiction
    ]
    dish, kite, whole = zero_shot_rows(given)
    assert (dish.category, kite.category, kite.kind, whole.n) == ("dish", "kite", "both", 4)
    assert (whole.accuracy, whole.both_right, whole.clear) == (0.5, 0.25, 3)
    assert whole.contradictions == pytest.approx(2 / 3) and dish.contradictions == 1.0
    assert whole.says_yes == pytest.approx(6 / 7) and whole.unclear == pytest.approx(1 / 8)
    assert (whole.semantic_entropy, whole.attention) == (0.5, {"title": 1.0})
    assert zero_shot_rows([]) == []


def test_chosen_pairs_are_balanced_and_of_the_study() -> None:
    test = drawn_pairs(0, 2, 2, 20, side=32, categories=("lawn", "dish")).test
    chosen = chosen_pairs(test, 6)
    assert len(chosen) == 12 and all(one in test for one in chosen)
    for category in ("lawn", "dish"):
        labels = [one.label for one in chosen if one.category == category]
        assert sorted(labels) == [0, 0, 0, 1, 1, 1]


def test_a_stopped_round_goes_on_and_asks_nothing_twice(two: None, shelf: Shelf) -> None:
    asked: list[int] = []
    original = zero_shot._ask

    def counted(pairs: object, *rest: object) -> object:
        asked.append(len(pairs))  # type: ignore[arg-type]
        return original(pairs, *rest)  # type: ignore[arg-type]

    def stop(message: str, fraction: float) -> None:
        if fraction > 0.6:
            raise Cancelled("stopped")

    with pytest.MonkeyPatch.context() as patch, shelf.vlm("tiny-llava") as vlm:
        patch.setattr(zero_shot, "_AT_ONCE", 2)
        patch.setattr(zero_shot, "_ask", counted)
        with pytest.raises(Cancelled):
            ask_pairs(PLAN, vlm, None, stop)
        half = read_asked(PLAN.id)
        assert not half.complete and len(half.answers) == 2 and half.wanted == 4
        with (PLAN.folder / "answers.jsonl").open("a") as file:
            file.write('{"idx": 9, "cat')  # killed while it wrote
        before = sum(asked)
        whole = ask_pairs(PLAN, vlm)
        assert sum(asked) - before == 2
    assert whole.complete and whole.answers[:2] == half.answers and whole.layout == "one stitched picture"
    assert whole.model["name"] == "tiny-llava" and asked_ids() == [PLAN.id]
    for one in whole.answers:
        assert one.shown.text and set(one.shown.attention or {}) == set(PARTS)
        assert sum((one.swapped.attention or {}).values()) == pytest.approx(1)
        assert one.shown.semantic_entropy is None
    forget_asked(PLAN.id)
    assert asked_ids() == []
    with pytest.raises(InputError, match="ask again"):
        read_asked(PLAN.id)


def test_a_model_that_takes_several_gets_both_pictures(two: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """tiny-llava was taught on one picture; its classes take more, and read them one after the other."""
    monkeypatch.setattr(hugging_face, "SEVERAL_PICTURES", frozenset({"llava"}))
    vlm = hugging_face.HuggingFaceVLM.load(EMBEDDED / "tiny-llava", "both")
    assert takes_several(vlm)
    shown, blind = trial_of(pair, "vt", True), trial_of(pair, "t", True)
    output, other, alone = vlm.evaluate([shown, blind, replace(shown, further_images=())], PLAN_DECODING, ["attention"])
    assert output.prompt.count("<image>") == 2 and output.prompt_tokens == alone.prompt_tokens + 64 + 1
    assert output.attention is not None and output.attention.image_columns.shape[-1] == 128
    assert output.answer is not None and other.answer is not None
    parts = attention_parts(attribute(output.attention, output.answer.tokens), pair, True)
    assert set(parts) == set(PARTS) and min(parts["first picture"], parts["second picture"]) > 0
    # The second picture is seen: another one there changes what the model makes of it.
    swapped = replace(shown, further_images=blind.further_images)
    assert vlm.likelihoods([shown], output.answer.token_ids) != vlm.likelihoods([swapped], output.answer.token_ids)
    made = ask_pairs(replace(PLAN, model="both"), vlm)
    assert made.complete and made.layout == "two pictures"


def test_bad_choices_are_one_sentence(two: None, shelf: Shelf) -> None:
    for changes, said in (
        ({"pairs": 1}, "2 to 10,000"),
        ({"samples": -1}, "between 0"),
        ({"modality": "x"}, "v, t, vt"),
    ):
        with pytest.raises(InputError, match=said):
            replace(PLAN, **changes)  # type: ignore[arg-type]
    with shelf.vlm("tiny-llava") as vlm, pytest.raises(InputError, match="entailment model"):
        ask_pairs(replace(PLAN, samples=2), vlm)


def test_the_command_asks_and_prints(two: None, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["order", "ask", "--model", "tiny-llava", "--data", "two", "--pairs", "2", "--test", "4", "--samples", "2"]
    assert main([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["complete"] and told["layout"] == "one stitched picture"
    assert [row["category"] for row in told["rows"]] == ["dish", "kite", "all"]
    whole = told["rows"][-1]
    assert whole["n"] == len(told["answers"]) == 4 and 0 <= whole["low"] <= whole["accuracy"] <= whole["high"] <= 1
    assert whole["semantic_entropy"] >= 0 and sum(whole["attention"].values()) == pytest.approx(1)
    assert main(asked) == 0  # read, not asked again
    assert "both orders of 4 pairs" in capsys.readouterr().out
    assert main(["order", "ask", "--data", "nowhere"]) == 2
    assert "no how-tos 'nowhere'" in capsys.readouterr().err
