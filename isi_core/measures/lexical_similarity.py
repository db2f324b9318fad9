"""Lexical similarity: how alike sampled answers are in words, whatever they mean.

Lin, "ROUGE: A Package for Automatic Evaluation of Summaries" (2004), as a measure of uncertainty in
Fomicheva et al. (TACL 8, 2020) and Kuhn, Gal & Farquhar (ICLR 2023).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Lower-case runs of letters, digits and underscores; punctuation is left out, nothing is stemmed."""
    return _WORD.findall(text.lower())


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest word sequence that both contain in order, gaps allowed.

    Bit-parallel (Hyyrö, "Bit-parallel LCS-length computation revisited", 2004): one step a word of `second`.
    """
    places: dict[str, int] = {}
    for i, word in enumerate(first):
        places[word] = places.get(word, 0) | (1 << i)
    full = (1 << len(first)) - 1
    row = full
    for word in second:
        hits = row & places.get(word, 0)
        row = ((row + hits) | (row - hits)) & full
    return len(first) - row.bit_count()


def rouge_l(first: str, second: str) -> float:
    """ROUGE-L F1 = 2 LCS / (words of both) of two texts, in [0, 1]; two texts without any word are alike."""
    a, b = words(first), words(second)
    if not a and not b:
        return 1.0
    return 2 * longest_common_subsequence(a, b) / (len(a) + len(b))


def lexical_similarity(texts: Sequence[str]) -> float:
    """Mean ROUGE-L F1 over the n (n - 1) / 2 pairs i < j of sampled answers, in [0, 1]; NaN for fewer than two.

    No answer is paired with itself. An answer drawn twice counts twice, so that its pair is one of
    two equal texts (1.0). High is sure: the opposite direction of the entropies.
    """
    counts = Counter(texts)
    pairs = len(texts) * (len(texts) - 1) / 2
    if not pairs:
        return float("nan")
    total = sum(n * (n - 1) / 2 for n in counts.values())
    total += sum(counts[a] * counts[b] * rouge_l(a, b) for a, b in combinations(counts, 2))
    return total / pairs
