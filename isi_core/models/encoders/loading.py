"""Encoders by name, hub id or folder: one path for all of them."""

from __future__ import annotations

from pathlib import Path

from isi_core.domain.errors import ModelError
from isi_core.models.encoders.blip import load_blip
from isi_core.models.encoders.clip import load_clip
from isi_core.models.encoders.parts import Origin, read_config
from isi_core.models.encoders.protocol import PairEncoder
from isi_core.models.encoders.rows import find_encoder
from isi_core.models.encoders.siglip import load_siglip
from isi_core.models.encoders.vit_roberta import TEXT, VISION, load_vit_roberta

_READERS = {"clip": load_clip, "blip": load_blip, "siglip": load_siglip}


def load_encoder(name: str, revision: str | None = None) -> PairEncoder:
    """The encoder of this catalogue name, hub id or folder, in float32 on the CPU.

    Raises
    ------
    ModelError : it is unknown, not allowed, cannot be read, or is of none of the four families.
    """
    row = find_encoder(name)
    return read_encoder(row.source, row.name, revision)


def read_encoder(source: str | Path | tuple[str, str], name: str, revision: str | None = None) -> PairEncoder:
    """The encoder in a folder, of a hub id, or of two hub ids (ViT, RoBERTa).

    Raises
    ------
    ModelError : it cannot be read or is of none of the four families.
    """
    commit = revision or "main"
    if isinstance(source, tuple):
        vision, text = (Origin(one, name, commit) for one in source)
        return load_vit_roberta(vision, text, Origin(" + ".join(source), name, commit))
    origin = Origin(source, name, commit)
    folder = Path(source)
    if isinstance(source, Path) and not folder.is_dir():
        raise ModelError(f"There is no folder {folder.name} to load {name} from: check the path.")
    if (folder / VISION / "config.json").is_file() and (folder / TEXT / "config.json").is_file():
        return load_vit_roberta(origin.part(VISION), origin.part(TEXT), origin)
    config = read_config(origin)
    reader = _READERS.get(config.model_type)
    if reader is None:
        raise ModelError(
            f"{name} is a {config.model_type}: choose a CLIP, a BLIP for image-text matching, a SigLIP, "
            "or a folder with a ViT in vision/ and a RoBERTa in text/."
        )
    return reader(origin, config)
