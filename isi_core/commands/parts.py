"""What every command shares: reading its arguments, opening datasets and models, telling a person how far it is."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from isi_core.domain.errors import InputError
from isi_core.domain.progress import Progress

if TYPE_CHECKING:
    from isi_core.domain.observation import Dataset
    from isi_core.models.shelf import Shelf
    from isi_core.studies.vqa import Wanted

MEASURES = ("answer", "uncertainty", "attention")


def read_json(path: Path) -> object:
    """A JSON file of the user's.

    Raises
    ------
    InputError : it cannot be read or is none.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path} is not a JSON file: check its content.") from None


def read_measures(text: str) -> set[Wanted]:
    """The measures in a list such as `answer,uncertainty`.

    Raises
    ------
    InputError : one is unknown, or there is none.
    """
    wanted: set[Wanted] = set()
    for name in filter(None, (part.strip() for part in text.split(","))):
        if name not in MEASURES:
            raise InputError(f"Unknown measure {name}: choose from {', '.join(MEASURES)}.")
        wanted.add(name)  # type: ignore[arg-type]
    if not wanted:
        raise InputError(f"Nothing to measure: choose from {', '.join(MEASURES)}.")
    return wanted


def open_dataset(name: str | None) -> Dataset:
    """A dataset by name or folder, its problems told on standard error.

    Raises
    ------
    InputError : it cannot be read or holds nothing.
    """
    from isi_core.datasets.built_in import load_dataset

    dataset = load_dataset(name)
    for problem in dataset.problems:
        tell(problem)
    if not dataset.observations:
        raise InputError(f"{dataset.name} holds no observation that can be used: mend what is named above.")
    return dataset


def open_shelf() -> Shelf:
    """The models; their libraries draw progress bars only where a person watches."""
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        from transformers.utils import logging

        logging.disable_progress_bar()
    from isi_core.models.shelf import Shelf

    return Shelf()


def plain(text: str) -> str:
    """Text for a terminal on one line: what could steer the terminal is shown as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def tell(message: str) -> None:
    """One line on standard error."""
    print(f"isi_core: {plain(message)}", file=sys.stderr, flush=True)


def watched_progress() -> Progress | None:
    """Shows progress on standard error where a person watches it."""
    if not sys.stderr.isatty():
        return None

    def show(message: str, fraction: float) -> None:
        end = "\r" if fraction < 1 else "\n"
        print(f"\x1b[2K{fraction:4.0%} {plain(message)[:70]}", end=end, file=sys.stderr, flush=True)

    return show
