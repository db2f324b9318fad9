"""Running out of memory: how each device says it, and giving back what is not held any more."""

from __future__ import annotations

import gc

import torch

# torch.OutOfMemoryError is CUDA's; the CPU's allocator and Apple's raise a plain RuntimeError.
_WORDS = ("out of memory", "can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device's memory, or this machine's, was not enough."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def give_back() -> None:
    """Return unused memory to the device. Not within `except`: the error's traceback holds what failed."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
