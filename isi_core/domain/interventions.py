"""Interventions: one change to a trial's inputs, as data.

Places and sizes are fractions of the picture (x of its width, y of its height, widths
and text sizes of its shorter side), so that a drawing made on one picture can be put
on another of any resolution. Colours are `#rrggbb`. Every intervention is
deterministic: what is random carries its own seed.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

from isi_core.domain.errors import InputError

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


def _check_fractions(intervention: Any, *names: str) -> None:
    for name in names:
        value = getattr(intervention, name)
        if not isinstance(value, (int, float)) or not math.isfinite(value) or not -1.0 <= value <= 2.0:
            raise InputError(
                f"{intervention.type}: {name} must be a fraction of the picture, such as 0.5; got {value!r}."
            )


def _check_range(intervention: Any, name: str, low: float, high: float) -> None:
    value = getattr(intervention, name)
    if not isinstance(value, (int, float)) or not math.isfinite(value) or not low <= value <= high:
        raise InputError(f"{intervention.type}: {name} must lie between {low:g} and {high:g}; got {value!r}.")


def _check_seed(intervention: Any) -> None:
    seed = intervention.seed
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"{intervention.type}: the seed must be a whole number of at least 0; got {seed!r:.60}.")


def _check_colour(intervention: Any) -> None:
    if not isinstance(intervention.colour, str) or not _COLOUR.fullmatch(intervention.colour):
        raise InputError(f"{intervention.type}: the colour must look like #ff8800; got {intervention.colour!r}.")


@dataclass(frozen=True)
class Box:
    """A rectangle, filled or outlined; (left, top) and (right, bottom) corners."""

    type: ClassVar[str] = "box"
    left: float
    top: float
    right: float
    bottom: float
    colour: str = "#d55e00"
    filled: bool = False
    opacity: float = 1.0
    width: float = 0.01

    def __post_init__(self) -> None:
        _check_fractions(self, "left", "top", "right", "bottom")
        _check_range(self, "opacity", 0, 1)
        _check_range(self, "width", 0, 1)
        _check_colour(self)


@dataclass(frozen=True)
class TextLabel:
    """Words written on the picture; (x, y) is their top left corner."""

    type: ClassVar[str] = "text"
    x: float
    y: float
    text: str
    colour: str = "#d55e00"
    size: float = 0.06

    def __post_init__(self) -> None:
        _check_fractions(self, "x", "y")
        _check_range(self, "size", 0.005, 1)
        _check_colour(self)
        if not isinstance(self.text, str) or len(self.text) > 500:
            raise InputError("A text label holds at most 500 characters: shorten it.")


@dataclass(frozen=True)
class Arrow:
    """A straight arrow from (x1, y1) to its head at (x2, y2)."""

    type: ClassVar[str] = "arrow"
    x1: float
    y1: float
    x2: float
    y2: float
    colour: str = "#d55e00"
    width: float = 0.01
    head: float = 0.04

    def __post_init__(self) -> None:
        _check_fractions(self, "x1", "y1", "x2", "y2")
        _check_range(self, "width", 0, 1)
        _check_range(self, "head", 0, 1)
        _check_colour(self)


@dataclass(frozen=True)
class Freehand:
    """A freehand stroke through points ((x, y), ...)."""

    type: ClassVar[str] = "freehand"
    points: tuple[tuple[float, float], ...]
    colour: str = "#d55e00"
    width: float = 0.01

    def __post_init__(self) -> None:
        try:
            points = tuple((float(x), float(y)) for x, y in self.points)
        except (TypeError, ValueError):
            raise InputError("freehand: points must be pairs of fractions, such as [[0.1, 0.2], [0.3, 0.4]].") from None
        if not 1 <= len(points) <= 20_000 or not all(math.isfinite(v) and -1 <= v <= 2 for p in points for v in p):
            raise InputError("freehand: give 1 to 20,000 points, each a pair of fractions of the picture.")
        object.__setattr__(self, "points", points)
        _check_range(self, "width", 0, 1)
        _check_colour(self)


@dataclass(frozen=True)
class GaussianNoise:
    """Independent Gaussian noise on every pixel and channel; sigma in grey levels of 255."""

    type: ClassVar[str] = "gaussian_noise"
    sigma: float
    seed: int = 0

    def __post_init__(self) -> None:
        _check_range(self, "sigma", 0, 255)
        _check_seed(self)


@dataclass(frozen=True)
class Blur:
    """Gaussian blur of a rectangle; `radius` is the standard deviation, of the shorter side."""

    type: ClassVar[str] = "blur"
    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0
    radius: float = 0.03

    def __post_init__(self) -> None:
        _check_fractions(self, "left", "top", "right", "bottom")
        _check_range(self, "radius", 0, 0.5)


@dataclass(frozen=True)
class Occlusion:
    """A rectangle painted over with one flat colour, grey by default."""

    type: ClassVar[str] = "occlusion"
    left: float
    top: float
    right: float
    bottom: float
    colour: str = "#808080"

    def __post_init__(self) -> None:
        _check_fractions(self, "left", "top", "right", "bottom")
        _check_colour(self)


@dataclass(frozen=True)
class ImagePreset:
    """Which picture: the natural one, the annotated one, or another observation's by seed."""

    type: ClassVar[str] = "image_preset"
    kind: Literal["natural", "annotated", "random"]
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("natural", "annotated", "random"):
            raise InputError(f"image_preset: kind must be natural, annotated or random; got {self.kind!r}.")
        _check_seed(self)


@dataclass(frozen=True)
class ContextPreset:
    """Which context: none, the observation's own, or another one's complementary by seed."""

    type: ClassVar[str] = "context_preset"
    kind: Literal["none", "complementary", "contradictory", "random"]
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("none", "complementary", "contradictory", "random"):
            raise InputError(
                f"context_preset: kind must be none, complementary, contradictory or random; got {self.kind!r}."
            )
        _check_seed(self)


@dataclass(frozen=True)
class QuestionPreset:
    """Which question: the observation's own or another one's by seed."""

    type: ClassVar[str] = "question_preset"
    kind: Literal["original", "random"]
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("original", "random"):
            raise InputError(f"question_preset: kind must be original or random; got {self.kind!r}.")
        _check_seed(self)


@dataclass(frozen=True)
class EditText:
    """A context or question in the user's own words."""

    type: ClassVar[str] = "edit_text"
    field: Literal["context", "question"]
    text: str

    def __post_init__(self) -> None:
        if self.field not in ("context", "question"):
            raise InputError(f"edit_text: field must be context or question; got {self.field!r}.")
        if not isinstance(self.text, str):
            raise InputError("edit_text: text must be a string.")


PictureIntervention = Box | TextLabel | Arrow | Freehand | GaussianNoise | Blur | Occlusion
Preset = ImagePreset | ContextPreset | QuestionPreset
Intervention = PictureIntervention | Preset | EditText

TYPES: dict[str, type[Any]] = {
    kind.type: kind
    for kind in (
        Box,
        TextLabel,
        Arrow,
        Freehand,
        GaussianNoise,
        Blur,
        Occlusion,
        ImagePreset,
        ContextPreset,
        QuestionPreset,
        EditText,
    )
}


def to_json(intervention: Intervention) -> dict[str, Any]:
    """An intervention as `{"type": ..., ...}` with plain JSON values."""
    return {"type": intervention.type, **asdict(intervention)}


def from_json(data: Any) -> Intervention:
    """An intervention from `to_json`'s form.

    Raises
    ------
    InputError : the type is unknown, a field is missing, unknown or out of range.
    """
    if not isinstance(data, dict) or data.get("type") not in TYPES:
        kind = data.get("type") if isinstance(data, dict) else data
        raise InputError(f"Unknown intervention {kind!r}: use one of {', '.join(sorted(TYPES))}.")
    kind = TYPES[data["type"]]
    values = {name: value for name, value in data.items() if name != "type"}
    unknown = set(values) - {f.name for f in fields(kind)}
    if unknown:
        raise InputError(f"{data['type']}: unknown field {', '.join(sorted(unknown))}.")
    try:
        made: Intervention = kind(**values)
    except TypeError as error:
        raise InputError(f"{data['type']}: {str(error).split('__init__() ')[-1]}.") from None
    return made
