"""What goes in: the domain, the pictures, the classifier and its class."""

from __future__ import annotations

from functools import partial

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.models.classifiers.label_prompts import labels_text, typed_labels
from isi_core.models.classifiers.presets import DEFAULT_CLIP
from isi_core.models.editors.protocol import Picture
from isi_core.reports.figures import thumbnail
from isi_core.ui import resources
from isi_core.ui.bound import bound, shown
from isi_core.ui.counterfactuals import choices
from isi_core.ui.counterfactuals.desk import Desk
from isi_core.ui.counterfactuals.pictures import MOST_PICTURES, chosen_pictures, from_uploads
from isi_core.ui.counterfactuals.settings import editor_changed
from isi_core.ui.wording import as_written
from isi_core.worlds.attributed import WORLDS

_SHOWN = 7


def show(desk: Desk) -> list[Picture]:
    """The choices; the pictures that were chosen, none where there are none yet."""
    if desk.domain not in choices.domains():
        desk.domain = choices.domains()[0]
    st.selectbox(
        "Domain",
        choices.domains(),
        **bound(desk, "domain", partial(_changed, desk)),
        format_func=choices.domain_words,
        help="What the pictures are of. It decides which attributes are tried. The built-in worlds need no download, "
        "and what their classifiers key on is known.",
    )
    found = _pictures(desk)
    _classifier(desk)
    return found


def _changed(desk: Desk) -> None:
    desk.classifier = desk.class_label = desk.editor = ""
    desk.corpus_node = ()
    if desk.domain not in WORLDS and desk.source == "Built-in":
        desk.source = "Upload"
    if desk.domain in WORLDS:
        desk.source = "Built-in"
    choices.chosen_editor(desk)
    editor_changed(desk)


def _source_changed(desk: Desk) -> None:
    # What fits built-in pictures (the exact editor, the rules) fits no others, and the other way round.
    desk.editor = desk.classifier = desk.class_label = ""
    choices.chosen_editor(desk)
    editor_changed(desk)


def _pictures(desk: Desk) -> list[Picture]:
    sources = ["Built-in", "Folder", "Upload"] if desk.domain in WORLDS else ["Folder", "Upload"]
    if desk.source not in sources:
        desk.source = "Upload"
    st.segmented_control("Pictures", sources, **bound(desk, "source", partial(_source_changed, desk)))
    if desk.source == "Built-in":
        count, seed = st.columns(2)
        count.number_input(
            "How many", 1, MOST_PICTURES, **bound(desk, "count"), help="More pictures, narrower intervals."
        )
        seed.number_input("Seed of the pictures", 0, 2**31 - 1, **bound(desk, "picture_seed"))
    elif desk.source == "Folder":
        path, count = st.columns([3, 1])
        path.text_input("Folder on this server", **bound(desk, "folder"), placeholder="/path/to/pictures")
        count.number_input("At most", 1, MOST_PICTURES, **bound(desk, "count"))
    else:
        _upload(desk)
    try:
        found = chosen_pictures(desk)
    except StudioError as error:
        if desk.source == "Folder" and desk.folder.strip():
            st.error(as_written(str(error)), icon=":material/error:")
        else:
            st.info(as_written(str(error)), icon=":material/lightbulb:")
        return []
    shown = found[:_SHOWN]
    strip = desk.computed(
        ("strip", *(p.digest for p in shown)), lambda: [resources.png(thumbnail(p.image, 96)) for p in shown]
    )
    with st.container(horizontal=True, gap="small", key="ranking_strip"):
        for picture in strip:
            st.image(picture, width=46)
    rest = f"; the first {len(shown)} are shown" if len(found) > len(shown) else ""
    st.caption(f"{len(found)} picture{'s' * (len(found) != 1)}{rest}.")
    return found


def _upload(desk: Desk) -> None:
    key = f"ranking_upload_{desk.upload_generation}"

    def take() -> None:
        files = st.session_state.get(key) or []
        desk.uploads, desk.upload_problem = from_uploads({file.name: file.getvalue() for file in files})

    st.file_uploader(
        "Upload pictures",
        type=["png", "jpg", "jpeg", "webp", "bmp", "gif"],
        accept_multiple_files=True,
        key=key,
        on_change=take,
        label_visibility="collapsed",
    )
    if desk.upload_problem:
        st.error(as_written(desk.upload_problem), icon=":material/error:")


def _classifier(desk: Desk) -> None:
    choice = choices.chosen_classifier(desk)
    found = choices.classifiers(desk)
    left, right = st.columns([3, 2])
    left.selectbox(
        "Classifier",
        list(found),
        **bound(desk, "classifier", partial(_forget_class, desk)),
        format_func=lambda key: found[key].title if key in found else key,
        help="The network to be explained. It is only asked, never changed.",
    )
    if choice.labels:
        right.selectbox(
            "Class",
            choice.labels,
            **bound(desk, "class_label"),
            help="The ranking explains the score for this class.",
        )
    else:
        right.text_input("Class", **bound(desk, "class_label"), placeholder="the most frequent", help="A class's name.")
    if choice.key == "own":
        st.text_input(
            "Folder or hub id",
            **bound(desk, "own_model", partial(_forget_class, desk)),
            placeholder="organisation/model",
        )
    elif choice.key.startswith("clip:"):
        st.text_input("CLIP: folder or hub id", **bound(desk, "clip_model"), placeholder=DEFAULT_CLIP)
    if choices.shipped_prompts(choice.key) is not None:
        _label_prompts(desk, choice.key)
    if choice.note:
        st.caption(choice.note)


def _label_prompts(desk: Desk, key: str) -> None:
    """The texts that describe a CLIP's classes, to be changed at will."""
    shipped = labels_text(choices.shipped_prompts(key) or {})
    text = desk.label_texts.get(key) or shipped
    problem = ""
    if text.strip():
        try:
            typed_labels(text)
        except StudioError as error:
            problem = str(error)

    def put(typed: str) -> None:
        desk.label_texts[key] = "" if typed.strip() in ("", shipped.strip()) else typed

    widget = f"{desk.prefix}_labels_{key}"
    with st.expander("Label prompts", expanded=bool(problem) or not shipped, icon=":material/label:"):
        st.text_area(
            "Classes by their texts",
            key=widget,
            on_change=shown(desk, widget, text, put),
            placeholder="old: a photo of an old person | a photo of a grandmother\nyoung: a photo of a young person",
            help="A line a class: “class: prompt | prompt”. A class of several texts goes by the mean of their "
            "embeddings." + (" Empty it to have the preset's texts again." if shipped else ""),
        )
        if problem:
            st.error(as_written(problem), icon=":material/error:")


def _forget_class(desk: Desk) -> None:
    desk.class_label = ""
