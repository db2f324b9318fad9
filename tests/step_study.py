"""A CLIP of the real classes with random weights, small enough to be fine-tuned within a test."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


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
