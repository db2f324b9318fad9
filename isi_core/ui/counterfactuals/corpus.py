"""The corpus: which attributes are tried. A tree that can be edited, undone, imported and taken away."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial

import streamlit as st

from isi_core.domain.attributes import Attribute, Corpus
from isi_core.domain.corpus_reading import LARGEST_FILE, read_corpus
from isi_core.domain.errors import InputError, StudioError
from isi_core.models.editors.protocol import Picture
from isi_core.studies.counterfactuals.corpora import find_corpus
from isi_core.ui.bound import bound, guarded
from isi_core.ui.counterfactuals import corpus_edits, extracting
from isi_core.ui.counterfactuals.choices import domain_words
from isi_core.ui.counterfactuals.desk import Desk
from isi_core.ui.wording import as_written
from isi_core.worlds.attributed import WORLDS, world

_TOP: tuple[str, ...] = ()
_MOST_SHOWN = 400


def corpus_of(desk: Desk) -> Corpus:
    """The domain's corpus as the session has it.

    Raises
    ------
    InputError : the shipped file cannot be read.
    """
    if desk.domain not in desk.corpora:
        desk.corpora[desk.domain] = find_corpus(desk.domain)
    return desk.corpora[desk.domain]


def show(desk: Desk, pictures: Sequence[Picture] = ()) -> Corpus | None:
    """The folded tree editor; the corpus, or None where there is none that can be used."""
    extracting.collect(desk)
    try:
        corpus = corpus_of(desk)
    except StudioError as error:
        st.error(as_written(str(error)), icon=":material/error:")
        return None
    attributes = corpus.attributes()
    edited = " · edited" if desk.undone.get(desk.domain) else ""
    with st.expander(
        f"Attributes: {len(attributes):,} in {len(corpus.categories):,} groups{edited}", icon=":material/account_tree:"
    ):
        st.caption(
            "What is added to the pictures, in up to three levels: a group, a kind, and its sub-types. Change the tree "
            "to ask about something else."
        )
        _editor(desk, corpus)
        st.html(f'<div style="{_TREE_STYLE}">{_tree_html(corpus)}</div>')
        _unknown(desk, corpus)
        _files(desk, corpus)
        extracting.show(desk, corpus, pictures)
    return corpus


_TREE_STYLE = "max-height: 260px; overflow-y: auto; font-size: 0.86rem; line-height: 1.5; padding-right: 0.6rem"


def _tree_html(corpus: Corpus) -> str:
    """The tree as nested lines; every label is escaped, for it may come from anywhere."""
    from html import escape

    lines = []
    count = 0
    for first, below in corpus.categories.items():
        count += 1
        if count <= _MOST_SHOWN:
            lines.append(f"<div><b>{escape(first)}</b></div>")
        for second, leaves in below.items():
            count += 1 + len(leaves)
            if count > _MOST_SHOWN:
                continue
            ends = f" <span style='opacity:.7'>{escape(', '.join(leaves))}</span>" if leaves else ""
            lines.append(f"<div style='padding-left:1rem'>{escape(second)}{ends}</div>")
    if count > _MOST_SHOWN:
        lines.append(f"<div>… and {count - _MOST_SHOWN:,} more</div>")
    return "".join(lines)


def _editor(desk: Desk, corpus: Corpus) -> None:
    nodes = [_TOP, *(a.path for a in corpus.attributes())]
    if desk.corpus_node not in nodes:
        desk.corpus_node = _TOP
    node, label = st.columns(2)
    node.selectbox("Attribute", nodes, **bound(desk, "corpus_node"), format_func=_node_words)
    label.text_input("Label", **bound(desk, "corpus_label"), placeholder="a new label")
    at_top, deepest = desk.corpus_node == _TOP, len(desk.corpus_node) == 3
    steps = desk.undone.get(desk.domain, [])
    with st.container(horizontal=True, gap="small"):
        for word, icon, key, do, off in (
            ("Add below", "add", "add", _add, deepest),
            ("Rename", "edit", "rename", _rename, at_top),
            ("Remove", "remove", "remove", _remove, at_top),
            ("Undo", "undo", "undo", Desk.undo_corpus, not steps),
        ):
            st.button(
                word,
                icon=f":material/{icon}:",
                key=f"ranking_corpus_{key}",
                on_click=partial(guarded, desk, do, desk),
                disabled=off,
            )
    if desk.corpus_note:
        st.caption(as_written(desk.corpus_note))


def _node_words(path: tuple[str, ...]) -> str:
    return " › ".join(path) if path else "(top level)"


def _add(desk: Desk) -> None:
    parent = Attribute(desk.corpus_node) if desk.corpus_node else None
    desk.change_corpus(corpus_edits.added(corpus_of(desk), parent, desk.corpus_label))
    desk.corpus_note, desk.corpus_label = f"Added: {desk.corpus_label}.", ""


def _rename(desk: Desk) -> None:
    old = Attribute(desk.corpus_node)
    desk.change_corpus(corpus_edits.renamed(corpus_of(desk), old, desk.corpus_label))
    desk.corpus_note = f"Renamed: {old.label} is now {desk.corpus_label}."
    desk.corpus_node, desk.corpus_label = (*old.path[:-1], " ".join(desk.corpus_label.split())), ""


def _remove(desk: Desk) -> None:
    gone = Attribute(desk.corpus_node)
    desk.change_corpus(corpus_edits.removed(corpus_of(desk), gone))
    desk.corpus_note, desk.corpus_node = f"Removed: {gone.text}.", gone.path[:-1]


def _unknown(desk: Desk, corpus: Corpus) -> None:
    """Say which attributes the exact editor cannot draw, before it says so itself."""
    unknown = unknown_to_render(desk, corpus)
    if unknown:
        names = ", ".join(a.text for a in unknown[:3])
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        st.warning(
            as_written(f"The render editor cannot draw {names}{more}: they are left out, or choose the ledits editor."),
            icon=":material/warning:",
        )


def unknown_to_render(desk: Desk, corpus: Corpus) -> list[Attribute]:
    """Attributes of the corpus that the built-in world does not have; none where another editor edits."""
    known = _renderable(desk)
    return [] if known is None else [a for a in corpus.attributes() if a.path not in known]


def _renderable(desk: Desk) -> frozenset[tuple[str, ...]] | None:
    """What the built-in world can draw; None where another editor edits."""
    if desk.editor != "render" or desk.domain not in WORLDS:
        return None
    return frozenset(world(desk.domain).paths())


def drawable(desk: Desk, corpus: Corpus) -> Corpus:
    """The corpus without what the chosen editor cannot draw.

    Raises
    ------
    InputError : nothing is left.
    """
    known = _renderable(desk)
    if known is None:
        return corpus
    try:
        return corpus_edits.only(corpus, known)
    except InputError:
        raise InputError("The render editor can draw none of these attributes: use the domain's own.") from None


def _files(desk: Desk, corpus: Corpus) -> None:
    generation = len(desk.undone.get(desk.domain, []))
    key = f"ranking_corpus_file_{desk.domain}_{generation}"

    def take() -> None:
        file = st.session_state.get(key)
        if file is not None:
            guarded(desk, _import, desk, file.name, file.getvalue())

    st.file_uploader(
        "Import a corpus (JSON of two or three levels, or an indented list)",
        type=["json", "txt", "md"],
        key=key,
        on_change=take,
    )
    with st.container(horizontal=True, gap="small"):
        st.download_button(
            "Corpus as JSON",
            data=json.dumps(corpus.to_json(), indent=1, ensure_ascii=False).encode(),
            file_name=f"{desk.domain.replace(' ', '-')}-corpus.json",
            mime="application/json",
            key="ranking_corpus_download",
            icon=":material/download:",
            type="tertiary",
            on_click="ignore",
        )
        if generation:
            st.button(
                f"Back to the shipped one for {domain_words(desk.domain)}",
                key="ranking_corpus_reset",
                icon=":material/restart_alt:",
                type="tertiary",
                on_click=partial(guarded, desk, _reset, desk),
            )


def _import(desk: Desk, name: str, raw: bytes) -> None:
    if len(raw) > LARGEST_FILE:
        raise InputError(f"{name[:60]} is larger than {LARGEST_FILE // 1_000_000} MB: it is no attribute corpus.")
    found = read_corpus(raw, domain=desk.domain)
    desk.change_corpus(Corpus(desk.domain, found.corpus.categories))
    told = f" {' '.join(found.notes)}" if found.notes else ""
    desk.corpus_note, desk.corpus_node = f"Imported {name}: {len(found.corpus.attributes()):,} attributes.{told}", _TOP


def _reset(desk: Desk) -> None:
    desk.change_corpus(find_corpus(desk.domain))
    desk.corpus_note, desk.corpus_node = "The corpus is the shipped one again.", _TOP
