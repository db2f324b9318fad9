"""A ranking's picture figures, from its results and the pictures that the edit bank holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from PIL import Image

from isi_core.domain.attributes import EditSet
from isi_core.domain.errors import InputError, StudioError
from isi_core.reports.counterfactual_figures import done_words, unit_of
from isi_core.reports.counterfactual_grid import GridRow, JointRow, Pair, joint_plate, ranking_plate
from isi_core.reports.counterfactual_plate import LIGHT, Ink, Plate
from isi_core.reports.counterfactual_tables import interval_words
from isi_core.reports.wording import number, one_line
from isi_core.studies.counterfactuals.results import Delta, JointResult, Result, SetResult

EditedPicture = Callable[[str, EditSet], Image.Image | None]
"""(picture's digest, edit set) -> its counterfactual; () is the base. None where it is not kept any more."""

_KINDS = 6


def score_words(value: float) -> str:
    """A score for the corner of a picture: two decimals."""
    if not math.isfinite(value):
        return "–"
    return f"{value:.2f}".replace("-", "−")


def strongest_deltas(found: SetResult, count: int, flagged: bool = False) -> list[Delta]:
    """The pictures on which an edit changed the score most; the valid ones first, flagged ones only where asked."""
    chosen = [d for d in found.deltas if d.valid or flagged]
    return sorted(chosen, key=lambda d: (not d.valid, -abs(d.change) if math.isfinite(d.change) else 0.0))[:count]


def grid_rows(
    result: Result,
    chosen: Sequence[SetResult],
    pictures: EditedPicture,
    count: int = 3,
    flagged: bool = False,
) -> list[GridRow]:
    """The rows of Figure 4: each attribute on the `count` pictures that it changes most, with its sub-types."""
    below_of: dict[tuple[str, ...], list[SetResult]] = {}
    for found in result.sets:
        below_of.setdefault(found.attribute.path[:-1], []).append(found)
    rows = []
    for found in chosen:
        pairs = []
        # A picture that is gone from the bank leaves its place to the next.
        for delta in strongest_deltas(found, found.images, flagged):
            original, edited = pictures(delta.picture, ()), pictures(delta.picture, found.edits)
            if original is None or edited is None:
                continue
            flag = "; ".join(delta.reasons)
            pairs.append(Pair(original, edited, score_words(delta.base), score_words(delta.score), flag))
            if len(pairs) == count:
                break
        facts = [f"influence {number(found.influence)}", f"signed {_signed(found.signed.estimate)}"]
        if found.signed.bounded:
            facts.append(f"95 %: {interval_words(found)}")
        if found.valid < found.images:
            facts.append(f"{found.valid} of {found.images} edits valid")
        below = below_of.get(found.attribute.path, [])
        kinds = [(child.attribute.label, _signed(child.signed.estimate)) for child in below[:_KINDS]]
        if len(below) > _KINDS:
            kinds.append((f"and {len(below) - _KINDS} more", ""))
        title = found.attribute.label if found.edits[0].sign > 0 else f"− {found.attribute.label}"
        rows.append(GridRow(title, _belongs_to(found, result), tuple(facts), tuple(kinds), tuple(pairs)))
    return rows


def _belongs_to(found: SetResult, result: Result) -> str:
    """The groups that an attribute stands below; of a group of level 1, what an edit of it does."""
    above = found.attribute.parent
    if above is not None:
        return above.text
    if not result.corpus.children(found.attribute):
        return ""
    if found.edits[0].sign > 0 and result.settings.get("groups_by_lot", _is_render(result)):
        return "whole group, kinds drawn by lot"
    return "whole group, every kind of it" if _is_render(result) else "whole group, by its own words"


def _is_render(result: Result) -> bool:
    editor = result.settings.get("editor")
    return isinstance(editor, Mapping) and editor.get("name") == "render"


def _signed(value: float) -> str:
    shown = number(value)
    return f"+{shown}" if value > 0 else shown


def counterfactual_plate(
    result: Result,
    chosen: Sequence[SetResult],
    pictures: EditedPicture,
    count: int = 3,
    flagged: bool = False,
    width: float = 820.0,
    ink: Ink = LIGHT,
    first: int = 1,
) -> Plate:
    """Figure 4 of a ranking; `first` is the place of the first row.

    Raises
    ------
    InputError : nothing was chosen.
    """
    reading = (
        f"Each pair is a picture (red frame) and the same picture with the attribute {done_words(result)} (black "
        f"frame); in the corner the score for “{one_line(result.class_label, 40)}” ({unit_of(result)}). Shown are the "
        "pictures that change most; where only a small part changed, it is outlined in blue and set enlarged into a "
        "corner. The tree below a name lists its sub-types with their signed means."
    )
    return ranking_plate(grid_rows(result, chosen, pictures, count, flagged), reading, width, ink, first)


def in_parts(plate_of: Callable[[Sequence[SetResult]], Plate], chosen: Sequence[SetResult]) -> list[Plate]:
    """A long picture figure as one plate a row, for pages: the reading stands below the last."""
    plates = [plate_of([found]) for found in chosen]
    return [replace(plate, reading="") for plate in plates[:-1]] + plates[-1:]


def joint_rows(
    joint: JointResult,
    result: Result,
    pictures: EditedPicture,
    count: int = 2,
) -> list[JointRow]:
    """The rows of Figure 8: original, each part alone, both, on the pictures that the whole changes most.

    Where the ranking has them with the other sign too (`Result.opposite`), these rows stand below: on the same
    pictures, where both signs could be edited there.
    """
    alone = [found for found in result.sets if found.edits in {(edit,) for edit in joint.whole.edits}]
    rows = _rows_of(joint.whole, alone, result, pictures, count)
    if opposite := opposite_of(joint, result):
        whole, *parts = opposite
        other = _rows_of(whole, parts, result, pictures, count, first=list(rows))
        both_ways: dict[str, list[JointRow]] = {}
        for found, of_sign in ((joint.whole, rows), (whole, other)):
            fact = f"{_done(found)}: together {_signed(found.signed.estimate)} on average"
            for digest, row in of_sign.items():
                both_ways.setdefault(digest, []).append(replace(row, fact=fact))
        made = [row for of_picture in both_ways.values() for row in of_picture]
    else:
        made = list(rows.values())
    most = max((len(row.cells) for row in made), default=0)
    return [row for row in made if len(row.cells) == most]


def opposite_of(joint: JointResult, result: Result) -> tuple[SetResult, ...]:
    """The same attributes with the other sign: together first, then each alone; () where that was not made."""
    wanted = [replace(edit, sign=-edit.sign) for edit in joint.whole.edits]
    made = result.opposite
    return made if made and sorted(made[0].edits) == sorted(wanted) else ()


def _done(found: SetResult) -> str:
    return {1: "added", -1: "taken away", 0: "added and taken away"}[_sign(found)]


def _sign(found: SetResult) -> int:
    """The sign that all its edits have; 0 where they differ."""
    signs = {edit.sign for edit in found.edits}
    return signs.pop() if len(signs) == 1 else 0


def _rows_of(
    whole: SetResult,
    parts: Sequence[SetResult],
    result: Result,
    pictures: EditedPicture,
    count: int,
    first: Sequence[str] = (),
) -> dict[str, JointRow]:
    """By picture, the row of one joint edit of either sign; the pictures `first` come before others."""
    names = dict(result.pictures)
    scores = {found.edits: {delta.picture: delta.score for delta in found.deltas} for found in parts}
    sign = {1: "+ ", -1: "− ", 0: ""}[_sign(whole)]
    rows: dict[str, JointRow] = {}
    # Sorting keeps the order of the strongest among equals.
    for delta in sorted(strongest_deltas(whole, whole.images), key=lambda d: d.picture not in first):
        original, both = pictures(delta.picture, ()), pictures(delta.picture, whole.edits)
        if original is None or both is None:
            continue
        cells = [("original", original, score_words(delta.base))]
        for edit in whole.edits:
            alone = pictures(delta.picture, (edit,))
            if alone is not None:
                score = scores.get((edit,), {}).get(delta.picture, math.nan)
                cells.append((edit.text, alone, score_words(score)))
        cells.append((f"{sign}{'both' if len(whole.edits) == 2 else 'all'}", both, score_words(delta.score)))
        rows[delta.picture] = JointRow(one_line(names.get(delta.picture, ""), 30), tuple(cells))
        if len(rows) == count:
            break
    return rows


def joint_figure_plate(
    joint: JointResult,
    result: Result,
    pictures: EditedPicture,
    count: int = 2,
    width: float = 820.0,
    ink: Ink = LIGHT,
) -> Plate:
    """Figure 8 of a joint edit, with its opposite where that was made too (see `joint_rows`).

    Raises
    ------
    InputError : its pictures are not kept any more.
    """
    rows = joint_rows(joint, result, pictures, count)
    if not rows:
        raise InputError("The counterfactuals of this combination are not in the edit bank any more: rank again.")
    bounds = joint.interaction
    interval = f" ({number(bounds.low)} to {number(bounds.high)})" if bounds.bounded else ""
    reading = (
        f"The original in red, each attribute alone, and all together; in the corner the score for "
        f"“{one_line(result.class_label, 40)}”. Together they change it by {_signed(joint.whole.signed.estimate)} on "
        f"average, each alone by {' and '.join(_signed(part) for part in joint.parts)}: an interaction of "
        f"{_signed(bounds.estimate)}{interval}."
    )
    if opposite := opposite_of(joint, result):
        change = opposite[0].signed.estimate
        told = f"they change it by {_signed(change)}" if math.isfinite(change) else "no edit of both was valid"
        reading += f" {_done(opposite[0]).capitalize()}, {told}."
    return joint_plate(rows, reading, width, ink)


def originals(pictures: Mapping[str, Image.Image], edited: EditedPicture) -> EditedPicture:
    """The same pictures, with the originals themselves as the base where the bank has no reconstruction."""

    def find(picture: str, edits: EditSet) -> Image.Image | None:
        try:
            found = edited(picture, edits)
        except StudioError:
            found = None
        return found if found is not None or edits else pictures.get(picture)

    return find
