"""What gradient relevancy takes in memory, said before it runs; no model library is needed to tell."""

from __future__ import annotations

# Tensors of (heads, tokens, tokens) that are alive at once while one block is differentiated, in float32 and in 16
# bits alike, whose softmax is in float32: attention, its gradient, and what the softmax's gradient is made of.
_MATRICES = 4.5
_FLOAT = 4  # bytes
_BLOCK_STATES = 24  # (tokens, width) activations of one block and their gradients
HEAD_WIDTH = 128
"""Width of a head where it is not known: what most language models have."""


def relevancy_bytes(layers: int, heads: int, tokens: int, width: int | None = None, itemsize: int = 4) -> int:
    """Estimated peak of `answer_relevancy` above the loaded model, in bytes.

    Attention matrices and gradients of one layer, layers being gone through one at a time, and the input of each.

    Parameters
    ----------
    tokens : of prompt and answer, image tokens included.
    width : of the language model's states; None where it is not known.
    itemsize : bytes a number of the states has.
    """
    states = _states(heads, tokens, width, itemsize)
    return round(_MATRICES * _FLOAT * heads * tokens**2 + (layers + _BLOCK_STATES) * states)


def whole_bytes(layers: int, heads: int, tokens: int, width: int | None = None, itemsize: int = 4) -> int:
    """Bytes of all layers' attention matrices, gradients and activations, which keeping the whole pass would take."""
    states = _states(heads, tokens, width, itemsize)
    return layers * round(2 * _FLOAT * heads * tokens**2 + _BLOCK_STATES * states)


def _states(heads: int, tokens: int, width: int | None, itemsize: int) -> int:
    return tokens * (heads * HEAD_WIDTH if width is None else width) * itemsize


def size_words(count: int) -> str:
    """Bytes in words: `1.2 GB`, `35 MB`."""
    return f"{count / (1 << 30):.1f} GB" if count >= 1 << 30 else f"{max(1, round(count / (1 << 20)))} MB"


def too_large(needed: int, free: int) -> str:
    """The sentence where it does not fit."""
    return (
        f"Gradient relevancy needs about {size_words(needed)} of memory for this prompt and {size_words(free)} are "
        "free: shorten the context, choose a model with fewer image tokens, or close other programs."
    )
