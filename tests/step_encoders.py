"""Random-weight checkpoints of the four families of pair encoders, saved to disk as the hub's are."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForImageTextRetrieval,
    CLIPConfig,
    CLIPModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
    SiglipConfig,
    SiglipModel,
    ViTConfig,
    ViTForImageClassification,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from isi_core.worlds.howtos import vocabulary

torch.set_num_threads(1)
FAMILIES = ("clip", "blip", "siglip", "vit-roberta")
SIDE, LENGTH, WIDTH = 32, 24, 32
_TOWER = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
_PICTURE = _TOWER | {"image_size": SIDE, "patch_size": 16}
_SIZE = {"height": SIDE, "width": SIDE}


@cache
def _words() -> PreTrainedTokenizerFast:
    """Words of the how-to world between begin and end, as CLIP's and RoBERTa's texts are."""
    special = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]
    words = {word: i for i, word in enumerate([*special, *vocabulary(), ".", ","])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        mask_token="<mask>", model_max_length=LENGTH,
    )  # fmt: skip


def save_random(family: str, folder: Path, seed: int = 0) -> Path:
    """One checkpoint of the family with random weights, a tokenizer and a processor."""
    torch.manual_seed(seed)
    text = _TOWER | {"vocab_size": len(_words()), "max_position_embeddings": LENGTH, "pad_token_id": 0}
    if family == "clip":
        # With 2 as the end, CLIP pools at the highest id, as openai/clip-vit-base-patch32's config has it.
        config = CLIPConfig(
            text_config=text | {"bos_token_id": 1, "eos_token_id": 2, "projection_dim": WIDTH},
            vision_config=_PICTURE | {"projection_dim": WIDTH},
            projection_dim=WIDTH,
        )
        parts = [CLIPModel(config), _words(), CLIPImageProcessorPil(size=_SIZE, crop_size=_SIZE)]
    elif family == "blip":
        words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *vocabulary(), "."])}
        tokenizer = BertTokenizer(vocab=words, model_max_length=LENGTH)
        config = BlipConfig(
            text_config=text | {"vocab_size": len(words), "encoder_hidden_size": WIDTH},
            vision_config=_PICTURE | {"initializer_range": 0.02},
            image_text_hidden_size=WIDTH,
        )
        parts = [BlipForImageTextRetrieval(config), tokenizer, BlipImageProcessorPil(size=_SIZE)]
    elif family == "siglip":
        config = SiglipConfig(text_config=text | {"projection_size": WIDTH}, vision_config=_PICTURE)
        parts = [SiglipModel(config), _words(), SiglipImageProcessorPil(size=_SIZE)]
    else:
        save_all(
            folder / "vision", [ViTForImageClassification(ViTConfig(**_PICTURE)), ViTImageProcessorPil(size=_SIZE)]
        )
        roberta = RobertaConfig(**text | {"max_position_embeddings": LENGTH + 1, "type_vocab_size": 1})
        return save_all(folder / "text", [RobertaForMaskedLM(roberta), _words()]).parent
    return save_all(folder, parts)


def save_all(folder: Path, parts: list[object]) -> Path:
    """Every part into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        part.save_pretrained(folder)  # type: ignore[attr-defined]
    return folder
