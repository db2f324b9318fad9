"""The attribute corpora that come with the studio: files for real domains, the worlds' own trees for embedded ones."""

from __future__ import annotations

from pathlib import Path

from isi_core.domain.attributes import Corpus
from isi_core.domain.corpus_reading import LARGEST_FILE, CorpusReading, read_corpus
from isi_core.domain.errors import InputError
from isi_core.worlds.attributed import WORLDS, world

FOLDER = Path(__file__).resolve().parents[3] / "assets" / "corpora"


def corpus_names() -> tuple[str, ...]:
    """Names for `find_corpus`: the embedded worlds first."""
    return (*WORLDS, *sorted(path.stem.replace("-", " ") for path in FOLDER.glob("*.json")))


def world_corpus(name: str) -> Corpus:
    """An embedded world's tree as a corpus."""
    tree = world(name).tree
    return Corpus(name, {first: dict(below) for first, below in tree.items()})


def find_corpus(name: str) -> Corpus:
    """A corpus that comes with the studio.

    Raises
    ------
    InputError : there is none of this name.
    """
    if name in WORLDS:
        return world_corpus(name)
    if name not in corpus_names():
        raise InputError(f"There is no corpus {name!r:.60}: choose from {', '.join(corpus_names())}, or give a file.")
    return open_corpus(FOLDER / f"{name.replace(' ', '-')}.json").corpus


def open_corpus(path: Path) -> CorpusReading:
    """A corpus file of the user's, read leniently.

    Raises
    ------
    InputError : it cannot be read, is too large, or holds no attribute.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(f"{path.name} is larger than {LARGEST_FILE // 1_000_000} MB: it is no attribute corpus.")
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from None
    return read_corpus(raw, domain=path.stem.replace("-", " "))
