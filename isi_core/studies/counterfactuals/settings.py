"""The settings of a ranking, and what they can cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from isi_core.domain.attributes import Corpus
from isi_core.domain.errors import InputError
from isi_core.studies.counterfactuals.edit_checks import CheckSettings
from isi_core.studies.counterfactuals.effects import Base
from isi_core.studies.counterfactuals.scores import DIRECTIONS, SCALES, Direction, Scale

Search = Literal["beam", "greedy", "exhaustive", "racing"]
SEARCHES: tuple[Search, ...] = get_args(Search)

MOST_EDITS = 2_000_000
MATRIX = 5
"""Strongest branches whose best attributes are joined pair by pair, for the joint matrix."""


@dataclass(frozen=True)
class Settings:
    """Everything that shapes a ranking beside pictures, corpus, editor and classifier.

    Attributes
    ----------
    search : beam, greedy, exhaustive or racing.
    beam : nodes a step keeps.
    threshold : delta, in units of `scale`: a root group must move the score so far to be expanded.
    direction : which way the score is to go; `both` searches up and down.
    scale : log-odds of the class, its probability, or its logit.
    base : what edits are compared with; `original` gives eq. 1 as printed.
    joint : largest number of attributes edited together; 1 is none.
    top : racing: how many places are raced for.
    sign : +1 adds attributes, -1 removes them.
    both_signs : the strongest joint edit and its parts are made with the other sign too, for DiffEx's Figure 8.
    class_label : the class that is scored; "" is the second of two, else the one most pictures are of.
    level : of the intervals.
    seed : of edits and resampling.
    checks : when an edit counts as failed; None checks nothing.
    """

    search: Search = "beam"
    beam: int = 3
    threshold: float = 0.0
    direction: Direction = "both"
    scale: Scale = "log-odds"
    base: Base = "reconstruction"
    joint: int = 2
    top: int = 5
    sign: int = 1
    both_signs: bool = False
    class_label: str = ""
    level: float = 0.95
    seed: int = 0
    checks: CheckSettings | None = field(default_factory=CheckSettings)

    def __post_init__(self) -> None:
        for value, choices in (
            (self.search, SEARCHES),
            (self.direction, DIRECTIONS),
            (self.scale, SCALES),
            (self.base, get_args(Base)),
            (self.sign, (1, -1)),
        ):
            if value not in choices:
                raise InputError(f"{value!r:.40} is no choice here: choose from {', '.join(map(str, choices))}.")
        if not 1 <= self.beam <= 100 or not 1 <= self.joint <= 4 or self.top < 1:
            raise InputError("Beam width lies between 1 and 100, joint attributes between 1 and 4, top is at least 1.")
        if not np.isfinite(self.threshold) or not 0.0 < self.level < 1.0:
            raise InputError("The threshold must be a number and the level lie between 0 and 1.")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Estimate:
    """What a ranking can take at most.

    Attributes
    ----------
    sets : edit sets looked at.
    edits : edits, one a picture and set, with no-op edits.
    """

    sets: int
    edits: int


def estimate(corpus: Corpus, settings: Settings, pictures: int) -> Estimate:
    """Sets and edits that a ranking takes at most; what the bank holds and what racing saves come off."""
    roots = corpus.children()
    attributes, leaves = corpus.attributes(), corpus.leaves()
    widest = max(Counter(a.branch for a in attributes).values(), default=1) - 1
    pairs = min(MATRIX, len(roots)) * (min(MATRIX, len(roots)) - 1) // 2 if settings.joint > 1 else 0
    if settings.search == "racing":
        sets = len(leaves) + pairs
    elif settings.search == "exhaustive":
        by_branch = list(Counter(leaf.branch for leaf in leaves).values())
        sets = len(attributes) + _joint_count(by_branch, settings.joint)
    else:
        width = 1 if settings.search == "greedy" else settings.beam
        width *= 2 if settings.direction == "both" else 1  # a search up and one down
        down = width * widest
        # What a joint set is made of is looked at alone too, for the interaction.
        joint = (settings.joint - 1) * width * (len(roots) + down)
        sets = min(len(attributes), len(roots) + down + joint) + joint + pairs
    if settings.both_signs and settings.joint > 1:
        sets += settings.joint + 1
    return Estimate(sets, (sets + 1) * pictures)


def check_feasible(planned: Estimate) -> None:
    """Refuse what nobody could wait for.

    Raises
    ------
    InputError : more edits than `MOST_EDITS`.
    """
    if planned.edits > MOST_EDITS:
        raise InputError(
            f"This would take up to {planned.edits:,} edits: use beam search, fewer pictures or attributes."
        )


def _joint_count(by_branch: Sequence[int], most: int) -> int:
    """Number of sets of 2 to `most` leaves of different branches: elementary symmetric sums of the branch sizes."""
    sums = [1] + [0] * most
    for size in by_branch:
        for k in range(most, 0, -1):
            sums[k] += sums[k - 1] * size
    return sum(sums[2:])
