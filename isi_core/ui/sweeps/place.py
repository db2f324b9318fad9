"""Where a sweep runs: in this server, or on a Ray cluster, by a process of its own that outlives the server."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import streamlit as st

from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.observation import Dataset
from isi_core.ui import resources
from isi_core.ui.bound import bound
from isi_core.ui.sweeps import engine
from isi_core.ui.sweeps.desk import Desk

ADDRESS_VARIABLE = "ISI_RAY_ADDRESS"
"""The operator's word on clusters: unset, people type an address; `off`, none is offered; else it is that one."""
_ROOT = Path(__file__).resolve().parents[3]
_WORDS = {"local": "This machine", "ray": "Ray cluster"}
_PATIENCE = 30.0  # seconds that the process has to take the sweep up


def choose(desk: Desk) -> None:
    """The choice between this machine and a Ray cluster at an address."""
    fixed = _fixed()
    if fixed == "off":
        desk.engine = "local"
        return
    if not _installed():
        desk.engine = "local"
        st.caption(
            "Runs on this machine. A Ray cluster can do it too, once Ray is installed here: "
            "`pip install -r requirements-ray.txt`."
        )
        return
    where, address = st.columns(2, gap="large", vertical_alignment="bottom")
    where.segmented_control(
        "Runs on",
        list(_WORDS),
        **bound(desk, "engine"),
        format_func=_WORDS.__getitem__,
        help="What is chosen here holds for Start and Resume.",
    )
    if desk.engine != "ray":
        return
    if fixed:
        address.caption(f"The cluster at `{fixed}`")
    else:
        address.text_input(
            "Address of the cluster",
            **bound(desk, "address"),
            help="auto: the cluster that this machine belongs to; or HOST:PORT, as `ray start` printed it.",
        )


def on_cluster(desk: Desk) -> bool:
    """A Ray cluster is chosen."""
    return desk.engine == "ray"


def start(desk: Desk, sweep: str, dataset: Dataset | None = None) -> None:
    """Start or resume a sweep where the desk says.

    Raises
    ------
    InputError : the address is none, or what `Sweeps.start` refuses.
    ModelError : the process that was to take it up ended.
    """
    # One that is stopping is told to go on, wherever it runs.
    if on_cluster(desk) and not engine.sweeps().status(sweep).running:
        _start_process(sweep, _fixed() or desk.address.strip())
    else:
        engine.sweeps().start(sweep, dataset)


def _start_process(sweep: str, address: str) -> None:
    """Have `sweep resume` do it: a lost cluster may end the process that is connected to it, which must not be ours."""
    from isi_core.studies.sweep.ray_engine import NOT_INSTALLED, Cluster

    Cluster(address)
    if not _installed():
        raise InputError(NOT_INSTALLED)
    folder = resources.store().folder.absolute()
    options = ["--store", str(folder), "--engine", "ray", "--address", address, "--json"]
    log = folder / "ray_sweep.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "isi_core", "sweep", "resume", sweep, *options],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
            start_new_session=True,
        )
    threading.Thread(target=process.wait, name="ray sweep", daemon=True).start()  # so that it leaves no zombie
    limit = time.monotonic() + _PATIENCE
    while time.monotonic() < limit and process.poll() is None and not engine.sweeps().status(sweep).running:
        time.sleep(0.1)
    if process.poll() not in (None, 0) and not engine.sweeps().status(sweep).error:
        raise ModelError(_last_words(log))


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    words = lines[-1].removeprefix("isi_core: ")[:500] if lines else ""
    return words or f"The sweep's process ended without a word: see {log.name} in the store's folder."


def _fixed() -> str:
    """The operator's address; "" where people may type one."""
    return os.environ.get(ADDRESS_VARIABLE, "").strip()


def _installed() -> bool:
    from isi_core.studies.sweep.ray_engine import is_installed

    return is_installed()
