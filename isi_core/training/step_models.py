"""The tiny step-order encoders from nothing: tokenizers of their world's words, processors, random weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForImageTextRetrieval,
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaTokenizer,
    ViTConfig,
    ViTForImageClassification,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from isi_core.training.step_bank import caption
from isi_core.worlds.howtos import draw_articles

SIDE = 64
"""Pixels of a picture's side."""
PATCH = 8
WIDTH = 96
HEADS = 3
TEXT_BLOCKS, IMAGE_BLOCKS = 3, 4
LONGEST = 48
"""Tokens of a text at most."""
_VOCABULARY = 1500
_GREY = [0.5, 0.5, 0.5]


def corpus(articles: int = 4000) -> Iterator[str]:
    """Titles and headlines of articles that may be trained on, and their captions."""
    for article in draw_articles("step tokenizers", articles, held_out=False):
        yield article.title
        for step in article.steps:
            yield from (step.headline, caption(step.scene))


@cache
def clip_tokenizer() -> CLIPTokenizer:
    """Byte-level BPE as CLIP's; any text can be encoded, and nothing but the end is the end-of-text token.

    CLIP pools at the first end-of-text token, which is also its unknown token: no byte may be unknown.
    """
    blank = CLIPTokenizer()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    known = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY, special_tokens=known, end_of_word_suffix="</w>", show_progress=False
    )
    state = _trained(models.BPE(end_of_word_suffix="</w>"), blank, trainer)
    merges: list[Any] = [tuple(merge) for merge in state["merges"]]
    return CLIPTokenizer(vocab=state["vocab"], merges=merges, model_max_length=LONGEST)


@cache
def blip_tokenizer() -> BertTokenizer:
    """WordPiece as BERT's."""
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    trainer = trainers.WordPieceTrainer(vocab_size=_VOCABULARY, special_tokens=known, show_progress=False)
    state = _trained(models.WordPiece(unk_token="[UNK]"), BertTokenizer(), trainer)
    return BertTokenizer(vocab=state["vocab"], model_max_length=LONGEST)


def _trained(model: models.Model, like: Any, trainer: Any) -> dict[str, Any]:
    """The model's state after training, with the normalizer and the words of a tokenizer without a vocabulary.

    The trainer gets every letter as a token that is known beforehand: the numbers that it gives to letters itself
    differ from one process to the next where the model marks the ends or the insides of words, and with them the ties
    between merges.
    """
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = like.backend_tokenizer.normalizer
    tokenizer.pre_tokenizer = like.backend_tokenizer.pre_tokenizer
    tokenizer.train_from_iterator(corpus(), trainer)
    state: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    return state


@cache
def roberta_tokenizer() -> RobertaTokenizer:
    """Byte-level BPE as GPT-2's and RoBERTa's."""
    made: RobertaTokenizer = RobertaTokenizer().train_new_from_iterator(corpus(), _VOCABULARY, show_progress=False)
    made.model_max_length = LONGEST
    return made


def _tower(blocks: int) -> dict[str, Any]:
    return {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": blocks,
        "num_attention_heads": HEADS,
    }


def _picture() -> dict[str, Any]:
    return _tower(IMAGE_BLOCKS) | {"image_size": SIDE, "patch_size": PATCH}


def build_clip() -> tuple[CLIPModel, CLIPTokenizer, CLIPImageProcessorPil]:
    """CLIP with random weights."""
    tokenizer = clip_tokenizer()
    text = _tower(TEXT_BLOCKS) | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": LONGEST,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "projection_dim": WIDTH,
    }
    config = CLIPConfig(text_config=text, vision_config=_picture() | {"projection_dim": WIDTH}, projection_dim=WIDTH)
    processor = CLIPImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, do_center_crop=False, image_mean=_GREY, image_std=_GREY
    )
    return CLIPModel(config), tokenizer, processor


def build_blip() -> tuple[BlipForImageTextRetrieval, BertTokenizer, BlipImageProcessorPil]:
    """BLIP for image-text matching with random weights."""
    tokenizer = blip_tokenizer()
    text = _tower(TEXT_BLOCKS) | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": LONGEST,
        "encoder_hidden_size": WIDTH,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    # BLIP's own default begins with a vision tower of zeros.
    vision = _picture() | {"initializer_range": 0.02}
    config = BlipConfig(text_config=text, vision_config=vision, image_text_hidden_size=WIDTH)
    processor = BlipImageProcessorPil(size={"height": SIDE, "width": SIDE}, image_mean=_GREY, image_std=_GREY)
    return BlipForImageTextRetrieval(config), tokenizer, processor


def build_vit(classes: int) -> tuple[ViTForImageClassification, ViTImageProcessorPil]:
    """ViT with random weights and a head of this many classes."""
    dropout: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = ViTConfig(**_picture(), **dropout, id2label={i: str(i) for i in range(classes)})
    processor = ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}, image_mean=_GREY, image_std=_GREY)
    return ViTForImageClassification(config), processor


def build_roberta() -> tuple[RobertaForMaskedLM, RobertaTokenizer]:
    """RoBERTa with random weights and a masked-language head."""
    tokenizer = roberta_tokenizer()
    config = RobertaConfig(
        **_tower(TEXT_BLOCKS),
        vocab_size=len(tokenizer),
        # Positions are counted from behind the padding token.
        max_position_embeddings=LONGEST + int(tokenizer.pad_token_id or 0) + 1,
        type_vocab_size=1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return RobertaForMaskedLM(config), tokenizer


def parameters(folder: Path) -> int:
    """Weights in a saved encoder, both parts together."""
    from isi_core.models.weights import count_weights

    return sum(count_weights(part.parent).parameters for part in sorted(folder.rglob("model.safetensors")))
