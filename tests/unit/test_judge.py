"""The LLM judge over real HTTP on this machine; behind the server, an entailment model stands for a language model."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isi_core.domain.answer import Answer
from isi_core.domain.errors import Cancelled, ModelError
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.measures.representatives import MANY
from isi_core.measures.semantic_entropy import class_probabilities, measure
from isi_core.models import memory
from isi_core.models.catalogue import find_entailment
from isi_core.models.entailment.hugging_face import HuggingFaceEntailment
from isi_core.models.entailment.judge import JudgeEntailment, read_class
from isi_core.models.entailment.judge_address import parse_judge
from isi_core.models.entailment.protocol import CLASSES
from isi_core.models.shelf import Shelf
from isi_core.models.vlm.endpoint_http import Patience
from tests.openai_server import Fault, OpenAIServer, serve
from tests.unit.test_entailment import SENTENCES, save_model

QUICK = Patience(attempts=2, first_wait=0.01, connect=5, reply=20)
QUESTION = "Is there a red car?"
_ASKED = re.compile(
    r'(?:We are evaluating answers to the question "(?P<question>.*)"\n)?Here are two (?:possible answers|texts):'
    r"\n(?:Possible Answer|Text) 1: (?P<first>.*)\n(?:Possible Answer|Text) 2: (?P<second>.*)\n"
    r"Does (?:Possible Answer|Text) 1 semantically entail (?:Possible Answer|Text) 2\? "
    r"Respond with entailment, contradiction, or neutral\."
)


class JudgingServer(OpenAIServer):
    """A server whose model is an entailment model that answers in words, with likelihoods where they are asked for."""

    words = "{}"
    split = 4  # characters of the first token

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        [message] = body["messages"]
        asked = _ASKED.fullmatch(message["content"])
        assert asked is not None and message["role"] == "user", message
        question, a, b = asked["question"], asked["first"], asked["second"]
        pair = (f"{question} {a}", f"{question} {b}") if question else (a, b)
        with self.lock:
            [probabilities] = self.vlm.classify([pair])  # type: ignore[attr-defined]
        said = CLASSES[int(probabilities.argmax())]
        top = [
            {"token": name[: self.split], "logprob": math.log(p)}
            for name, p in zip(CLASSES, probabilities, strict=True)
        ]
        content = [{"token": said[: self.split], "logprob": math.log(probabilities.max()), "top_logprobs": top}]
        choice = {"message": {"content": self.words.format(said)}, "finish_reason": "stop"}
        if body.get("logprobs") and "logprobs" not in self.ignores:
            choice["logprobs"] = {"content": content}
        return {"model": self.model, "choices": [choice]}


@pytest.fixture(scope="module")
def nli(tmp_path_factory: pytest.TempPathFactory) -> HuggingFaceEntailment:
    return HuggingFaceEntailment.load(save_model(tmp_path_factory.mktemp("judge") / "nli", CLASSES), "nli", "cpu")


@pytest.fixture
def server(nli: HuggingFaceEntailment, monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgingServer]:
    monkeypatch.setattr("tests.openai_server.OpenAIServer", JudgingServer)
    monkeypatch.setattr("tests.openai_server.FIELDS", {*_fields(), "top_logprobs"})
    with serve(nli, model="judge-7b") as running:  # type: ignore[arg-type]
        yield running  # type: ignore[misc]


def _fields() -> set[str]:
    from tests.openai_server import FIELDS

    return FIELDS


def name_of(server: OpenAIServer) -> str:
    return f"judge:{server.model}@{server.url}"


def judge_at(server: OpenAIServer) -> JudgeEntailment:
    return JudgeEntailment(parse_judge(name_of(server)), QUICK)


PAIRS = [(a, b) for a in SENTENCES for b in SENTENCES]


def test_probabilities_are_those_of_the_first_token(server: JudgingServer, nli: HuggingFaceEntailment) -> None:
    judge = judge_at(server)
    assert np.allclose(judge.classify(PAIRS), nli.classify(PAIRS), atol=1e-12)
    assert judge.implications(PAIRS).tolist() == nli.implications(PAIRS).tolist()
    assert set(nli.implications(PAIRS).tolist()) == {0, 1, 2}  # else this would prove little
    assert len(server.asked()) == len(PAIRS)  # the second time, nothing is asked
    assert {body["temperature"] for body in server.asked()} == {0.0}


@pytest.mark.parametrize("how", ["refuses", "ignores"])
def test_without_likelihoods_the_word_is_certain(server: JudgingServer, nli: HuggingFaceEntailment, how: str) -> None:
    setattr(server, how, {"logprobs", "top_logprobs", "seed"})
    server.words = "Response: **{}**. The first one says more."
    found = judge_at(server).classify(PAIRS)
    assert found.tolist() == np.eye(3)[nli.implications(PAIRS)].tolist()
    refused = [body for body in server.asked() if "top_logprobs" in body]
    assert len(refused) == (1 if how == "refuses" else len(PAIRS))  # found out once


def test_the_judge_reads_the_question_apart_from_the_answers(server: JudgingServer, nli: HuggingFaceEntailment) -> None:
    answers = ["Yes.", "No, it is blue.", "Yes.", "I cannot tell."]
    judge = judge_at(server)
    found = class_probabilities(answers, QUESTION, judge)
    assert np.allclose(found, class_probabilities(answers, QUESTION, nli), atol=1e-12)
    assert len(server.asked()) == 3 * 2 + 1  # distinct pairs, and “Yes.” with itself
    assert all('the question "Is there a red car?"' in body["messages"][0]["content"] for body in server.asked())
    assert np.allclose(class_probabilities(answers, None, judge), class_probabilities(answers, None, nli), atol=1e-12)
    assert "Here are two texts" in server.asked()[-1]["messages"][0]["content"]


def test_semantic_entropy_by_a_judge_is_that_of_its_model(server: JudgingServer, nli: HuggingFaceEntailment) -> None:
    samples = tuple(Answer(text, (1,), ("x",), (-0.5,), (-0.7,)) for text in ["Yes.", "No.", "Yes, a car.", "No."])
    by_judge = measure(samples, QUESTION, judge_at(server), UncertaintySettings())
    by_model = measure(samples, QUESTION, nli, UncertaintySettings())
    assert by_judge.semantic_ids == by_model.semantic_ids
    assert by_judge.semantic_entropy == pytest.approx(by_model.semantic_entropy, abs=1e-12)
    assert by_judge.settings.entailment_model == name_of(server)


def test_many_answers_are_judged_through_representatives(server: JudgingServer, nli: HuggingFaceEntailment) -> None:
    samples = tuple(Answer(f"Yes, {n} cars.") for n in range(MANY + 2))
    found = measure(samples, QUESTION, judge_at(server), UncertaintySettings())
    assert found.semantic_ids == measure(samples, QUESTION, nli, UncertaintySettings()).semantic_ids
    assert all(body["messages"][0]["content"].startswith("We are evaluating") for body in server.asked())


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("entailment", 2),
        (" Entailment.", 2),
        ("**Contradiction**", 0),
        ('{"label": "neutral"}', 1),
        ("Answer: entailment, since a red car is a car; it is not neutral.", 2),
        ("Possible Answer 1 entails Possible Answer 2.", 2),
        ("The first does not contradict the second, it is neutral to it.", 1),
        ("It is neither a contradiction nor an entailment: neutral", 1),
        ("Answer 1 doesn't entail Answer 2.", 1),
        ("They contradict each other, so this is not entailment.", 0),
        ("<think>Is it neutral? Perhaps entailment.</think>\ncontradiction", 0),
        ("<think>It is entailment, I am sure, but", None),
        ("Yes.", None),
        ("", None),
        ("🤷", None),
    ],
)
def test_words_are_read_leniently(said: str, expected: int | None) -> None:
    assert read_class(said) == expected


def test_an_unreadable_reply_is_neutral_and_asked_again_but_not_all_of_them(server: JudgingServer) -> None:
    nonsense = Fault(200, {"choices": [{"message": {"content": "As an assistant, I like cars."}}]})
    judge = judge_at(server)
    server.faults = [nonsense]
    found = judge.classify(PAIRS[:3])
    assert found[0].tolist() == [0, 1, 0]
    assert len(server.asked()) == 3
    judge.classify(PAIRS[:3])
    assert len(server.asked()) == 4
    server.faults = [nonsense] * 2
    with pytest.raises(ModelError, match=r"answers none of 2 pairs .*“As an assistant, I like cars\.”.*larger model"):
        judge.classify(PAIRS[5:7])


@pytest.mark.parametrize(
    ("faults", "sentence"),
    [
        ([Fault(401, {"error": {"message": "no"}})], "asks for a key: set ISI_ENDPOINT_KEY"),
        ([Fault(200, "<html>")], "web page instead of JSON"),
        ([Fault(503)] * 2, "problem of its own"),
        ([Fault(400, {"error": {"message": "too long"}})] * 5, "refuses the question"),
    ],
)
def test_what_goes_wrong_is_said(server: JudgingServer, faults: list[Any], sentence: str) -> None:
    server.faults = faults
    with pytest.raises(ModelError, match=sentence) as caught:
        judge_at(server).classify(PAIRS[:2])
    assert "\n" not in str(caught.value)


def test_nobody_there_and_an_unknown_model(server: JudgingServer) -> None:
    with pytest.raises(ModelError, match="Nothing answers at"):
        JudgeEntailment(parse_judge("judge:x@http://127.0.0.1:9/v1"), QUICK).classify(PAIRS[:1])
    other = JudgeEntailment(parse_judge(f"judge:other@{server.url}"), QUICK)
    with pytest.raises(ModelError, match="has no model other: choose judge-7b"):
        other.classify(PAIRS[:1])


def test_cancel_ends_the_requests(server: JudgingServer) -> None:
    server.delay = 0.2

    def stop(message: str, fraction: float) -> None:
        assert re.fullmatch(r"Judging answers: \d+ of 25 pairs", message) and fraction <= 1
        if fraction > 0:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        judge_at(server).classify(PAIRS, stop)
    assert len(server.asked()) < len(PAIRS)


def test_on_the_shelf_a_judge_stays_and_remembers(server: JudgingServer) -> None:
    name = name_of(server)
    row = find_entailment(f" {name}/ ")
    assert (row.name, row.kind, row.parameters) == (name, "entailment", 0)
    assert memory.readiness(row).state == "endpoint"
    shelf = Shelf()
    for _ in range(2):
        with shelf.entailment(name) as judge:
            judge.classify(PAIRS[:2])
    assert len(server.asked()) == 2
    with shelf.entailment("tiny-nli"), pytest.raises(RuntimeError, match="holds a model"), shelf.entailment(name):
        pass


@pytest.mark.parametrize(
    "name", ["judge:", "judge:x", "judge:x@http://me:hunter2@127.0.0.1/v1", "judge:x@http://h.org"]
)
def test_a_wrong_address_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        find_entailment(name)
    assert "hunter2" not in str(caught.value) and "endpoint:" not in str(caught.value)


def test_an_operator_can_switch_judges_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ISI_MODELS_TYPED", "hub")
    with pytest.raises(ModelError, match="No model an endpoint"):
        find_entailment("judge:x@http://127.0.0.1/v1")
    monkeypatch.setenv("ISI_MODELS_TYPED", "")
    with pytest.raises(ModelError, match="an LLM judge such as judge:MODEL@"):
        find_entailment("no/such/model")
