"""The growth benchmark counts what the searches really ask for, fits exponents and draws them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from benchmarks import ranking
from benchmarks.ranking_growth import EXHAUSTIVE, FEW, GREEDY, SEARCHES, Growth, draw, measure, part_of, table
from isi_core.models.classifiers.rule import RuleClassifier
from isi_core.studies.counterfactuals.search import leaf_sets
from isi_core.worlds.rules import draw_rule

LEAVES, PICTURES = (5, 10, 20), (3, 6)


@pytest.fixture(scope="module")
def growth() -> Growth:
    """Counted on one rule and small sizes."""
    rule = RuleClassifier(draw_rule(Random(1), ranking.FACES))
    return measure([rule], ranking.CORPUS, ranking.drawn_pictures, ranking.searched_in, LEAVES, PICTURES)


def test_counts_are_the_searches_own(growth: Growth) -> None:
    order = list(ranking.CORPUS.leaves())
    rng = Random("growth 0")
    pictures = ranking.drawn_pictures(rng, FEW)
    rng.shuffle(order)
    rule = draw_rule(Random(1), ranking.FACES)
    for at, size in enumerate(LEAVES):
        part = part_of(ranking.CORPUS, order[:size])
        assert set(part.leaves()) == set(order[:size]) and list(part.leaves()) == sorted(order[:size], key=_place)
        attributes = len(part.attributes())
        pairs = len(leaf_sets(part.leaves(), 2))
        assert growth.edits[EXHAUSTIVE]["attributes"][at] == (attributes, FEW * (attributes + pairs))
        for search, width in ((GREEDY, 1), ("beam of 3", 3)):
            effects = ranking.fresh(pictures, rule)
            ranking.searched(effects, width, part)
            assert growth.edits[search]["attributes"][at] == (attributes, effects.asked)


def _place(leaf: object) -> int:
    return [*ranking.CORPUS.leaves()].index(leaf)  # type: ignore[arg-type]


def test_exponents_are_slopes_of_the_logarithms(growth: Growth) -> None:
    square = Growth({"x": {"attributes": [(n, 5.0 * n**2) for n in (2.0, 3.0, 7.0)]}})
    assert square.exponent("x", "attributes") == pytest.approx(2.0)
    assert growth.exponent(EXHAUSTIVE, "pictures") == pytest.approx(1.0)
    for search in SEARCHES[:-1]:
        assert growth.exponent(search, "attributes") < growth.exponent(EXHAUSTIVE, "attributes")
    widths = [edits for _, edits in growth.edits["beam"]["width"]]
    assert widths == sorted(widths) and widths[0] == growth.edits[GREEDY]["pictures"][-1][1]


def test_it_is_told_and_drawn(growth: Growth, tmp_path: Path) -> None:
    told = table(growth)
    assert all(told.count(search) == 2 for search in SEARCHES)
    assert f"{growth.exponent(EXHAUSTIVE, 'attributes'):.2f}" in told
    png, svg = draw(growth, 1, tmp_path)
    assert Image.open(png).width > 1_200
    words = " ".join(" ".join(ET.fromstring(svg.read_text()).itertext()).split())
    assert "attributes of the corpus" in words and "beam width B" in words and "Each line is a search" in words
    assert f"slope {growth.exponent(GREEDY, 'attributes'):.2f}" in words
