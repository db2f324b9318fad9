"""User text is data: what would read as a command to the model is broken up, so that it stays text.

A tokenizer turns `<image>` or `</s>` into control tokens wherever they stand, and a template's plain
markers (`USER:`, `[INST]`) look the same to the model whoever wrote them. In user text each of them gets
a WORD JOINER (U+2060, no width, no break) after its first character. Text without such strings is not
touched, tokens keep their offsets, and what the model got can be read in the rendered prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

JOINER = "\u2060"
REPLACEMENT = "\ufffd"
"""Stands for a control token of one character, which cannot be broken up."""

# transformers marks control tokens in user text with these; next to an image token they would hide it.
_LIBRARY_MARKS = ("\U000f0000", "\U000f0001")
_BRACKETED = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]")
_MARKER = re.compile(rf"{_BRACKETED.pattern}|[^\s:<>\[\]]+:(?=\s|$)|#{{2,}}")


def control_pattern(special: Iterable[str], added: Iterable[str], frame: str) -> re.Pattern[str]:
    """Matches what must not reach the tokenizer whole.

    `special` tokens always; other `added` tokens when they are bracketed (`<think>`), since some
    tokenizers also add ordinary words and runs of spaces; the markers in `frame`, the template's own text.
    """
    controls = {token for token in special if token.strip()}
    controls |= {token for token in added if _BRACKETED.fullmatch(token)}
    controls |= set(_MARKER.findall(frame))
    controls = {control for control in controls if JOINER not in control}  # breaking these could make them again
    longest_first = sorted(controls, key=lambda control: (-len(control), control))
    return re.compile("|".join(map(re.escape, (*longest_first, *_LIBRARY_MARKS))))


def as_data(text: str, controls: re.Pattern[str]) -> str:
    """The text with every match of `controls` broken up and lone surrogates, which no tokenizer takes, replaced."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    # More than once where controls overlap: breaking the first leaves the next one whole.
    while controls.search(text):
        text = controls.sub(lambda match: _break(match[0]), text)
    return text


def _break(control: str) -> str:
    return control[0] + JOINER + control[1:] if len(control) > 1 else REPLACEMENT


def readable(text: str) -> str:
    """The text without the joiners that `as_data` put in."""
    return text.replace(JOINER, "")
