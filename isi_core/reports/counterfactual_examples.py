"""A ranking's picture figures, from its results and the pictures that the edit bank holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from PIL import Image

from isi_core.domain.attributes import EditSet
from isi_core.domain.errors import InputError, StudioError
from isi_core.reports.counterfactual_figures import unit_of
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
        below = result.children(found.attribute)
        kinds = [(child.attribute.label, _signed(child.signed.estimate)) for child in below[:_KINDS]]
        if len(below) > _KINDS:
            kinds.append((f"and {len(below) - _KINDS} more", ""))
        above = found.attribute.parent
        path = above.text if above is not None else "whole group, kinds drawn by lot"
        rows.append(GridRow(found.attribute.label, path, tuple(facts), tuple(kinds), tuple(pairs)))
    return rows


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
        f"Each pair is a picture (red frame) and the same picture with the attribute added (black frame); in the "
        f"corner the score for “{one_line(result.class_label, 40)}” ({unit_of(result)}). Shown are the pictures that "
        "change most; where only a small part changed, it is outlined in blue and set enlarged into a corner. The tree "
        "below a name lists its sub-types with their signed means."
    )
    return ranking_plate(grid_rows(result, chosen, pictures, count, flagged), reading, width, ink, first)


def in_parts(plate_of: Callable[[Sequence[SetResult]], Plate], chosen: Sequence[SetResult]) -> list[Plate]:
    """A long picture figure as one plate a row, for pages: the reading stands below the last."""
    plates = [plate_of([found]) for found in chosen]
    return [replace(plate, reading="") for plate in plates[:-1]] + plates[-1:]


def joint_rows(joint: JointResult, result: Result, pictures: EditedPicture, count: int = 2) -> list[JointRow]:
    """The rows of Figure 8: original, each part alone, both, on the pictures that the whole changes most."""
    names = dict(result.pictures)
    rows = []
    for delta in strongest_deltas(joint.whole, joint.whole.images):
        original, both = pictures(delta.picture, ()), pictures(delta.picture, joint.whole.edits)
        if original is None or both is None:
            continue
        cells = [("original", original, score_words(delta.base))]
        for edit in joint.whole.edits:
            alone = pictures(delta.picture, (edit,))
            found = next((s for s in result.sets if s.edits == (edit,)), None)
            score = next((d.score for d in found.deltas if d.picture == delta.picture), math.nan) if found else math.nan
            if alone is not None:
                cells.append((edit.text, alone, score_words(score)))
        cells.append(("both" if len(joint.whole.edits) == 2 else "all", both, score_words(delta.score)))
        rows.append(JointRow(one_line(names.get(delta.picture, ""), 30), tuple(cells)))
        if len(rows) == count:
            break
    most = max((len(row.cells) for row in rows), default=0)
    return [row for row in rows if len(row.cells) == most]


def joint_figure_plate(
    joint: JointResult,
    result: Result,
    pictures: EditedPicture,
    count: int = 2,
    width: float = 820.0,
    ink: Ink = LIGHT,
) -> Plate:
    """Figure 8 of a joint edit.

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
