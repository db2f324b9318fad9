"""Puts a whole dataset to a model under every preset, and averages what comes out."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from isi_core.domain.answer import Verdict
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import InputError
from isi_core.domain.evaluation import Evaluation
from isi_core.domain.observation import Dataset, Observation
from isi_core.domain.progress import Progress
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.models.entailment.protocol import EntailmentModel
from isi_core.models.vlm.protocol import VisionLanguageModel
from isi_core.studies.averages import BASELINE, MEASURES, Averages, FamilyAverage, MeasureAverage, PresetAverage
from isi_core.studies.sweep.plan import ModelChoice, SweepItem, SweepPlan, preset_conditions
from isi_core.studies.vqa import Wanted, evaluate_together

_BATCH = 16


@dataclass(frozen=True)
class Outcome:
    """What is kept of one evaluation: no picture, so that a thousand of them fit in memory.

    Attributes
    ----------
    row, family, truth : of the observation.
    verdict : yes, no or unclear.
    values : as `measure_values` gives them.
    """

    row: int
    family: str
    truth: bool | None
    verdict: Verdict
    values: dict[str, float]

    @property
    def right(self) -> bool:
        """The verdict is the truth; an unclear one never is."""
        return self.verdict == ("yes" if self.truth else "no")


def measure_values(evaluation: Evaluation) -> dict[str, float]:
    """The value of each of `MEASURES` that was measured and is a number."""
    values: dict[str, float] = {}
    if evaluation.uncertainty is not None:
        values["semantic_entropy"] = evaluation.uncertainty.semantic_entropy
        values["predictive_entropy"] = evaluation.uncertainty.predictive_entropy
        values["n_clusters"] = float(evaluation.uncertainty.n_clusters)
    if evaluation.attribution is not None:
        values |= {f"attention_{name}": share for name, share in evaluation.attribution.relative.items()}
        values |= {f"attention_absolute_{name}": share for name, share in evaluation.attribution.absolute.items()}
    return {name: float(values[name]) for name in MEASURES if name in values and math.isfinite(values[name])}


def measure_averages(
    dataset: Dataset,
    vlm: VisionLanguageModel,
    entailment: EntailmentModel,
    decoding: Decoding,
    progress: Progress | None = None,
    presets: Collection[str] | None = None,
) -> Averages:
    """Evaluate every observation under every preset (or those of these keys) and average.

    An observation that lacks a preset's picture or context, or whose text is too long for the model, is left out of
    that preset, as `n` tells; a model that does not tell its attention is measured without.

    Raises
    ------
    InputError : an unknown preset, or no preset that any observation allows.
    """
    grid = {condition.key: condition for condition in preset_conditions()}
    if unknown := set(presets or ()) - set(grid):
        raise InputError(f"Unknown preset {', '.join(sorted(unknown))}: choose from {', '.join(grid)}.")
    wanted: set[Wanted] = {"answer", "uncertainty"}
    if vlm.capabilities.attention:
        wanted.add("attention")
    plan = SweepPlan(
        dataset=dataset.name,
        dataset_digest="",
        conditions=tuple(c for key, c in grid.items() if presets is None or key in presets),
        models=(ModelChoice(vlm.record.name),),
        decoding=decoding,
    )
    outcomes: dict[str, list[Outcome]] = {key: [] for key in plan.condition_keys}
    items = plan.items(dataset)
    for begin in range(0, len(items), _BATCH):
        batch = items[begin : begin + _BATCH]
        if progress is not None:
            named = f"{batch[0].observation.row} of {len(dataset)}: {batch[0].condition.key}"
            progress(f"Observation {named}", begin / len(items))
        for item, made in _evaluated(plan, dataset, batch, vlm, entailment, decoding, wanted):
            outcomes[item.condition.key].append(_outcome(item.observation, made))
    if not any(outcomes.values()):
        raise InputError(f"Nothing in {dataset.name} can be evaluated: check its pictures and questions.")
    if progress is not None:
        progress("Done", 1.0)
    return average(dataset.name, vlm.record.to_json(), entailment.record.to_json(), decoding, outcomes)


def _evaluated(
    plan: SweepPlan,
    dataset: Dataset,
    items: Sequence[SweepItem],
    vlm: VisionLanguageModel,
    entailment: EntailmentModel,
    decoding: Decoding,
    wanted: set[Wanted],
) -> list[tuple[SweepItem, Evaluation]]:
    """The items side by side; those whose input the model cannot take are left out."""
    try:
        made = evaluate_together([plan.trial(dataset, i) for i in items], vlm, decoding, wanted, entailment)
    except InputError:
        if len(items) == 1:
            return []
        return [x for item in items for x in _evaluated(plan, dataset, [item], vlm, entailment, decoding, wanted)]
    return list(zip(items, made, strict=True))


def average(
    dataset_name: str,
    model: dict[str, str],
    entailment: dict[str, str],
    decoding: Decoding,
    outcomes: Mapping[str, Sequence[Outcome]],
    settings: UncertaintySettings | None = None,
) -> Averages:
    """The averages of outcomes by preset; presets without an outcome are left out.

    `settings` (the default ones where none are given) take their entailment model from the record `entailment`.
    """
    baseline = outcomes.get(BASELINE, ())
    return Averages(
        model=dict(model),
        entailment=dict(entailment),
        dataset=dataset_name,
        decoding=decoding.to_json(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        presets={key: preset_average(found, baseline) for key, found in outcomes.items() if found},
        families=family_averages(baseline),
        settings=replace(settings or UncertaintySettings(), entailment_model=entailment["name"]),
    )


def _outcome(observation: Observation, evaluation: Evaluation) -> Outcome:
    verdict = evaluation.answer.verdict if evaluation.answer else "unclear"
    return Outcome(observation.row, observation.family, observation.truth, verdict, measure_values(evaluation))


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else None


def preset_average(outcomes: Sequence[Outcome], baseline: Sequence[Outcome] = ()) -> PresetAverage:
    """The averages of one preset's outcomes; `baseline` are those of the natural picture without context."""
    verdicts = [o.verdict for o in outcomes]
    before = {o.row: o.verdict for o in baseline}
    measures = {}
    for name in MEASURES:
        own = tuple(o.values[name] for o in outcomes if name in o.values)
        measures[name] = MeasureAverage(_mean(own), own)
    return PresetAverage(
        n=len(outcomes),
        accuracy=_mean(o.right for o in outcomes if o.truth is not None),
        yes_rate=verdicts.count("yes") / len(verdicts),
        unclear_rate=verdicts.count("unclear") / len(verdicts),
        changed_rate=_mean(o.verdict != before[o.row] for o in outcomes if o.row in before),
        measures=measures,
    )


def family_averages(outcomes: Sequence[Outcome]) -> dict[str, FamilyAverage]:
    """Accuracy in each family, where the dataset names one and the truth is known; in the order they come."""
    right: dict[str, list[bool]] = {}
    for outcome in outcomes:
        if outcome.family and outcome.truth is not None:
            right.setdefault(outcome.family, []).append(outcome.right)
    return {family: FamilyAverage(len(flags), sum(flags) / len(flags)) for family, flags in right.items()}


def averages_table(averages: Averages) -> str:
    """The averages as two Markdown tables: picture by context, then the families of questions."""
    lines = [
        "| picture | context | n | accuracy | changed | semantic entropy (nats) | clusters "
        "| attention: image | context | question |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for key, preset in averages.presets.items():
        image, context = key.split("/")
        means = [
            preset.measures[name].mean
            for name in ("semantic_entropy", "n_clusters", "attention_image", "attention_context", "attention_question")
        ]
        numbers = [preset.accuracy, preset.changed_rate, *means]
        lines.append(f"| {image} | {context} | {preset.n} | {' | '.join(map(_shown, numbers))} |")
    if averages.families:
        lines += ["", "| family (natural, no context) | n | accuracy |", "|---|---:|---:|"]
        lines += [f"| {_cell(name)} | {f.n} | {_shown(f.accuracy)} |" for name, f in averages.families.items()]
    return "\n".join(lines)


def _shown(number: float | None) -> str:
    return "–" if number is None else f"{number:.2f}"


def _cell(text: str) -> str:
    """A dataset's own word, which must not break the table."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()).replace("|", "\\|")[:60]
