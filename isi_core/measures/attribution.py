"""Attention attribution: which input an answer was made from, as far as attention tells.

For each answer token, the row of attention that predicts it (the end token's left out),
in each layer: averaged over heads; the first position dropped, since it soaks up
attention that means nothing (Xiao et al., "Efficient streaming language models with
attention sinks", 2024), and the rest renormalized; averaged over layers; summed over the
tokens of each input. *Absolute* shares are the sum over answer tokens divided by their
number; *relative* shares are image, context and question scaled to one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isi_core.domain.attribution import GROUPS, INPUTS, AttentionRecord, Attribution
from isi_core.domain.errors import InputError, ModelError

Floats = NDArray[np.float64]

_FIRST = GROUPS.index("first")
# `other` is everything that is neither picture nor text of the user's: the rest of the prompt and the answer so far.
_OTHER = [GROUPS.index("other"), GROUPS.index("generated")]
_NAMED = [GROUPS.index(name) for name in INPUTS[:-1]]
_RELATIVE = ("image", "context", "question")


def attribute(record: AttentionRecord, tokens: Sequence[str]) -> Attribution:
    """Attribution of one answer from its attention record.

    `tokens` are the answer's tokens as text; one more than the record has rows is the end
    token, which is left out. A relative share is 0 for every input where none got any.

    Raises
    ------
    InputError : the answer is empty, so that no row of attention predicts a token of it.
    ModelError : the record does not fit the tokens, or is not made of shares.
    """
    sums = np.asarray(record.sums, dtype=float)
    if sums.ndim != 4 or sums.shape[-1] != len(GROUPS):
        raise ModelError(
            f"The attention record has shape {sums.shape}; (steps, layers, heads, {len(GROUPS)}) is needed."
        )
    steps = len(sums)
    if steps == 0:
        raise InputError(
            "The answer is empty, so it has no attention to measure: change the question or decoding and ask again."
        )
    if len(tokens) not in (steps, steps + 1):
        raise ModelError(f"The attention record has {steps} rows for {len(tokens)} answer tokens: measure it again.")
    if not np.isfinite(sums).all() or (sums < 0).any():
        raise ModelError("The model's attention holds values that are not shares: load it in float32 or bfloat16.")

    layers = _shares(sums.mean(axis=2))  # (steps, layers, 4)
    absolute = layers.mean(axis=(0, 1))
    return Attribution(
        absolute=_named(INPUTS, absolute),
        relative=_relative(absolute),
        by_layer=layers.mean(axis=0),
        by_head=_shares(sums).mean(axis=0),
        by_token=layers.mean(axis=1),
        heat_map=heat_map(record),
        tokens=tuple(tokens[:steps]),
        record=record,
    )


def heat_map(record: AttentionRecord) -> Floats:
    """(rows, columns) attention on each place of the picture; sums to the image's absolute share (for a picture seen in
    tiles, without the tokens that end their rows).

    Raises
    ------
    ModelError : the image tokens do not fill their grid.
    """
    rows, columns = record.image_grid
    on_image = np.asarray(record.image_columns, dtype=float)  # (steps, layers, image tokens)
    if on_image.shape[-1] != rows * columns:
        raise ModelError(
            f"The picture's {on_image.shape[-1]} tokens do not fill a grid of {rows} by {columns}: "
            "this model's heat map cannot be shown."
        )
    mean: Floats = column_shares(record, on_image).mean(axis=(0, 1))
    return mean.reshape(rows, columns)


def column_shares(record: AttentionRecord, columns: np.ndarray) -> Floats:
    """(steps, layers, tokens) shares of some of the record's columns, first position dropped, renormalized."""
    found = np.asarray(columns, dtype=float)
    rest = _without_first(np.asarray(record.sums, dtype=float).mean(axis=2)).sum(axis=-1)  # (steps, layers)
    shares: Floats = np.divide(found, rest[..., None], out=np.zeros_like(found), where=rest[..., None] > 0)
    return shares


def _without_first(sums: Floats) -> Floats:
    """Group sums with the first position's set to zero."""
    rest = sums.copy()
    rest[..., _FIRST] = 0.0
    return rest


def _shares(sums: Floats) -> Floats:
    """(..., 4) shares of `INPUTS` from (..., 6) sums over `GROUPS`, first position dropped, renormalized.

    A row that attended to nothing but the first position has nothing left to share out;
    it counts as `other`, where that position belongs.
    """
    rest = _without_first(sums)
    inputs = np.concatenate([rest[..., _NAMED], rest[..., _OTHER].sum(axis=-1, keepdims=True)], axis=-1)
    total = inputs.sum(axis=-1, keepdims=True)
    only_other = np.zeros_like(inputs)
    only_other[..., INPUTS.index("other")] = 1.0
    shares: Floats = np.divide(inputs, total, out=only_other, where=total > 0)
    return shares


def _relative(absolute: Floats) -> dict[str, float]:
    inputs = absolute[: len(_RELATIVE)]
    total = inputs.sum()
    return _named(_RELATIVE, inputs / total if total > 0 else np.zeros(len(_RELATIVE)))


def _named(names: Sequence[str], values: Floats) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True)}
