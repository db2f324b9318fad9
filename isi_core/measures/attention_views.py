"""Attention seen closely: of one word of the answer, of one layer, on one patch, on the words; and its sinks.

All shares are as in `measures.attribution`: heads averaged, the first position dropped, the rest renormalized.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isi_core.domain.attribution import GROUPS, AttentionRecord
from isi_core.domain.errors import InputError
from isi_core.measures.attribution import Floats, column_shares

TextInput = Literal["context", "question"]
TEXT_INPUTS: tuple[TextInput, ...] = ("context", "question")
SINK_TIMES = 10.0
"""How many times the median of its input a token has to hold to look like a sink."""

_NEAR = 8  # characters
# Columns are kept in float16, below whose smallest number everything is 0; a median of 0 would make all else a sink.
_SMALLEST = float(np.finfo(np.float16).smallest_subnormal)


@dataclass(frozen=True)
class Word:
    """A word and the tokens that make it, numbered from 0 in their own sequence."""

    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class WordShare:
    """A word of an input and its share of the attention, in [0, 1]."""

    text: str
    share: float


@dataclass(frozen=True)
class Sink:
    """A token that holds far more attention than others of its input, whatever is being said.

    Attributes
    ----------
    input : image, context or question.
    place : its number among the input's tokens, from 0.
    text : the token; of an image token its row and column, from 1 (its number where there is no grid).
    share : its share of the attention, in [0, 1].
    times : its share over the median share of its input's tokens, the median over answer tokens and layers.
    cells : part of all (answer token, layer) pairs in which it holds more than `SINK_TIMES` the median.
    """

    input: str
    place: int
    text: str
    share: float
    times: float
    cells: float


def answer_words(tokens: Sequence[str]) -> tuple[Word, ...]:
    """The words of an answer from its tokens with their spaces; a script without spaces has a word a token."""
    if len(tokens) > 1 and not any(re.search(r"\s", token.strip("\n")) for token in tokens):
        return tuple(Word(token.strip() or "␣", (i,)) for i, token in enumerate(tokens))
    return text_words("".join(tokens), tokens)


def text_words(text: str, tokens: Sequence[str]) -> tuple[Word, ...]:
    """The words of a text, split at white space, with the tokens that begin in each.

    A token that is nothing but white space, or that the text does not hold, belongs to the word before it (the first
    one to the word after it), so that every token is in exactly one word.
    """
    pieces = [(match[0], match.start()) for match in re.finditer(r"\S+", text)]
    if not pieces:
        return (Word("␣", tuple(range(len(tokens)))),) if tokens else ()
    owned: list[list[int]] = [[] for _ in pieces]
    cursor, word = 0, 0
    for number, token in enumerate(tokens):
        said = token.strip()
        cursor += len(text[cursor:]) - len(text[cursor:].lstrip())
        # Near where the last one ended, so that a token written otherwise than the text does not find a later twin.
        begin = text.find(said, cursor, cursor + len(said) + _NEAR) if said else -1
        if begin >= 0:
            while word + 1 < len(pieces) and pieces[word + 1][1] <= begin:
                word += 1
            cursor = begin + len(said)
        owned[word].append(number)
    return tuple(Word(piece, tuple(held)) for (piece, _), held in zip(pieces, owned, strict=True) if held)


def heat_map_of(record: AttentionRecord, steps: Sequence[int] | None = None, layer: int | None = None) -> Floats:
    """(rows, columns) share of attention on each image token while these answer tokens were chosen, in one layer.

    Parameters
    ----------
    steps : answer tokens, from 0; None for all.
    layer : decoder layer, from 0; None for their mean.

    Raises
    ------
    InputError : there is no such step or layer.
    """
    return _mean(column_shares(record, record.image_columns), steps, layer).reshape(record.image_grid)


def word_shares(
    record: AttentionRecord,
    name: TextInput,
    text: str,
    steps: Sequence[int] | None = None,
    layer: int | None = None,
) -> tuple[WordShare, ...]:
    """The share of attention on each word of the context or question, in the text's order; as for `heat_map_of`.

    A word has the sum of its tokens. `text` is the input as it was shown.
    """
    columns, tokens = _text_columns(record, name)
    if not tokens:
        return ()
    shares = _mean(column_shares(record, columns), steps, layer)
    return tuple(WordShare(word.text, float(shares[list(word.tokens)].sum())) for word in text_words(text, tokens))


def patch_by_word(
    record: AttentionRecord, words: Sequence[Word], row: int, column: int, layer: int | None = None
) -> Floats:
    """(words,) share of attention on one image token, from 0, while each word of the answer was chosen.

    Raises
    ------
    InputError : the picture has no such token, or the model no such layer.
    """
    rows, columns = record.image_grid
    if not (0 <= row < rows and 0 <= column < columns):
        raise InputError(f"The picture has {rows} by {columns} patches: choose one of them.")
    shares = column_shares(record, record.image_columns)[..., row * columns + column, None]
    return np.array([_mean(shares, word.tokens, layer)[0] for word in words])


def first_position(record: AttentionRecord) -> float:
    """Share of all attention on the very first position, which every other share leaves out: the best-known sink."""
    return float(np.asarray(record.sums, dtype=float)[..., GROUPS.index("first")].mean())


def sinks(record: AttentionRecord, most: int = 5) -> tuple[Sink, ...]:
    """Tokens that look like attention sinks (Xiao et al., 2023), those with the largest share first.

    A token counts that holds more than `SINK_TIMES` the median of its input's tokens in more than half of all
    pairs of an answer token and a layer. Context and question are one input here, for their median's sake.
    """
    found = _sinks(record, column_shares(record, record.image_columns), ["image"] * record.image_columns.shape[-1])
    texts = [column_shares(record, _text_columns(record, name)[0]) for name in TEXT_INPUTS]
    names = [name for name in TEXT_INPUTS for _ in _text_columns(record, name)[1]]
    found += _sinks(record, np.concatenate(texts, axis=-1), names)
    return tuple(sorted(found, key=lambda sink: -sink.share)[:most])


def _sinks(record: AttentionRecord, shares: Floats, names: Sequence[str]) -> list[Sink]:
    if shares.shape[-1] < 2:
        return []
    times = shares / np.maximum(np.median(shares, axis=-1, keepdims=True), _SMALLEST)
    cells = (times > SINK_TIMES).mean(axis=(0, 1))
    made = []
    for token in np.flatnonzero(cells > 0.5).tolist():
        place = token - list(names).index(names[token])
        typical = float(np.median(times[..., token]))
        mean = float(shares[..., token].mean())
        made.append(Sink(names[token], place, _named(record, names[token], place), mean, typical, float(cells[token])))
    return made


def _named(record: AttentionRecord, name: str, place: int) -> str:
    if name == "image":
        rows, columns = record.image_grid
        if rows == 1 and columns > 1:
            return f"image token {place + 1}"
        return f"row {place // columns + 1}, column {place % columns + 1}"
    tokens = record.context_tokens if name == "context" else record.question_tokens
    return tokens[place].strip() or "␣"


def _text_columns(record: AttentionRecord, name: TextInput) -> tuple[NDArray[np.float16], tuple[str, ...]]:
    if name == "context":
        return record.context_columns, record.context_tokens
    return record.question_columns, record.question_tokens


def _mean(shares: Floats, steps: Sequence[int] | None, layer: int | None) -> Floats:
    """(tokens,) mean of (steps, layers, tokens) shares over these steps and one or all layers."""
    n_steps, n_layers, _ = shares.shape
    chosen = list(range(n_steps)) if steps is None else list(steps)
    if not chosen or min(chosen) < 0 or max(chosen) >= n_steps:
        raise InputError(f"The answer has {n_steps} tokens whose attention was recorded: choose among them.")
    if layer is not None and not 0 <= layer < n_layers:
        raise InputError(f"The model has {n_layers} layers: choose one of them.")
    layers = shares[chosen] if layer is None else shares[chosen, layer : layer + 1]
    mean: Floats = layers.mean(axis=(0, 1))
    return mean
