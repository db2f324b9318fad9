"""What goes in: preset, task and data, model, k, layers, explainers; and what that comes to."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from isi_core.datasets.catalogue import dataset_names
from isi_core.domain.errors import InputError, StudioError
from isi_core.domain.home import home_folder
from isi_core.models import catalogue
from isi_core.reports.failure_words import task_name
from isi_core.studies.failure.plan import CONTEXTS, PICTURE_TASKS, PRESETS, TASKS, FailurePlan
from isi_core.ui import resources
from isi_core.ui.bound import bound
from isi_core.ui.failure import explainers
from isi_core.ui.failure.desk import ALL, FIVE, SCORES, SOME, Desk
from isi_core.ui.wording import as_written

MOST_BYTES = 200_000_000
_TASK_WORDS = {
    "scenes": "Generated scenes (pictures, never run out)",
    "dataset": "A dataset of the app (pictures)",
    "boolq": "BoolQ (text)",
    "piqa": "PIQA (text)",
    "winogrande": "WinoGrande (text)",
    "social-iqa": "Social IQa (text)",
    SCORES: "A CSV of scores from elsewhere",
}
_PRESET_HELP = {
    "quick look": "100 + 100 cases, five layers, baselines and the published probe: quick on the embedded model",
    "paper": "The published protocol: 2,000 + 2,000 cases, five layers, last-token probes, baselines beside them",
    "all explainers": "1,000 + 1,000 cases, all layers, every explainer the model allows",
}


def presets(desk: Desk) -> None:
    """One click each: every setting but the task, its data and the model."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.markdown("**Preset**", width="content")
        for name, make in PRESETS.items():
            st.button(
                name.capitalize(),
                key=f"failure_preset_{name.replace(' ', '_')}",
                on_click=lambda make=make: desk.adopt(make()),
                help=_PRESET_HELP.get(name),
            )


def task(desk: Desk) -> None:
    """The task and its data."""
    st.selectbox(
        "Task", [*TASKS, SCORES], **bound(desk, "task"), format_func=lambda t: _TASK_WORDS.get(t, task_name(t))
    )
    if desk.task == "dataset":
        names = dataset_names()
        if desk.dataset not in names:
            desk.dataset = names[0]
        st.selectbox("Dataset", names, **bound(desk, "dataset"))
    elif desk.task not in (SCORES, *PICTURE_TASKS):
        _files(desk)


def _files(desk: Desk) -> None:
    """A text task's files: uploaded, or where they lie."""
    files = st.file_uploader(
        "Task files, in their original format",
        type=["json", "jsonl"],
        accept_multiple_files=True,
        key="failure_files",
        help="JSON or JSON lines; several files of one task are read together (train, validation, test)",
    )
    if files:
        try:
            desk.kept, desk.kept_names = keep([(file.name, file.getvalue()) for file in files])
        except StudioError as error:
            desk.error = str(error)
    if desk.kept_names:
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            st.caption(f"Uploaded: {as_written(', '.join(desk.kept_names), 160)}", width="stretch")
            st.button("Forget", key="failure_files_forget", type="tertiary", on_click=partial(_forget, desk))
    else:
        st.text_input(
            "Or the path of a file or folder on this machine", **bound(desk, "typed"), placeholder="/data/winogrande"
        )
    st.toggle(
        "Take the labels from the file",
        **bound(desk, "given"),
        help="Files with the classes `correct` and `incorrect`: their labels are believed, the model is not asked "
        "again. Off: success is that the model gives the right option the higher likelihood.",
    )


def keep(files: list[tuple[str, bytes]]) -> tuple[str, tuple[str, ...]]:
    """Put uploaded files into a folder named after their content; its path and their names.

    Raises
    ------
    InputError : they are too large, two have one name, or the folder cannot be written.
    """
    names = [Path(name.replace("\\", "/")).name[:120] for name, _ in files]
    if sum(len(raw) for _, raw in files) > MOST_BYTES:
        raise InputError(f"The files have more than {MOST_BYTES // 1_000_000} MB: give their folder's path instead.")
    if len(set(names)) < len(names) or any(name in ("", ".", "..") for name in names):
        raise InputError("Two files have the same name, or one has none: rename them.")
    state = hashlib.sha256()
    for name, (_, raw) in sorted(zip(names, files, strict=True), key=lambda pair: pair[0]):
        state.update(f"{name}\0{len(raw)}\0".encode() + raw)
    folder = home_folder() / "failure" / "files" / state.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, (_, raw) in zip(names, files, strict=True):
            (folder / name).write_bytes(raw)
    except OSError as error:
        raise InputError(f"{folder.parent} cannot be written ({error.strerror}): set ISI_HOME.") from None
    return str(folder), tuple(names)


def _forget(desk: Desk) -> None:
    desk.kept, desk.kept_names = "", ()
    st.session_state.pop("failure_files", None)


def model(desk: Desk) -> None:
    """Which model is asked, and whether it is ready."""
    if desk.pictures:
        names = [row.name for row in catalogue.ROWS if row.kind == "vlm"]
        options = names if desk.model in names else [*names, desk.model]
        pick, bits = st.columns([7, 3], vertical_alignment="bottom", wrap=False)
        pick.selectbox(
            "Model",
            options,
            **bound(desk, "model"),
            accept_new_options=True,
            help="From the list, or type a hub id or a folder. Servers tell no activations, so an endpoint cannot be "
            "probed.",
        )
        bits.toggle("4-bit", **bound(desk, "four_bit"), help="NF4 quantization: a quarter of the memory")
        _readiness(desk)
    else:
        st.text_input(
            "Language model",
            **bound(desk, "text_model"),
            placeholder="google/gemma-2-2b or a folder",
            help="Hub id or folder of any Hugging Face causal language model with safetensors weights; no code of the "
            "checkpoint is run. The paper's is google/gemma-2-2b.",
        )


def _readiness(desk: Desk) -> None:
    try:
        found = resources.shelf().readiness(desk.model.strip(), "4-bit" if desk.four_bit else "none")
    except StudioError as error:
        st.warning(as_written(str(error)))
        return
    icon = ":material/check_circle:" if found.usable else ":material/warning:"
    st.caption(f"{icon} **{found.state}** · {as_written(found.sentence)}")


def size(desk: Desk) -> None:
    """How many cases, which layers, which explainers."""
    count, layers = st.columns([2, 3], vertical_alignment="bottom")
    count.number_input(
        "k: cases of each class",
        8,
        100_000,
        **bound(desk, "k"),
        help="So many successes and so many failures; half of them train, a quarter each validates and tests",
    )
    layers.selectbox(
        "Layers",
        [FIVE, ALL, SOME],
        **bound(desk, "layers"),
        help="Layer l is the output of decoder block l, before the final norm",
    )
    if desk.layers == SOME:
        st.text_input(
            "Numbers of the layers, from 1", **bound(desk, "numbers"), placeholder="5, 10, 15, 20, 25", max_chars=400
        )
    explainers.choose(desk)
    with st.expander("Contexts, sampling and seed"):
        _details(desk)


def _details(desk: Desk) -> None:
    if desk.pictures:
        st.multiselect("Contexts that the pictures are shown with, in equal parts", CONTEXTS, **bound(desk, "contexts"))
    left, right = st.columns(2)
    left.number_input(
        "k for explainers that sample",
        8,
        2_000,
        **bound(desk, "sampling_k"),
        help="Semantic entropy and its like ask the model again for every case: so many of each class at most",
    )
    right.number_input("Samples a case", 2, 100, **bound(desk, "samples"))
    left.number_input("Temperature", 0.05, 10.0, step=0.1, **bound(desk, "temperature"))
    right.number_input(
        "Shuffles of the permutation null",
        1,
        10_000,
        **bound(desk, "permutations"),
        help="How high the best layer comes out when labels mean nothing",
    )
    left.number_input("Seed", 0, 2**31, **bound(desk, "seed"), help="Of inputs, cases, splits, fits and resamples")


def plan_of(desk: Desk) -> FailurePlan:
    """The choices as a plan.

    Raises
    ------
    InputError : something is missing or out of range.
    """
    given: dict[str, Any] = {
        "task": desk.task,
        "k": int(desk.k),
        "layers": _layers(desk),
        "explainers": tuple(explainers.in_order(desk)),
        "sampling_k": int(desk.sampling_k),
        "samples": int(desk.samples),
        "temperature": float(desk.temperature),
        "permutations": int(desk.permutations),
        "permuted": _permuted(desk),
        "seed": int(desk.seed),
    }
    if desk.pictures:
        given["model"] = desk.model.strip()
        given["quantization"] = "4-bit" if desk.four_bit else "none"
        given["contexts"] = tuple(c for c in CONTEXTS if c in desk.contexts)
        given["source"] = desk.dataset if desk.task == "dataset" else ""
        catalogue.find_vlm(given["model"])
    else:
        given["model"] = desk.text_model.strip()
        given["source"] = source_of(desk)
        given["labels"] = "given" if desk.given else "model"
        if not given["source"]:
            raise InputError(f"{task_name(desk.task)} needs its files: upload them, or give the path of their folder.")
        if not given["model"]:
            raise InputError("A text task needs a language model: give a hub id or a folder.")
    return FailurePlan(**given)


def source_of(desk: Desk) -> str:
    """Where a text task's files are: those uploaded, else the path that was typed; "" for none."""
    return desk.kept or desk.typed.strip()


def _permuted(desk: Desk) -> str:
    """Whose null is taken: the wished one where it is chosen, else the first that reads layers."""
    possible = explainers.nulls(desk)
    return desk.permuted if desk.permuted in possible else next(iter(possible), "")


def _layers(desk: Desk) -> Any:
    if desk.layers != SOME:
        return "all" if desk.layers == ALL else "five"
    parts = [part for part in desk.numbers.replace(",", " ").split() if part]
    if not parts or not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        raise InputError("Layers are numbers from 1, such as 5, 10, 15: give at least one.")
    return tuple(int(part) for part in parts)
