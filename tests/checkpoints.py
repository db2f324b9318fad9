"""Small checkpoints of real vision-language classes with random weights, real processors and a tokenizer of their own.

They are shaped like the embedded tiny-llava (a CLIP tower, a projector, a Llama, byte-level BPE, LLaVA-1.5's
chat template), so that tests go through the same code as a real model, in milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    LlavaProcessor,
    MistralConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
)

from isi_core.domain.trial import Trial

# Matrices this small are not worth a second thread, and on a busy machine the first one waits for it at every product.
torch.set_num_threads(1)

SPECIAL = ("<pad>", "<s>", "</s>", "<image>")
POSITIONS = 1024
PATCH = 12

SENTENCES = (
    "Is there a red car in the picture? Yes, there is a red car.",
    "Is the house left of the tree? No, the house is to the right of the tree.",
    "How many boats are there? There are two boats and one fish.",
    "The picture shows a small blue cup on a green background, beside a large yellow ball.",
    "Are there more flowers than cars? I cannot tell, but the answer may well be no.",
    "People who saw this scene were sure that something red stood in the middle of it.",
    "USER: ASSISTANT: Human: user assistant system",
)

LLAVA_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
CHATML_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>\n' }}{% else %}{{ part['text'] | trim }}{% endif %}"
    "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@cache
def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE that puts `<s>` in front, as GPT-like and the embedded model's tokenizers do."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=list(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return _wrap(tokenizer)


@cache
def llama_like_tokenizer() -> PreTrainedTokenizerFast:
    """BPE over text with `▁` for spaces and byte fallback, as Llama 2's, with ChatML's control tokens.

    Its tokens run across words ("?▁", "a▁red"), which is hard on whoever looks for the borders of a text.
    """
    trained = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=150, special_tokens=[*SPECIAL, "<unk>", "<|im_start|>", "<|im_end|>"])
    trained.train_from_iterator([f"▁{sentence.replace(' ', '▁')}" for sentence in SENTENCES], trainer)
    state = json.loads(trained.to_str())
    vocabulary = state["model"]["vocab"]
    vocabulary |= {f"<0x{byte:02X}>": len(vocabulary) + byte for byte in range(256)}
    merges = [tuple(merge) for merge in state["model"]["merges"]]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([token["content"] for token in state["added_tokens"]])
    return _wrap(tokenizer, unk_token="<unk>")


def _wrap(tokenizer: Tokenizer, **options: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", **options
    )


def llava_processor(
    tokenizer: PreTrainedTokenizerFast | None = None, template: str = LLAVA_TEMPLATE, size: int = 48
) -> LlavaProcessor:
    """A processor that makes (size / 12)^2 image tokens of a picture, which it squeezes into a square."""
    square = {"height": size, "width": size}
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size=square, crop_size=square),
        tokenizer=tokenizer or byte_level_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )


def llava_next_processor(
    tokenizer: PreTrainedTokenizerFast | None = None, template: str = CHATML_TEMPLATE, size: int = 48
) -> LlavaNextProcessor:
    """A processor of several tiles a picture, at any resolution (anyres)."""
    return LlavaNextProcessor(
        image_processor=LlavaNextImageProcessorPil(
            size={"shortest_edge": size},
            crop_size={"height": size, "width": size},
            image_grid_pinpoints=_pinpoints(size),
        ),
        tokenizer=tokenizer or llama_like_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )


def save_llava(
    folder: Path,
    *,
    heads: int = 4,
    kv_heads: int = 4,
    layers: int = 3,
    hidden: int = 32,
    size: int = 48,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """A LLaVA with random weights, its tokenizer and processor, as `save_pretrained` writes them."""
    processor = llava_processor(size=size)
    config = LlavaConfig(
        vision_config=_vision_config(size),
        text_config=_text_config(processor, heads, kv_heads, layers, hidden),
        image_token_id=processor.image_token_id,
        image_seq_length=(size // PATCH) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )
    torch.manual_seed(seed)
    return _save(LlavaForConditionalGeneration(config), processor, folder, dtype)


def save_llava_next(
    folder: Path,
    *,
    heads: int = 4,
    kv_heads: int = 2,
    size: int = 48,
    hidden: int = 32,
    seed: int = 0,
    text: type[LlamaConfig] | type[MistralConfig] = LlamaConfig,
) -> Path:
    """A LLaVA-NeXT with random weights, its tokenizer and processor, as `save_pretrained` writes them."""
    processor = llava_next_processor(size=size)
    config = LlavaNextConfig(
        vision_config=_vision_config(size),
        text_config=_text_config(processor, heads, kv_heads, layers=2, hidden=hidden, text=text),
        image_token_id=processor.image_token_id,
        image_seq_length=(size // PATCH) ** 2,
        image_grid_pinpoints=_pinpoints(size),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )
    torch.manual_seed(seed)
    return _save(LlavaNextForConditionalGeneration(config), processor, folder, torch.float32)


def make_trial(
    context: str = "", question: str = "Is there a red car?", seed: int = 0, size: tuple[int, int] = (80, 60)
) -> Trial:
    """A trial with a picture of coloured noise; another seed gives another picture."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Trial("noise", Image.fromarray(pixels), context, question, truth=True)


def vary_answers(model: PreTrainedModel) -> None:
    """Scale the weights up: as they are at first, attention and next-token odds are all but flat."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)


@contextmanager
def whole_text(
    model: PreTrainedModel, inputs: dict[str, torch.Tensor], answer: Sequence[int]
) -> Iterator[dict[str, torch.Tensor]]:
    """Inputs of one teacher-forced pass over a prompt and its answer.

    A model of random weights may say `<image>`, which such a pass would take for a picture: an unused token, embedded
    alike as long as this lasts, stands in for it.
    """
    ids = inputs["input_ids"][0].tolist()
    embeddings = model.get_input_embeddings().weight.data
    image = model.config.image_token_id
    unused = next(token for token in range(len(embeddings)) if token not in {*ids, *answer})
    whole = torch.tensor([ids + [unused if token == image else token for token in answer]])
    before = embeddings[unused].clone()
    embeddings[unused] = embeddings[image]
    yield inputs | {"input_ids": whole, "attention_mask": torch.ones_like(whole)}
    embeddings[unused] = before


def _pinpoints(size: int) -> list[list[int]]:
    return [[size, 2 * size], [2 * size, size], [2 * size, 2 * size]]


def _vision_config(size: int) -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=size,
        patch_size=PATCH,
    )


def _text_config(
    processor: ProcessorMixin,
    heads: int,
    kv_heads: int,
    layers: int,
    hidden: int,
    text: type[LlamaConfig] | type[MistralConfig] = LlamaConfig,
) -> LlamaConfig | MistralConfig:
    tokenizer = processor.tokenizer
    return text(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=POSITIONS,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        # Published checkpoints of Mistral in LLaVA-NeXT have none.
        **({"sliding_window": None} if text is MistralConfig else {}),
    )


def _save(model: PreTrainedModel, processor: ProcessorMixin, folder: Path, dtype: torch.dtype) -> Path:
    """The model with all that belongs to it, as `save_pretrained` writes them."""
    vary_answers(model)
    # Many tokens end an answer, so that the rows of a batch end at different steps. The rest is what a checkpoint
    # brings along and what must not leak into answers.
    model.generation_config.update(
        eos_token_id=[processor.tokenizer.eos_token_id, *range(60, 90)],
        do_sample=True,
        temperature=0.1,
        top_k=3,
        repetition_penalty=1.7,
    )
    model.to(dtype).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
