"""Human studies of a ranking (DiffEx, studies 1 and 2): blind, shuffled by a seed, the same again when resumed.

Study 1 shows a picture and its counterfactual with the attribute's name and asks for edit quality and disentanglement,
1 to 5. Among the pairs are a few whose name is that of another branch's attribute (a goatee is a beard and facial hair
too, so a name of its own branch may be right): whoever rates these high did not look.
Study 2 shows one explanation and asks which of four attributes the classifier listens to most. Each attribute comes
once a participant, with one of three explanations; from participant to participant the explanations change places, so
that nobody learns an answer from one of them and gives it under another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from isi_core.domain.attributes import Edit, EditSet
from isi_core.domain.errors import InputError
from isi_core.studies.counterfactuals.results import Result, SetResult

Kind = Literal["rating", "choice"]
METHODS = ("DiffEx", "Grad-CAM", "unlabeled counterfactuals")
OPTIONS = 4
MOST_ITEMS = 200
_FAR = 0.5
"""An attribute with at most this share of the right one's influence can stand beside it as a wrong answer."""


@dataclass(frozen=True)
class Item:
    """One question.

    Attributes
    ----------
    kind : rating (study 1) or choice (study 2).
    picture : digest of the picture that is shown.
    edits : what its counterfactual shows.
    words : the name that is shown with a rating; another attribute's for a control.
    method : the explanation that is shown (study 2); "" for a rating.
    options : four attributes, shuffled (study 2).
    truth : the option that the classifier listens to most (study 2).
    control : the name is another branch's (study 1).
    """

    kind: Kind
    picture: str
    edits: EditSet
    words: str
    method: str = ""
    options: tuple[str, ...] = ()
    truth: str = ""
    control: bool = False

    @property
    def id(self) -> str:
        """The same for the same question."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.kind,
            "picture": self.picture,
            "edits": [edit.to_json() for edit in self.edits],
            "words": self.words,
            "method": self.method,
            "options": list(self.options),
            "truth": self.truth,
            "control": self.control,
        }

    @classmethod
    def from_json(cls, data: Any) -> Item:
        """What `to_json` wrote; InputError where it is something else."""
        try:
            kind = data["kind"]
            if kind not in ("rating", "choice"):
                raise ValueError(kind)
            return cls(
                kind,
                str(data["picture"]),
                tuple(Edit.from_json(edit) for edit in data["edits"]),
                str(data["words"]),
                str(data["method"]),
                tuple(str(option) for option in data["options"]),
                str(data["truth"]),
                bool(data["control"]),
            )
        except (KeyError, TypeError, ValueError):
            raise InputError("This is no question of a human study.") from None


def rating_items(result: Result, participant: str, count: int = 20, controls: int = 2, seed: int = 0) -> list[Item]:
    """Pairs for study 1: ranked attributes in turn, each time another picture, controls among them, shuffled.

    Parameters
    ----------
    participant : whose order it is; the pairs are the same for everybody, so that ratings can be compared.
    count, controls : pairs in all, and how many of them are named wrongly; fewer where no other branch has a name.

    Raises
    ------
    InputError : a count out of its range, or no valid edit.
    """
    if not 1 <= count <= MOST_ITEMS or not 0 <= controls < count:
        raise InputError(f"A study has 1 to {MOST_ITEMS} pairs, fewer controls than pairs, and at least 0.")
    rng = Random(f"rating {seed}")
    pairs = [(found, delta.picture) for found in result.ranking for delta in found.deltas if delta.valid]
    if not pairs:
        raise InputError("No valid edit is there to be rated: rank attributes first, or look at what was flagged.")
    by_set: dict[EditSet, list[str]] = {}
    for found, picture in pairs:
        by_set.setdefault(found.edits, []).append(picture)
    for pictures in by_set.values():
        rng.shuffle(pictures)
    chosen: list[tuple[EditSet, str]] = []
    while len(chosen) < count and any(by_set.values()):
        chosen += [(edits, pictures.pop()) for edits, pictures in by_set.items() if pictures][: count - len(chosen)]
    others = {edits: _names_of_other_branches(result, edits) for edits in by_set}
    able = [number for number, (edits, _) in enumerate(chosen) if others[edits]]
    wrong = set(rng.sample(able, min(controls, len(able), len(chosen) - 1)))
    items = []
    for number, (edits, picture) in enumerate(chosen):
        words = rng.choice(others[edits]) if number in wrong else _words(edits)
        items.append(Item("rating", picture, edits, words, control=number in wrong))
    Random(f"{participant} {seed}").shuffle(items)
    return items


def choice_items(
    result: Result, participant: str, number: int, count: int = 12, methods: Sequence[str] = METHODS, seed: int = 0
) -> list[Item]:
    """Questions for study 2: the strongest attributes, each with one explanation and three weaker ones beside it.

    Parameters
    ----------
    number : the participant's, from 0; it turns which attribute is explained how.
    methods : the explanations that can be shown.

    Raises
    ------
    InputError : a number out of its range, or too few attributes that differ enough in influence.
    """
    if not 1 <= count <= MOST_ITEMS or not methods:
        raise InputError(f"A study has 1 to {MOST_ITEMS} questions and at least one kind of explanation.")
    items: list[Item] = []
    leaves = [f for f in result.ranking if any(d.valid for d in f.deltas)]
    for found in leaves:
        if len(items) == count:
            break
        rng = Random(f"choice {seed} {found.attribute.text}")
        beside = [
            other
            for other in leaves
            if other.influence <= _FAR * found.influence
            and other.attribute.branch != found.attribute.branch
            and other.attribute.level == found.attribute.level
        ]
        if len({other.attribute.text for other in beside}) < OPTIONS - 1:
            continue
        options = [found.attribute.text, *(o.attribute.text for o in rng.sample(beside, OPTIONS - 1))]
        rng.shuffle(options)
        # A picture on which the edit does what it does in the mean.
        deltas = sorted((d for d in found.deltas if d.valid), key=lambda d: -d.change * _sign(found))
        shown = deltas[: max(1, len(deltas) // 2)]
        place = len(items)
        items.append(
            Item(
                "choice",
                rng.choice(shown).picture,
                found.edits,
                _words(found.edits),
                methods[(place + number) % len(methods)],
                tuple(options),
                found.attribute.text,
            )
        )
    if not items:
        raise InputError(
            "This ranking has too few attributes that differ enough in influence for four answers: rank more of them."
        )
    Random(f"{participant} {seed}").shuffle(items)
    return items


def _names_of_other_branches(result: Result, edits: EditSet) -> list[str]:
    """Names that these edits cannot go by: of attributes that share no branch with them, strongest first."""
    branches, own = {edit.attribute.branch for edit in edits}, _words(edits)
    names = (
        _words(found.edits)
        for found in result.ranking
        if branches.isdisjoint(edit.attribute.branch for edit in found.edits)
    )
    return [name for name in dict.fromkeys(names) if name != own]


def _words(edits: EditSet) -> str:
    return " and ".join(edit.text for edit in edits)


def _sign(found: SetResult) -> float:
    return 1.0 if found.signed.estimate >= 0 else -1.0
