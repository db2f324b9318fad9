"""Activations of the collected cases, read in batches and kept on disk: memory does not grow with their number."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isi_core.datasets.failure_tasks import TextItem
from isi_core.datasets.pictures import open_picture
from isi_core.domain.errors import InputError
from isi_core.domain.progress import Progress
from isi_core.domain.trial import Trial
from isi_core.models.language.protocol import LanguageModel
from isi_core.models.pools import POOLS, TEXT_POOLS
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.models.vlm.protocol import VisionLanguageModel
from isi_core.models.vlm.states import layer_count, read_states
from isi_core.studies.failure.results import Case

_CHUNK = 128


@dataclass(frozen=True, eq=False)
class Activations:
    """What was read of n cases.

    Attributes
    ----------
    states : (n, pools, layers, hidden) float32, a memory map; None where no layer was read.
    words : (n, 2) log p of yes and no as first word of the answer; NaN where not known; None for texts.
    tokens : (n,) prompt lengths; cut : (n,) whether the prompt lost its beginning.
    """

    states: NDArray[np.float32] | None
    words: NDArray[np.float64] | None
    tokens: NDArray[np.int64]
    cut: NDArray[np.bool_]
    layers: tuple[int, ...]
    pools: tuple[str, ...]


def layers_of(model: VisionLanguageModel | LanguageModel) -> int:
    """Number of decoder blocks that can be read; 0 for an endpoint."""
    if isinstance(model, HuggingFaceVLM):
        return layer_count(model)
    return int(getattr(model, "layers", 0))


def case_trial(case: Case, folder: Path) -> Trial:
    """The trial of a picture case, its picture from the run's folder.

    Raises
    ------
    InputError : the picture is gone.
    """
    path = (folder / case.picture).resolve()
    if not case.picture or not path.is_relative_to(folder.resolve()):
        raise InputError(f"{case.id} has no picture in this run's folder.")
    return Trial(
        observation_id=case.item,
        image=open_picture(path),
        context=case.context,
        question=case.question,
        truth={"yes": True, "no": False}.get(case.truth),
        image_kind=case.image_kind or "natural",
        context_kind=case.context_kind or "none",
    )


def capture_pictures(
    vlm: HuggingFaceVLM, cases: Sequence[Case], layers: Sequence[int], folder: Path, progress: Progress | None = None
) -> Activations:
    """Read every case's prompt; what was read before for the same cases and layers is read from disk."""

    def read(part: Sequence[Case]) -> _Chunk:
        found = read_states(vlm, [case_trial(case, folder) for case in part], layers)
        return _Chunk(found.states, found.words, found.tokens, np.zeros(len(part), dtype=bool))

    return _capture(cases, layers, POOLS, vlm.record.revision, folder, read, progress)


def capture_texts(
    model: LanguageModel,
    cases: Sequence[Case],
    items: Sequence[TextItem],
    layers: Sequence[int],
    folder: Path,
    progress: Progress | None = None,
) -> Activations:
    """The same for text items; `items` holds every case's."""
    prompts = {item.id: item.prompt for item in items}

    def read(part: Sequence[Case]) -> _Chunk:
        found = model.read_states([prompts[case.item] for case in part], layers)
        return _Chunk(found.states, np.zeros((len(part), 0)), found.tokens, found.cut)

    return _capture(cases, layers, TEXT_POOLS, model.record.revision, folder, read, progress)


@dataclass(frozen=True, eq=False)
class _Chunk:
    states: NDArray[np.float32]
    words: NDArray[np.float64]
    tokens: NDArray[np.int64]
    cut: NDArray[np.bool_]


def _capture(
    cases: Sequence[Case],
    layers: Sequence[int],
    pools: tuple[str, ...],
    revision: str,
    folder: Path,
    read: Callable[[Sequence[Case]], _Chunk],
    progress: Progress | None,
) -> Activations:
    what = json.dumps([[case.id for case in cases], list(layers), list(pools), revision])
    stem = folder / "activations" / hashlib.sha256(what.encode()).hexdigest()[:16]
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = {name: stem.with_name(f"{stem.name}-{name}.npy") for name in ("states", "words", "tokens", "cut")}
    marker = stem.with_suffix(".done")
    done = _done(marker) if all(path.is_file() for path in paths.values()) else 0
    arrays: dict[str, Any] = (
        {n: np.load(p, mmap_mode="r+", allow_pickle=False) for n, p in paths.items()} if done else {}
    )
    while done < len(cases):
        part = cases[done : done + _CHUNK]
        chunk = vars(read(part))
        if not arrays:
            arrays = {
                name: np.lib.format.open_memmap(
                    path, mode="w+", dtype=chunk[name].dtype, shape=(len(cases), *chunk[name].shape[1:])
                )
                if chunk[name].size
                else np.zeros((len(cases), *chunk[name].shape[1:]), chunk[name].dtype)
                for name, path in paths.items()
            }
            for name, path in paths.items():
                if not chunk[name].size:
                    np.save(path, arrays[name], allow_pickle=False)
        for name, array in arrays.items():
            array[done : done + len(part)] = chunk[name]
            if isinstance(array, np.memmap):
                array.flush()
        done += len(part)
        marker.write_text(str(done), encoding="ascii")
        if progress is not None:
            progress(f"Read {done:,} of {len(cases):,} prompts", done / len(cases))
    words = np.asarray(arrays["words"])
    return Activations(
        states=arrays["states"] if layers else None,
        words=words if words.shape[1] else None,
        tokens=np.asarray(arrays["tokens"]),
        cut=np.asarray(arrays["cut"]),
        layers=tuple(layers),
        pools=pools,
    )


def _done(marker: Path) -> int:
    try:
        return max(0, int(marker.read_text(encoding="ascii")))
    except (OSError, ValueError):
        return 0
