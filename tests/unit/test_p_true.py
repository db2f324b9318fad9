"""p(True): the published form, the probability of A from one forward pass, the same over an endpoint, and its store."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from isi_core.domain.answer import Answer
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.evaluation import Evaluation
from isi_core.domain.p_true import PTrue
from isi_core.domain.trial import Trial
from isi_core.domain.uncertainty import Uncertainty, UncertaintySettings
from isi_core.measures.answer_groups import ComparedAnswers, Grouping, group
from isi_core.measures.p_true import Shot, measure_p_true, p_true_text
from isi_core.measures.semantic_entropy import recluster
from isi_core.measures.side_by_side import side_by_side
from isi_core.models.vlm import endpoint_chat
from isi_core.models.vlm.endpoint import EndpointVLM
from isi_core.models.vlm.endpoint_address import parse_endpoint
from isi_core.models.vlm.endpoint_http import Patience
from isi_core.models.vlm.first_words import first_word_likelihoods
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.store.runs import Store
from isi_core.studies.true_or_false import MOST_SHOTS, ask_if_true, stored_shots
from isi_core.studies.vqa import evaluate
from tests import evaluations
from tests.checkpoints import make_trial, save_llava, save_llava_next
from tests.openai_server import serve

QUICK = Patience(attempts=2, first_wait=0.01, connect=5, reply=20)
SAMPLES = (Answer("Yes."), Answer("No, it\nis blue."), Answer("Yes."))
FORM = (
    "Question: Is there a red car?\n"
    "Brainstormed Answers: Yes.\nNo, it is blue.\nYes.\nYes.\n"
    "Possible answer: Yes.\n"
    "Is the possible answer:\nA) True\nB) False\nThe possible answer is:"
)


@pytest.fixture(scope="module", params=["llava", "llava-next"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("p_true") / request.param
    return save_llava(place, layers=2) if request.param == "llava" else save_llava_next(place)


def test_the_form_is_the_published_one() -> None:
    texts = [answer.text for answer in SAMPLES]
    assert p_true_text("Is there a red car?", texts, "Yes.") == FORM
    shots = [Shot("Is there a red car?", tuple(texts), "Yes.", true) for true in (True, False)]
    assert p_true_text("Is there a red car?", texts, "Yes.", shots) == f"{FORM} A\n\n{FORM} B\n\n{FORM}"


def test_it_is_the_probability_of_the_letter_in_one_forward_pass(folder: Path) -> None:
    trial = replace(make_trial(), question="Is there a red car?")
    vlm = HuggingFaceVLM.load(folder, "m", device="cpu")
    found = measure_p_true(trial, SAMPLES, "Yes.", vlm)

    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    message = f"{trial.context.strip()} {FORM}" if trial.context.strip() else FORM
    parts = [{"type": "image"}, {"type": "text", "text": message}]
    text = processor.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True)
    special = not (processor.tokenizer.bos_token and text.startswith(processor.tokenizer.bos_token))
    inputs = processor(images=[trial.image], text=[text], return_tensors="pt", add_special_tokens=special)
    with torch.no_grad():
        probabilities = model(**inputs).logits[0, -1].softmax(dim=-1)
    vocabulary = processor.tokenizer.get_vocab()
    letters = [[vocabulary[f] for f in (f"Ġ{w}", f"▁{w}", w) if f in vocabulary] for w in ("A", "B")]
    letters = [ids or [vocabulary[f"<0x{ord(w):02X}>"]] for ids, w in zip(letters, "AB", strict=True)]
    expected = [float(probabilities[ids].sum()) for ids in letters]
    assert (found.p_true, found.p_false) == pytest.approx(expected, rel=1e-4)
    assert found.between == pytest.approx(expected[0] / sum(expected), rel=1e-4)
    assert (found.n_answers, found.shots, found.proposed) == (3, 0, "Yes.")
    with pytest.raises(ModelError, match="no token for 'Zebra'"):
        first_word_likelihoods(vlm, trial, ["Zebra"])
    with pytest.raises(InputError, match="draw some first"):
        measure_p_true(trial, (), "Yes.", vlm)


def test_an_endpoint_with_likelihoods_tells_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = replace(make_trial(), question="Is there a red car?")
    vlm = HuggingFaceVLM.load(save_llava(tmp_path / "llava", layers=2), "m", device="cpu")
    local = measure_p_true(trial, SAMPLES, "Yes.", vlm)
    with serve(vlm) as server:
        remote = EndpointVLM(parse_endpoint(server.name), QUICK)
        monkeypatch.setattr(endpoint_chat, "TOP", 100_000)  # a random model's A is not among its 20 likeliest
        found = measure_p_true(trial, SAMPLES, "Yes.", remote)
        assert (found.p_true, found.p_false) == pytest.approx((local.p_true, local.p_false), rel=1e-4)
        [body] = server.asked()
        assert body["max_tokens"] == 1 and body["messages"][0]["content"][1]["text"].endswith(FORM)
        monkeypatch.setattr(endpoint_chat, "TOP", 1)
        with pytest.raises(ModelError, match="none of A, B among its 1 likeliest"):
            measure_p_true(trial, SAMPLES, "Yes.", remote)
        server.ignores = {"logprobs"}
        with pytest.raises(ModelError, match="does not tell the likelihoods of its tokens"):
            measure_p_true(trial, SAMPLES, "Yes.", remote)


def test_the_embedded_model_can_be_asked_and_its_run_keeps_the_number(tmp_path: Path) -> None:
    from isi_core.datasets.built_in import load_dataset
    from isi_core.models.shelf import Shelf
    from isi_core.studies.trials import build_trial

    dataset, shelf, store = load_dataset(), Shelf(), Store(tmp_path / "home")
    decoding = Decoding(n_samples=4)

    def measured(place: int) -> Evaluation:
        trial = build_trial(dataset, dataset.observations[place], ())
        with shelf.vlm("tiny-llava") as vlm, shelf.entailment("tiny-nli") as entailment:
            return evaluate(trial, vlm, decoding, ("uncertainty",), entailment, UncertaintySettings())

    made = measured(0)
    others = [measured(place) for place in (1, 2, 3)]
    with shelf.vlm("tiny-llava") as vlm:
        found = ask_if_true(made, vlm)
        assert found.uncertainty is not None and found.uncertainty.p_true is not None
        assert 0 < found.uncertainty.p_true.p_true < 1
        number = store.save(found, dataset="d")
        back = store.load(number).uncertainty
        assert back is not None and back.p_true == found.uncertainty.p_true
        assert recluster(back, replace(back.settings, rule="strict")).p_true == back.p_true

        # Few-shot: the only stored run asks the same question; then there are others.
        with pytest.raises(InputError, match="no examples"):
            stored_shots(store, made, 2)
        for other in others:
            store.save(other, dataset="d")
        shots = stored_shots(store, made, MOST_SHOTS)
        right = {o.trial.question: o.answer is not None and o.answer.verdict == o.trial.truth_word for o in others}
        right.pop(made.trial.question, None)
        assert {shot.question: shot.true for shot in shots} == right
        few = ask_if_true(made, vlm, shots[:1])
        assert few.uncertainty is not None and few.uncertainty.p_true is not None
        assert few.uncertainty.p_true.shots == 1 and few.uncertainty.p_true != found.uncertainty.p_true
        with pytest.raises(InputError, match="has changed since"):
            ask_if_true(replace(made, model=replace(made.model, revision="another")), vlm)
    with pytest.raises(InputError, match="measure its uncertainty first"):
        ask_if_true(replace(made, uncertainty=None), vlm)


def test_stored_runs_without_it_read_as_before_and_damaged_numbers_as_zero() -> None:
    made = evaluations.uncertainty()
    assert made is not None
    data = made.to_json()
    assert "p_true" not in data and Uncertainty.from_json(data) == made
    data["p_true"] = {"p_true": float("inf"), "p_false": 2, "proposed": "Yes.", "n_answers": 3}
    found = Uncertainty.from_json(data).p_true
    assert found == PTrue(0.0, 1.0, "Yes.", 3)
    assert math.isnan(PTrue(0.0, 0.0, "Yes.", 3).between)


def test_the_row_of_the_table_says_what_the_number_is_worth() -> None:
    made = evaluations.uncertainty()
    assert made is not None
    answers = ComparedAnswers.of(made)
    groups = group(answers, Grouping())

    def row(found: PTrue | None) -> tuple[float, str]:
        last = side_by_side(answers, groups, Grouping(), found)[-1]
        return last.value, last.meaning

    assert math.isnan(row(None)[0]) and row(None)[1].startswith("Not measured")
    value, meaning = row(PTrue(0.6, 0.2, "<b>Yes", 4, 2))
    assert value == 0.6 and "after 2 solved examples" in meaning and "it is 0.75" in meaning
    assert "<b>" not in meaning and "with care" not in meaning
    assert "Both together have 0.003" in row(PTrue(0.002, 0.001, "Yes", 4))[1]


def test_a_trial_of_the_context_is_asked_with_it() -> None:
    trial = Trial("x", make_trial().image, "The car is red.", "Is the car red?", True)
    assert trial.digest != replace(trial, question=p_true_text(trial.question, ["Yes."], "Yes.")).digest
