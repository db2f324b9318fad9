"""The encoders that can be chosen, one row each, as data: no model library is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from isi_core.domain.errors import ModelError
from isi_core.models.catalogue import EMBEDDED, find_typed
from isi_core.models.encoders.protocol import Family


@dataclass(frozen=True)
class EncoderRow:
    """One encoder and what is known of it before it is loaded.

    Attributes
    ----------
    name : short name; pages, commands and records use it.
    family : clip, blip, siglip or vit-roberta; None where only the checkpoint can tell.
    source : hub id, folder, or the hub ids of a ViT and a RoBERTa.
    parameters : number of weights; None where it is not known.
    embedded : comes with this repository and knows its built-in how-tos only.
    licence : of the weights.
    """

    name: str
    family: Family | None
    source: str | Path | tuple[str, str]
    parameters: int | None = None
    embedded: bool = False
    licence: str = ""


ENCODERS: tuple[EncoderRow, ...] = (
    EncoderRow("tiny-clip", "clip", EMBEDDED / "tiny-clip", 953_857, embedded=True, licence="Apache-2.0"),
    EncoderRow("tiny-blip", "blip", EMBEDDED / "tiny-blip", 1_028_354, embedded=True, licence="Apache-2.0"),
    EncoderRow(
        "tiny-vit-roberta", "vit-roberta", EMBEDDED / "tiny-vit-roberta", 927_168, embedded=True, licence="Apache-2.0"
    ),
    EncoderRow("clip", "clip", "openai/clip-vit-base-patch32", 151_277_313, licence="MIT"),
    EncoderRow("blip", "blip", "Salesforce/blip-itm-base-coco", 223_444_482, licence="BSD-3-Clause"),
    EncoderRow(
        "vit-roberta",
        "vit-roberta",
        ("google/vit-base-patch16-224", "roberta-base"),
        licence="Apache-2.0, MIT",
    ),
    EncoderRow("siglip", "siglip", "google/siglip-base-patch16-224", licence="Apache-2.0"),
)
"""The embedded ones first."""

TINY = tuple(row.name for row in ENCODERS if row.embedded)


def find_encoder(name: str) -> EncoderRow:
    """The encoder of this name, hub id or local folder.

    Raises
    ------
    ModelError : it is none of them, or the operator does not allow it.
    """
    typed = name.strip()
    for row in ENCODERS:
        if typed in (row.name, str(row.source)):
            return row
    source = find_typed(typed)
    if source is None:
        known = ", ".join(row.name for row in ENCODERS)
        raise ModelError(
            f"No encoder {typed[:100]!r}: choose one of {known}, a folder, or a hub id such as owner/name."
        )
    return EncoderRow(source.name if isinstance(source, Path) else source, None, source)
