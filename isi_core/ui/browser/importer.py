"""Import: look into a file or folder, say which column is what where it is a table, and take what can be used."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from isi_core.datasets.catalogue import free_name, proposed_name
from isi_core.datasets.column_mapping import NEEDED, PARTS, Mapping, guess_mapping
from isi_core.datasets.hub import PACKAGE, ROWS, HubChoice
from isi_core.datasets.importing import (
    Imported,
    Source,
    import_source,
    name_from,
    open_hub,
    open_source,
    staging_folder,
)
from isi_core.datasets.tables import MAX_ROWS, text_of
from isi_core.domain.errors import InputError, StudioError
from isi_core.ui import resources
from isi_core.ui.bound import guarded
from isi_core.ui.browser.desk import BROWSE, CARD, Desk, Importing
from isi_core.ui.wording import as_written

_POLL = 0.3  # seconds
_FORMAT = """
**The published ISI VQA format**, a folder or a zip file of it: `vlm_dataset.csv` with the columns `image`, `question`,
`contradictory`, `complementary`, `answer` (0 or 1) and `img_text_description`, and the folders `natural_images` and
`annotated_images`. Missing columns or pictures switch off the presets that need them, nothing else.

**Any other table**: CSV, JSON lines or Parquet, alone, in a folder or zipped with its pictures; the next step asks
which column is what. Parquet files and folders saved by the Hugging Face `datasets` library (`save_to_disk`) may hold
the pictures themselves. Answers may be 0/1, yes/no or true/false.

**Multiple choice in MMMU's form** (columns `question`, `options`, `answer`, `image_1`): each row with one picture
becomes a yes/no question about its right option or a wrong one.
"""
_LABELS = {
    "image": "Picture (file name, or the picture itself)",
    "question": "Question",
    "answer": "Truth (yes or no)",
    "complementary": "Complementary context",
    "contradictory": "Contradictory context",
    "description": "Description",
    "family": "Family",
    "annotated": "Annotated picture",
}


def show(desk: Desk) -> None:
    """The steps of an import, and what the last one left out."""
    state = desk.importing
    with st.container(key="stack_import"):
        left, right = st.columns(2, gap="large")
    with left:
        st.subheader("1. What to import", anchor=False)
        _choose(desk)
        with st.expander("What can be imported", icon=":material/help:"):
            st.markdown(_FORMAT)
    with right:
        st.subheader("2. Check and import", anchor=False)
        if state.job is not None:
            _watch(desk)
        elif state.done is not None:
            _done(desk, state.done)
        elif state.source is not None:
            _check(desk, state.source)
        else:
            st.caption("Nothing was looked at yet.")


def _choose(desk: Desk) -> None:
    state = desk.importing
    file = st.file_uploader(
        "A zip file or table",
        type=["zip", "csv", "tsv", "jsonl", "parquet"],
        key=f"browser_import_file_{state.version}",
        help="Larger files: give their path below",
    )
    typed = st.text_input(
        "Or the path of a folder or file on this machine",
        key=f"browser_import_path_{state.version}",
        placeholder="/data/isi_vqa",
    )
    st.button(
        "Look into it",
        key="browser_import_look",
        icon=":material/search:",
        type="primary" if state.source is None and state.done is None else "secondary",
        on_click=partial(guarded, desk, _look, desk, file, typed),
        disabled=state.job is not None or (file is None and not typed.strip()),
    )
    with st.expander("From the Hugging Face hub", icon=":material/cloud_download:"):
        _hub(desk)


def _hub(desk: Desk) -> None:
    """A dataset of the hub: which one, which part of it, at which revision, how many rows."""
    version = desk.importing.version
    st.caption(
        "Read as a stream, no code of the repository is run, and the commit that was read is kept with the dataset. "
        f"Needs the package `{PACKAGE}` and a way to the hub."
    )
    name = st.text_input("Dataset", key=f"browser_hub_name_{version}", placeholder="MMMU/MMMU")
    left, right = st.columns(2)
    config = left.text_input("Config", key=f"browser_hub_config_{version}", placeholder="the only one")
    split = right.text_input("Split", key=f"browser_hub_split_{version}", placeholder="the only one")
    revision = left.text_input("Revision", key=f"browser_hub_revision_{version}", placeholder="the newest")
    rows = right.number_input("Rows, at most", 1, MAX_ROWS, ROWS, key=f"browser_hub_rows_{version}")
    st.button(
        "Read it",
        key="browser_import_hub",
        icon=":material/search:",
        on_click=partial(guarded, desk, _look_at_hub, desk, name, config, split, revision, int(rows)),
        disabled=desk.importing.job is not None or not name.strip(),
    )


def _look_at_hub(desk: Desk, name: str, config: str, split: str, revision: str, rows: int) -> None:
    _close(desk)
    choice = HubChoice(name, config, split, revision, rows)
    desk.importing.name = proposed_name(name.strip().rstrip("/").rsplit("/", 1)[-1])
    desk.importing.job = resources.jobs().submit(
        "look", f"Reading {name.strip()[:80]}", lambda progress: open_hub(choice, progress)
    )


def _look(desk: Desk, file: Any, typed: str) -> None:
    """Unpack and read in the background; the page goes on."""
    _close(desk)
    state = desk.importing
    held = ExitStack()
    staging = held.enter_context(staging_folder())
    try:
        if file is not None:
            name = Path(file.name).name.replace("\\", "_") or "upload"
            path = staging / "upload" / name
            path.parent.mkdir()
            with path.open("wb") as kept:
                shutil.copyfileobj(file, kept)
        else:
            path = Path(typed.strip())
    except OSError as error:
        held.close()
        raise InputError(f"The file cannot be kept ({error.strerror}): check the disk.") from None
    inside = staging / "unpacked"
    inside.mkdir()
    state.held = held
    state.name = proposed_name(name_from(path.expanduser().name))
    state.job = resources.jobs().submit(
        "look", f"Looking into {path.name}", lambda progress: open_source(path, inside, file is not None, progress)
    )


def _close(desk: Desk) -> None:
    """Forget what was looked at."""
    desk.importing.held.close()
    desk.importing = Importing(version=desk.importing.version)


def collect(desk: Desk) -> bool:
    """Take what the job has found or made; True once it has ended."""
    state = desk.importing
    if state.job is None:
        return True
    try:
        job = resources.jobs().get(state.job)
    except StudioError as error:
        state.job, desk.error = None, str(error)
        return True
    if job.live:
        return False
    state.job = None
    if isinstance(job.result, Source):
        state.source = job.result
        if job.result.table is not None:
            state.columns = guess_mapping(job.result.table.columns)
    elif isinstance(job.result, Imported):
        _close(desk)
        desk.importing.done = job.result
        desk.importing.version += 1
    else:
        _close(desk) if state.source is None else None
        desk.error = job.error or ("" if job.state == "cancelled" else "The import was interrupted: start it again.")
    return True


@st.fragment(run_every=_POLL)
def _watch(desk: Desk) -> None:
    number = desk.importing.job
    if number is None or collect(desk):
        st.rerun()
    job = resources.jobs().get(str(number))
    st.progress(min(1.0, max(0.0, job.fraction)), text=as_written(job.message or job.title))
    if st.button("Cancel", key="browser_import_cancel"):
        resources.jobs().cancel(job.id)


def _check(desk: Desk, source: Source) -> None:
    state = desk.importing
    if source.isi_folder is not None:
        st.markdown(f"**{as_written(source.name, 80)}** is in the published ISI VQA format.")
    elif source.table is not None:
        count = len(source.table.rows)
        st.markdown(f"**{as_written(source.table.name, 80)}** is a table of {count:,} rows. Which column is what?")
        _columns(desk, source)
    if source.origin:
        origin = source.origin
        at = f"revision {origin['revision']}" if origin["revision"] else "a local folder"
        st.caption(as_written(f"{origin['repository']} · {origin['config']} · {origin['split']} · {at}", 300))
    if source.note:
        st.info(as_written(source.note), icon=":material/rule:")
    if source.problems:
        st.caption(
            f"{len(source.problems):,} things were left out so far, such as: {as_written(source.problems[0], 200)}"
        )
    key = f"browser_import_name_{state.version}"
    st.session_state[key] = state.name

    def write() -> None:
        state.name = st.session_state[key] or ""

    st.text_input("Name of the dataset", key=key, on_change=write)
    lacking = [] if source.table is None else [part for part in NEEDED if not state.columns.get(part)]
    with st.container(horizontal=True, gap="small"):
        st.button(
            "Import",
            key="browser_import",
            type="primary",
            icon=":material/download:",
            on_click=partial(guarded, desk, _import, desk, source),
            disabled=bool(lacking),
        )
        st.button("Put it back", key="browser_import_back", on_click=partial(guarded, desk, _close, desk))
    if lacking:
        st.caption(f"Choose a column for the {' and the '.join(lacking)} first.")


def _columns(desk: Desk, source: Source) -> None:
    assert source.table is not None
    table, chosen = source.table, desk.importing.columns
    columns = st.columns(2)
    for place, part in enumerate(PARTS):
        key = f"browser_column_{part}"
        st.session_state[key] = chosen.get(part, "")

        def choose(part: str = part, key: str = key) -> None:
            chosen[part] = st.session_state[key] or ""

        columns[place % 2].selectbox(
            _LABELS[part],
            ["", *table.columns],
            key=key,
            format_func=partial(_column_name, part),
            on_change=choose,
        )
    named = {part: column for part, column in chosen.items() if column}
    if named:
        st.caption("The first rows as they would be read:")
        rows = [{part: text_of(cells[c])[:200] for part, c in named.items()} for _, cells in table.rows[:5]]
        st.dataframe(rows, hide_index=True, key="browser_import_preview")


def _column_name(part: str, name: str) -> str:
    return name or ("choose a column" if part in NEEDED else "none")


def _import(desk: Desk, source: Source) -> None:
    state = desk.importing
    name = free_name(state.name)
    mapping = None
    if source.table is not None:
        mapping = Mapping(**{part: column for part, column in state.columns.items() if column})
    state.job = resources.jobs().submit(
        "import",
        f"Importing {name}",
        lambda progress: import_source(source, name, mapping, progress),
        key=f"import {name}",
    )


def _done(desk: Desk, made: Imported) -> None:
    st.success(
        f"**{as_written(made.name)}** is imported: {made.observations:,} observations, {made.annotated:,} with an "
        "annotated picture.",
        icon=":material/check_circle:",
    )

    def go(section: str) -> None:
        desk.open_dataset(made.name)
        desk.section = section
        desk.importing.done = None

    with st.container(horizontal=True, gap="small"):
        st.button("Browse it", key="browser_import_browse", type="primary", on_click=partial(go, BROWSE))
        st.button("Its dataset card", key="browser_import_card", on_click=partial(go, CARD))
    if made.problems:
        st.markdown(f"**Left out or switched off: {len(made.problems):,}**")
        st.dataframe(
            [{"problem": problem} for problem in made.problems[:10_000]], hide_index=True, key="browser_import_problems"
        )
    else:
        st.caption("Nothing was left out.")
