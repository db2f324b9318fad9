"""Foreign text on a page: shown as it is, never read as markup."""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>:$~&])")


def as_written(text: str, longest: int | None = None) -> str:
    """Any text as Markdown that shows exactly it, on one line; cut with an ellipsis at `longest` characters."""
    line = " ".join(text.split())
    if longest is not None and len(line) > longest:
        line = line[: longest - 1].rstrip() + "…"
    return _SPECIAL.sub(r"\\\1", line)
