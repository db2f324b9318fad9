"""What the numbers allow one to say, in plain sentences."""

from __future__ import annotations

import math

from isi_core.studies.failure.results import BenchmarkResult, ExplainerScore, PairedTest, PermutationNull

_FEW = 60
"""Test cases below which DeLong's normal approximation is rough."""


def auc_sentence(score: ExplainerScore) -> str:
    """What a score says about its explainer, by DeLong's interval, or by the bootstrap's where that is degenerate."""
    where = score.explainer if score.layer is None else f"{score.explainer} at layer {score.layer}"
    interval = score.auc
    if score.degenerate:
        interval = score.bootstrap
    if score.degenerate.startswith("all scores"):
        return f"{where}: says the same of every case, so its AUC is 0.5 by construction."
    if not interval.bounded:
        return f"{where}: AUC {score.auc.estimate:.3f}, without an interval ({score.degenerate})."
    told = (
        f"{where}: AUC {score.auc.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}] "
        f"({interval.level:.1%} interval, n = {score.n_test:,})"
    )
    if interval.low > 0.5:
        verdict = "it tells successes from failures better than chance"
        if math.isfinite(score.p_holm) and score.p_holm > 1 - interval.level:
            verdict += ", but not once the number of tests is corrected for (Holm)"
    elif interval.high < 0.5:
        verdict = "it is worse than chance: what it learned points the other way on new cases"
    else:
        verdict = "the interval includes 0.5: no evidence that it foresees failure"
    caveat = f" ({score.degenerate})" if score.degenerate else ""
    few = " With so few test cases the interval is rough." if score.n_test < _FEW else ""
    return f"{told}: {verdict}{caveat}.{few}"


def memorizing_sentence(score: ExplainerScore) -> str:
    """A warning where a probe knows its training cases by heart and little else; "" where it does not."""
    if score.train_auc > 0.98 and score.auc.estimate < 0.8:
        return (
            f"It tells its {score.n_train:,} training cases apart almost perfectly (AUC {score.train_auc:.3f}) and new "
            f"ones not (AUC {score.auc.estimate:.3f}): it has learned cases by heart."
        )
    return ""


def pair_sentence(pair: PairedTest) -> str:
    """What a paired test says."""
    gap = pair.difference
    told = f"{pair.first} minus {pair.second}: {gap.estimate:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}] (n = {pair.n:,})"
    if not math.isfinite(pair.p_holm):
        return f"{told}: the difference has no variance, so no test is possible."
    if pair.p_holm <= 1 - gap.level:
        better = pair.first if gap.estimate > 0 else pair.second
        return f"{told}: {better} is better (corrected p = {pair.p_holm:.2g})."
    return f"{told}: no evidence of a difference (corrected p = {pair.p_holm:.2g})."


def permutation_sentence(null: PermutationNull) -> str:
    """What the permutation null says of the best layer."""
    layered = len(null.layers) > 1
    over = f"the best of {len(null.layers)} layers" if layered else "the score"
    told = (
        f"With shuffled labels {over} reaches up to {null.threshold:.3f} in 95 % of {len(null.maxima)} shuffles; "
        f"with the real ones {null.observed:.3f} (p = {null.p_value:.3g})"
    )
    if null.p_value <= 0.05:
        return f"{told}: this is not luck{' in picking a layer' if layered else ''}."
    if null.observed > max(null.maxima):
        return f"{told}: no shuffle reached it, but so few shuffles cannot rule out luck; take at least 100."
    return f"{told}: {'picking the best layer by luck' if layered else 'luck'} gives as much."


def control_sentence(result: BenchmarkResult) -> str:
    """Whether the label-shuffle control landed on 0.5; "" where there is none."""
    if not result.control:
        return ""
    off = [s for s in result.control if s.auc.bounded and not s.auc.low <= 0.5 <= s.auc.high]
    if off:
        return (
            f"With shuffled labels {len(off)} of {len(result.control)} intervals miss 0.5: something other than the "
            "inputs tells the label. Do not trust these scores."
        )
    if len(result.control) == 1:
        return "With shuffled labels the interval holds 0.5, as it must."
    return f"With shuffled labels all {len(result.control)} intervals hold 0.5, as they must."


def severe_sentence(result: BenchmarkResult) -> str:
    """What every figure of a run on defective data must say; "" where the linter found nothing severe."""
    if not result.severe:
        return ""
    checks = "; ".join(dict.fromkeys(finding.check for finding in result.severe))
    return f"Severe defects in the data: {checks}. These numbers say nothing about whether failure can be foreseen."


def best_sentence(result: BenchmarkResult) -> str:
    """Which explainer is best, and whether it beats the best baseline."""
    from isi_core.studies.failure.explainers import EXPLAINERS

    bests = {s.explainer: b for s in result.scores if (b := result.best(s.explainer)) is not None}
    ranked = sorted(bests.values(), key=lambda s: -s.auc.estimate)
    if not ranked:
        return "No explainer was scored."
    baselines = [s for s in ranked if EXPLAINERS[s.explainer].kind == "baseline"]
    first = ranked[0]
    if not baselines:
        return f"The highest AUC is {first.auc.estimate:.3f} ({first.key}); no baseline was run beside it."
    if first is baselines[0]:
        return f"No explainer is above the simplest one: {first.key} has the highest AUC, {first.auc.estimate:.3f}."
    keys = {first.key, baselines[0].key}
    pair = next((p for p in result.comparisons if {p.first, p.second} == keys), None)
    return (
        f"The highest AUC is {first.auc.estimate:.3f} ({first.key}); the best baseline, {baselines[0].key}, has "
        f"{baselines[0].auc.estimate:.3f}. {pair_sentence(pair) if pair else ''}".rstrip()
    )
