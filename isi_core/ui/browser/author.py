"""Author: write an observation, mark its picture on the canvas, and keep it in a dataset of one's own."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from isi_core.datasets.authoring import (
    as_row,
    copy_dataset,
    create_dataset,
    delete_observation,
    export_zip,
    save_observation,
)
from isi_core.datasets.catalogue import BUILT_IN, dataset_names, proposed_name
from isi_core.datasets.isi_folder import FolderRow
from isi_core.domain.errors import InputError
from isi_core.domain.observation import Observation
from isi_core.ui.bound import guarded
from isi_core.ui.browser import author_pictures
from isi_core.ui.browser.desk import AUTHOR, BROWSE, Desk, Form
from isi_core.ui.wording import as_written

_TEXTS = {
    "question": ("Question", "Is there a red fish?", 68),
    "complementary": ("Complementary context: nudges towards the truth", "People here like bright fish.", 90),
    "contradictory": ("Contradictory context: nudges away from it", "Nobody has ever seen a fish here.", 90),
    "description": ("Description (optional)", "A red fish and a blue boat.", 68),
    "family": ("Family (optional)", "colour", 0),
}


def edit(desk: Desk, observation: Observation) -> None:
    """Lay an observation on the form, to be changed.

    Raises
    ------
    InputError : its pictures cannot be read.
    """
    row = as_row(observation)
    desk.form = Form(
        editing=observation.id,
        picture=row.natural,
        picture_name=row.image,
        marked="keep" if row.annotated is not None else "none",
        kept=(row.annotated, row.annotated_name) if row.annotated is not None else None,
        texts={part: getattr(row, part) for part in _TEXTS},
        truth=row.truth,
        version=desk.form.version + 1,
    )
    desk.section = AUTHOR


def download(desk: Desk) -> None:
    """The dataset as a zip file, packed when it is asked for."""
    st.download_button(
        "Download as zip",
        data=partial(export_zip, desk.dataset_name),
        file_name=f"{desk.dataset_name}.zip",
        mime="application/zip",
        icon=":material/folder_zip:",
        key=f"browser_download_{desk.section == AUTHOR}",
        on_click="ignore",
        help="The published ISI format; importing it gives the same dataset",
    )


def show(desk: Desk) -> None:
    """Which dataset to write in, and the form."""
    if desk.dataset_name == BUILT_IN:
        st.info(
            "The built-in dataset stays as it is: make a dataset of your own, or copy this one and change the copy.",
            icon=":material/lightbulb:",
        )
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        name = st.text_input(
            "A new dataset's name", key="author_name", placeholder=proposed_name("my_dataset"), width=260
        )
        wish = name.strip() or proposed_name("my_dataset")
        st.button(
            "Make it", key="author_make", icon=":material/add:", on_click=partial(guarded, desk, _make, desk, wish)
        )
        st.button(
            f"Copy {as_written(desk.dataset_name)} under this name",
            key="author_copy",
            icon=":material/content_copy:",
            on_click=partial(guarded, desk, _copy, desk, wish),
        )
        if desk.dataset_name != BUILT_IN:
            download(desk)
    if desk.dataset_name == BUILT_IN:
        own = dataset_names()[1:]
        if own:
            st.caption(f"Your own datasets, chosen above: {', '.join(as_written(n) for n in own[:20])}.")
        return
    st.divider()
    _form(desk)


def _make(desk: Desk, name: str) -> None:
    create_dataset(name)
    desk.open_dataset(name)
    desk.said = f"{name} is made: write its first observation."


def _copy(desk: Desk, name: str) -> None:
    copy_dataset(desk.dataset, name)
    copied = desk.dataset_name
    desk.open_dataset(name)
    desk.said = f"{name} is a copy of {copied}: change what you like."


def _form(desk: Desk) -> None:
    form = desk.form
    _which(desk)
    with st.container(key="stack_author"):
        left, right = st.columns(2, gap="large")
    with left:
        author_pictures.show(desk)
    with right:
        for part, (label, example, height) in _TEXTS.items():
            _text(form, part, label, example, height)
        key = f"author_truth_{form.version}"
        st.session_state[key] = {True: "yes", False: "no", None: "not known"}[form.truth]

        def choose() -> None:
            form.truth = {"yes": True, "no": False}.get(st.session_state[key])

        st.segmented_control("Truth", ["yes", "no", "not known"], key=key, on_change=choose)
        with st.container(horizontal=True, gap="small"):
            st.button(
                "Save the changes" if form.editing else "Add it",
                key="author_save",
                type="primary",
                icon=":material/save:",
                on_click=partial(guarded, desk, _save, desk),
            )
            st.button("Start over", key="author_clear", on_click=partial(_clear, desk))
            if form.editing:
                with st.popover("Delete", icon=":material/delete:"):
                    st.markdown("This observation is deleted for good; runs that were made on it stay.")
                    st.button("Delete it", key="author_delete", on_click=partial(guarded, desk, _delete, desk))


def _which(desk: Desk) -> None:
    """A new observation, or one that is there."""
    dataset = desk.dataset
    titles = {o.id: f"{o.row}. {o.question}" for o in dataset.observations}
    key = "author_which"
    st.session_state[key] = desk.form.editing or ""

    def choose() -> None:
        chosen = st.session_state[key]
        if chosen:
            edit(desk, next(o for o in dataset.observations if o.id == chosen))
        else:
            _clear(desk)

    st.selectbox(
        f"Observation of {as_written(dataset.name)}",
        ["", *titles],
        key=key,
        format_func=lambda k: titles.get(k, "A new observation"),
        on_change=partial(guarded, desk, choose),
    )


def _clear(desk: Desk) -> None:
    desk.form = Form(version=desk.form.version + 1)


def _text(form: Form, part: str, label: str, example: str, height: int) -> None:
    key = f"author_{part}_{form.version}"
    st.session_state[key] = form.texts.get(part, "")

    def write() -> None:
        form.texts[part] = st.session_state[key] or ""

    if height:
        st.text_area(label, key=key, height=height, placeholder=example, on_change=write)
    else:
        st.text_input(label, key=key, placeholder=example, on_change=write)


def _save(desk: Desk) -> None:
    form = desk.form
    if form.picture is None:
        raise InputError("There is no picture yet: drop one on the box on the left.")
    annotated, annotated_name = author_pictures.marked_picture(form)
    texts: dict[str, Any] = {part: form.texts.get(part, "") for part in _TEXTS}
    row = FolderRow(
        image=form.picture_name,
        natural=form.picture,
        annotated=annotated,
        annotated_name=annotated_name,
        truth=form.truth,
        **texts,
    )
    saved = save_observation(desk.dataset_name, row, form.editing)
    desk.said = f"{saved} is saved in {desk.dataset_name}."
    desk.current = saved
    edit(desk, next(o for o in desk.dataset.observations if o.id == saved)) if form.editing else _clear(desk)


def _delete(desk: Desk) -> None:
    gone = desk.form.editing or ""
    delete_observation(desk.dataset_name, gone)
    _clear(desk)
    desk.current, desk.section = None, BROWSE
    desk.said = f"{gone} was deleted."
