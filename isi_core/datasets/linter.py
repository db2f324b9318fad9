"""What in a dataset would spoil a study: contexts that give the answer away, and pictures that are nearly the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from isi_core.datasets.pictures import open_picture
from isi_core.domain.errors import InputError
from isi_core.domain.observation import Dataset, Observation
from isi_core.domain.progress import Progress

SIDE = 16
"""The perceptual hash has SIDE x SIDE bits."""
MOST_BITS = 40
"""Bits that the hashes of near-duplicates may differ in, of SIDE x SIDE.

Measured on 60 drawn and 40 published pictures: copies at a third of the size or as JPEG of quality 50 differ in at most
4 bits, a fifth brighter in at most 42, without 2 % at each border in 74 (half of them in fewer than 38); different
pictures differ in at least 74.
"""
MOST_LEVELS = 6.0
"""Mean difference of the small grey copies of near-duplicates that are flat, in grey levels of 255."""
MOST_PARTNERS = 5
"""Earlier pictures that one is said to resemble, so that many alike give no more pairs than can be read."""
_FLAT = 4.0  # standard deviation, grey levels: below it a hash is of noise alone, and the grey levels decide
_GREY = 32
_BLOCK = 256  # rows of the distance matrix that are held at once

STATES, USES_WORDS = "states the answer", "uses every word of the question"
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
    how : `STATES` (says that it is yes or no) or `USES_WORDS` (those of the question that carry meaning, all in one
        sentence; it may still leave the answer open, so this is a hint).
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
                yield Leak(o.id, o.row, which, STATES, sentence.strip())
                break
            if len(asked) >= 2 and asked <= _content(sentence):
                yield Leak(o.id, o.row, which, USES_WORDS, sentence.strip())
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
    first, second : ids of observations, in the dataset's order.
    bits : of the perceptual hashes that differ, of SIDE x SIDE.
    levels : mean difference of the small grey copies, in grey levels of 255; 0 for the same picture.
    """

    first: str
    second: str
    bits: int
    levels: float


@dataclass(frozen=True, eq=False)
class _Looked:
    """What is kept of a picture: hash as words, small grey copy, its mean, and whether it is all but one grey."""

    id: str
    words: NDArray[np.uint64]
    grey: NDArray[np.int16]
    mean: float
    flat: bool


def perceptual_hash(picture: Image.Image) -> NDArray[np.uint64]:
    """(SIDE * SIDE / 64,) words: ImageHash's pHash, which of the lowest frequencies lie above their median."""
    import imagehash

    words: NDArray[np.uint64] = np.packbits(imagehash.phash(picture, hash_size=SIDE).hash.ravel()).view(np.uint64)
    return words


def near_duplicates(dataset: Dataset, progress: Progress | None = None) -> list[NearDuplicate]:
    """Pairs of observations whose different picture files show nearly the same, the most alike first.

    Of observations that share one file the first stands for all, as does the first of pictures with the same hash.
    Pictures that do not open are left out. At most (1 + MOST_PARTNERS) pairs a picture.
    """
    looked = list(_look(dataset, progress))
    firsts, found = _same_hash(looked)
    if progress is not None:
        progress(f"Comparing {len(firsts):,} pictures", 0.95)
    found += _nearly_same_hash(firsts)
    return sorted(found, key=lambda pair: (pair.bits, pair.levels, pair.first, pair.second))


def _look(dataset: Dataset, progress: Progress | None) -> Iterator[_Looked]:
    firsts: dict[Path, str] = {}
    for observation in dataset.observations:
        firsts.setdefault(observation.image, observation.id)
    for number, (path, observation_id) in enumerate(firsts.items()):
        if progress is not None and number % 10 == 0:
            progress(f"Looking at picture {number + 1:,} of {len(firsts):,}", 0.95 * number / len(firsts))
        try:
            picture = open_picture(path)
        except InputError:
            continue
        grey = np.asarray(picture.convert("L").resize((_GREY, _GREY), Image.Resampling.BOX), dtype=np.int16)
        yield _Looked(observation_id, perceptual_hash(picture), grey, float(grey.mean()), float(grey.std()) < _FLAT)


def _same_hash(looked: Iterable[_Looked]) -> tuple[list[_Looked], list[NearDuplicate]]:
    """The first picture of each bucket, and the others paired with it; flat ones are told apart by their grey too."""
    buckets: dict[tuple[bytes, int], _Looked] = {}
    firsts, found = [], []
    for one in looked:
        key = one.words.tobytes(), round(one.mean / MOST_LEVELS) if one.flat else -1
        first = buckets.setdefault(key, one)
        pair = _pair(first, one, 0) if first is not one else None
        if pair is None:
            firsts.append(one)
        else:
            found.append(pair)
    return firsts, found


def _nearly_same_hash(looked: Sequence[_Looked]) -> list[NearDuplicate]:
    """Each picture with those before it that it resembles most."""
    if len(looked) < 2:
        return []
    words, means = np.stack([one.words for one in looked]), np.array([one.mean for one in looked])
    found = []
    for start in range(0, len(looked), _BLOCK):
        end = min(start + _BLOCK, len(looked))
        distances = np.bitwise_count(words[start:end, None] ^ words[None, :end]).sum(axis=-1, dtype=np.int16)
        for row in np.flatnonzero((distances <= MOST_BITS).sum(axis=1) > 1):  # each is near itself
            j = start + int(row)
            near = np.flatnonzero(distances[row, :j] <= MOST_BITS)
            # Of flat pictures all hashes are much the same: the nearest in grey come first.
            order = np.argsort(distances[row, near] + np.abs(means[near] - means[j]), kind="stable")
            pairs = (_pair(looked[i], looked[j], int(distances[row, i])) for i in near[order[:MOST_PARTNERS]])
            found += [pair for pair in pairs if pair is not None]
    return found


def _pair(first: _Looked, second: _Looked, bits: int) -> NearDuplicate | None:
    """Two pictures of like hashes as a pair; None where they are flat and their grey differs."""
    levels = float(np.abs(first.grey - second.grey).mean())
    if (first.flat or second.flat) and levels > MOST_LEVELS:
        return None
    return NearDuplicate(first.id, second.id, bits, levels)
