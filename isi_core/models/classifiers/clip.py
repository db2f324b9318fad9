"""CLIP as a classifier: each class by one or several texts (label prompts, or FLAIR-like expert descriptions)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from isi_core.domain.errors import InputError
from isi_core.models.classifiers.label_prompts import LONGEST_TEXT
from isi_core.models.classifiers.loading import (
    explained,
    folder_of,
    in_batches,
    record_of,
    refuse_missing,
)
from isi_core.models.devices import default_device
from isi_core.models.threads import is_small, one_thread


class ClipClassifier:
    """Scaled cosine similarity of a picture with each class's text embedding; make one with `load`.

    A class of several texts goes by the mean of their normalised embeddings, normalised again (Radford et al., ICML
    2021, section 3.1.4; FLAIR, Med. Image Anal. 2025, for expert descriptions).
    """

    exclusive = True

    def __init__(
        self,
        model: Any,
        image_processor: Any,
        tokenizer: Any,
        record: dict[str, Any],
        classes: Mapping[str, Sequence[str]],
    ) -> None:
        self._model, self._image_processor, self._tokenizer = model, image_processor, tokenizer
        self._small = is_small(model)
        texts = _checked(classes)
        self.labels = tuple(texts)
        self._record = {**record, "classes": {label: list(said) for label, said in texts.items()}}
        self._scale = float(model.logit_scale.detach().exp())
        self._classes = torch.stack([self._class_embedding(said) for said in texts.values()])

    @property
    def record(self) -> Mapping[str, Any]:
        """Which model and which texts exactly."""
        return self._record

    @classmethod
    def load(
        cls,
        source: str | Path,
        name: str,
        classes: Mapping[str, Sequence[str]],
        device: str | None = None,
        revision: str = "main",
    ) -> ClipClassifier:
        """Load a CLIP checkpoint from a folder or hub id in float32; safetensors only, never its code.

        Parameters
        ----------
        classes : label -> its texts; `presets.PRESETS` holds those of the DiffEx paper's classifiers.

        Raises
        ------
        ModelError : it cannot be loaded. InputError : fewer than two classes, or one without a text.
        """
        from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

        _checked(classes)
        folder_of(source, name)
        options: dict[str, Any] = {"revision": revision}
        with explained(name, "a CLIP model"):
            loaded: Any = CLIPModel.from_pretrained(
                source,
                dtype=torch.float32,
                use_safetensors=True,
                weights_only=True,
                output_loading_info=True,
                **options,
            )
            model, loading = loaded
            image_processor = AutoImageProcessor.from_pretrained(source, trust_remote_code=False, **options)
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **options)
        refuse_missing(name, loading)
        model = model.to(default_device() if device is None else torch.device(device)).eval()
        return cls(model, image_processor, tokenizer, record_of("clip", name, source, model, revision), classes)

    def with_classes(self, classes: Mapping[str, Sequence[str]]) -> ClipClassifier:
        """The same model with other classes; its weights are shared."""
        return ClipClassifier(self._model, self._image_processor, self._tokenizer, self._record, classes)

    def logits(self, images: Sequence[Image.Image]) -> NDArray[np.float64]:
        """(n, classes) cosine similarities times CLIP's scale."""
        return in_batches(images, len(self.labels), self._run, str(self._record["name"]))

    def _run(self, images: list[Image.Image]) -> NDArray[np.float64]:
        pixels = self._image_processor(images=images, return_tensors="pt")["pixel_values"].to(self._model.device)
        with torch.inference_mode(), one_thread(self._small):
            pooled = self._model.vision_model(pixel_values=pixels).pooler_output
            features = _normalised(self._model.visual_projection(pooled))
            found: NDArray[np.float64] = (self._scale * features @ self._classes.T).cpu().double().numpy()
        return found

    def _class_embedding(self, texts: Sequence[str]) -> torch.Tensor:
        longest = min(int(self._tokenizer.model_max_length), self._model.config.text_config.max_position_embeddings)
        inputs = self._tokenizer(
            [text.encode("utf-8", "replace").decode() for text in texts],
            padding=True,
            truncation=True,
            max_length=longest,
            return_tensors="pt",
        ).to(self._model.device)
        with torch.inference_mode(), one_thread(self._small):
            pooled = self._model.text_model(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
            ).pooler_output
            features = _normalised(self._model.text_projection(pooled))
            embedding: torch.Tensor = _normalised(features.mean(dim=0))
        return embedding


def _normalised(features: torch.Tensor) -> torch.Tensor:
    normalised: torch.Tensor = features / features.norm(dim=-1, keepdim=True)
    return normalised


def _checked(classes: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    texts = {
        label: tuple(text.strip()[:LONGEST_TEXT] for text in said if text.strip()) for label, said in classes.items()
    }
    if len(texts) < 2:
        raise InputError("CLIP needs at least two classes to tell apart: add another label.")
    if empty := [label for label, said in texts.items() if not said]:
        raise InputError(f"The class {empty[0]!r:.60} has no text: describe it.")
    return texts
