"""ViT (Dosovitskiy et al., 2021) beside RoBERTa (Liu et al., 2019): two towers that never saw each other.

Neither has a projection; the feature is the last hidden state of the first token.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import RobertaModel, ViTModel

from isi_core.domain.errors import ModelError
from isi_core.models.encoders.parts import (
    Origin,
    Towers,
    read_config,
    read_sight,
    read_weights,
    read_words,
    revision_of,
    save_into,
)

VISION, TEXT = "vision", "text"
"""Folders of the two parts where they are saved together."""


def load_vit_roberta(vision: Origin, text: Origin, origin: Origin) -> Towers:
    """The two checkpoints as one encoder.

    Raises
    ------
    ModelError : one cannot be read, is of another family, or their features differ in size.
    """
    kinds = (read_config(vision), "vit", vision), (read_config(text), "roberta", text)
    for config, wanted, part in kinds:
        if config.model_type != wanted:
            raise ModelError(f"{part.label} is a {config.model_type}, not a {wanted}: name the ViT, then the RoBERTa.")
    image_model: Any = read_weights(vision, ViTModel, add_pooling_layer=False)
    text_model: Any = read_weights(text, RobertaModel, add_pooling_layer=False)
    width = int(image_model.config.hidden_size)
    if width != text_model.config.hidden_size:
        raise ModelError(
            f"{vision.label} gives {width} numbers a picture and {text.label} {text_model.config.hidden_size} a text: "
            "choose two of equal size, for the modality gap compares them."
        )
    # RoBERTa counts positions from behind its padding token.
    words = read_words(text, text_model.config.max_position_embeddings - text_model.config.pad_token_id - 1)
    sight = read_sight(vision)

    def read(tokens: Mapping[str, torch.Tensor]) -> torch.Tensor:
        features: torch.Tensor = text_model(**tokens).last_hidden_state[:, 0]
        return features

    def look(pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = image_model(pixel_values=pixels).last_hidden_state[:, 0]
        return features

    def write(folder: Path) -> None:
        save_into(folder / VISION, image_model, sight.processor)
        save_into(folder / TEXT, text_model, words.tokenizer)

    return Towers(
        name=origin.name,
        family="vit-roberta",
        source=f"{vision.label} + {text.label}" if vision.source != text.source else origin.label,
        revision=" + ".join(revision_of(part) for _, _, part in kinds),
        module=nn.ModuleDict({VISION: image_model, TEXT: text_model}),
        width=width,
        words=words,
        sight=sight,
        text=read,
        image=look,
        write=write,
    )
