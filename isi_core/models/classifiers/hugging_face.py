"""Any `AutoModelForImageClassification` of Hugging Face's, from the hub or a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from isi_core.domain.errors import ModelError
from isi_core.models.classifiers.loading import (
    BATCH,
    explained,
    folder_of,
    in_batches,
    record_of,
    refuse_missing,
)
from isi_core.models.devices import default_device
from isi_core.models.threads import is_small, one_thread


class HuggingFaceClassifier:
    """An image classifier behind the `ImageClassifier` protocol; make one with `load`.

    A checkpoint with a single output is given as two classes, "not X" with logit 0 and X with its own.

    Attributes
    ----------
    labels : as its config names them.
    exclusive : False where the config says `multi_label_classification`.
    """

    def __init__(
        self, model: Any, processor: Any, record: dict[str, Any], labels: tuple[str, ...], single: bool
    ) -> None:
        self._model, self._processor, self._record = model, processor, record
        self._small, self._single = is_small(model), single
        self.labels = labels
        self.exclusive = str(getattr(model.config, "problem_type", None)) != "multi_label_classification" or single

    @property
    def record(self) -> Mapping[str, Any]:
        """Which classifier exactly."""
        return self._record

    @classmethod
    def load(
        cls, source: str | Path, name: str, device: str | None = None, revision: str = "main"
    ) -> HuggingFaceClassifier:
        """Load from a local folder or a hub id in float32; safetensors only, never code from the checkpoint.

        Raises
        ------
        ModelError : not found, no safetensors, no image processor, weights missing, or a regression model.
        """
        model, processor, loading = _loaded(source, name, revision)
        refuse_missing(name, loading)
        if str(getattr(model.config, "problem_type", None)) == "regression":
            raise ModelError(f"{name} gives a number, not classes: choose a classifier.")
        model = model.to(default_device() if device is None else torch.device(device)).eval()
        names = [str(model.config.id2label[i]) for i in range(model.config.num_labels)]
        single = len(names) == 1
        labels = (f"not {names[0]}", names[0]) if single else tuple(names)
        return cls(model, processor, record_of("hugging-face", name, source, model, revision), labels, single)

    @classmethod
    def load_for(
        cls, labels: Sequence[str], source: str | Path, name: str, device: str | None = None, revision: str = "main"
    ) -> HuggingFaceClassifier:
        """The same checkpoint with a new head of seeded random weights for other classes, to be fitted first.

        Raises
        ------
        ModelError : as `load`, or weights beside the head's are missing.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model, processor, loading = _loaded(
                source,
                name,
                revision,
                ignore_mismatched_sizes=True,
                num_labels=len(labels),
                id2label=dict(enumerate(labels)),
                label2id={label: i for i, label in enumerate(labels)},
                problem_type="single_label_classification",
            )
        # What the checkpoint has for its own number of classes is the head.
        refuse_missing(name, {"missing_keys": loading["missing_keys"], "mismatched_keys": ()})
        model = model.to(default_device() if device is None else torch.device(device)).eval()
        record = {**record_of("hugging-face", name, source, model, revision), "head": "new"}
        return cls(model, processor, record, tuple(labels), False)

    @property
    def module(self) -> Any:
        """The PyTorch model, for explanations that look into it (Grad-CAM)."""
        return self._model

    def with_module(self, model: Any, fitted: Mapping[str, Any]) -> HuggingFaceClassifier:
        """The same classifier with another PyTorch model of its kind; `fitted` enters the record."""
        record = {**self._record, "fitted": dict(fitted)}
        return HuggingFaceClassifier(model, self._processor, record, self.labels, self._single)

    def logits_of(self, pixels: torch.Tensor, batch: int = BATCH) -> NDArray[np.float64]:
        """(n, classes) logits of pixel values by `pixels`, for pictures that are asked about again and again."""
        parts = []
        with torch.inference_mode(), one_thread(self._small):
            for at in range(0, len(pixels), batch):
                given = pixels[at : at + batch].to(self._model.device)
                parts.append(self._model(pixel_values=given).logits.cpu().double().numpy())
        found: NDArray[np.float64] = np.concatenate(parts)
        return np.hstack([np.zeros_like(found), found]) if self._single else found

    def pixels(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """(n, channels, height, width) pixel values as the model is given them."""
        prepared = self._processor(images=[image.convert("RGB") for image in images], return_tensors="pt")
        found: torch.Tensor = prepared["pixel_values"].to(self._model.device)
        return found

    def logits(self, images: Sequence[Image.Image]) -> NDArray[np.float64]:
        """(n, classes) logits of RGB pictures."""
        outputs = 1 if self._single else len(self.labels)
        found = in_batches(images, outputs, self._run, str(self._record["name"]))
        return np.hstack([np.zeros_like(found), found]) if self._single else found

    def _run(self, images: list[Image.Image]) -> NDArray[np.float64]:
        inputs = self._processor(images=images, return_tensors="pt").to(self._model.device)
        with torch.inference_mode(), one_thread(self._small):
            found: NDArray[np.float64] = self._model(**inputs).logits.cpu().double().numpy()
        return found


def _loaded(source: str | Path, name: str, revision: str, **changed: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Model, image processor, and what transformers tells of the weights; `changed` goes over the config."""
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    folder_of(source, name)
    options: dict[str, Any] = {"trust_remote_code": False, "revision": revision}
    with explained(name, "an image classifier"):
        processor = AutoImageProcessor.from_pretrained(source, **options)
        model, loading = AutoModelForImageClassification.from_pretrained(
            source,
            dtype=torch.float32,
            use_safetensors=True,
            weights_only=True,
            output_loading_info=True,
            **changed,
            **options,
        )
    return model, processor, loading
