"""CLIP (Radford et al., 2021) as a pair encoder: both towers with their projections."""

from __future__ import annotations

from typing import Any

from transformers import CLIPModel

from isi_core.models.encoders.parts import Origin, Towers, read_sight, read_weights, read_words, revision_of, save_into


def load_clip(origin: Origin, config: Any) -> Towers:
    """The checkpoint as an encoder.

    Raises
    ------
    ModelError : it cannot be read.
    """
    model: Any = read_weights(origin, CLIPModel)
    words = read_words(origin, model.config.text_config.max_position_embeddings)
    sight = read_sight(origin)
    return Towers(
        name=origin.name,
        family="clip",
        source=origin.label,
        revision=revision_of(origin),
        module=model,
        width=model.config.projection_dim,
        words=words,
        sight=sight,
        text=lambda tokens: model.get_text_features(**tokens).pooler_output,
        image=lambda pixels: model.get_image_features(pixel_values=pixels).pooler_output,
        write=lambda folder: save_into(folder, model, words.tokenizer, sight.processor),
    )
