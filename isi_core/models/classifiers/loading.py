"""What the loaders of image classifiers share: options, records, batches that shrink where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError

from isi_core.domain.errors import ModelError, first_line
from isi_core.models.out_of_memory import give_back, is_out_of_memory
from isi_core.models.weights import hub_revision, weights_digest

BATCH = 32
LOADING_ERRORS = (OSError, ValueError, KeyError, ImportError, RuntimeError, TypeError, SafetensorError)


def folder_of(source: str | Path, name: str) -> Path | None:
    """The folder a model is loaded from; None for a hub id."""
    folder = Path(source) if Path(source).is_dir() else None
    if isinstance(source, Path) and folder is None:
        raise ModelError(f"There is no folder {source} to load {name} from: check the path.")
    return folder


def record_of(kind: str, name: str, source: str | Path, model: Any, revision: str) -> dict[str, Any]:
    """Name, source, revision (SHA-256 of a folder's weights), number format and device."""
    folder = folder_of(source, name)
    return {
        "kind": kind,
        "name": name,
        "source": folder.resolve().name if folder else str(source),
        "revision": weights_digest(folder) if folder else hub_revision(source, revision),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
    }


@contextmanager
def explained(name: str, what: str) -> Iterator[None]:
    """Turn what a library raises while loading into one sentence."""
    try:
        yield
    except LOADING_ERRORS as error:
        raise ModelError(
            f"The classifier {name} could not be loaded ({first_line(error)[:200]}): give a folder or hub id of {what} "
            "with safetensors weights, and check the connection for a hub id."
        ) from error


def refuse_missing(name: str, loading: Any) -> None:
    """Raise `ModelError` where weights were not in the checkpoint and would be random."""
    missing = sorted(loading["missing_keys"]) + sorted(str(key) for key in loading["mismatched_keys"])
    if missing:
        raise ModelError(
            f"Weights are missing in {name} ({len(missing)} of them, such as {missing[0]}): "
            "choose a complete checkpoint."
        )


def in_batches(
    images: Sequence[Image.Image],
    classes: int,
    run: Callable[[list[Image.Image]], NDArray[np.float64]],
    name: str,
    batch: int = BATCH,
) -> NDArray[np.float64]:
    """(n, classes) outputs; a batch that runs out of memory is asked again in halves.

    Raises
    ------
    ModelError : there is no memory even for one picture.
    """
    found = np.empty((len(images), classes))
    start = 0
    while start < len(images):
        part = [image.convert("RGB") for image in images[start : start + batch]]
        try:
            found[start : start + len(part)] = run(part)
            start += len(part)
            continue
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(part) == 1:
                raise ModelError(
                    f"{name} ran out of memory: choose a smaller classifier, or release other models."
                ) from error
        give_back()
        batch = len(part) // 2
    return found
