"""Checkpoints from a folder or the hub: safetensors only, no code of theirs, recorded so that they are found again."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    BitsAndBytesConfig,
    GenerationConfig,
)

from isi_core.domain.errors import ModelError, first_line
from isi_core.domain.evaluation import ModelRecord
from isi_core.models.devices import default_device
from isi_core.models.vlm.processors import load_processor
from isi_core.models.weights import hub_revision, weights_digest

_log = logging.getLogger(__name__)

Quantization = Literal["none", "4-bit", "8-bit"]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A loaded model with all that belongs to it.

    Attributes
    ----------
    end_tokens : ids that end an answer, as the checkpoint declares them.
    """

    model: Any
    processor: Any
    record: ModelRecord
    end_tokens: frozenset[int]


def load_checkpoint(
    source: str | Path,
    name: str,
    *,
    dtype: torch.dtype | str | None = None,
    quantization: Quantization = "none",
    device: str | None = None,
    revision: str | None = None,
) -> Checkpoint:
    """Load a vision-language model from a local folder or a hub id.

    Raises
    ------
    ModelError : not found, not a vision-language model, no safetensors, weights missing, out of
        memory, or a quantization this machine cannot do.
    """
    if quantization not in get_args(Quantization):
        raise ModelError(f"Quantization {quantization!r} is unknown: choose {', '.join(get_args(Quantization))}.")
    folder = Path(source) if Path(source).is_dir() else None
    if isinstance(source, Path) and folder is None:
        raise ModelError(f"There is no folder {source} to load {name} from: check the path.")
    place = torch.device(device or default_device())
    number = choose_dtype(dtype, place)
    options: dict[str, Any] = {"trust_remote_code": False, "revision": revision or "main"}
    try:
        config = AutoConfig.from_pretrained(source, **options)
        # One commit for everything that follows, should the branch move in between.
        options["revision"] = commit = hub_revision(source, revision)
        processor = load_processor(source, config, options)
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            source,
            dtype=number,
            use_safetensors=True,
            weights_only=True,
            output_loading_info=True,
            # The CPU's memory map is faster without accelerate's dispatch.
            device_map=None if place.type == "cpu" and quantization == "none" else {"": place},
            quantization_config=_quantization(config, quantization, number),
            **options,
        )
        model, loading = loaded
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{name} does not fit into the memory of {place}: choose 4-bit, a smaller size, or another device."
        ) from error
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        _log.warning("Loading the vision-language model %s failed", name, exc_info=True)
        raise ModelError(
            f"The model {name} could not be loaded ({first_line(error)}): give a folder or hub id of an "
            "image-text-to-text model with safetensors weights, and check the connection for a hub id."
        ) from error
    missing = sorted(loading["missing_keys"]) + sorted(str(key) for key in loading["mismatched_keys"])
    if missing:
        raise ModelError(
            f"Weights are missing in {name} ({len(missing)} of them, such as {missing[0]}): "
            "choose a complete checkpoint."
        )
    if getattr(processor, "tokenizer", None) is None or getattr(processor, "image_processor", None) is None:
        raise ModelError(f"{name} comes without a tokenizer or an image processor: choose a vision-language model.")
    model.eval()
    ends = _end_tokens(model, processor)
    # What a checkpoint brings along (sampling, penalties, lengths) must not shape answers: all settings are ours.
    model.generation_config = GenerationConfig()
    record = ModelRecord(
        name=name,
        source=folder.resolve().name if folder else str(source),
        revision=weights_digest(folder) if folder else str(commit),
        dtype=str(number).removeprefix("torch."),
        quantization=quantization,
        attention=str(model.get_decoder().config._attn_implementation),
        device=str(model.device),
    )
    return Checkpoint(model, processor, record, ends)


def _quantization(config: Any, quantization: Quantization, compute: torch.dtype) -> BitsAndBytesConfig | None:
    """How to quantize the language model; the vision tower, the projector and the head stay as they are."""
    if quantization == "none":
        return None
    # On the meta device: names only, no weights.
    with torch.device("meta"):
        skeleton = AutoModelForImageTextToText.from_config(config)
    kept = _outside_language_model(skeleton)
    if quantization == "8-bit":
        # It warns of its own number format at every product of every token.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=compute,
        llm_int8_skip_modules=kept,
    )


def _outside_language_model(model: Any) -> list[str]:
    """Whole names (partial ones are silently ignored) of the largest modules that hold no decoder."""
    names = {id(module): name for name, module in model.named_modules()}
    decoder = names[id(model.get_decoder())]

    def outside(module: torch.nn.Module) -> list[str]:
        found = []
        for child in module.children():
            name = names[id(child)]
            if decoder.startswith(f"{name}."):
                found += outside(child)
            elif name != decoder:
                found.append(name)
        return found

    return outside(model)


def _end_tokens(model: Any, processor: Any) -> frozenset[int]:
    """What ends an answer: the generation config's say, else the text model's, else the tokenizer's."""
    text_config = model.config.get_text_config()
    for declared in (
        getattr(model.generation_config, "eos_token_id", None),
        getattr(text_config, "eos_token_id", None),
        processor.tokenizer.eos_token_id,
    ):
        if declared is not None:
            return frozenset(declared if isinstance(declared, list) else [int(declared)])
    return frozenset()


def choose_dtype(dtype: torch.dtype | str | None, device: torch.device) -> torch.dtype:
    """float32 on a CPU, however the weights are stored; else bfloat16 where the device has it, else float16."""
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype is not None:
        number = getattr(torch, dtype, None)
        if not isinstance(number, torch.dtype):
            raise ModelError(f"The number format {dtype!r} is unknown: choose float32, bfloat16 or float16.")
        return number
    if device.type == "cpu":
        return torch.float32
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float16
