"""What stored runs say about each observation of a dataset: verdicts, entropy, attention, what flips the answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from isi_core.domain.observation import Dataset
from isi_core.store.run_search import runs_of
from isi_core.store.runs import Store, StoredRun


@dataclass(frozen=True)
class Observed:
    """The runs of one observation under plain presets; of each condition the newest that measured most.

    Attributes
    ----------
    by_condition : by (image kind, context kind).
    """

    by_condition: dict[tuple[str, str], StoredRun]

    def run(self, image: str = "natural", context: str = "none") -> StoredRun | None:
        """The run under a condition."""
        return self.by_condition.get((image, context))

    @property
    def flipped(self) -> bool | None:
        """Whether the contradictory context turns the verdict on the natural picture; None where not both were asked.

        A verdict is turned when yes becomes no or no becomes yes; an unclear one turns nothing.
        """
        before, after = self.run(), self.run(context="contradictory")
        if before is None or after is None or before.verdict is None or after.verdict is None:
            return None
        return {before.verdict, after.verdict} == {"yes", "no"}


def judged(run: StoredRun) -> str:
    """right, wrong, unclear, or not judged."""
    if run.verdict is None or run.truth not in ("yes", "no"):
        return "not judged"
    if run.verdict == "unclear":
        return "unclear"
    return "right" if run.verdict == run.truth else "wrong"


def observe(store: Store, dataset: Dataset, model: str) -> dict[str, Observed]:
    """What a model's stored runs say, by observation id; observations without a run are not in it.

    A run counts only where its question is still the observation's own.

    Raises
    ------
    InputError : the database is damaged.
    """
    questions = {o.id: o.question for o in dataset.observations}
    found: dict[str, dict[tuple[str, str], StoredRun]] = {}
    for run in runs_of(store, dataset.name, model):
        if questions.get(run.observation_id) != run.question:
            continue
        conditions = found.setdefault(run.observation_id, {})
        key = (run.image_kind, run.context_kind)
        if key not in conditions or _measured(run) >= _measured(conditions[key]):
            conditions[key] = run
    return {observation: Observed(conditions) for observation, conditions in found.items()}


def disagreeing(observed: Iterable[dict[str, Observed]], image: str, context: str) -> set[str]:
    """Observations on which models come to both yes and no under a condition."""
    verdicts: dict[str, set[str]] = {}
    for model in observed:
        for observation, seen in model.items():
            run = seen.run(image, context)
            if run is not None and run.verdict in ("yes", "no"):
                verdicts.setdefault(observation, set()).add(str(run.verdict))
    return {observation for observation, found in verdicts.items() if len(found) == 2}


def _measured(run: StoredRun) -> int:
    return (run.semantic_entropy is not None) + (run.attention_image is not None)
