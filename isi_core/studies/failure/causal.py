"""Does an explanation name a cause? What to try with a finished benchmark, and what came out, as data.

The second criterion of *Why It Failed*: (i) inputs that the explanation calls risky should fail more often, (ii)
training on the slice it names should mend more than training on a random one, (iii) moving the activations along its
direction should change the answers more than moving them as far anywhere else.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from isi_core.domain.errors import InputError
from isi_core.measures.statistics import Interval
from isi_core.store.whole_file import write_whole
from isi_core.studies.failure.results import plain_json, read_interval

Part = Literal["steer", "inputs", "tune"]
PARTS: tuple[Part, ...] = get_args(Part)
Direction = Literal["towards success", "towards failure", "random"]
_FORMAT = 1


@dataclass(frozen=True)
class CausalPlan:
    """Every setting that shapes the numbers, beside those of the benchmark.

    Attributes
    ----------
    run : digest of the benchmark's plan.
    explainer : whose direction or score is put to the test.
    layer : which of its layers; None for the one that the validation cases chose.
    parts : what is tried.
    cases : test cases that are steered, and asked after training, at most.
    directions : random directions that stand beside the probe's.
    strengths : how far the activations are moved, in standard deviations of the training cases along the direction.
    inputs : new pictures of which each is shown in several ways; multiples of 12 keep scenes balanced.
    slice_size : inputs that are trained on, out of three times as many.
    steps : of training.
    """

    run: str
    explainer: str = "last-token-tuned"
    layer: int | None = None
    parts: tuple[Part, ...] = PARTS
    cases: int = 100
    directions: int = 19
    strengths: tuple[float, ...] = (4.0, 16.0)
    inputs: int = 48
    slice_size: int = 48
    steps: int = 30
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.parts or set(self.parts) - set(PARTS):
            raise InputError(f"What to try is among {', '.join(PARTS)}, at least one.")
        for name, least, most in (
            ("cases", 4, 10_000),
            ("directions", 2, 100),
            ("inputs", 4, 2_000),
            ("slice_size", 4, 2_000),
            ("steps", 1, 1_000),
            ("seed", 0, 2**31),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise InputError(f"{name} must be a whole number from {least} to {most:,}; got {str(value)[:40]}.")
        if not self.strengths or len(self.strengths) > 10 or not all(0 < s <= 1_000 for s in self.strengths):
            raise InputError("Strengths are up to ten numbers above 0 and at most 1,000, in standard deviations.")
        if not 0.0 < self.level < 1.0:
            raise InputError("The confidence level must lie between 0 and 1, such as 0.95.")

    @property
    def digest(self) -> str:
        """SHA-256 of every setting, in hex."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Steered:
    """What moving the activations did to the test cases.

    Attributes
    ----------
    direction : the probe's, towards success or failure; or random ones, over which everything is the mean.
    strength : in standard deviations of the training cases along the probe's direction; all move as far.
    accuracy : share of right answers, moved.
    change : of that share, against the same cases unmoved (paired bootstrap).
    changed : share of cases with another answer.
    mended, broken : share of the wrong answers that turned right, of the right ones that turned wrong.
    beyond_random : `change` minus that of the random directions; None for those.
    changed_beyond_random : the same of `changed`.
    p_value : (1 + random directions that change the accuracy at least as much) / (1 + their number); NaN for those.
    """

    direction: Direction
    strength: float
    accuracy: float
    change: Interval
    changed: Interval
    mended: float
    broken: float
    beyond_random: Interval | None
    changed_beyond_random: Interval | None
    p_value: float


@dataclass(frozen=True)
class Risk:
    """What became of inputs that an explainer calls risky.

    Attributes
    ----------
    n : pictures, each of which was shown in several ways.
    risky, random : share of failures, shown in the way that the explainer calls riskiest; in any of the ways.
    rise : the one minus the other, on the same pictures (paired bootstrap).
    ways : way to how often it was the riskiest.
    """

    explainer: str
    layer: int | None
    n: int
    risky: float
    random: float
    rise: Interval
    ways: dict[str, float]


@dataclass(frozen=True)
class Tuned:
    """What training on the slice that the explanation names did to the test cases, beside a random slice.

    Attributes
    ----------
    before, risky, random : share of right answers: untrained, trained on the riskiest inputs, on random ones.
    risky_gain, random_gain : against untrained; `beyond_random`: the one minus the other (Newcombe's paired interval).
    slice_failures, random_failures : share of the slice's inputs that the untrained model got wrong.
    loss : mean loss of the first and of the last quarter of the steps, on the risky slice, in nats.
    """

    n: int
    before: float
    risky: float
    random: float
    risky_gain: Interval
    random_gain: Interval
    beyond_random: Interval
    slice_failures: float
    random_failures: float
    loss: tuple[float, float]


@dataclass(frozen=True)
class CausalResult:
    """What was tried and what came of it.

    Attributes
    ----------
    layer : that was steered; None where nothing was.
    spread : standard deviation of the training cases along the direction, in the states' own units.
    accuracy : share of right answers of the steered cases as they are.
    skipped : part to why it could not be tried, in words.
    """

    plan: CausalPlan
    model: dict[str, Any]
    task: str
    layer: int | None
    spread: float
    n: int
    accuracy: float
    steering: tuple[Steered, ...]
    risk: tuple[Risk, ...]
    tuning: Tuned | None
    skipped: dict[str, str]
    seconds: dict[str, float]
    created: str

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values; numbers that are not known (NaN) are null."""
        return {"format": _FORMAT, **{f.name: plain_json(getattr(self, f.name)) for f in fields(self)}}

    @classmethod
    def from_json(cls, data: Any) -> CausalResult:
        """The result from `to_json`'s form.

        Raises
        ------
        InputError : it is none.
        """
        try:
            return _read(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError("These are not the results of a causal test: run it again.") from error


def save_causal(result: CausalResult, path: Path) -> None:
    """Write a result."""
    write_whole(path, json.dumps(result.to_json(), allow_nan=False))


def load_causal(path: Path) -> CausalResult:
    """A result from its file.

    Raises
    ------
    InputError : there is none, or it cannot be read.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise InputError("This causal test has no result that can be read: run it again.") from None
    return CausalResult.from_json(data)


def _read(data: dict[str, Any]) -> CausalResult:
    if data["format"] != _FORMAT:
        raise ValueError("format")
    given = {key: value for key, value in data.items() if key != "format"}
    plan = {**data["plan"], "parts": tuple(data["plan"]["parts"]), "strengths": tuple(data["plan"]["strengths"])}
    tuning = data["tuning"]
    return CausalResult(
        **{
            **given,
            "plan": CausalPlan(**plan),
            "spread": _number(data["spread"]),
            "accuracy": _number(data["accuracy"]),
            "steering": tuple(Steered(**_numbers(entry)) for entry in data["steering"]),
            "risk": tuple(Risk(**_numbers(entry)) for entry in data["risk"]),
            "tuning": tuning and Tuned(**{**_numbers(tuning), "loss": tuple(tuning["loss"])}),
        }
    )


_INTERVALS = (
    *("change", "changed", "beyond_random", "changed_beyond_random"),
    *("rise", "risky_gain", "random_gain"),
)
_KNOWN_NUMBERS = ("p_value", "mended", "broken")


def _numbers(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry with its intervals and unknown numbers read."""
    found = dict(entry)
    for key, value in entry.items():
        if key in _INTERVALS and value is not None:
            found[key] = read_interval(value)
        elif key in _KNOWN_NUMBERS:
            found[key] = _number(value)
    return found


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
