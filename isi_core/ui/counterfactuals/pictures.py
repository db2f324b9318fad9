"""The pictures that are edited: drawn from a built-in world, read from a folder, or uploaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random

from isi_core.datasets.pictures import FORMATS, open_picture
from isi_core.domain.errors import InputError, StudioError
from isi_core.models.editors.protocol import Picture
from isi_core.ui.counterfactuals.desk import Desk
from isi_core.worlds.attributed import WORLDS, world

MOST_PICTURES = 500
_SUFFIXES = {f".{name.lower()}" for name in FORMATS} | {".jpg"}


def chosen_pictures(desk: Desk) -> list[Picture]:
    """The pictures that are chosen.

    Raises
    ------
    InputError : there are none yet, or the folder cannot be read.
    """
    if desk.source == "Built-in" and desk.domain in WORLDS:
        key = ("pictures", desk.domain, int(desk.count), int(desk.picture_seed))
        return list(desk.computed(key, lambda: built_in(desk.domain, int(desk.count), int(desk.picture_seed))))
    if desk.source == "Folder":
        path = desk.folder.strip()
        if not path:
            raise InputError("No folder is named yet: type the path of a folder with pictures on this server.")
        read = ("folder", path, int(desk.count), _stamp(path))
        return list(desk.computed(read, lambda: from_folder(Path(path).expanduser(), int(desk.count))))
    if not desk.uploads:
        raise InputError("No picture is uploaded yet: drop one or more pictures above.")
    return list(desk.uploads)


def _stamp(path: str) -> float:
    try:
        return Path(path).expanduser().stat().st_mtime
    except OSError:
        return 0.0


def built_in(domain: str, count: int, seed: int) -> tuple[Picture, ...]:
    """`count` subjects of a built-in world that no training has seen, drawn by `seed`, as pictures."""
    place, rng = world(domain), Random(f"{domain} pictures {seed}")
    made: list[Picture] = []
    while len(made) < count:
        subject = place.draw_subject(rng)
        if subject.held_out:
            made.append(Picture.of(place.render(subject), f"{domain.removesuffix('s')} {len(made) + 1}", subject))
    return tuple(made)


def from_folder(folder: Path, count: int) -> tuple[Picture, ...]:
    """The first `count` pictures of a folder, by name; those that cannot be read are left out.

    Raises
    ------
    InputError : there is no such folder, or no picture in it.
    """
    try:
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES and p.is_file())
    except OSError as error:
        raise InputError(f"{str(folder)[:200]} cannot be read ({error.strerror}): check the path.") from None
    made: list[Picture] = []
    for file in files:
        try:
            picture = Picture.of(open_picture(file), file.name)
        except StudioError:
            continue
        if all(picture.digest != other.digest for other in made):
            made.append(picture)
        if len(made) >= count:
            break
    if not made:
        raise InputError(f"{str(folder)[:200]} holds no picture that can be read: give PNG, JPEG, WebP or BMP files.")
    return tuple(made)


def from_uploads(files: Mapping[str, bytes]) -> tuple[tuple[Picture, ...], str]:
    """Uploaded files as pictures, and a sentence about those that cannot be used."""
    made: list[Picture] = []
    problems = []
    for name, raw in list(files.items())[:MOST_PICTURES]:
        try:
            picture = Picture.of(open_picture(raw, name[:80]), name[:80])
        except StudioError as error:
            problems.append(str(error))
            continue
        if all(picture.digest != other.digest for other in made):
            made.append(picture)
    first = problems[0] if problems else ""
    return tuple(made), first if len(problems) < 2 else f"{len(problems)} files cannot be used; the first: {first}"
