"""What is written beside tiny-diffusion's weights: the words it knows and its model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

_CARD = """\
---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---
# tiny-diffusion

A text-to-image pipeline of Stable Diffusion's own classes (`UNet2DConditionModel` with cross-attention at three
levels, `AutoencoderKL` of factor 4, `CLIPTextModel`), small enough to be trained on one CPU core, so that LEDITS++
itself runs without a GPU and without a download.

- **Knows** the portraits that this repository draws, 64 x 64 pixels, and nothing else; photographs come out wrong.
- **Trained** from scratch by `python -m isi_core.training.diffusion` (stages `vae`, `latents`, `unet`, `save`) on
  generated portraits and their attributes. No outside data. One identity in sixteen was held out.
- **Prompts** are comma-separated phrases such as "goatee beard, long hair"; `prompts.json` lists them all.
- **Steps**: autoencoder {vae}, denoiser {unet}. Weights are float16; the denoiser's are an exponential average.

| measured on held-out portraits | |
|---|---|
{table}
"""

_WORDS = {
    "absolute_error": "autoencoder, mean absolute error (pixels from 0 to 1)",
    "psnr_db": "autoencoder, PSNR in dB",
    "loss_with_caption": "weighted squared error of the noise, with captions",
    "loss_without_caption": "weighted squared error of the noise, without captions",
}


def write_card(
    folder: Path, prompts: Mapping[tuple[str, ...], str], steps: Mapping[str, int], measured: Mapping[str, float]
) -> None:
    """Write `README.md` and `prompts.json` (a list of [path, words]) into a pipeline's folder."""
    table = "\n".join(f"| {_WORDS.get(name, name)} | {value:.4g} |" for name, value in measured.items())
    (folder / "README.md").write_text(_CARD.format(table=table, **steps), encoding="utf-8")
    listed = [[list(path), words] for path, words in prompts.items()]
    (folder / "prompts.json").write_text(json.dumps(listed, indent=0) + "\n", encoding="utf-8")
