"""A real Ray cluster of one machine, for tests: started as a lab would, with its own folder, port and token."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

STORE = 100_000_000
"""Bytes of its object store."""
VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_worker_niceness": "0",  # else a busy machine lets the workers wait for everything else
    "OMP_NUM_THREADS": "1",
}


@contextmanager
def ray_cluster(cpus: int = 2, patience: float = 90.0) -> Iterator[str]:
    """The address of a cluster that lives until the block ends; this process and those it starts may join it."""
    before = dict(os.environ)
    # A token of its own: the user's, where there is one, is neither read nor written.
    os.environ.update(VARIABLES, RAY_AUTH_TOKEN=secrets.token_hex(32))
    folder = Path(tempfile.mkdtemp(prefix="isi-", dir="/tmp"))  # short: the paths of its sockets may not be long
    address = f"127.0.0.1:{free_port()}"
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats"]
    options = {
        "--port": address.partition(":")[2],
        "--node-ip-address": "127.0.0.1",
        "--num-cpus": cpus,
        "--num-gpus": 0,
        "--object-store-memory": STORE,
        "--include-dashboard": "false",
        "--temp-dir": folder,
    }
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [*command, *(f"{name}={value}" for name, value in options.items())],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        limit = time.monotonic() + patience
        while not answers(address):
            assert process.poll() is None and time.monotonic() < limit, (folder / "output").read_text()
            time.sleep(0.1)
        yield address
    finally:
        import ray

        ray.shutdown()
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # whatever of it is left
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.clear()
        os.environ.update(before)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(address: str) -> bool:
    """Somebody listens at an address."""
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), 1.0).close()
    except OSError:
        return False
    return True
