"""Black-box measures that cost more than a pass: sampled answers, attention, answers under noise."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isi_core.domain.decoding import Decoding
from isi_core.domain.interventions import GaussianNoise
from isi_core.domain.progress import Progress
from isi_core.domain.rendering import apply
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.measures import semantic_entropy
from isi_core.measures.attribution import attribute
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.models.vlm.protocol import VisionLanguageModel
from isi_core.models.vlm.states import read_states
from isi_core.studies.failure.activations import case_trial
from isi_core.studies.failure.explainers import Extra
from isi_core.studies.failure.plan import FailurePlan
from isi_core.studies.failure.results import Case
from isi_core.studies.failure.selection import split_sizes

if TYPE_CHECKING:
    from isi_core.domain.evaluation import Measure
    from isi_core.models.entailment.protocol import EntailmentModel

Floats = NDArray[np.float64]
NOISE = 25.0
"""Standard deviation of the noise of `noise_shift`, in grey levels of 255."""
_AT_ONCE = 8
_SAMPLED: tuple[Extra, ...] = ("semantic_entropy", "predictive_entropy")


def measured_cases(cases: Sequence[Case], k: int, seed: int) -> list[int]:
    """Indices of at most k cases of each class, in the proportions of the splits, by lot."""
    places: dict[tuple[str, bool], list[int]] = defaultdict(list)
    for i, case in enumerate(cases):
        places[case.split, case.success].append(i)
    found = []
    sizes = split_sizes(k)
    for (split, _), members in sorted(places.items()):
        Random(f"failure samples {seed} {split}").shuffle(members)
        found += members[: sizes[split]]  # type: ignore[index]
    return sorted(found)


def take_extras(
    wanted: Collection[Extra],
    plan: FailurePlan,
    cases: Sequence[Case],
    words: NDArray[np.float64] | None,
    vlm: VisionLanguageModel,
    entailment: EntailmentModel | None,
    folder: Path,
    progress: Progress | None = None,
) -> dict[Extra, Floats]:
    """(n,) of each wanted measure, NaN for cases that were not measured; kept in `folder/extras.jsonl` as they come.

    Parameters
    ----------
    words : (n, 2) log p of yes and no without noise, as `read_states` gives them.
    """
    found: dict[Extra, Floats] = {name: np.full(len(cases), np.nan) for name in wanted}
    if not wanted:
        return found
    known = _read_known(folder / "extras.jsonl", plan)
    place = {case.id: i for i, case in enumerate(cases)}
    chosen = measured_cases(cases, plan.sampling_k, plan.seed)
    missing = [i for i in chosen if not set(wanted) <= known.get(cases[i].id, {}).keys()]
    decoding = Decoding(n_samples=plan.samples, temperature=plan.temperature, seed=plan.seed)
    with (folder / "extras.jsonl").open("a", encoding="utf-8") as file:
        for begin in range(0, len(missing), _AT_ONCE):
            part = [cases[i] for i in missing[begin : begin + _AT_ONCE]]
            at = None if words is None else words[missing[begin : begin + _AT_ONCE]]
            for case, values in zip(
                part, _measure(wanted, plan, decoding, part, at, vlm, entailment, folder), strict=True
            ):
                known[case.id] = {**known.get(case.id, {}), **values}
                line = {"settings": _settings(plan), "case": case.id, "values": values}
                file.write(json.dumps(line) + "\n")
            file.flush()
            if progress is not None:
                done = begin + len(part)
                progress(f"Measured {done:,} of {len(missing):,} cases", done / len(missing))
    measured = {cases[i].id for i in chosen}
    for case_id, values in known.items():
        if case_id in measured:
            for name in wanted:
                if values.get(name) is not None:
                    found[name][place[case_id]] = values[name]
    return found


def _measure(
    wanted: Collection[Extra],
    plan: FailurePlan,
    decoding: Decoding,
    cases: Sequence[Case],
    words: NDArray[np.float64] | None,
    vlm: VisionLanguageModel,
    entailment: EntailmentModel | None,
    folder: Path,
) -> list[dict[Extra, float | None]]:
    trials = [case_trial(case, folder) for case in cases]
    found: list[dict[Extra, float | None]] = [dict.fromkeys(wanted) for _ in cases]
    measures: set[Measure] = set()
    if set(_SAMPLED) & set(wanted) and entailment is not None:
        measures.add("samples")
    if "image_attention" in wanted and vlm.capabilities.attention:
        measures |= {"answer", "attention"}
    if measures:
        for i, (trial, output) in enumerate(zip(trials, vlm.evaluate(trials, decoding, measures), strict=True)):
            if output.samples is not None and entailment is not None:
                settings = UncertaintySettings(entailment_model=plan.entailment)
                uncertainty = semantic_entropy.measure(output.samples, trial.question, entailment, settings)
                for name in _SAMPLED:
                    if name in wanted:
                        value = float(getattr(uncertainty, name))
                        found[i][name] = value if np.isfinite(value) else None
            if output.attention is not None and output.answer is not None and len(output.attention.sums):
                found[i]["image_attention"] = attribute(output.attention, output.answer.tokens).absolute["image"]
    if "noise_shift" in wanted and isinstance(vlm, HuggingFaceVLM) and words is not None:
        noisy = [
            replace(trial, image=apply(trial.image, GaussianNoise(NOISE, _noise_seed(plan.seed, case.id))))
            for trial, case in zip(trials, cases, strict=True)
        ]
        moved = read_states(vlm, noisy, ()).words
        shifts = np.abs((moved[:, 0] - moved[:, 1]) - (words[:, 0] - words[:, 1]))
        for i, shift in enumerate(shifts.tolist()):
            found[i]["noise_shift"] = shift if np.isfinite(shift) else None
    return found


def _noise_seed(seed: int, case_id: str) -> int:
    return Random(f"failure noise {seed} {case_id}").randrange(2**31)


def _settings(plan: FailurePlan) -> str:
    return f"{plan.samples} {plan.temperature:g} {plan.entailment} {NOISE:g} {plan.seed}"


def _read_known(path: Path, plan: FailurePlan) -> dict[str, dict[Extra, float | None]]:
    """What earlier runs measured with the same settings; a line that was cut by a stop is left out."""
    found: dict[str, dict[Extra, float | None]] = {}
    if not path.is_file():
        return found
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            data = json.loads(line)
            if data["settings"] == _settings(plan):
                found.setdefault(data["case"], {}).update(data["values"])
        except (ValueError, KeyError, TypeError):
            continue
    return found
