"""The ranking that is looked at: which one, its counterfactuals as pictures, which of its attributes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st
from PIL import Image

from isi_core.domain.attributes import EditSet
from isi_core.domain.errors import StudioError
from isi_core.models.editors.render import RenderEditor
from isi_core.reports.counterfactual_examples import EditedPicture, originals
from isi_core.reports.counterfactual_plate import DARK, LIGHT, Ink
from isi_core.reports.counterfactual_truth import Truth, truth_of
from isi_core.studies.counterfactuals.bank import EditBank, default_bank
from isi_core.studies.counterfactuals.results import SetResult
from isi_core.ui.bound import bound, guarded
from isi_core.ui.counterfactuals import kept
from isi_core.ui.counterfactuals.desk import Desk
from isi_core.ui.counterfactuals.kept import Entry, Kept
from isi_core.ui.wording import as_written
from isi_core.worlds.rules import shipped_rule

FLAGS = ("valid only", "flagged too", "flagged only")
LEVELS = ("all levels", "level 1", "level 2", "level 3")


def choose(desk: Desk) -> Kept | None:
    """The ranking that is looked at, from the list of all that are kept; None where there is none."""
    found = kept.entries()
    if not found:
        desk.shown = ""
        return None
    by_key = {entry.key: entry for entry in found}
    if desk.shown not in by_key:
        desk.shown = found[0].key
    picker, delete = st.columns([8, 1], vertical_alignment="bottom")
    picker.selectbox(
        "Ranking",
        list(by_key),
        **bound(desk, "shown", partial(_forget_choice, desk)),
        format_func=lambda key: _entry_words(by_key[key]) if key in by_key else key[:8],
        help="Every ranking that was made is kept below your ISI Studio folder.",
    )
    delete.button(
        "",
        icon=":material/delete:",
        key="ranking_delete",
        help="Forget this ranking; its edits stay in the edit bank.",
        on_click=partial(guarded, desk, _delete, desk),
        type="tertiary",
    )
    if desk.deleted is not None:
        st.button(
            "Bring the deleted ranking back",
            key="ranking_undelete",
            icon=":material/undo:",
            type="tertiary",
            on_click=partial(guarded, desk, _undelete, desk),
        )
    entry = by_key[desk.shown]
    try:
        return desk.computed(("kept", entry.key, entry.modified), lambda: kept.load(entry.key))
    except StudioError as error:
        st.error(as_written(str(error)), icon=":material/error:")
        return None


def _entry_words(entry: Entry) -> str:
    stopped = " · stopped early" if entry.stopped else ""
    return f"{entry.title}{stopped} · {entry.created[:16].replace('T', ' ')} · {entry.key[:8]}"


def _forget_choice(desk: Desk) -> None:
    desk.chosen = desk.picture = ""
    desk.joint_chosen = 0


def _delete(desk: Desk) -> None:
    desk.deleted = kept.load(desk.shown)
    kept.delete(desk.shown)
    desk.shown = ""
    _forget_choice(desk)


def _undelete(desk: Desk) -> None:
    if desk.deleted is not None:
        kept.keep(desk.deleted)
        desk.shown, desk.deleted = desk.deleted.key, None


def pictures_of(desk: Desk, made: Kept) -> EditedPicture:
    """The counterfactuals of a ranking: drawn again where its editor is exact, else from the edit bank."""
    known = {picture.digest: picture for picture in made.pictures}
    seed = made.result.settings.get("seed", 0)
    record = made.result.settings.get("editor", {})
    side = record.get("side", 128) if isinstance(record, dict) else 128
    drawn = made.world and isinstance(record, dict) and record.get("name") == "render"
    find: Callable[[str, EditSet], Image.Image | None]
    if drawn:
        editor = RenderEditor(made.world, int(side))

        def find(digest: str, edits: EditSet) -> Image.Image | None:
            if digest not in known:
                return None
            return editor.edit(known[digest], edits, int(seed)).image if edits else known[digest].image
    else:
        bank = EditBank(default_bank())

        def find(digest: str, edits: EditSet) -> Image.Image | None:
            edited = bank.get(digest, edits, dict(record), int(seed))
            return edited.image if edited is not None else None

    within = originals({digest: picture.image for digest, picture in known.items()}, find)

    def remembered(digest: str, edits: EditSet) -> Image.Image | None:
        return desk.picture_of((made.key, digest, edits), lambda: within(digest, edits))

    return remembered


def filters(desk: Desk, made: Kept) -> None:
    """Which attributes are shown: the best few, of which level, with or without the flagged edits."""
    most = max(1, len(made.result.sets))
    desk.shown_top = max(1, min(desk.shown_top, most))
    if desk.flags not in FLAGS:
        desk.flags = FLAGS[0]
    top, level, flags = st.columns(3)
    top.number_input("Strongest", 1, most, **bound(desk, "shown_top"))
    level.selectbox("Level", LEVELS, **bound(desk, "shown_level"))
    flags.selectbox(
        "Edits",
        FLAGS,
        **bound(desk, "flags"),
        help="An edit is flagged when it did not do what it says: the attribute was there before, is not there "
        "afterwards, or something else changed with it. Flagged edits enter no mean.",
    )


def chosen_sets(desk: Desk, made: Kept) -> list[SetResult]:
    """The attributes that the filters leave, strongest first."""
    result = made.result
    pool: list[SetResult] = list(result.ranking)
    if desk.flags == "flagged too":
        pool += result.apart
    elif desk.flags == "flagged only":
        pool = [found for found in result.sets if found.valid < found.images]
    if desk.shown_level != LEVELS[0]:
        level = LEVELS.index(desk.shown_level)
        pool = [found for found in pool if found.attribute.level == level]
    return pool[: int(desk.shown_top)]


def ink() -> Ink:
    """Colours of picture figures that fit the page's theme."""
    try:
        dark = st.context.theme.type == "dark"
    except (AttributeError, RuntimeError):
        dark = False
    return DARK if dark else LIGHT


def truth(desk: Desk, made: Kept) -> Truth | None:
    """What was planted, where the ranking's classifier follows a shipped rule and its pictures are a world's."""
    if not made.rule or not made.world:
        return None
    try:
        rule = shipped_rule(made.rule)
    except StudioError:
        return None
    subjects = [p.subject for p in made.pictures if p.subject is not None]
    return desk.computed(("truth", made.key, made.created), lambda: truth_of(made.result, rule, subjects))
