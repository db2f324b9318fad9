"""Is an edit what it says? The automatic form of DiffEx's edit quality and disentanglement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion
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

_WINDOW = 7  # scikit-image's
_VISIBLE = 8  # grey levels that a pixel must differ by to count as changed


@dataclass(frozen=True)
class CheckSettings:
    """When an edit counts as failed.

    Attributes
    ----------
    present : probability from which on an attribute counts as there.
    outside : largest dissimilarity outside the edited region, 1 - SSIM: the share of changed pixels is reported but
        flags nothing, since a diffusion model shifts even surfaces by a few grey levels.
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
class EditQuality:
    """What was measured of one edit; None where it could not be.

    Attributes
    ----------
    before, after : probability that the picture shows each edited attribute, in the order of the edits, by the reader
        or, exactly, by the subject; empty where nothing read it.
    ssim : mean structural similarity outside the edited region (Wang et al., IEEE TIP 2004; scikit-image), over
        windows that lie wholly outside.
    pixels : share of the pixels outside the edited region that changed by 8 grey levels or more.
    drift : share of the other attributes that came or went.
    """

    before: tuple[float | None, ...] = ()
    after: tuple[float | None, ...] = ()
    ssim: float | None = None
    pixels: float | None = None
    drift: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; what was not measured is left out."""
        made = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {key: value for key, value in made.items() if value not in (None, [])}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EditQuality:
        """From `to_json`'s form."""

        def one(value: Any) -> float | None:
            return None if value is None else float(value)

        return cls(
            tuple(map(one, data.get("before", ()))),
            tuple(map(one, data.get("after", ()))),
            *(one(data.get(key)) for key in ("ssim", "pixels", "drift")),
        )


@dataclass(frozen=True)
class EditCheck:
    """What the checks of one edit found: why it is flagged (nothing where it is valid), and what was measured."""

    reasons: tuple[str, ...]
    quality: EditQuality = field(default_factory=EditQuality)


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
    was_shown: tuple[float | None, ...] = ()
    is_shown: tuple[float | None, ...] = ()
    if before is not None and after is not None:
        there = [(_shows(before, edit.attribute), _shows(after, edit.attribute)) for edit in edits]
        if any(was is not None and now is not None for was, now in there):
            was_shown, is_shown = tuple(was for was, _ in there), tuple(now for _, now in there)
        if rough:
            found, shift = _by_movement(before, after, edits, settings.rise)
            reasons += found
        else:
            for edit, (was, now) in zip(edits, there, strict=True):
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
    ssim = pixels = None
    if np.array_equal(old, new):
        reasons.append(UNCHANGED)
    elif edited.mask is not None and not edited.mask.all():
        ssim, pixels = _ssim(old, new, ~edited.mask), pixels_changed(old, new, ~edited.mask)
        if ssim is not None and 1.0 - ssim > settings.outside:
            reasons.append(OUTSIDE)
    return EditCheck(tuple(dict.fromkeys(reasons)), EditQuality(was_shown, is_shown, ssim, pixels, shift))


def check_presence(edits: EditSet, before: Sequence[bool], after: Sequence[bool]) -> EditCheck:
    """The checks of an edit whose subject is known: for each edit whether it was there before, and is afterwards."""
    reasons: list[str] = []
    for edit, was, now in zip(edits, before, after, strict=True):
        reasons += _presence_reasons(edit.sign, was, now)
    quality = EditQuality(tuple(map(float, before)), tuple(map(float, after)))
    return EditCheck(tuple(dict.fromkeys(reasons)), quality)


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


def _ssim(old: NDArray[np.uint8], new: NDArray[np.uint8], where: NDArray[np.bool_]) -> float | None:
    """Mean structural similarity of a region, in grey; None where no window of 7 x 7 pixels lies in it.

    A window that reaches out of the region would count what was meant to change.
    """
    from skimage.metrics import structural_similarity  # not before it is needed: it takes half a second

    if min(old.shape[:2]) < _WINDOW:
        return None
    where = binary_erosion(where, np.ones((_WINDOW, _WINDOW), dtype=bool), border_value=1)
    if not where.any():
        return None
    grey_old, grey_new = (np.asarray(Image.fromarray(picture).convert("L")) for picture in (old, new))
    measure: Any = structural_similarity  # it has no types
    _, similarity = measure(grey_old, grey_new, full=True, data_range=255)
    return float(np.clip(similarity[where].mean(), 0.0, 1.0))


def pixels_changed(old: NDArray[np.uint8], new: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    """Share of the pixels of a region in which a channel differs by 8 grey levels or more."""
    differs = np.asarray(np.abs(old.astype(np.int16) - new.astype(np.int16)) >= _VISIBLE).any(axis=2)
    return float(np.asarray(differs)[where].mean()) if where.any() else 0.0
