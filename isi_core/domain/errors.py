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


def first_line(error: BaseException) -> str:
    """What an error of a library's says, in one line that a sentence can hold; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
