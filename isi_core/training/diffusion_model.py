"""The parts of tiny-diffusion: Stable Diffusion's classes at a size that one core can train."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

SIDE = 64
"""Pixels of a picture's side."""
LATENT_SIDE = 16
LATENT_CHANNELS = 4
PROMPT_TOKENS = 24
TRAIN_TIMESTEPS = 1000
_START, _END = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"
_WORD_DEVIATION = 0.5
_TEXT_WIDTH = 128
_UNET_WIDTHS = (96, 160, 224)
_HEAD_WIDTH = 32


def build_tokenizer(phrases: Iterable[str]) -> CLIPTokenizer:
    """A CLIP tokenizer in which every word of the phrases is one token, and other words are spelled out."""
    words = sorted({word for phrase in phrases for word in phrase.lower().split()})
    # CLIP's own way to split text: letters together, each digit and run of signs apart.
    pieces = Tokenizer(models.BPE(end_of_word_suffix=_WORD_END))
    pieces.normalizer = normalizers.Lowercase()
    pieces.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    trainer = trainers.BpeTrainer(
        vocab_size=20_000,
        min_frequency=1,
        initial_alphabet=[chr(code) for code in range(33, 127)],
        end_of_word_suffix=_WORD_END,
        show_progress=False,
    )
    pieces.train_from_iterator(words, trainer)
    with TemporaryDirectory() as folder:
        pieces.model.save(folder)
        lines = (Path(folder) / "merges.txt").read_text(encoding="utf-8").splitlines()
    merges: Any = [tuple(line.split(" ")) for line in lines if not line.startswith("#")]
    signs = [chr(code) for code in range(33, 127)]
    tokens = [*signs, *(sign + _WORD_END for sign in signs)]
    # In alphabetical order: merges of pieces that are as frequent come in another order in every process, and a
    # training that goes on in a new process would find its words exchanged.
    tokens += sorted({left + right for left, right in merges} - set(tokens))
    vocabulary = {token: place for place, token in enumerate([*tokens, _START, _END])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=PROMPT_TOKENS)


def encode(tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """(texts, PROMPT_TOKENS) token ids, padded as the pipeline pads them."""
    made = tokenizer(texts, padding="max_length", max_length=PROMPT_TOKENS, truncation=True, return_tensors="pt")
    return torch.as_tensor(made.input_ids)


def build_vae() -> Any:
    """An autoencoder of factor 4: a picture becomes 16 x 16 latents of four channels."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 128),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=16,
        sample_size=SIDE,
        scaling_factor=1.0,
        force_upcast=False,
    )


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A CLIP text encoder of two layers.

    Its words begin far apart. From CLIP's own beginning, a deviation of 0.02, the first few hundred steps, which learn
    nothing from the prompt yet, moved all words by the same 0.1 and left hardly a difference between two prompts.
    """
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=_TEXT_WIDTH,
            intermediate_size=4 * _TEXT_WIDTH,
            projection_dim=_TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=PROMPT_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    words: Any = text.get_input_embeddings()
    torch.nn.init.normal_(words.weight, std=_WORD_DEVIATION)
    return text


def build_unet() -> Any:
    """A denoiser with cross-attention at all three levels, which LEDITS++'s masks are read from."""
    unet: Any = UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        block_out_channels=_UNET_WIDTHS,
        layers_per_block=1,
        # diffusers' name for the number of heads.
        attention_head_dim=tuple(width // _HEAD_WIDTH for width in _UNET_WIDTHS),
        cross_attention_dim=_TEXT_WIDTH,
        norm_num_groups=16,
    )
    # On a CPU the fused kernel's backward pass takes three times that of plain products.
    unet.set_attn_processor(AttnProcessor())
    return unet


def build_scheduler() -> Any:
    """Stable Diffusion's noise schedule, with the solver that LEDITS++ inverts."""
    return DPMSolverMultistepScheduler(
        num_train_timesteps=TRAIN_TIMESTEPS,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        algorithm_type="sde-dpmsolver++",
        solver_order=2,
        steps_offset=1,
        timestep_spacing="leading",
        final_sigmas_type="sigma_min",
    )


def signal_shares() -> torch.Tensor:
    """(timesteps,) cumulated alpha of the schedule: the share of the signal's variance that is left."""
    return torch.as_tensor(build_scheduler().alphas_cumprod)


def whiten_latents(vae: Any, mean: torch.Tensor, deviation: torch.Tensor) -> None:
    """Fold (latents - mean) / deviation, channel by channel, into the 1 x 1 convolutions beside the latents.

    The decoded picture stays the same; the denoiser sees latents of mean 0 and variance 1, and
    the pipeline needs no scaling factor.
    """
    into, out = vae.quant_conv, vae.post_quant_conv
    if not isinstance(into, nn.Conv2d) or not isinstance(out, nn.Conv2d) or into.bias is None or out.bias is None:
        raise TypeError("the autoencoder has no 1 x 1 convolutions beside its latents")
    with torch.no_grad():
        means = slice(0, LATENT_CHANNELS)
        into.weight[means] /= deviation[:, None, None, None]
        into.bias[means] = (into.bias[means] - mean) / deviation
        into.bias[LATENT_CHANNELS:] -= 2 * deviation.log()  # the logarithm of the variance
        out.bias += (out.weight[:, :, 0, 0] * mean).sum(1)
        out.weight *= deviation[None, :, None, None]


def build_pipeline(vae: Any, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer, unet: Any) -> Any:
    """The parts put together as any Stable Diffusion pipeline is."""
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
