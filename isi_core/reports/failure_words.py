"""What a failure benchmark's numbers allow one to conclude, in plain sentences, and what they do not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from isi_core.measures.statistics import Interval
from isi_core.reports.wording import number, one_line
from isi_core.studies.failure.conclusions import (
    auc_sentence,
    control_sentence,
    memorizing_sentence,
    pair_sentence,
    permutation_sentence,
    severe_sentence,
)
from isi_core.studies.failure.explainers import EXPLAINERS
from isi_core.studies.failure.plan import PICTURE_TASKS, FailurePlan
from isi_core.studies.failure.results import BenchmarkResult, Case, ExplainerScore, PairedTest

Strength = Literal["warning", "evidence", "none"]

_TASKS = {
    "scenes": "Generated scenes",
    "dataset": "Dataset",
    "boolq": "BoolQ",
    "piqa": "PIQA",
    "winogrande": "WinoGrande",
    "social-iqa": "Social IQa",
}
SIGNIFICANT = 0.05
_MOST_MEMORIZING = 3


@dataclass(frozen=True)
class Conclusion:
    """One sentence and how to take it: a warning, evidence for something, or none."""

    strength: Strength
    sentence: str


def task_name(task: str) -> str:
    """A task's name as it is written."""
    return _TASKS.get(task, task)


def task_title(plan: FailurePlan) -> str:
    """The plan's task, with the dataset's name where it has one."""
    if plan.task == "dataset":
        return f"Dataset {one_line(plan.source.rstrip('/').rsplit('/', 1)[-1], 40)}"
    return task_name(plan.task)


def explainer_title(key: str) -> str:
    """An explainer's name in the registry; the key itself for one that is not (a newer version's)."""
    found = EXPLAINERS.get(key)
    return found.title if found is not None else key


def name_of(score: ExplainerScore) -> str:
    """The explainer's name, with its layer where it reads one."""
    title = explainer_title(score.explainer)
    return title if score.layer is None else f"{title}, layer {score.layer}"


def name_of_key(key: str) -> str:
    """The name of `ExplainerScore.key`."""
    explainer, _, layer = key.partition(" @ ")
    return f"{explainer_title(explainer)}, layer {layer}" if layer else explainer_title(explainer)


def ranked(result: BenchmarkResult) -> list[ExplainerScore]:
    """Every explainer at its chosen layer, the highest area first."""
    best = [result.best(key) for key in dict.fromkeys(s.explainer for s in result.scores)]
    return sorted((s for s in best if s is not None), key=lambda s: -s.auc.estimate)


def severe_words(result: BenchmarkResult) -> str:
    """The checks that found something severe; "" where none did."""
    return "; ".join(finding.check for finding in result.severe)


def about_chance(interval: Interval) -> str:
    """What an area's interval says of chance, as the second half of a sentence."""
    if not interval.bounded:
        return "there are too few cases for an interval"
    if interval.low > 0.5:
        return "the interval excludes 0.5, so it ranks successes above failures"
    if interval.high < 0.5:
        return "the whole interval lies below 0.5, so it ranks them the wrong way round"
    return "the interval includes 0.5: no evidence"


def p_words(p: float) -> str:
    """`p = 0.0312`, or `p < 0.0001`: smaller ones are not known that well."""
    return "p < 0.0001" if p < 1e-4 else f"p = {number(p)}"


def conclusions(result: BenchmarkResult) -> list[Conclusion]:
    """What may be said of the result, warnings first, each explainer by its title."""
    said: list[Conclusion] = []
    if result.severe:
        said.append(Conclusion("warning", severe_sentence(result)))
    found = ranked(result)
    if not found:
        return [*said, Conclusion("none", "No explainer could be scored, so there is nothing to conclude.")]
    probe, other = _first(found, layered=True), _first(found, layered=False)
    for kind, score in (("of those that read activations", probe), ("of the others", other)):
        if score is not None:
            said.append(_about(f"Highest AUC {kind}", score))
    if probe is not None and other is not None and (test := paired(result, probe.key, other.key)) is not None:
        shown = replace(test, first=name_of(probe), second=name_of(other))
        held = math.isfinite(test.p_holm) and test.p_holm <= 1 - test.difference.level
        said.append(Conclusion("evidence" if held else "none", _ended(pair_sentence(shown))))
    said += [
        Conclusion("warning", f"{name_of(score)}: {_lower(words)}")
        for score in found
        if (words := memorizing_sentence(score))
    ][:_MOST_MEMORIZING]
    if (words := control_sentence(result)) != "":
        leaks = "Do not trust" in words
        said.append(Conclusion("warning" if leaks else "none", _ended(words)))
    if result.permutation is not None:
        passed = result.permutation.p_value <= SIGNIFICANT
        words = f"{explainer_title(result.permutation.explainer)}: {_lower(permutation_sentence(result.permutation))}"
        said.append(Conclusion("evidence" if passed else "none", words))
    return sorted(said, key=lambda c: c.strength != "warning")


def _first(found: Sequence[ExplainerScore], layered: bool) -> ExplainerScore | None:
    return next((s for s in found if (s.layer is not None) == layered), None)


def _about(start: str, score: ExplainerScore) -> Conclusion:
    words = auc_sentence(replace(score, explainer=explainer_title(score.explainer)))
    interval = score.bootstrap if score.degenerate else score.auc
    held = math.isfinite(score.p_holm) and score.p_holm <= 1 - interval.level
    sure = interval.bounded and interval.low > 0.5
    return Conclusion("evidence" if sure and held else "none", f"{start} · {words}")


def _ended(words: str) -> str:
    return words if words.endswith(".") else f"{words}."


def _lower(words: str) -> str:
    return words[:1].lower() + words[1:]


def paired(result: BenchmarkResult, first: str, second: str) -> PairedTest | None:
    """The paired test of two scores, first minus second; None where the run has none."""
    for test in result.comparisons:
        if (test.first, test.second) == (first, second):
            return test
        if (test.first, test.second) == (second, first):
            d = test.difference
            turned = Interval(-d.estimate, -d.high, -d.low, d.level, d.n)
            return PairedTest(first, second, test.n, turned, test.p_value, test.p_holm)
    return None


def case_words(case: Case) -> str:
    """What the model answered and what is true."""
    return f"answered “{one_line(case.answer, 60) or 'nothing'}”, truth “{one_line(case.truth, 60)}”"


def plan_words(plan: FailurePlan) -> str:
    """The plan in one line, every setting that shapes the numbers."""
    layers = plan.layers if isinstance(plan.layers, str) else ", ".join(map(str, plan.layers))
    parts = [
        task_title(plan),
        plan.model + ("" if plan.quantization == "none" else f" ({plan.quantization})"),
        f"{plan.k:,} + {plan.k:,} cases",
        f"layers: {layers}",
    ]
    if plan.task in PICTURE_TASKS:
        parts.append(f"contexts: {', '.join(plan.contexts)}")
    elif plan.labels == "given":
        parts.append("labels as given in the file")
    parts.append(f"seed {plan.seed}")
    return " · ".join(parts)


def provenance(result: BenchmarkResult) -> str:
    """The line every result carries: task, model, revision, cases, seed, digest, time."""
    record = result.model
    return " · ".join(
        part
        for part in (
            plan_words(result.plan),
            f"revision {str(record.get('revision', ''))[:8]}" if record.get("revision") else "",
            str(record.get("dtype", "")),
            f"digest {result.plan.digest[:8]}",
            result.created or "time not recorded",
        )
        if part
    )
