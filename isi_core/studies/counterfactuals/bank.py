"""The edit bank: every edit ever made, on disk, so that a second classifier, beam width or threshold costs none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from isi_core.domain.attributes import EditSet
from isi_core.domain.errors import InputError
from isi_core.domain.home import home_folder
from isi_core.domain.progress import told_at
from isi_core.domain.trial import image_digest
from isi_core.models.editors.protocol import NEUTRAL, Edited, ImageEditor, Picture, as_made, told_steps
from isi_core.store.pictures import Pictures, to_png
from isi_core.store.whole_file import write_whole


def default_bank() -> Path:
    """The bank of this user: the folder `edits` beside their runs."""
    return home_folder() / "edits"


def edit_key(picture_digest: str, edits: EditSet, record: Mapping[str, Any], seed: int) -> str:
    """SHA-256 (hex) over everything that shapes an edit; a reconstruction is the edit of nothing."""
    parts = {
        "picture": picture_digest,
        "edits": [edit.to_json() for edit in edits],
        "editor": dict(record),
        "seed": seed,
    }
    try:
        text = json.dumps(parts, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError):
        raise InputError("The editor's record holds what is no JSON value: its edits cannot be kept.") from None
    return hashlib.sha256(text.encode()).hexdigest()


class EditBank:
    """A folder of edits. Safe for several processes: entries are written at once or not at all, and never changed.

    Pictures are kept once each by the digest of their pixels; an entry names them, and is written last, so that a
    process that dies leaves no entry without its picture. An entry or a picture that is damaged counts as missing,
    and is made again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pictures = Pictures(folder / "pictures")

    def _path(self, key: str) -> Path:
        return self.folder / "entries" / key[:2] / f"{key}.json"

    def get(self, picture_digest: str, edits: EditSet, record: Mapping[str, Any], seed: int) -> Edited | None:
        """The edit, or None where it is not there or damaged. Its `denoiser_evaluations` tell what it once took.

        The subject is not kept: an editor that knows subjects tells it again (`SubjectEditor.subject_after`).
        """
        key = edit_key(picture_digest, edits, record, seed)
        try:
            entry = json.loads(self._path(key).read_text(encoding="utf-8"))
            if entry["key"] != key:
                return None
            image = self._pictures.load(str(entry["image"]))
            mask = None
            if entry["mask"] is not None:
                mask = np.asarray(self._pictures.load(str(entry["mask"])).convert("L")) > 127
                if mask.shape != (image.height, image.width):
                    return None
            return Edited(image.convert("RGB"), mask, int(entry["denoiser_evaluations"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError, InputError):
            return None

    def put(self, picture_digest: str, edits: EditSet, record: Mapping[str, Any], seed: int, edited: Edited) -> None:
        """Keep an edit for good; what is there already is replaced.

        Raises
        ------
        InputError : the disk is full or the folder cannot be written; nothing half-written is left.
        """
        key = edit_key(picture_digest, edits, record, seed)
        entry = {
            "key": key,
            "picture": picture_digest,
            "edits": [edit.to_json() for edit in edits],
            "editor": dict(record),
            "seed": seed,
            "image": self._save(edited.image),
            "mask": None,
            "denoiser_evaluations": edited.denoiser_evaluations,
        }
        if edited.mask is not None:
            entry["mask"] = self._save(Image.fromarray(edited.mask.astype(np.uint8) * 255))
        write_whole(self._path(key), json.dumps(entry, sort_keys=True).encode())

    def __len__(self) -> int:
        """How many edits it holds."""
        return sum(1 for _ in (self.folder / "entries").glob("*/*.json"))

    def _save(self, image: Image.Image) -> str:
        digest = image_digest(image)
        # What is there under this name but damaged would stay: `Pictures` does not write twice.
        try:
            self._pictures.load(digest)
        except InputError:
            self._pictures.delete(digest)
            self._pictures.save(digest, to_png(image))
        return digest


def fill_bank(
    bank: EditBank,
    editor: ImageEditor,
    pictures: Sequence[Picture],
    sets: Sequence[EditSet],
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
) -> tuple[int, int]:
    """Make what is missing of these edits, reconstructions and no-op edits of pictures; picture by picture.

    Returns how many were made and how many were there.

    Raises
    ------
    InputError, ModelError : as the editor and the bank do. Cancelled : by `progress`; finished edits stay.
    """
    wanted: list[EditSet] = [(), (NEUTRAL,), *sets]
    made = there = 0
    for number, picture in enumerate(pictures):
        for place, asked in enumerate(wanted):
            edits = as_made(editor, picture, asked)
            if bank.get(picture.digest, edits, editor.record, seed) is not None:
                there += 1
                continue
            on_step = None
            if progress is not None:
                what = f"{picture.name}: {' and '.join(edit.text for edit in edits) or 'reconstruction'}"
                done = (number + place / len(wanted)) / len(pictures)
                progress(what, done)
                on_step = told_steps(told_at(progress, done), what)
            edited = editor.edit(picture, edits, seed, on_step) if edits else editor.reconstruct(picture, on_step)
            bank.put(picture.digest, edits, editor.record, seed, edited)
            made += 1
    return made, there
