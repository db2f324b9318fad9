"""What results of step order come to, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from isi_core.reports.wording import number
from isi_core.studies.step_order.flips import REVERSED, PairFlips
from isi_core.studies.step_order.results import GapResult, ShiftPoint
from isi_core.studies.step_order.zero_shot_rows import ZeroShotRow


def shift_sentences(gap: GapResult) -> list[str]:
    """Whether the gap costs accuracy, and whether a modality collapsed; empty where no shift was measured."""
    sentences = []
    for moment, name in (("before", "Before fine-tuning"), ("after", "After fine-tuning")):
        points = [point for point in gap.shift if point.moment == moment]
        here = next((point for point in points if point.amount == 0), None)
        if here is None:
            continue
        closed = min(points, key=lambda point: point.distance)
        parts = [
            f"{what} from {number(first)} to {number(second)}"
            for what, first, second in (
                ("the head's accuracy", here.accuracy, closed.accuracy),
                ("matching", here.matching, closed.matching),
                ("retrieval", here.retrieval, closed.retrieval),
            )
            if first is not None and second is not None
        ]
        if parts:
            sentences.append(
                f"{name}, λ {closed.amount:+.3g} makes the gap smallest ({number(here.distance)} to "
                f"{number(closed.distance)}) and changes {', '.join(parts)}."
            )
    if gap.after is not None and sentences:
        sentences.append(_collapse(gap))
        sentences += _verdict([point for point in gap.shift if point.moment == "after"])
    return sentences


def _collapse(gap: GapResult) -> str:
    assert gap.after is not None
    before, after = gap.before.whole, gap.after.whole
    return (
        f"Effective rank: headlines {number(before.text_rank)} before, {number(after.text_rank)} after; pictures "
        f"{number(before.image_rank)} before, {number(after.image_rank)} after. A modality whose rank falls towards 1 "
        "has collapsed to a line."
    )


def _verdict(points: Sequence[ShiftPoint]) -> list[str]:
    """Of the head: the accuracy with the gap closed against that as it is."""
    known = [point for point in points if point.accuracy is not None]
    here = next((point for point in known if point.amount == 0), None)
    if here is None or here.accuracy is None:
        return []
    closed = min(known, key=lambda point: point.distance)
    best = max(known, key=lambda point: point.accuracy or 0.0)
    if best.accuracy is not None and best.accuracy - here.accuracy >= 0.02:
        return [
            f"Another gap would serve the head better: {number(best.accuracy)} at λ {best.amount:+.3g} against "
            f"{number(here.accuracy)} as it is."
        ]
    loss = here.accuracy - (closed.accuracy or 0.0)
    if loss >= 0.02:
        return ["The head uses where the two clouds lie: closing the gap costs accuracy, so the gap is no loss to it."]
    return ["The head's accuracy does not hang on the gap: where it fails, something else is the reason."]


def asked_sentence(row: ZeroShotRow, layout: str) -> str:
    """A row over all categories of a vision-language model's answers, as a sentence."""
    parts = [
        f"{row.n:,} pairs, {layout}, both orders asked: right about the order shown in {number(row.accuracy)} "
        f"[{number(row.low)}, {number(row.high)}], about both orders in {number(row.both_right)}"
    ]
    if row.contradictions is not None:
        low, high = number(row.contradictions_low), number(row.contradictions_high)
        parts.append(f"the same answer to both orders in {number(row.contradictions)} [{low}, {high}]")
    if row.says_yes is not None:
        parts.append(f"“yes” in {number(row.says_yes)} of the clear answers")
    if row.unclear:
        parts.append(f"unclear in {number(row.unclear)}")
    if row.semantic_entropy is not None:
        parts.append(f"mean semantic entropy {number(row.semantic_entropy)} nats")
    return "; ".join(parts) + "."


def turned_words(pair: PairFlips) -> str:
    """What turns the vision + text model's answer about a pair round, and what does not."""
    changes = [name for name in pair.changed if name != REVERSED]
    turned, kept = (", ".join(n for n in changes if pair.flips(n) is flips) for flips in (True, False))
    words = f"V+T flips with {turned}" if turned else "V+T never flips"
    return f"{words}; stays with {kept}." if kept else f"{words}."
