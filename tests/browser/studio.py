"""The real app in a process of its own, and a real Chromium to look at it with."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 90.0
"""Seconds that anything may take on a slow, busy machine before it counts as broken."""

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_stcore/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def serving(home: Path) -> Iterator[str]:
    """`streamlit run Home.py` on a free port, its runs kept below `home`; yields its address.

    Raises
    ------
    RuntimeError : the server did not come up; its log is in the message.
    """
    home.mkdir(parents=True, exist_ok=True)
    port, log = _free_port(), home / "server.log"
    options = {
        "server.headless": "true",
        "server.address": "127.0.0.1",
        "server.port": str(port),
        "browser.gatherUsageStats": "false",
    }
    command = [sys.executable, "-m", "streamlit", "run", "Home.py"]
    command += [part for name, value in options.items() for part in (f"--{name}", value)]
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "ISI_HOME": str(home)}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        url, limit = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE
        while not _healthy(url):
            if server.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"The app did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(15)


@contextmanager
def browsing() -> Iterator[Browser]:
    """A headless Chromium: the system's own.

    Raises
    ------
    RuntimeError : there is none.
    """
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        raise RuntimeError("There is no Chromium on this machine: run `make chromium` (apt-get install chromium).")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, headless=True, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()
