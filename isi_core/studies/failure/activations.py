"""Activations of the collected cases, read in batches and kept on disk: memory does not grow with their number."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isi_core.datasets.failure_tasks import TextItem
from isi_core.datasets.pictures import open_picture
from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.progress import Progress
from isi_core.domain.trial import Trial
from isi_core.models.hidden_states import every_token
from isi_core.models.language.protocol import LanguageModel
from isi_core.models.pools import POOLS, TEXT_POOLS
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.models.vlm.protocol import VisionLanguageModel
from isi_core.models.vlm.states import layer_count, read_states, read_token_states
from isi_core.studies.failure.lending import Lender
from isi_core.studies.failure.results import Case

if TYPE_CHECKING:
    from isi_core.models.language.hugging_face import HuggingFaceLanguageModel

Tokens = NDArray[np.float16]
_CHUNK = 64
"""Prompts that are read and stored together; the model is lent for one chunk at a time."""


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
    lend: Lender,
    revision: str,
    cases: Sequence[Case],
    layers: Sequence[int],
    folder: Path,
    progress: Progress | None = None,
) -> Activations:
    """Read every case's prompt; what was read before for the same cases and layers is read from disk.

    `revision` is that of the model which is lent.

    Raises
    ------
    ModelError : the model does not tell its hidden states.
    """

    def read(part: Sequence[Case]) -> _Chunk:
        trials = [case_trial(case, folder) for case in part]
        with lend() as vlm:
            if not isinstance(vlm, HuggingFaceVLM):
                raise ModelError(f"{vlm.record.name} does not tell its hidden states: choose another model.")
            found = read_states(vlm, trials, layers)
        return _Chunk(found.states, found.words, found.tokens, np.zeros(len(part), dtype=bool))

    return _capture(cases, layers, POOLS, revision, folder, read, progress)


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


def capture_picture_tokens(
    lend: Lender,
    revision: str,
    cases: Sequence[Case],
    chosen: Sequence[int],
    layers: Sequence[int],
    folder: Path,
    progress: Progress | None = None,
) -> dict[int, Sequence[Tokens | None]]:
    """Layer to (tokens, hidden) float16 of every token of the chosen cases' prompts; None for the other cases.

    They lie on disk, and are read once. `revision` is that of the model which is lent.

    Raises
    ------
    ModelError : the model does not tell its hidden states.
    """

    def read(part: Sequence[Case]) -> list[Tokens]:
        trials = [case_trial(case, folder) for case in part]
        with lend() as vlm:
            if not isinstance(vlm, HuggingFaceVLM):
                raise ModelError(f"{vlm.record.name} does not tell its hidden states: choose another model.")
            return read_token_states(vlm, trials, layers)

    return _capture_tokens(cases, chosen, layers, revision, folder, read, progress)


def capture_text_tokens(
    model: HuggingFaceLanguageModel,
    cases: Sequence[Case],
    chosen: Sequence[int],
    items: Sequence[TextItem],
    layers: Sequence[int],
    folder: Path,
    progress: Progress | None = None,
) -> dict[int, Sequence[Tokens | None]]:
    """The same for text items; `items` holds every case's."""
    prompts = {item.id: item.prompt for item in items}

    def read(part: Sequence[Case]) -> list[Tokens]:
        return text_token_states(model, [prompts[case.item] for case in part], layers)

    return _capture_tokens(cases, chosen, layers, model.record.revision, folder, read, progress)


def text_token_states(model: HuggingFaceLanguageModel, prompts: Sequence[str], layers: Sequence[int]) -> list[Tokens]:
    """(tokens, layers, hidden) float16 of each prompt."""
    with every_token(model.blocks, layers) as kept:
        lengths = model.read_states(prompts, ()).tokens
    # The model reads prompts in ascending length, padded on the right.
    order = np.argsort(lengths, kind="stable")
    rows = [row for batch in kept.batches() for row in batch]
    found: dict[int, Tokens] = {int(i): rows[place][: lengths[i]] for place, i in enumerate(order)}
    return [found[i] for i in range(len(prompts))]


def _capture_tokens(
    cases: Sequence[Case],
    chosen: Sequence[int],
    layers: Sequence[int],
    revision: str,
    folder: Path,
    read: Callable[[Sequence[Case]], list[Tokens]],
    progress: Progress | None,
) -> dict[int, Sequence[Tokens | None]]:
    what = json.dumps(["tokens", [cases[i].id for i in chosen], list(layers), revision])
    path = folder / "activations" / f"{hashlib.sha256(what.encode()).hexdigest()[:16]}-tokens.npy"
    ends = path.with_name(f"{path.stem}-ends.npy")
    if not (path.is_file() and ends.is_file()):
        path.parent.mkdir(parents=True, exist_ok=True)
        written: list[int] = []
        raw = path.with_suffix(".part")
        width = 0
        with raw.open("wb") as file:
            for begin in range(0, len(chosen), _CHUNK):
                for states in read([cases[i] for i in chosen[begin : begin + _CHUNK]]):
                    file.write(np.ascontiguousarray(states).tobytes())
                    width = states.shape[-1]
                    written.append((written[-1] if written else 0) + len(states))
                if progress is not None:
                    progress(
                        f"Read every token of {len(written):,} of {len(chosen):,} prompts", len(written) / len(chosen)
                    )
        whole = np.memmap(raw, np.float16, "r", shape=(written[-1], len(layers), width))
        np.save(path, whole, allow_pickle=False)
        np.save(ends, np.array(written), allow_pickle=False)
        del whole
        raw.unlink()
    states, last = np.load(path, mmap_mode="r", allow_pickle=False), np.load(ends, allow_pickle=False).tolist()
    found: dict[int, Sequence[Tokens | None]] = {}
    for place, layer in enumerate(layers):
        parts: list[Tokens | None] = [None] * len(cases)
        for i, begin, end in zip(chosen, [0, *last[:-1]], last, strict=True):
            parts[i] = states[begin:end, place]
        found[layer] = parts
    return found


def is_captured(cases: Sequence[Case], layers: Sequence[int], revision: str, folder: Path) -> Activations | None:
    """The activations of text cases where all of them are on disk; None where the model would have to read some."""

    class NotThere(Exception):
        pass

    def read(_part: Sequence[Case]) -> _Chunk:
        raise NotThere

    try:
        return _capture(cases, layers, TEXT_POOLS, revision, folder, read, None)
    except NotThere:
        return None


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
