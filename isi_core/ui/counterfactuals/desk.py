"""What one session has on the page Counterfactual Ranking, under one key: its choices, its corpora, what it looks at.

As on the other pages: widgets forget, the desk does not; each run writes the desk's values into the widgets, and each
widget's callback writes back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar

import streamlit as st
from PIL import Image

from isi_core.domain.attributes import Corpus
from isi_core.models.editors.protocol import Picture
from isi_core.reports.counterfactual_tables import RankedList
from isi_core.studies.counterfactuals.results import Result
from isi_core.ui.counterfactuals.kept import Kept

PictureSource = Literal["Built-in", "Folder", "Upload"]
View = Literal[
    "Counterfactuals",
    "Influence",
    "Hierarchy",
    "Joint",
    "Classes",
    "Per picture",
    "Planted truth",
    "Compare",
    "Table",
    "Human study",
    "Repair",
]
VIEWS: tuple[View, ...] = (
    "Counterfactuals",
    "Influence",
    "Hierarchy",
    "Joint",
    "Classes",
    "Per picture",
    "Planted truth",
    "Compare",
    "Table",
    "Human study",
    "Repair",
)
_KEY = "ranking_desk"
_KEPT = 24
_PICTURES_KEPT = 400
Made = TypeVar("Made")


class Live:
    """What a running ranking tells on the way; written by its job, read by whoever looks."""

    def __init__(self) -> None:
        self.partial: Result | None = None
        self.key = ""

    def take(self, partial: Result) -> None:
        """The ranking as far as it is."""
        self.partial = partial


@dataclass
class Desk:
    """What lies on the desk of one session.

    Attributes
    ----------
    domain : name of the built-in world or of the corpus.
    source : where the pictures come from, and `count`, `picture_seed`, `folder`, `uploads` of each source.
    classifier, class_label : which one, by its key among the choices, and which of its classes.
    clip_model, own_model : hub ids or folders that were typed.
    label_texts : by a CLIP's key among the choices, the label prompts that were typed, a line a class.
    corpora : by domain, the corpus as it was edited, and `undone` what it was before each edit.
    preset : of the search; the fields that follow are its settings, "custom" once one of them was changed.
    shown : key of the ranking that is looked at; "" for the newest.
    job, live : the ranking that is running, and what it tells.
    """

    prefix: ClassVar[str] = "ranking"

    domain: str = "faces"
    source: PictureSource = "Built-in"
    count: int = 8
    picture_seed: int = 0
    folder: str = ""
    uploads: tuple[Picture, ...] = ()
    upload_problem: str = ""
    upload_generation: int = 0
    classifier: str = ""
    class_label: str = ""
    clip_model: str = ""
    own_model: str = ""
    label_texts: dict[str, str] = field(default_factory=dict)
    corpora: dict[str, Corpus] = field(default_factory=dict)
    undone: dict[str, list[Corpus]] = field(default_factory=dict)
    corpus_node: tuple[str, ...] = ()
    corpus_label: str = ""
    corpus_note: str = ""
    editor: str = ""
    editor_model: str = ""
    inversion_steps: int = 50
    skipped: int = 25
    edit_guidance: float = 10.0
    edit_threshold: float = 0.9
    instruct_steps: int = 50
    text_guidance: float = 0.0
    image_guidance: float = 1.5
    preset: str = "quick look"
    search: str = "exhaustive"
    beam: int = 3
    threshold: float = 0.0
    direction: str = "both"
    scale: str = "log-odds"
    base: str = "reconstruction"
    joint: int = 1
    top: int = 5
    sign: int = 1
    both_signs: bool = False
    seed: int = 0
    checked: bool = True
    shown: str = ""
    view: View = "Counterfactuals"
    shown_top: int = 6
    shown_level: str = "all levels"
    flags: str = "valid only"
    each: int = 3
    chosen: str = ""
    clicked: str = ""
    picture: str = ""
    blend: float = 1.0
    joint_chosen: int = 0
    other: str = ""
    listed: RankedList | None = None
    deleted: Kept | None = None
    job: str | None = None
    live: Live = field(default_factory=Live)
    error: str = ""
    note: str = ""
    _computed: OrderedDict[Any, Any] = field(default_factory=OrderedDict)
    _pictures: OrderedDict[Any, Image.Image | None] = field(default_factory=OrderedDict)

    def hush(self) -> None:
        """Take back what was said about the action before."""
        self.error = self.note = ""

    def computed(self, key: Any, make: Callable[[], Made]) -> Made:
        """What `make` gives, made once for a key."""
        if key not in self._computed:
            self._computed[key] = make()
            while len(self._computed) > _KEPT:
                self._computed.popitem(last=False)
        else:
            self._computed.move_to_end(key)
        made: Made = self._computed[key]
        return made

    def picture_of(self, key: Any, make: Callable[[], Image.Image | None]) -> Image.Image | None:
        """A counterfactual, drawn or read once; the last few hundred are kept."""
        if key not in self._pictures:
            self._pictures[key] = make()
            while len(self._pictures) > _PICTURES_KEPT:
                self._pictures.popitem(last=False)
        return self._pictures[key]

    def change_corpus(self, corpus: Corpus) -> None:
        """One step on in the tree editor."""
        before = self.corpora.get(self.domain)
        if before is not None:
            steps = self.undone.setdefault(self.domain, [])
            steps.append(before)
            del steps[:-50]
        self.corpora[self.domain] = corpus

    def undo_corpus(self) -> None:
        """One step back in the tree editor."""
        steps = self.undone.get(self.domain)
        if steps:
            self.corpora[self.domain] = steps.pop()


def open_desk() -> Desk:
    """The session's desk."""
    desk: Desk | None = st.session_state.get(_KEY)
    if desk is None:
        desk = st.session_state[_KEY] = Desk()
    return desk
