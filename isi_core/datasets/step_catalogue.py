"""Sets of how-to articles by name: the built-in world, its sample, and the user's own below `howtos` in their home."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from isi_core.datasets.archive import unpack_zip
from isi_core.datasets.howto_articles import BUILT_IN
from isi_core.datasets.step_articles import read_articles
from isi_core.datasets.step_pair_files import TEST_FILE, TRAIN_FILE, read_pairs
from isi_core.datasets.step_pairs import SAMPLE
from isi_core.domain.errors import InputError
from isi_core.domain.home import home_folder
from isi_core.domain.progress import Progress

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
_DEPTH = 3
"""Folders that a zip file may wrap around the articles."""


@dataclass(frozen=True)
class ImportedHowtos:
    """What an import brought: articles, or pairs where the folder holds pairs already."""

    name: str
    articles: int
    pairs: int
    problems: tuple[str, ...]


def howtos_folder() -> Path:
    """Where the user's own sets lie; it may not be there yet."""
    return home_folder() / "howtos"


def howto_names() -> list[str]:
    """The built-in world, its sample, then the user's own by name."""
    try:
        own = sorted(
            path.name
            for path in howtos_folder().iterdir()
            if _NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
        )
    except OSError:
        own = []
    return [BUILT_IN, SAMPLE, *(name for name in own if name not in (BUILT_IN, SAMPLE))]


def howto_source(name: str) -> str | Path:
    """What `load_pairs` takes for a name of the catalogue.

    Raises
    ------
    InputError : there is none of this name.
    """
    if name in (BUILT_IN, SAMPLE):
        return name
    if name not in howto_names():
        raise InputError(f"There are no how-tos {name[:60]!r}: choose one of {', '.join(howto_names()[:20])}.")
    return articles_root(howtos_folder() / name)


def articles_root(folder: Path) -> Path:
    """The folder itself, or the one that is wrapped in it, as zip programs do."""
    for _ in range(_DEPTH):
        inside = [path for path in folder.iterdir() if not path.name.startswith((".", "__"))]
        if len(inside) != 1 or not inside[0].is_dir() or (inside[0] / "task.txt").is_file():
            break
        folder = inside[0]
    return folder


def import_howtos(source: Path, name: str, progress: Progress | None = None) -> ImportedHowtos:
    """Copy a zip file or folder of articles or pairs into the catalogue, once it is found to be of use.

    Raises
    ------
    InputError : the name cannot be used, or nothing at the source can.
    """
    if not _NAME.fullmatch(name) or name in howto_names():
        raise InputError(f"The name {name[:60]!r} is taken or not letters, digits, dots, dashes: choose another.")
    staging = howtos_folder() / f".{uuid4().hex[:12]}"
    problems: list[str] = []
    try:
        if source.is_dir():
            _copy(source, staging)
        else:
            staging.mkdir(parents=True)
            problems += unpack_zip(source, staging, progress)
        root = articles_root(staging)
        if (root / TRAIN_FILE).is_file() or (root / TEST_FILE).is_file():
            splits = read_pairs(root, progress)
            found = ImportedHowtos(
                name,
                0,
                len(splits.train) + len(splits.validation) + len(splits.test),
                (*problems, *splits.problems),
            )
        else:
            articles = read_articles(root, progress=progress)
            found = ImportedHowtos(name, len(articles.articles), 0, (*problems, *articles.problems))
        staging.rename(howtos_folder() / name)
    except OSError as error:
        raise InputError(f"The how-tos cannot be copied ({error.strerror or error}): check the source.") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return found


def _copy(source: Path, target: Path) -> None:
    """The folder without links, so that nothing outside of it comes along."""

    def links(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if (Path(folder) / name).is_symlink()]

    shutil.copytree(source, target, ignore=links)


def forget_howtos(name: str) -> None:
    """Delete one of the user's own sets; the built-in ones stay."""
    if name not in (BUILT_IN, SAMPLE) and name in howto_names():
        shutil.rmtree(howtos_folder() / name, ignore_errors=True)


def proposed_howto_name(wish: str) -> str:
    """A name that is free, made from any text such as a file's name."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", wish).strip("._-")[:50] or "howtos"
    taken = set(howto_names())
    return next(
        candidate
        for candidate in (stem, *(f"{stem}_{i}" for i in range(2, 10_000)), f"{stem[:40]}_{uuid4().hex[:8]}")
        if candidate not in taken
    )
