"""What a causal test allows one to say, in plain sentences."""

from __future__ import annotations

from collections.abc import Callable

from isi_core.measures.statistics import Interval
from isi_core.studies.failure.causal import CausalResult, Risk, Steered, Tuned


def causal_sentences(result: CausalResult, title: Callable[[str], str] = str) -> list[str]:
    """One sentence for each part that was tried, then why a part was left out; `title` names explainers."""
    said = []
    strongest = max((row.strength for row in result.steering), default=0.0)
    for row in result.steering:
        if row.direction != "random" and row.strength == strongest:
            said.append(steering_sentence(row, result.accuracy))
    named = {row.explainer: row for row in result.risk}
    chosen = named.get(result.plan.explainer)
    said += [risk_sentence(row, title(row.explainer)) for row in ([chosen] if chosen is not None else [])]
    if result.tuning is not None:
        said.append(tuning_sentence(result.tuning))
    said += [f"Not tried ({part}): {reason}" for part, reason in result.skipped.items()]
    return said


def steering_sentence(row: Steered, accuracy: float) -> str:
    """What moving the activations did, and whether moving them elsewhere does the same."""
    start = (
        f"Moved {row.strength:g} standard deviations {row.direction}, accuracy goes from {accuracy:.1%} to "
        f"{row.accuracy:.1%} and {row.changed.estimate:.1%} of the answers change"
    )
    beyond, changed = row.beyond_random, row.changed_beyond_random
    if beyond is None or changed is None:
        return f"{start}."
    against = f"accuracy {beyond.estimate:+.1%} {_bounds(beyond)} against random directions of the same length"
    if changed.bounded and changed.high < 0:
        return f"{start}; {against}: it has less hold on the answers than random directions have. No cause here."
    if not _apart(beyond) and not _apart(changed):
        return f"{start}; {against}: the interval includes 0, so no evidence that this direction does anything special."
    if not _apart(beyond) or not _apart(row.change):
        return f"{start}; {against}: it changes more answers than random directions do, but not how many are right."
    expected = (beyond.estimate > 0) == (row.direction == "towards success")
    way = "the way the probe says" if expected else "against what the probe says"
    return f"{start}; {against}: it changes how many are right, {way} (p = {row.p_value:.2g} among them)."


def risk_sentence(row: Risk, title: str) -> str:
    """Whether inputs that an explainer calls risky fail more often."""
    way = next(iter(row.ways), "")
    start = (
        f"Of {row.n} new pictures, shown in the way that {title} calls riskiest (mostly {way}), the model fails on "
        f"{row.risky:.1%}, shown in any way on {row.random:.1%}: a rise of {row.rise.estimate:+.1%} {_bounds(row.rise)}"
    )
    if row.rise.bounded and row.rise.low > 0:
        return f"{start}. What it calls risky does fail more."
    if row.rise.bounded and row.rise.high < 0:
        return f"{start}. What it calls risky fails less: the explanation points the wrong way."
    return f"{start}. The interval includes 0: no evidence."


def tuning_sentence(tuned: Tuned) -> str:
    """Whether the slice the explanation names is worth more for training than a random one."""
    start = (
        f"Trained on the slice it names, accuracy on {tuned.n} test cases goes from {tuned.before:.1%} to "
        f"{tuned.risky:.1%}, on a random slice to {tuned.random:.1%}: {tuned.beyond_random.estimate:+.1%} "
        f"{_bounds(tuned.beyond_random)}"
    )
    if not _apart(tuned.beyond_random):
        return f"{start}. The interval includes 0: no evidence that the slice is a better one."
    better = "mends more" if tuned.beyond_random.low > 0 else "mends less"
    return f"{start}. The named slice {better} than a random one."


def _apart(interval: Interval) -> bool:
    return interval.bounded and (interval.low > 0 or interval.high < 0)


def _bounds(interval: Interval) -> str:
    if not interval.bounded:
        return "(no interval: no spread, or too few)"
    return f"[{interval.low:+.1%}, {interval.high:+.1%}]"
