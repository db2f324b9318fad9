"""Repeat a stored evaluation with the model, decoding and seed that made it, and say whether it came out the same."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from isi_core.domain.evaluation import Evaluation
from isi_core.domain.progress import Progress
from isi_core.models.shelf import Shelf
from isi_core.studies.vqa import Wanted, evaluate

TOLERANCE = 1e-4
"""Numbers that differ by at most this are the same: what other hardware or another batch makes of the last digits."""


@dataclass(frozen=True)
class Difference:
    """One thing that came out otherwise; `before` and `after` in words."""

    what: str
    before: str
    after: str


@dataclass(frozen=True, eq=False)
class Repeated:
    """An evaluation and what came of repeating it.

    Attributes
    ----------
    differences : in what came out; empty where it came out the same.
    circumstances : what was otherwise this time (weights, libraries, device), which may be the reason.
    """

    before: Evaluation
    after: Evaluation
    differences: tuple[Difference, ...]
    circumstances: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        """Whether it came out the same."""
        return not self.differences


def repeat(before: Evaluation, shelf: Shelf, progress: Progress | None = None, model: str = "") -> Repeated:
    """Put the same trial to the same model again and take the same measures.

    Parameters
    ----------
    model : where the model is to be found, when its own name does not say (a folder that lies elsewhere now).

    Raises
    ------
    ModelError : the model cannot be found or loaded.
    """
    wanted: set[Wanted] = {"answer"}
    if before.uncertainty is not None:
        wanted.add("uncertainty")
    if before.attribution is not None:
        wanted.add("attention")
    with ExitStack() as held:
        vlm = held.enter_context(shelf.vlm(model or before.model.name, before.model.quantization, progress))
        entailment = settings = None
        if before.uncertainty is not None:
            settings = before.uncertainty.settings
            entailment = held.enter_context(shelf.entailment(settings.entailment_model, progress))
        after = evaluate(before.trial, vlm, before.decoding, wanted, entailment, settings, progress=progress)
    return Repeated(before, after, tuple(_differences(before, after)), tuple(_circumstances(before, after)))


def _differences(before: Evaluation, after: Evaluation) -> list[Difference]:
    found = []

    def text(what: str, first: str, second: str) -> None:
        if first != second:
            found.append(Difference(what, first, second))

    def value(what: str, first: float, second: float) -> None:
        if not (abs(first - second) <= TOLERANCE or (np.isnan(first) and np.isnan(second))):
            found.append(Difference(what, f"{first:.6g}", f"{second:.6g}"))

    text("Prompt", before.prompt, after.prompt)
    if before.answer is not None and after.answer is not None:
        text("Answer", before.answer.text, after.answer.text)
        value("Answer's mean log-likelihood", before.answer.mean_log_likelihood(), after.answer.mean_log_likelihood())
    first, second = before.uncertainty, after.uncertainty
    if first is not None and second is not None:
        for i, (old, new) in enumerate(zip(first.samples, second.samples, strict=False), start=1):
            text(f"Sample {i}", old.text, new.text)
        text("Number of samples", str(len(first.samples)), str(len(second.samples)))
        text("Clusters", _ids(first.semantic_ids), _ids(second.semantic_ids))
        value("Semantic entropy (nats)", first.semantic_entropy, second.semantic_entropy)
        value("Predictive entropy (nats)", first.predictive_entropy, second.predictive_entropy)
    elif first is not None:
        found.append(Difference("Uncertainty", "measured", "not measured"))
    seen, now = before.attribution, after.attribution
    if seen is not None and now is not None:
        for name, share in seen.absolute.items():
            value(f"Attention on the {name} (absolute)", share, now.absolute.get(name, float("nan")))
        if seen.heat_map.shape != now.heat_map.shape:
            found.append(Difference("Heat map", str(seen.heat_map.shape), str(now.heat_map.shape)))
        else:
            value("Heat map, largest difference", 0.0, float(np.abs(seen.heat_map - now.heat_map).max(initial=0.0)))
    elif seen is not None:
        found.append(Difference("Attention", "measured", "not measured"))
    return found


def _circumstances(before: Evaluation, after: Evaluation) -> list[Difference]:
    pairs = [
        (f"Model's {name.replace('_', ' ')}", str(value), after.model.to_json()[name])
        for name, value in before.model.to_json().items()
    ]
    names = [*before.versions, *(name for name in after.versions if name not in before.versions)]
    pairs += [(name, before.versions.get(name, "–"), after.versions.get(name, "–")) for name in names]
    return [Difference(what, first, str(second)) for what, first, second in pairs if first != str(second)]


def _ids(ids: tuple[int, ...]) -> str:
    return " ".join(map(str, ids))
