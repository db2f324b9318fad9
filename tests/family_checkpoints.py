"""Small checkpoints of the newer families with random weights, through their real configs, models and processors.

Chat templates and control tokens are those the published checkpoints bring along; tokenizers are byte-level BPE
trained on a few sentences. Only picture processors are saved, as no torchvision is needed for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessorPil,
    Gemma3Processor,
    GotOcr2ImageProcessorPil,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SiglipImageProcessorPil,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessorPil,
)

from isi_core.models.catalogue import PALIGEMMA_TEMPLATE  # its checkpoints bring none
from tests.checkpoints import SENTENCES, vary_answers

CHATML_TEMPLATE = (
    "{{% for message in messages %}}{system}<|im_start|>{{{{ message['role'] }}}}\n"
    "{{% for content in message['content'] %}}{{% if content['type'] == 'image' %}}{image}"
    "{{% elif content['type'] == 'text' %}}{{{{ content['text'] }}}}{{% endif %}}{{% endfor %}}<|im_end|>\n"
    "{{% endfor %}}{{% if add_generation_prompt %}}<|im_start|>assistant\n{{% endif %}}"
)
QWEN25_TEMPLATE = CHATML_TEMPLATE.format(
    system="{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant."
    "<|im_end|>\n{% endif %}",
    image="<|vision_start|><|image_pad|><|vision_end|>",
)
QWEN3_TEMPLATE = CHATML_TEMPLATE.format(system="", image="<|vision_start|><|image_pad|><|vision_end|>")
INTERNVL_TEMPLATE = CHATML_TEMPLATE.format(system="", image="{{ '<IMG_CONTEXT>\n' }}")
IDEFICS_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' + message['role'] + '\n' }}"
    "{% for item in message['content'] %}{% if item['type'] == 'image' %}{{ '<start_of_image>' }}"
    "{% elif item['type'] == 'text' %}{{ item['text'] | trim }}{% endif %}{% endfor %}{{ '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)

LAYERS, WIDTH = 2, 64


def _tokenizer(
    special: Sequence[str], end: str, bos: str | None = None, named: Mapping[str, str] | None = None
) -> PreTrainedTokenizerFast:
    """Byte-level BPE with a family's control tokens; `named` ones become the tokenizer's attributes."""
    tokens = ["<pad>", *([bos] if bos else []), *special]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=len(tokens) + len(alphabet) + 120, special_tokens=tokens, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token=bos,
        eos_token=end,
        additional_special_tokens=list(special),
        extra_special_tokens=dict(named or {}),
    )


def _text(tokenizer: PreTrainedTokenizerFast, **options: Any) -> dict[str, Any]:
    """What every family's text config has; two queries share a key. Products are as wide as 4-bit's blocks."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    } | options


def _tower(**options: Any) -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    } | options


def _save(folder: Path, model: PreTrainedModel, parts: Mapping[str, Any]) -> Path:
    """The model, and a processor's parts as a published checkpoint has them."""
    vary_answers(model)
    tokenizer = parts["tokenizer"]
    # As published checkpoints do: settings that must not leak into answers.
    model.generation_config.update(
        eos_token_id=[tokenizer.eos_token_id, *range(60, 75)], do_sample=True, temperature=0.1, top_k=3
    )
    model.save_pretrained(folder)
    for part in parts.values():
        part.save_pretrained(folder)
    return folder


def _qwen_parts(template: str, patch: int) -> tuple[PreTrainedTokenizerFast, Qwen2VLImageProcessorPil]:
    tokenizer = _tokenizer(
        ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"],
        end="<|im_end|>",
    )
    tokenizer.chat_template = template
    pictures = Qwen2VLImageProcessorPil(
        patch_size=patch,
        merge_size=2,
        temporal_patch_size=2,
        size={"shortest_edge": 16 * patch**2, "longest_edge": 96 * patch**2},
    )
    return tokenizer, pictures


def _qwen_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    names = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}


def save_qwen25_vl(folder: Path) -> Path:
    """Qwen2.5-VL: loose patches of any picture's own shape, positions in three dimensions, windows in the tower."""
    tokenizer, pictures = _qwen_parts(QWEN25_TEMPLATE, 4)
    rope = {"rope_type": "default", "type": "mrope", "mrope_section": [2, 3, 3]}
    config = Qwen2_5_VLConfig(
        text_config=_text(tokenizer, rope_scaling=rope),
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 16,
            "out_hidden_size": WIDTH,
            "fullatt_block_indexes": [1],
        },
        **_qwen_ids(tokenizer),
    )
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config)
    return _save(folder, model, {"tokenizer": tokenizer, "image_processor": pictures})


def save_qwen3_vl(folder: Path) -> Path:
    """Qwen3-VL: as Qwen2.5-VL, with pictures fed into several blocks (DeepStack) and interleaved positions."""
    tokenizer, pictures = _qwen_parts(QWEN3_TEMPLATE, 4)
    rope = {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    config = Qwen3VLConfig(
        text_config=_text(tokenizer, head_dim=16, rope_scaling=rope),
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": WIDTH,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        **_qwen_ids(tokenizer),
    )
    torch.manual_seed(0)
    model = Qwen3VLForConditionalGeneration(config)
    return _save(folder, model, {"tokenizer": tokenizer, "image_processor": pictures})


def save_gemma3(folder: Path) -> Path:
    """Gemma 3: sliding windows in five blocks of six, pictures that attend to themselves both ways."""
    named = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    tokenizer = _tokenizer(
        ["<start_of_turn>", "<end_of_turn>", *named.values()], end="<end_of_turn>", bos="<bos>", named=named
    )
    tokenizer.chat_template = GEMMA_TEMPLATE
    processor = Gemma3Processor(
        image_processor=Gemma3ImageProcessorPil(size={"height": 32, "width": 32}),
        tokenizer=tokenizer,
        chat_template=GEMMA_TEMPLATE,
        image_seq_length=16,
    )
    config = Gemma3Config(
        text_config=_text(tokenizer, num_hidden_layers=6, num_key_value_heads=1, head_dim=32, sliding_window=16),
        vision_config=_tower(patch_size=4),
        image_token_id=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
        boi_token_id=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_id=tokenizer.convert_tokens_to_ids("<end_of_image>"),
        mm_tokens_per_image=16,
    )
    torch.manual_seed(0)
    return _save(folder, Gemma3ForConditionalGeneration(config), {"tokenizer": tokenizer, "processor": processor})


def _idefics_tokenizer() -> PreTrainedTokenizerFast:
    places = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    tokenizer = _tokenizer(
        ["<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>", *places],
        end="<end_of_utterance>",
    )
    tokenizer.chat_template = IDEFICS_TEMPLATE
    return tokenizer


def save_idefics3(folder: Path) -> Path:
    """Idefics3: a picture in tiles with the whole of it last, each between tokens that say where it belongs."""
    tokenizer = _idefics_tokenizer()
    processor = Idefics3Processor(
        image_processor=Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
        tokenizer=tokenizer,
        image_seq_len=4,
        chat_template=IDEFICS_TEMPLATE,
    )
    config = Idefics3Config(
        text_config=_text(tokenizer, model_type="llama"),
        vision_config=_tower(),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    torch.manual_seed(0)
    return _save(folder, Idefics3ForConditionalGeneration(config), {"tokenizer": tokenizer, "processor": processor})


def save_smolvlm(folder: Path) -> Path:
    """SmolVLM: as Idefics3; its published processor also takes videos."""
    tokenizer = _idefics_tokenizer()
    pictures = SmolVLMImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    config = SmolVLMConfig(
        text_config=_text(tokenizer, model_type="llama"),
        vision_config=_tower(),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    torch.manual_seed(0)
    _save(folder, SmolVLMForConditionalGeneration(config), {"tokenizer": tokenizer, "image_processor": pictures})
    (folder / "processor_config.json").write_text('{"image_seq_len": 4, "processor_class": "SmolVLMProcessor"}')
    return folder


def save_internvl(folder: Path) -> Path:
    """InternVL3: tiles of a picture and a small one of all of it, between `<img>` and `</img>`."""
    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = _tokenizer(["<|im_start|>", "<|im_end|>", *named.values()], end="<|im_end|>", named=named)
    tokenizer.chat_template = INTERNVL_TEMPLATE
    pictures = GotOcr2ImageProcessorPil(
        size={"height": 32, "width": 32}, crop_to_patches=True, min_patches=1, max_patches=4
    )
    config = InternVLConfig(
        text_config=_text(tokenizer, model_type="qwen2"),
        vision_config=_tower(image_size=[32, 32], patch_size=[8, 8]),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    torch.manual_seed(0)
    _save(folder, InternVLForConditionalGeneration(config), {"tokenizer": tokenizer, "image_processor": pictures})
    (folder / "processor_config.json").write_text('{"image_seq_length": 4, "processor_class": "InternVLProcessor"}')
    return folder


def save_paligemma(folder: Path) -> Path:
    """PaliGemma: the whole prompt attends to itself both ways; the processor writes more text than the template."""
    tokenizer = _tokenizer(["<eos>", "<image>"], end="<eos>", bos="<bos>", named={"image_token": "<image>"})
    pictures = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    pictures.image_seq_length = 16
    processor = PaliGemmaProcessor(image_processor=pictures, tokenizer=tokenizer, chat_template=PALIGEMMA_TEMPLATE)
    config = PaliGemmaConfig(
        text_config=_text(tokenizer, model_type="gemma", num_key_value_heads=1, head_dim=32),
        vision_config=_tower(model_type="siglip_vision_model"),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=WIDTH,
    )
    torch.manual_seed(0)
    return _save(folder, PaliGemmaForConditionalGeneration(config), {"tokenizer": tokenizer, "processor": processor})


FAMILIES: dict[str, Callable[[Path], Path]] = {
    "qwen2.5-vl": save_qwen25_vl,
    "qwen3-vl": save_qwen3_vl,
    "gemma-3": save_gemma3,
    "idefics3": save_idefics3,
    "smolvlm": save_smolvlm,
    "internvl": save_internvl,
    "paligemma": save_paligemma,
}
