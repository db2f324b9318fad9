"""Step pairs from articles: split by article, drawn by lot, half of them reversed."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from isi_core.datasets.howto_articles import BUILT_IN, SAMPLE_FOLDER, as_step_article
from isi_core.datasets.step_articles import MIN_SIDE, ArticleSet, StepArticle, read_articles
from isi_core.datasets.step_pair_files import TEST_FILE, TRAIN_FILE, read_pairs, write_pairs
from isi_core.datasets.step_pictures import open_image, open_images
from isi_core.domain.errors import InputError
from isi_core.domain.progress import Progress
from isi_core.domain.step_pairs import KINDS, PairSplits, StepPair
from isi_core.worlds.howtos import CATEGORIES, draw_articles

__all__ = [
    "SIZES",
    "PairSizes",
    "build_pairs",
    "drawn_pairs",
    "load_pairs",
    "open_image",
    "open_images",
    "pair_categories",
    "read_pairs",
    "split_articles",
    "write_pairs",
]

SHARES = (0.7, 0.1, 0.2)
"""Of the articles of a category: for training, for validation, for test."""
SAMPLE = "howto-sample"
PAIRS_PER_ARTICLE = 2
"""Of a drawn article, so that the pairs of a category are nearly independent of each other."""


@dataclass(frozen=True)
class PairSizes:
    """Pairs of *each category* for training, validation and test; what is odd loses one, so that halves are equal."""

    train: int
    validation: int
    test: int

    def __post_init__(self) -> None:
        if min(self.train, self.validation, self.test) < 2 or max(self.train, self.validation, self.test) > 100_000:
            raise InputError("Each split needs between 2 and 100,000 pairs a category.")


SIZES: dict[str, PairSizes] = {
    "quick look": PairSizes(200, 40, 100),
    "standard": PairSizes(800, 200, 1_000),
    "large": PairSizes(4_000, 400, 2_000),
}
"""Presets by name; `standard` is the built-in default."""


def split_articles(
    articles: Sequence[StepArticle], seed: int, shares: tuple[float, float, float] = SHARES
) -> tuple[list[StepArticle], list[StepArticle], list[StepArticle]]:
    """(training, validation, test) of articles of one category; each source is in one of them as a whole.

    With three sources or more none of the three is empty. Deterministic by seed, whatever the order given.
    """
    sources = sorted({article.source for article in articles})
    Random(f"split {seed}").shuffle(sources)
    count = len(sources)
    validation = max(1, round(shares[1] * count)) if count >= 3 else 0
    test = max(1, round(shares[2] * count)) if count >= 3 else 0
    place = dict.fromkeys(sources[:test], 2) | dict.fromkeys(sources[test : test + validation], 1)
    parts: tuple[list[StepArticle], list[StepArticle], list[StepArticle]] = ([], [], [])
    for article in articles:
        parts[place.get(article.source, 0)].append(article)
    return parts


def _distinct(articles: Sequence[StepArticle], problems: list[str]) -> list[StepArticle]:
    """The articles without one that repeats another's title and headlines, which could cross the splits."""
    seen: set[object] = set()
    kept = []
    for article in articles:
        key = (article.title.casefold(), tuple(step.headline.casefold() for step in article.steps))
        if key not in seen:
            seen.add(key)
            kept.append(article)
    if len(kept) < len(articles):
        problems.append(f"{len(articles) - len(kept)} articles with another's title and headlines are left out.")
    return kept


def _draw(articles: Sequence[StepArticle], wanted: int, rng: Random, per_article: int | None) -> list[StepPair]:
    """At most `wanted` pairs of different steps, exactly half of them reversed; their `idx` is still to be set."""
    candidates: list[tuple[StepArticle, int, int]] = []
    for article in articles:
        places = list(itertools.combinations(range(len(article.steps)), 2))
        rng.shuffle(places)
        candidates += [(article, i, j) for i, j in places[:per_article]]
    if per_article is None:
        rng.shuffle(candidates)
    count = min(wanted, len(candidates)) // 2 * 2
    labels = [0, 1] * (count // 2)
    rng.shuffle(labels)
    return [_pair(article, i, j, label) for (article, i, j), label in zip(candidates[:count], labels, strict=True)]


def _pair(article: StepArticle, i: int, j: int, label: int) -> StepPair:
    first, second = (article.steps[i], article.steps[j]) if label else (article.steps[j], article.steps[i])
    return StepPair(
        0,
        article.title,
        (first.headline, second.headline),
        (first.image, second.image),
        label,
        article.category,
        article.kind,
    )


def _numbered(pairs: list[StepPair], rng: Random) -> tuple[StepPair, ...]:
    """The pairs of every category mixed, with their numbers."""
    rng.shuffle(pairs)
    return tuple(StepPair(i, p.title, p.headlines, p.images, p.label, p.category, p.kind) for i, p in enumerate(pairs))


def build_pairs(
    articles: ArticleSet,
    sizes: PairSizes = SIZES["standard"],
    seed: int = 0,
    shares: tuple[float, float, float] = SHARES,
) -> PairSplits:
    """Random pairs of every category, as WikiOrder draws them: split by article, then half of the pairs reversed.

    In every category and split exactly half of the pairs are reversed. A category whose articles do not suffice gives
    fewer pairs, one with less than three sources gives none; both are named in `problems`.

    Raises
    ------
    InputError : no category has enough articles.
    """
    problems = list(articles.problems)
    groups: dict[str, list[StepArticle]] = defaultdict(list)
    for article in _distinct(articles.articles, problems):
        groups[article.category].append(article)
    wanted = (sizes.train, sizes.validation, sizes.test)
    found: tuple[list[StepPair], list[StepPair], list[StepPair]] = ([], [], [])
    fewer: list[str] = []
    for category, members in sorted(groups.items()):
        parts = split_articles(members, seed, shares)
        drawn = [
            _draw(part, number, Random(f"pairs {seed} {name} {category}"), None)
            for part, number, name in zip(parts, wanted, ("train", "validation", "test"), strict=True)
        ]
        if not all(drawn):
            problems.append(
                f"Category {category}: its {len(members)} article{'s' * (len(members) != 1)} leave no pair for "
                "training, validation or test; it is left out."
            )
            continue
        for into, pairs in zip(found, drawn, strict=True):
            into.extend(pairs)
        if any(len(pairs) < number // 2 * 2 for pairs, number in zip(drawn, wanted, strict=True)):
            fewer.append(f"{category} {len(drawn[0])}/{len(drawn[1])}/{len(drawn[2])}")
    if fewer:
        problems.append(
            f"The articles give fewer pairs for training/validation/test than the {sizes.train}/{sizes.validation}/"
            f"{sizes.test} asked for: {', '.join(fewer)}."
        )
    if not found[0]:
        raise InputError(
            f"{articles.name}: no category has articles for training, validation and test: "
            "at least three articles a category are needed."
        )
    train, validation, test = (_numbered(pairs, Random(f"mix {seed} {i}")) for i, pairs in enumerate(found))
    return PairSplits(articles.name, train, validation, test, tuple(problems))


def drawn_pairs(
    seed: int, train: int, validation: int, test: int, side: int = 128, categories: Sequence[str] | None = None
) -> PairSplits:
    """Pairs of the built-in world, `train`/`validation`/`test` of them *per category*, half of each reversed.

    Two pairs an article; no article is in two splits. The test pairs are of articles held out by their digest, which
    no training of the embedded models has seen; the others are of articles that may be trained on. Pictures are drawn
    when opened, `side` pixels wide and high. Deterministic by seed.
    """
    found: tuple[list[StepPair], list[StepPair], list[StepPair]] = ([], [], [])
    wanted = (train, validation, test)
    counts = [-(-number // PAIRS_PER_ARTICLE) for number in wanted]
    for category in categories or tuple(CATEGORIES):
        known = list(draw_articles(f"pairs {seed}", counts[0] + counts[1], category, held_out=False))
        unseen = list(draw_articles(f"pairs {seed}", counts[2], category, held_out=True))
        for i, part in enumerate((known[: counts[0]], known[counts[0] :], unseen)):
            rng = Random(f"pairs {seed} {i} {category}")
            articles = [as_step_article(article, side) for article in part]
            found[i].extend(_draw(articles, wanted[i], rng, PAIRS_PER_ARTICLE))
    parts = [_numbered(pairs, Random(f"mix {seed} {i}")) for i, pairs in enumerate(found)]
    return PairSplits(BUILT_IN, parts[0], parts[1], parts[2])


def load_pairs(
    name_or_folder: str | Path = BUILT_IN,
    seed: int = 0,
    per_category: tuple[int, int, int] | None = None,
    min_side: int = MIN_SIDE,
    progress: Progress | None = None,
) -> PairSplits:
    """Pairs by name or folder.

    Parameters
    ----------
    name_or_folder : "howto", drawn anew; "howto-sample", the 60 articles in `data/`; a folder that `write_pairs`
        wrote, whose pairs are taken as they are; or articles as `read_articles` reads them.
    per_category : pairs for training, validation and test of each category; (800, 200, 1000) when left out.

    Raises
    ------
    InputError : there is no such folder, or nothing in it can be used.
    """
    sizes = SIZES["standard"] if per_category is None else PairSizes(*per_category)
    if name_or_folder == BUILT_IN:
        return drawn_pairs(seed, sizes.train, sizes.validation, sizes.test)
    folder = SAMPLE_FOLDER if name_or_folder == SAMPLE else Path(name_or_folder)
    if (folder / TRAIN_FILE).is_file() or (folder / TEST_FILE).is_file():
        return read_pairs(folder, progress)
    return build_pairs(read_articles(folder, min_side, progress), sizes, seed)


def pair_categories(pairs: Sequence[StepPair]) -> dict[str, str]:
    """Every category of the pairs and what decides it: those decided by the picture first, then words, then both."""
    found = {pair.category: pair.kind for pair in pairs}
    return dict(sorted(found.items(), key=lambda item: (KINDS.index(item[1]) if item[1] in KINDS else 9, item[0])))
