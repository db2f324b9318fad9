"""Labels that are spelled nearly alike: typing errors and inflections that a model's answers are full of."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

from isi_core.domain.attributes import Corpus
from isi_core.domain.corpus_reading import CorpusReading, label_key

CUTOFF = 0.85
"""Share of a word's letters that have to match (Ratcliff and Obershelp), word by word."""
_SHORTEST = 4
_MOST_COMPARED = 400  # siblings; beyond them nobody wrote the list by asking a model
_MOST_TOLD = 5


def nearly_same(one: str, other: str) -> bool:
    """Whether two labels mean the same but for spelling: their words are alike, one by one.

    Words of fewer than four letters, words with digits, and words that begin otherwise have to be equal: "thin" is
    not "thick", "visible" not "invisible", "1940s" not "1950s".
    """
    first, second = label_key(one).split(), label_key(other).split()
    return len(first) == len(second) and all(_alike(a, b) for a, b in zip(first, second, strict=True))


def _alike(one: str, other: str) -> bool:
    if one == other:
        return True
    if min(len(one), len(other)) < _SHORTEST or one[:2] != other[:2] or not (one.isalpha() and other.isalpha()):
        return False
    return SequenceMatcher(None, one, other, autojunk=False).ratio() >= CUTOFF


def merged_near_synonyms(corpus: Corpus) -> CorpusReading:
    """The corpus with siblings that are nearly the same as one; what stood below either stands below it.

    The label that came first stays. Notes tell what was merged.
    """
    told: list[str] = []
    categories: dict[str, dict[str, tuple[str, ...]]] = {}
    for first, kept in _kept(corpus.categories, told).items():
        below: dict[str, list[str]] = {}
        for name in kept:
            for second, leaves in corpus.categories[name].items():
                below.setdefault(second, []).extend(leaves)
        categories[first] = {
            second: tuple(_kept(dict.fromkeys(leaf for name in names for leaf in below[name]), told))
            for second, names in _kept(below, told).items()
        }
    merged = Corpus(corpus.domain, categories)
    if not told:
        return CorpusReading(merged, ())
    more = f" and {len(told) - _MOST_TOLD} more" if len(told) > _MOST_TOLD else ""
    shown = ", ".join(told[:_MOST_TOLD])
    return CorpusReading(merged, (f"Attributes that are spelled nearly alike were merged: {shown}{more}.",))


def _kept(labels: Iterable[str], told: list[str]) -> dict[str, list[str]]:
    """Each label that stays, with all that are the same as it, itself first."""
    found: dict[str, list[str]] = {}
    for place, label in enumerate(labels):
        twin = next((other for other in found if nearly_same(label, other)), None) if place < _MOST_COMPARED else None
        if twin is None:
            found[label] = [label]
        else:
            found[twin].append(label)
            told.append(f"{label} into {twin}")
    return found
