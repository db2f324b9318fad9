"""Rankings that were made, kept below the user's folder under the digest of what was asked: none of them is lost.

Of a ranking of a built-in world the subjects are kept, of others the pictures, so that its counterfactuals can be
drawn, or found in the edit bank, after the session is over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from isi_core.domain.attributes import Corpus
from isi_core.domain.errors import InputError
from isi_core.domain.home import home_folder
from isi_core.domain.trial import image_digest
from isi_core.models.editors.protocol import Picture
from isi_core.store.database import explain_os_error
from isi_core.store.pictures import Pictures, to_png
from isi_core.store.whole_file import write_whole
from isi_core.studies.counterfactuals.results import Result
from isi_core.studies.counterfactuals.run import Settings
from isi_core.worlds.attributed import Subject, world

_LARGEST = 200_000_000


@dataclass(frozen=True, eq=False)
class Kept:
    """A ranking with what it was made of.

    Attributes
    ----------
    key : digest of what was asked.
    title : such as "age · old · render · 8 pictures".
    world : the built-in world of its pictures; "" where they are the user's own.
    rule : name of the rule behind its classifier; "" where none is known.
    created : ISO 8601, UTC.
    """

    key: str
    title: str
    result: Result
    pictures: tuple[Picture, ...]
    world: str = ""
    rule: str = ""
    created: str = ""


@dataclass(frozen=True)
class Entry:
    """A kept ranking in the list: what is known without reading all of it."""

    key: str
    title: str
    created: str
    stopped: bool
    modified: float


def ask_key(
    pictures: Sequence[Picture],
    corpus: Corpus,
    editor: Mapping[str, Any],
    classifier: Mapping[str, Any],
    settings: Settings,
) -> str:
    """SHA-256 (hex) over everything that shapes a ranking."""
    parts = {
        "pictures": [p.digest for p in pictures],
        "corpus": corpus.to_json(),
        "editor": dict(editor),
        "classifier": dict(classifier),
        "settings": settings.to_json(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def folder() -> Path:
    """Where this user's rankings are kept."""
    return home_folder() / "rankings"


def keep(made: Kept) -> None:
    """Write a ranking down; one of the same key is replaced.

    Raises
    ------
    InputError : the disk is full, or the folder cannot be written.
    """
    shelf = Pictures(folder() / "pictures")
    pictures = []
    for picture in made.pictures:
        entry: dict[str, Any] = {"name": picture.name, "digest": picture.digest}
        if picture.subject is not None:
            entry |= {"subject": picture.subject.to_json(), "side": picture.image.width}
        else:
            entry["image"] = image_digest(picture.image)
            shelf.save(entry["image"], to_png(picture.image))
        pictures.append(entry)
    data = {
        "key": made.key,
        "title": made.title,
        "world": made.world,
        "rule": made.rule,
        "created": made.created or datetime.now(UTC).isoformat(timespec="seconds"),
        "stopped": made.result.stopped,
        "pictures": pictures,
        "result": made.result.to_json(),
    }
    head = {name: data[name] for name in ("key", "title", "created", "stopped")}
    write_whole(_path(made.key), (json.dumps(head) + "\n" + json.dumps(data, default=str) + "\n").encode())


def _path(key: str) -> Path:
    if len(key) != 64 or not all(c in "0123456789abcdef" for c in key):
        raise InputError("This is not the key of a ranking: choose one from the list.")
    return folder() / f"{key}.json"


def entries() -> list[Entry]:
    """The rankings that are kept, newest first; a damaged one is left out."""
    found = []
    for path in folder().glob("*.json"):
        try:
            with path.open(encoding="utf-8") as file:
                head = json.loads(file.readline(10_000))
            entry = Entry(
                str(head["key"]),
                str(head["title"]),
                str(head["created"]),
                bool(head["stopped"]),
                path.stat().st_mtime,
            )
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if entry.key == path.stem:
            found.append(entry)
    return sorted(found, key=lambda e: (e.created, e.modified), reverse=True)


def load(key: str) -> Kept:
    """A kept ranking with its pictures; those of a world are drawn again.

    Raises
    ------
    InputError : it is not there, or damaged.
    """
    path = _path(key)
    gone = InputError("This ranking is not there any more, or its file is damaged: make it again.")
    try:
        if path.stat().st_size > _LARGEST:
            raise gone
        data = json.loads(path.read_text(encoding="utf-8").split("\n", 1)[1])
        shelf = Pictures(folder() / "pictures")
        pictures = []
        for entry in data["pictures"]:
            if "subject" in entry:
                subject = Subject.from_json(entry["subject"])
                image = world(subject.world).render(subject, int(entry["side"]))
                pictures.append(Picture.of(image, str(entry["name"]), subject))
            else:
                pictures.append(Picture.of(shelf.load(str(entry["image"])), str(entry["name"])))
        return Kept(
            key=key,
            title=str(data["title"]),
            result=Result.from_json(data["result"]),
            pictures=tuple(pictures),
            world=str(data["world"]),
            rule=str(data["rule"]),
            created=str(data["created"]),
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise gone from None


def delete(key: str) -> None:
    """Forget a ranking; its edits stay in the edit bank."""
    try:
        _path(key).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(explain_os_error(error, folder())) from error
