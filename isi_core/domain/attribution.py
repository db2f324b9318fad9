"""Attention: how much each input was attended to while the answer was generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

GROUPS = ("first", "image", "context", "question", "other", "generated")
INPUTS = ("image", "context", "question", "other")


@dataclass(frozen=True, eq=False)
class AttentionRecord:
    """What is kept of a model's attention: sums over token groups, no matrix.

    Row t is the query row that predicts answer token t; the end token is left out.

    Attributes
    ----------
    sums : (steps, layers, heads, 6) attention mass on each of `GROUPS`; sums to one over
        the last axis. `first` is the first real position alone, `other` the rest of the
        prompt, `generated` the answer tokens so far.
    image_columns : (steps, layers, places) head-averaged attention on each place of the picture, float16: an image
        token, or what a picture seen in tiles got there (the tokens that end a row of tiles are left out).
    image_grid : (rows, columns) of the places.
    context_columns, question_columns : (steps, layers, words' tokens), head-averaged, float16.
    context_tokens, question_tokens : the tokens of each span as text.
    """

    sums: np.ndarray
    image_columns: np.ndarray
    image_grid: tuple[int, int]
    context_columns: np.ndarray
    question_columns: np.ndarray
    context_tokens: tuple[str, ...]
    question_tokens: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Attribution:
    """Attention attribution of one answer (see `measures.attribution` for the equations).

    Attributes
    ----------
    absolute : share of attention per answer token on image, context, question and the
        rest; sums to one.
    relative : image, context and question scaled to sum to one.
    by_layer : (layers, 4) absolute shares of `INPUTS` within each layer.
    by_head : (layers, heads, 4) absolute shares of `INPUTS` within each head.
    by_token : (steps, 4) absolute shares of `INPUTS` for each answer token.
    heat_map : (rows, columns) attention on the image tokens, averaged over answer
        tokens and layers, first position dropped and renormalized.
    tokens : the answer tokens, as text, in the order of `by_token`.
    record : what all of it was computed from, by step, layer and token. Too large to be stored, so only an
        evaluation of this session has it; None for one that was read back.
    """

    absolute: dict[str, float]
    relative: dict[str, float]
    by_layer: np.ndarray
    by_head: np.ndarray
    by_token: np.ndarray
    heat_map: np.ndarray
    tokens: tuple[str, ...]
    record: AttentionRecord | None = None

    def to_json(self) -> dict[str, Any]:
        """The attribution as plain JSON values, arrays as nested lists, without its record."""
        return {
            "absolute": dict(self.absolute),
            "relative": dict(self.relative),
            "by_layer": self.by_layer.tolist(),
            "by_head": self.by_head.tolist(),
            "by_token": self.by_token.tolist(),
            "heat_map": self.heat_map.tolist(),
            "tokens": list(self.tokens),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Attribution:
        """The attribution from `to_json`'s form; arrays are float64, and there is no record."""
        return cls(
            absolute={name: float(share) for name, share in data["absolute"].items()},
            relative={name: float(share) for name, share in data["relative"].items()},
            by_layer=np.array(data["by_layer"], dtype=np.float64),
            by_head=np.array(data["by_head"], dtype=np.float64),
            by_token=np.array(data["by_token"], dtype=np.float64),
            heat_map=np.array(data["heat_map"], dtype=np.float64),
            tokens=tuple(data["tokens"]),
        )
