"""Train tiny-diffusion from scratch on portraits of the face world: `python -m isi_core.training.diffusion --help`.

Stages, each seeded, resumable and bounded in time:

1. `vae`      the autoencoder learns to keep portraits, thin lines above all.
2. `latents`  its latents are brought to mean 0 and variance 1, and a bank of them is written beside the checkpoint.
3. `unet`     the denoiser and the text encoder learn from the bank, with prompts drawn anew at each step.
4. `save`     writes the float16 pipeline, as any Stable Diffusion folder, with its model card.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from PIL import Image
from torch import nn
from torch.nn import functional
from transformers import CLIPTokenizer

from isi_core.training.diffusion_card import write_card
from isi_core.training.diffusion_data import (
    MOST_PHRASES,
    WORLD,
    Bank,
    draw_portraits,
    draw_prompt,
    edge_weights,
    load_bank,
    place_weights,
    prompts_of,
    render,
    save_bank,
    to_unit,
)
from isi_core.training.diffusion_model import (
    TRAIN_TIMESTEPS,
    build_pipeline,
    build_text_encoder,
    build_tokenizer,
    build_unet,
    build_vae,
    encode,
    signal_shares,
    whiten_latents,
)
from isi_core.training.optimizers import set_pace
from isi_core.training.optimizers import step as optimize
from isi_core.worlds.attributed import world

MODEL_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "models" / "tiny-diffusion"
VALIDATION_SEED = "tiny-diffusion validation"
VALIDATION_PORTRAITS = 64
SAMPLE_STEPS = 20
SHEET_PROMPTS = (
    "",
    "goatee beard",
    "round eyeglasses",
    "beanie",
    "long hair, smile",
    "red hair",
    "bald head",
    "fedora",
)
_LISTENING = 3.0
_KL_WEIGHT = 5e-4
_EDGE_WEIGHT = 0.5
_AREA_WEIGHT = 1.0
_MOST_SNR, _MOST_WEIGHT = 5.0, 50.0
_CHUNK = 64


@dataclass(frozen=True)
class Stage:
    """A stage's length and pace.

    Attributes
    ----------
    portraits : how many different ones are seen.
    """

    steps: int
    batch: int
    learning_rate: float
    portraits: int


STAGES = {
    "vae": Stage(steps=3400, batch=16, learning_rate=1e-3, portraits=6_000),
    "unet": Stage(steps=9_400, batch=32, learning_rate=5e-4, portraits=24_000),
}


def autoencoder_loss(vae: Any, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of a batch, -1 to 1: weighted absolute error, errors of edges and of areas, and divergence from the normal
    distribution a latent; and the plain absolute error."""
    posterior = vae.encode(pictures).latent_dist
    made = vae.decode(posterior.sample()).sample.float()
    weights = edge_weights(pictures)
    error = (made - pictures).abs()
    across = (made.diff(dim=-1) - pictures.diff(dim=-1)).abs() * weights[..., 1:]
    down = (made.diff(dim=-2) - pictures.diff(dim=-2)).abs() * weights[..., 1:, :]
    divergence = posterior.kl().mean() / posterior.mean[0].numel()
    # A soft patch of colour (blush, eyeshadow) has no edge and is wrong in the same direction all over.
    area = functional.avg_pool2d(made - pictures, 4).abs().mean()
    loss = (error * weights).mean() + _EDGE_WEIGHT * (across.mean() + down.mean())
    loss = loss + _AREA_WEIGHT * area + _KL_WEIGHT * divergence
    return loss, error.mean()


def denoising_loss(
    unet: nn.Module,
    text: nn.Module,
    latents: torch.Tensor,
    prompts: torch.Tensor,
    times: torch.Tensor,
    noise: torch.Tensor,
    places: torch.Tensor | None = None,
) -> torch.Tensor:
    """(batch,) weighted squared error of the predicted noise, with weights of (batch, height, width) places.

    The weight is min(SNR, 5) / SNR where there is more picture than noise (Hang et al., 2023), and that of the error of
    the *picture*, 1 / SNR, where there is less: only there does the prompt tell what the pixels do not.
    """
    share = signal_shares()[times].view(-1, 1, 1, 1)
    noisy = share.sqrt() * latents + (1 - share).sqrt() * noise
    guess = unet(noisy, times, encoder_hidden_states=text(prompts)[0]).sample.float()
    ratio = (share / (1 - share)).flatten()
    weight = torch.where(ratio > 1, ratio.clamp(max=_MOST_SNR) / ratio, (1 / ratio).clamp(max=_MOST_WEIGHT))
    error = (guess - noise).pow(2).mean(1)
    loss: torch.Tensor = (error if places is None else error * places).mean((1, 2)) * weight
    return loss


def sheet(rows: Sequence[torch.Tensor], path: Path, scale: int = 3) -> None:
    """Write rows of pictures, (n, 3, height, width) from -1 to 1, as one picture file."""
    strip = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
    pixels = ((strip.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST).save(path)


class Trainer:
    """The networks and their place in the stages, saved to and resumed from one folder."""

    def __init__(self, folder: Path, seed: int, half: bool = False) -> None:
        self.folder, self.seed, self.half = folder, seed, half
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        self.prompts = prompts_of(world(WORLD))
        self.tokenizer = self._kept_tokenizer()
        self.vae = build_vae()
        self.unet, self.text = build_unet(), build_text_encoder(self.tokenizer)
        self.average = EMAModel([*self.unet.parameters(), *self.text.parameters()], decay=0.999)
        self.done = dict.fromkeys(STAGES, 0)
        self.measured: dict[str, float] = {}
        self._optimizer_states: dict[str, list[dict[str, Any]]] = {}
        for stage in STAGES:
            self._load(stage)

    def _kept_tokenizer(self) -> CLIPTokenizer:
        """The one that the training began with, so that its words keep their places whatever builds them now."""
        folder = self.folder / "tokenizer"
        if not folder.is_dir():
            unfinished = self.folder / "tokenizer.tmp"
            build_tokenizer(self.prompts.values()).save_pretrained(unfinished)
            unfinished.replace(folder)
        kept: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        return kept

    def _parts(self, stage: str) -> list[nn.Module]:
        return [self.vae] if stage == "vae" else [self.unet, self.text]

    def _optimizers(self, stage: str, learning_rate: float) -> list[torch.optim.Optimizer]:
        """AdamW; what carries the prompt's words into the picture learns faster, since few pixels depend on a word."""
        listening: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for part in self._parts(stage):
            for name, parameter in part.named_parameters():
                (listening if part is self.text or ".attn2." in name else rest).append(parameter)
        return [
            torch.optim.AdamW(group, lr=rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
            for group, rate in ((rest, learning_rate), (listening, _LISTENING * learning_rate))
            if group
        ]

    def _load(self, stage: str) -> None:
        path = self.folder / f"{stage}.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        for part, values in zip(self._parts(stage), state["parts"], strict=True):
            part.load_state_dict(values)
        if stage == "unet":
            self.average.load_state_dict(state["average"])
        self.done[stage] = state["done"]
        self.measured |= state["measured"]
        self._optimizer_states[stage] = state["optimizers"]

    def _checkpoint(self, stage: str, optimizers: Sequence[torch.optim.Optimizer], measured: dict[str, float]) -> None:
        """Write everything needed to go on, atomically."""
        self.measured |= measured
        state = {
            "parts": [part.state_dict() for part in self._parts(stage)],
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "done": self.done[stage],
            "measured": measured,
        }
        if stage == "unet":
            state["average"] = self.average.state_dict()
        torch.save(state, self.folder / f"{stage}.tmp")
        (self.folder / f"{stage}.tmp").replace(self.folder / f"{stage}.pt")

    def run(self, name: str, minutes: float, report_every: int) -> None:
        """Go on with `vae` or `unet` until it is finished or the time is up."""
        stage = STAGES[name]
        deadline = time.monotonic() + 60 * minutes
        data: Any = load_bank(self.folder / "bank.safetensors") if name == "unet" else self._draw_pictures(stage)
        parameters = [parameter for part in self._parts(name) for parameter in part.parameters()]
        optimizers = self._optimizers(name, stage.learning_rate)
        if len(saved := self._optimizer_states.get(name, [])) == len(optimizers):
            for optimizer, state in zip(optimizers, saved, strict=True):
                optimizer.load_state_dict(state)
        start, first, average = time.monotonic(), self.done[name], math.nan
        while self.done[name] < stage.steps and time.monotonic() < deadline:
            step = self.done[name]
            pace = min(1.0, (step + 1) / 150) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / stage.steps)))
            set_pace(optimizers, pace)
            # Seeding each step on its own makes a resumed run draw what an unbroken one would have drawn.
            rng = Random(f"{self.seed} {name} {step}")
            torch.manual_seed(rng.getrandbits(60))
            with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
                loss = self._denoising(rng, data, stage) if name == "unet" else self._reconstruction(rng, data, stage)
            optimize(optimizers, loss, parameters)
            if name == "unet":
                self.average.step(parameters)
            self.done[name] = step + 1
            average = loss.item() if math.isnan(average) else 0.98 * average + 0.02 * loss.item()
            if self.done[name] % 50 == 0:
                seconds = (time.monotonic() - start) / (self.done[name] - first)
                print(f"{name} {self.done[name]}/{stage.steps}  loss {average:.4f}  {seconds:.2f} s/step", flush=True)
            if self.done[name] % report_every == 0:
                self._finish(name, optimizers)
        self._finish(name, optimizers)
        print("finished" if self.done[name] >= stage.steps else "stopped, resume with the same command", flush=True)

    def _finish(self, name: str, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Validate, report and write the checkpoint."""
        measured = self.validate_denoiser() if name == "unet" else self.validate_autoencoder()
        self._checkpoint(name, optimizers, measured)
        table = "  ".join(f"{what} {value:.4f}" for what, value in measured.items())
        print(f"  validation after {self.done[name]}: {table}", flush=True)

    def _draw_pictures(self, stage: Stage) -> torch.Tensor:
        return render(draw_portraits(Random(f"{self.seed} vae portraits"), stage.portraits, held_out=False))

    def _reconstruction(self, rng: Random, pixels: torch.Tensor, stage: Stage) -> torch.Tensor:
        chosen = torch.tensor([rng.randrange(len(pixels)) for _ in range(stage.batch)])
        return autoencoder_loss(self.vae, to_unit(pixels[chosen]))[0]

    def _denoising(self, rng: Random, bank: Bank, stage: Stage) -> torch.Tensor:
        # Every leaf in its turn, however rare: a portrait that has it, and words that name it.
        leaves = list(bank.showing)
        about = [rng.choice(leaves) for _ in range(stage.batch)]
        chosen = [rng.choice(bank.showing[leaf]) for leaf in about]
        named = [draw_prompt(rng, bank.leaves[at], leaf) for at, leaf in zip(chosen, about, strict=True)]
        words = encode(self.tokenizer, [", ".join(self.prompts[path] for path in paths) for paths in named])
        places = torch.stack([place_weights(paths) for paths in named])
        latents = bank.latents[torch.tensor(chosen)]
        # Half of them late, where the prompt matters.
        early, late = stage.batch // 2, stage.batch - stage.batch // 2
        times = torch.cat(
            [torch.randint(0, TRAIN_TIMESTEPS, (early,)), torch.randint(TRAIN_TIMESTEPS // 2, TRAIN_TIMESTEPS, (late,))]
        )
        return denoising_loss(self.unet, self.text, latents, words, times, torch.randn_like(latents), places).mean()

    @torch.no_grad()
    def validate_autoencoder(self) -> dict[str, float]:
        """Mean absolute error and PSNR in dB on held-out portraits; a sheet of the first eight."""
        pictures = to_unit(render(draw_portraits(Random(VALIDATION_SEED), VALIDATION_PORTRAITS, held_out=True)))
        made = self.vae.decode(self.vae.encode(pictures).latent_dist.mode()).sample.clamp(-1, 1)
        sheet([pictures[:8], made[:8], pictures[8:16], made[8:16]], self.folder / "vae.png")
        error = (made - pictures) / 2
        return {
            "absolute_error": error.abs().mean().item(),
            "psnr_db": -10 * math.log10(error.pow(2).mean().item()),
        }

    @torch.no_grad()
    def validate_denoiser(self) -> dict[str, float]:
        """Mean squared error of the noise on held-out portraits, with their whole captions and with none; a sheet."""
        subjects = draw_portraits(Random(VALIDATION_SEED), VALIDATION_PORTRAITS, held_out=True)
        latents = self.vae.encode(to_unit(render(subjects))).latent_dist.mode()
        captions = [", ".join(self.prompts[leaf] for leaf in subject.leaves[:MOST_PHRASES]) for subject in subjects]
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(latents.shape, generator=generator)
        times = torch.linspace(0, TRAIN_TIMESTEPS - 1, len(subjects)).long()
        parameters = [*self.unet.parameters(), *self.text.parameters()]
        self.average.store(parameters)
        self.average.copy_to(parameters)
        try:
            losses = [
                denoising_loss(self.unet, self.text, latents, encode(self.tokenizer, words), times, noise).mean().item()
                for words in (captions, [""] * len(captions))
            ]
            self._sample_sheet()
        finally:
            self.average.restore(parameters)
        return {"loss_with_caption": losses[0], "loss_without_caption": losses[1]}

    def _sample_sheet(self) -> None:
        pipeline = build_pipeline(self.vae, self.text, self.tokenizer, self.unet)
        pipeline.set_progress_bar_config(disable=True)
        made = pipeline(
            list(SHEET_PROMPTS) * 2,
            num_inference_steps=SAMPLE_STEPS,
            guidance_scale=4.0,
            generator=torch.Generator().manual_seed(1),
            output_type="pt",
        ).images
        sheet([made[:8] * 2 - 1, made[8:] * 2 - 1], self.folder / f"samples-{self.done['unet']:05d}.png")

    @torch.no_grad()
    def fill_bank(self) -> None:
        """Whiten the latents and write the bank that `unet` learns from."""
        subjects = draw_portraits(Random(f"{self.seed} bank"), STAGES["unet"].portraits, held_out=False)
        found = []
        for at in range(0, len(subjects), _CHUNK):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
                posterior = self.vae.encode(to_unit(render(subjects[at : at + _CHUNK]))).latent_dist
            found.append(posterior.mean.float().contiguous())
            if (at // _CHUNK) % 50 == 0:
                print(f"latents {at}/{len(subjects)}", flush=True)
        latents = torch.cat(found)
        mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
        whiten_latents(self.vae, mean, deviation)
        save_bank(
            self.folder / "bank.safetensors", (latents - mean[:, None, None]) / deviation[:, None, None], subjects
        )
        self._checkpoint("vae", [], self.validate_autoencoder())
        print(f"latents {len(subjects)}  mean {mean.tolist()}  deviation {deviation.tolist()}", flush=True)

    def save(self, folder: Path) -> None:
        """The averaged weights as a float16 pipeline, with the words it knows and its model card."""
        self.average.copy_to([*self.unet.parameters(), *self.text.parameters()])
        pipeline = build_pipeline(self.vae, self.text, self.tokenizer, self.unet)
        pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
        write_card(folder, self.prompts, self.done, self.measured)
        print(f"saved to {folder.name}")


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description="Train tiny-diffusion on portraits of the face world.")
    parser.add_argument("stage", choices=["vae", "latents", "unet", "save"])
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of the running training's state")
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bfloat16", action="store_true", help="compute in bfloat16: fast where the CPU has AMX")
    parser.add_argument("--report-every", type=int, default=500, help="steps between validations")
    parser.add_argument("--out", type=Path, default=MODEL_FOLDER)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    trainer = Trainer(arguments.checkpoint, arguments.seed, arguments.bfloat16)
    if arguments.stage == "save":
        trainer.save(arguments.out)
    elif arguments.stage == "latents":
        trainer.fill_bank()
    else:
        trainer.run(arguments.stage, arguments.minutes, arguments.report_every)


if __name__ == "__main__":
    main()
