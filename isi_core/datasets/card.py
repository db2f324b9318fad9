"""The dataset card: what a dataset holds, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from isi_core.datasets.pictures import FORMATS
from isi_core.domain.observation import Dataset


@dataclass(frozen=True)
class DatasetCard:
    """A dataset in numbers.

    Attributes
    ----------
    balance : number of observations by (family, truth word); the family is "" where none is named.
    question_words : number of words of each question, in order.
    sizes : number of pictures by (width, height) in pixels; unreadable ones are left out.
    pictures : number of different natural pictures.
    """

    observations: int
    annotated: int
    complementary: int
    contradictory: int
    pictures: int
    balance: dict[tuple[str, str], int]
    question_words: tuple[int, ...]
    sizes: dict[tuple[int, int], int]

    @property
    def truths(self) -> dict[str, int]:
        """Number of observations by truth word: yes, no, unknown."""
        counts: Counter[str] = Counter()
        for (_, truth), count in self.balance.items():
            counts[truth] += count
        return {word: counts[word] for word in ("yes", "no", "unknown") if counts[word]}


def dataset_card(dataset: Dataset) -> DatasetCard:
    """Count what is there; of pictures only the head is read."""
    observations = dataset.observations
    pictures = {o.image for o in observations}
    sizes = Counter(size for size in map(_size, sorted(pictures)) if size is not None)
    return DatasetCard(
        observations=len(observations),
        annotated=sum(o.annotated is not None for o in observations),
        complementary=sum(bool(o.complementary.strip()) for o in observations),
        contradictory=sum(bool(o.contradictory.strip()) for o in observations),
        pictures=len(pictures),
        balance=dict(sorted(Counter((o.family, o.truth_word) for o in observations).items())),
        question_words=tuple(len(o.question.split()) for o in observations),
        sizes=dict(sizes.most_common()),
    )


def _size(path: Path) -> tuple[int, int] | None:
    try:
        with Image.open(path, formats=FORMATS) as picture:
            return picture.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
