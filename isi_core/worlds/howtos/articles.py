"""How-to articles by lot, and what decides the order of their steps.

What is built in, exactly (`kind` of a category):

picture
    Each step's picture shows a level of progress, and the levels of an article strictly grow. The headlines of an
    article are a sample without replacement from remarks that name no progress, drawn apart from the levels. Every
    order of an article's headlines is therefore equally likely whatever the pictures show: words decide nothing.
words
    Each step's headline is one of eight stages of a script, and the stages of an article strictly grow. The pictures
    of an article differ only by a step's own seed, drawn apart from the stages, so every order of an article's
    pictures is equally likely whatever the headlines say: pictures decide nothing.
both
    An article repeats its work in two rounds. The headline tells the round and nothing else, the picture tells the
    level reached within its round and nothing of the round. Two steps of different rounds are decided by the words
    alone (their levels are drawn apart, so the picture is worth a coin), two of one round by the picture alone (their
    headlines are drawn apart). Neither alone decides all pairs; together they do.

The title, the colours, the size of things, the background and the number of steps are drawn apart from all of this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from isi_core.worlds.howtos import language

CATEGORIES: dict[str, str] = {
    "block tower": "picture",
    "flower": "picture",
    "lawn": "picture",
    "dish": "words",
    "parcel": "words",
    "bicycle": "words",
    "house": "both",
    "kite": "both",
}
"""Every category and what decides the order of its steps: picture, words or both."""

LEVELS = 8
"""Levels of progress that a picture can show, 0 to 7."""

STEPS = (4, 5, 6, 7, 8)
"""Numbers of steps of an article."""

_SEEDS = 2**31


@dataclass(frozen=True)
class StepScene:
    """All that a step's picture is drawn from.

    Attributes
    ----------
    category : one of `CATEGORIES`.
    level : progress shown, 0 to 7; None where the picture shows none.
    article_seed : colours, sizes and background, the same for every step of an article.
    step_seed : position, light and small things at the side, another for every step.
    """

    category: str
    level: int | None
    article_seed: int
    step_seed: int


@dataclass(frozen=True)
class Step:
    """One step of an article: what it says and what its picture is drawn from."""

    headline: str
    scene: StepScene


@dataclass(frozen=True)
class Article:
    """A how-to: 4 to 8 steps in their order."""

    title: str
    category: str
    kind: str
    steps: tuple[Step, ...]

    def digest(self) -> str:
        """SHA-256 (hex) of the article: two with the same digest read and look the same."""
        told = [self.category, self.title]
        for step in self.steps:
            scene = step.scene
            told.append(f"{step.headline}|{scene.level}|{scene.article_seed}|{scene.step_seed}")
        return hashlib.sha256("\n".join(told).encode()).hexdigest()

    @property
    def held_out(self) -> bool:
        """Kept from every training: one article in sixteen, told by its digest alone."""
        return self.digest().startswith("0")


def draw_article(rng: Random, category: str | None = None) -> Article:
    """An article by lot; the same state of `rng` gives the same article.

    Parameters
    ----------
    category : one of `CATEGORIES`; by lot when left out.
    """
    category = rng.choice(tuple(CATEGORIES)) if category is None else category
    kind = CATEGORIES[category]
    count = rng.choice(STEPS)
    levels: list[int | None] = [None] * count
    if kind == "picture":
        levels = [*sorted(rng.sample(range(LEVELS), count))]
        headlines = language.remarks(rng, category, count)
    elif kind == "words":
        headlines = language.script(rng, category, sorted(rng.sample(range(language.STAGES), count)))
    else:
        first = rng.randint(1, count - 1)
        parts = (first, count - first)
        levels = [level for part in parts for level in sorted(rng.sample(range(LEVELS), part))]
        headlines = [headline for i, part in enumerate(parts) for headline in language.rounds(rng, category, i, part)]
    look = rng.randrange(_SEEDS)
    steps = tuple(
        Step(headline, StepScene(category, level, look, rng.randrange(_SEEDS)))
        for headline, level in zip(headlines, levels, strict=True)
    )
    return Article(language.title(rng, category), category, kind, steps)


def draw_articles(
    seed: int | str, count: int, category: str | None = None, held_out: bool | None = None
) -> Iterator[Article]:
    """`count` different articles, the same for the same seed.

    Parameters
    ----------
    category : one of `CATEGORIES`; by turns when left out.
    held_out : only articles that no training has seen (True), only ones that may be trained on (False), or both.
    """
    rng = Random(f"howtos {category} {seed}")
    names = tuple(CATEGORIES)
    seen: set[str] = set()
    made = 0
    while made < count:
        article = draw_article(rng, category or names[made % len(names)])
        digest = article.digest()
        if digest in seen or held_out not in (None, article.held_out):
            continue
        seen.add(digest)
        made += 1
        yield article
