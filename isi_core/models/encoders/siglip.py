"""SigLIP (Zhai et al., 2023) as a pair encoder: both towers with the heads that pool them."""

from __future__ import annotations

from typing import Any

from transformers import SiglipModel

from isi_core.models.encoders.parts import Origin, Towers, read_sight, read_weights, read_words, revision_of, save_into


def load_siglip(origin: Origin, config: Any) -> Towers:
    """The checkpoint as an encoder.

    Raises
    ------
    ModelError : it cannot be read.
    """
    model: Any = read_weights(origin, SiglipModel)
    text = model.config.text_config
    # It was trained on texts padded to one length, without a mask, and reads its feature off the last token.
    words = read_words(origin, text.max_position_embeddings, padding="max_length")
    sight = read_sight(origin)
    return Towers(
        name=origin.name,
        family="siglip",
        source=origin.label,
        revision=revision_of(origin),
        module=model,
        width=getattr(text, "projection_size", None) or text.hidden_size,
        words=words,
        sight=sight,
        text=lambda tokens: model.get_text_features(input_ids=tokens["input_ids"]).pooler_output,
        image=lambda pixels: model.get_image_features(pixel_values=pixels).pooler_output,
        write=lambda folder: save_into(folder, model, words.tokenizer, sight.processor),
    )
