"""What a repair did, as data: JSON in, JSON out; the paper's Table C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from isi_core.domain.errors import InputError
from isi_core.measures.statistics import Interval, mean_interval

Arm = Literal["before", "with counterfactuals", "with further pictures"]
ARMS: tuple[Arm, ...] = ("before", "with counterfactuals", "with further pictures")


@dataclass(frozen=True)
class Trial:
    """One seed: by arm and group the accuracy (0 to 1), and how many counterfactuals could be made."""

    seed: int
    made: int
    accuracy: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class RepairResult:
    """What a repair did.

    Attributes
    ----------
    settings : of task, repair, classifier and editor.
    sizes : pictures behind each group's accuracy.
    start : by group, the accuracy of the classifier as it came; None where it began with fresh weights
        or a new head.
    trials : one a seed.
    """

    settings: Mapping[str, Any]
    sizes: Mapping[str, int]
    start: Mapping[str, float] | None
    trials: tuple[Trial, ...]
    seconds: float

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that were fitted."""
        return tuple(arm for arm in ARMS if all(arm in trial.accuracy for trial in self.trials))

    def accuracy(self, arm: str, group: str) -> Interval:
        """The mean over the seeds with Student's interval."""
        return mean_interval([trial.accuracy[arm][group] for trial in self.trials])

    def change(self, arm: str, group: str) -> Interval:
        """The mean over the seeds of an arm's accuracy minus that before."""
        return mean_interval([t.accuracy[arm][group] - t.accuracy["before"][group] for t in self.trials])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with the means and intervals beside each seed's numbers."""
        return {
            "settings": dict(self.settings),
            "sizes": dict(self.sizes),
            "start": None if self.start is None else dict(self.start),
            "trials": [
                {"seed": t.seed, "made": t.made, "accuracy": {arm: dict(a) for arm, a in t.accuracy.items()}}
                for t in self.trials
            ],
            "accuracy": {arm: {g: self.accuracy(arm, g).to_json() for g in self.sizes} for arm in self.arms},
            "change": {arm: {g: self.change(arm, g).to_json() for g in self.sizes} for arm in self.arms[1:]},
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, data: Any) -> RepairResult:
        """What `to_json` wrote.

        Raises
        ------
        InputError : it is something else.
        """
        try:
            trials = tuple(
                Trial(
                    int(t["seed"]),
                    int(t["made"]),
                    {str(arm): {str(g): float(v) for g, v in a.items()} for arm, a in t["accuracy"].items()},
                )
                for t in data["trials"]
            )
            start = data["start"]
            return cls(
                dict(data["settings"]),
                {str(group): int(size) for group, size in data["sizes"].items()},
                None if start is None else {str(g): float(v) for g, v in start.items()},
                trials,
                float(data["seconds"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError("This is no result of a repair: give what `repair --json` wrote.") from None


def repair_rows(result: RepairResult) -> Sequence[dict[str, Any]]:
    """The paper's Table C: one row a group, the arms' accuracies and their change; shares of 0 to 1."""
    rows = []
    for group in result.sizes:
        row: dict[str, Any] = {"group": group, "pictures": result.sizes[group]}
        for arm in result.arms:
            found = result.accuracy(arm, group)
            row |= {arm: found.estimate, f"{arm}, low": found.low, f"{arm}, high": found.high}
        for arm in result.arms[1:]:
            found = result.change(arm, group)
            name = f"{arm}, change"
            row |= {name: found.estimate, f"{name} low": found.low, f"{name} high": found.high}
        rows.append(row)
    return rows
