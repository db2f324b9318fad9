"""Where this user's runs and datasets are kept."""

from __future__ import annotations

import os
from pathlib import Path

HOME_VARIABLE = "ISI_HOME"


def home_folder() -> Path:
    """The folder in the environment variable `ISI_HOME`, else ~/.isi-studio."""
    named = os.environ.get(HOME_VARIABLE, "").strip()
    return Path(named).expanduser() if named else Path.home() / ".isi-studio"
