"""What edits do to a classifier's scores: edits fetched or made, checked, classified, each once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from isi_core.domain.attributes import EditSet, edit_set
from isi_core.domain.errors import InputError
from isi_core.models.classifiers.protocol import AttributeReader, Classifier, SubjectClassifier
from isi_core.models.editors.protocol import NEUTRAL, Edited, ImageEditor, Picture, SubjectEditor, as_made, told_steps
from isi_core.studies.counterfactuals.bank import EditBank
from isi_core.studies.counterfactuals.edit_checks import (
    CheckSettings,
    EditCheck,
    Presence,
    check_edit,
    check_presence,
)
from isi_core.studies.counterfactuals.results import Delta
from isi_core.studies.counterfactuals.scores import Scale, class_scores

Base = Literal["reconstruction", "original"]
Tell = Callable[[str], None]
"""Told what is being done before every edit that is made and at its steps; raises `Cancelled` to stop."""

SMALLEST_SIDE, LARGEST_SIDE = 16, 4096


@dataclass(frozen=True)
class _Shown:
    """A picture with what the classifier said of it; `image` is None where no picture had to be drawn."""

    image: Image.Image | None
    logits: NDArray[np.float64]
    presence: Presence | None = None


class Effects:
    """Effects of edit sets on the pictures, by their number; edits, logits and checks are taken once each.

    With a `SubjectClassifier` (a world's rule) nothing is drawn: the editor tells which subject an edit would show.

    Attributes
    ----------
    edits_made : edits that the editor made now; those of the bank not counted.
    denoiser_evaluations : what these took, reconstructions included.
    asked : edits that were asked for, one a picture and edit set, without reconstructions and no-op edits.
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        editor: ImageEditor,
        classifier: Classifier,
        class_index: int,
        scale: Scale = "log-odds",
        base: Base = "reconstruction",
        seed: int = 0,
        bank: EditBank | None = None,
        reader: AttributeReader | None = None,
        checks: CheckSettings | None = None,
        tell: Tell | None = None,
    ) -> None:
        check_pictures(pictures)
        by_subject = isinstance(classifier, SubjectClassifier)
        if by_subject and not isinstance(editor, SubjectEditor):
            raise InputError("A rule is computed from a built-in world's subjects: choose the render editor for it.")
        self.pictures, self.editor, self.classifier = list(pictures), editor, classifier
        self.class_index, self.scale, self.base, self.seed = class_index, scale, base, seed
        self._bank, self._reader, self._checks, self._tell = bank, reader, checks, tell
        self._by_subject = by_subject
        self._found: dict[tuple[EditSet, int], EditCheck] = {}
        self._logits: dict[tuple[EditSet, int], NDArray[np.float64]] = {}
        self._looked: dict[EditSet, list[int]] = {}
        self._bases: dict[int, _Shown] = {}
        self._originals: dict[int, NDArray[np.float64]] = {}
        self.edits_made = self.denoiser_evaluations = 0
        self.asked = 0

    def deltas(
        self, edits: EditSet, numbers: Sequence[int] | None = None, class_index: int | None = None
    ) -> list[Delta]:
        """The effect on the pictures of these numbers (all of them without); the order is theirs.

        Parameters
        ----------
        class_index : another class than the one that is ranked; costs no edit.

        Raises
        ------
        InputError : a picture or attribute that the editor cannot edit, logits that are not numbers, or a full disk.
        ModelError : editor or classifier failed. Cancelled : by `tell`; finished edits are in the bank.
        """
        wanted = list(range(len(self.pictures))) if numbers is None else list(numbers)
        missing = [i for i in wanted if (edits, i) not in self._logits]
        if missing:
            self._ready_bases(missing)
            if self._by_subject:
                self._by_rule(edits, missing)
            else:
                self._by_picture(edits, missing)
            if edits and edits != (NEUTRAL,):
                self.asked += len(missing)
        if not wanted:
            return []
        before = self._scores([self._bases[i].logits for i in wanted], class_index)
        after = self._scores([self._logits[edits, i] for i in wanted], class_index)
        found = [self._found[edits, i] for i in wanted]
        return [
            Delta(self.pictures[i].digest, float(b), float(a), check.reasons, check.quality)
            for i, b, a, check in zip(wanted, before, after, found, strict=True)
        ]

    def reconstruction_deltas(self) -> list[Delta]:
        """What the editor's reconstruction alone does: reconstruction minus original."""
        numbers = list(range(len(self.pictures)))
        self._ready_bases(numbers)
        self._ready_originals(numbers)
        before = self._scores([self._originals[i] for i in numbers])
        if self._by_subject:
            after = before
        elif self.base == "reconstruction":
            after = self._scores([self._bases[i].logits for i in numbers])
        else:
            after = self._scores(list(self._classified([self.edited(i, ()).image for i in numbers])))
        return [Delta(self.pictures[i].digest, float(before[i]), float(after[i])) for i in numbers]

    def classes(self, edits: EditSet) -> tuple[list[int], list[int]]:
        """Most probable class of each picture with a valid edit among those looked at, at its base and edited."""
        valid = [i for i in self._looked.get(edits, []) if not self._found[edits, i].reasons]
        before = [int(self._bases[i].logits.argmax()) for i in valid]
        return before, [int(self._logits[edits, i].argmax()) for i in valid]

    def base_classes(self) -> list[int]:
        """Most probable class of each picture at its base."""
        numbers = list(range(len(self.pictures)))
        self._ready_bases(numbers)
        return [int(self._bases[i].logits.argmax()) for i in numbers]

    def looked_at(self) -> dict[EditSet, list[int]]:
        """Every edit set whose effects are known, with the numbers of its pictures."""
        return {edits: list(numbers) for edits, numbers in self._looked.items()}

    def edited(self, number: int, edits: EditSet) -> Edited:
        """The edited picture, from the bank where it is there; the reconstruction for ()."""
        picture, asked = self.pictures[number], edit_set(edits)
        record, edits = self.editor.record, as_made(self.editor, picture, asked)
        kept = self._bank.get(picture.digest, edits, record, self.seed) if self._bank is not None else None
        if kept is not None:
            self._keep_under(picture, asked, edits, kept)
            if isinstance(self.editor, SubjectEditor):
                return Edited(kept.image, kept.mask, 0, self.editor.subject_after(picture, edits, self.seed))
            return kept
        on_step = None
        if self._tell is not None:
            what = f"{picture.name}: {' and '.join(edit.text for edit in edits) or 'reconstruction'}"
            self._tell(what)
            on_step = told_steps(self._tell, what)
        if edits:
            made = self.editor.edit(picture, edits, self.seed, on_step)
        else:
            made = self.editor.reconstruct(picture, on_step)
        self.denoiser_evaluations += made.denoiser_evaluations
        self.edits_made += bool(edits)
        if self._bank is not None:
            self._bank.put(picture.digest, edits, record, self.seed, made)
            self._keep_under(picture, asked, edits, made)
        return made

    def _keep_under(self, picture: Picture, asked: EditSet, made: EditSet, edited: Edited) -> None:
        """What stands for a group is found under the group too, by whoever has no editor at hand."""
        if self._bank is not None and asked != made:
            self._bank.put(picture.digest, asked, self.editor.record, self.seed, edited)

    def _by_rule(self, edits: EditSet, numbers: Sequence[int]) -> None:
        assert isinstance(self.classifier, SubjectClassifier)
        assert isinstance(self.editor, SubjectEditor)
        if self._tell is not None:
            self._tell(" and ".join(edit.text for edit in edits) or "reconstruction")
        after = [self.editor.subject_after(self.pictures[i], edits, self.seed) for i in numbers]
        logits = self.classifier.subject_logits(after)
        self._keep(
            edits, numbers, logits, [self._subject_check(edits, i, s) for i, s in zip(numbers, after, strict=True)]
        )

    def _by_picture(self, edits: EditSet, numbers: Sequence[int]) -> None:
        made = [self.edited(i, edits) for i in numbers]
        images = [edited.image for edited in made]
        logits = self._classified(images)
        checks = [EditCheck(())] * len(numbers)
        if self._checks is not None and edits and edits != (NEUTRAL,):
            read = self._read(images)
            for place, (i, edited) in enumerate(zip(numbers, made, strict=True)):
                base = self._bases[i]
                assert base.image is not None
                by_subject = edited.subject is not None
                before, after = (None, None) if by_subject or read is None else (base.presence, read[place])
                rough = self._reader is not None and self._reader.rough
                really = as_made(self.editor, self.pictures[i], edits)
                found = check_edit(really, base.image, edited, self._checks, before, after, rough)
                if by_subject:
                    told = self._subject_check(edits, i, edited.subject)
                    quality = replace(found.quality, before=told.quality.before, after=told.quality.after)
                    found = EditCheck(told.reasons or found.reasons, quality)
                checks[place] = found
        self._keep(edits, numbers, logits, checks)

    def _subject_check(self, edits: EditSet, number: int, after: object) -> EditCheck:
        """Flags from what the subject says of itself; it is exact, so that it needs no reader."""
        picture = self.pictures[number]
        if self._checks is None or not isinstance(self.editor, SubjectEditor) or picture.subject is None:
            return EditCheck(())
        editor, told = self.editor, [edit for edit in edits if edit != NEUTRAL]
        return check_presence(
            tuple(told),
            [editor.presence(picture.subject, edit, picture, self.seed) for edit in told],
            [editor.presence(after, edit, picture, self.seed) for edit in told],  # type: ignore[arg-type]
        )

    def _keep(
        self,
        edits: EditSet,
        numbers: Sequence[int],
        logits: NDArray[np.float64],
        checks: Sequence[EditCheck],
    ) -> None:
        for place, i in enumerate(numbers):
            self._logits[edits, i] = logits[place]
            self._found[edits, i] = checks[place]
            self._looked.setdefault(edits, []).append(i)

    def _ready_bases(self, numbers: Sequence[int]) -> None:
        """What every comparison starts from: the reconstruction, or the original."""
        missing = [i for i in numbers if i not in self._bases]
        if not missing:
            return
        if self.base == "original" or self._by_subject:
            self._ready_originals(missing)
            images: list[Image.Image | None] = [self.pictures[i].image for i in missing]
            logits = np.stack([self._originals[i] for i in missing])
        else:
            drawn = [self.edited(i, ()).image for i in missing]
            images, logits = list(drawn), self._classified(drawn)
        exact = isinstance(self.editor, SubjectEditor)
        read = None if exact or self._checks is None else self._read([image for image in images if image is not None])
        for place, i in enumerate(missing):
            self._bases[i] = _Shown(images[place], logits[place], None if read is None else read[place])

    def _ready_originals(self, numbers: Sequence[int]) -> None:
        missing = [i for i in numbers if i not in self._originals]
        if not missing:
            return
        if isinstance(self.classifier, SubjectClassifier):
            subjects = [self.pictures[i].subject for i in missing]
            known = [subject for subject in subjects if subject is not None]
            if len(known) < len(subjects):
                raise InputError("A rule is computed from a built-in world's subjects: choose pictures of that world.")
            logits = self.classifier.subject_logits(known)
        else:
            logits = self._classified([self.pictures[i].image for i in missing])
        self._originals.update(zip(missing, logits, strict=True))

    def _classified(self, images: Sequence[Image.Image]) -> NDArray[np.float64]:
        assert not isinstance(self.classifier, SubjectClassifier)
        return np.asarray(self.classifier.logits(list(images)), dtype=np.float64)

    def _scores(self, logits: Sequence[NDArray[np.float64]], class_index: int | None = None) -> NDArray[np.float64]:
        index = self.class_index if class_index is None else class_index
        return class_scores(np.stack(logits), index, self.classifier.exclusive, self.scale)

    def _read(self, images: Sequence[Image.Image]) -> list[Presence] | None:
        """What the reader sees in each picture."""
        if self._reader is None:
            return None
        found = self._reader.read(list(images))
        return [{attribute: float(p[i]) for attribute, p in found.items()} for i in range(len(images))]


def check_pictures(pictures: Sequence[Picture]) -> None:
    """Refuse pictures that no editor can make anything of.

    Raises
    ------
    InputError : none at all, one twice, or one that is too small or too large.
    """
    if not pictures:
        raise InputError("There is no picture to edit: choose at least one.")
    seen: dict[str, str] = {}
    for picture in pictures:
        width, height = picture.image.size
        if min(width, height) < SMALLEST_SIDE or max(width, height) > LARGEST_SIDE:
            raise InputError(
                f"{picture.name} has {width} x {height} pixels: use pictures with sides of {SMALLEST_SIDE} to "
                f"{LARGEST_SIDE:,} pixels."
            )
        if picture.digest in seen:
            raise InputError(f"{picture.name} is the same picture as {seen[picture.digest]}: leave one of them out.")
        seen[picture.digest] = picture.name
