"""One server and one Chromium for all tests of this folder; both are gone before the next folder's tests begin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.studio import browsing, serving


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A missing Chromium fails every test that asks for it: a browser test is never skipped."""
    with browsing() as found:
        yield found


@pytest.fixture(scope="package")
def studio_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the running app keeps its runs in."""
    return tmp_path_factory.mktemp("studio")


@pytest.fixture(scope="package")
def studio(studio_home: Path) -> Iterator[str]:
    """The address of a running app."""
    with serving(studio_home) as url:
        yield url
