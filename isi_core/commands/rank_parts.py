"""What `rank` works on, opened by the command's options: pictures and the corpus of attributes."""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from isi_core.commands.parts import tell
from isi_core.domain.errors import InputError

if TYPE_CHECKING:
    from isi_core.domain.attributes import Corpus
    from isi_core.models.editors.protocol import Picture

EMBEDDED = Path(__file__).resolve().parents[2] / "assets" / "models"
MOST_PICTURES = 2_000
_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"))


def world_of(arguments: argparse.Namespace) -> str:
    """The embedded world of the domain; "" where it is none."""
    from isi_core.worlds.attributed import WORLDS

    return arguments.domain if arguments.domain in WORLDS else ""


def open_corpus_named(name: str) -> Corpus:
    """A corpus by name or file; what had to be mended is told."""
    from isi_core.studies.counterfactuals.corpora import corpus_names, find_corpus, open_corpus

    if name in corpus_names() or not Path(name).is_file():
        return find_corpus(name)
    reading = open_corpus(Path(name))
    for note in reading.notes:
        tell(note)
    return reading.corpus


def open_pictures(arguments: argparse.Namespace) -> list[Picture]:
    """The pictures of a folder, or portraits and birds that no training has seen, drawn by the seed."""
    from isi_core.models.editors.protocol import Picture

    if not 1 <= arguments.images <= MOST_PICTURES:
        raise InputError(f"The number of pictures lies between 1 and {MOST_PICTURES:,}; got {arguments.images}.")
    if arguments.pictures is not None:
        return pictures_from(arguments.pictures, arguments.images)
    name = world_of(arguments)
    if not name:
        raise InputError(f"{arguments.domain[:60]} is no built-in world: give a folder of pictures with --pictures.")
    from isi_core.worlds.attributed import world

    place, rng = world(name), Random(arguments.seed)
    found: dict[str, Picture] = {}
    while len(found) < arguments.images:
        subject = place.draw_subject(rng)
        if subject.held_out:
            picture = Picture.of(place.render(subject), f"{name} {len(found) + 1}", subject)
            found.setdefault(picture.digest, picture)
    return list(found.values())


def pictures_from(folder: Path, count: int) -> list[Picture]:
    """The first pictures of a folder, by name."""
    from isi_core.datasets.pictures import open_picture
    from isi_core.models.editors.protocol import Picture

    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file())
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}): check the path.") from None
    if not files:
        raise InputError(f"There is no picture in {folder}: put PNG, JPEG, WebP, BMP or GIF files there.")
    found: dict[str, Picture] = {}
    for path in files:
        if len(found) == count:
            break
        picture = Picture.of(open_picture(path), path.name)
        if picture.digest in found:
            tell(f"{path.name} is the same picture as {found[picture.digest].name}: it is left out.")
        found.setdefault(picture.digest, picture)
    return list(found.values())


def embedded(name: str) -> Path | None:
    """The folder of an embedded model: `age` and `tiny-age` are the same."""
    if "/" in name or "\\" in name or name.startswith("."):
        return None
    folder = EMBEDDED / (name if name.startswith("tiny-") else f"tiny-{name}")
    return folder if (folder / "config.json").is_file() else None


def add_inputs(command: argparse.ArgumentParser) -> None:
    """The options that name pictures and corpus."""
    command.add_argument("--domain", default="faces", metavar="NAME", help="a built-in world or corpus (faces)")
    command.add_argument("--corpus", metavar="NAME|FILE", help="attributes; default: those of the domain")
    command.add_argument("--pictures", type=Path, metavar="DIR", help="a folder of pictures; default: drawn ones")
    command.add_argument("--images", type=int, default=24, metavar="N", help="how many pictures (24)")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of pictures, edits and resampling (0)")
    command.add_argument("--remove", action="store_true", help="remove attributes instead of adding them")
