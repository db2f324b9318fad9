"""BLIP for image-text matching (Li et al., 2022) as a pair encoder: the projections of its contrastive part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import BlipForImageTextRetrieval

from isi_core.models.encoders.parts import Origin, Towers, read_sight, read_weights, read_words, revision_of, save_into


def load_blip(origin: Origin, config: Any) -> Towers:
    """The checkpoint as an encoder.

    Raises
    ------
    ModelError : it cannot be read.
    """
    model: Any = read_weights(origin, BlipForImageTextRetrieval)
    words = read_words(origin, model.config.text_config.max_position_embeddings)
    sight = read_sight(origin)

    def text(tokens: Mapping[str, torch.Tensor]) -> torch.Tensor:
        read = model.text_encoder(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
        features: torch.Tensor = model.text_proj(read.last_hidden_state[:, 0])
        return features

    def image(pixels: torch.Tensor) -> torch.Tensor:
        seen = model.vision_model(pixel_values=pixels)
        features: torch.Tensor = model.vision_proj(seen.last_hidden_state[:, 0])
        return features

    return Towers(
        name=origin.name,
        family="blip",
        source=origin.label,
        revision=revision_of(origin),
        module=model,
        width=model.config.image_text_hidden_size,
        words=words,
        sight=sight,
        text=text,
        image=image,
        write=lambda folder: save_into(folder, model, words.tokenizer, sight.processor),
    )
