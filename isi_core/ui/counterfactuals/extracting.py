"""The corpus out of the pictures: a vision-language model is asked what can be seen in them, in the background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import streamlit as st

from isi_core.domain.attributes import Corpus
from isi_core.domain.errors import InputError
from isi_core.models.catalogue import find_vlm
from isi_core.models.editors.protocol import Picture
from isi_core.studies.jobs import Job
from isi_core.ui import background, resources
from isi_core.ui.bound import bound, guarded
from isi_core.ui.counterfactuals.desk import Desk

_KEY = "extract_desk"
_MOST_PICTURES = 6
_MOST_NOTES = 8


@dataclass
class ExtractDesk:
    """What one session asks for: the model, and the running work with the domain it is about."""

    prefix: ClassVar[str] = "extract"

    model: str = ""
    job: str | None = None
    domain: str = ""
    error: str = ""

    def hush(self) -> None:
        """Take back what was said about the action before."""
        self.error = ""


def open_desk() -> ExtractDesk:
    """The session's part."""
    desk: ExtractDesk | None = st.session_state.get(_KEY)
    if desk is None:
        desk = st.session_state[_KEY] = ExtractDesk()
    return desk


def collect(ranking: Desk) -> None:
    """Take what a model has answered, before the tree is drawn."""
    _collect(open_desk(), ranking)


def show(ranking: Desk, corpus: Corpus, pictures: Sequence[Picture]) -> None:
    """The model's name, and the two buttons."""
    desk = open_desk()
    st.text_input(
        "Ask a vision-language model",
        **bound(desk, "model"),
        placeholder="endpoint:MODEL@URL, hub id or folder",
        help="It is shown up to six of the pictures and asked what can be seen and changed in them, with corpora of "
        "other domains as examples. Its answer need not be valid JSON. tiny-llava answers yes and no only.",
    )
    busy = desk.job is not None or not pictures
    with st.container(horizontal=True, gap="small"):
        st.button(
            "Extract from the pictures",
            key="extract_start",
            icon=":material/auto_awesome:",
            on_click=partial(guarded, desk, _begin, desk, ranking, list(pictures), None),
            disabled=busy,
            help="Replaces the tree; Undo brings it back.",
        )
        st.button(
            "Expand each item",
            key="extract_expand",
            icon=":material/account_tree:",
            on_click=partial(guarded, desk, _begin, desk, ranking, list(pictures), corpus),
            disabled=busy,
            help="Asks for the sub-types of each item of the tree and adds them.",
        )
    background.show(desk, partial(_collect, desk, ranking), "extract_cancel")


def _begin(desk: ExtractDesk, ranking: Desk, pictures: list[Picture], corpus: Corpus | None) -> None:
    if desk.job is not None:
        return
    name = desk.model.strip()
    if not name:
        raise InputError("No model is named yet: type an endpoint, a hub id or a folder.")
    find_vlm(name)  # what cannot be loaded is told before anything runs
    images = [picture.image for picture in pictures[:_MOST_PICTURES]]
    domain = {"faces": "face", "birds": "bird"}.get(ranking.domain, ranking.domain)
    shelf = resources.shelf()

    def work(progress: Any) -> Any:
        from isi_core.studies.counterfactuals.extraction import expand_by_model, extract_corpus

        with shelf.vlm(name, progress=progress) as vlm:
            if corpus is not None:
                return expand_by_model(corpus, vlm, images, progress=progress)
            return extract_corpus(images, domain, vlm, progress=progress)

    title = f"Asking {name[:60]} for attributes"
    desk.job, desk.domain = resources.jobs().submit("corpus", title, work), ranking.domain


def _collect(desk: ExtractDesk, ranking: Desk) -> bool:
    def take(job: Job | None) -> None:
        if job is not None and job.state == "done" and job.result is not None:
            _adopt(desk, ranking, job.result)

    return background.collect(desk, take)


def _adopt(desk: ExtractDesk, ranking: Desk, made: Any) -> None:
    corpus = Corpus(desk.domain, made.corpus.categories)
    if ranking.domain == desk.domain:
        ranking.change_corpus(corpus)
        ranking.corpus_node = ()
    else:  # the person went on to another domain meanwhile
        ranking.corpora[desk.domain] = corpus
    notes = list(made.notes)
    more = f" {len(notes) - _MOST_NOTES} more notes." if len(notes) > _MOST_NOTES else ""
    ranking.corpus_note = (
        f"{made.model.get('name', 'The model')} was asked {len(made.answers)} questions: "
        f"{len(corpus.attributes())} attributes. {' '.join(notes[:_MOST_NOTES])}{more}"
    )
