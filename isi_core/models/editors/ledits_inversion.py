"""What LEDITS++ finds out of a picture once and every edit of it starts from: kept in memory and on disk."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

_log = logging.getLogger(__name__)

MEMORY_BYTES = 512 << 20
"""Most that a store keeps in memory; an inversion of SDXL at 1024 px takes about 13 MB."""


@dataclass(frozen=True, eq=False)
class Inversion:
    """The state of a LEDITS++ pipeline after it has inverted one picture (Brack et al., CVPR 2024, section 4.1).

    Attributes
    ----------
    latents : (1, 4, height, width) noisy latents that denoising starts from.
    noise : (steps, 1, 4, height, width) noise of each step that leads back to the picture.
    timesteps : (steps,) of the schedule, the noisiest first.
    schedule : how many timesteps the whole schedule has, the skipped ones included.
    size : (width, height) of the picture in pixels.
    """

    latents: torch.Tensor
    noise: torch.Tensor
    timesteps: torch.Tensor
    schedule: int
    size: tuple[int, int]

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return sum(tensor.numel() * tensor.element_size() for tensor in (self.latents, self.noise, self.timesteps))


def inversion_key(settings: Mapping[str, Any], picture_digest: str) -> str:
    """SHA-256 (hex) over all that shapes an inversion: model, settings of inverting, picture."""
    return hashlib.sha256(json.dumps([dict(settings), picture_digest], sort_keys=True).encode()).hexdigest()


class InversionStore:
    """Inversions by key: the latest ones in memory, all of them in a folder where one is given."""

    def __init__(self, folder: Path | None = None, memory_bytes: int = MEMORY_BYTES) -> None:
        self._folder, self._most = folder, memory_bytes
        self._kept: OrderedDict[str, Inversion] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Inversion | None:
        """The inversion; None where there is none, or its file cannot be read."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        found = None if self._folder is None else _read(self._folder / f"{key}.safetensors")
        if found is not None:
            self._remember(key, found)
        return found

    def put(self, key: str, inversion: Inversion) -> None:
        """Keep an inversion. A folder that cannot be written to costs time later, not this edit."""
        self._remember(key, inversion)
        if self._folder is None:
            return
        unfinished = self._folder / f"{key}.{uuid4().hex}.tmp"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _write(unfinished, inversion)
            unfinished.replace(self._folder / f"{key}.safetensors")
        except (OSError, SafetensorError):
            with suppress(OSError):
                unfinished.unlink()
            _log.warning("An inversion could not be written to disk and stays in memory only", exc_info=True)

    def forget(self) -> None:
        """Give back the memory; what is on disk stays."""
        with self._lock:
            self._kept.clear()

    def _remember(self, key: str, inversion: Inversion) -> None:
        with self._lock:
            self._kept[key] = inversion
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and sum(kept.bytes for kept in self._kept.values()) > self._most:
                self._kept.popitem(last=False)


def _write(path: Path, inversion: Inversion) -> None:
    tensors = {"latents": inversion.latents, "noise": inversion.noise, "timesteps": inversion.timesteps}
    about = {"schedule": inversion.schedule, "size": list(inversion.size)}
    save_file(
        {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, path, {"inversion": json.dumps(about)}
    )


def _read(path: Path) -> Inversion | None:
    """The inversion of a file; None where it is missing, damaged or of another form."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["inversion"])
            latents, noise, timesteps = (file.get_tensor(name) for name in ("latents", "noise", "timesteps"))
        width, height = (int(number) for number in about["size"])
        fits = noise.shape == (len(timesteps), *latents.shape) and len(latents) == 1 and latents.ndim == 4
        if not fits or not latents.isfinite().all() or not noise.isfinite().all():
            raise ValueError("another form")
        return Inversion(latents, noise, timesteps, int(about["schedule"]), (width, height))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        _log.warning("The inversion %s is damaged and will be made anew", path.name)
        return None
