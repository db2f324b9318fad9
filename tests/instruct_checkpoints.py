"""Small pipelines of the newer instruction editors' real classes with random weights, saved to folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxKontextPipeline,
    FluxTransformer2DModel,
    ModelMixin,
    QwenImageEditPipeline,
    QwenImageEditPlusPipeline,
    QwenImageTransformer2DModel,
)
from transformers import (
    CLIPTextModel,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from isi_core.models.vlm.processors import load_processor
from tests.diffusion_checkpoints import SIDE, letter_tokenizer, text_config
from tests.family_checkpoints import save_qwen25_vl

_WIDTH = 32
_LATENTS = 4
_BLOCKS = 3
_AUTOENCODER: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * _BLOCKS,
    "up_block_types": ("UpDecoderBlock2D",) * _BLOCKS,
    "block_out_channels": (8,) * _BLOCKS,
    "layers_per_block": 1,
    "latent_channels": _LATENTS,
    "norm_num_groups": 4,
    "sample_size": SIDE,
}
_SHIFTS = {"use_dynamic_shifting": True, "base_image_seq_len": 256, "max_image_seq_len": 4096}

_QWEN3_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _louder(transformer: ModelMixin) -> ModelMixin:
    """The transformer with weights so large that a word of the instruction can be seen in the picture.

    What attention looks at stays as it is: turned up, it would be one token.
    """
    with torch.no_grad():
        for name, weights in transformer.named_parameters():
            if not any(part in name for part in ("to_q", "to_k", "add_q", "add_k", "norm_q", "norm_k", "norm_added")):
                weights.mul_(8)
    return transformer


def _scheduler() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(**_SHIFTS, base_shift=0.5, max_shift=1.15, shift=3.0)


def _spelling_t5() -> T5TokenizerFast:
    """A T5 tokenizer that spells every word."""
    pieces = ["<pad>", "</s>", "<unk>", "\u2581", *(chr(code) for code in range(33, 127))]
    return T5TokenizerFast(
        vocab=[(piece, -1.0 if place > 2 else 0.0) for place, piece in enumerate(pieces)], extra_ids=0
    )


def save_kontext(folder: Path, seed: int = 0, guidance_embeds: bool = True) -> Path:
    """A FLUX.1 Kontext pipeline, 4 pixels a latent."""
    torch.manual_seed(seed)
    letters = _spelling_t5()
    FluxKontextPipeline(
        transformer=_louder(
            FluxTransformer2DModel(
                in_channels=4 * _LATENTS,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=_WIDTH,
                pooled_projection_dim=_WIDTH,
                guidance_embeds=guidance_embeds,
                axes_dims_rope=(4, 6, 6),
            )
        ),
        vae=AutoencoderKL(
            **_AUTOENCODER,
            use_quant_conv=False,
            use_post_quant_conv=False,
            shift_factor=0.1159,
            scaling_factor=0.3611,
        ),
        text_encoder=CLIPTextModel(text_config()),
        tokenizer=letter_tokenizer(),
        text_encoder_2=T5EncoderModel(
            T5Config(
                vocab_size=len(letters),
                d_model=_WIDTH,
                d_kv=16,
                d_ff=64,
                num_layers=2,
                num_heads=2,
                feed_forward_proj="gated-gelu",
            )
        ),
        tokenizer_2=letters,
        scheduler=_scheduler(),
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def save_klein(folder: Path, seed: int = 0, distilled: bool = False) -> Path:
    """A FLUX.2 klein pipeline, 4 pixels a latent; its text encoder has the 27 blocks that are listened to."""
    torch.manual_seed(seed)
    tokenizer = Qwen2Tokenizer.from_pretrained(save_qwen25_vl(folder.parent / f"{folder.name}-words"))
    tokenizer.chat_template = _QWEN3_CHAT
    width = 16
    Flux2KleinPipeline(
        transformer=_louder(
            Flux2Transformer2DModel(
                in_channels=4 * _LATENTS,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=3 * width,
                timestep_guidance_channels=16,
                axes_dims_rope=(4, 4, 4, 4),
                guidance_embeds=False,
            )
        ),
        vae=AutoencoderKLFlux2(
            **_AUTOENCODER,
        ),
        text_encoder=Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=len(tokenizer),
                hidden_size=width,
                intermediate_size=32,
                num_hidden_layers=28,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=8,
            )
        ),
        tokenizer=tokenizer,
        scheduler=_scheduler(),
        is_distilled=distilled,
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def save_qwen_edit(folder: Path, seed: int = 0, plus: bool = False) -> Path:
    """A Qwen-Image-Edit pipeline, 32 pixels a latent: its picture is always read at about a million pixels."""
    whole = save_qwen25_vl(folder.parent / f"{folder.name}-encoder")
    torch.manual_seed(seed)
    encoder = Qwen2_5_VLForConditionalGeneration.from_pretrained(whole)
    levels = 5
    kind: type[DiffusionPipeline] = QwenImageEditPlusPipeline if plus else QwenImageEditPipeline
    kind(
        transformer=_louder(
            QwenImageTransformer2DModel(
                in_channels=4 * _LATENTS,
                out_channels=_LATENTS,
                num_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=int(encoder.config.text_config.hidden_size),
                axes_dims_rope=(4, 6, 6),
            )
        ),
        vae=AutoencoderKLQwenImage(
            base_dim=2,
            z_dim=_LATENTS,
            dim_mult=[1] * levels,
            num_res_blocks=0,  # reading a million pixels is what takes time
            temperal_downsample=[False] * (levels - 1),
            latents_mean=[0.0] * _LATENTS,
            latents_std=[1.0] * _LATENTS,
        ),
        text_encoder=encoder,
        tokenizer=Qwen2Tokenizer.from_pretrained(whole),
        processor=load_processor(whole, encoder.config, {}),
        scheduler=_scheduler(),
    ).save_pretrained(folder, safe_serialization=True)
    index = json.loads((folder / "model_index.json").read_text())
    index["processor"] = ["transformers", "Qwen2VLProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
