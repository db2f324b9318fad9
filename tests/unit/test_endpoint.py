"""Models behind an OpenAI-compatible server, over real HTTP on this machine: a model with random weights answers."""

from __future__ import annotations

import email.utils
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from isi_core.cli import main
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import Cancelled, InputError, ModelError
from isi_core.models import memory
from isi_core.models.catalogue import find_entailment, find_vlm
from isi_core.models.shelf import Shelf
from isi_core.models.vlm import endpoint_http
from isi_core.models.vlm.endpoint import IN_PARALLEL, EndpointVLM
from isi_core.models.vlm.endpoint_address import parse_endpoint
from isi_core.models.vlm.endpoint_http import Patience
from isi_core.models.vlm.endpoint_key import endpoint_key
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.store.serialization import evaluation_from_json, evaluation_to_json
from isi_core.studies.vqa import evaluate
from tests.checkpoints import make_trial, save_llava
from tests.openai_server import Fault, OpenAIServer, serve
from tests.unit.test_entailment import save_model

KEY = "sk-very+secret/0123456789"
QUICK = Patience(attempts=3, first_wait=0.01, connect=5, reply=20)
DECODING = Decoding(n_samples=4, max_new_tokens=6)
ANSWER = {"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}]}


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> HuggingFaceVLM:
    return HuggingFaceVLM.load(save_llava(tmp_path_factory.mktemp("checkpoints") / "llava", layers=2), "llava")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting and no secret of the machine that runs the tests."""
    for name in [name for name in os.environ if name.startswith("ISI_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def server(llava: HuggingFaceVLM) -> Iterator[OpenAIServer]:
    with serve(llava) as running:
        yield running


def connect(server: OpenAIServer, **patience: float) -> EndpointVLM:
    return EndpointVLM(parse_endpoint(server.name), replace(QUICK, **patience))


def ask(server: OpenAIServer, **patience: float) -> Any:
    [output] = connect(server, **patience).evaluate([make_trial()], DECODING, ["answer"])
    return output


def complaint(server: OpenAIServer, *faults: Any, **patience: float) -> str:
    """What the user reads when the server does this, and nothing else."""
    server.faults = list(faults)
    with pytest.raises(ModelError) as caught:
        ask(server, **patience)
    return str(caught.value)


# Answers


def test_the_answer_is_the_models_own_with_its_tokens_and_likelihoods(
    server: OpenAIServer, llava: HuggingFaceVLM
) -> None:
    trial = make_trial("A house is red.", "Is it?")
    [here] = llava.evaluate([trial], DECODING, ["answer"])
    vlm = connect(server)
    [there] = vlm.evaluate([trial], DECODING, ["answer"])
    assert here.answer and there.answer
    kept = len(here.answer.tokens) - here.answer.finished
    assert there.answer.text == here.answer.text and there.answer.text
    assert there.answer.tokens == here.answer.tokens[:kept]
    assert there.answer.log_likelihoods == pytest.approx(here.answer.log_likelihoods[:kept])
    assert there.answer.sampling_log_likelihoods == there.answer.log_likelihoods
    assert (there.answer.finished, there.prompt_tokens) == (here.answer.finished, here.prompt_tokens)
    assert there.prompt == "<image>\nA house is red. Is it?"
    assert (there.samples, there.attention, there.hidden_states) == (None, None, None)
    [body] = server.asked()
    assert (body["temperature"], body["top_p"], body["max_tokens"], body["logprobs"]) == (0, 1.0, 6, True)
    assert "n" not in body and "top_k" not in body and isinstance(body["seed"], int)
    assert vlm.capabilities.likelihoods and not vlm.capabilities.attention and not vlm.capabilities.beam


def test_samples_come_in_one_request_and_the_seed_draws_them(server: OpenAIServer) -> None:
    vlm = connect(server)
    trials = [make_trial(seed=i) for i in range(2)]
    first = vlm.evaluate(trials, DECODING, ["answer", "samples"])
    assert [len(o.samples or ()) for o in first] == [4, 4] and all(o.answer for o in first)
    # Requests run side by side: their order is not told.
    drawn = [body for body in server.asked() if "n" in body]
    assert [body["n"] for body in drawn] == [4, 4] and len(server.asked()) == 4
    assert drawn[0]["temperature"] == 0.9 and drawn[0]["top_k"] == 50
    again = connect(server).evaluate(trials, DECODING, ["samples"])
    other = connect(server).evaluate(trials, replace(DECODING, seed=1), ["samples"])
    assert [o.samples for o in again] == [o.samples for o in first]
    assert [o.samples for o in other] != [o.samples for o in first]
    assert len({s.text for o in first for s in o.samples or ()}) > 2
    samples = [sample for output in first for sample in output.samples or ()]
    assert all(len(s.tokens) == len(s.log_likelihoods) for s in samples) and any(s.tokens for s in samples)


@pytest.mark.parametrize("style", ["Unsupported fields in the request: {names}", "This cannot be done."])
def test_what_a_server_refuses_is_found_out_once(llava: HuggingFaceVLM, style: str) -> None:
    refuses = {"n", "logprobs", "top_k", "repetition_penalty"}
    with serve(llava, refuses=refuses, style=style) as server:
        vlm = connect(server)
        [output] = vlm.evaluate([make_trial()], DECODING, ["answer", "samples"])
        assert output.answer and len(output.samples or ()) == 4
        assert len({sample.text for sample in output.samples or ()}) > 1  # each with a seed of its own
        assert not output.answer.log_likelihoods and not vlm.capabilities.likelihoods
        assert vlm.record.dtype == "as served, without top_k"
        tried = len(server.asked())
        [again] = vlm.evaluate([make_trial()], DECODING, ["answer", "samples"])
        assert (again.answer, again.samples) == (output.answer, output.samples)
        assert len(server.asked()) == tried + 5
        assert all(not set(body) & refuses and "seed" in body for body in server.asked()[tried:])


def test_what_a_server_ignores_is_found_out_too(llava: HuggingFaceVLM) -> None:
    with serve(llava, ignores={"n", "logprobs"}, delay=0.05) as server:
        vlm = connect(server)
        decoding = replace(DECODING, n_samples=9)
        [output] = vlm.evaluate([make_trial()], decoding, ["samples"])
        assert len(output.samples or ()) == 9 and not vlm.capabilities.likelihoods
        assert [body.get("n") for body in server.asked()] == [9] + [None] * 8
        assert len({body["seed"] for body in server.asked()}) == 9
        assert 1 < server.most_at_once <= IN_PARALLEL
        [again] = vlm.evaluate([make_trial()], decoding, ["samples"])
        assert again.samples == output.samples
        assert [body.get("n") for body in server.asked()[9:]] == [None] * 9


def test_n_may_be_refused_by_a_500(server: OpenAIServer) -> None:
    server.faults = [Fault(500, {"error": {"message": "Only one completion choice is allowed"}})] * QUICK.attempts
    [output] = connect(server).evaluate([make_trial()], DECODING, ["samples"])
    assert len(output.samples or ()) == 4
    assert [body.get("n") for body in server.asked()] == [4] * QUICK.attempts + [None] * 4


def test_a_setting_that_matters_is_not_dropped(llava: HuggingFaceVLM) -> None:
    with serve(llava, refuses={"repetition_penalty"}) as server:
        with pytest.raises(ModelError, match=r"refuses the question .422.*repetition_penalty"):
            connect(server).evaluate([make_trial()], replace(DECODING, repetition_penalty=1.2), ["answer"])
        assert ask(server).answer


def test_max_completion_tokens_stands_in_for_max_tokens(server: OpenAIServer) -> None:
    message = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    server.faults = [Fault(400, {"error": {"message": message}}), Fault(200, ANSWER)]
    assert ask(server).answer.text == "Yes."
    assert server.asked()[1]["max_completion_tokens"] == 6 and "max_tokens" not in server.asked()[1]


def test_a_true_refusal_teaches_nothing_and_is_told(server: OpenAIServer) -> None:
    vlm = connect(server)
    with pytest.raises(ModelError, match=r"refuses the question .400.*takes 1,024 in all"):
        vlm.evaluate([make_trial("word " * 3000)], DECODING, ["answer"])
    [output] = vlm.evaluate([make_trial()], DECODING, ["answer"])
    assert output.answer and output.answer.log_likelihoods
    asked = len(server.asked())
    with pytest.raises(ModelError, match="takes 1,024 in all"):  # what the server takes is known now: one request tells
        vlm.evaluate([make_trial("word " * 3000)], DECODING, ["answer"])
    assert len(server.asked()) == asked + 1


def test_characters_of_several_tokens_and_odd_contents(server: OpenAIServer) -> None:
    euro = list("€".encode())
    tokens = [
        {"token": "a", "logprob": -0.5, "bytes": [97]},
        *({"token": "\\x", "logprob": -0.1, "bytes": [byte]} for byte in euro),
        {"token": "\ud800", "logprob": 1e-9, "bytes": None},
    ]
    choice = {"message": {"content": [{"type": "text", "text": " a€\ud800"}]}, "logprobs": {"content": tokens}}
    server.faults = [Fault(200, {"choices": [{**choice, "finish_reason": "length"}], "model": "dated-2026-01"})]
    vlm = connect(server)
    [output] = vlm.evaluate([make_trial()], DECODING, ["answer"])
    assert output.answer and output.answer.text == "a€?" and not output.answer.finished
    assert output.answer.tokens == ("a", "", "", "€", "?")
    assert output.answer.log_likelihoods == (-0.5, -0.1, -0.1, -0.1, 0.0)
    assert vlm.record.revision == "dated-2026-01"
    server.faults = [Fault(200, {"choices": [{"message": {"content": None}}]})]
    assert ask(server).answer.text == ""


def test_what_cannot_be_asked_is_refused_before_anything_is_sent(server: OpenAIServer) -> None:
    vlm = connect(server)
    with pytest.raises(ModelError, match="does not tell its attention"):
        vlm.evaluate([make_trial()], DECODING, ["attention"])
    with pytest.raises(ModelError, match="hidden states"):
        vlm.evaluate([make_trial()], DECODING, ["hidden_states"])
    with pytest.raises(ModelError, match="greedy or sample"):
        vlm.evaluate([make_trial()], replace(DECODING, strategy="beam"), ["answer"])
    with pytest.raises(InputError, match="no question"):
        vlm.evaluate([make_trial(question=" ")], DECODING, ["answer"])
    vlm.close()
    with pytest.raises(ModelError, match="released"):
        vlm.evaluate([make_trial()], DECODING, ["answer"])
    assert server.seen == []


# What goes wrong on the way


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again_and_then_told_of(server: OpenAIServer, status: int) -> None:
    server.faults = [Fault(status), Fault(status)]
    assert ask(server).answer
    assert len(server.seen) == 3
    assert f"({status})" in complaint(server, *[Fault(status)] * 3)
    assert len(server.seen) == 6


def test_retry_after_is_honoured_as_seconds_and_as_a_date(server: OpenAIServer) -> None:
    server.faults = [Fault(429, headers={"Retry-After": "0.4"})]
    began = time.monotonic()
    ask(server)
    assert time.monotonic() - began >= 0.4
    later = email.utils.formatdate(time.time() + 500, usegmt=True)
    assert "asks to wait" in complaint(server, Fault(503, headers={"Retry-After": later}))
    assert "asks to wait 31 s" in complaint(server, Fault(503, headers={"Retry-After": "30.5"}))
    for odd in ("-3", "soon", "nan", "inf"):
        server.faults = [Fault(503, headers={"Retry-After": odd})]
        assert ask(server).answer


def test_waits_grow_and_are_not_all_the_same(server: OpenAIServer) -> None:
    told: list[str] = []
    server.faults = [Fault(503), Fault(503)]
    vlm = connect(server, first_wait=0.6)
    began = time.monotonic()
    vlm.evaluate([make_trial()], DECODING, ["answer"], lambda message, _: told.append(message))
    assert time.monotonic() - began >= 0.3 + 0.6
    assert any("trying again in 1 s" in message for message in told)


def test_a_broken_connection_is_tried_again(server: OpenAIServer) -> None:
    def hang_up(handler: Any) -> None:
        handler.connection.shutdown(socket.SHUT_RDWR)

    def half(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
        handler.connection.shutdown(socket.SHUT_RDWR)

    server.faults = [hang_up, half]
    assert ask(server).answer and len(server.seen) == 3
    assert "broke the connection off" in complaint(server, hang_up, half, hang_up)


def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        name = f"endpoint:x@http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(ModelError, match=r"Nothing answers at .*start the server"):
            EndpointVLM(parse_endpoint(name), QUICK).evaluate([make_trial()], DECODING, ["answer"])


def test_a_slow_server_is_given_up_in_time(server: OpenAIServer) -> None:
    def drip(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(100):
            handler.wfile.write(b" ")
            time.sleep(0.05)

    for slow in (drip, lambda _: time.sleep(2)):
        began = time.monotonic()
        assert "did not answer within 0.3 s" in complaint(server, slow, reply=0.3)
        assert time.monotonic() - began < 1.5


def test_cancel_ends_the_requests_under_way(server: OpenAIServer) -> None:
    server.faults = [lambda _: time.sleep(3)]
    began = time.monotonic()

    def cancel(_: str, __: float) -> None:
        if time.monotonic() - began > 0.3:
            raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        connect(server).evaluate([make_trial()], DECODING, ["answer"], cancel)
    assert time.monotonic() - began < 1.0
    until = time.monotonic() + 1.0
    while any(t.name.startswith("endpoint") for t in threading.enumerate()):
        assert time.monotonic() < until, "a request goes on"
        time.sleep(0.01)


def test_progress_goes_from_nothing_to_done(server: OpenAIServer) -> None:
    told: list[tuple[str, float]] = []
    connect(server).evaluate(
        [make_trial(), make_trial(seed=1)], DECODING, ["answer", "samples"], lambda *s: told.append(s)
    )
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions) and (fractions[0], told[-1]) == (0.0, ("Done", 1.0))
    assert told[0][0] == "Asking random-llava: 0 of 5 answers"


def _likelihood(value: Any) -> dict[str, Any]:
    """An answer whose only token has this likelihood."""
    tokens = [{"token": "x", "logprob": value}]
    return {"choices": [{"message": {"content": "x"}, "logprobs": {"content": tokens}}]}


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (Fault(200, "<!doctype html><p>Hello"), "a web page instead of JSON: check the address.*ends in /v1"),
        (Fault(200, '{"choices": [{"mess'), "no chat completion: check the address"),
        (Fault(200, b"\xff\xfe\x00"), "no chat completion"),
        (Fault(200, "[" * 100_000), "no chat completion"),
        (Fault(200, '{"choices": []}'), "no chat completion"),
        (Fault(200, "[1]"), "no chat completion"),
        (Fault(200, {"error": {"message": "out of memory"}}), "could not answer: out of memory"),
        (Fault(200, '{"choices": [7]}'), "unknown form"),
        (Fault(200, '{"choices": [{"message": {"content": 7}}]}'), "unknown form"),
        (Fault(200, {"choices": [{"message": {"content": "x" * 200_000}}]}), "unknown form"),
        *((Fault(200, _likelihood(value)), "not a log-probability") for value in (float("nan"), float("-inf"), 0.5)),
        *((Fault(200, _likelihood(value)), "unknown form") for value in (True, "-1", None, -(10**400))),
        (Fault(404, "<html>"), "does not offer chat completions .404.*ends in /v1"),
        (Fault(413), "too large .413.: give a smaller picture"),
        (Fault(418, '{"detail": "I am\\u001b[31m a teapot"}'), r"refuses the question .418.: I am \[31m a teapot"),
        (Fault(402, "<html>"), "refuses the question .402. and does not tell why"),
    ],
)
def test_nonsense_becomes_a_sentence_with_the_way_out(server: OpenAIServer, fault: Fault, sentence: str) -> None:
    said = complaint(server, fault)
    assert re.search(sentence, said) and "\n" not in said and len(said) < 500


def test_an_unknown_model_is_told_with_those_that_there_are(server: OpenAIServer) -> None:
    vlm = EndpointVLM(parse_endpoint(f"endpoint:other@{server.url}"), QUICK)
    with pytest.raises(ModelError, match="has no model other: choose random-llava"):
        vlm.evaluate([make_trial()], DECODING, ["answer"])


def test_a_server_that_hangs_up_on_a_large_picture_is_heard() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            peer, _ = listening.accept()
            peer.recv(1024)
            peer.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            peer.close()

        threading.Thread(target=refuse, daemon=True).start()
        vlm = EndpointVLM(parse_endpoint(f"endpoint:x@http://127.0.0.1:{listening.getsockname()[1]}"), QUICK)
        with pytest.raises(ModelError, match=r"too large .413.: give a smaller picture"):
            vlm.evaluate([make_trial(size=(2000, 2000))], DECODING, ["answer"])


def test_a_reply_without_end_is_cut(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_http, "MAX_REPLY", 1 << 20)

    def flood(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            handler.wfile.write(b" " * 65536)

    assert "more than 1 MB in one reply" in complaint(server, flood)


def test_what_is_no_web_server_is_told_of() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        name = f"endpoint:x@http://127.0.0.1:{listening.getsockname()[1]}/v1"
        secure = name.replace("http://", "https://")

        def greet() -> None:
            for _ in range(2):
                peer, _ = listening.accept()
                peer.sendall(b"220 mail.example ESMTP\r\n")
                peer.recv(4096)
                peer.close()

        threading.Thread(target=greet, daemon=True).start()
        for address, sentence in ((name, "not answer as a web server does"), (secure, "does not speak https")):
            with pytest.raises(ModelError, match=sentence):
                EndpointVLM(parse_endpoint(address), QUICK).evaluate([make_trial()], DECODING, ["answer"])


# The key


def test_the_key_comes_from_the_environment_or_the_secrets(
    llava: HuggingFaceVLM, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with serve(llava, key=KEY) as server:
        assert "asks for a key: set ISI_ENDPOINT_KEY" in complaint(server)
        secrets = tmp_path / ".streamlit" / "secrets.toml"
        secrets.parent.mkdir()
        secrets.write_text(f'isi_endpoint_key = "{KEY}"\n')
        assert ask(server).answer
        monkeypatch.setenv("ISI_ENDPOINT_KEY", KEY + "x")
        assert "does not accept the key: correct ISI_ENDPOINT_KEY" in complaint(server)
        monkeypatch.delenv("ISI_ENDPOINT_KEY")
        secrets.write_text(f"isi_endpoint_key = {KEY}\n")
        said = complaint(server)
        assert "not a TOML file" in said and KEY not in said
        monkeypatch.setenv("ISI_ENDPOINT_KEY", KEY + "\n\u00e9")
        assert "special characters" in (said := complaint(server)) and KEY not in said


def _whole_text_of(error: BaseException) -> str:
    """An error as it could reach a log: its text, its causes and their values."""
    text = "".join(traceback.format_exception(error)) + repr(error)
    while error.__context__ is not None:
        error = error.__context__
        text += repr(error) + repr(getattr(error, "__dict__", ""))
    return text


@pytest.mark.parametrize(
    "fault",
    [
        *(Fault(s, {"error": {"message": "You sent {key}", "param": "{key}"}}) for s in (400, 401, 403, 404, 418, 422)),
        Fault(400, {"error": {"message": "the key sk-very+secr****6789 is wrong"}}),
        Fault(400, {"detail": [{"loc": ["{key}"], "msg": "{key}"}]}),
        Fault(200, {"error": "{key}"}),
        Fault(200, "{key}"),
        Fault(200, {"choices": [{"message": {"content": "It is {key}."}}]}),
        Fault(307, headers={"Location": "http://127.0.0.1:1/{key}"}),
        Fault(503, {"error": {"message": "{key}"}}, {"Retry-After": "{key}"}),
        Fault(503, {"error": {"message": "{key}"}}, {"Retry-After": "99", "X": "{key}"}),
    ],
)
def test_no_error_repeats_the_key(
    server: OpenAIServer, fault: Fault, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ISI_ENDPOINT_KEY", KEY)
    server.faults = [fault] * 20
    told: list[str] = []
    vlm = connect(server)
    with pytest.raises(ModelError) as caught:
        vlm.evaluate([make_trial()], DECODING, ["answer"], lambda message, _: told.append(message))
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
    shown = _whole_text_of(caught.value) + caplog.text + "".join(told) + "".join(capfd.readouterr())
    for part in (KEY, "secret", "sk-very", "0123456789"):
        assert part not in shown


def test_no_record_and_no_attribute_holds_the_key(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISI_ENDPOINT_KEY", KEY)
    server.faults = [Fault(200, json.dumps({**ANSWER, "model": "{key}"}))]
    vlm = connect(server)
    evaluation = evaluate(make_trial(), vlm, DECODING)
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
    kept = json.dumps(evaluation_to_json(evaluation)) + repr(vlm) + repr(vars(vlm)) + repr(find_vlm(server.name))
    assert "secret" not in kept and "Bearer" not in kept
    assert evaluation.model.source == server.url and evaluation.model.name == server.name


def test_a_redirect_elsewhere_gets_nothing_and_one_within_is_followed(
    llava: HuggingFaceVLM, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISI_ENDPOINT_KEY", KEY)
    with serve(llava) as other:
        for status in (301, 302, 303, 307, 308):
            for place in (
                other.url,
                other.url.replace("127.0.0.1", "localhost"),
                "//127.0.0.2/v1",
                "http://[",
                "file:///x",
            ):
                assert "redirects elsewhere" in complaint(server, Fault(status, headers={"Location": place}))
        assert other.seen == []
    server.faults = [Fault(307, headers={"Location": "/v1/chat/completions"})]
    assert ask(server).answer
    circle = Fault(308, headers={"Location": "/v1/chat/completions"})
    assert "in a circle" in complaint(server, *[circle] * 9)


def test_only_listed_hosts_get_the_key(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISI_ENDPOINT_KEY", KEY)
    far = parse_endpoint("endpoint:x@https://models.example:8443/v1")
    assert endpoint_key(parse_endpoint(server.name)) == KEY
    assert endpoint_key(far) is None
    for hosts, expected in (
        ("models.example", KEY),
        ("a.example, Models.Example:8443", KEY),
        ("models.example:443", None),
        ("example", None),
        ("", None),
    ):
        monkeypatch.setenv("ISI_ENDPOINT_HOSTS", hosts)
        assert endpoint_key(far) == expected
    monkeypatch.delenv("ISI_ENDPOINT_HOSTS")
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text('isi_endpoint_hosts = ["models.example"]')
    assert endpoint_key(far) == KEY


def test_a_proxy_sees_no_key_and_nothing_of_this_machine(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISI_ENDPOINT_KEY", KEY)
    monkeypatch.setenv("ISI_ENDPOINT_HOSTS", "models.example")
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://user:word@127.0.0.1:{proxy.getsockname()[1]}"
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, address)
        assert ask(server).answer  # straight to this machine: nobody accepts at the proxy
        heard: list[bytes] = []

        def listen() -> None:
            peer, _ = proxy.accept()
            heard.append(peer.recv(65536))
            peer.sendall(b"HTTP/1.1 403 No\r\n\r\n")
            peer.close()

        threading.Thread(target=listen, daemon=True).start()
        far = EndpointVLM(parse_endpoint("endpoint:x@https://models.example/v1"), replace(QUICK, attempts=1))
        with pytest.raises(ModelError, match=r"https://models.example/v1 cannot be reached"):
            far.evaluate([make_trial()], DECODING, ["answer"])
    assert (
        heard[0].startswith(b"CONNECT models.example:443 ") and b"Proxy-Authorization: Basic dXNlcjp3b3Jk" in heard[0]
    )
    assert b"Bearer" not in heard[0]


# The catalogue, the shelf and the switches


def test_an_endpoint_is_a_row_like_any_other() -> None:
    row = find_vlm(" endpoint:gemma3:4b@http://LOCALHOST:11434/v1/chat/completions/ ")
    assert row.name == "endpoint:gemma3:4b@http://localhost:11434/v1" == row.source
    assert (row.family, row.size, row.kind, row.parameters) == ("Endpoint", "gemma3:4b", "vlm", 0)
    ready = memory.readiness(row)
    assert ready.usable and (ready.state, ready.need_bytes) == ("endpoint", 0)
    with pytest.raises(ModelError, match="turn 4-bit off"):
        memory.readiness(row, "4-bit")
    assert find_vlm("endpoint:a/b@c.gguf@https://[::1]:443").name == "endpoint:a/b@c.gguf@https://[::1]"
    with pytest.raises(ModelError, match="choose one of tiny-nli"):
        find_entailment("endpoint:x@http://127.0.0.1/v1")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("endpoint:", "write endpoint:MODEL@http"),
        ("endpoint:x", "write endpoint:"),
        ("endpoint:@http://127.0.0.1", "write endpoint:"),
        ("endpoint:x@ftp://127.0.0.1", "write endpoint:"),
        ("endpoint:x\n@http://127.0.0.1", "write endpoint:"),
        ("endpoint:x@http://127.0.0.1/a b", "write endpoint:"),
        ("endpoint:x@http://127.0.0.1:0/", "no host that can be asked"),
        ("endpoint:x@http://127.0.0.1:99999/", "cannot be read"),
        ("endpoint:x@http://[::1/", "cannot be read"),
        ("endpoint:x@http:///v1", "no host"),
        ("endpoint:x@https://bücher.example/v1", "write endpoint:"),
        ("endpoint:x@http://me:hunter2@127.0.0.1/v1", "no user name, password"),
        ("endpoint:x@http://127.0.0.1/v1?key=hunter2", "no user name, password, query"),
        ("endpoint:x@https://h.example/#hunter2", "no user name, password, query"),
        ("endpoint:x@http://h.example/v1", "clear text: use https, or set ISI_ENDPOINT_INSECURE=1"),
        ("endpoint:x@http://127.0.0.1.h.example/v1", "clear text"),
        ("endpoint:x@http://0x7f.1/v1", "clear text"),
        ("endpoint:x@http://169.254.169.254/v1", "clear text"),
    ],
)
def test_a_wrong_address_is_refused_and_not_repeated(name: str, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence) as caught:
        find_vlm(name)
    assert "hunter2" not in str(caught.value)


def test_http_to_other_machines_can_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISI_ENDPOINT_INSECURE", "1")
    assert find_vlm("endpoint:x@http://gpu.example/v1").endpoint is not None
    monkeypatch.setenv("ISI_ENDPOINT_INSECURE", "no")
    with pytest.raises(ModelError, match="clear text"):
        find_vlm("endpoint:x@http://gpu.example/v1")


def test_an_operator_can_switch_typed_models_off_or_confine_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inside, outside = tmp_path / "models" / "mine", tmp_path / "elsewhere"
    for folder in (inside, outside):
        folder.mkdir(parents=True)
    (tmp_path / "models" / "link").symlink_to(outside)
    names = {"hub": "owner/name", "folder": str(inside), "endpoint": "endpoint:x@http://127.0.0.1/v1"}

    def allowed() -> set[str]:
        found = set()
        for kind, name in names.items():
            try:
                find_vlm(name)
                found.add(kind)
            except ModelError as error:
                assert "tiny-llava" in str(error)
        assert find_vlm("tiny-llava").embedded and find_vlm("llava-1.5-7b").source == "llava-hf/llava-1.5-7b-hf"
        return found

    for setting, expected in (
        ("on", {"hub", "folder", "endpoint"}),
        ("", {"hub", "folder", "endpoint"}),
        ("off", set()),
        ("OFF ", set()),
        ("folder, endpoint", {"folder", "endpoint"}),
        ("folders", set()),
    ):
        monkeypatch.setenv("ISI_MODELS_TYPED", setting)
        assert allowed() == expected
    with pytest.raises(ModelError, match="this server offers no others"):
        find_entailment("owner/name")
    monkeypatch.setenv("ISI_MODELS_TYPED", "folder")
    monkeypatch.setenv("ISI_MODELS_FOLDER", str(tmp_path / "models"))
    assert find_vlm(str(inside)).source == find_vlm("mine").source == inside.resolve()
    for way in (str(outside), "../elsewhere", "mine/../../elsewhere", "link", ".", "", "~", "/"):
        with pytest.raises(ModelError, match="a folder inside ISI_MODELS_FOLDER"):
            find_vlm(way)


def test_on_the_shelf_an_endpoint_takes_nobodys_place(server: OpenAIServer, tmp_path: Path) -> None:
    shelf, local = Shelf(), str(save_llava(tmp_path / "local", layers=1))
    with shelf.vlm(local) as resident:
        entered: list[str] = []

        def use() -> None:  # while the only place for a model is taken
            with shelf.vlm(server.name) as vlm:
                entered.extend(o.answer.text for o in vlm.evaluate([make_trial()], DECODING, ["answer"]) if o.answer)

        thread = threading.Thread(target=use)
        thread.start()
        thread.join(20)
        assert not thread.is_alive() and len(entered) == 1
    with shelf.vlm(server.name) as vlm:
        assert isinstance(vlm, EndpointVLM) and shelf.record(server.name) == vlm.record
    with shelf.vlm(local) as again:
        assert again is resident
    assert {(s.name, s.state) for s in shelf.status()} == {("local", "ready"), (server.name, "ready")}
    with pytest.raises(ModelError, match="turn 8-bit off"), shelf.vlm(server.name, "8-bit"):
        pass
    for i in range(40):
        with shelf.vlm(f"endpoint:m{i}@http://127.0.0.1:9/v1"):
            pass
    names = [s.name for s in shelf.status()]
    assert len(names) <= 18 and "local" in names and "endpoint:m39@http://127.0.0.1:9/v1" in names
    shelf.clear()
    assert shelf.status() == []


# Whole ways


def test_without_likelihoods_entropy_is_counted_and_says_so(llava: HuggingFaceVLM, tmp_path: Path) -> None:
    shelf, nli = Shelf(), str(save_model(tmp_path / "nli", ("contradiction", "neutral", "entailment")))
    trial, decoding = make_trial(), replace(DECODING, seed=1)  # no answer of this seed is without a token
    for refused in (set(), {"n", "logprobs"}):
        with (
            serve(llava, refuses=refused) as server,
            shelf.vlm(server.name) as vlm,
            shelf.entailment(nli) as entailment,
        ):
            made = evaluate(trial, vlm, decoding, ["answer", "uncertainty", "attention"], entailment)
            assert made.attribution is None and made.uncertainty is not None
            assert made.uncertainty.likelihoods_available is not bool(refused)
            if refused:
                assert made.uncertainty.semantic_entropy == made.uncertainty.cluster_assignment_entropy
            stored = evaluation_to_json(made)
            assert evaluation_to_json(evaluation_from_json(stored, trial.image)) == stored
            with pytest.raises(ModelError, match="attention"):
                evaluate(trial, vlm, DECODING, ["attention"])


@pytest.mark.parametrize("refuses", [set(), {"n", "logprobs"}])
def test_the_command_line_asks_an_endpoint(
    llava: HuggingFaceVLM,
    refuses: set[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ISI_ENDPOINT_KEY", KEY)
    assert main(["scenes", "--count", "2", "--seed", "4", "--out", str(tmp_path / "data")]) == 0
    nli = str(save_model(tmp_path / "nli", ("contradiction", "neutral", "entailment")))
    with serve(llava, refuses=refuses, key=KEY) as server:
        options = ["evaluate", "--dataset", str(tmp_path / "data"), "--observation", "1", "--model", server.name]
        options += ["--entailment", nli, "--samples", "3"]
        capsys.readouterr()
        assert main([*options, "--json", "--report", str(tmp_path / "report.pdf")]) == 0
        out, err = capsys.readouterr()
        found = json.loads(out)
        assert found["model"]["source"] == server.url and found["attention"] is None
        assert found["n_clusters"] == len(found["clusters"]) >= 1
        assert (found["predictive_entropy"] is None) is bool(refuses)
        assert "does not tell its attention: it is left out" in err
        assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
        assert KEY.encode() not in (tmp_path / "report.pdf").read_bytes() and KEY not in out + err
        assert main([*options, "--measure", "uncertainty"]) == 0
        assert ("from counts: there are no likelihoods" in capsys.readouterr().out) is bool(refuses)
        assert main([*options, "--measure", "attention"]) == 2
        assert "does not tell its attention: measure it" in capsys.readouterr().err


def test_asking_an_endpoint_imports_no_model_library() -> None:
    code = (
        "import sys\n"
        "from isi_core.models.catalogue import find_vlm\n"
        "from isi_core.models.vlm.endpoint import EndpointVLM\n"
        "EndpointVLM(find_vlm('endpoint:x@http://127.0.0.1:9/v1').endpoint)\n"
        "assert not {'torch', 'transformers', 'streamlit'} & set(sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_picture_is_sent_as_it_is(server: OpenAIServer) -> None:
    assert connect(server).model_sees(Image.new("L", (9, 7))).mode == "RGB"
