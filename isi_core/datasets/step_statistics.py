"""What a set of step pairs holds, in numbers: the columns of WikiOrder's Table 1, and the words of the titles."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from isi_core.datasets.step_articles import StepArticle
from isi_core.domain.step_pairs import PairSplits, StepPair
from isi_core.worlds.howtos.language import title_words

ALL = "all"


@dataclass(frozen=True)
class CategoryCount:
    """One category of a set of pairs; the category "all" is the sum.

    Attributes
    ----------
    titles : different titles.
    train, validation, test : pairs of each split.
    reversed_share : of all its pairs, the share shown in reverse, in [0, 1].
    headline_words : mean number of words of a headline.
    same_headlines : pairs whose two headlines read the same.
    """

    category: str
    kind: str
    titles: int
    train: int
    validation: int
    test: int
    reversed_share: float
    headline_words: float
    same_headlines: int

    @property
    def pairs(self) -> int:
        """Of all three splits."""
        return self.train + self.validation + self.test


@dataclass(frozen=True)
class ArticleCount:
    """One category of a set of articles; `steps` is the mean number of an article, from `fewest` to `most`."""

    category: str
    kind: str
    articles: int
    steps: float
    fewest: int
    most: int
    headline_words: float


@dataclass(frozen=True)
class TitleWords:
    """Verbs and nouns of the titles with their numbers, most frequent first; `tagger` says who told them apart."""

    verbs: tuple[tuple[str, int], ...]
    nouns: tuple[tuple[str, int], ...]
    tagger: str


def pair_statistics(splits: PairSplits) -> tuple[CategoryCount, ...]:
    """One row a category, by name, and the sum last."""
    categories = sorted(set(splits.categories))
    rows = [_row(splits, category) for category in categories]
    return (*rows, _row(splits, None)) if rows else ()


def _row(splits: PairSplits, category: str | None) -> CategoryCount:
    parts = [
        [pair for pair in part if category in (None, pair.category)]
        for part in (splits.train, splits.validation, splits.test)
    ]
    every: list[StepPair] = [pair for part in parts for pair in part]
    kinds = {pair.kind for pair in every}
    return CategoryCount(
        category or ALL,
        kinds.pop() if len(kinds) == 1 else "",
        len({pair.title for pair in every}),
        len(parts[0]),
        len(parts[1]),
        len(parts[2]),
        sum(1 - pair.label for pair in every) / len(every),
        sum(len(line.split()) for pair in every for line in pair.headlines) / (2 * len(every)),
        sum(pair.headlines[0].casefold() == pair.headlines[1].casefold() for pair in every),
    )


def article_statistics(articles: Sequence[StepArticle]) -> tuple[ArticleCount, ...]:
    """One row a category, by name."""
    rows = []
    for category in sorted({article.category for article in articles}):
        members = [article for article in articles if article.category == category]
        counts = [len(article.steps) for article in members]
        words = [len(step.headline.split()) for article in members for step in article.steps]
        rows.append(
            ArticleCount(
                category,
                members[0].kind,
                len(members),
                sum(counts) / len(counts),
                min(counts),
                max(counts),
                sum(words) / len(words),
            )
        )
    return tuple(rows)


def split_titles(splits: PairSplits) -> list[str]:
    """Every different title."""
    return sorted({pair.title for part in (splits.train, splits.validation, splits.test) for pair in part})


_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be by do for from get have how in into is it its my of off on one or out over so some "
        "than that the their them then this to two up use using via when with without you your best big easy flat "
        "good great old quick simple small tall warm",
    )
)
_WORD = re.compile(r"[a-z][a-z'-]+")


def count_title_words(titles: Iterable[str]) -> TitleWords:
    """Verbs and nouns of the titles.

    NLTK's tagger tells them apart where NLTK and its data are installed. Else the built-in world's lexicon does, and
    for words that it does not know the form of a how-to's title: the first word after "How to" is the verb, and what
    is neither that nor a function word counts as a noun.
    """
    titles = list(titles)
    tag = _nltk_tagger()
    verbs: Counter[str] = Counter()
    nouns: Counter[str] = Counter()
    for title in titles:
        words = _WORD.findall(re.sub(r"^\s*how\s+to\s+", "", title.lower()))
        if tag is not None:
            for word, name in tag(["to", *words])[1:]:
                if name.startswith("VB"):
                    verbs[word] += 1
                elif name.startswith("NN"):
                    nouns[word] += 1
            continue
        known_verbs, known_nouns = title_words()
        for place, word in enumerate(words):
            if word in known_nouns:
                nouns[word] += 1
            elif word in known_verbs or place == 0:
                verbs[word] += 1
            elif word not in _FUNCTION_WORDS and not word.endswith("ly"):
                nouns[word] += 1
    return TitleWords(_ranked(verbs), _ranked(nouns), "NLTK" if tag is not None else "built-in lexicon")


def _ranked(counts: Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


@lru_cache(maxsize=1)
def _nltk_tagger() -> Any:
    """NLTK's part-of-speech tagger, or None where it or its data is not installed; nothing is downloaded."""
    try:
        tag = importlib.import_module("nltk").pos_tag
        tag(["to", "plant", "flowers"])
    except (ImportError, LookupError):
        return None
    return tag
