"""What a vision-language model's answers to both orders come to, category by category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from isi_core.studies.step_order.asked import OrderAnswer, PairAnswers
from isi_core.studies.step_order.results import ALL

KINDS = ("picture", "words", "both")


@dataclass(frozen=True)
class ZeroShotRow:
    """One category, or all of them. Shares are in [0, 1], intervals are Wilson's, 95 %.

    Attributes
    ----------
    accuracy : of the answers to the order shown, over n pairs; an unclear answer is wrong. Chance is 0.5.
    both_right : pairs whose two answers are both right: the only ones that the model can be said to know.
    contradictions : pairs with the same yes or no to both orders, of `clear` pairs whose two answers are clear.
    says_yes : of the clear answers, those that say the first shown comes first; without a position bias it is 0.5.
    unclear : answers that are neither yes nor no, of 2 n.
    semantic_entropy : mean over the answers, nats; None where it was not measured.
    attention : mean shares by part of the prompt, of answers whose attention was measured; None where there are none.
    """

    category: str
    kind: str
    n: int
    accuracy: float
    low: float
    high: float
    both_right: float
    clear: int
    contradictions: float | None
    contradictions_low: float | None
    contradictions_high: float | None
    says_yes: float | None
    unclear: float
    semantic_entropy: float | None
    attention: Mapping[str, float] | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def zero_shot_rows(answers: Sequence[PairAnswers]) -> list[ZeroShotRow]:
    """A row a category, those decided by the picture first, then words, then both; then one over all."""
    kinds = {one.category: one.kind for one in answers}
    order = sorted(kinds.items(), key=lambda item: (KINDS.index(item[1]) if item[1] in KINDS else 9, item[0]))
    rows = [_row(name, kind, [one for one in answers if one.category == name]) for name, kind in order]
    return [*rows, _row(ALL, "", answers)] if answers else []


def _row(category: str, kind: str, answers: Sequence[PairAnswers]) -> ZeroShotRow:
    from isi_core.measures.statistics import wilson_interval

    n = len(answers)
    right = wilson_interval(sum(one.right for one in answers), n)
    every = [said for one in answers for said in (one.shown, one.swapped)]
    yes, no = (sum(said.verdict == word for said in every) for word in ("yes", "no"))
    clear = [one for one in answers if one.clear]
    against = wilson_interval(sum(one.contradicts for one in clear), len(clear)) if clear else None
    entropies = [said.semantic_entropy for said in every if said.semantic_entropy is not None]
    return ZeroShotRow(
        category=category,
        kind=kind,
        n=n,
        accuracy=right.estimate,
        low=right.low,
        high=right.high,
        both_right=sum(one.right and one.swapped_right for one in answers) / n,
        clear=len(clear),
        contradictions=against.estimate if against else None,
        contradictions_low=against.low if against else None,
        contradictions_high=against.high if against else None,
        says_yes=yes / (yes + no) if yes + no else None,
        unclear=1 - (yes + no) / (2 * n),
        semantic_entropy=fmean(entropies) if entropies else None,
        attention=_attention(every),
    )


def _attention(answers: Sequence[OrderAnswer]) -> dict[str, float] | None:
    known = [said.attention for said in answers if said.attention]
    names = dict.fromkeys(name for shares in known for name in shares)
    return {name: fmean(shares.get(name, 0.0) for shares in known) for name in names} or None
