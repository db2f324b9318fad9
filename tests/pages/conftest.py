"""Every test has a store of its own; the models and the dataset are loaded once and stay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import app_test

from isi_core.store.runs import HOME_VARIABLE
from isi_core.ui import resources
from tests.pages import visitor


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that this test's runs are kept in."""
    folder = tmp_path / "home"
    monkeypatch.setenv(HOME_VARIABLE, str(folder))
    resources.jobs.clear()  # type: ignore[attr-defined]
    resources.store.clear()  # type: ignore[attr-defined]
    yield folder
    for job in resources.jobs().list():
        resources.jobs().cancel(job.id)
        resources.jobs().wait(job.id, visitor.PATIENCE)
    resources.jobs.clear()  # type: ignore[attr-defined]
    resources.store.clear()  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def media(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what a run of a page would send as pictures, so that tests can look at it."""

    class Kept(app_test.MemoryMediaFileStorage):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            visitor.sent = self

    monkeypatch.setattr(app_test, "MemoryMediaFileStorage", Kept)
