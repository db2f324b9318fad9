"""Black-box measures that cost more than a pass: sampled answers, attention, answers under noise."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
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
from isi_core.studies.failure.lending import Lender
from isi_core.studies.failure.plan import FailurePlan
from isi_core.studies.failure.results import Case
from isi_core.studies.failure.selection import split_sizes

if TYPE_CHECKING:
    from isi_core.domain.evaluation import Measure
    from isi_core.models.entailment.protocol import EntailmentModel

Floats = NDArray[np.float64]
NOISE = 25.0
"""Standard deviation of the noise of `noise_shift`, in grey levels of 255."""
EXPLAIN = "Explain step by step what you see and why, then answer."
DOUBT = '{question} Someone answers "{answer}". Is that answer right?'
_AT_ONCE = 8
Value = float | str | None
"""Of a measure; a rationale is a text; None where the model does not tell it."""
_EXPLAINING = Decoding(max_new_tokens=96)
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
    lend: Lender,
    lend_entailment: Callable[[], AbstractContextManager[EntailmentModel]],
    folder: Path,
    progress: Progress | None = None,
) -> tuple[dict[Extra, Floats], tuple[str | None, ...]]:
    """(n,) of each wanted measure, NaN for cases that were not measured, and the cases' rationales.

    They are kept in `folder/extras.jsonl` as they come.

    Parameters
    ----------
    lend, lend_entailment : lend the models, for a few cases at a time.
    words : (n, 2) log p of yes and no without noise, as `read_states` gives them.
    """
    found: dict[Extra, Floats] = {name: np.full(len(cases), np.nan) for name in wanted if name != "rationale"}
    rationales: list[str | None] = [None] * len(cases)
    if not wanted:
        return found, ()
    known = _read_known(folder / "extras.jsonl", plan)
    place = {case.id: i for i, case in enumerate(cases)}
    chosen = measured_cases(cases, plan.sampling_k, plan.seed)
    missing = [i for i in chosen if not set(wanted) <= known.get(cases[i].id, {}).keys()]
    sampled = set(_SAMPLED) & set(wanted)
    decoding = Decoding(n_samples=plan.samples, temperature=plan.temperature, seed=plan.seed)
    with (folder / "extras.jsonl").open("a", encoding="utf-8") as file:
        for begin in range(0, len(missing), _AT_ONCE):
            part = [cases[i] for i in missing[begin : begin + _AT_ONCE]]
            at = None if words is None else words[missing[begin : begin + _AT_ONCE]]
            with lend() as vlm, lend_entailment() if sampled else nullcontext() as entailment:
                measured = _measure(wanted, plan, decoding, part, at, vlm, entailment, folder)
            for case, values in zip(part, measured, strict=True):
                known[case.id] = {**known.get(case.id, {}), **values}
                line = {"settings": _settings(plan), "case": case.id, "values": values}
                file.write(json.dumps(line) + "\n")
            file.flush()
            if progress is not None:
                done = begin + len(part)
                progress(f"Measured {done:,} of {len(missing):,} cases", done / len(missing))
    inside = {cases[i].id for i in chosen}
    for case_id, values in known.items():
        if case_id in inside:
            for name in wanted:
                value = values.get(name)
                if isinstance(value, str):
                    rationales[place[case_id]] = value
                elif value is not None:
                    found[name][place[case_id]] = value
    return found, tuple(rationales)


def _measure(
    wanted: Collection[Extra],
    plan: FailurePlan,
    decoding: Decoding,
    cases: Sequence[Case],
    words: NDArray[np.float64] | None,
    vlm: VisionLanguageModel,
    entailment: EntailmentModel | None,
    folder: Path,
) -> list[dict[Extra, Value]]:
    trials = [case_trial(case, folder) for case in cases]
    found: list[dict[Extra, Value]] = [dict.fromkeys(wanted) for _ in cases]
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
    if "rationale" in wanted:
        asked = [replace(trial, question=f"{trial.question} {EXPLAIN}") for trial in trials]
        for i, output in enumerate(vlm.evaluate(asked, _EXPLAINING, {"answer"})):
            found[i]["rationale"] = "" if output.answer is None else output.answer.text
    if "p_true" in wanted and isinstance(vlm, HuggingFaceVLM):
        asked = [
            replace(trial, question=DOUBT.format(question=trial.question, answer=case.answer.strip()[:200]))
            for trial, case in zip(trials, cases, strict=True)
        ]
        for i, (yes, no) in enumerate(read_states(vlm, asked, ()).words.tolist()):
            found[i]["p_true"] = yes - no if np.isfinite(yes - no) else None
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


def _read_known(path: Path, plan: FailurePlan) -> dict[str, dict[Extra, Value]]:
    """What earlier runs measured with the same settings; a line that was cut by a stop is left out."""
    found: dict[str, dict[Extra, Value]] = {}
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
