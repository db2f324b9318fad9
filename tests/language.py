"""Small causal language models with random weights and a real tokenizer, saved as real checkpoints are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from tests.checkpoints import POSITIONS, byte_level_tokenizer


def gemma_settings(layers: int = 4) -> dict[str, Any]:
    """Settings of a small Gemma 2, its capped scores and sliding windows included."""
    tokenizer = byte_level_tokenizer()
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "query_pre_attn_scalar": 8,
        "sliding_window": 64,
        "max_position_embeddings": POSITIONS,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def save_gemma(folder: Path, layers: int = 4, seed: int = 0) -> Path:
    """A Gemma 2 with random weights and its tokenizer, as `save_pretrained` writes them."""
    torch.manual_seed(seed)
    model = Gemma2ForCausalLM(Gemma2Config(**gemma_settings(layers)))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)  # at the usual initial scale next-token odds are all but flat
    model.save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    return folder
