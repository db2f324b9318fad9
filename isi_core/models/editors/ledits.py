"""LEDITS++ (Brack et al., CVPR 2024) behind `ImageEditor`, through diffusers' own pipelines.

A picture is inverted once; every edit of it starts from that inversion. Pictures go one at a time: batches mix
up pictures' attention (SD) or fail (XL).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from numpy.typing import NDArray
from PIL import Image

from isi_core.domain.attributes import LEVELS, Attribute, EditSet, edit_set
from isi_core.domain.errors import InputError, ModelError
from isi_core.models.editors.denoising import denoising, to_image
from isi_core.models.editors.ledits_inversion import Inversion, InversionStore, inversion_key
from isi_core.models.editors.ledits_loading import LeditsModel, load_ledits_model
from isi_core.models.editors.ledits_settings import LeditsSettings
from isi_core.models.editors.protocol import Edited, OnStep, Picture
from isi_core.models.threads import is_small, one_thread
from isi_core.worlds.attributed import world

SIZE_STEP = 32
_SMALLEST_PICTURE = 16
_WIDEST = 4.0
_TOGETHER = 16
# A pixel counts as edited when it was guided in this share of the steps.
_GUIDED_SHARE = 0.25


class LeditsEditor:
    """Edits pictures by attributes with one pipeline; safe to use from any thread, one edit at a time.

    Editors with other settings can share a model: its lock is theirs.
    """

    def __init__(
        self, model: LeditsModel, settings: LeditsSettings | None = None, inversions: InversionStore | None = None
    ) -> None:
        self.model, self.settings = model, settings or LeditsSettings()
        if self.settings.masks != "noise" and not model.masks:
            raise ModelError(
                f"{model.record.name} has no cross-attention at a quarter of the latents' size, which attention masks "
                "are read from: choose the masks `noise`."
            )
        self.inversions = inversions or InversionStore()
        self._small = is_small(model.pipeline.unet)

    @property
    def record(self) -> Mapping[str, Any]:
        """Model and settings, as plain JSON values."""
        return {"name": "ledits", "model": self.model.record.to_json(), **asdict(self.settings)}

    def words(self, attribute: Attribute) -> str:
        """The prompt of an attribute: the words the model was trained with, else those of its path."""
        return self.model.words.get(attribute.path, attribute.phrase)

    def stand_ins(self, picture: Picture, edits: EditSet) -> EditSet:
        """Groups that are added as one leaf each, by lot, the same in all edits of a picture: one that it lacks.

        Of a model that was trained with words of its own; what "hair" alone is to look like no other can tell it.
        Other models know such words, and edit by the group's own.
        """
        return edit_set(
            replace(edit, attribute=self._stand_in(picture, edit.attribute)) if edit.sign > 0 else edit
            for edit in edits
        )

    def _stand_in(self, picture: Picture, attribute: Attribute) -> Attribute:
        if attribute.level == LEVELS:
            return attribute
        leaves = [Attribute(path) for path in self.model.words if len(path) == LEVELS]
        below = [leaf for leaf in leaves if leaf.within(attribute)]
        if not below:
            return attribute
        subject = picture.subject
        new = [leaf for leaf in below if subject is None or not world(subject.world).has(subject, leaf.path)]
        lot = Random(f"{self.settings.seed} {picture.digest} {attribute.text}")
        return lot.choice(sorted(new or below))

    def reconstruct(self, picture: Picture, on_step: OnStep | None = None) -> Edited:
        """The picture inverted and denoised with no edit: at the working size, exact up to the autoencoder.

        Raises
        ------
        InputError : the picture is too small or too narrow. ModelError : the model failed.
        """
        return self.edit(picture, (), 0, on_step)

    def edit(self, picture: Picture, edits: EditSet, seed: int, on_step: OnStep | None = None) -> Edited:
        """The picture, at the working size, with all the attributes added (+) or removed (-) together.

        Parameters
        ----------
        seed : without effect: an edit is determined by the inversion, whose seed is in the settings, so that
            reconstruction and all edits of a picture share it.
        on_step : told how far the edit is; may raise `Cancelled`.

        Raises
        ------
        InputError : the picture cannot be edited, or too many attributes. ModelError : the model failed.
        """
        del seed
        if len(edits) > _TOGETHER:
            raise InputError(f"At most {_TOGETHER} attributes can be edited together; got {len(edits)}.")
        size = working_size(picture.image.size, self.settings.side or self.model.side)
        prompts = [self.words(edit.attribute) for edit in edits]
        pipeline, way_out = self.model.pipeline, "choose a smaller working size or fewer attributes at once"
        with self.model.lock, one_thread(self._small):
            key = inversion_key(self._inverting(size), picture.digest)
            inversion = self.inversions.get(key)
            total = self.settings.steps * (1 if inversion is not None else 2)
            try:
                with denoising(pipeline, self.model.record, total, on_step, way_out) as work:
                    if inversion is None:
                        inversion = self._invert(picture, size)
                        self.inversions.put(key, inversion)
                    image = self._denoise(inversion, edits, prompts)
                    mask = self._edited_region(size) if edits else np.zeros((size[1], size[0]), dtype=bool)
            finally:
                pipeline.attention_store = None
            return Edited(image=image, mask=mask, denoiser_evaluations=work.evaluations)

    def is_inverted(self, picture: Picture) -> bool:
        """Whether an edit of the picture would start at once."""
        size = working_size(picture.image.size, self.settings.side or self.model.side)
        return self.inversions.get(inversion_key(self._inverting(size), picture.digest)) is not None

    def _inverting(self, size: tuple[int, int]) -> dict[str, Any]:
        """What shapes an inversion beside the picture."""
        settings = self.settings
        model = {key: value for key, value in self.model.record.to_json().items() if key != "device"}
        return {
            "model": model,
            "steps": settings.steps,
            "skipped": settings.skipped,
            "size": size,
            "seed": settings.seed,
        }

    def _invert(self, picture: Picture, size: tuple[int, int]) -> Inversion:
        pipeline, settings = self.model.pipeline, self.settings
        image = picture.image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        generator = torch.Generator().manual_seed(int(inversion_key({"seed": settings.seed}, picture.digest)[:15], 16))
        # No step's noise is set to zero, or the way back would not be exact (XL's own default is three).
        exact = {"num_zero_noise_steps": 0} if self.model.large else {}
        pipeline.invert(
            image,
            num_inversion_steps=settings.steps,
            # The pipeline cuts steps * (1 + skip) down to a whole number.
            skip=(settings.skipped + 0.5) / settings.steps,
            generator=generator,
            **exact,
        )
        inversion = Inversion(
            latents=pipeline.init_latents.detach().clone(),
            noise=pipeline.zs.detach().clone(),
            timesteps=pipeline.inversion_steps.detach().clone(),
            schedule=len(pipeline.scheduler.timesteps),
            size=size,
        )
        if not inversion.latents.isfinite().all() or not inversion.noise.isfinite().all():
            raise ModelError(
                f"{self.model.record.name} computed numbers that are not finite: load it in float32 or bfloat16."
            )
        return inversion

    def _restore(self, inversion: Inversion) -> None:
        """Put the pipeline into the state it was in after inverting, whatever it did since."""
        pipeline = self.model.pipeline
        place = pipeline.device
        pipeline.init_latents, pipeline.zs = inversion.latents.to(place), inversion.noise.to(place)
        pipeline.inversion_steps = inversion.timesteps.to(place)
        pipeline.batch_size, pipeline.eta, pipeline.size = 1, 1.0, inversion.size
        pipeline.scheduler.set_timesteps(inversion.schedule)
        # A masked edit leaves its attention store in the UNet, which would grow and never be emptied.
        pipeline.unet.set_attn_processor(AttnProcessor())
        pipeline.attention_store = pipeline.activation_mask = pipeline.sem_guidance = None

    def _denoise(self, inversion: Inversion, edits: EditSet, prompts: list[str]) -> Image.Image:
        settings = self.settings
        self._restore(inversion)
        guided: dict[str, Any] = {}
        if edits:
            guided = {
                "editing_prompt": prompts,
                "reverse_editing_direction": [edit.sign < 0 for edit in edits],
                "edit_guidance_scale": [settings.guidance * edit.strength for edit in edits],
                "edit_threshold": [settings.threshold] * len(edits),
                "edit_warmup_steps": [settings.warmup] * len(edits),
            }
        # The two pipelines' defaults for masks differ: always said.
        made = self.model.pipeline(
            **guided,
            use_cross_attn_mask=bool(edits) and settings.masks != "noise",
            use_intersect_mask=bool(edits) and settings.masks == "intersect",
            output_type="pt",
        ).images[0]
        return to_image(made, self.model.record)

    def _edited_region(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """(height, width): where any of the attributes' guidance acted in a good share of the steps."""
        # (steps, attributes, 1, 4, height, width) of the latents; the four channels are alike.
        active = self.model.pipeline.activation_mask[:, :, 0, 0].float().mean(0)
        enough = active.amax((1, 2), keepdim=True).clamp(max=_GUIDED_SHARE)
        mask = ((active >= enough) & (active > 0)).any(0).numpy()
        grown: NDArray[np.bool_] = np.kron(mask, np.ones((self.model.factor, self.model.factor), dtype=bool))
        return grown[: size[1], : size[0]]


def working_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(width, height) that a picture is edited at: its shape, about side x side pixels, multiples of 32.

    Raises
    ------
    InputError : the picture is smaller than 16 pixels or more than four times as long as wide.
    """
    width, height = size
    if min(size) < _SMALLEST_PICTURE:
        raise InputError(
            f"The picture has {width} x {height} pixels; editing needs at least {_SMALLEST_PICTURE} a side."
        )
    if max(size) > _WIDEST * min(size):
        raise InputError(f"The picture is more than {_WIDEST:g} times as long as wide: cut it closer to a square.")
    scale = side / math.sqrt(width * height)
    return _to_step(width * scale), _to_step(height * scale)


def _to_step(length: float) -> int:
    return max(2 * SIZE_STEP, round(length / SIZE_STEP) * SIZE_STEP)


def load_ledits_editor(
    source: str | Path,
    name: str = "",
    settings: LeditsSettings | None = None,
    *,
    dtype: str | None = None,
    device: str | None = None,
    revision: str | None = None,
    folder: Path | None = None,
) -> LeditsEditor:
    """An editor with the pipeline of a folder or hub id; inversions are kept in `folder` where one is given.

    Raises
    ------
    ModelError : see `load_ledits_model`; or masks that the model cannot give.
    """
    model = load_ledits_model(source, name, dtype=dtype, device=device, revision=revision)
    return LeditsEditor(model, settings, InversionStore(folder))
