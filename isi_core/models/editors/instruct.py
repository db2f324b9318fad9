"""Instruction editing behind `ImageEditor`, by diffusers' pipelines: InstructPix2Pix (Brooks et al., CVPR 2023) and
those that followed it (`instruct_pipelines`).

The picture is a condition of every step, so that nothing is inverted; the base of a comparison is what the same
pipeline makes of the picture with an empty instruction and the same noise. All of them take an empty instruction.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from isi_core.domain.attributes import Attribute, EditSet
from isi_core.domain.errors import InputError
from isi_core.domain.evaluation import ModelRecord
from isi_core.models.devices import default_device
from isi_core.models.editors.denoising import denoising, to_image
from isi_core.models.editors.instruct_pipelines import WAY_OUT, InstructPipeline, load_parts, read_index
from isi_core.models.editors.ledits import working_size
from isi_core.models.editors.ledits_loading import loading_explained, pipeline_folder, read_words, record_of
from isi_core.models.editors.protocol import NEUTRAL, Edited, OnStep, Picture
from isi_core.models.threads import is_small, one_thread
from isi_core.models.vlm.loading import choose_dtype

DEFAULT = "timbrooks/instruct-pix2pix"
_TOGETHER = 16
_NOTHING = "leave the picture as it is"


@dataclass(frozen=True)
class InstructSettings:
    """Everything that shapes an edit but the model, the picture and the attributes.

    Attributes
    ----------
    steps : denoising steps.
    guidance : how far the instruction is followed, at strength 1 (s_T); above 1, or 0 for what is usual for the
        pipeline. A distilled checkpoint may listen to none: then neither this nor an edit's strength has an effect.
    image_guidance : how far the picture is kept (s_I); at least 1. Only InstructPix2Pix has it.
    side : pixels of the square that has the working size's area; 0 is what the model was trained on. FLUX.2 klein
        takes a million pixels at most.
    seed : of the noise, with the picture's digest: base and edits of a picture share it.

    Raises
    ------
    InputError : a value out of its range.
    """

    steps: int = 50
    guidance: float = 0.0
    image_guidance: float = 1.5
    side: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 1000:
            raise InputError("Instruction editing takes 1 to 1000 steps.")
        if (self.guidance and not 1 < self.guidance <= 100) or not 1 <= self.image_guidance <= 100:
            raise InputError(
                "The text guidance lies above 1 and up to 100, or is 0 for the pipeline's usual one; the image "
                "guidance lies between 1 and 100."
            )
        if self.side and not 64 <= self.side <= 2048:
            raise InputError("The working size lies between 64 and 2048 pixels; 0 is the model's own.")


@dataclass(frozen=True, eq=False)
class InstructModel:
    """A pipeline that edits by instructions.

    Attributes
    ----------
    row : what kind of pipeline it is.
    side : pixels of the square it was trained on.
    guided : text guidance has an effect.
    words : prompts of attributes that the model was trained with, by path; empty for others.
    lock : held by whoever uses the pipeline.
    """

    pipeline: Any
    row: InstructPipeline
    record: ModelRecord
    side: int
    guided: bool
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
    """Load an instruction-editing pipeline from a local folder or a hub id; safetensors only, no foreign code.

    Raises
    ------
    ModelError : not found, another kind of pipeline, a part or weights missing, or out of memory.
    """
    name = name or Path(source).name
    place = torch.device(device or default_device())
    number = choose_dtype(dtype, place)
    with loading_explained(name, place, f"{WAY_OUT}, with safetensors weights"):
        folder = pipeline_folder(source, name, revision)
        row, index = read_index(folder, name)
        pipeline, parts = load_parts(folder, row, index, name, number)
        pipeline = pipeline.to(place)
    pipeline.set_progress_bar_config(disable=True)
    return InstructModel(
        pipeline=pipeline,
        row=row,
        record=record_of(name, source, folder, parts, pipeline),
        side=row.side(pipeline),
        guided=row.is_guided(pipeline),
        words=read_words(folder / "prompts.json"),
    )


class InstructEditor:
    """Edits pictures by instructions made from attributes; safe to use from any thread, one edit at a time."""

    def __init__(self, model: InstructModel, settings: InstructSettings | None = None) -> None:
        self.model, self.settings = model, settings or InstructSettings()
        self._small = is_small(getattr(model.pipeline, model.row.denoiser))

    @property
    def record(self) -> Mapping[str, Any]:
        """Model, kind of pipeline and settings, as plain JSON values; None for a setting that the pipeline has not."""
        heard = {
            "pipeline": self.model.row.kind,
            "guidance": self._guidance if self.model.guided else None,
            "image_guidance": self.settings.image_guidance if self.model.row.kept_by else None,
        }
        return {"name": "instruct", "model": self.model.record.to_json(), **asdict(self.settings), **heard}

    @property
    def _guidance(self) -> float:
        return self.settings.guidance or self.model.row.guidance

    def instruction(self, edits: EditSet) -> str:
        """What the pipeline is told: "add goatee beard and remove hat"; nothing for no edit."""
        if edits == (NEUTRAL,):
            return _NOTHING
        told = [f"{'add' if edit.sign > 0 else 'remove'} {self._words(edit.attribute)}" for edit in edits]
        return " and ".join(told)

    def size(self, picture: Picture) -> tuple[int, int]:
        """(width, height) that the picture is read and drawn at, multiples of 32.

        Raises
        ------
        InputError : the picture is too small or too narrow.
        """
        side, most = self.settings.side or self.model.side, self.model.row.most
        width, height = working_size(picture.image.size, side)
        while most and width * height > most:
            side -= 8
            width, height = working_size(picture.image.size, side)
        return width, height

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
        edits : their mean strength scales the text guidance, which is one number for the whole instruction; without
            effect where the model listens to none.
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
        size = self.size(picture)
        image = picture.image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        strength = float(np.mean([edit.strength for edit in edits])) if edits else 1.0
        noise = int(hashlib.sha256(f"{settings.seed} {picture.digest}".encode()).hexdigest()[:15], 16)
        row, pipeline, record = self.model.row, self.model.pipeline, self.model.record
        sizes = {"width": size[0], "height": size[1], "max_area": size[0] * size[1]}
        given: dict[str, Any] = {
            "prompt": self.instruction(edits),
            "image": image,
            "num_inference_steps": settings.steps,
            "generator": torch.Generator().manual_seed(noise),
            "output_type": "pt",
            **{argument: sizes[argument] for argument in row.sizes},
            **row.asked,
        }
        given[row.guided_by] = max(1.001, self._guidance * strength) if self.model.guided else 1.0
        if row.kept_by:
            given[row.kept_by] = settings.image_guidance
        total = settings.steps * (row.passes if self.model.guided else 1)
        with (
            self.model.lock,
            one_thread(self._small),
            denoising(pipeline, record, total, on_step, "choose a smaller working size", row.denoiser) as work,
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
