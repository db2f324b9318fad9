"""What a model will need of the memory, what is free, and whether it is at hand: told before anything is loaded.

Estimates of the right order, from numbers of weights alone. No model library is imported unless this machine
may have a graphics card.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from isi_core.domain.errors import ModelError
from isi_core.models.catalogue import (
    DEFAULT_ENTAILMENT,
    DEFAULT_VLM,
    CatalogueRow,
    find_entailment,
    find_vlm,
    sizes,
)
from isi_core.models.vlm.endpoint_address import EXAMPLE
from isi_core.models.weights import WeightCount, count_weights

State = Literal["built in", "on disk", "to download", "too large", "missing", "endpoint"]

QUANTIZATIONS = ("none", "4-bit", "8-bit")
# Bytes a weight: NF4's half byte and a float32 scale for every 64 of them; int8 and its scales by row.
_QUANTIZED = {"4-bit": 0.5 + 4 / 64, "8-bit": 1.01}

TEXT_TOKENS = 512
"""Context and question that room is kept for."""
IMAGE_TOKENS = 3000
"""A picture's tokens where nothing is known of them: about what the largest of the catalogue's make of one."""
SAMPLES, ANSWER_TOKENS = 10, 40
"""Samples that are drawn side by side, and their length, as `Decoding` has them."""
SAMPLES_BYTES = 2 << 30
"""Most that keys and values of samples take, as the vision-language models limit themselves."""
PREFILL_BYTES = 1 << 30
"""Most that remembered prompts take."""
_ACTIVATIONS = 0.05  # of the weights
_LIBRARIES = 50 << 20
_CUDA_CONTEXT = 600 << 20


@dataclass(frozen=True)
class Readiness:
    """Whether a model can be used now.

    Attributes
    ----------
    need_bytes : estimate of what it takes in memory; 0 where it cannot be told yet.
    free_bytes : what is free.
    sentence : the state in words, with the way out where there is one.
    """

    state: State
    need_bytes: int
    free_bytes: int
    sentence: str

    @property
    def usable(self) -> bool:
        """It can be loaded, after a download perhaps; or asked, if its server answers."""
        return self.state in ("built in", "on disk", "to download", "endpoint")


def weight_bytes(row: CatalogueRow, quantization: str = "none") -> int:
    """Bytes of a model's weights on the device they will be loaded to; 0 where nothing is known of it.

    Raises
    ------
    ModelError : the quantization is unknown, or a local folder's weights are damaged.
    """
    if quantization not in QUANTIZATIONS:
        raise ModelError(f"Quantization {quantization!r} is unknown: choose {', '.join(QUANTIZATIONS)}.")
    count = _count(row)
    # Entailment models stay in float32: clusters hang on the order of three classes.
    bytes_each = 2 if row.kind == "vlm" and _accelerated() else 4
    if quantization == "none":
        return count.parameters * bytes_each
    kept = count.parameters - count.quantizable
    return round(kept * bytes_each + count.quantizable * _QUANTIZED[quantization])


def memory_need(row: CatalogueRow, quantization: str = "none", entailment: CatalogueRow | None = None) -> int:
    """Bytes that using a model takes: weights, keys and values of a prompt and its samples, and what works on them.

    For a vision-language model the entailment model beside it is counted too (tiny-nli by
    default). 0 where nothing is known of the model.
    """
    weights = weight_bytes(row, quantization)
    if not weights:
        return 0
    need = weights * (1 + _ACTIVATIONS) + _LIBRARIES
    if row.kind == "vlm":
        token = (row.key_values or _count(row).key_values) * (2 if _accelerated() else 4)
        prompt = token * ((row.image_tokens or IMAGE_TOKENS) + TEXT_TOKENS)
        need += prompt + samples_bytes(token, prompt, shared=not _slides(row))
        # Prompts that are remembered for the next click, the very last one however long it is.
        need += min(10 * prompt, max(PREFILL_BYTES, prompt))
        need += weight_bytes(entailment or find_entailment(DEFAULT_ENTAILMENT))
    if _cuda() is not None:
        need += _CUDA_CONTEXT
    return round(need)


def samples_bytes(token: int, prompt: int, *, shared: bool = True) -> int:
    """Most that the keys and values of samples take beside the prompt's own, which they share.

    Parameters
    ----------
    token, prompt : bytes of a token's keys and values, and of the prompt's.
    shared : False for models whose samples have to copy the prompt each (sliding windows).
    """
    each = token * ANSWER_TOKENS + (0 if shared else prompt)
    # Batches are made as large as the limit allows, and of one sample at least.
    return min(SAMPLES * each, max(SAMPLES_BYTES, each))


def free_memory() -> int:
    """Free bytes where models are put: of the graphics card in use, else of this machine or container."""
    cuda = _cuda()
    if cuda is not None:
        return int(cuda.mem_get_info()[0])
    return min([_available(), *_container_free()])


def readiness(row: CatalogueRow, quantization: str = "none", freed: int = 0) -> Readiness:
    """Whether a model can be used; looks at disk and memory, never at the network.

    Parameters
    ----------
    freed : bytes that resident models would give back first.
    """
    free = free_memory() + freed
    if row.endpoint is not None:
        if quantization != "none":
            raise ModelError(f"{row.name} is loaded by its own server: turn {quantization} off.")
        return Readiness("endpoint", 0, free, f"{row.name} is asked over the network and needs no memory here.")
    try:
        need = memory_need(row, quantization)
    except ModelError as error:
        if quantization not in QUANTIZATIONS:
            raise
        return Readiness("missing", 0, free, str(error))
    folder = _folder(row)
    if folder is None and isinstance(row.source, Path):
        return Readiness("missing", need, free, f"{row.name} has no weights in {row.source.name}: restore that folder.")
    if need > free:
        return Readiness("too large", need, free, _too_large(row, quantization, need, free))
    about = f"needs about {_size(need)}, {_size(free)} are free" if need else "what it needs is not known yet"
    if row.embedded:
        return Readiness("built in", need, free, f"{row.name} is built in: {about}.")
    if folder is not None:
        return Readiness("on disk", need, free, f"{row.name} is on this machine: {about}.")
    return Readiness("to download", need, free, f"{row.name} will be downloaded at first use: {about}.")


def _too_large(row: CatalogueRow, quantization: str, need: int, free: int) -> str:
    return (
        f"{row.name}{'' if quantization == 'none' else f' in {quantization}'} needs about {_size(need)} of memory and "
        f"{_size(free)} are free: {_what_fits(row, quantization, free)}."
    )


def _what_fits(row: CatalogueRow, quantization: str, free: int) -> str:
    """Advice that holds for this much free memory."""
    if row.kind == "entailment":
        return f"choose {DEFAULT_ENTAILMENT}"
    if quantization != "4-bit" and memory_need(row, "4-bit") <= free:
        return f"choose 4-bit, which needs about {_size(memory_need(row, '4-bit'))}"
    family = [other for other in sizes(row.family) if other.name != row.name]
    for other in sorted(family, key=lambda o: o.parameters or 0, reverse=True):
        for way in ("none", "4-bit"):
            if memory_need(other, way) <= free:
                return f"choose {other.name}{'' if way == 'none' else ' in 4-bit'}"
    elsewhere = f", or ask it where it runs on another machine ({EXAMPLE})" if _may_ask_elsewhere() else ""
    return f"choose {DEFAULT_VLM}, or close other programs{elsewhere}"


def _may_ask_elsewhere() -> bool:
    """Whether the operator lets users type an endpoint."""
    try:
        return find_vlm(EXAMPLE).endpoint is not None
    except ModelError:
        return False


def _size(count: int) -> str:
    if count >= 1 << 30:
        return f"{count / (1 << 30):.1f} GB"
    return f"{max(1, round(count / (1 << 20)))} MB"


def _count(row: CatalogueRow) -> WeightCount:
    """The catalogue's word, else the checkpoint's own where it is on this machine."""
    if row.parameters is not None:
        return WeightCount(row.parameters, row.quantizable, row.key_values)
    folder = _folder(row)
    if folder is None:
        return WeightCount(0, 0)
    files = tuple((path.name, path.stat().st_size) for path in sorted(folder.glob("*.safetensors")))
    return _count_once(folder, files)


@lru_cache(maxsize=64)
def _count_once(folder: Path, files: tuple[tuple[str, int], ...]) -> WeightCount:
    """`count_weights`, read anew when the files have changed."""
    return count_weights(folder)


def _slides(row: CatalogueRow) -> bool:
    """Whether some of a checkpoint's blocks look back over a sliding window only, by its config."""
    folder = _folder(row)
    if row.parameters is not None or folder is None:
        return False  # none of the catalogue's do
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        text = config.get("text_config") or config
        kinds = text.get("layer_types")
        if kinds is not None:
            return "sliding_attention" in kinds
        return bool(text.get("sliding_window")) and text.get("use_sliding_window") is not False
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return False


def _folder(row: CatalogueRow) -> Path | None:
    """Where the whole checkpoint lies on this machine; None where it does not."""
    if isinstance(row.source, Path):
        complete = (row.source / "config.json").is_file() and any(row.source.glob("*.safetensors"))
        return row.source if complete else None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        for name in ("model.safetensors", "model.safetensors.index.json"):
            found = try_to_load_from_cache(row.source, name, revision=row.revision)
            if isinstance(found, str):
                folder = Path(found).parent
                return folder if all((folder / part).is_file() for part in _parts(Path(found))) else None
    except HFValidationError:
        return None
    return None


def _parts(weights: Path) -> list[str]:
    """The files that a checkpoint needs beside its weights or their index."""
    if weights.suffix != ".json":
        return ["config.json"]
    try:
        parts = json.loads(weights.read_text(encoding="utf-8"))["weight_map"].values()
        return ["config.json", *{str(part) for part in parts}]
    except (OSError, ValueError, KeyError, AttributeError):
        return ["a whole index"]


def _cuda() -> Any | None:
    """`torch.cuda` where there is a graphics card; torch is not imported on a machine that has none."""
    if "torch" not in sys.modules and not Path("/dev/nvidia0").exists() and shutil.which("nvidia-smi") is None:
        return None
    import torch

    return torch.cuda if torch.cuda.is_available() else None


def _accelerated() -> bool:
    """Models run in 16 bits: there is a graphics card or Apple's."""
    return _cuda() is not None or sys.platform == "darwin"


def _available() -> int:
    """Memory that the system could hand out, in bytes."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    import psutil  # type: ignore[import-untyped]

    return int(psutil.virtual_memory().available)


def _container_free() -> Iterator[int]:
    """What a container's limit (cgroup 2, then 1) leaves, in bytes; nothing where there is none."""
    for folder, limit, used, cached in (
        ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most = int((Path(folder) / limit).read_text())  # "max" is no limit, and no number
            now = int((Path(folder) / used).read_text())
            statistics = dict(line.split() for line in (Path(folder) / "memory.stat").read_text().splitlines())
            yield max(0, most - now + int(statistics.get(cached, 0)))
        except (OSError, ValueError):
            continue
