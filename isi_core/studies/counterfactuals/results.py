"""What a ranking found, as data: JSON in, JSON out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from isi_core.domain.attributes import Attribute, Corpus, Edit, EditSet
from isi_core.domain.errors import InputError
from isi_core.measures.statistics import Interval
from isi_core.studies.counterfactuals.edit_checks import MISSING, NOT_APPLICABLE, STILL_THERE, EditQuality


@dataclass(frozen=True)
class Delta:
    """What one edit of one picture did to the score.

    Attributes
    ----------
    picture : digest of the picture; `Result.pictures` tells its name.
    base : score of the base (the reconstruction, or the original).
    score : score of the edited picture.
    reasons : why the edit is flagged, in words; empty where it is valid. A flagged one enters no mean.
    quality : what the checks measured of it.
    """

    picture: str
    base: float
    score: float
    reasons: tuple[str, ...] = ()
    quality: EditQuality = field(default_factory=EditQuality)

    @property
    def valid(self) -> bool:
        """It enters the means."""
        return not self.reasons

    @property
    def change(self) -> float:
        """Edited minus base."""
        return self.score - self.base

    def to_json(self) -> list[Any]:
        """Picture, base, score, reasons and what the checks measured."""
        return [self.picture, self.base, self.score, list(self.reasons), self.quality.to_json()]

    @classmethod
    def from_json(cls, data: Sequence[Any]) -> Delta:
        """From `to_json`'s form; earlier ones had no measurements."""
        picture, base, score, reasons, *quality = data
        measured = EditQuality.from_json(quality[0]) if quality else EditQuality()
        return cls(str(picture), float(base), float(score), tuple(map(str, reasons)), measured)


@dataclass(frozen=True)
class SetQuality:
    """How well the edits of a set did what they say, the automatic form of DiffEx's edit quality and disentanglement.

    Attributes
    ----------
    done : share of the edits that had something to do whose attributes are read afterwards as they should be.
    ssim, pixels : means of structural similarity and of the share of changed pixels, outside the edited region.
    drift : mean share of other attributes that came or went.
    Each is None where none of the edits could be measured so.
    """

    done: float | None
    ssim: float | None
    pixels: float | None
    drift: float | None


@dataclass(frozen=True)
class SetResult:
    """One edit set (an attribute, or several made together) over the pictures.

    Attributes
    ----------
    edits : what was done to each picture.
    influence : I(s), mean of |delta| over the valid edits (DiffEx, eq. 1); NaN without any.
    signed : mean of delta with its bootstrap interval.
    floor : the influence that edits which should do nothing have on the same pictures (`Result.no_op`).
    f : the mean score of the edited pictures (eq. 2).
    deltas : every picture's, the flagged too, in the order of the pictures.
    """

    edits: EditSet
    influence: float
    signed: Interval
    floor: float
    f: float
    deltas: tuple[Delta, ...]

    @property
    def attribute(self) -> Attribute:
        """The attribute of a set of one edit; the first of a joint one."""
        return self.edits[0].attribute

    @property
    def images(self) -> int:
        """Pictures that were edited."""
        return len(self.deltas)

    @property
    def valid(self) -> int:
        """Edits that enter the means."""
        return sum(delta.valid for delta in self.deltas)

    @property
    def flagged(self) -> dict[str, int]:
        """Why edits were left out, and how many for each reason."""
        counts: dict[str, int] = {}
        for delta in self.deltas:
            for reason in delta.reasons:
                counts[reason] = counts.get(reason, 0) + 1
        return counts

    @property
    def quality(self) -> SetQuality:
        """Means over the edits that had something to do, the flagged among them too."""
        some = [delta for delta in self.deltas if not NOT_APPLICABLE.intersection(delta.reasons)]
        read = [delta for delta in some if any(p is not None for p in delta.quality.after)]

        def mean(values: Sequence[float | None]) -> float | None:
            known = [value for value in values if value is not None]
            return math.fsum(known) / len(known) if known else None

        return SetQuality(
            mean([float(not {MISSING, STILL_THERE}.intersection(delta.reasons)) for delta in read]),
            mean([delta.quality.ssim for delta in some]),
            mean([delta.quality.pixels for delta in some]),
            mean([delta.quality.drift for delta in some]),
        )

    @property
    def ranked(self) -> bool:
        """Enough of its edits are valid; otherwise it is shown apart, not among the ranked."""
        return enough_valid(self.deltas)

    @property
    def significant(self) -> bool:
        """The interval of the signed mean leaves out zero."""
        return self.signed.bounded and not self.signed.low <= 0.0 <= self.signed.high

    def to_json(self) -> dict[str, Any]:
        """The result under the command line's keys, with every delta."""
        return {
            "attribute": self.attribute.to_json() if len(self.edits) == 1 else None,
            "edits": [edit.to_json() for edit in self.edits],
            "influence": _plain(self.influence),
            "signed": _plain(self.signed.estimate),
            "low": _plain(self.signed.low),
            "high": _plain(self.signed.high),
            "level": self.signed.level,
            "floor": _plain(self.floor),
            "f": _plain(self.f),
            "images": self.images,
            "edits_valid": self.valid,
            "flagged": self.flagged,
            "ranked": self.ranked,
            "quality": asdict(self.quality),
            "deltas": [delta.to_json() for delta in self.deltas],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SetResult:
        """The result from `to_json`'s form."""
        deltas = tuple(map(Delta.from_json, data["deltas"]))
        signed = Interval(
            _number(data["signed"]),
            _number(data["low"]),
            _number(data["high"]),
            float(data["level"]),
            sum(d.valid for d in deltas),
        )
        return cls(
            edits=tuple(Edit.from_json(edit) for edit in data["edits"]),
            influence=_number(data["influence"]),
            signed=signed,
            floor=_number(data["floor"]),
            f=_number(data["f"]),
            deltas=deltas,
        )


@dataclass(frozen=True)
class JointResult:
    """Attributes of different branches edited together.

    Attributes
    ----------
    whole : the joint edit.
    parts : signed mean of each edit alone, in the order of `whole.edits`.
    interaction : signed mean of joint minus sum of parts over the pictures where all are valid, with its bootstrap
        interval: zero where the classifier adds the attributes up.
    """

    whole: SetResult
    parts: tuple[float, ...]
    interaction: Interval

    def to_json(self) -> dict[str, Any]:
        """The whole's keys, with `attributes`, `parts` and `interaction`."""
        return {
            **self.whole.to_json(),
            "attributes": [edit.attribute.to_json() for edit in self.whole.edits],
            "parts": [_plain(part) for part in self.parts],
            "interaction": _plain(self.interaction.estimate),
            "interaction_low": _plain(self.interaction.low),
            "interaction_high": _plain(self.interaction.high),
            "interaction_n": self.interaction.n,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> JointResult:
        """The result from `to_json`'s form."""
        whole = SetResult.from_json(data)
        interaction = Interval(
            _number(data["interaction"]),
            _number(data["interaction_low"]),
            _number(data["interaction_high"]),
            whole.signed.level,
            int(data["interaction_n"]),
        )
        return cls(whole, tuple(_number(part) for part in data["parts"]), interaction)


@dataclass(frozen=True)
class Cost:
    """What a ranking took.

    Attributes
    ----------
    edits : edits asked for: one a picture and edit set, reconstructions and no-op edits apart.
    edits_made : those that an editor made now; the others were in the edit bank.
    denoiser_evaluations : forward passes of a denoiser, now, inversions and reconstructions included.
    seconds : wall time.
    """

    edits: int
    edits_made: int
    denoiser_evaluations: int
    seconds: float


@dataclass(frozen=True)
class Result:
    """A whole ranking.

    Attributes
    ----------
    settings : everything that shaped it (`Settings.to_json`), with the records of editor and classifier.
    corpus : the hierarchy that was searched.
    class_label : the class that was scored.
    pictures : (digest, name) of each picture, in order.
    sets : every single attribute that was looked at, strongest first; `ranking` and `apart` are its two parts. After
        a race its winners come first: means over few pictures do not outrank them.
    joint : joint edits, strongest first.
    best : the best edit set ever seen by the search; () where nothing reached the threshold.
    no_op : what edits that should do nothing did; their influence is the floor.
    reconstruction : effect of the editor's reconstruction alone (reconstruction minus original).
    turned : (from class, to class, edit set) -> pictures whose most probable class it changed so.
    per_class : for classifiers of three classes or more, each class's ranking by the same edits, strongest first.
    cost : what it took.
    stopped : the search had not ended; what is here had been finished by then.
    history : how the search went: a line a step, for a person.
    raced : the sets that won a race, strongest first; () without one, or before it has ended.
    opposite : the strongest joint edit with the other sign, and each of its parts so; () where that was not made.
    """

    settings: Mapping[str, Any]
    corpus: Corpus
    class_label: str
    pictures: tuple[tuple[str, str], ...]
    sets: tuple[SetResult, ...]
    joint: tuple[JointResult, ...]
    best: EditSet
    no_op: SetResult | None
    reconstruction: SetResult | None
    turned: tuple[Turned, ...]
    cost: Cost
    per_class: Mapping[str, tuple[SetResult, ...]] = field(default_factory=dict)
    stopped: bool = False
    history: tuple[str, ...] = field(default=())
    raced: tuple[EditSet, ...] = ()
    opposite: tuple[SetResult, ...] = ()

    @property
    def ranking(self) -> tuple[SetResult, ...]:
        """Attributes whose edits did what they say on at least half of the pictures, strongest first."""
        return tuple(found for found in self.sets if found.ranked)

    @property
    def apart(self) -> tuple[SetResult, ...]:
        """Attributes whose edits mostly failed: flagged, and not in the ranking."""
        return tuple(found for found in self.sets if not found.ranked)

    def of(self, attribute: Attribute) -> SetResult | None:
        """What was found for an attribute; None where the search did not come to it."""
        return next((found for found in self.sets if found.attribute == attribute), None)

    def children(self, attribute: Attribute | None = None) -> tuple[SetResult, ...]:
        """What was found one level below an attribute (level 1 for None), strongest first: the tree of the results."""
        wanted = set(self.corpus.children(attribute))
        return tuple(found for found in self.sets if found.attribute in wanted)

    def to_json(self) -> dict[str, Any]:
        """The result with the command line's keys: ranking, joint, edits, denoiser_evaluations, seconds and more."""
        return {
            "ranking": [found.to_json() for found in self.ranking],
            "apart": [found.to_json() for found in self.apart],
            "joint": [found.to_json() for found in self.joint],
            "best": [edit.to_json() for edit in self.best],
            "no_op": self.no_op.to_json() if self.no_op else None,
            "reconstruction": self.reconstruction.to_json() if self.reconstruction else None,
            "turned": [turned.to_json() for turned in self.turned],
            "per_class": {label: [found.to_json() for found in sets] for label, sets in self.per_class.items()},
            "class": self.class_label,
            "pictures": [list(picture) for picture in self.pictures],
            "corpus": self.corpus.to_json(),
            "settings": dict(self.settings),
            **asdict(self.cost),
            "stopped": self.stopped,
            "history": list(self.history),
            "opposite": [found.to_json() for found in self.opposite],
            "raced": [[edit.to_json() for edit in edits] for edits in self.raced],
        }

    @classmethod
    def from_json(cls, data: Any) -> Result:
        """The result from `to_json`'s form.

        Raises
        ------
        InputError : it is not of that form.
        """
        try:
            sets = [SetResult.from_json(found) for found in (*data["ranking"], *data["apart"])]
            raced = tuple(tuple(Edit.from_json(edit) for edit in edits) for edits in data.get("raced", ()))
            return cls(
                settings=dict(data["settings"]),
                corpus=Corpus.from_json(data["corpus"]),
                class_label=str(data["class"]),
                pictures=tuple((str(digest), str(name)) for digest, name in data["pictures"]),
                sets=strongest_first(sets, raced),
                joint=tuple(JointResult.from_json(found) for found in data["joint"]),
                best=tuple(Edit.from_json(edit) for edit in data["best"]),
                no_op=SetResult.from_json(data["no_op"]) if data["no_op"] else None,
                reconstruction=SetResult.from_json(data["reconstruction"]) if data["reconstruction"] else None,
                turned=tuple(Turned.from_json(turned) for turned in data["turned"]),
                cost=Cost(
                    int(data["edits"]),
                    int(data["edits_made"]),
                    int(data["denoiser_evaluations"]),
                    float(data["seconds"]),
                ),
                per_class={
                    str(label): tuple(SetResult.from_json(found) for found in sets)
                    for label, sets in data["per_class"].items()
                },
                stopped=bool(data["stopped"]),
                history=tuple(map(str, data["history"])),
                raced=raced,
                opposite=tuple(SetResult.from_json(found) for found in data.get("opposite", ())),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError("This is not the JSON of a ranking: give what `rank --json` wrote.") from None


@dataclass(frozen=True)
class Turned:
    """How many pictures an edit set turned from one most probable class into another.

    Attributes
    ----------
    of : pictures whose base was of `source` and whose edit is valid.
    """

    source: str
    target: str
    edits: EditSet
    count: int
    of: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "from": self.source,
            "to": self.target,
            "edits": [edit.to_json() for edit in self.edits],
            "count": self.count,
            "of": self.of,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Turned:
        """From `to_json`'s form."""
        edits = tuple(Edit.from_json(edit) for edit in data["edits"])
        return cls(str(data["from"]), str(data["to"]), edits, int(data["count"]), int(data["of"]))


def enough_valid(deltas: Sequence[Delta]) -> bool:
    """At least half of the edits that had something to do are valid, and at least one.

    An attribute that is there already (or, to be removed, not there) leaves an editor nothing to do.
    """
    valid = sum(delta.valid for delta in deltas)
    failed = sum(not delta.valid and not NOT_APPLICABLE.intersection(delta.reasons) for delta in deltas)
    return valid > 0 and valid >= failed


def strongest_first(sets: Sequence[SetResult], raced: Sequence[EditSet] = ()) -> tuple[SetResult, ...]:
    """The winners of a race, then by influence, what has none (NaN) last; ties in the order of their paths."""
    won = {edits: place for place, edits in enumerate(raced)}

    def place(found: SetResult) -> tuple[int, float, EditSet]:
        strength = -found.influence if math.isfinite(found.influence) else math.inf
        return won.get(found.edits, len(won)), strength, found.edits

    return tuple(sorted(sets, key=place))


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
