"""A part of some work that tells how far the whole is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from isi_core.domain.progress import Progress


@dataclass(frozen=True)
class Part:
    """A stretch of the whole work, from `low` to `high` of it; `progress` may be None and is told nothing then."""

    progress: Progress | None
    low: float = 0.0
    high: float = 1.0

    def within(self, low: float, high: float) -> Part:
        """A stretch of this one."""
        width = self.high - self.low
        return Part(self.progress, self.low + low * width, self.low + high * width)

    def report(self, message: str, done: float) -> None:
        """Tell that this share of the stretch is done."""
        if self.progress is not None:
            self.progress(message, self.low + min(done, 1.0) * (self.high - self.low))

    def counter(self, message: str, limit: int) -> Callable[[int], None]:
        """Tells of each token, of at most `limit`."""
        return lambda tokens: self.report(f"{message}: {tokens} tokens", tokens / limit)

    def layers(self, message: str) -> Callable[[int, int], None]:
        """Tells of each decoder block that a prompt has passed."""
        return lambda done, of: self.report(f"{message}: layer {done} of {of}", done / of)


def never_back(progress: Progress) -> Progress:
    """The same progress, told no fraction lower than before: work that is done again does not go back."""
    highest = 0.0

    def told(message: str, fraction: float) -> None:
        nonlocal highest
        highest = max(highest, fraction)
        progress(message, highest)

    return told
