"""Any causal language model of Hugging Face's: likelihoods of options and hidden states, in padded batches."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from isi_core.domain.errors import InputError, ModelError, first_line
from isi_core.domain.evaluation import ModelRecord
from isi_core.domain.progress import Progress
from isi_core.models.catalogue import find_typed
from isi_core.models.devices import default_device
from isi_core.models.hidden_states import mean_weights, pooling
from isi_core.models.language.protocol import Continuation, PromptStates
from isi_core.models.out_of_memory import give_back
from isi_core.models.threads import is_small, one_thread
from isi_core.models.vlm.prefill import decoder_blocks
from isi_core.models.weights import hub_revision, weights_digest

_log = logging.getLogger(__name__)
T = TypeVar("T")

_BATCH_TOKENS = 4_096
_BATCH_ROWS = 32


@dataclass(frozen=True)
class _Row:
    """Tokens of a text and where the part that is scored begins."""

    ids: tuple[int, ...]
    start: int


class HuggingFaceLanguageModel:
    """An `AutoModelForCausalLM` behind the `LanguageModel` protocol; make one with `load` or `open_language_model`.

    Attributes
    ----------
    record : which model exactly.
    layers : number of decoder blocks.
    max_tokens : longest text; longer ones lose their beginning.
    """

    def __init__(self, model: Any, tokenizer: Any, record: ModelRecord, max_tokens: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._blocks = decoder_blocks(model)
        self._small = is_small(model)
        self.record = record
        self.layers = len(self._blocks)
        self.max_tokens = max_tokens

    @classmethod
    def load(
        cls,
        source: str | Path,
        name: str,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        revision: str = "main",
    ) -> HuggingFaceLanguageModel:
        """Load from a local folder or a hub id; safetensors only, never code from the checkpoint.

        `device` None takes CUDA, else MPS, else the CPU; `dtype` None is float32 on a CPU, bfloat16 elsewhere.

        Raises
        ------
        ModelError : not found, not a causal language model, no safetensors, weights missing, or a slow tokenizer.
        """
        folder = Path(source) if Path(source).is_dir() else None
        options: dict[str, Any] = {"trust_remote_code": False, "revision": revision}
        place = torch.device(device or default_device())
        try:
            config = AutoConfig.from_pretrained(source, **options)
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                source,
                dtype=dtype or (torch.float32 if place.type == "cpu" else torch.bfloat16),
                use_safetensors=True,
                output_loading_info=True,
                **options,
            )
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
            _log.warning("Loading the language model %s failed", name, exc_info=True)
            raise ModelError(
                f"The language model {name} could not be loaded ({first_line(error)}): give a folder or hub id of a "
                "causal language model with safetensors weights, and check the connection for a hub id."
            ) from error
        model, loading = loaded
        missing = sorted(loading["missing_keys"]) + sorted(str(key) for key in loading["mismatched_keys"])
        if missing:
            raise ModelError(f"Weights are missing in {name} (such as {missing[0]}): choose a complete checkpoint.")
        if not tokenizer.is_fast:
            raise ModelError(f"The tokenizer of {name} does not tell where its tokens stand: choose another model.")
        model = model.to(place).eval()
        record = ModelRecord(
            name=name,
            source=folder.resolve().name if folder else str(source),
            revision=weights_digest(folder) if folder else hub_revision(source, revision),
            dtype=str(model.dtype).removeprefix("torch."),
            attention=str(model.config._attn_implementation),
            device=str(place),
        )
        most = getattr(config.get_text_config(), "max_position_embeddings", None) or 2_048
        return cls(model, tokenizer, record, int(most))

    def option_likelihoods(
        self, items: Sequence[Sequence[Continuation]], progress: Progress | None = None
    ) -> list[tuple[float, ...]]:
        """For each item log p of each of its continuations, summed over tokens, in nats.

        Text and continuation are tokenized together; tokens that hold a character of the continuation are scored.
        Texts that differ in their last token alone (yes and no) are read once.

        Raises
        ------
        InputError : an empty continuation.
        ModelError : the model's output is not a number.
        """
        self._check_open()
        rows = [self._row(before, after) for item in items for before, after in item]
        read = sorted({(row.ids[:-1], row.start) for row in rows}, key=lambda r: (len(r[0]), r[1]))
        wanted: dict[tuple[tuple[int, ...], int], set[int]] = {}
        for row in rows:
            wanted.setdefault((row.ids[:-1], row.start), set()).add(row.ids[-1])
        found: dict[_Row, float] = {}
        done = 0
        with torch.inference_mode(), one_thread(self._small):
            for batch in _batches(read, [len(ids) for ids, _ in read]):
                ids, mask = _padded([ids for ids, _ in batch], self._pad)
                first = min(start for _, start in batch) - 1
                keep = torch.arange(first, ids.shape[1])
                output = self._model(
                    input_ids=ids.to(self._model.device),
                    attention_mask=mask.to(self._model.device),
                    logits_to_keep=keep.to(self._model.device),
                    use_cache=False,
                )
                likelihoods = output.logits.float().log_softmax(dim=-1)
                if likelihoods.isnan().any():
                    raise ModelError("The model returned values that are not numbers: load it in float32 or bfloat16.")
                for i, (text, start) in enumerate(batch):
                    places = torch.arange(start - 1, len(text) - 1) - first
                    inner = float(likelihoods[i, places, list(text[start:])].sum()) if len(text) > start else 0.0
                    for last in wanted[text, start]:
                        found[_Row((*text, last), start)] = inner + float(likelihoods[i, len(text) - 1 - first, last])
                done += len(batch)
                if progress is not None:
                    progress(f"Scored {done:,} of {len(read):,} texts", done / len(read))
        scores = iter(rows)
        return [tuple(found[next(scores)] for _ in item) for item in items]

    def read_states(self, prompts: Sequence[str], layers: Sequence[int]) -> PromptStates:
        """The prompts' states at their last token and their mean over tokens, at `layers` (1-based, ascending).

        Raises
        ------
        InputError : a layer that does not exist, or an empty prompt.
        ModelError : the model's blocks cannot be found.
        """
        self._check_open()
        if layers and not self._blocks:
            raise ModelError(f"{self.record.name} does not tell its hidden states: use another model.")
        if wrong := [layer for layer in layers if not 1 <= layer <= self.layers]:
            raise InputError(f"{self.record.name} has {self.layers} layers, no layer {wrong[0]}.")
        texts, cut = [], []
        for prompt in prompts:
            ids = list(self._tokenizer(prompt, truncation=False)["input_ids"])
            if not ids:
                raise InputError("A prompt is empty: give it some words.")
            texts.append(tuple(ids[-self.max_tokens :]))
            cut.append(len(ids) > self.max_tokens)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        states: dict[int, Any] = {}
        with torch.inference_mode(), one_thread(self._small):
            for batch in _batches(order, [len(texts[i]) for i in order]):
                padded, mask = _padded([texts[i] for i in batch], self._pad)
                weights = mean_weights([[range(len(texts[i]))] for i in batch], padded.shape[1])
                last = torch.tensor([len(texts[i]) - 1 for i in batch])
                with pooling(self._blocks, layers, last, weights) as kept:
                    # The decoder alone: nobody asks for the logits.
                    self._model.get_decoder()(
                        input_ids=padded.to(self._model.device),
                        attention_mask=mask.to(self._model.device),
                        use_cache=False,
                    )
                pooled = kept.stacked().numpy() if layers else np.zeros((len(batch), 2, 0, 0), np.float32)
                states.update(zip(batch, pooled, strict=True))
        return PromptStates(
            states=np.stack([states[i] for i in range(len(texts))]),
            tokens=np.array([len(text) for text in texts]),
            cut=np.array(cut, dtype=bool),
        )

    def close(self) -> None:
        """Give the memory back; the model cannot be used afterwards."""
        self._model = self._tokenizer = None
        self._blocks = []
        give_back()

    @property
    def blocks(self) -> list[torch.nn.Module]:
        """The decoder blocks in order, for reading and steering them.

        Raises
        ------
        ModelError : the model was released.
        """
        self._check_open()
        return self._blocks

    @property
    def _pad(self) -> int:
        # Any token will do, since padding stands behind the text and is masked.
        return int(self._tokenizer.pad_token_id or 0)

    def _check_open(self) -> None:
        if self._model is None:
            raise ModelError(f"{self.record.name} was released: load it again.")

    def _row(self, before: str, after: str) -> _Row:
        encoded = self._tokenizer(before + after, truncation=False, return_offsets_mapping=True)
        ids, ends = encoded["input_ids"], [int(end) for _, end in encoded["offset_mapping"]]
        # Special tokens stand at (0, 0); one behind the text would not be part of the continuation.
        while ids and ends[-1] == 0:
            ids, ends = ids[:-1], ends[:-1]
        start = next((i for i, end in enumerate(ends) if end > len(before)), len(ids))
        if start == len(ids):
            raise InputError("An option is empty: give it some words.")
        if start == 0:  # a first token that nothing predicts
            begin = self._tokenizer.bos_token_id
            ids = [self._tokenizer.eos_token_id or 0 if begin is None else begin, *ids]
            start = 1
        lost = max(0, len(ids) - self.max_tokens)
        return _Row(tuple(ids[lost:]), max(1, start - lost))


def open_language_model(name: str) -> HuggingFaceLanguageModel:
    """The language model of a folder or hub id that a user typed, where the operator allows it.

    Raises
    ------
    ModelError : it is neither, is not allowed, or cannot be loaded.
    """
    source = find_typed(name.strip())
    if source is None:
        raise ModelError(
            f"No language model {name[:100]!r}: give an existing folder, or a hub id such as google/gemma-2-2b."
        )
    return HuggingFaceLanguageModel.load(source, source.name if isinstance(source, Path) else source)


def _batches(rows: Sequence[T], lengths: Sequence[int]) -> Iterator[list[T]]:
    """Rows in ascending length, as many at once as padded tokens allow."""
    batch: list[T] = []
    for row, length in zip(rows, lengths, strict=True):
        if batch and ((len(batch) + 1) * length > _BATCH_TOKENS or len(batch) >= _BATCH_ROWS):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _padded(texts: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, tokens) ids and mask, padded on the right, where causal attention does not look."""
    tokens = max(map(len, texts))
    ids = torch.full((len(texts), tokens), pad)
    mask = torch.zeros_like(ids)
    for i, text in enumerate(texts):
        ids[i, : len(text)] = torch.tensor(text)
        mask[i, : len(text)] = 1
    return ids, mask
