"""What a sweep's results say: each condition with intervals, effects on the same observations, flips, families."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from isi_core.domain.errors import InputError
from isi_core.measures.statistics import (
    Interval,
    McNemar,
    bootstrap_interval,
    holm,
    mcnemar,
    paired_bootstrap,
    paired_rate_difference,
    wilson_interval,
)
from isi_core.store.sweeps import SweepResult

RATES = ("accuracy", "yes_rate", "unclear_rate")
MEANS = (
    "semantic_entropy",
    "predictive_entropy",
    "n_clusters",
    "attention_image",
    "attention_context",
    "attention_question",
)
"""Entropies in nats; attention shares are the relative ones, which sum to one."""
RESAMPLES = 2_000
_ROUNDING = 1e-6
"""Measures of one answer differ by less than this, whether it was asked alone or side by side with others."""
_EXPECTED = {"yes": 1.0, "no": 0.0}


@dataclass(frozen=True)
class Summary:
    """One model under one condition: each of `RATES` and `MEANS` that was measured, with its interval.

    Intervals are bootstrapped over observations; a rate of 0 or 1 has Wilson's instead, since resamples of equal
    values never differ and would pretend to be certain. For the same reason a mean of equal values has no bounds.
    """

    model: str
    condition: str
    n: int
    values: dict[str, Interval]


@dataclass(frozen=True)
class Effect:
    """What a condition changes against the reference, on the observations that were measured under both.

    Attributes
    ----------
    n : observations under both.
    flips : of them, those with another verdict.
    differences : condition minus reference, for each of `RATES` and `MEANS`. Rates have Newcombe's interval for paired
        proportions, as a bootstrap of few flips is too narrow, and of none pretends to be certain; means have the
        paired bootstrap's, and no bounds where all differences are equal.
    mcnemar : of right against wrong (`first` the condition, `second` the reference); None where no truth is known.
    p_adjusted : its p-value by Holm's method, over the model's conditions; None likewise.
    """

    model: str
    condition: str
    reference: str
    n: int
    flips: int
    differences: dict[str, Interval]
    mcnemar: McNemar | None
    p_adjusted: float | None


@dataclass(frozen=True)
class Flips:
    """How often verdicts differ between two conditions, on the observations that were measured under both."""

    model: str
    first: str
    second: str
    n: int
    flips: int

    @property
    def share(self) -> float:
        """Share of the observations with another verdict; NaN without any."""
        return self.flips / self.n if self.n else math.nan


@dataclass(frozen=True)
class FamilyResult:
    """Accuracy of one family of questions under one condition, Wilson's interval."""

    model: str
    condition: str
    family: str
    accuracy: Interval


@dataclass(frozen=True)
class Analysis:
    """Everything of a sweep; lists go by model, then in the plan's order of conditions.

    Attributes
    ----------
    reference : the condition that effects are taken against.
    """

    models: tuple[str, ...]
    conditions: tuple[str, ...]
    reference: str
    summaries: tuple[Summary, ...]
    effects: tuple[Effect, ...]
    flips: tuple[Flips, ...]
    families: tuple[FamilyResult, ...]

    def summary(self, model: str, condition: str) -> Summary | None:
        """One model under one condition; None where nothing was measured."""
        return next((s for s in self.summaries if (s.model, s.condition) == (model, condition)), None)


def analyse(
    results: Sequence[SweepResult],
    models: Sequence[str],
    conditions: Sequence[str],
    reference: str | None = None,
    resamples: int = RESAMPLES,
) -> Analysis:
    """The analysis of the results so far; failed ones do not count.

    Parameters
    ----------
    models, conditions : the plan's labels, in their order.
    reference : None takes the first condition.

    Raises
    ------
    InputError : there is no result yet, or the reference is none of the conditions.
    """
    reference = reference if reference is not None else conditions[0]
    if reference not in conditions:
        raise InputError(f"{reference[:60]!r} is no condition of this sweep: choose from {', '.join(conditions)}.")
    cells = _cells(results, models, conditions)
    if not cells:
        raise InputError("There is no result to analyse yet: start the sweep, or wait for its first evaluations.")
    effects: list[Effect] = []
    for model in models:
        own = {condition: cells[model, condition] for condition in conditions if (model, condition) in cells}
        if reference in own:
            effects += _effects(model, own, reference, resamples)
    return Analysis(
        models=tuple(m for m in models if any(key[0] == m for key in cells)),
        conditions=tuple(c for c in conditions if any(key[1] == c for key in cells)),
        reference=reference,
        summaries=tuple(_summary(*key, found, resamples) for key, found in cells.items()),
        effects=tuple(effects),
        flips=tuple(_flips(cells, models, conditions)),
        families=tuple(_families(cells)),
    )


def is_right(result: SweepResult) -> bool | None:
    """Whether the verdict is the truth (an unclear one never is); None where no truth is known."""
    return None if result.truth not in _EXPECTED else result.verdict == result.truth


def value(result: SweepResult, name: str) -> float | None:
    """A result's value of one of `RATES` and `MEANS`; None where there is none."""
    if name == "accuracy":
        right = is_right(result)
        return None if right is None else float(right)
    if name == "yes_rate":
        return float(result.verdict == "yes")
    if name == "unclear_rate":
        return float(result.verdict == "unclear")
    return result.measured.get(name)


Cells = dict[tuple[str, str], list[SweepResult]]


def _cells(results: Sequence[SweepResult], models: Sequence[str], conditions: Sequence[str]) -> Cells:
    """Results by (model, condition), in the plan's order; each cell by observation."""
    found: Cells = {(m, c): [] for m in models for c in conditions}
    for result in results:
        place = result.model, result.condition
        if not result.error and place in found:
            found[place].append(result)
    return {key: sorted(cell, key=lambda r: r.place) for key, cell in found.items() if cell}


def _summary(model: str, condition: str, cell: Sequence[SweepResult], resamples: int) -> Summary:
    values = {}
    for name in (*RATES, *MEANS):
        own = [v for r in cell if (v := value(r, name)) is not None]
        if own:
            values[name] = _interval(name, own, resamples)
    return Summary(model, condition, len(cell), values)


def _interval(name: str, values: Sequence[float], resamples: int) -> Interval:
    if name in RATES and len(set(values)) == 1:
        return wilson_interval(int(sum(values)), len(values))
    return _unless_equal(bootstrap_interval(values, n=resamples), values)


def _difference(name: str, here: Sequence[float], there: Sequence[float], resamples: int) -> Interval:
    if name in RATES:
        return paired_rate_difference(here, there)
    found = paired_bootstrap(here, there, n=resamples)
    return _unless_equal(found, [a - b for a, b in zip(here, there, strict=True)])


def _unless_equal(found: Interval, values: Sequence[float]) -> Interval:
    """The interval without its bounds where the values are equal: their spread is not known, it is not zero."""
    if max(values) - min(values) <= _ROUNDING:
        return replace(found, low=math.nan, high=math.nan)
    return found


def paired(
    first: Sequence[SweepResult], second: Sequence[SweepResult], of: Callable[[SweepResult], float | None]
) -> tuple[list[float], list[float]]:
    """The values of the observations that have one on both sides, in the same order."""
    other = {r.observation: of(r) for r in second}
    pairs = [(of(r), other.get(r.observation)) for r in first]
    whole = [(a, b) for a, b in pairs if a is not None and b is not None]
    return [a for a, _ in whole], [b for _, b in whole]


def _effects(model: str, cells: dict[str, list[SweepResult]], reference: str, resamples: int) -> list[Effect]:
    base = cells[reference]
    found: list[Effect] = []
    for condition, cell in cells.items():
        if condition == reference:
            continue
        differences = {}
        for name in (*RATES, *MEANS):
            here, there = paired(cell, base, lambda r, name=name: value(r, name))  # type: ignore[misc]
            if here:
                differences[name] = _difference(name, here, there, resamples)
        here, there = paired(cell, base, lambda r: value(r, "accuracy"))
        test = mcnemar(here, there) if here else None
        n, flips = _differ(cell, base)
        found.append(Effect(model, condition, reference, n, flips, differences, test, None))
    tested = [e for e in found if e.mcnemar is not None]
    adjusted = holm([e.mcnemar.p_value for e in tested if e.mcnemar is not None]) if tested else ()
    by_condition = {e.condition: float(p) for e, p in zip(tested, adjusted, strict=True)}
    return [_with_p(e, by_condition.get(e.condition)) for e in found]


def _with_p(effect: Effect, p: float | None) -> Effect:
    return Effect(**{**vars(effect), "p_adjusted": p})


def _differ(first: Sequence[SweepResult], second: Sequence[SweepResult]) -> tuple[int, int]:
    """(observations on both sides, those of them whose verdicts differ)."""
    other = {r.observation: r.verdict for r in second}
    both = [(r.verdict, other[r.observation]) for r in first if r.observation in other]
    return len(both), sum(a != b for a, b in both)


def _flips(cells: Cells, models: Sequence[str], conditions: Sequence[str]) -> list[Flips]:
    found = []
    for model in models:
        own = [c for c in conditions if (model, c) in cells]
        for first in own:
            for second in own:
                n, flips = _differ(cells[model, first], cells[model, second])
                found.append(Flips(model, first, second, n, flips))
    return found


def _families(cells: Cells) -> list[FamilyResult]:
    found = []
    for (model, condition), cell in cells.items():
        right: dict[str, list[bool]] = {}
        for result in cell:
            judged = is_right(result)
            if result.family and judged is not None:
                right.setdefault(result.family, []).append(judged)
        found += [
            FamilyResult(model, condition, family, wilson_interval(sum(flags), len(flags)))
            for family, flags in sorted(right.items())
        ]
    return found
