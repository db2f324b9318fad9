"""Which text items are the same or nearly the same: their groups stay together when data are split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from isi_core.datasets.failure_tasks import TextItem, plain_words

ALIKE = 0.8
"""Share of words (intersection over union) from which two items are nearly the same."""
_RAREST = 4  # rare words by which candidates are found
_MOST = 200  # items that share a word, beyond which it says nothing


def text_groups(items: Sequence[TextItem]) -> list[str]:
    """A group of each item: items with the same words or passage, or nearly the same words, share one."""
    parents = list(range(len(items)))

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    def join(i: int, j: int) -> None:
        a, b = sorted((root(i), root(j)))
        parents[b] = a

    firsts: dict[str, int] = {}
    for i, item in enumerate(items):
        names = [f"item {item.key}"]
        if item.passage:
            names.append(f"passage {plain_words(item.passage)}")
        for name in names:
            join(i, firsts.setdefault(name, i))
    words = [set(item.key.split()) for item in items]
    counts = Counter(word for those in words for word in those)
    sharing: dict[str, list[int]] = defaultdict(list)
    for i, those in enumerate(words):
        for word in sorted(those, key=lambda w: (counts[w], w))[:_RAREST]:
            sharing[word].append(i)
    for members in sharing.values():
        if len(members) > _MOST:
            continue
        for place, i in enumerate(members):
            for j in members[place + 1 :]:
                if root(i) != root(j) and len(words[i] & words[j]) >= ALIKE * len(words[i] | words[j]):
                    join(i, j)
    return [f"text {root(i)}" for i in range(len(items))]
