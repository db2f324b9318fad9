"""The classifier of the study: a pair encoder with a linear head on its concatenated features."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from isi_core.domain.errors import InputError, ModelError
from isi_core.models.encoders.loading import read_encoder
from isi_core.models.encoders.protocol import PairEncoder
from isi_core.studies.step_order.results import FORMAT, MODALITIES, Modality

ABOUT = "order.json"
HEAD = "head.safetensors"
ENCODER = "encoder"


class OrderClassifier(nn.Module):
    """`Linear([title; headline 1; headline 2; picture 1; picture 2]) -> (reversed, in order)`.

    What the modality leaves out is not in the concatenation. The first and the second step have weights of their
    own, so that order matters; every parameter is trained.
    """

    def __init__(self, encoder: PairEncoder, modality: Modality) -> None:
        super().__init__()
        self.encoder, self.modality = encoder, modality
        self.towers = encoder.module
        steps = 2 * ("t" in modality) + 2 * ("v" in modality)
        self.head = nn.Linear((1 + steps) * encoder.width, 2)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def features(self, tokens: Mapping[str, torch.Tensor], pixels: torch.Tensor | None) -> list[torch.Tensor]:
        """The concatenation's parts, each (B, width), in its order."""
        parts = list(self.encoder.text_features(tokens).chunk(3 if "t" in self.modality else 1))
        if pixels is not None:
            parts += self.encoder.image_features(pixels).chunk(2)
        return parts

    def forward(
        self, tokens: Mapping[str, torch.Tensor], pixels: torch.Tensor | None, mirrored: bool = False
    ) -> torch.Tensor:
        """Logits (B, 2) of reversed and in order; (2 B, 2) where the pairs are also shown the other way round."""
        title, *steps = self.features(tokens, pixels)
        joined = torch.cat([title, *steps], dim=-1)
        if mirrored:
            swapped = [part for i in range(0, len(steps), 2) for part in (steps[i + 1], steps[i])]
            joined = torch.cat([joined, torch.cat([title, *swapped], dim=-1)])
        logits: torch.Tensor = self.head(joined)
        return logits


def save_classifier(classifier: OrderClassifier, folder: Path, about: Mapping[str, Any]) -> None:
    """The encoder, the head, and what is known of them, so that `load_classifier` reads them."""
    classifier.encoder.save(folder / ENCODER)
    save_file(
        {name: value.detach().cpu().contiguous() for name, value in classifier.head.state_dict().items()},
        folder / HEAD,
    )
    known = {
        "format": FORMAT,
        "encoder": classifier.encoder.name,
        "modality": classifier.modality,
        "source": classifier.encoder.source,
        "revision": classifier.encoder.revision,
        **about,
    }
    (folder / ABOUT).write_text(json.dumps(known, indent=1), encoding="utf-8")


def read_about(folder: Path) -> dict[str, Any]:
    """What `save_classifier` wrote beside the weights.

    Raises
    ------
    InputError : the folder holds no fine-tuned encoder.
    """
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if about["modality"] not in MODALITIES or not isinstance(about["encoder"], str):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"{folder.name} holds no fine-tuned encoder: give a folder that `order train` wrote."
        ) from None
    return dict(about)


def load_classifier(folder: Path) -> OrderClassifier:
    """A fine-tuned encoder with its head, on the CPU, ready to be asked.

    Raises
    ------
    InputError : the folder holds none.
    ModelError : its weights are damaged.
    """
    about = read_about(folder)
    classifier = OrderClassifier(read_encoder(folder / ENCODER, about["encoder"][:200]), about["modality"])
    try:
        classifier.head.load_state_dict(load_file(folder / HEAD))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"The head in {folder.name} is damaged: train it again.") from error
    return classifier.eval()
