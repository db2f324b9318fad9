"""The errors a person may see: one sentence that names the problem and the way out."""

from __future__ import annotations


class StudioError(Exception):
    """Something the user can mend; its message is shown as it is, without a traceback."""


class InputError(StudioError):
    """A picture, text, file or setting that cannot be used."""


class ModelError(StudioError):
    """A model that cannot be loaded or cannot do what was asked of it."""


class Cancelled(StudioError):
    """Raised inside a running job when its user pressed Cancel."""
