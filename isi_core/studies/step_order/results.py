"""What the step-order study found, as data: JSON in, JSON out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from isi_core.domain.errors import InputError

Modality = Literal["v", "t", "vt"]
"""What the head sees beside the title: the two pictures, the two headlines, or both."""
MODALITIES: tuple[Modality, ...] = get_args(Modality)
MODALITY_NAMES: dict[str, str] = {"v": "vision", "t": "text", "vt": "vision + text"}
ALL = "all"
"""Category of a row over every pair."""
FORMAT = 1


@dataclass(frozen=True)
class CategoryAccuracy:
    """How often an encoder, fine-tuned on one modality, got the order right in one category.

    Attributes
    ----------
    kind : what decides this category: picture, words or both; "" where it is not known (a user's articles).
    accuracy : share of `n` pairs, in [0, 1]; chance is 0.5.
    low, high : Wilson interval, 95 %.
    """

    encoder: str
    modality: Modality
    category: str
    kind: str
    accuracy: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CategoryAccuracy:
        """The row from `to_json`'s form; `InputError` where it is none."""
        try:
            if data["modality"] not in MODALITIES:
                raise ValueError("modality")
            return cls(
                str(data["encoder"]),
                data["modality"],
                str(data["category"]),
                str(data["kind"]),
                float(data["accuracy"]),
                float(data["low"]),
                float(data["high"]),
                int(data["n"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable("accuracy row", error) from None


@dataclass(frozen=True)
class PairVerdict:
    """What one fine-tuned encoder said of one pair.

    Attributes
    ----------
    idx : the pair's own number, unique within its split.
    label : 1 where the pair is in order, 0 where it is reversed.
    in_order : probability of "in order", in [0, 1].
    """

    idx: int
    category: str
    label: int
    in_order: float

    @property
    def right(self) -> bool:
        """The verdict is the truth."""
        return (self.in_order >= 0.5) == bool(self.label)


@dataclass(frozen=True)
class ModalityComparison:
    """Vision + text against one modality on the same pairs: exact McNemar test.

    Attributes
    ----------
    other : v or t.
    difference : accuracy of vt minus that of the other.
    only_vt, only_other : pairs that only the one or the other got right.
    p : two-sided.
    """

    encoder: str
    category: str
    other: Modality
    difference: float
    only_vt: int
    only_other: int
    p: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModalityComparison:
        """The comparison from `to_json`'s form; `InputError` where it is none."""
        rebuilt: ModalityComparison = _rebuild(cls, data)
        return rebuilt


@dataclass(frozen=True)
class CurvePoint:
    """Where a training was after some steps.

    Attributes
    ----------
    epoch : passes over the training pairs, fractional.
    loss : mean cross entropy (nats) of the training pairs since the point before.
    accuracy : on those pairs, in [0, 1].
    validation_loss, validation_accuracy : on the validation pairs; None between validations.
    """

    step: int
    epoch: float
    loss: float
    accuracy: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None


@dataclass(frozen=True)
class TrainingCurve:
    """One fine-tuning's course.

    Attributes
    ----------
    category : the one it was trained on, or "all".
    best_step : whose weights were kept: the best validation accuracy, ties to the lower validation loss.
    seconds, cpu_seconds : wall and processor time.
    skipped : problems met on the way (a damaged picture), each named once.
    skipped_pairs : how many pairs were left out for them.
    ended : finished, early stop, or out of time.
    """

    encoder: str
    modality: Modality
    category: str
    seed: int
    points: tuple[CurvePoint, ...]
    best_step: int
    seconds: float
    cpu_seconds: float
    skipped: tuple[str, ...] = ()
    skipped_pairs: int = 0
    ended: str = "finished"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrainingCurve:
        """The curve from `to_json`'s form; `InputError` where it is none."""
        try:
            values = dict(data)
            values["points"] = tuple(CurvePoint(**point) for point in values["points"])
            values["skipped"] = tuple(str(line) for line in values.get("skipped", ()))
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable("training curve", error) from None
        rebuilt: TrainingCurve = _rebuild(cls, values)
        return rebuilt


@dataclass(frozen=True)
class CategoryGap:
    """The two modalities' clouds of one category, or of all of them, at one moment.

    Features are L2-normalized projections, one text (headline) and one image a step.

    Attributes
    ----------
    n : steps.
    distance : between the centroids of text and image, the modality gap of Liang et al. (2022), in [0, 2].
    true_cosine : mean cosine of a step's own headline and image.
    random_cosine : mean cosine over all headlines with all images of other steps.
    text_rank, image_rank : effective rank of the cloud (Roy & Vetterli, 2007): exp of the entropy of its
        normalized singular values after centering; 1 is a collapse to a line.
    text_centroid, image_centroid : on the two axes of `GapResult`.
    """

    category: str
    n: int
    distance: float
    true_cosine: float
    random_cosine: float
    text_rank: float
    image_rank: float
    text_centroid: tuple[float, float]
    image_centroid: tuple[float, float]


@dataclass(frozen=True)
class GapMoment:
    """Both clouds before or after fine-tuning.

    Attributes
    ----------
    whole : over every category; its `category` is "all".
    categories : one row a category.
    labels : the category of each point, (points,).
    text, image : PCA coordinates of each point, (points, 2) as nested tuples; at most `MAX_POINTS`.
    """

    whole: CategoryGap
    categories: tuple[CategoryGap, ...]
    labels: tuple[str, ...]
    text: tuple[tuple[float, float], ...]
    image: tuple[tuple[float, float], ...]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GapMoment:
        """The moment from plain values."""
        return cls(
            _gap_row(data["whole"]),
            tuple(_gap_row(row) for row in data["categories"]),
            tuple(str(label) for label in data["labels"]),
            tuple(_pair(point) for point in data["text"]),
            tuple(_pair(point) for point in data["image"]),
        )


@dataclass(frozen=True)
class ShiftPoint:
    """Both modalities moved along the gap vector and normalized anew (Liang et al., 2022, section 5).

    Attributes
    ----------
    amount : the λ: 0 is as it was, 0.5 a side closes the gap, negative widens it.
    distance : between the centroids then.
    accuracy : of the fine-tuned head on the moved features; None before fine-tuning.
    moment : before or after fine-tuning.
    matching : zero-shot: of the pairs, those whose headlines match their own pictures better than the exchanged ones,
        by the sum of cosines; chance is 0.5. None in results of earlier versions, as the rest.
    retrieval : zero-shot: share of headlines whose own picture is the nearest of ten; chance is 0.1.
    true_cosine, random_cosine : mean cosine of true pairs and of random pairs then.
    """

    amount: float
    distance: float
    accuracy: float | None
    moment: str = "after"
    matching: float | None = None
    retrieval: float | None = None
    true_cosine: float | None = None
    random_cosine: float | None = None


@dataclass(frozen=True)
class GapResult:
    """The modality gap of one encoder before and after fine-tuning, drawn on the same two axes.

    Attributes
    ----------
    encoder : its name.
    modality : what it was fine-tuned on; None where there is no `after`.
    before : as it was pre-trained.
    after : fine-tuned; None where only one checkpoint was asked for.
    explained : shares of the variance on the two axes, of all clouds together.
    shift : both moments under the shift, each by λ; empty where none was asked for.
    """

    encoder: str
    modality: Modality | None
    before: GapMoment
    after: GapMoment | None
    explained: tuple[float, float]
    shift: tuple[ShiftPoint, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GapResult:
        """The result from `to_json`'s form; `InputError` where it is none."""
        try:
            _check_format(data)
            return cls(
                str(data["encoder"]),
                data["modality"],
                GapMoment.from_json(data["before"]),
                GapMoment.from_json(data["after"]) if data["after"] else None,
                _pair(data["explained"]),
                tuple(ShiftPoint(**point) for point in data.get("shift", ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable("modality gap", error) from None


@dataclass(frozen=True)
class GridResult:
    """Encoders × modalities, trained and tested on the same pairs.

    Attributes
    ----------
    data : name of the articles.
    accuracies : a row an encoder, modality and category, with one over "all" categories.
    comparisons : vision + text against each single modality.
    curves : one a training.
    settings : everything that shaped it, plain values.
    created : ISO 8601, UTC.
    complete : every training and test that was asked for is in it.
    """

    data: str
    accuracies: tuple[CategoryAccuracy, ...]
    comparisons: tuple[ModalityComparison, ...]
    curves: tuple[TrainingCurve, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    complete: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "format": FORMAT,
            "data": self.data,
            "accuracies": [row.to_json() for row in self.accuracies],
            "comparisons": [row.to_json() for row in self.comparisons],
            "curves": [curve.to_json() for curve in self.curves],
            "settings": dict(self.settings),
            "created": self.created,
            "complete": self.complete,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GridResult:
        """The result from `to_json`'s form; `InputError` where it is none."""
        try:
            _check_format(data)
            return cls(
                str(data["data"]),
                tuple(CategoryAccuracy.from_json(row) for row in data["accuracies"]),
                tuple(ModalityComparison.from_json(row) for row in data["comparisons"]),
                tuple(TrainingCurve.from_json(curve) for curve in data["curves"]),
                dict(data["settings"]),
                str(data["created"]),
                bool(data["complete"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable("grid", error) from None


def _check_format(data: Mapping[str, Any]) -> None:
    if data["format"] != FORMAT:
        raise InputError(f"This result is of a newer form ({data['format']}): update ISI Studio to read it.")


def _pair(values: Any) -> tuple[float, float]:
    first, second = (float(value) for value in values)
    if not (math.isfinite(first) and math.isfinite(second)):
        raise ValueError("not a finite number")
    return first, second


def _gap_row(data: Mapping[str, Any]) -> CategoryGap:
    values = dict(data)
    for name in ("text_centroid", "image_centroid"):
        values[name] = _pair(values[name])
    return CategoryGap(**values)


def _rebuild(kind: Any, data: Mapping[str, Any]) -> Any:
    try:
        if data["modality" if "modality" in data else "other"] not in MODALITIES:
            raise ValueError("modality")
        return kind(**data)
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable("step-order result", error) from None


def _unreadable(what: str, error: Exception) -> InputError:
    return InputError(f"This {what} cannot be read ({type(error).__name__}: {error}): make it again.")
