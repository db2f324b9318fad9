"""Which edit sets to look at: Algorithm 1 of DiffEx in the form that ends, greedy and exhaustive search.

As printed, Algorithm 1 never refills its beam. Here a step expands every node of the beam, a child is kept only if
it beats its parent, parents that no child beats stay, and the best B of those are the next beam; the search ends
when a step changes nothing. The best node ever seen is remembered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from isi_core.domain.attributes import Attribute, Corpus, Edit, EditSet, edit_set
from isi_core.domain.errors import InputError

Score = Callable[[Sequence[EditSet]], Sequence[float]]
"""How far each edit set moves the score the way that is wanted (`in_direction`); minus infinity where not known."""


PARTNERS = 3
"""Groups, at most, that a node of the beam is joined with and that are refined: edits grow with B, not its square."""


@dataclass
class Found:
    """What a search saw.

    Attributes
    ----------
    scores : every edit set that was looked at, in order.
    best : the best with a score of at least the threshold; () where there is none.
    beam : the nodes that the search ended with, best first.
    steps : a line a step, for a person.
    """

    scores: dict[EditSet, float] = field(default_factory=dict)
    best: EditSet = ()
    beam: list[EditSet] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)

    def best_of(self, size: int) -> EditSet:
        """The best set of so many edits that was seen; () where none was."""
        fitting = [edits for edits in self.scores if len(edits) == size]
        return max(fitting, key=lambda edits: self.scores[edits], default=())


def beam_search(
    corpus: Corpus, score: Score, beam: int = 3, threshold: float = 0.0, joint: int = 1, sign: int = 1
) -> Found:
    """Down the hierarchy with a beam of `beam` nodes, then jointly across branches.

    Parameters
    ----------
    threshold : delta; a root group below it is not expanded.
    joint : largest number of attributes edited together. After the single attributes have ended, every node of the
        beam is joined with the root groups of other branches; a joint set is kept only if it beats the set it grew
        from, and its new attribute is refined down the hierarchy in the same way.
    sign : +1 adds attributes, -1 removes them.

    Raises
    ------
    InputError : a beam of no node, or a corpus without attributes.
    """
    if beam < 1 or joint < 1:
        raise InputError("Beam width and the number of joint attributes must be at least 1.")
    if not corpus.categories:
        raise InputError("The corpus has no attribute: add one, or choose another.")
    found = Found()
    look = _Looking(score, found, threshold)
    roots = [edit_set([Edit(root, sign)]) for root in corpus.children()]
    look(roots)
    nodes = _best([root for root in roots if found.scores[root] >= threshold], found, beam)
    found.steps.append(_told("roots", nodes, found))
    nodes = _refined(corpus, look, nodes, beam)
    for size in range(2, joint + 1):
        kept: list[EditSet] = []
        for node in [node for node in nodes if len(node) == size - 1]:
            # Each node grows by itself, so that one strong node does not take all places with its partners.
            grown = [edit_set([*node, *root]) for root in roots if not _shares_branch(node, root)]
            look(grown)
            width = min(beam, PARTNERS)
            kept += _refined(corpus, look, _best(_beating(grown, node, found), found, width), width, node) or [node]
        nodes = _best([*kept, *(node for node in nodes if len(node) < size - 1)], found, beam)
        found.steps.append(_told(f"{size} attributes together", nodes, found))
    found.beam = nodes
    return found


def greedy_search(corpus: Corpus, score: Score, threshold: float = 0.0, joint: int = 1, sign: int = 1) -> Found:
    """Always the one best step down, until none is better: a beam of one node."""
    return beam_search(corpus, score, 1, threshold, joint, sign)


def exhaustive_search(corpus: Corpus, score: Score, threshold: float = 0.0, joint: int = 1, sign: int = 1) -> Found:
    """Every attribute of every level, then every joint set of leaves of different branches."""
    found = Found()
    look = _Looking(score, found, threshold)
    look([(Edit(attribute, sign),) for attribute in corpus.attributes()])
    found.steps.append(f"all {len(found.scores)} attributes")
    for size in range(2, joint + 1):
        sets = leaf_sets(corpus.leaves(), size, sign)
        look(sets)
        found.steps.append(f"all {len(sets)} sets of {size} leaves of different branches")
    found.beam = _best(found.scores, found, 3)
    return found


def both_ways(search: Callable[[Score], Found], change: Score) -> Found:
    """A search for what raises the score and one for what lowers it, put together.

    One beam by the size of the change alone would fill with groups of one sign, and never come to the best joint set
    of the other. What both look at costs nothing the second time.

    Parameters
    ----------
    change : the signed mean change of each edit set; NaN where it is not known.
    """

    def towards(sign: int) -> Score:
        return lambda sets: [sign * value if math.isfinite(value) else -math.inf for value in change(sets)]

    up, down = search(towards(1)), search(towards(-1))
    scores = dict(up.scores)
    for edits, value in down.scores.items():
        scores[edits] = max(value, scores.get(edits, value))
    merged = Found(scores)
    merged.best = max((f.best for f in (up, down) if f.best), key=lambda edits: scores[edits], default=())
    merged.beam = _best([*up.beam, *down.beam], merged, len(up.beam) + len(down.beam))
    merged.steps = [*(f"up: {step}" for step in up.steps), *(f"down: {step}" for step in down.steps)]
    return merged


def leaf_sets(leaves: Iterable[Attribute], size: int, sign: int = 1) -> list[EditSet]:
    """Every set of so many of the attributes that are of different branches."""
    return [
        edit_set(Edit(attribute, sign) for attribute in chosen)
        for chosen in combinations(leaves, size)
        if len({attribute.branch for attribute in chosen}) == size
    ]


class _Looking:
    """Scores edit sets once each and remembers the best."""

    def __init__(self, score: Score, found: Found, threshold: float) -> None:
        self._score, self.found, self._threshold = score, found, threshold

    def __call__(self, sets: Iterable[EditSet]) -> None:
        new = [edits for edits in dict.fromkeys(sets) if edits not in self.found.scores]
        if not new:
            return
        for edits, value in zip(new, self._score(new), strict=True):
            self.found.scores[edits] = value
            best = self.found.scores[self.found.best] if self.found.best else float("-inf")
            if value >= self._threshold and value > best:
                self.found.best = edits


def _refined(corpus: Corpus, look: _Looking, nodes: list[EditSet], beam: int, settled: EditSet = ()) -> list[EditSet]:
    """The beam once no node has a descendant that beats it and is among the best; `settled` edits stay as they are."""
    found = look.found
    expanded: set[EditSet] = set()
    while fresh := [node for node in nodes if node not in expanded]:
        expanded.update(fresh)
        pool: list[EditSet] = []
        for node in nodes:
            better: list[EditSet] = []
            below = _children(corpus, node, settled) if node in fresh else []
            # Groups that are no better than their parent may hide a leaf that is: a parent counts as unbeaten only
            # once all that is below has been looked at.
            while below and not better:
                look(below)
                better = _beating(below, node, found)
                below = [child for group in below for child in _children(corpus, group, settled)]
            pool += better or [node]
        nodes = _best(pool, found, beam)
        found.steps.append(_told("expanded", nodes, found))
    return nodes


def _beating(sets: Iterable[EditSet], parent: EditSet, found: Found) -> list[EditSet]:
    return [edits for edits in sets if found.scores[edits] > found.scores[parent]]


def _children(corpus: Corpus, node: EditSet, settled: EditSet) -> list[EditSet]:
    """The node with one of its attributes, no settled one, replaced by one a level below."""
    made = []
    for i, edit in enumerate(node):
        if edit in settled:
            continue
        for child in corpus.children(edit.attribute):
            made.append(edit_set([*node[:i], Edit(child, edit.sign, edit.strength), *node[i + 1 :]]))
    return made


def _best(sets: Iterable[EditSet], found: Found, n: int) -> list[EditSet]:
    return sorted(dict.fromkeys(sets), key=lambda edits: (-found.scores[edits], edits))[:n]


def _shares_branch(first: EditSet, second: EditSet) -> bool:
    return bool({e.attribute.branch for e in first} & {e.attribute.branch for e in second})


def _told(step: str, nodes: Sequence[EditSet], found: Found) -> str:
    kept = "; ".join(f"{' & '.join(e.text for e in node)} ({found.scores[node]:.3g})" for node in nodes)
    return f"{step}: {kept or 'none reaches the threshold'}"
