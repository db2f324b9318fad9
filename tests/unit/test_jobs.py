"""Background jobs: progress, cancel, failure, and what is left when the process is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from isi_core.domain.errors import Cancelled, InputError, ModelError
from isi_core.domain.progress import Progress
from isi_core.store.runs import Store
from isi_core.studies import jobs as jobs_module
from isi_core.studies.jobs import Checkpointed, Job, Jobs


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture
def jobs(store: Store) -> Jobs:
    return Jobs(store)


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.005)


class Steps:
    """Work that tells its progress and goes on when it is let."""

    def __init__(self) -> None:
        self.go, self.begun = threading.Event(), threading.Event()

    def __call__(self, progress: Progress) -> str:
        progress("half", 0.5)
        self.begun.set()
        while not self.go.wait(0.01):
            progress("half", 0.5)
        return "finished"


def finish(jobs: Jobs, job_id: str) -> Job:
    job = jobs.wait(job_id, 20)
    assert not job.live
    return job


def test_a_job_tells_its_progress_and_its_result(jobs: Jobs) -> None:
    work = Steps()
    job_id = jobs.submit("ask", "Ask the model", work)
    assert work.begun.wait(20)
    job = jobs.get(job_id)
    assert (job.kind, job.title, job.state) == ("ask", "Ask the model", "running")
    assert (job.message, job.fraction, job.result, job.error) == ("half", 0.5, None, "")
    assert job.started and job.live
    time.sleep(0.05)
    assert jobs.get(job_id).seconds > job.seconds
    work.go.set()
    job = finish(jobs, job_id)
    assert (job.state, job.result, job.fraction) == ("done", "finished", 1.0)
    assert jobs.get(job_id).seconds == job.seconds > 0.05


def test_other_engines_see_it(store: Store, jobs: Jobs) -> None:
    work = Steps()
    job_id = jobs.submit("ask", "Ask", work)
    assert work.begun.wait(20)
    tab = Jobs(Store(store.folder))
    until(lambda: (tab.get(job_id).state, tab.get(job_id).fraction) == ("running", 0.5))
    assert [job.id for job in tab.list()] == [job_id] and tab.list("other") == []
    tab.cancel(job_id)
    assert finish(jobs, job_id).state == "cancelled"
    assert tab.get(job_id).state == "cancelled"


def test_cancel_stops_a_running_job(jobs: Jobs) -> None:
    work = Steps()
    job_id = jobs.submit("ask", "Ask", work)
    assert work.begun.wait(20)
    jobs.cancel(job_id)
    job = finish(jobs, job_id)
    assert (job.state, job.error, job.result, job.fraction) == ("cancelled", "", None, 0.5)
    jobs.cancel(job_id)
    assert jobs.get(job_id).state == "cancelled"


def test_cancel_of_a_queued_job_never_runs_it(store: Store) -> None:
    jobs = Jobs(store, workers=1)
    first, ran = Steps(), []
    blocking = jobs.submit("ask", "First", first)
    queued = jobs.submit("ask", "Second", lambda progress: ran.append(1))
    third = jobs.submit("ask", "Third", lambda progress: "third")
    assert jobs.get(queued).state == "queued"
    jobs.cancel(queued)
    assert jobs.get(queued).state == "cancelled"
    first.go.set()
    assert finish(jobs, third).result == "third"
    assert finish(jobs, blocking).state == "done"
    assert not ran and [job.title for job in jobs.list()] == ["Third", "Second", "First"]


def test_a_cancelled_job_that_has_finished_stays_done(jobs: Jobs) -> None:
    job_id = jobs.submit("ask", "Ask", lambda progress: 3)
    finish(jobs, job_id)
    jobs.cancel(job_id)
    assert (jobs.get(job_id).state, jobs.get(job_id).result) == ("done", 3)


def test_failures_are_one_sentence(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    def user_error(progress: Progress) -> None:
        raise ModelError("The model is too large: choose 4-bit.")

    def bug(progress: Progress) -> None:
        raise KeyError("two\nlines")

    def leave(progress: Progress) -> None:
        raise SystemExit

    job = finish(jobs, jobs.submit("ask", "Ask", user_error))
    assert (job.state, job.error) == ("failed", "The model is too large: choose 4-bit.")
    assert not caplog.records
    job = finish(jobs, jobs.submit("ask", "Ask", bug))
    assert job.state == "failed"
    assert job.error.startswith("Something went wrong: ") and "two" in job.error and "\n" not in job.error
    assert "Traceback" in caplog.text
    for _ in range(jobs_module.WORKERS + 1):
        assert finish(jobs, jobs.submit("ask", "Ask", leave)).error == "Something went wrong: SystemExit"
    assert finish(jobs, jobs.submit("ask", "Ask", lambda progress: 1)).result == 1  # the workers live on


def test_a_key_runs_once_at_a_time(store: Store, jobs: Jobs) -> None:
    work = Steps()
    job_id = jobs.submit("sweep", "Sweep", work, key="all")
    assert jobs.submit("sweep", "Sweep", work, key="all") == job_id
    assert Jobs(Store(store.folder)).submit("sweep", "Sweep", work, key="all") == job_id
    other = jobs.submit("sweep", "Sweep", lambda progress: 2, key="other")
    assert other != job_id
    work.go.set()
    assert finish(jobs, job_id).state == "done"
    again = jobs.submit("sweep", "Sweep", lambda progress: 4, key="all")
    assert again != job_id and finish(jobs, again).result == 4


def test_a_job_survives_its_submitters_thread(jobs: Jobs) -> None:
    ids: list[str] = []
    work = Steps()
    page = threading.Thread(target=lambda: ids.append(jobs.submit("ask", "Ask", work)))
    page.start()
    page.join()
    work.go.set()
    assert finish(jobs, ids[0]).result == "finished"


def test_old_results_are_forgotten_and_their_jobs_are_not(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "RESULTS", 3)
    ids = [jobs.submit("ask", "Ask", lambda progress, i=i: [i]) for i in range(5)]  # type: ignore[misc]
    found = [finish(jobs, job_id) for job_id in ids]
    assert all(job.state == "done" for job in found)
    assert [jobs.get(job_id).result is None for job_id in ids].count(True) == 2


def test_an_unknown_job(jobs: Jobs) -> None:
    with pytest.raises(InputError, match="There is no job"):
        jobs.get("nothing")


def test_a_full_disk_does_not_end_work_that_succeeds(store: Store, jobs: Jobs) -> None:
    work = Steps()
    job_id = jobs.submit("ask", "Ask", work)
    assert work.begun.wait(20)
    with store.database.reading() as connection:
        connection.execute("PRAGMA query_only = 1")
    time.sleep(jobs_module._WRITE_EVERY * 1.5)
    work.go.set()
    job = finish(jobs, job_id)
    assert (job.state, job.result) == ("done", "finished")
    with pytest.raises(InputError, match="cannot be written"):
        jobs.submit("ask", "Ask", work)


KILLED = """
import sys, time
from pathlib import Path
from isi_core.store.runs import Store
from isi_core.studies.jobs import Checkpointed, Jobs

folder = Path(sys.argv[1])
jobs = Jobs(Store(folder), workers=1)

def do(item):
    with (folder / "log").open("a") as log:
        log.write(item + "\\n")
    time.sleep(0.03)

items = [f"item {i}" for i in range(40)]
jobs.submit("sweep", "Sweep", lambda progress: Checkpointed(jobs, "sweep 1").run(items, do, progress), key="sweep 1")
jobs.submit("sweep", "Later", lambda progress: None)
print("ready", flush=True)
time.sleep(60)
"""


def test_a_killed_process_leaves_interrupted_jobs_that_resume_with_what_is_missing(store: Store) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(store.folder)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        jobs = Jobs(store)
        until(lambda: len(jobs.finished_items("sweep 1")) >= 5)
        assert {job.title: job.state for job in jobs.list()} == {"Sweep": "running", "Later": "queued"}
        running = next(job.id for job in jobs.list() if job.title == "Sweep")
        assert jobs.submit("sweep", "Sweep", lambda progress: None, key="sweep 1") == running
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    assert {job.state for job in jobs.list()} == {"interrupted"}
    assert jobs.get(running).state == "interrupted"
    next_process = Jobs(Store(store.folder))
    assert {job.state for job in next_process.list()} == {"interrupted"}

    done_before = jobs.finished_items("sweep 1")
    logged = (store.folder / "log").read_text().splitlines()
    assert 5 <= len(done_before) <= len(logged) <= len(done_before) + 1 < 40  # at most one was in flight
    items, did = [f"item {i}" for i in range(40)], []

    def do(item: str) -> None:
        did.append(item)

    work = Checkpointed(next_process, "sweep 1")
    job_id = next_process.submit("sweep", "Sweep", lambda progress: work.run(items, do, progress), key="sweep 1")
    assert finish(next_process, job_id).result == 40 - len(done_before)
    assert did == [item for item in items if item not in done_before]
    assert next_process.finished_items("sweep 1") == set(items)


def test_resume_after_cancel_and_failure(jobs: Jobs) -> None:
    work = Checkpointed(jobs, "key")
    did: list[str] = []

    def stop_at(item: str, error: type[Exception]) -> Callable[[str], None]:
        def do(each: str) -> None:
            if each == item:
                raise error("stop")
            did.append(each)

        return do

    items = list("abcdef")
    told: list[tuple[str, float]] = []
    with pytest.raises(ModelError):
        work.run(items, stop_at("c", ModelError), lambda *step: told.append(step))
    with pytest.raises(Cancelled):
        work.run(items, stop_at("e", Cancelled), lambda *step: told.append(step))
    assert work.missing(items) == ["e", "f"]
    assert work.run(items, did.append, lambda *step: told.append(step)) == 2
    assert did == items and told[-1] == ("6 of 6 done", 1.0)
    assert work.run(items, did.append, lambda *step: None) == 0
    jobs.forget_items("key")
    assert work.missing(items) == items
    assert Checkpointed(jobs, "another").missing(items) == items


def test_files_of_engines_that_are_gone_are_cleared_away(store: Store) -> None:
    first = Jobs(store)
    second = Jobs(store)
    assert len(list((store.folder / "engines").glob("*.lock"))) == 2
    second._records.close()
    third = Jobs(store)
    assert len(list((store.folder / "engines").glob("*.lock"))) == 2
    work = Steps()
    job_id = first.submit("ask", "Ask", work)
    assert work.begun.wait(20)
    assert third.get(job_id).state == "running"
    work.go.set()
    finish(first, job_id)
