"""The how-to world: repeatable, and decided by exactly what it says."""

import itertools
from collections import Counter
from random import Random

import numpy as np
import pytest
from scipy.stats import chi2_contingency
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from isi_core.datasets.step_pairs import drawn_pairs
from isi_core.measures.statistics import wilson_interval
from isi_core.worlds.howtos import CATEGORIES, DrawnStep, draw_article, draw_articles, language, render_step
from isi_core.worlds.howtos.articles import LEVELS, STEPS

OF_KIND = {kind: [name for name, of in CATEGORIES.items() if of == kind] for kind in ("picture", "words", "both")}
TRAIN, TEST = 700, 400


@pytest.fixture(scope="module")
def pairs():
    """Pairs of every category, with small pictures."""
    return drawn_pairs(7, TRAIN, 2, TEST, side=24)


def of_category(pairs, category):
    return [[p for p in part if p.category == category] for part in (pairs.train, pairs.test)]


def words_accuracy(train, test):
    """Of a linear model on the difference of the two headlines' words and word pairs."""
    counts = CountVectorizer(ngram_range=(1, 2), token_pattern=r"[a-z']+", binary=True)
    counts.fit([headline for pair in train for headline in pair.headlines])

    def difference(part):
        first, second = (counts.transform([p.headlines[i] for p in part]).toarray() for i in (0, 1))
        return second.astype(float) - first

    model = LogisticRegression(C=1.0, max_iter=500).fit(difference(train), [p.label for p in train])
    return model.predict(difference(test)) == np.array([p.label for p in test])


def pixels_accuracy(train, test):
    """Of a linear model on the difference of the two pictures' pixels, their saturation included."""

    def values(source):
        picture = source()
        return np.concatenate(
            [np.asarray(picture, float).ravel(), np.asarray(picture.convert("HSV"), float)[..., 1].ravel()]
        )

    def difference(part):
        return np.stack([values(p.images[1]) - values(p.images[0]) for p in part]) / 255

    model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=1e4))
    model.fit(difference(train), [p.label for p in train])
    return model.predict(difference(test)) == np.array([p.label for p in test])


def is_chance(right):
    interval = wilson_interval(int(right.sum()), len(right), 0.99)
    return interval.low <= 0.5 <= interval.high


def test_the_same_seed_draws_the_same_articles_and_pictures_and_another_seed_others():
    first, again, other = (list(draw_articles(seed, 24)) for seed in (1, 1, 2))
    assert first == again
    assert not {a.digest() for a in first} & {a.digest() for a in other}
    assert [a.category for a in first[:8]] == list(CATEGORIES)
    step = first[0].steps[0]
    assert render_step(step, 64).tobytes() == DrawnStep(step, 64)().tobytes()
    assert (render_step(step, 64).size, render_step(step, 64).mode) == ((64, 64), "RGB")


@pytest.mark.parametrize("category", CATEGORIES)
def test_an_article_is_built_as_its_kind_says(category):
    rng = Random(category)
    for _ in range(60):
        article = draw_article(rng, category)
        levels = [step.scene.level for step in article.steps]
        assert len(article.steps) in STEPS
        assert len({step.headline for step in article.steps}) == len(levels)
        assert len({step.scene.article_seed for step in article.steps}) == 1
        if article.kind == "words":
            assert set(levels) == {None}
        elif article.kind == "picture":
            assert levels == sorted(set(levels))
            assert set(levels) <= set(range(LEVELS))
        else:
            rounds = [round_of(article.category, step.headline) for step in article.steps]
            assert rounds == sorted(rounds)
            assert set(rounds) == {0, 1}
            for which in (0, 1):
                part = [level for level, r in zip(levels, rounds, strict=True) if r == which]
                assert part == sorted(set(part))


def round_of(category, headline):
    openings = language._ROUNDS[category]
    (which,) = (i for i in (0, 1) if headline.startswith(openings[i]))
    return which


def test_words_tell_nothing_where_the_picture_decides_and_everything_where_they_do(pairs):
    for category in OF_KIND["picture"]:
        assert is_chance(words_accuracy(*of_category(pairs, category))), category
    for category in OF_KIND["words"]:
        assert words_accuracy(*of_category(pairs, category)).mean() > 0.95, category


def test_pictures_tell_nothing_where_words_decide_and_nearly_everything_where_they_do(pairs):
    for category in OF_KIND["words"]:
        assert is_chance(pixels_accuracy(*of_category(pairs, category))), category
    for category in OF_KIND["picture"]:
        assert pixels_accuracy(*of_category(pairs, category)).mean() > 0.85, category


@pytest.mark.parametrize("category", OF_KIND["both"])
def test_where_both_are_needed_each_decides_its_own_share_and_nothing_of_the_others(pairs, category):
    train, test = of_category(pairs, category)
    same = np.array([len({round_of(category, h) for h in pair.headlines}) == 1 for pair in test])
    assert 0.4 < same.mean() < 0.6
    by_words, by_pixels = words_accuracy(train, test), pixels_accuracy(train, test)
    assert by_words[~same].mean() > 0.98
    assert is_chance(by_words[same])
    assert is_chance(by_pixels[~same])
    levels = [tuple(source.step.scene.level for source in pair.images) for pair in test]
    truth = np.array([(a < b) == bool(pair.label) for (a, b), pair in zip(levels, test, strict=True)])
    assert truth[same].all()  # the picture shows the order of one round
    assert by_pixels[same].mean() > 0.7  # and more than chance of it is seen by pixels alone


@pytest.mark.parametrize("category", [*OF_KIND["picture"], *OF_KIND["both"]])
def test_headlines_are_distributed_alike_in_both_orders(category):
    """First remark of one half of the articles against the last of the other (of the first round): one distribution."""
    first, last = Counter(), Counter()
    for number, article in enumerate(draw_articles("reversal", 4_000, category)):
        lines = [step.headline for step in article.steps]
        if CATEGORIES[category] == "both":
            lines = [line for line in lines if round_of(category, line) == 0]
        if len(lines) > 1:
            if number % 2:
                first[core(category, lines[0])] += 1
            else:
                last[core(category, lines[-1])] += 1
    names = sorted(first | last)
    assert len(names) >= 10
    assert chi2_contingency([[first[n] for n in names], [last[n] for n in names]]).pvalue > 0.01


def core(category, headline):
    """The piece of work a headline is made of."""
    works = language._REMARKS.get(category) or language._ROUND_WORK[category]
    return next(work for work in works if work in headline.lower())


def test_a_picture_says_nothing_of_its_place_where_words_decide():
    """Steps' own seeds are independent of their place: the first seed is not the smaller one more often."""
    for category in OF_KIND["words"]:
        smaller = [a.steps[0].scene.step_seed < a.steps[-1].scene.step_seed for a in draw_articles(1, 2_000, category)]
        assert is_chance(np.array(smaller))


def test_colours_positions_and_light_differ_between_articles_and_steps():
    for category in CATEGORIES:
        articles = list(draw_articles(3, 30, category))
        pictures = {render_step(step, 32).tobytes() for article in articles for step in article.steps}
        assert len(pictures) == sum(len(article.steps) for article in articles)


@pytest.mark.parametrize("category", [*OF_KIND["picture"], *OF_KIND["both"]])
def test_each_level_looks_different(category):
    article = next(a for a in draw_articles(5, 50, category) if len(a.steps) == 8)
    scenes = [step.scene for step in article.steps]
    step = article.steps[0]
    shown = []
    for level in range(LEVELS):
        scene = type(scenes[0])(category, level, scenes[0].article_seed, scenes[0].step_seed)
        shown.append(np.asarray(render_step(type(step)("", scene), 64), float))
    for a, b in itertools.pairwise(shown):
        assert (np.abs(a - b).max(axis=2) > 20).mean() > 0.002


def test_one_article_in_sixteen_is_held_out_and_never_trained_on():
    every = [article.held_out for article in draw_articles(0, 4_000)]
    assert 1 / 20 < np.mean(every) < 1 / 13
    known = {a.digest() for a in draw_articles(0, 300, held_out=False)}
    unseen = {a.digest() for a in draw_articles(0, 100, held_out=True)}
    assert all(digest.startswith("0") for digest in unseen)
    assert not any(digest.startswith("0") for digest in known)


def test_the_vocabulary_holds_every_word_of_every_text():
    known = set(language.vocabulary())
    for article in draw_articles(9, 2_000):
        for text in (article.title, *(step.headline for step in article.steps)):
            assert set(text.lower().replace(",", " ").replace(".", " ").replace(":", " ").split()) <= known, text
