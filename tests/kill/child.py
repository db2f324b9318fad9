"""A process that runs a sweep until it is done or killed.

As a script it imports the heavy libraries once and forks a child for every line it reads, so that ten kills do not
cost ten imports; the children are processes of their own, which is what is killed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from isi_core.models.shelf import Shelf
from isi_core.store.runs import Store
from isi_core.studies.jobs import Jobs
from isi_core.studies.sweep import asking
from isi_core.studies.sweep.control import Sweeps

BATCH = 2
"""Evaluations side by side: what a kill may cost."""


def work(store: Path, sweep: str, log: Path) -> None:
    """Run the sweep; each evaluation that is begun leaves a line in the log."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    real = asking.evaluate_together
    asking.BATCH = BATCH

    def logged(trials, *arguments, **options):  # type: ignore[no-untyped-def]
        for trial in trials:
            os.write(descriptor, f"{trial.observation_id} {trial.image_kind} {trial.context_kind}\n".encode())
        return real(trials, *arguments, **options)

    asking.evaluate_together = logged
    opened = Store(store)
    sweeps = Sweeps(opened, Jobs(opened, workers=1), Shelf)
    sweeps.start(sweep)
    status = sweeps.wait(sweep)
    os._exit(0 if status.state == "done" and not status.failed else 1)


def main(store: Path, sweep: str, log: Path) -> None:
    """Fork a worker for each line of input and tell its process id; its exit code once it ended."""
    import isi_core.models.entailment.hugging_face
    import isi_core.models.vlm.hugging_face  # noqa: F401  # the imports are what the children share

    print("ready", flush=True)
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            work(store, sweep, log)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
