"""p(True): how probable a model finds it that an answer is true, when it is shown that answer beside its others."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class PTrue:
    """What a model said when it was asked whether an answer is true (see `measures.p_true` for the question).

    Attributes
    ----------
    p_true, p_false : probability that its reply begins with A (True), with B (False), among all tokens.
    proposed : the answer that was asked about.
    n_answers : sampled answers that it was shown.
    shots : solved examples in front of the question.
    """

    p_true: float
    p_false: float
    proposed: str
    n_answers: int
    shots: int = 0

    @property
    def between(self) -> float:
        """p(True) among A and B alone; NaN where the model gives neither any probability."""
        both = self.p_true + self.p_false
        return self.p_true / both if both > 0 else float("nan")

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PTrue:
        """From `to_json`'s form; what is no probability counts as 0."""

        def probability(value: Any) -> float:
            number = float(value)
            return min(max(number, 0.0), 1.0) if math.isfinite(number) else 0.0

        return cls(
            probability(data["p_true"]),
            probability(data["p_false"]),
            str(data["proposed"]),
            int(data["n_answers"]),
            int(data.get("shots", 0)),
        )
