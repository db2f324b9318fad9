"""Instruction editing (InstructPix2Pix, Brooks et al., CVPR 2023) behind `ImageEditor`, by diffusers' pipelines.

The picture is a condition of every step, so that nothing is inverted; the base of a comparison is what the same
pipeline makes of the picture with an empty instruction and the same noise.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import (
    SchedulerMixin,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionXLInstructPix2PixPipeline,
)
from PIL import Image
from transformers import CLIPTokenizer

from isi_core.domain.attributes import Attribute, EditSet
from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.evaluation import ModelRecord
from isi_core.models.devices import default_device
from isi_core.models.editors.denoising import denoising, to_image
from isi_core.models.editors.ledits import working_size
from isi_core.models.editors.ledits_loading import (
    check_parts,
    load_part,
    loading_explained,
    pipeline_folder,
    read_words,
    record_of,
)
from isi_core.models.editors.protocol import NEUTRAL, Edited, OnStep, Picture
from isi_core.models.threads import is_small, one_thread
from isi_core.models.vlm.loading import choose_dtype

_log = logging.getLogger(__name__)

DEFAULT = "timbrooks/instruct-pix2pix"
_TOGETHER = 16
_CHANNELS = 8  # of the noise, and of the picture beside it
_NOTHING = "leave the picture as it is"
_WRONG_KIND = "give an instruction-editing pipeline such as timbrooks/instruct-pix2pix"


@dataclass(frozen=True)
class InstructSettings:
    """Everything that shapes an edit but the model, the picture and the attributes.

    Attributes
    ----------
    steps : denoising steps.
    guidance : how far the instruction is followed, at strength 1 (s_T); above 1.
    image_guidance : how far the picture is kept (s_I); at least 1.
    side : pixels of the square that has the working size's area; 0 is what the model was trained on.
    seed : of the noise, with the picture's digest: base and edits of a picture share it.

    Raises
    ------
    InputError : a value out of its range.
    """

    steps: int = 50
    guidance: float = 7.5
    image_guidance: float = 1.5
    side: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 1000:
            raise InputError("Instruction editing takes 1 to 1000 steps.")
        if not 1 < self.guidance <= 100 or not 1 <= self.image_guidance <= 100:
            raise InputError("The text guidance lies above 1 and up to 100, the image guidance between 1 and 100.")
        if self.side and not 64 <= self.side <= 2048:
            raise InputError("The working size lies between 64 and 2048 pixels; 0 is the model's own.")


@dataclass(frozen=True, eq=False)
class InstructModel:
    """A pipeline that edits by instructions.

    Attributes
    ----------
    side : pixels of the square it was trained on.
    words : prompts of attributes that the model was trained with, by path; empty for others.
    lock : held by whoever uses the pipeline.
    """

    pipeline: Any
    record: ModelRecord
    side: int
    words: Mapping[tuple[str, ...], str]
    lock: threading.Lock = field(default_factory=threading.Lock)


def load_instruct_model(
    source: str | Path,
    name: str = "",
    *,
    dtype: torch.dtype | str | None = None,
    device: str | None = None,
    revision: str | None = None,
) -> InstructModel:
    """Load an InstructPix2Pix pipeline (SD or SDXL) from a local folder or a hub id; safetensors only, no foreign code.

    Raises
    ------
    ModelError : not found, another kind of pipeline, a part or weights missing, or out of memory.
    """
    name = name or Path(source).name
    place = torch.device(device or default_device())
    number = choose_dtype(dtype, place)
    with loading_explained(name, place, f"{_WRONG_KIND}, with safetensors weights"):
        folder = pipeline_folder(source, name, revision)
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        parts = check_parts(folder, index, name, "instruction editing")
        loaded: dict[str, Any] = {part: load_part(folder, part, name, number) for part in parts}
        channels = int(loaded["unet"].config.in_channels)
        if channels != _CHANNELS:
            raise ModelError(
                f"{name} works on {channels} latent channels, instruction editing on {_CHANNELS}: {_WRONG_KIND}."
            )
        for part in parts:
            if part.startswith("text_encoder"):
                tokenizer = part.replace("text_encoder", "tokenizer")
                loaded[tokenizer] = CLIPTokenizer.from_pretrained(folder / tokenizer, trust_remote_code=False)
        loaded["scheduler"] = _scheduler(folder, index, name)
        pipeline = _assemble(loaded, index).to(place)
    pipeline.set_progress_bar_config(disable=True)
    side = int(pipeline.unet.config.sample_size) * int(pipeline.vae_scale_factor)
    record = record_of(name, source, folder, parts, pipeline)
    return InstructModel(pipeline, record, side, read_words(folder / "prompts.json"))


def _scheduler(folder: Path, index: Mapping[str, Any], name: str) -> Any:
    """The pipeline's own noise schedule, of whichever of diffusers' classes."""
    told = index.get("scheduler")
    kind = getattr(diffusers, str(told[1]), None) if isinstance(told, list) and len(told) == 2 else None
    if not isinstance(kind, type) or not issubclass(kind, SchedulerMixin):
        raise ModelError(f"{name} names no scheduler of diffusers: fetch the whole pipeline again.")
    return kind.from_pretrained(folder / "scheduler")


def _assemble(parts: Mapping[str, Any], index: Mapping[str, Any]) -> Any:
    if "text_encoder_2" in parts:
        return StableDiffusionXLInstructPix2PixPipeline(
            **parts,
            force_zeros_for_empty_prompt=bool(index.get("force_zeros_for_empty_prompt", True)),
            add_watermarker=False,
            is_cosxl_edit=bool(index.get("is_cosxl_edit", False)),
        )
    return StableDiffusionInstructPix2PixPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )


class InstructEditor:
    """Edits pictures by instructions made from attributes; safe to use from any thread, one edit at a time."""

    def __init__(self, model: InstructModel, settings: InstructSettings | None = None) -> None:
        self.model, self.settings = model, settings or InstructSettings()
        self._small = is_small(model.pipeline.unet)

    @property
    def record(self) -> Mapping[str, Any]:
        """Model and settings, as plain JSON values."""
        return {"name": "instruct", "model": self.model.record.to_json(), **asdict(self.settings)}

    def instruction(self, edits: EditSet) -> str:
        """What the pipeline is told: "add goatee beard and remove hat"; nothing for no edit."""
        if edits == (NEUTRAL,):
            return _NOTHING
        told = [f"{'add' if edit.sign > 0 else 'remove'} {self._words(edit.attribute)}" for edit in edits]
        return " and ".join(told)

    def _words(self, attribute: Attribute) -> str:
        return self.model.words.get(attribute.path, attribute.phrase)

    def reconstruct(self, picture: Picture, on_step: OnStep | None = None) -> Edited:
        """What the pipeline makes of the picture with an empty instruction, at the working size.

        Raises
        ------
        InputError : the picture is too small or too narrow. ModelError : the model failed.
        """
        return self.edit(picture, (), 0, on_step)

    def edit(self, picture: Picture, edits: EditSet, seed: int, on_step: OnStep | None = None) -> Edited:
        """The picture, at the working size, after one instruction that names all the attributes.

        The mask is None: such a pipeline does not tell where it meant to change something.

        Parameters
        ----------
        edits : their mean strength scales the text guidance, which is one number for the whole instruction.
        seed : without effect: the noise's seed is in the settings, so that base and all edits of a picture share it.
        on_step : told how far the edit is; may raise `Cancelled`.

        Raises
        ------
        InputError : the picture cannot be edited, or too many attributes. ModelError : the model failed.
        """
        del seed
        if len(edits) > _TOGETHER:
            raise InputError(f"At most {_TOGETHER} attributes can be edited together; got {len(edits)}.")
        settings = self.settings
        size = working_size(picture.image.size, settings.side or self.model.side)
        image = picture.image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        strength = float(np.mean([edit.strength for edit in edits])) if edits else 1.0
        noise = int(hashlib.sha256(f"{settings.seed} {picture.digest}".encode()).hexdigest()[:15], 16)
        given: dict[str, Any] = {
            "prompt": self.instruction(edits),
            "image": image,
            "num_inference_steps": settings.steps,
            "guidance_scale": max(1.001, settings.guidance * strength),
            "image_guidance_scale": settings.image_guidance,
            "generator": torch.Generator().manual_seed(noise),
            "output_type": "pt",
        }
        if isinstance(self.model.pipeline, StableDiffusionXLInstructPix2PixPipeline):
            given |= {"width": size[0], "height": size[1]}
        pipeline, record = self.model.pipeline, self.model.record
        with (
            self.model.lock,
            one_thread(self._small),
            denoising(pipeline, record, settings.steps, on_step, "choose a smaller working size") as work,
        ):
            image = to_image(pipeline(**given).images[0], record)
        return Edited(image, None, work.evaluations)


def load_instruct_editor(
    source: str | Path = DEFAULT,
    name: str = "",
    settings: InstructSettings | None = None,
    *,
    dtype: str | None = None,
    device: str | None = None,
    revision: str | None = None,
) -> InstructEditor:
    """An editor with the pipeline of a folder or hub id.

    Raises
    ------
    ModelError : see `load_instruct_model`.
    """
    return InstructEditor(load_instruct_model(source, name, dtype=dtype, device=device, revision=revision), settings)
