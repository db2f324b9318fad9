"""Randomly initialized models of the real architectures, big enough that their arithmetic and memory matter.

Random weights write gibberish, which takes as long as sense does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from isi_core.domain.answer import Answer
from isi_core.domain.evaluation import ModelRecord
from isi_core.domain.trial import Trial
from isi_core.models.entailment.hugging_face import HuggingFaceEntailment
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.models.vlm.loading import Checkpoint

Kind = Literal["llava", "next"]

PATCH = 14
VOCABULARY = 32_000
QUESTION = "Is the red car to the left of the house?"
CONTEXT = "People who saw this picture were sure that the car is blue."
TEXTS = (
    "Yes, the red car is to the left of the house.",
    "No, it is on the right side of it.",
    "The car is in front of the house.",
    "There is no red car in the picture, only a blue one.",
    "I cannot tell.",
)
TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': <image>\n' + message['content'][1]['text'] + ' ' }}"
    "{% endfor %}{{ 'ASSISTANT:' }}"
)


@dataclass(frozen=True)
class Size:
    """How large the models are.

    Attributes
    ----------
    hidden, layers, heads : of the language model, the entailment model has as many.
    tower, tower_layers : of the vision tower.
    """

    hidden: int = 512
    layers: int = 12
    heads: int = 8
    tower: int = 256
    tower_layers: int = 6


FULL = Size()
QUICK = Size(hidden=64, layers=2, heads=4, tower=32, tower_layers=1)


def make_vlm(kind: Kind, size: Size, side: int = 336) -> tuple[Any, Any]:
    """A model in float32 and its processor; LLaVA makes (side / 14)² image tokens, LLaVA-NeXT 2,928 at twice 336."""
    tokenizer = make_tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=size.tower,
        intermediate_size=4 * size.tower,
        num_hidden_layers=size.tower_layers,
        num_attention_heads=4,
        image_size=side,
        patch_size=PATCH,
    )
    text = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=size.hidden,
        intermediate_size=11 * size.hidden // 4,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        max_position_embeddings=8192,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    shape = {"height": side, "width": side}
    common: dict[str, Any] = {"vision_feature_layer": -2, "vision_feature_select_strategy": "default"}
    pieces: dict[str, Any] = {
        "patch_size": PATCH,
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
        "chat_template": TEMPLATE,
        "tokenizer": tokenizer,
    }
    torch.manual_seed(0)
    model: Any
    processor: Any
    if kind == "llava":
        processor = LlavaProcessor(image_processor=CLIPImageProcessorPil(size=shape, crop_size=shape), **pieces)
        config: Any = LlavaConfig(
            vision_config=vision,
            text_config=text,
            image_token_index=processor.image_token_id,
            image_seq_length=(side // PATCH) ** 2,
            **common,
        )
        model = LlavaForConditionalGeneration(config)
    else:
        grid = [[2 * side, 2 * side]]
        processor = LlavaNextProcessor(
            image_processor=LlavaNextImageProcessorPil(
                size={"shortest_edge": side}, crop_size=shape, image_grid_pinpoints=grid
            ),
            **pieces,
        )
        config = LlavaNextConfig(
            vision_config=vision,
            text_config=text,
            image_token_index=processor.image_token_id,
            image_grid_pinpoints=grid,
            **common,
        )
        model = LlavaNextForConditionalGeneration(config)
    model.eval()
    # Nothing ends an answer, so that all have the same length.
    model.generation_config = GenerationConfig(pad_token_id=0)
    return model, processor


def studio(model: Any, processor: Any) -> HuggingFaceVLM:
    """The model as the pages use it."""
    return HuggingFaceVLM(Checkpoint(model, processor, _record("random VLM"), frozenset()))


def make_nli(size: Size) -> tuple[Any, Any]:
    """A DeBERTa-v2 of random weights with the three MNLI classes, and its tokenizer."""
    shape: dict[str, Any] = {"position_buckets": 256, "num_labels": 3}
    config = DebertaV2Config(
        vocab_size=VOCABULARY,
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.hidden,
        max_position_embeddings=512,
        type_vocab_size=0,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        pad_token_id=0,
        **shape,
    )
    torch.manual_seed(0)
    return DebertaV2ForSequenceClassification(config).eval(), make_tokenizer(pairs=True)


def studio_nli(model: Any, tokenizer: Any) -> HuggingFaceEntailment:
    """The entailment model as the pages use it."""
    return HuggingFaceEntailment(model, tokenizer, _record("random NLI"), (0, 1, 2), 512)


def make_trial(kind: Kind, side: int = 336) -> Trial:
    """A picture of noise, which LLaVA-NeXT sees in four tiles and as a whole, with a context and a question."""
    pixels = side if kind == "llava" else 2 * side
    noise = np.random.default_rng(0).integers(0, 256, (pixels, pixels, 3), dtype=np.uint8)
    return Trial("noise", Image.fromarray(noise), CONTEXT, QUESTION, truth=True)


def ten_answers() -> list[Answer]:
    """Ten answers, five texts twice each, in an order drawn once."""
    order = np.random.default_rng(0).permutation([*range(5), *range(5)])
    return [Answer(TEXTS[i], log_likelihoods=(-0.5,), sampling_log_likelihoods=(-0.5,)) for i in order]


def make_tokenizer(pairs: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level BPE of the benchmark's own sentences, filled up to the vocabulary with words that never come."""
    special = ["<pad>", "<s>", "</s>", "<image>"]
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=alphabet)
    trained.train_from_iterator([QUESTION, CONTEXT, *TEXTS, "USER: ASSISTANT:"], trainer)
    state = json.loads(trained.to_str())["model"]
    vocabulary: dict[str, int] = state["vocab"]
    vocabulary |= {f"Ġw{i}": i for i in range(len(vocabulary), VOCABULARY)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [tuple(merge) for merge in state["merges"]]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A </s> $B </s>" if pairs else None, special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", sep_token="</s>"
    )


def _record(name: str) -> ModelRecord:
    return ModelRecord(name=name, source="random weights", revision="seed 0", dtype="float32")


def texts_of(answers: Sequence[Answer]) -> list[str]:
    """The answers' words."""
    return [answer.text for answer in answers]
