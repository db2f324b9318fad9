"""What in a dataset would spoil a study: contexts that give the answer away, and pictures that are nearly the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from isi_core.datasets.pictures import open_picture
from isi_core.domain.errors import InputError
from isi_core.domain.observation import Dataset, Observation
from isi_core.domain.progress import Progress

SIDE = 16
"""The difference hash has SIDE x SIDE bits."""
MOST_BITS = 12
"""Bits that the hashes of near-duplicates may differ in, of SIDE x SIDE."""
MOST_LEVELS = 6.0
"""Mean difference of the small grey pictures of near-duplicates, in grey levels of 255; flat pictures of different
things have nearly the same hash, and only this tells them apart."""
_GREY = 32
_ROWS = 256  # rows of the distance matrix that are held at once

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_SENTENCE = re.compile(r"[.!?\n]+")
_STATED = re.compile(
    r"\b(?:answer|response)\b[^.!?\n]{0,30}\b(?:is|should be|would be|:)\s*[\"'“‘]?(yes|no)\b|^\s*(yes|no)\s*[,.:!]",
    re.IGNORECASE,
)
_FILLERS = frozenset(
    re.findall(
        r"\w+",
        "a an the is are was were be been do does did has have had can could will would should may might there this "
        "that these those it its in on at of to for with by from and or any some as picture image photo shown see "
        "seen visible he she they his her their who which what",
    )
)


@dataclass(frozen=True)
class Leak:
    """A context that gives the answer away.

    Attributes
    ----------
    which : complementary or contradictory.
    how : "states the answer" (says that it is yes or no) or "uses every word of the question" (that carries
        meaning, in one sentence; it may still leave the answer open, so this is a hint).
    sentence : the sentence that does.
    """

    observation: str
    row: int
    which: str
    how: str
    sentence: str


def find_leaks(dataset: Dataset) -> list[Leak]:
    """Every context that states the answer or uses every word of the question, in the dataset's order."""
    return [leak for observation in dataset.observations for leak in _leaks(observation)]


def _leaks(o: Observation) -> Iterator[Leak]:
    asked = _content(o.question)
    for which, text in (("complementary", o.complementary), ("contradictory", o.contradictory)):
        for sentence in filter(str.strip, _SENTENCE.split(text)):
            # The sign behind a leading yes or no was cut off with the sentence.
            if _STATED.search(f"{sentence.strip()}."):
                yield Leak(o.id, o.row, which, "states the answer", sentence.strip())
                break
            if len(asked) >= 2 and asked <= _content(sentence):
                yield Leak(o.id, o.row, which, "uses every word of the question", sentence.strip())
                break


def _content(text: str) -> set[str]:
    """The words that carry meaning, without a plural or third-person s."""
    words = {word.lower().replace("’", "'") for word in _WORD.findall(text)} - _FILLERS
    return {word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in words}


@dataclass(frozen=True)
class NearDuplicate:
    """Two pictures that are nearly the same.

    Attributes
    ----------
    first, second : ids of observations.
    bits : of the difference hashes that differ.
    levels : mean difference of the small grey pictures, in grey levels of 255; 0 for the same picture.
    """

    first: str
    second: str
    bits: int
    levels: float


def difference_hash(picture: Image.Image) -> NDArray[np.uint64]:
    """(SIDE * SIDE / 64,) words: for each cell of a SIDE x SIDE grid whether it is darker than its right neighbour."""
    grey = np.asarray(picture.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX), dtype=np.int16)
    bits = np.packbits((grey[:, 1:] > grey[:, :-1]).ravel())
    words: NDArray[np.uint64] = bits.view(np.uint64)
    return words


def near_duplicates(dataset: Dataset, progress: Progress | None = None) -> list[NearDuplicate]:
    """Pairs of observations whose different picture files show nearly the same, the most alike first.

    Of observations that share one file the first stands for all. Pictures that do not open are left out.
    """
    firsts = {o.image: o for o in reversed(dataset.observations)}
    kept, hashes, greys = [], [], []
    for number, (path, observation) in enumerate(reversed(firsts.items())):
        if progress is not None and number % 10 == 0:
            progress(f"Looking at picture {number + 1:,} of {len(firsts):,}", 0.95 * number / len(firsts))
        try:
            picture = open_picture(path)
        except InputError:
            continue
        kept.append(observation.id)
        hashes.append(difference_hash(picture))
        small = picture.convert("L").resize((_GREY, _GREY), Image.Resampling.BOX)
        greys.append(np.asarray(small, dtype=np.int16))
    if len(kept) < 2:
        return []
    words, levels = np.stack(hashes), np.stack(greys)
    found = []
    for start, end in pairwise([*range(0, len(kept), _ROWS), len(kept)]):
        distances = np.bitwise_count(words[start:end, None] ^ words[None]).sum(axis=-1)
        for i, j in zip(*np.nonzero(distances <= MOST_BITS), strict=True):
            if start + i < j:
                apart = float(np.abs(levels[start + i] - levels[j]).mean())
                if apart <= MOST_LEVELS:
                    found.append(NearDuplicate(kept[start + i], kept[j], int(distances[i, j]), apart))
    return sorted(found, key=lambda pair: (pair.levels, pair.bits, pair.first, pair.second))
