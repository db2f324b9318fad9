"""Nested lists and mappings out of text that a language model or a person wrote: JSON, nearly JSON, Python's braces.

Never runs anything and never fails: what cannot be read is skipped, what ends too early is closed.
"""

from __future__ import annotations

import json
import re
from typing import Any

DEEPEST = 12
"""Levels of nesting; what is deeper is skipped."""

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*|\#[^\n]*|/\*.*?(?:\*/|\Z))
    |(?P<string>"(?:[^"\\]|\\.)*(?:"|\Z)|'(?:[^'\\]|\\.)*'(?=\s*(?:[,:\]}\)]|\Z)))
    |(?P<mark>[{}\[\]():,])
    |(?P<word>[^{}\[\]():,"\n]+)
    |(?P<rest>.)
    """,
    re.VERBOSE | re.DOTALL,
)


class Pairs(list[tuple[str, Any]]):
    """A mapping as its pairs in order, so that a key that stands in it twice is not lost."""


def read_lenient(text: str) -> Any:
    """The first value in braces or brackets in the text: `Pairs`, lists (also for sets and tuples), strings.

    None where there is no such value. Fences and prose around it are skipped.
    """
    text = _unfenced(text)
    try:
        return json.loads(text, object_pairs_hook=Pairs)
    except (ValueError, RecursionError):
        pass
    starts = [at for at in (text.find("{"), text.find("[")) if at >= 0]
    if not starts:
        return None
    return _Reader(text[min(starts) :]).value(0)


def _unfenced(text: str) -> str:
    """What stands between the first pair of ``` fences, else the text itself."""
    parts = text.split("```")
    if len(parts) < 2:
        return text.strip()
    first, _, rest = parts[1].partition("\n")
    return (rest if re.fullmatch(r"[\w-]*\s*", first) else parts[1]).strip()


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = [
            (str(match.lastgroup), match.group())
            for match in _TOKEN.finditer(text)
            if match.lastgroup not in ("space", "rest")
        ]
        self._at = 0

    def value(self, depth: int) -> Any:
        """One value; None at the end or where something else stands."""
        kind, token = self._next()
        if kind == "string":
            return _unquoted(token)
        if kind == "word":
            word = token.strip().strip("'")
            return None if word.lower() in ("", "none", "null") else word
        if kind == "mark" and token in "{[(":
            return self._group({"{": "}", "[": "]", "(": ")"}[token], depth + 1)
        return None

    def _group(self, end: str, depth: int) -> Any:
        """What stands up to the closing mark: `Pairs` where it has a colon, else a list."""
        items: list[Any] = []
        pairs = Pairs()
        while (peeked := self._peek()) is not None:
            kind, token = peeked
            if kind == "mark" and token in "}])":
                self._at += 1  # a wrong closing mark closes too: nothing better is known
                break
            if kind == "mark" and token in ",:":
                self._at += 1
                continue
            item = self.value(depth) if depth < DEEPEST else self._skip()
            if (following := self._peek()) is not None and following == ("mark", ":"):
                self._at += 1
                after = self._peek()
                if after is not None and not (after[0] == "mark" and after[1] in "}]),"):
                    pairs.append((str(item), self.value(depth) if depth < DEEPEST else self._skip()))
                else:
                    pairs.append((str(item), None))
            elif item is not None:
                items.append(item)
        if not pairs:
            return items
        pairs += [(str(item), None) for item in items if isinstance(item, str)]
        return pairs

    def _skip(self) -> Any:
        """Step over one value without going down; always None."""
        depth = 0
        while (peeked := self._peek()) is not None:
            kind, token = peeked
            if kind == "mark" and token in "}])" and depth == 0:
                return None
            self._at += 1
            if kind == "mark":
                depth += (token in "{[(") - (token in "}])")
            if depth == 0:
                return None
        return None

    def _peek(self) -> tuple[str, str] | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next(self) -> tuple[str, str]:
        found = self._peek() or ("end", "")
        self._at += 1
        return found


def _unquoted(token: str) -> str:
    inner = token[1:-1] if len(token) > 1 and token[-1] == token[0] else token[1:]
    try:
        return str(json.loads(f'"{inner}"', strict=False)) if token[0] == '"' else inner.replace("\\'", "'")
    except ValueError:
        return inner.replace("\\", "")
