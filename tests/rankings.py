"""Rankings for tests of reports: real portraits, edited by the world itself, scored by a rule written here."""

from __future__ import annotations

from random import Random

import numpy as np
from PIL import Image

from isi_core.domain.attributes import Attribute, Corpus, Edit, EditSet, edit_set
from isi_core.measures.statistics import bootstrap_interval
from isi_core.models.editors.protocol import Picture
from isi_core.models.editors.render import RenderEditor
from isi_core.studies.counterfactuals.results import Cost, Delta, JointResult, Result, SetResult, strongest_first
from isi_core.worlds.attributed import Subject, world

CORPUS = Corpus(
    "face",
    {
        "facial hair": {"beard": ("goatee", "full"), "mustache": ("walrus",)},
        "eyewear": {"eyeglasses": ("round", "square")},
        "skin": {"marks": ("mole",)},
        "headwear": {"hat": ("fedora",)},
    },
)
WEIGHTS: dict[tuple[str, ...], float] = {
    ("facial hair", "beard", "goatee"): 1.1,
    ("facial hair", "beard", "full"): 1.9,
    ("facial hair", "mustache", "walrus"): 0.7,
    ("eyewear", "eyeglasses", "round"): 0.4,
    ("skin", "marks", "mole"): -0.9,
}
FLAG = "other attributes drifted"


def score(subject: Subject) -> float:
    """Log-odds of "old": the weights, and a full beard with round glasses counts double."""
    total = sum(WEIGHTS.get(leaf, 0.0) for leaf in subject.leaves) + (subject.seed % 97) / 200
    both = {("facial hair", "beard", "full"), ("eyewear", "eyeglasses", "round")}
    return total + (1.5 if both <= set(subject.leaves) else 0.0)


def pictures(count: int = 6) -> list[Picture]:
    """Portraits with nothing on."""
    faces = world("faces")
    rng = Random(3)
    subjects = [Subject("faces", faces.draw_subject(rng).seed) for _ in range(count)]
    return [Picture.of(faces.render(s, 64), f"face {i + 1}", s) for i, s in enumerate(subjects)]


class Bank:
    """The counterfactuals of a ranking, drawn when they are asked for."""

    def __init__(self, shown: list[Picture]) -> None:
        self._pictures = {p.digest: p for p in shown}
        self._editor = RenderEditor("faces", 64)

    def __call__(self, digest: str, edits: EditSet) -> Image.Image | None:
        """The counterfactual; None for a picture that is not known."""
        if digest not in self._pictures:
            return None
        return self._editor.edit(self._pictures[digest], edits, 0).image


def set_result(shown: list[Picture], edits: EditSet, flagged: int = 0) -> SetResult:
    """An edit set over the pictures; the first `flagged` of them are flagged."""
    editor = RenderEditor("faces", 64)
    deltas = []
    for i, picture in enumerate(shown):
        assert picture.subject is not None
        after = editor.subject_after(picture, edits, 0)
        deltas.append(Delta(picture.digest, score(picture.subject), score(after), (FLAG,) if i < flagged else ()))
    changes = np.array([d.change for d in deltas if d.valid])
    influence = float(np.abs(changes).mean()) if changes.size else float("nan")
    signed = bootstrap_interval(changes if changes.size else np.array([0.0]), n=200)
    mean = float(np.mean([d.score for d in deltas]))
    return SetResult(edits, influence, signed, 0.05, mean, tuple(deltas))


def result(count: int = 6, stopped: bool = False) -> tuple[Result, Bank]:
    """A ranking with groups, leaves, flagged edits, a joint edit and an interaction; and its counterfactuals."""
    shown = pictures(count)
    sets = []
    for attribute in CORPUS.attributes():
        flagged = {"fedora": count, "walrus": 1}.get(attribute.label, 0)
        sets.append(set_result(shown, (Edit(attribute),), flagged))
    pair = edit_set(
        [Edit(Attribute(("facial hair", "beard", "full"))), Edit(Attribute(("eyewear", "eyeglasses", "round")))]
    )
    whole = set_result(shown, pair)
    parts = [set_result(shown, (edit,)) for edit in pair]
    beyond = [
        w.change - sum(d.change for d in each)
        for w, *each in zip(whole.deltas, *(p.deltas for p in parts), strict=True)
    ]
    joint = JointResult(whole, tuple(p.signed.estimate for p in parts), bootstrap_interval(np.array(beyond), n=200))
    nothing = set_result(shown, (Edit(Attribute(("facial hair", "beard", "goatee"))),))
    no_op = SetResult(
        nothing.edits, 0.05, bootstrap_interval(np.full(count, 0.05), n=200), 0.05, nothing.f, nothing.deltas
    )
    made = Result(
        settings={
            "scale": "log-odds",
            "search": "exhaustive",
            "seed": 0,
            "classifier": {"name": "rule", "weights": 5},
            "editor": {"name": "render", "world": "faces"},
        },
        corpus=CORPUS,
        class_label="old",
        pictures=tuple((p.digest, p.name) for p in shown),
        sets=strongest_first(sets),
        joint=(joint,),
        best=pair,
        no_op=no_op,
        reconstruction=None,
        turned=(),
        cost=Cost(96, 96, 0, 1.5),
        stopped=stopped,
    )
    return made, Bank(shown)
