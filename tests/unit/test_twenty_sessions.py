"""Twenty sessions clicking at once on one model: the path of the page VQA Interventions, without its widgets."""

from __future__ import annotations

import ctypes
import gc
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from isi_core.datasets.built_in import load_dataset
from isi_core.domain.answer import Answer
from isi_core.domain.decoding import Decoding
from isi_core.domain.evaluation import Evaluation
from isi_core.models.catalogue import DEFAULT_VLM, find_vlm
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.store.runs import HOME_VARIABLE
from isi_core.studies.draft import Draft, Timeline
from isi_core.studies.jobs import WORKERS
from isi_core.studies.trials import build_trial
from isi_core.studies.vqa import evaluate
from isi_core.ui import resources
from isi_core.ui.vqa import work
from isi_core.ui.vqa.desk import Desk

SESSIONS = 20
PATIENCE = 40.0
GROWTH = 20_000_000
"""Bytes by which memory may grow from round to round; what twenty sessions hold while they are open is 35 million."""
_PLACE = re.compile(r"Waiting .*: (\d+) before you$")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A store, an engine and a shelf of the test's own."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    shared = (resources.jobs, resources.store, resources.shelf)
    for resource in shared:
        resource.clear()  # type: ignore[attr-defined]
    yield
    for resource in shared:
        resource.clear()  # type: ignore[attr-defined]


@dataclass
class Session:
    """One tab: its desk, and the places in the queue that its progress bar has shown, oldest first."""

    desk: Desk
    places: list[int] = field(default_factory=list)
    made: Evaluation | None = None

    def click(self) -> None:
        """Press Ask."""
        work.start(self.desk, ("answer",))
        assert self.desk.job is not None, self.desk.error

    def watch(self) -> None:
        """Look at the progress as often as the page does, until the answer is there."""
        limit = time.monotonic() + PATIENCE
        while (number := self.desk.job) is not None and not work.collect(self.desk):
            assert time.monotonic() < limit, "never served"
            found = _PLACE.match(resources.jobs().get(number).message)
            if found and self.places[-1:] != [int(found[1])]:
                self.places.append(int(found[1]))
            time.sleep(0.05)
        assert self.desk.error == ""
        (entry,) = self.desk.entries
        self.made = entry.evaluation


def _round() -> list[Session]:
    """All click while the model is in use, and are let at it once every one of them stands in the queue."""
    sessions = [Session(Desk(Timeline(Draft(o.id)))) for o in load_dataset().observations[:SESSIONS]]
    together = threading.Barrier(SESSIONS + 1)

    def visit(session: Session) -> None:
        together.wait(PATIENCE)
        session.click()
        together.wait(PATIENCE)
        session.watch()

    with ThreadPoolExecutor(SESSIONS) as tabs:
        with resources.shelf().vlm(DEFAULT_VLM):
            visits = [tabs.submit(visit, session) for session in sessions]
            together.wait(PATIENCE)
            together.wait(PATIENCE)
            limit = time.monotonic() + PATIENCE
            while not all(session.places for session in sessions):
                assert time.monotonic() < limit, [session.places for session in sessions]
                time.sleep(0.02)
        for visited in visits:
            visited.result(PATIENCE)
    return sessions


def _resident() -> int:
    """Bytes resident, without what the C library keeps of freed memory where it can be told to give it back."""
    gc.collect()
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
    return int(psutil.Process().memory_info().rss)


def _alone() -> list[tuple[str, Answer]]:
    """What each observation is answered by a model that nobody else asks: trial digest and answer."""
    dataset = load_dataset()
    vlm = HuggingFaceVLM.load(find_vlm(DEFAULT_VLM).source, DEFAULT_VLM)
    made = []
    for observation in dataset.observations[:SESSIONS]:
        trial = build_trial(dataset, observation, Draft(observation.id).interventions)
        answer = evaluate(trial, vlm, Decoding()).answer
        assert answer is not None
        made.append((trial.digest, answer))
    return made


def test_twenty_sessions_click_at_once_on_one_model() -> None:
    alone = _alone()
    # No two of them are the same to the last token's likelihood: a mix-up would show.
    assert len({answer.log_likelihoods for _, answer in alone}) == SESSIONS

    memory = []
    for number in range(2):
        sessions = _round()
        for session, (digest, answer) in zip(sessions, alone, strict=True):
            made = session.made
            assert made is not None and made.answer is not None
            assert (made.trial.observation_id, made.trial.digest) == (session.desk.draft.observation, digest)
            assert (made.answer.text, made.answer.token_ids) == (answer.text, answer.token_ids)
            assert made.answer.log_likelihoods == pytest.approx(answer.log_likelihoods, abs=1e-5)
            assert session.places == sorted(session.places, reverse=True), "a place in the queue never gets worse"
        # The first of them wait at the shelf, for this test and each other; the others in the engine's queue, for all.
        first = sorted(session.places[0] for session in sessions)
        assert first == [*range(1, WORKERS + 1), *range(WORKERS, SESSIONS)]
        assert [status.waiting for status in resources.shelf().status()] == [0]
        if number == 0:
            _served_in_turn(sessions)
        del sessions, session, made  # the tabs are closed
        memory.append(_resident())
    assert memory[1] - memory[0] < GROWTH, memory


def _served_in_turn(sessions: list[Session]) -> None:
    """Answers were stored in the order in which the sessions came; two workers may change places on their way."""
    came = {s.desk.draft.observation: s.places[0] for s in sessions}
    stored = sorted(resources.store().recent(SESSIONS), key=lambda run: run.id)
    assert len(stored) == SESSIONS
    for served, run in enumerate(stored):
        assert abs(came[run.observation_id] - served) <= WORKERS, [came[r.observation_id] for r in stored]
