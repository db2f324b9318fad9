"""Label prompts of one's own: classes by one or several texts each, from a JSON file or from typed lines."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from isi_core.domain.errors import InputError

LONGEST_TEXT = 2_000
"""Characters of a class's text; CLIP reads 77 tokens of it."""
LONGEST_CLASS = 100
MOST_CLASSES = 100
MOST_TEXTS = 100
"""Texts of one class."""
_LARGEST_FILE = 1_000_000  # bytes
_FORM = '{"class": ["prompt", …], …} or {"class": "prompt", …}'

Classes = Mapping[str, tuple[str, ...]]


def read_labels(file: Path) -> Classes:
    """The classes in a JSON file, `{"class": ["prompt", …], …}` or `{"class": "prompt", …}`.

    Raises
    ------
    InputError : the file cannot be read, is of another form, or its classes are none that a CLIP can tell apart.
    """
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise InputError(f"{file.name} is larger than 1 MB: is it a file of label prompts?")
        pairs = json.loads(file.read_text(encoding="utf-8-sig"), object_pairs_hook=_Pairs)
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): check the path.") from None
    except (ValueError, RecursionError):
        raise InputError(f"{file.name} is not a JSON file: write {_FORM}.") from None
    if not isinstance(pairs, _Pairs):
        raise InputError(f"{file.name} does not name classes: write {_FORM}.")
    return checked_labels((label, [texts] if isinstance(texts, str) else texts) for label, texts in pairs)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with every key, those that come twice too."""


def typed_labels(text: str) -> Classes:
    """The classes of lines such as `old: a photo of an old person | a photo of a grandmother`; empty lines are skipped.

    Raises
    ------
    InputError : a line is of another form, or its classes are none that a CLIP can tell apart.
    """
    pairs = []
    for line in text.splitlines():
        if not line.strip():
            continue
        label, colon, texts = line.partition(":")
        if not colon:
            raise InputError(f"A class is a line “class: prompt | prompt”; there is no colon in {_short(line)}.")
        pairs.append((label, texts.split("|")))
    return checked_labels(pairs)


def labels_text(classes: Classes) -> str:
    """The classes as `typed_labels` reads them back."""
    return "\n".join(f"{label}: {' | '.join(texts)}" for label, texts in classes.items())


def checked_labels(pairs: Iterable[tuple[str, Any]]) -> Classes:
    """At least two classes by their texts, on one line each, without control characters.

    Raises
    ------
    InputError : fewer than two classes, too many or too long ones, or texts that are empty, doubled or no texts.
    """
    found: dict[str, tuple[str, ...]] = {}
    whose: dict[str, str] = {}
    for given, texts in pairs:
        label = _clean(given)
        if not label or len(label) > LONGEST_CLASS:
            raise InputError(f"A class needs a name of 1 to {LONGEST_CLASS} characters; got {_short(label)}.")
        if label in found:
            raise InputError(f"The class {_short(label)} is there twice: give all its texts at once.")
        found[label] = _texts(label, texts)
        for text in found[label]:
            if (other := whose.setdefault(text.casefold(), label)) != label:
                raise InputError(
                    f"The text {_short(text)} describes both {_short(other)} and {_short(label)}, which nothing could "
                    "tell apart then: keep it for one of them."
                )
        if len(found) > MOST_CLASSES:
            raise InputError(f"These are more than {MOST_CLASSES} classes: leave some out.")
    if len(found) < 2:
        raise InputError("CLIP needs at least two classes to tell apart: add another one.")
    return found


def _texts(label: str, given: Any) -> tuple[str, ...]:
    if (
        not isinstance(given, Sequence)
        or isinstance(given, (_Pairs, str))
        or not all(isinstance(t, str) for t in given)
    ):
        raise InputError(f"The class {_short(label)} is not described by texts: write {_FORM}.")
    if not 1 <= len(given) <= MOST_TEXTS:
        raise InputError(f"A class needs 1 to {MOST_TEXTS} texts; {_short(label)} has {len(given)}.")
    texts = tuple(map(_clean, given))
    if not all(texts):
        raise InputError(f"The class {_short(label)} has an empty text: describe it, or leave the text out.")
    for text in texts:
        if len(text) > LONGEST_TEXT:
            raise InputError(
                f"A text of the class {_short(label)} is longer than {LONGEST_TEXT:,} characters: shorten it; CLIP "
                "reads 77 tokens."
            )
    folded = [text.casefold() for text in texts]
    if double := next((t for i, t in enumerate(texts) if folded[i] in folded[:i]), ""):
        raise InputError(f"The class {_short(label)} has the text {_short(double)} twice: leave one out.")
    return texts


def _clean(text: str) -> str:
    """On one line, single spaces, without control characters and halves of characters."""
    spaced = " ".join(text.split())
    return "".join(c for c in spaced if unicodedata.category(c) not in ("Cc", "Cs")).strip()


def _short(text: str) -> str:
    text = _clean(text)
    return f"“{text[:60]}…”" if len(text) > 60 else f"“{text}”"
