"""Which part of a sweep a file is of: all its observations, or those of a saved slice; so that the file says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """A saved slice that a sweep's results were narrowed to.

    Attributes
    ----------
    name : the slice's; "" for the whole sweep.
    words : what it holds.
    warning : what must be said beside numbers over it, or "".
    """

    name: str = ""
    words: str = ""
    warning: str = ""

    @property
    def label(self) -> str:
        """Name and words; "" for the whole sweep."""
        return f"{self.name}: {self.words}" if self.name else ""

    @property
    def infix(self) -> str:
        """What a file's name has of it, safe in every file system; "" for the whole sweep."""
        if not self.name:
            return ""
        safe = "".join(c if c.isascii() and c.isalnum() else "-" for c in self.name)[:40]
        return "_slice_" + "-".join(word for word in safe.split("-") if word) if safe.strip("-") else "_slice"

    def marked(self, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """A table's rows, each of which says that it is of the slice; as they are for the whole sweep."""
        if not self.name:
            return list(rows)
        own = {"slice": self.label} | ({"slice_warning": self.warning} if self.warning else {})
        return [{**row, **own} for row in rows]

    def to_json(self) -> dict[str, str] | None:
        """Plain JSON values; None for the whole sweep."""
        return {"name": self.name, "words": self.words, "warning": self.warning} if self.name else None


WHOLE = Part()
