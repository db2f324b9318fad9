"""What the four families of encoders share: reading checkpoints safely, tokens, and pixels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer

from isi_core.domain.errors import ModelError, first_line
from isi_core.models.encoders.protocol import Family
from isi_core.models.weights import hub_revision, weights_digest

_log = logging.getLogger(__name__)

_LONGEST = 128
"""Tokens of a headline at most; articles of the web have headlines of a paragraph."""

T = TypeVar("T")


@dataclass(frozen=True)
class Origin:
    """Where a checkpoint is from: hub id or folder, and the revision asked for."""

    source: str | Path
    name: str
    revision: str = "main"

    @property
    def label(self) -> str:
        """Hub id, or the folder's name: no path of this machine is recorded."""
        folder = Path(self.source)
        return folder.resolve().name if folder.is_dir() else str(self.source)

    @property
    def options(self) -> dict[str, Any]:
        """Of every `from_pretrained`: no code of the checkpoint's runs."""
        return {"trust_remote_code": False, "revision": self.revision}

    def part(self, name: str) -> Origin:
        """The subfolder of a local checkpoint that has several parts."""
        return Origin(Path(self.source) / name, self.name, self.revision)


def reading(origin: Origin, read: Callable[[], T]) -> T:
    """What `read` returns; whatever a damaged or wrong checkpoint raises becomes one sentence.

    Raises
    ------
    ModelError : not found, damaged, of another kind, or out of memory.
    """
    try:
        return read()
    except torch.OutOfMemoryError as error:
        raise ModelError(f"{origin.name} does not fit into memory: choose a smaller encoder.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, SafetensorError) as e:
        _log.warning("Loading the encoder %s failed", origin.name, exc_info=True)
        raise ModelError(
            f"The encoder {origin.name} could not be loaded ({first_line(e)}): give a folder or hub id of a CLIP, BLIP "
            "ITM or SigLIP model or of a ViT with a RoBERTa, with safetensors weights, and check the connection for a "
            "hub id."
        ) from e


def read_config(origin: Origin) -> Any:
    """The checkpoint's config."""
    return reading(origin, lambda: AutoConfig.from_pretrained(origin.source, **origin.options))


def read_weights(origin: Origin, kind: Any, *, optional: tuple[str, ...] = (), **more: Any) -> Any:
    """The model of this class in float32, every weight found.

    Parameters
    ----------
    optional : beginnings of the names of weights that may be missing because they are not used.
    more : further options of `from_pretrained`.

    Raises
    ------
    ModelError : it cannot be read, or a weight is missing.
    """
    model, found = reading(
        origin,
        lambda: kind.from_pretrained(
            origin.source,
            dtype=torch.float32,
            use_safetensors=True,
            weights_only=True,
            output_loading_info=True,
            **origin.options,
            **more,
        ),
    )
    keys = [*found["missing_keys"], *(str(key) for key in found["mismatched_keys"])]
    missing = sorted(key for key in keys if not key.startswith(optional)) if optional else sorted(keys)
    if missing:
        raise ModelError(
            f"Weights are missing in {origin.name} ({len(missing)} of them, such as {missing[0]}): "
            "choose a complete checkpoint."
        )
    return model


def revision_of(origin: Origin) -> str:
    """Commit of the hub; of a folder, the digest of its weights."""
    folder = Path(origin.source)
    if folder.is_dir():
        return weights_digest(folder)
    return hub_revision(origin.source, origin.revision)


@dataclass(frozen=True, eq=False)
class Words:
    """A tokenizer and how long a text it takes.

    Attributes
    ----------
    padding : "longest", or "max_length" for models that were trained on texts of one length (SigLIP).
    """

    tokenizer: Any
    longest: int
    padding: str = "longest"

    def tokens(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Ids and mask, each (n, length)."""
        made = self.tokenizer(
            list(texts),
            padding=True if self.padding == "longest" else self.padding,
            truncation=True,
            max_length=self.longest,
            return_tensors="pt",
            return_token_type_ids=False,
        )
        return dict(made)


def read_words(origin: Origin, positions: int, padding: str = "longest") -> Words:
    """The checkpoint's tokenizer, for texts of at most `positions` tokens."""
    tokenizer = reading(origin, lambda: AutoTokenizer.from_pretrained(origin.source, **origin.options))
    declared = getattr(tokenizer, "model_max_length", positions) or positions
    longest = min(int(declared), positions)
    return Words(tokenizer, longest if padding == "max_length" else min(longest, _LONGEST), padding)


@dataclass(frozen=True, eq=False)
class Sight:
    """An image processor in two steps: sizing gives small integers that can be kept, normalizing is done on the device.

    Attributes
    ----------
    mean, spread : of the values in [0, 1], one a channel.
    """

    processor: Any
    mean: tuple[float, ...]
    spread: tuple[float, ...]

    def pixels(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """uint8 (n, 3, height, width)."""
        arrays = [np.asarray(picture.convert("RGB")) for picture in pictures]
        made = self.processor(arrays, do_rescale=False, do_normalize=False, input_data_format="channels_last")
        values = torch.stack([torch.as_tensor(np.asarray(one)) for one in made["pixel_values"]])
        return values.round().clamp(0, 255).to(torch.uint8)

    def normalized(self, pixels: torch.Tensor) -> torch.Tensor:
        """float32 of the same shape, as the model wants it."""
        mean = torch.tensor(self.mean, device=pixels.device).view(1, 3, 1, 1)
        spread = torch.tensor(self.spread, device=pixels.device).view(1, 3, 1, 1)
        return (pixels.to(torch.float32) / 255 - mean) / spread


def read_sight(origin: Origin) -> Sight:
    """The checkpoint's image processor.

    Raises
    ------
    ModelError : there is none, or it keeps pictures of different sizes.
    """
    processor = reading(origin, lambda: AutoImageProcessor.from_pretrained(origin.source, **origin.options))
    normalizes = bool(getattr(processor, "do_normalize", True))
    mean = tuple(float(value) for value in processor.image_mean) if normalizes else (0.0, 0.0, 0.0)
    spread = tuple(float(value) for value in processor.image_std) if normalizes else (1.0, 1.0, 1.0)
    return Sight(processor, mean, spread)


@dataclass(eq=False)
class Towers:
    """A `PairEncoder` made of a module and two functions that run through it.

    Attributes
    ----------
    text, image : tokens, and normalized pixels, to projected features (n, width).
    write : saves the weights, the tokenizer and the processor into an existing folder.
    """

    name: str
    family: Family
    source: str
    revision: str
    module: nn.Module
    width: int
    words: Words
    sight: Sight
    text: Callable[[Mapping[str, torch.Tensor]], torch.Tensor]
    image: Callable[[torch.Tensor], torch.Tensor]
    write: Callable[[Path], None]

    @property
    def longest(self) -> int:
        """Tokens of a text at most."""
        return self.words.longest

    def tokens(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Token ids and mask of n texts, each (n, length)."""
        return self.words.tokens(texts)

    def pixels(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """uint8 (n, 3, height, width)."""
        return self.sight.pixels(pictures)

    def text_features(self, tokens: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Projected features (n, width)."""
        return self.text(tokens)

    def image_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Projected features (n, width) of uint8 pixels (n, 3, height, width)."""
        return self.image(self.sight.normalized(pixels))

    def save(self, folder: Path) -> None:
        """Weights, tokenizer and processor."""
        folder.mkdir(parents=True, exist_ok=True)
        self.write(folder)


def save_into(folder: Path, *parts: Any) -> None:
    """Models, tokenizers and processors into one folder, each in its own files."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        part.save_pretrained(folder)
