"""An endpoint that others wrote: `transformers serve` of the embedded model, over HTTP on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from isi_core.domain.decoding import Decoding
from isi_core.models.catalogue import EMBEDDED
from isi_core.models.vlm.endpoint import EndpointVLM
from isi_core.models.vlm.endpoint_address import parse_endpoint
from isi_core.models.vlm.endpoint_http import Patience
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from tests.checkpoints import make_trial, save_llava
from tests.openai_server import serve

# On a free core the server stands after ten seconds, most of them imports.
START, REPLY = 400, 120
DECODING = Decoding(n_samples=5, max_new_tokens=8, temperature=1.5, top_k=0, top_p=1.0)


@dataclass(frozen=True)
class Serve:
    """A running server and where it writes what it was asked."""

    port: int
    log: Path

    @property
    def requests(self) -> int:
        """Chat completions that it has taken up so far."""
        return self.log.read_text().count("[Request received]")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    log = tmp_path_factory.mktemp("serve") / "log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", "tiny-llava"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    settings = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=EMBEDDED, env=settings, stdout=out, stderr=subprocess.STDOUT)
    try:
        _wait_for(process, port, log)
        yield Serve(port, log)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + START
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"The server did not start within {START} s: {log.read_text()[-2000:]}")


def connect(server: Serve) -> EndpointVLM:
    endpoint = parse_endpoint(f"endpoint:tiny-llava@http://127.0.0.1:{server.port}/v1")
    return EndpointVLM(endpoint, Patience(attempts=1, connect=10, reply=REPLY))


@pytest.mark.timeout(START + 4 * REPLY)
def test_a_served_model_answers_as_it_does_here(server: Serve) -> None:
    here = HuggingFaceVLM.load(EMBEDDED / "tiny-llava", "tiny-llava", device="cpu")
    vlm = connect(server)
    for trial in (make_trial(), make_trial("There is a red car.", "Is there a red car?", seed=3)):
        [output] = vlm.evaluate([trial], DECODING, ["answer"])
        [expected] = here.evaluate([trial], DECODING, ["answer"])
        assert output.answer is not None and expected.answer is not None
        assert output.answer.text == expected.answer.text
        assert output.prompt_tokens == expected.prompt_tokens
        assert not output.answer.log_likelihoods
    assert not vlm.capabilities.likelihoods


@pytest.mark.timeout(START + 4 * REPLY)
def test_every_sample_is_a_request_of_its_own(server: Serve) -> None:
    vlm, before = connect(server), server.requests
    trial = make_trial("", "What is in the picture?")
    [output] = vlm.evaluate([trial], DECODING, ["samples"])
    assert output.samples is not None
    assert len(output.samples) == DECODING.n_samples
    assert server.requests - before == DECODING.n_samples
    # Its checkpoint says nothing of drawing: this server would answer all of them greedily if it were not told to.
    assert len({sample.text for sample in output.samples}) > 1
    assert vlm.record.dtype == "as served"
    likeliest = Decoding(n_samples=3, max_new_tokens=8, temperature=1.5, top_k=1)
    [output] = vlm.evaluate([trial], likeliest, ["answer", "samples"])
    assert output.answer is not None and output.samples is not None
    assert {sample.text for sample in output.samples} == {output.answer.text}  # `top_k` reaches it


def test_another_server_that_refuses_in_the_same_words(tmp_path: Path) -> None:
    vlm = HuggingFaceVLM.load(save_llava(tmp_path / "llava", layers=2), "llava")
    style = "Unexpected fields in the request: {names}"
    with serve(vlm, refuses={"top_k", "repetition_penalty"}, style=style) as studio:
        endpoint = EndpointVLM(parse_endpoint(studio.name), Patience(attempts=1, connect=5, reply=REPLY))
        [output] = endpoint.evaluate([make_trial()], Decoding(n_samples=3, max_new_tokens=4), ["samples"])
        assert output.samples is not None
        assert len(output.samples) == 3
        assert output.samples[0].log_likelihoods  # nothing was left out but what was refused
        assert endpoint.record.dtype == "as served, without top_k"
        first, asked_in_its_field, last = studio.asked()
        assert "generation_config" not in first
        assert "top_k" in first
        assert "generation_config" in asked_in_its_field
        assert not {"generation_config", "top_k", "repetition_penalty"} & set(last)
