"""Foreign text on a page: shown as it is, never read as markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>:$~&])")


def as_written(text: str, longest: int | None = None) -> str:
    """Any text as Markdown that shows exactly it, on one line; cut with an ellipsis at `longest` characters."""
    line = " ".join(text.split())
    if longest is not None and len(line) > longest:
        line = line[: longest - 1].rstrip() + "…"
    return _SPECIAL.sub(r"\\\1", line)


def cells_as_written(rows: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """Rows for `st.table`, which reads its heads and cells as Markdown: each shows exactly its text."""
    return [{as_written(head): as_written(cell) for head, cell in row.items()} for row in rows]
