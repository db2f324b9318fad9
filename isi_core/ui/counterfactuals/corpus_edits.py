"""A corpus with a node added, renamed or taken out: plain functions, a new corpus each time."""

from __future__ import annotations

from collections.abc import Container, Mapping

from isi_core.domain.attributes import LONGEST_LABEL, Attribute, Corpus
from isi_core.domain.errors import InputError
from isi_core.reports.wording import one_line

MOST_ATTRIBUTES = 2_000

_Tree = dict[str, dict[str, list[str]]]


def added(corpus: Corpus, parent: Attribute | None, label: str) -> Corpus:
    """The corpus with one more node below `parent` (at level 1 for None), as the last of its siblings.

    Raises
    ------
    InputError : an empty or too long label, one that is there already, a parent at level 3, or too many nodes.
    """
    label = _label(label)
    if len(corpus.attributes()) >= MOST_ATTRIBUTES:
        raise InputError(f"The corpus has {MOST_ATTRIBUTES:,} attributes already: take one out before adding another.")
    tree = _tree(corpus)
    _check_free(corpus, parent, label)
    if parent is None:
        tree[label] = {}
    elif parent.level == 1:
        tree[parent.path[0]][label] = []
    elif parent.level == 2:
        tree[parent.path[0]][parent.path[1]].append(label)
    else:
        raise InputError("The hierarchy has three levels: add to a level-1 or level-2 attribute.")
    return _corpus(corpus, tree)


def renamed(corpus: Corpus, attribute: Attribute, label: str) -> Corpus:
    """The corpus with one node under another label, in its old place, what is below it unchanged.

    Raises
    ------
    InputError : an empty or too long label, one that a sibling has, or the attribute is not in the corpus.
    """
    label = _label(label)
    _check_known(corpus, attribute)
    if label == attribute.label:
        return corpus
    if label.lower() != attribute.label.lower():
        _check_free(corpus, attribute.parent, label)
    tree = _tree(corpus)
    path = attribute.path
    if len(path) == 1:
        tree = {label if first == path[0] else first: below for first, below in tree.items()}
    elif len(path) == 2:
        tree[path[0]] = {label if second == path[1] else second: leaves for second, leaves in tree[path[0]].items()}
    else:
        leaves = tree[path[0]][path[1]]
        tree[path[0]][path[1]] = [label if leaf == path[2] else leaf for leaf in leaves]
    return _corpus(corpus, tree)


def removed(corpus: Corpus, attribute: Attribute) -> Corpus:
    """The corpus without a node and everything below it.

    Raises
    ------
    InputError : it is not in the corpus, or nothing would be left.
    """
    _check_known(corpus, attribute)
    tree = _tree(corpus)
    path = attribute.path
    if len(path) == 1:
        del tree[path[0]]
    elif len(path) == 2:
        del tree[path[0]][path[1]]
    else:
        tree[path[0]][path[1]].remove(path[2])
    if not tree:
        raise InputError("A corpus needs one attribute at least: add another before this one is taken out.")
    return _corpus(corpus, tree)


def only(corpus: Corpus, paths: Container[tuple[str, ...]]) -> Corpus:
    """The corpus with nothing but these; what stands below one that is not among them goes too.

    Raises
    ------
    InputError : nothing would be left.
    """
    # One pass over the tree: it may have 10,000 attributes, of which none is among these.
    tree: _Tree = {
        first: {
            second: [third for third in leaves if (first, second, third) in paths]
            for second, leaves in below.items()
            if (first, second) in paths
        }
        for first, below in corpus.categories.items()
        if (first,) in paths
    }
    if not tree:
        raise InputError("None of the attributes would be left.")
    return _corpus(corpus, tree)


def _label(text: str) -> str:
    label = one_line(text, 10 * LONGEST_LABEL)
    if not label:
        raise InputError("An attribute needs a label: type one.")
    if len(label) > LONGEST_LABEL:
        raise InputError(f"A label has at most {LONGEST_LABEL} characters: shorten it.")
    return label


def _check_free(corpus: Corpus, parent: Attribute | None, label: str) -> None:
    if any(sibling.label.lower() == label.lower() for sibling in corpus.children(parent)):
        where = parent.text if parent is not None else "level 1"
        raise InputError(f"There is a “{label[:60]}” below {where[:80]} already: choose another label.")


def _check_known(corpus: Corpus, attribute: Attribute) -> None:
    if attribute not in corpus:
        raise InputError(f"The corpus has no attribute “{attribute.text[:120]}”: choose one that is in it.")


def _tree(corpus: Corpus) -> _Tree:
    categories: Mapping[str, Mapping[str, tuple[str, ...]]] = corpus.categories
    return {first: {second: list(leaves) for second, leaves in below.items()} for first, below in categories.items()}


def _corpus(corpus: Corpus, tree: _Tree) -> Corpus:
    return Corpus(
        corpus.domain,
        {first: {second: tuple(leaves) for second, leaves in below.items()} for first, below in tree.items()},
    )
