"""A CLIP of the real classes with random weights, small enough to be fine-tuned within a test, and few how-tos."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

import pytest
import torch

from isi_core.datasets.howto_articles import SAMPLE_FOLDER


def save_small_clip(folder: Path) -> Path:
    """The checkpoint, saved as `from_pretrained` reads it."""
    from isi_core.models.encoders.parts import save_into
    from isi_core.training import step_models

    small = {"WIDTH": 16, "HEADS": 2, "IMAGE_BLOCKS": 1, "TEXT_BLOCKS": 1, "SIDE": 16, "PATCH": 8}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in small.items():
            patch.setattr(step_models, name, value)
        few = list(step_models.corpus(300))
        patch.setattr(step_models, "corpus", lambda: iter(few))
        patch.setattr(step_models, "clip_tokenizer", step_models.clip_tokenizer.__wrapped__)  # not the cached one
        torch.manual_seed(0)
        model, tokenizer, processor = step_models.build_clip()
        save_into(folder, model, tokenizer, processor)
    return folder


def sample_of(categories: Collection[str], folder: Path) -> Path:
    """A folder below the one given, with the sample's articles of these categories."""
    made = folder / "subset"
    (made / "images").mkdir(parents=True)
    lines = (SAMPLE_FOLDER / "articles.jsonl").read_text().splitlines()
    kept = "\n".join(line for line in lines if any(f'"category": "{c}"' in line for c in categories))
    (made / "articles.jsonl").write_text(kept)
    for path in (SAMPLE_FOLDER / "images").iterdir():
        if path.name in kept:
            shutil.copy(path, made / "images")
    return made
