"""Attribute corpora from anywhere: parsed leniently, cleaned, de-duplicated; what was mended is told."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from isi_core.domain.attributes import LEVELS, LONGEST_LABEL, Corpus
from isi_core.domain.errors import InputError
from isi_core.domain.lenient_json import Pairs, read_lenient

MOST_ATTRIBUTES = 10_000
LARGEST_FILE = 5_000_000
"""Bytes."""
_MOST_TOLD = 5  # examples of each kind of note

_TAG = re.compile(r"<[^<>]*>")
_LEADING = re.compile(r"^(?:[-*+•#>\s]+|\(?\d{1,3}[.)]\s+)+")
_WORD = re.compile(r"[\w'’&/.%+-]+")
_LITTLE = frozenset(("a", "an", "the", "of", "with", "and"))
_SAME = {
    **{
        "colour": "color",
        "coloured": "colored",
        "grey": "gray",
        "moustache": "mustache",
        "mustach": "mustache",
        "moustach": "mustache",
        "jewellery": "jewelry",
    },
    **{"spectacle": "eyeglass", "glass": "eyeglass", "eyeglasse": "eyeglass", "blonde": "blond", "centre": "center"},
    **{"fibre": "fiber", "sized": "size", "shaped": "shape", "tiny": "small", "little": "small", "big": "large"},
    **{"haemorrhage": "hemorrhage", "oedema": "edema", "patterned": "pattern", "textured": "texture"},
    **{"colored": "color", "haired": "hair"},
}
"""Spellings and near-synonyms that name the same attribute, in the singular."""

_NAMES = ("name", "label", "category", "attribute", "semantic", "title")
_BELOW = ("children", "subtypes", "sub_types", "subcategories", "items", "values", "attributes", "types", "keywords")


@dataclass(frozen=True)
class CorpusReading:
    """A corpus and what was mended or left out to get it.

    Attributes
    ----------
    notes : sentences for a person; empty where the text was in order.
    """

    corpus: Corpus
    notes: tuple[str, ...]


@dataclass
class _Node:
    """A label with what stands below it."""

    label: str
    below: dict[str, _Node] = field(default_factory=dict)


class _Notes:
    """Collects what was mended, a kind a sentence."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def add(self, kind: str, example: str) -> None:
        self._found.setdefault(kind, []).append(example)

    def told(self) -> tuple[str, ...]:
        lines = []
        for kind, examples in self._found.items():
            shown = ", ".join(dict.fromkeys(e[:60] for e in examples[:_MOST_TOLD] if e))
            more = f" and {len(examples) - _MOST_TOLD} more" if len(examples) > _MOST_TOLD else ""
            lines.append(f"{kind}: {shown}{more}." if shown else f"{kind}.")
        return tuple(lines)


def read_corpus(source: Any, domain: str = "") -> CorpusReading:
    """A corpus from text, bytes or parsed values: three-level and two-level files, lists, sets, a model's answer.

    Parameters
    ----------
    domain : where the source does not name its own.

    Raises
    ------
    InputError : there is no attribute in it at all, or it is too large.
    """
    notes = _Notes()
    if isinstance(source, (bytes, bytearray)):
        source = bytes(source).decode("utf-8-sig", "replace")
    if isinstance(source, str):
        if len(source) > LARGEST_FILE:
            raise InputError("The text is too large for an attribute corpus: leave out what is none.")
        value = read_lenient(source)
        if value is None and (lines := _lines(source)):
            notes.add("It is no JSON and was read as a list, a line an attribute", "")
            value = lines
    else:
        value = source
    named, categories = _unwrapped(value)
    tree = _Node("")
    _grow(tree, categories, (), notes, set())
    corpus = _corpus(tree, _label(named or domain or "", _Notes()) or "imported", notes)
    if not corpus.categories:
        raise InputError(
            'There is no attribute in it: write {"domain": …, "categories": {level 1: {level 2: [level 3, …]}}}.'
        )
    return CorpusReading(corpus, notes.told())


def expand_corpus(corpus: Corpus, answer: Any) -> CorpusReading:
    """The corpus with the attributes of another one, or of a model's answer, merged in; what is known is not doubled.

    Raises
    ------
    InputError : there is no attribute in the answer.
    """
    more = answer if isinstance(answer, CorpusReading) else read_corpus(answer, corpus.domain)
    notes = _Notes()
    tree = _Node("")
    for part in (corpus, more.corpus):
        _grow(tree, {k: {l2: list(l3) for l2, l3 in v.items()} for k, v in part.categories.items()}, (), notes, set())
    merged = _corpus(tree, corpus.domain, notes)
    return CorpusReading(merged, (*more.notes, *notes.told()))


def label_key(label: str) -> str:
    """What two labels share that mean the same: case, plural, word order, spelling and near-synonyms left aside."""
    words = re.findall(r"\w+", label.casefold().replace("’s", "").replace("'s", ""))
    stems = [_SAME.get(stem, stem) for stem in (_singular(word) for word in words if word not in _LITTLE)]
    return " ".join(sorted(_SAME.get(stem, stem) for stem in stems)) or label.casefold().strip()


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _lines(text: str) -> list[str]:
    """A plain list, a line an attribute."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines if all(len(line) <= LONGEST_LABEL for line in lines) else []


def _unwrapped(value: Any) -> tuple[str, Any]:
    """The domain's name where there is one, and the categories."""
    pairs = _pairs(value)
    if pairs is None:
        return "", value
    keys = {str(key).strip().lower(): part for key, part in pairs}
    if "categories" in keys:
        return str(keys.get("domain") or ""), keys["categories"]
    if "domain" in keys and len(keys) > 1 and isinstance(keys["domain"], str):
        return str(keys["domain"]), Pairs((str(k), v) for k, v in pairs if str(k).strip().lower() != "domain")
    if len(keys) == 1 and next(iter(keys)) in _BELOW:
        return "", next(iter(keys.values()))
    return "", value


def _pairs(value: Any) -> list[tuple[Any, Any]] | None:
    if isinstance(value, Pairs):
        return list(value)
    return list(value.items()) if isinstance(value, Mapping) else None


def _grow(node: _Node, value: Any, above: tuple[str, ...], notes: _Notes, inside: set[int]) -> None:
    """Hang what `value` holds below the node; `above` are the keys from level 1 down to it."""
    if value is None or value == "" or isinstance(value, bool):
        return
    if id(value) in inside:
        notes.add("Something contains itself and was left out there", " › ".join(above))
        return
    if isinstance(value, str):
        parts = re.split(r"[,;\n]", value)
        for part in parts:
            _hang(node, part, None, above, notes, inside)
        return
    if isinstance(value, (int, float)):
        notes.add("Numbers are no attributes and were left out", str(value))
        return
    inside = inside | {id(value)}
    pairs = _pairs(value)
    if pairs is not None:
        keys = {str(key).strip().lower(): part for key, part in pairs}
        name = next((keys[n] for n in _NAMES if isinstance(keys.get(n), str)), None)
        below = next((keys[b] for b in _BELOW if b in keys and not isinstance(keys[b], (int, float, bool))), None)
        if name is not None and (below is not None or len(keys) <= 2):
            _hang(node, name, below, above, notes, inside)
            return
        for key, part in pairs:
            _hang(node, str(key), part, above, notes, inside)
        return
    try:
        items = list(value) if not isinstance(value, (set, frozenset)) else sorted(value, key=str)
    except TypeError:
        notes.add("What is no text was left out", type(value).__name__)
        return
    for item in items:
        if isinstance(item, str):
            _hang(node, item, None, above, notes, inside)
        else:
            _grow(node, item, above, notes, inside)


def _hang(node: _Node, raw: str, value: Any, above: tuple[str, ...], notes: _Notes, inside: set[int]) -> None:
    label = _label(raw, notes)
    if not label:
        return
    key = label_key(label)
    if key in above:
        notes.add("An attribute stood below itself and was left out there", label)
        return
    if len(above) >= LEVELS:
        notes.add("What is deeper than three levels was left out", label)
        return
    known = node.below.get(key)
    if known is None:
        known = node.below[key] = _Node(label)
    elif known.label != label:
        notes.add("Attributes that mean the same were merged", f"{label} into {known.label}")
    elif value is None:
        notes.add("Attributes that stood twice were merged", label)
    if value is not None:
        _grow(known, value, (*above, key), notes, inside)


def _label(raw: str, notes: _Notes) -> str:
    """The label in plain words: no markup, no emoji, no control characters, no bullet."""
    text = unicodedata.normalize("NFKC", raw)
    text = html.unescape(html.unescape(text))
    bare = _TAG.sub(" ", text)
    kept = []
    for c in bare:
        category = unicodedata.category(c)
        if category in ("Cc", "Zs", "Zl", "Zp"):
            kept.append(" ")
        elif category[0] == "C" or category in ("So", "Sk", "Me") or c in '<>`*"\\{}[]|\ufe0f':
            continue
        else:
            kept.append(c)
    plain = " ".join("".join(kept).replace("_", " ").split())
    plain = _LEADING.sub("", plain).strip(" .,;:'’")
    if not plain or not _WORD.search(plain) or not any(c.isalnum() for c in plain):
        if raw.strip():
            notes.add("Labels without a word were left out", raw.strip())
        return ""
    if len(plain) > LONGEST_LABEL:
        notes.add(f"Labels of more than {LONGEST_LABEL} characters were left out", plain)
        return ""
    if bare != text or len(plain) < len(" ".join(raw.split()).strip()) - 2:
        notes.add("Markup and emoji were taken out of labels", plain)
    return plain


def _corpus(tree: _Node, domain: str, notes: _Notes) -> Corpus:
    """The tree as a corpus, cut where it is too large."""
    left = MOST_ATTRIBUTES
    categories: dict[str, dict[str, tuple[str, ...]]] = {}
    total = _size(tree) - 1
    if total > MOST_ATTRIBUTES:
        notes.add(f"It holds {total:,} attributes; the first {MOST_ATTRIBUTES:,} were kept", "")
    for first in tree.below.values():
        if left <= 0:
            break
        left -= 1
        below: dict[str, tuple[str, ...]] = {}
        for second in first.below.values():
            if left <= 0:
                break
            left -= 1
            leaves = tuple(third.label for third in second.below.values())[:left]
            left -= len(leaves)
            below[second.label] = leaves
        categories[first.label] = below
    return Corpus(domain, categories)


def _size(node: _Node) -> int:
    return 1 + sum(_size(below) for below in node.below.values())
