"""How many threads a model's products are worth."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

SMALL = 20_000_000
"""Parameters below which a second thread only waits; on a busy machine, for whole time slices at every product."""

_lock = threading.Lock()
_inside = 0
_before = 1


def is_small(model: Any) -> bool:
    """The model runs on a CPU and is too small for several threads to help."""
    return bool(model.device.type == "cpu" and sum(parameter.numel() for parameter in model.parameters()) < SMALL)


@contextmanager
def one_thread(small: bool) -> Iterator[None]:
    """Run on the calling thread alone where `small` says so; larger models in other threads keep theirs.

    torch's setting is the calling thread's, but also what new threads begin with: the first to
    enter notes it and everyone who leaves puts it back.
    """
    global _before, _inside  # noqa: PLW0603 - the setting is the process's
    if not small:
        yield
        return
    with _lock:
        found = torch.get_num_threads()  # asked in any case: a new thread's first question sets it anew
        if _inside == 0:
            _before = found
        _inside += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            torch.set_num_threads(_before)
