"""Articles of the built-in world, and articles written to a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from isi_core.datasets.isi_folder import require_empty
from isi_core.datasets.step_articles import ARTICLES_NAME, ArticleSet, ArticleStep, StepArticle
from isi_core.datasets.step_pictures import open_image, png_bytes
from isi_core.domain.errors import InputError
from isi_core.domain.step_pairs import KINDS
from isi_core.worlds.howtos import CATEGORIES, Article, DrawnStep, draw_articles

BUILT_IN = "howto"
SAMPLE_FOLDER = Path(__file__).parents[2] / "data" / "howto"
SAMPLE_SEED, SAMPLE_COUNT, SAMPLE_SIDE = 0, 60, 96


def built_in_articles(seed: int | str, count: int, side: int = 128, held_out: bool | None = None) -> ArticleSet:
    """Articles of the built-in world, the categories by turns; their pictures are drawn when opened."""
    found = tuple(as_step_article(article, side) for article in draw_articles(seed, count, held_out=held_out))
    return ArticleSet("howto", found)


def as_step_article(article: Article, side: int = 128) -> StepArticle:
    """A drawn article with pictures of `side` x `side` pixels; its digest is its source."""
    steps = tuple(ArticleStep(step.headline, DrawnStep(step, side)) for step in article.steps)
    return StepArticle(article.digest()[:16], article.title, article.category, steps, article.kind)


def write_articles(articles: Iterable[StepArticle], folder: Path) -> int:
    """Write `articles.jsonl` and `images/` into a new or empty folder; how many articles were written.

    The same articles make the same bytes.

    Raises
    ------
    InputError : the folder holds something already, or a picture cannot be opened.
    """
    require_empty(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    written = 0
    with (folder / ARTICLES_NAME).open("w", encoding="utf-8") as out:
        for number, article in enumerate(articles):
            steps = []
            for i, step in enumerate(article.steps):
                name = f"{number:04d}_{i + 1}.png"
                (folder / "images" / name).write_bytes(png_bytes(open_image(step.image)))
                steps.append({"headline": step.headline, "image": f"images/{name}"})
            entry = {
                "source": article.source,
                "title": article.title,
                "category": article.category,
                **({"kind": article.kind} if article.kind else {}),
                "steps": steps,
            }
            out.write(json.dumps(entry, ensure_ascii=False) + "\n")
            written += 1
    return written


def write_howto_sample(
    folder: Path, count: int = SAMPLE_COUNT, seed: int = SAMPLE_SEED, side: int = SAMPLE_SIDE
) -> int:
    """Write `count` articles of the built-in world that no training has seen, with a README that says how.

    Raises
    ------
    InputError : the folder holds something already, or the numbers make no sense.
    """
    if not 1 <= count <= 20_000 or not 48 <= side <= 1024:
        raise InputError("The number of articles lies between 1 and 20,000, the side between 48 and 1,024 pixels.")
    found = built_in_articles(f"sample {seed}", count, side, held_out=True)
    written = write_articles(found.articles, folder)
    (folder / "README.md").write_text(_readme(count, seed, side), encoding="utf-8")
    return written


def _readme(count: int, seed: int, side: int) -> str:
    by_kind = {kind: ", ".join(name for name, of in CATEGORIES.items() if of == kind) for kind in KINDS}
    return f"""# How-to articles

{count} generated illustrated how-tos with 4 to 8 steps each: `{ARTICLES_NAME}` (one article a line: source, title,
category, kind, steps with headline and image) and `images/` ({side} x {side} pixels).

`kind` is what decides the order of an article's steps, by construction:

- `picture` ({by_kind["picture"]}): the picture shows a growing state, the headlines tell nothing of the order.
- `words` ({by_kind["words"]}): the headlines are stages of a script, the pictures tell nothing of the order.
- `both` ({by_kind["both"]}): the headline tells which of two rounds, the picture how far the round is.

No article was ever used in training: every article whose digest begins with 0 is held out, and all of these do.

Made by this command; the same command makes the same files:

    python -m isi_core order build howto FOLDER --articles {count} --seed {seed} --side {side}

Licence: CC-BY-4.0.
"""
