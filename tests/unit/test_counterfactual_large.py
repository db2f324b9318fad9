"""A corpus of 10,000 attributes: what a page does with it at every run takes a number of steps that is linear."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Any, TypeVar

import pytest

from isi_core.domain.attributes import Attribute, Corpus, Edit
from isi_core.domain.errors import InputError
from isi_core.reports import counterfactual_examples as examples
from isi_core.reports import counterfactual_figures as figures
from isi_core.studies.counterfactuals.results import Result
from isi_core.studies.counterfactuals.settings import SEARCHES, Settings, estimate
from isi_core.ui.counterfactuals import corpus as corpus_ui
from isi_core.ui.counterfactuals import corpus_edits
from isi_core.ui.counterfactuals.desk import Desk
from isi_core.worlds.attributed import world
from tests import rankings

N = 10_000
FLAT = Corpus("faces", {f"attribute {i}": {} for i in range(N)})
# 10 groups of 9 kinds of 110 sub-types each.
DEEP = Corpus(
    "faces",
    {f"group {i}": {f"kind {j}": tuple(f"leaf {i} {j} {k}" for k in range(110)) for j in range(9)} for i in range(10)},
)
WIDE = Corpus("faces", {f"group {i}": {"kind": (f"leaf {i}",)} for i in range(N // 3)})
ALL = pytest.mark.parametrize("corpus", [FLAT, DEEP, WIDE], ids=["flat", "three levels", "many groups"])
MOST_CALLS = 120
"""Calls for each attribute; what is quadratic needs thousands."""

Made = TypeVar("Made")


class _TooManyError(Exception):
    """The bound is passed: not waited for."""


def calls(do: Callable[[], Made], most: int) -> Made:
    """What `do` makes, in at most so many calls of functions, Python's own among them, and steps of generators."""
    count = 0

    def seen(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")
        if count > most:
            sys.setprofile(None)
            raise _TooManyError(f"more than {most:,} calls")

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        return do()
    finally:
        sys.setprofile(before)


def linear(do: Callable[[], Made], corpus: Corpus) -> Made:
    """What `do` makes, in a number of calls that is linear in the corpus."""
    return calls(do, MOST_CALLS * len(corpus.attributes()))


def found(corpus: Corpus) -> Result:
    """A ranking of every attribute on one picture, each a little stronger than the one before."""
    made, _ = rankings.result(1)
    like = made.sets[0]
    sets = [
        replace(like, edits=(Edit(attribute),), influence=1.0 + i / N, signed=replace(like.signed, estimate=0.5))
        for i, attribute in enumerate(corpus.attributes())
    ]
    return replace(made, corpus=corpus, sets=tuple(reversed(sets)), joint=())


def test_the_bound_fails_what_is_quadratic() -> None:
    attributes = FLAT.attributes()
    with pytest.raises(_TooManyError):
        linear(lambda: [a for a in attributes if any(b.within(a) for b in attributes)], FLAT)


@ALL
def test_a_corpus_tells_its_attributes_and_leaves(corpus: Corpus) -> None:
    def ask() -> tuple[int, int, int]:
        fresh = Corpus("faces", corpus.categories)  # nothing is remembered of it
        attributes = fresh.attributes()
        return len(attributes), len(fresh.leaves()), sum(a in fresh for a in attributes)

    count, leaves, known = linear(ask, corpus)
    assert count == known == len(corpus.attributes()) and 9_900 <= count <= 10_100
    assert leaves == sum(not corpus.children(a) for a in corpus.attributes())
    assert Attribute(("nowhere",)) not in corpus and Attribute(("group 1", "kind", "leaf 2")) not in corpus
    assert "group 1" not in corpus


@ALL
def test_what_the_exact_editor_cannot_draw_is_taken_out_in_one_pass(corpus: Corpus) -> None:
    desk, mine = Desk(domain="faces", editor="render"), world("faces")
    first = next(iter(mine.tree))
    both = Corpus("faces", {**corpus.categories, first: {**mine.tree[first], "unknown": ("one", "two")}})
    unknown = linear(lambda: corpus_ui.unknown_to_render(desk, both), both)
    assert len(unknown) == len(corpus.attributes()) + 3
    left = linear(lambda: corpus_ui.drawable(desk, both), both)
    assert left.categories == {first: mine.tree[first]}
    # As taking them out one by one does it.
    slowly = Corpus("faces", {**dict(list(corpus.categories.items())[:3]), first: both.categories[first]})
    pruned = slowly
    for attribute in sorted(corpus_ui.unknown_to_render(desk, slowly), key=lambda a: -a.level):
        pruned = corpus_edits.removed(pruned, attribute)
    assert corpus_ui.drawable(desk, slowly) == pruned == left
    with pytest.raises(InputError, match="can draw none"):
        linear(lambda: corpus_ui.drawable(desk, corpus), corpus)
    assert corpus_ui.drawable(Desk(domain="faces", editor="ledits"), corpus) is corpus


@ALL
def test_what_a_search_takes_is_told(corpus: Corpus) -> None:
    count = len(corpus.attributes())
    for search in SEARCHES:
        found = linear(lambda s=search: estimate(corpus, Settings(search=s), 2), corpus)  # type: ignore[misc]
        assert found.edits == 2 * (found.sets + 1) and found.sets > (count if search == "exhaustive" else 10)


@ALL
def test_the_tree_on_the_page_is_cut(corpus: Corpus) -> None:
    shown = linear(lambda: corpus_ui._tree_html(corpus), corpus)
    assert len(shown) < 60_000 and "more</div>" in shown


@ALL
def test_the_hierarchy_draws_the_strongest_and_says_so(corpus: Corpus) -> None:
    result = found(corpus)
    figure = linear(lambda: figures.hierarchy_figure(result), corpus)
    rows = max(figure.chart.to_dict()["datasets"].values(), key=len)
    leaves = corpus.leaves()
    drawn = [row["path"] for row in rows if row["right"] == 3]
    assert len(drawn) == 200 and f"200 of {len(leaves):,}" in figure.reading
    # The last attribute of the corpus is the strongest, and its branch comes first.
    assert leaves[-1].text in drawn
    assert next(row["top"] for row in rows if row["path"] == leaves[-1].text) == 0


@ALL
def test_rows_and_labels_of_every_attribute(corpus: Corpus) -> None:
    result = found(corpus)
    names = linear(lambda: figures.labels_of(corpus.attributes()), corpus)
    assert len(names) == len(corpus.attributes())
    rows = linear(lambda: examples.grid_rows(result, result.sets, lambda digest, edits: None), corpus)
    assert len(rows) == len(result.sets)
    group = next(row for row, s in zip(rows, result.sets, strict=True) if s.attribute == corpus.attributes()[0])
    assert bool(group.kinds) == bool(corpus.children(corpus.attributes()[0]))
