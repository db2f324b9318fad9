"""Is an edit what it says? The automatic form of DiffEx's edit quality and disentanglement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.special import logit

from isi_core.domain.attributes import Attribute, EditSet
from isi_core.models.editors.protocol import Edited

Floats = NDArray[np.float64]
Presence = Mapping[Attribute, float]
"""Probability that a picture shows each attribute that the reader can read."""

THERE_BEFORE = "it was there before"
NOT_THERE_BEFORE = "it was not there before"
NOT_APPLICABLE = frozenset({THERE_BEFORE, NOT_THERE_BEFORE})
"""Reasons that say nothing against the editor: there was nothing to do."""
MISSING = "it is not there afterwards"
STILL_THERE = "it is still there afterwards"
UNCHANGED = "the picture did not change"
OUTSIDE = "the picture changed outside the edited region"
DRIFT = "other attributes changed with it"

_VISIBLE = 8  # grey levels that a pixel must differ by to count as changed


@dataclass(frozen=True)
class CheckSettings:
    """When an edit counts as failed.

    Attributes
    ----------
    present : probability from which on an attribute counts as there.
    outside : largest dissimilarity outside the edited region: 1 - SSIM with scikit-image, else the share of pixels
        that changed visibly.
    drift : largest share of the other readable attributes that may come or go.
    rise : what an edit has to move a rough reader's log-odds by at least, in nats.
    """

    present: float = 0.5
    outside: float = 0.25
    drift: float = 0.2
    rise: float = 0.1

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class EditCheck:
    """What the checks of one edit found.

    Attributes
    ----------
    reasons : why it is flagged; empty where it is valid.
    outside : dissimilarity outside the edited region in [0, 1]; None without a mask.
    drift : share of the other attributes that came or went; None without a reader.
    """

    reasons: tuple[str, ...]
    outside: float | None = None
    drift: float | None = None


def check_edit(
    edits: EditSet,
    base: Image.Image,
    edited: Edited,
    settings: CheckSettings,
    before: Presence | None = None,
    after: Presence | None = None,
    rough: bool = False,
) -> EditCheck:
    """The checks of an edit of any editor, by pixels and, where a reader was asked, by what it read.

    Of a `rough` reader's readings differences alone count: the edit has to move its attribute the way it says, and
    `drift` is the share of the other attributes that it moves further.

    An attribute that the reader does not know is not checked for. Of a group the reader's leaves count: the group is
    there when one of them is.
    """
    reasons: list[str] = []
    shift = None
    if before is not None and after is not None:
        if rough:
            found, shift = _by_movement(before, after, edits, settings.rise)
            reasons += found
        else:
            for edit in edits:
                was, now = _shows(before, edit.attribute), _shows(after, edit.attribute)
                if was is None or now is None:
                    continue
                reasons += _presence_reasons(edit.sign, was >= settings.present, now >= settings.present)
            shift = _drift(before, after, edits, settings.present)
        if shift is not None and shift > settings.drift:
            reasons.append(DRIFT)
    image = edited.image
    if base.size != image.size:
        base = base.resize(image.size, Image.Resampling.LANCZOS)
    old, new = np.asarray(base.convert("RGB")), np.asarray(image.convert("RGB"))
    outside = None
    if np.array_equal(old, new):
        reasons.append(UNCHANGED)
    elif edited.mask is not None:
        outside = _changed_outside(old, new, edited.mask)
        if outside > settings.outside:
            reasons.append(OUTSIDE)
    return EditCheck(tuple(dict.fromkeys(reasons)), outside, shift)


def check_presence(edits: EditSet, before: Sequence[bool], after: Sequence[bool]) -> EditCheck:
    """The checks of an edit whose subject is known: for each edit whether it was there before, and is afterwards."""
    reasons: list[str] = []
    for edit, was, now in zip(edits, before, after, strict=True):
        reasons += _presence_reasons(edit.sign, was, now)
    return EditCheck(tuple(dict.fromkeys(reasons)))


def _presence_reasons(sign: int, was: bool, now: bool) -> list[str]:
    if sign > 0:
        if was:
            return [THERE_BEFORE]
        return [] if now else [MISSING]
    if not was:
        return [NOT_THERE_BEFORE]
    return [STILL_THERE] if now else []


def _shows(presence: Presence, attribute: Attribute) -> float | None:
    found = [p for other, p in presence.items() if other.within(attribute)]
    return max(found) if found else None


def _others(before: Presence, after: Presence, edits: EditSet) -> list[Attribute]:
    """The readable attributes outside the edited groups of level 2."""
    edited = [Attribute(edit.attribute.path[:2]) for edit in edits]
    return [a for a in before if a in after and not any(a.within(e) or e.within(a) for e in edited)]


def _by_movement(before: Presence, after: Presence, edits: EditSet, least: float) -> tuple[list[str], float | None]:
    """Reasons and drift from how far the log-odds of each attribute moved."""
    moved = {a: float(_log_odds(after[a]) - _log_odds(before[a])) for a in before if a in after}
    reasons, rises = [], []
    for edit in edits:
        there = [edit.sign * shift for a, shift in moved.items() if a.within(edit.attribute)]
        if not there:
            continue
        rises.append(max(there))
        if rises[-1] < least:
            reasons.append(MISSING if edit.sign > 0 else STILL_THERE)
    others = _others(before, after, edits)
    if not rises or not others:
        return reasons, None
    return reasons, float(np.mean([abs(moved[a]) > max(0.0, *rises) for a in others]))


def _log_odds(probability: float) -> float:
    return float(logit(np.clip(probability, 1e-12, 1 - 1e-12)))


def _drift(before: Presence, after: Presence, edits: EditSet, present: float) -> float | None:
    """Share of the other attributes that came or went."""
    others = _others(before, after, edits)
    if not others:
        return None
    return float(np.mean([(before[a] >= present) != (after[a] >= present) for a in others]))


def _changed_outside(old: NDArray[np.uint8], new: NDArray[np.uint8], mask: NDArray[np.bool_]) -> float:
    """Dissimilarity outside the mask in [0, 1]; 0 where the mask covers all."""
    outside = ~mask
    if not outside.any():
        return 0.0
    ssim = _structural_similarity()
    if ssim is not None and min(old.shape[:2]) >= 7:
        grey_old, grey_new = (np.asarray(Image.fromarray(picture).convert("L")) for picture in (old, new))
        _, similarity = ssim(grey_old, grey_new, full=True, data_range=255)
        return float(1.0 - np.clip(similarity[outside].mean(), 0.0, 1.0))
    return pixels_changed(old, new, outside)


def pixels_changed(old: NDArray[np.uint8], new: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    """Share of the pixels of a region in which a channel differs by 8 grey levels or more."""
    differs = np.asarray(np.abs(old.astype(np.int16) - new.astype(np.int16)) >= _VISIBLE).any(axis=2)
    return float(np.asarray(differs)[where].mean()) if where.any() else 0.0


@cache
def _structural_similarity() -> Any:
    """scikit-image's SSIM where it is installed, else None."""
    try:
        from skimage.metrics import structural_similarity  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    return structural_similarity
