"""Entailment by any sequence classifier of Hugging Face's with the three MNLI classes."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from isi_core.domain.errors import ModelError, first_line
from isi_core.domain.evaluation import ModelRecord
from isi_core.domain.progress import Progress
from isi_core.models.devices import default_device
from isi_core.models.entailment.protocol import CLASSES, Pair
from isi_core.models.out_of_memory import give_back, is_out_of_memory
from isi_core.models.threads import is_small, one_thread
from isi_core.models.weights import hub_revision, weights_digest

_log = logging.getLogger(__name__)

BATCH_PAIRS = 32
BATCH_TOKENS = 8192  # padded tokens in a batch: long questions get smaller batches instead of running out of memory
LONGEST_PAIR = 512  # tokens; what the MNLI checkpoints were trained with
LONGEST_WORD_PIECE = 8  # characters; texts have more tokens than their characters divided by this


class HuggingFaceEntailment:
    """An `AutoModelForSequenceClassification` behind the `EntailmentModel` protocol; make one with `load`.

    One caller at a time: the tokenizer keeps state while it cuts (the shelf holds the lock).

    Attributes
    ----------
    record : which model exactly.
    max_tokens : longest pair, in tokens. Longer ones lose their beginning, where the
        question stands, so that the answers at the end are always compared.
    """

    def __init__(
        self, model: Any, tokenizer: Any, record: ModelRecord, label_order: Sequence[int], max_tokens: int
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._label_order = list(label_order)
        self._small = is_small(model)
        self.record = record
        self.max_tokens = max_tokens

    @classmethod
    def load(
        cls,
        source: str | Path,
        name: str,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        revision: str = "main",
    ) -> HuggingFaceEntailment:
        """Load from a local folder or a hub id; safetensors only, never code from the checkpoint.

        `device` None takes CUDA, else MPS, else the CPU. `dtype` None is float32, since
        clusters hang on the order of the three classes.

        Raises
        ------
        ModelError : not found, no safetensors, not the three MNLI classes, or no trained classifier.
        """
        folder = Path(source) if Path(source).is_dir() else None
        options = {"trust_remote_code": False, "revision": revision}
        try:
            config = AutoConfig.from_pretrained(source, **options)
            label_order = _label_order(config, name)
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
            model, loading = AutoModelForSequenceClassification.from_pretrained(
                source, dtype=dtype or torch.float32, use_safetensors=True, output_loading_info=True, **options
            )
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
            _log.warning("Loading the entailment model %s failed", name, exc_info=True)
            raise ModelError(
                f"The entailment model {name} could not be loaded ({first_line(error)}): give a folder or hub id "
                "of a sequence classifier with safetensors weights, and check the connection for a hub id."
            ) from error
        if loading["missing_keys"] or loading["mismatched_keys"]:
            raise ModelError(
                f"{name} has no trained entailment classifier (weights are missing): "
                "choose a checkpoint that was fine-tuned on MNLI."
            )
        place = torch.device(device or default_device())
        model = model.to(place).eval()
        # A cut pair keeps its end: the answers, not the question that all pairs share.
        tokenizer.truncation_side = "left"
        record = ModelRecord(
            name=name,
            source=folder.resolve().name if folder else str(source),
            revision=weights_digest(folder) if folder else hub_revision(source, revision),
            dtype=str(model.dtype).removeprefix("torch."),
            attention=str(model.config._attn_implementation),
            device=str(place),
        )
        return cls(model, tokenizer, record, label_order, _max_tokens(config, tokenizer))

    def classify(self, pairs: Sequence[Pair], progress: Progress | None = None) -> NDArray[np.float64]:
        """(n, 3) probabilities of contradiction, neutral and entailment for (premise, hypothesis) pairs.

        Identical pairs are asked once; the rest goes through in padded batches sorted by length. A
        batch that runs out of memory is asked again in halves.

        Raises
        ------
        ModelError : the model's output is not a number (a half-precision overflow), or there is no
            memory even for one pair.
        """
        places = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
        probabilities = np.empty((len(places), len(CLASSES)))
        if not places:
            return probabilities
        encodings = self._encode(list(places))
        done, most = 0, BATCH_PAIRS
        waiting = deque(_batches([len(e["input_ids"]) for e in encodings]))
        while waiting:
            batch = waiting.popleft()
            if len(batch) > most:
                batch, rest = batch[:most], batch[most:]
                waiting.appendleft(rest)
            if progress is not None:
                progress(f"Comparing answers: {done} of {len(places)} pairs", done / len(places))
            found = self._probabilities_or_none([encodings[i] for i in batch])
            if found is None:
                give_back()
                most = len(batch) // 2  # for the rest too, whose pairs are hardly shorter
                waiting.appendleft(batch)
                continue
            probabilities[batch] = found
            done += len(batch)
        if progress is not None:
            progress(f"Compared {done} pairs of answers", 1.0)
        if not np.isfinite(probabilities).all():
            raise ModelError(f"{self.record.name} returned values that are not numbers: load it in float32.")
        return probabilities[[places[pair] for pair in pairs]]

    def implications(self, pairs: Sequence[Pair], progress: Progress | None = None) -> NDArray[np.int64]:
        """(n,) most probable class of each pair: 0 contradiction, 1 neutral, 2 entailment."""
        classes: NDArray[np.int64] = self.classify(pairs, progress).argmax(axis=1).astype(np.int64)
        return classes

    def _encode(self, pairs: Sequence[Pair]) -> list[dict[str, list[int]]]:
        """Token ids (and type ids, where the model has them) of each pair, cut but not yet padded."""
        # Cut by characters first: the tokenizer's own cut costs the square of what it cuts off.
        longest = LONGEST_WORD_PIECE * self.max_tokens
        encoded = self._tokenizer(
            [_encodable(premise[-longest:]) for premise, _ in pairs],
            [_encodable(hypothesis[-longest:]) for _, hypothesis in pairs],
            truncation="longest_first",
            max_length=self.max_tokens,
        )
        return [{key: encoded[key][i] for key in encoded} for i in range(len(pairs))]

    def _probabilities_or_none(self, encodings: list[dict[str, list[int]]]) -> NDArray[np.float64] | None:
        """The same as `_probabilities`; None where memory runs out and a smaller batch may do."""
        try:
            return self._probabilities(encodings)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(encodings) == 1:
                raise ModelError(
                    f"{self.record.name} ran out of memory on {self.record.device}: shorten the question, choose a "
                    "smaller entailment model, or release other models."
                ) from error
            return None

    def _probabilities(self, encodings: list[dict[str, list[int]]]) -> NDArray[np.float64]:
        """(batch, 3) probabilities in the order of `CLASSES`."""
        inputs = self._tokenizer.pad(encodings, return_tensors="pt").to(self._model.device)
        with torch.inference_mode(), one_thread(self._small):
            logits = self._model(**inputs).logits.cpu()  # before double(), which MPS lacks
        probabilities: NDArray[np.float64] = logits[:, self._label_order].double().softmax(dim=-1).numpy()
        return probabilities


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices in batches, longest first, so that padding is little and a lack of memory shows at once."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        size = min(BATCH_PAIRS, max(1, BATCH_TOKENS // max(1, lengths[order[start]])))
        yield order[start : start + size]
        start += size


def _label_order(config: Any, name: str) -> list[int]:
    """Where contradiction, neutral and entailment stand among the classifier's outputs."""
    labels = {str(label).strip().lower(): int(index) for index, label in config.id2label.items()}
    if set(labels) != set(CLASSES):
        raise ModelError(
            f"{name} does not tell contradiction, neutral and entailment apart (its classes are "
            f"{', '.join(map(str, config.id2label.values()))}): choose a model fine-tuned on MNLI."
        )
    return [labels[c] for c in CLASSES]


def _max_tokens(config: Any, tokenizer: Any) -> int:
    positions = int(getattr(config, "max_position_embeddings", 0) or LONGEST_PAIR)
    return min(LONGEST_PAIR, positions, int(tokenizer.model_max_length))


def _encodable(text: str) -> str:
    """The text with lone surrogates replaced, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")
