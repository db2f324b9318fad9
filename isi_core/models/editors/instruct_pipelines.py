"""Which of diffusers' pipelines edit by instructions, one row each: what they are made of and how they are called.

A further pipeline is one more row. Every class is diffusers' or transformers' own, named here and not by a checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import SchedulerMixin

from isi_core.domain.errors import ModelError
from isi_core.models.editors.ledits_loading import check_parts, load_part
from isi_core.models.vlm.processors import load_processor

_PROCESSOR = "processor"


@dataclass(frozen=True)
class InstructPipeline:
    """One of diffusers' pipelines whose call takes a picture (`image`) and an instruction (`prompt`).

    Attributes
    ----------
    kind : its class, as in a checkpoint's model_index.json.
    example : a hub id of such a checkpoint.
    networks : class of each network; their order is that of the weights' digest.
    readers : class of each tokenizer; a `processor` is that of the text encoder's family.
    guidance : the usual text guidance, and `guided_by` the call's argument for it.
    kept_by : the call's argument for the image guidance; empty where there is none.
    denoiser : the network that is called at every step, `passes` times where there is text guidance.
    unguided : part (empty for the pipeline itself), name and value of a config entry that says that the checkpoint
        listens to no text guidance, being distilled; it is then called once a step.
    sizes : the call's arguments among width, height and max_area; without them the size is the picture's, which is
        always given at the working size, in multiples of 32 (all of these want 8 or 16).
    most : pixels above which the call would scale the picture down by itself; 0 where it does not.
    asked : further arguments of every call.
    built : further arguments of the class, and `told` those that model_index.json may say, with their defaults.
    channels : latent channels that the denoiser must read; 0 where any fit.
    """

    kind: str
    example: str
    networks: Mapping[str, str]
    readers: Mapping[str, str]
    guidance: float
    guided_by: str = "guidance_scale"
    kept_by: str = ""
    denoiser: str = "transformer"
    passes: int = 1
    unguided: tuple[str, str, bool] | None = None
    sizes: tuple[str, ...] = ("width", "height")
    most: int = 0
    asked: Mapping[str, Any] = field(default_factory=dict)
    built: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, bool] = field(default_factory=dict)
    channels: int = 0

    def is_guided(self, pipeline: Any) -> bool:
        """Whether text guidance has an effect in this checkpoint."""
        if self.unguided is None:
            return True
        part, entry, value = self.unguided
        owner = getattr(pipeline, part) if part else pipeline
        return bool(owner.config.get(entry) is not value)

    def side(self, pipeline: Any) -> int:
        """Pixels of the square that the checkpoint was trained on."""
        latents = pipeline.unet.config.sample_size if self.denoiser == "unet" else pipeline.default_sample_size
        return int(latents) * int(pipeline.vae_scale_factor)


_STABLE_DIFFUSION = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "text_encoder": "CLIPTextModel"}
_QWEN_IMAGE = InstructPipeline(
    kind="QwenImageEditPipeline",
    example="Qwen/Qwen-Image-Edit",
    networks={
        "transformer": "QwenImageTransformer2DModel",
        "vae": "AutoencoderKLQwenImage",
        "text_encoder": "Qwen2_5_VLForConditionalGeneration",
    },
    readers={"tokenizer": "Qwen2Tokenizer", _PROCESSOR: ""},
    guidance=4.0,
    guided_by="true_cfg_scale",
    passes=2,
    # Without a negative prompt there would be no guidance; this one is the authors'.
    asked={"negative_prompt": " "},
)
"""Its picture is always read at about a million pixels, whatever size is drawn."""

PIPELINES: tuple[InstructPipeline, ...] = (
    InstructPipeline(
        kind="StableDiffusionInstructPix2PixPipeline",
        example="timbrooks/instruct-pix2pix",
        networks=_STABLE_DIFFUSION,
        readers={"tokenizer": "CLIPTokenizer"},
        guidance=7.5,
        kept_by="image_guidance_scale",
        denoiser="unet",
        sizes=(),
        built={"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
        channels=8,
    ),
    InstructPipeline(
        kind="StableDiffusionXLInstructPix2PixPipeline",
        example="diffusers/sdxl-instructpix2pix-768",
        networks=_STABLE_DIFFUSION | {"text_encoder_2": "CLIPTextModelWithProjection"},
        readers={"tokenizer": "CLIPTokenizer", "tokenizer_2": "CLIPTokenizer"},
        guidance=7.5,
        kept_by="image_guidance_scale",
        denoiser="unet",
        built={"add_watermarker": False},
        told={"force_zeros_for_empty_prompt": True, "is_cosxl_edit": False},
        channels=8,
    ),
    InstructPipeline(
        kind="FluxKontextPipeline",
        example="black-forest-labs/FLUX.1-Kontext-dev",
        networks={
            "transformer": "FluxTransformer2DModel",
            "vae": "AutoencoderKL",
            "text_encoder": "CLIPTextModel",
            "text_encoder_2": "T5EncoderModel",
        },
        readers={"tokenizer": "CLIPTokenizer", "tokenizer_2": "T5TokenizerFast"},
        guidance=2.5,
        unguided=("transformer", "guidance_embeds", False),
        # Without the area it would be drawn at a million pixels; without the last, the picture would be read at another
        # size and shape than it is drawn at.
        sizes=("width", "height", "max_area"),
        asked={"_auto_resize": False},
    ),
    InstructPipeline(
        kind="Flux2KleinPipeline",
        example="black-forest-labs/FLUX.2-klein-4B",
        networks={
            "transformer": "Flux2Transformer2DModel",
            "vae": "AutoencoderKLFlux2",
            "text_encoder": "Qwen3ForCausalLM",
        },
        readers={"tokenizer": "Qwen2Tokenizer"},
        guidance=4.0,
        passes=2,
        unguided=("", "is_distilled", True),
        most=1024 * 1024,
        told={"is_distilled": False},
    ),
    _QWEN_IMAGE,
    replace(_QWEN_IMAGE, kind="QwenImageEditPlusPipeline", example="Qwen/Qwen-Image-Edit-2509"),
)
SUPPORTED = ", ".join(f"{row.kind} (such as {row.example})" for row in PIPELINES)
WAY_OUT = f"choose one of these: {SUPPORTED}"


def read_index(folder: Path, name: str) -> tuple[InstructPipeline, dict[str, Any]]:
    """What kind of pipeline a folder holds, and its model_index.json.

    Raises
    ------
    ModelError : of a kind that does not edit by instructions, or is not known here. ValueError : not JSON.
    """
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    kind = index.get("_class_name") if isinstance(index, dict) else None
    for row in PIPELINES:
        if row.kind == kind:
            return row, index
    raise ModelError(f"{name} is a {kind or 'pipeline of unknown kind'}, no instruction-editing pipeline: {WAY_OUT}.")


def load_parts(
    folder: Path, row: InstructPipeline, index: Mapping[str, Any], name: str, number: torch.dtype
) -> tuple[Any, list[str]]:
    """The pipeline with its networks on the CPU, and the names of the networks.

    Raises
    ------
    ModelError : a part or weights missing, or a part of another kind. OSError, ValueError : a file is damaged.
    """
    parts = check_parts(
        folder, index, name, row.networks, tuple(row.readers), method="instruction editing", way_out=WAY_OUT
    )
    loaded = {part: load_part(folder, part, name, number, _class(row.networks[part])) for part in parts}
    channels = int(loaded[row.denoiser].config.in_channels)
    if row.channels and channels != row.channels:
        raise ModelError(
            f"{name} works on {channels} latent channels, instruction editing on {row.channels}: {WAY_OUT}."
        )
    for part, kind in row.readers.items():
        if part == _PROCESSOR:
            loaded[part] = load_processor(folder / part, loaded["text_encoder"].config, {"trust_remote_code": False})
        else:
            loaded[part] = _class(kind).from_pretrained(folder / part, trust_remote_code=False)
    loaded["scheduler"] = _scheduler(folder, index, name)
    told = {entry: bool(index.get(entry, usual)) for entry, usual in row.told.items()}
    pipeline = _class(row.kind)(**loaded, **row.built, **told)
    if _PROCESSOR in row.readers:
        _tell_picture_tokens(pipeline.text_encoder)
    return pipeline, parts


def _class(name: str) -> Any:
    return getattr(diffusers, name, None) or getattr(transformers, name)


def _scheduler(folder: Path, index: Mapping[str, Any], name: str) -> Any:
    """The pipeline's own noise schedule, of whichever of diffusers' classes."""
    told = index.get("scheduler")
    kind = getattr(diffusers, str(told[1]), None) if isinstance(told, list) and len(told) == 2 else None
    if not isinstance(kind, type) or not issubclass(kind, SchedulerMixin):
        raise ModelError(f"{name} names no scheduler of diffusers: fetch the whole pipeline again.")
    return kind.from_pretrained(folder / "scheduler")


def _tell_picture_tokens(encoder: Any) -> None:
    """Let a Qwen-VL text encoder know which of its tokens are the picture's.

    transformers 5 gives the picture's tokens their places in height and width only where it is told which they are, and
    diffusers 0.42 does not tell it (huggingface/diffusers#14194): edits run, of a picture that is read as one long row.
    """
    image = encoder.config.image_token_id

    def tell(_encoder: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if named.get("mm_token_type_ids") is None and named.get("image_grid_thw") is not None:
            named = named | {"mm_token_type_ids": (named["input_ids"] == image).int()}
        return given, named

    encoder.register_forward_pre_hook(tell, with_kwargs=True)
