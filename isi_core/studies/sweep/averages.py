"""A finished sweep's averages, in the form that stands beside each value on the pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isi_core.domain.answer import Verdict
from isi_core.store.sweeps import SweepRecord, SweepResult
from isi_core.studies.averages import BASELINE, Averages, own_averages_path, save_averages
from isi_core.studies.averaging import Outcome, average
from isi_core.studies.sweep.plan import SweepPlan, preset_conditions

_TRUTHS = {"yes": True, "no": False}


def outcome(result: SweepResult) -> Outcome:
    """A result as the averages take it."""
    verdict: Verdict = result.verdict if result.verdict in ("yes", "no") else "unclear"  # type: ignore[assignment]
    return Outcome(result.place, result.family, _TRUTHS.get(result.truth), verdict, result.measured)


def sweep_averages(plan: SweepPlan, record: SweepRecord, results: Sequence[SweepResult]) -> list[Averages]:
    """One a model that gave results under presets without a perturbation.

    Of a model in several quantizations the first one counts: averages go by the model's name.
    """
    entailment = record.models.get(f"entailment: {plan.settings.entailment_model}")
    found: dict[str, Averages] = {}
    for label in plan.model_labels:
        model = record.models.get(label)
        if model is None or entailment is None or model["name"] in found:
            continue
        by_condition = {
            condition.key: [
                outcome(r) for r in results if (r.model, r.condition, r.error) == (label, condition.key, "")
            ]
            for condition in preset_conditions()
        }
        if any(by_condition.values()):
            found[model["name"]] = average(
                record.dataset, model, entailment, plan.decoding, by_condition, plan.settings
            )
    return list(found.values())


def may_replace(plan: SweepPlan) -> bool:
    """Whether a sweep is fit to stand beside single values: all observations, the baseline, uncertainty measured."""
    return plan.observations is None and BASELINE in plan.condition_keys and "uncertainty" in plan.measures


def keep_averages(
    plan: SweepPlan, record: SweepRecord, results: Sequence[SweepResult], home: Path | None = None
) -> list[Path]:
    """Write a finished sweep's averages below `home`, where `load_averages` finds them first; the files."""
    if not may_replace(plan):
        return []
    paths = []
    for averages in sweep_averages(plan, record, results):
        path = own_averages_path(averages.model["name"], averages.dataset, home)
        save_averages(averages, path)
        paths.append(path)
    return paths
