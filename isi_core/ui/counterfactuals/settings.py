"""How it is searched: editor, presets, every setting behind them, and what it will take."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import streamlit as st

from isi_core.domain.attributes import Corpus
from isi_core.domain.errors import StudioError
from isi_core.models.editors.protocol import Picture
from isi_core.reports.wording import duration
from isi_core.studies.counterfactuals.edit_checks import CheckSettings
from isi_core.studies.counterfactuals.run import SEARCHES, Search, Settings, estimate
from isi_core.studies.counterfactuals.scores import DIRECTIONS, SCALES
from isi_core.studies.counterfactuals.settings import check_feasible
from isi_core.ui.bound import bound, guarded
from isi_core.ui.counterfactuals import choices, work
from isi_core.ui.counterfactuals.corpus import corpus_of, drawable
from isi_core.ui.counterfactuals.desk import Desk
from isi_core.ui.counterfactuals.pictures import chosen_pictures
from isi_core.ui.wording import as_written

PRESETS: dict[str, dict[str, Any]] = {
    "quick look": {"search": "exhaustive", "joint": 1, "count": 8},
    "paper": {"search": "beam", "beam": 3, "threshold": 0.0, "joint": 2, "count": 24},
    "exhaustive": {"search": "exhaustive", "joint": 2, "count": 24},
}
_SLOW_QUICK: dict[str, Any] = {"search": "beam", "beam": 2, "threshold": 0.0, "joint": 1, "count": 4}
"""A quick look with an editor that takes seconds or minutes an edit."""
_PRESET_WORDS = {
    "quick look": "Every attribute of every level on few pictures, one at a time.",
    "paper": "Algorithm 1 of DiffEx: a beam of 3 down the hierarchy, then pairs of attributes of different branches.",
    "exhaustive": "Every attribute, and every pair of leaves of different branches: the most edits, nothing is missed.",
    "custom": "Settings of your own.",
}
_SLOW_WORDS = "A beam of 2 down the hierarchy on few pictures, one attribute at a time."
_SEARCH_WORDS = {"racing": "racing (fewest edits)"}
_SEARCHES_BESIDE: tuple[Search, ...] = ("greedy", "beam", "exhaustive")


def search(desk: Desk) -> None:
    """The search's presets, and behind a fold every setting."""
    options = [*PRESETS, *(["custom"] if desk.preset == "custom" else [])]
    st.segmented_control("Search", options, **bound(desk, "preset", partial(_adopt, desk)))
    slow = desk.preset == "quick look" and desk.editor != "render"
    st.caption(_SLOW_WORDS if slow else _PRESET_WORDS[desk.preset])
    with st.expander("Search, score and checks", icon=":material/tune:"):
        _details(desk)


def _adopt(desk: Desk) -> None:
    if desk.preset in PRESETS:
        slow = desk.preset == "quick look" and desk.editor != "render"
        for name, value in (_SLOW_QUICK if slow else PRESETS[desk.preset]).items():
            setattr(desk, name, value)


def _custom(desk: Desk) -> None:
    desk.preset = "custom"


def editor(desk: Desk) -> None:
    """What makes the counterfactuals, with its settings."""
    found = choices.editors(desk)
    choices.chosen_editor(desk)
    st.selectbox(
        "Editor",
        list(found),
        **bound(desk, "editor", partial(editor_changed, desk)),
        help="What makes the counterfactuals. " + " ".join(f"{name}: {words}" for name, words in found.items()),
    )
    if desk.editor == "render":
        st.caption(found["render"])
        return
    st.text_input(
        "Diffusion pipeline: folder or hub id",
        **bound(desk, "editor_model", partial(choices.adopt_editor_settings, desk)),
        placeholder=choices.diffusion_default(desk),
        help="A Stable Diffusion 1.5 or XL checkpoint in diffusers' format (for instruct one that edits by "
        "instructions), safetensors only.",
    )
    if desk.editor == "instruct":
        _instruct(desk)
        return
    if choices.edits_with_tiny(desk):
        st.caption(
            "tiny-diffusion comes with ISI Studio and knows only drawn portraits of 64 x 64 pixels. It adds hair, "
            "hats, glasses, a full beard or a grin, and mostly fails at the smallest attributes, such as a goatee or a "
            "mustache: look at the flagged edits."
        )
    with st.expander("LEDITS++", icon=":material/brush:"):
        left, right = st.columns(2)
        left.number_input("Inversion steps", 2, 1000, **bound(desk, "inversion_steps"))
        right.number_input(
            "Skipped steps", 0, 999, **bound(desk, "skipped"), help="The noisiest ones: more, and edits keep closer."
        )
        left.number_input("Edit guidance scale", 0.5, 100.0, step=0.5, **bound(desk, "edit_guidance"))
        right.number_input(
            "Edit threshold (quantile)",
            0.0,
            1.0,
            step=0.05,
            **bound(desk, "edit_threshold"),
            help="High for small regions, low for large ones.",
        )


def _instruct(desk: Desk) -> None:
    with st.expander("Instruction editing", icon=":material/brush:"):
        left, right = st.columns(2)
        left.number_input("Steps", 1, 1000, **bound(desk, "instruct_steps"))
        right.number_input(
            "Text guidance",
            0.0,
            100.0,
            step=0.5,
            **bound(desk, "text_guidance"),
            help="How far it is followed, above 1. 0: the pipeline's usual. Some distilled ones do not listen to it.",
        )
        left.number_input(
            "Image guidance",
            1.0,
            100.0,
            step=0.1,
            **bound(desk, "image_guidance"),
            help="How far the picture stays. InstructPix2Pix alone has it.",
        )


def editor_changed(desk: Desk) -> None:
    """Take what fits the editor: its settings, and the preset's search where a slow one wants another."""
    choices.adopt_editor_settings(desk)
    wanted = desk.count
    _adopt(desk)
    desk.count = min(desk.count, wanted)  # nobody who asked for few pictures gets more of them


def _details(desk: Desk) -> None:
    custom = partial(_custom, desk)
    left, right = st.columns(2)
    left.selectbox("Search", SEARCHES, **bound(desk, "search", custom), format_func=lambda s: _SEARCH_WORDS.get(s, s))
    right.number_input(
        "Attributes together", 1, 4, **bound(desk, "joint", custom), help="2: pairs too, with their interaction."
    )
    if desk.search == "beam":
        left.number_input("Beam width B", 1, 100, **bound(desk, "beam", custom))
    if desk.search in ("beam", "greedy"):
        right.number_input(
            "Threshold δ",
            -100.0,
            100.0,
            step=0.1,
            **bound(desk, "threshold", custom),
            help="A group is looked into only if it moves the score so far.",
        )
    if desk.search == "racing":
        left.number_input("Places raced for", 1, 100, **bound(desk, "top", custom))
    left.selectbox(
        "Score",
        SCALES,
        **bound(desk, "scale"),
        help="Log-odds of the class do not saturate where a probability does.",
    )
    right.selectbox(
        "Direction", DIRECTIONS, **bound(desk, "direction"), help="both: what raises and what lowers the score."
    )
    left.selectbox(
        "Compared with",
        ("reconstruction", "original"),
        **bound(desk, "base"),
        help="The reconstruction is the editor's own picture with no edit, so that its losses do not count as effect.",
    )
    right.selectbox(
        "Attributes are", (1, -1), **bound(desk, "sign"), format_func=lambda s: "added" if s > 0 else "taken away"
    )
    if desk.joint > 1:
        right.toggle(
            "Also the other sign",
            **bound(desk, "both_signs"),
            help="Of the strongest pair: the panel of the view *Joint* then shows its attributes added and taken away "
            "(DiffEx, Figure 8).",
        )
    left.number_input("Seed", 0, 2**31 - 1, **bound(desk, "seed"))
    right.toggle(
        "Check every edit",
        **bound(desk, "checked"),
        help="Flags edits that did not do what they say; they are shown apart and enter no mean.",
    )


def settings_of(desk: Desk) -> Settings:
    """The desk's settings for the study.

    Raises
    ------
    InputError : one is out of its range.
    """
    return Settings(
        search=desk.search,  # type: ignore[arg-type]  # checked there
        beam=int(desk.beam),
        threshold=float(desk.threshold),
        direction=desk.direction,  # type: ignore[arg-type]
        scale=desk.scale,  # type: ignore[arg-type]
        base=desk.base,  # type: ignore[arg-type]
        joint=int(desk.joint),
        top=int(desk.top),
        sign=int(desk.sign),
        both_signs=bool(desk.both_signs) and int(desk.joint) > 1,
        class_label=desk.class_label.strip(),
        seed=int(desk.seed),
        checks=CheckSettings() if desk.checked else None,
    )


def _beside(corpus: Corpus, settings: Settings, pictures: int) -> None:
    """What the same question takes by each search, as the paper's Table B holds them beside each other."""
    told = []
    for name in _SEARCHES_BESIDE:
        width = f" of {settings.beam}" if name == "beam" else ""
        edits = estimate(corpus, replace(settings, search=name), pictures).edits
        told.append(f"{name}{width}: {edits:,}")
    st.caption(
        f"Edits at most, by search – {' · '.join(told)}",
        help="Greedy and beam search grow with the attributes, beam search also with its width; exhaustive search "
        "grows with every pair where attributes are edited together. All grow with the pictures.",
    )


def start(desk: Desk, pictures: list[Picture], corpus: Corpus | None) -> None:
    """What it will take, and the button that begins."""
    ready = False
    if corpus is not None and pictures:
        try:
            usable, settings = drawable(desk, corpus), settings_of(desk)
            planned = estimate(usable, settings, len(pictures))
            check_feasible(planned)
        except StudioError as error:
            st.error(as_written(str(error)), icon=":material/error:")
        else:
            seconds = planned.edits * work.seconds_an_edit(desk)
            st.markdown(
                f"**At most {planned.edits:,} edits**, about {duration(seconds)} · {planned.sets:,} attribute sets × "
                f"{len(pictures)} picture{'s' * (len(pictures) != 1)}",
                help="The first time; edits that were made before are taken from the edit bank. A search that ends "
                "early takes fewer. The time is measured on the rankings made here, and a guess before the first.",
            )
            _beside(usable, settings, len(pictures))
            ready = True
    st.button(
        "Rank the attributes",
        key="ranking_start",
        type="primary",
        icon=":material/leaderboard:",
        on_click=partial(guarded, desk, _begin, desk),
        disabled=not ready or desk.job is not None,
        width="stretch",
    )


def _begin(desk: Desk) -> None:
    """Rank by what lies on the desk now: a choice made a moment ago may not have been drawn yet."""
    work.begin(desk, chosen_pictures(desk), drawable(desk, corpus_of(desk)), settings_of(desk))
