"""Small Stable Diffusion and Stable Diffusion XL pipelines of the real classes, random weights, saved to folders."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLInstructPix2PixPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from isi_core.models.editors.protocol import Edited, Picture

# Matrices this small are not worth a second thread.
torch.set_num_threads(1)

SIDE = 64
_WIDTH = 32
_SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


@cache
def _vocabulary() -> dict[str, int]:
    letters = [chr(code) for code in range(33, 127)]
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return {token: place for place, token in enumerate(tokens)}


def letter_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer that spells every word."""
    return CLIPTokenizer(vocab=dict(_vocabulary()), merges=[], model_max_length=77)


def text_config(projection: int = _WIDTH) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(_vocabulary()),
        hidden_size=_WIDTH,
        intermediate_size=2 * _WIDTH,
        projection_dim=projection,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=len(_vocabulary()) - 2,
        eos_token_id=len(_vocabulary()) - 1,
        pad_token_id=len(_vocabulary()) - 1,
    )


def _vae(levels: int) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(8,) * levels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=SIDE,
        force_upcast=False,
    )


def save_sd(folder: Path, seed: int = 0, crossed: bool = True) -> Path:
    """A Stable Diffusion pipeline for 64 px (latents of 16 x 16), its scheduler SD 1.5's PNDM.

    Without `crossed`, its third level has no cross-attention.
    """
    torch.manual_seed(seed)
    kinds = ("CrossAttn",) * 2 + (("CrossAttn",) if crossed else ("",))
    unet = UNet2DConditionModel(
        sample_size=16,
        down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
        block_out_channels=(16, 32, 32),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=_WIDTH,
        norm_num_groups=8,
    )
    StableDiffusionPipeline(
        vae=_vae(3),
        text_encoder=CLIPTextModel(text_config()),
        tokenizer=letter_tokenizer(),
        unet=unet,
        scheduler=PNDMScheduler(**_SCHEDULE, skip_prk_steps=True),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def _xl_unet(channels: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(16, 32, 32),
        layers_per_block=1,
        attention_head_dim=(1, 2, 2),
        transformer_layers_per_block=1,
        use_linear_projection=True,
        cross_attention_dim=2 * _WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + _WIDTH,
        norm_num_groups=8,
    )


def save_sdxl(folder: Path, seed: int = 0) -> Path:
    """A Stable Diffusion XL pipeline for 64 px (latents of 8 x 8), its scheduler SDXL's Euler."""
    torch.manual_seed(seed)
    unet = _xl_unet(4)
    StableDiffusionXLPipeline(
        vae=_vae(4),
        text_encoder=CLIPTextModel(text_config()),
        text_encoder_2=CLIPTextModelWithProjection(text_config()),
        tokenizer=letter_tokenizer(),
        tokenizer_2=letter_tokenizer(),
        unet=unet,
        scheduler=EulerDiscreteScheduler(**_SCHEDULE, timestep_spacing="leading"),
        add_watermarker=False,
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def save_instruct(folder: Path, seed: int = 0, channels: int = 8) -> Path:
    """An InstructPix2Pix pipeline for 64 px (latents of 16 x 16), its scheduler the published one's Euler ancestral."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=channels,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        block_out_channels=(16, 32, 32),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=_WIDTH,
        norm_num_groups=8,
    )
    StableDiffusionInstructPix2PixPipeline(
        vae=_vae(3),
        text_encoder=CLIPTextModel(text_config()),
        tokenizer=letter_tokenizer(),
        unet=unet,
        scheduler=EulerAncestralDiscreteScheduler(**_SCHEDULE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def save_instruct_xl(folder: Path, seed: int = 0) -> Path:
    """An InstructPix2Pix pipeline of Stable Diffusion XL's architecture for 64 px (latents of 8 x 8)."""
    torch.manual_seed(seed)
    StableDiffusionXLInstructPix2PixPipeline(
        vae=_vae(4),
        text_encoder=CLIPTextModel(text_config()),
        text_encoder_2=CLIPTextModelWithProjection(text_config()),
        tokenizer=letter_tokenizer(),
        tokenizer_2=letter_tokenizer(),
        unet=_xl_unet(8),
        scheduler=EulerDiscreteScheduler(**_SCHEDULE, timestep_spacing="leading"),
        add_watermarker=False,
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def add_prompts(folder: Path, prompts: dict[tuple[str, ...], str]) -> None:
    """The words of attributes beside a pipeline, as tiny-diffusion brings them."""
    (folder / "prompts.json").write_text(json.dumps([[list(path), words] for path, words in prompts.items()]))


def picture(seed: int = 0, size: tuple[int, int] = (SIDE, SIDE)) -> Picture:
    """Soft noise of its own for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Picture.of(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC), f"picture {seed}")


def pixels(edited: Edited) -> np.ndarray:
    """(height, width, 3) of an edit."""
    return np.asarray(edited.image, dtype=np.float64)
