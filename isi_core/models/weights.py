"""What can be told of a checkpoint's weight files without loading them."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

from isi_core.domain.errors import ModelError

_LONGEST_HEADER = 100_000_000


def weights_digest(folder: Path) -> str:
    """SHA-256 (hex) over a folder's weight files in the order of their names; of one file, what `sha256sum` says."""
    state = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                state.update(chunk)
    return state.hexdigest()


def hub_revision(source: str | Path, revision: str | None) -> str:
    """The commit that a hub id's revision stands for, read off the copy on this disk; the revision where none is there.

    The config no longer says it (transformers 5).
    """
    from transformers.utils.hub import cached_file, extract_commit_hash

    asked = revision or "main"
    try:
        path = cached_file(str(source), "config.json", revision=asked, local_files_only=True)
    except OSError:
        return asked
    return extract_commit_hash(path, None) or asked


@dataclass(frozen=True)
class WeightCount:
    """How many numbers a checkpoint holds.

    Attributes
    ----------
    parameters : all of them.
    quantizable : those of the language model's matrix products, which 4-bit and 8-bit make smaller.
    key_values : what its blocks keep of each token, keys and values; 0 where it cannot be told from the weights' names.
    """

    parameters: int
    quantizable: int
    key_values: int = 0


def count_weights(folder: Path) -> WeightCount:
    """Count the parameters of a folder's safetensors files from their headers.

    Raises
    ------
    ModelError : there are no such files, or one is damaged.
    """
    parameters = quantizable = key_values = 0
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder.name} holds no safetensors weights: choose another folder.")
    for path in files:
        for name, shape in _shapes(path).items():
            count = math.prod(shape)
            parameters += count
            if len(shape) == 2 and ".layers." in name and "vision" not in name and "visual" not in name:
                quantizable += count
                key_values += shape[0] if name.endswith((".k_proj.weight", ".v_proj.weight")) else 0
    return WeightCount(parameters, quantizable, key_values)


def _shapes(path: Path) -> dict[str, list[int]]:
    """The shape of each tensor in a safetensors file, from its header."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(_LONGEST_HEADER, path.stat().st_size):
                raise ValueError
            header = json.loads(file.read(length))
        return {name: [int(n) for n in about["shape"]] for name, about in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ModelError(f"The weights in {path.name} are damaged: fetch the checkpoint again.") from None
