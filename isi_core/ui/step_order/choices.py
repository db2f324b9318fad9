"""What goes in: the how-tos, the preset or the encoders and modalities, sizes and seed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import streamlit as st

from isi_core.datasets import step_catalogue
from isi_core.datasets.howto_articles import BUILT_IN
from isi_core.datasets.step_pairs import SAMPLE, SIZES
from isi_core.domain.errors import StudioError
from isi_core.models.encoders.rows import ENCODERS, TINY
from isi_core.studies.step_order.results import MODALITIES, MODALITY_NAMES
from isi_core.ui.bound import bound
from isi_core.ui.step_order import work
from isi_core.ui.step_order.desk import FULL, OWN, PLANS, QUICK, Desk
from isi_core.ui.wording import as_written

_DATA_WORDS = {BUILT_IN: "built-in how-tos (drawn anew)", SAMPLE: "built-in sample (60 articles)"}
_PLAN_WORDS = {
    QUICK: "One embedded encoder on all three modalities, few pairs: a first answer in minutes.",
    FULL: "The three embedded encoders on all three modalities: the whole accuracy table. Long: it runs in the "
    "background, can be stopped, and goes on where it was.",
    OWN: "Choose encoders, modalities and sizes yourself.",
}
_FORMAT = """
A zip file or folder with **`articles.jsonl`** (or any JSON list or JSON lines): one article an entry, `title`,
`category`, `steps` with `headline` and `image` each; pictures are named relative to the file. wikiHow's names (`goal`,
`methods`, `img`) are understood. WikiPlan's own folders (`task.txt`, `step_1.txt`, `step_1.png`) can be imported by
their path, and so can pairs that `order build` wrote. Articles with a step that has no headline or no usable picture
are left out, and each is named.
"""


def show(desk: Desk) -> None:
    """Every choice, and the button that starts the study."""
    names = step_catalogue.howto_names()
    if desk.data not in names:
        desk.data = names[0]
    st.selectbox("How-to articles", names, **bound(desk, "data"), format_func=lambda name: _DATA_WORDS.get(name, name))
    _import(desk)
    st.segmented_control("Study", PLANS, **bound(desk, "plan"))
    st.caption(_PLAN_WORDS[desk.plan])
    if desk.plan == OWN:
        _own(desk)
    plan = work.plan_of(desk)
    st.caption(as_written(work.plan_words(plan)))
    missing = work.missing_weights(plan)
    if missing:
        st.warning(
            f"The embedded weights of {as_written(', '.join(missing))} are not here: choose another encoder, or train "
            "them with `python -m isi_core.training.step_encoders`.",
            icon=":material/warning:",
        )
    known = work.known_study(plan)
    label = "Train and test" if known is None else "Go on" if not known.complete else "Train and test again"
    st.button(
        label,
        key="order_start",
        type="primary",
        icon=":material/play_arrow:",
        on_click=partial(work.start, desk, plan, again=known is not None and known.complete),
        disabled=desk.job is not None or bool(missing) or not plan.encoders or not plan.modalities,
        help="Fine-tunes each encoder with a linear head on the concatenated features, once a modality; the title is "
        "given to all (WikiOrder).",
    )


def _own(desk: Desk) -> None:
    names = [row.name for row in ENCODERS]
    if not desk.encoders:
        desk.encoders = [TINY[0]]
    st.multiselect(
        "Encoders",
        [*names, *(name for name in desk.encoders if name not in names)],
        **bound(desk, "encoders"),
        accept_new_options=True,
        help="The embedded ones know the built-in how-tos only. The others are loaded from the hub; a folder or "
        "another hub id can be typed.",
    )
    st.pills(
        "Modalities",
        MODALITIES,
        **bound(desk, "modalities"),
        selection_mode="multi",
        format_func=lambda name: MODALITY_NAMES[name],
    )
    size, epochs = st.columns([3, 2])
    size.selectbox(
        "Pairs of each category",
        list(SIZES),
        **bound(desk, "sizes"),
        format_func=lambda name: f"{name}: {SIZES[name].train:,}/{SIZES[name].validation:,}/{SIZES[name].test:,}",
        help="For training, validation and test; fewer where the articles do not suffice",
    )
    epochs.number_input("Epochs", 0, 100, **bound(desk, "epochs"), help="0: each encoder's own number")
    seed, seeds, each = st.columns([2, 2, 3], vertical_alignment="bottom")
    seed.number_input("Seed", 0, 2**31 - 1, **bound(desk, "seed"))
    seeds.number_input(
        "Seeds", 1, 20, **bound(desk, "seeds"), help="Everything so many times, with this seed and those after it"
    )
    each.toggle("One model a category", **bound(desk, "per_category"), help="Off: one model of all categories")


def _import(desk: Desk) -> None:
    with st.expander("Import how-tos", icon=":material/upload_file:"):
        st.markdown(_FORMAT)
        file = st.file_uploader("A zip file", type=["zip"], key=f"order_file_{desk.version}")
        path = st.text_input(
            "Or the path of a folder or zip file on this machine",
            key=f"order_path_{desk.version}",
            placeholder="/data/wikiplan",
        )
        st.button(
            "Import",
            key="order_import",
            on_click=partial(_take, desk, file, path.strip()),
            disabled=desk.job is not None or not (file or path.strip()),
        )
        found = desk.imported
        if found is not None:
            brought = f"{found.articles:,} articles" if found.articles else f"{found.pairs:,} pairs"
            st.success(f"{as_written(found.name)}: {brought} imported.", icon=":material/check:")
            if found.problems:
                st.caption(f"{len(found.problems):,} things were left out:")
                for problem in found.problems[:12]:
                    st.markdown(f"- {as_written(problem, 220)}")
                if len(found.problems) > 12:
                    st.caption(f"and {len(found.problems) - 12:,} more")
        own = desk.data not in _DATA_WORDS
        if own:
            st.button(
                f"Delete {as_written(desk.data)}",
                key="order_forget",
                icon=":material/delete:",
                on_click=partial(_forget, desk),
            )


def _take(desk: Desk, file: Any, path: str) -> None:
    desk.imported = None
    raw, title = (file.getvalue(), file.name) if file is not None else (b"", Path(path).name)
    name = step_catalogue.proposed_howto_name(Path(title).stem)

    def do(progress: Any) -> step_catalogue.ImportedHowtos:
        if not raw:
            return step_catalogue.import_howtos(Path(path).expanduser(), name, progress)
        with TemporaryDirectory() as folder:
            packed = Path(folder) / "upload.zip"
            packed.write_bytes(raw)
            return step_catalogue.import_howtos(packed, name, progress)

    def done(found: step_catalogue.ImportedHowtos) -> None:
        desk.imported, desk.data = found, found.name
        desk.version += 1

    work.submit(desk, f"Importing {title}", do, done)


def _forget(desk: Desk) -> None:
    try:
        step_catalogue.forget_howtos(desk.data)
    except StudioError as error:
        desk.error = str(error)
    desk.imported, desk.data = None, BUILT_IN
