"""Over which of a prompt's tokens hidden states are taken."""

POOLS = ("last", "mean", "image", "context", "question")
"""At the last prompt token; mean over all tokens; means over an input's tokens, zero where it has none."""
TEXT_POOLS = POOLS[:2]
"""Those of a prompt without parts."""
