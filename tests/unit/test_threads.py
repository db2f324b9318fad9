"""Small models run on one thread, and nobody else's setting is changed by it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from isi_core.models.threads import is_small, one_thread


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_the_setting_comes_back() -> None:
    with one_thread(True):
        assert torch.get_num_threads() == 1
        with one_thread(True):
            assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(ValueError, match="stop"), one_thread(True):
        raise ValueError("stop")
    assert torch.get_num_threads() == 2
    with one_thread(False):
        assert torch.get_num_threads() == 2


def test_threads_do_not_change_each_others() -> None:
    entered, left = threading.Event(), threading.Event()
    seen = []

    def other() -> None:
        with one_thread(True):
            entered.set()
            left.wait(10)
            seen.append(torch.get_num_threads())
        seen.append(torch.get_num_threads())

    with one_thread(True):
        thread = threading.Thread(target=other)
        thread.start()
        entered.wait(10)
    assert torch.get_num_threads() == 2  # left while the other is still inside
    left.set()
    thread.join()
    assert seen == [1, 2]
    fresh: list[int] = []
    thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert fresh == [2]


def test_size_decides() -> None:
    class Model(torch.nn.Linear):
        device = torch.device("cpu")

    with torch.device("meta"):
        assert is_small(Model(100, 100))
        assert not is_small(Model(10_000, 10_000))
