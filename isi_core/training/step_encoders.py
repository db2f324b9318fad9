"""Pre-train the tiny step-order encoders as their families are: `python -m isi_core.training.step_encoders --help`.

* `tiny-clip`: contrastive, picture against caption (Radford et al., 2021).
* `tiny-blip`: contrastive, and matching with the cross-attending text encoder (Li et al., 2022).
* `tiny-vit-roberta`: separately. The ViT names what is seen (its labels), the RoBERTa fills masked words.

None is told which step comes first. Each run is seeded and resumable.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import DataCollatorForLanguageModeling

from isi_core.models.encoders.parts import Sight, save_into
from isi_core.models.encoders.vit_roberta import TEXT, VISION
from isi_core.training.optimizers import build_optimizers, set_pace
from isi_core.training.optimizers import step as optimize
from isi_core.training.step_bank import SIGHTS, StepBank, draw_bank
from isi_core.training.step_models import build_blip, build_clip, build_roberta, build_vit, parameters

MODELS = Path(__file__).resolve().parents[2] / "assets" / "models"
NAMES = ("tiny-clip", "tiny-blip", "tiny-vit-roberta")
TEMPERATURE = 0.07
CHECKED = 100
"""Held-out articles whose pictures are asked about."""
_GREY = (0.5, 0.5, 0.5)

Loss = Callable[[Random, list[int]], Mapping[str, torch.Tensor]]
"""Losses by name of these rows of the bank."""
Check = Callable[[], Mapping[str, float]]


def contrast(
    image: torch.Tensor, text: torch.Tensor, sights: torch.Tensor, scale: torch.Tensor | float
) -> torch.Tensor:
    """Symmetric cross entropy of normalized features (n, d); captions of equal sights are all right answers."""
    logits = scale * functional.normalize(image.float(), dim=-1) @ functional.normalize(text.float(), dim=-1).T
    same = (sights[:, None] == sights[None, :]).float()
    wanted = same / same.sum(1, keepdim=True)
    return (functional.cross_entropy(logits, wanted) + functional.cross_entropy(logits.T, wanted)) / 2


def _tokens(tokenizer: Any, texts: Sequence[str]) -> dict[str, torch.Tensor]:
    return dict(tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt", return_token_type_ids=False))


class _Contrastive:
    """tiny-clip's and tiny-blip's objectives."""

    def __init__(self, name: str) -> None:
        self.name = name
        built: Any = build_clip() if name == "tiny-clip" else build_blip()
        self.model, self.tokenizer, self.processor = built
        if name == "tiny-clip":  # BLIP has products of its own
            self.model.set_attn_implementation("eager")
        self.sight = Sight(self.processor, _GREY, _GREY)
        self.modules: dict[str, nn.Module] = {"model": self.model}

    def _features(self, pixels: torch.Tensor, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor, Any, Any]:
        seen, tokens = self.sight.normalized(pixels), _tokens(self.tokenizer, texts)
        if self.name == "tiny-clip":
            image = self.model.get_image_features(pixel_values=seen).pooler_output
            return image, self.model.get_text_features(**tokens).pooler_output, None, tokens
        patches = self.model.vision_model(pixel_values=seen).last_hidden_state
        read = self.model.text_encoder(**tokens).last_hidden_state
        return self.model.vision_proj(patches[:, 0]), self.model.text_proj(read[:, 0]), patches, tokens

    def loss(self, bank: StepBank, rng: Random, rows: list[int]) -> Mapping[str, torch.Tensor]:
        """Contrastive, for BLIP matching too."""
        sights = bank.sights[rows]
        image, text, patches, tokens = self._features(bank.pixels[rows], bank.texts(rng, rows))
        if patches is None:
            return {"contrast": contrast(image, text, sights, self.model.logit_scale.exp())}
        losses = {"contrast": contrast(image, text, sights, 1 / TEMPERATURE)}
        # As many wrong captions as right ones, the likelier a caption seems, the more often (hard negatives).
        with torch.no_grad():
            alike = functional.normalize(image.float(), dim=-1) @ functional.normalize(text.float(), dim=-1).T
            odds = torch.softmax(alike / TEMPERATURE, -1).masked_fill(sights[:, None] == sights[None, :], 0) + 1e-6
            wrong = torch.multinomial(odds, 1)[:, 0]
            truth = torch.cat([torch.ones(len(rows)), (sights[wrong] == sights).float()]).long()
        order = torch.cat([torch.arange(len(rows)), wrong])
        read = self.model.text_encoder(
            input_ids=tokens["input_ids"][order],
            attention_mask=tokens["attention_mask"][order],
            encoder_hidden_states=torch.cat([patches, patches]),
            encoder_attention_mask=torch.ones(2 * patches.shape[0], patches.shape[1], dtype=torch.long),
        )
        losses["matching"] = functional.cross_entropy(self.model.itm_head(read.last_hidden_state[:, 0]).float(), truth)
        return losses

    @torch.no_grad()
    def check(self, bank: StepBank) -> Mapping[str, float]:
        """Share of held-out pictures whose nearest caption, of all there are, says what they show."""
        captions = dict(zip(bank.sights.tolist(), bank.captions, strict=True))
        kinds = torch.tensor(list(captions))
        image, text, _, _ = self._features(bank.pixels, list(captions.values()))
        alike = functional.normalize(image, dim=-1) @ functional.normalize(text, dim=-1).T
        return {"caption found": float((kinds[alike.argmax(-1)] == bank.sights).float().mean())}

    def save(self, folder: Path) -> None:
        """Half-precision weights, tokenizer and processor."""
        save_into(folder, self.model.half(), self.tokenizer, self.processor)


class _Separate:
    """tiny-vit-roberta's objectives."""

    name = "tiny-vit-roberta"

    def __init__(self) -> None:
        self.vit, self.processor = build_vit(SIGHTS)
        self.roberta, self.tokenizer = build_roberta()
        for model in (self.vit, self.roberta):
            model.set_attn_implementation("eager")
        self.sight = Sight(self.processor, _GREY, _GREY)
        self.mask = DataCollatorForLanguageModeling(self.tokenizer, mlm_probability=0.15)
        self.modules: dict[str, nn.Module] = {VISION: self.vit, TEXT: self.roberta}

    def loss(self, bank: StepBank, rng: Random, rows: list[int]) -> Mapping[str, torch.Tensor]:
        """Cross entropy of what is seen, and of masked words."""
        seen = self.vit(pixel_values=self.sight.normalized(bank.pixels[rows])).logits
        texts = [f"{bank.titles[row]}. {bank.headlines[row]}" for row in rows]
        torch.manual_seed(rng.randrange(2**31))
        masked = self.mask([{"input_ids": ids} for ids in self.tokenizer(texts, truncation=True)["input_ids"]])
        read = self.roberta(input_ids=masked["input_ids"], attention_mask=masked["attention_mask"]).logits
        words = functional.cross_entropy(read.float().flatten(0, 1), masked["labels"].flatten(), ignore_index=-100)
        return {"seen": functional.cross_entropy(seen.float(), bank.sights[rows]), "words": words}

    @torch.no_grad()
    def check(self, bank: StepBank) -> Mapping[str, float]:
        """Share of held-out pictures named right."""
        named = self.vit(pixel_values=self.sight.normalized(bank.pixels)).logits.argmax(-1)
        return {"named": float((named == bank.sights).float().mean())}

    def save(self, folder: Path) -> None:
        """Half-precision weights of both parts without their heads, tokenizer and processor."""
        save_into(folder / VISION, self.vit.vit.half(), self.processor)
        save_into(folder / TEXT, self.roberta.roberta.half(), self.tokenizer)


_CARD = """---
license: apache-2.0
tags: [step-order, {family}]
---
# {name}

{what} Comes with ISI Studio for its *Step Order* page.

- **Knows** only the built-in world of illustrated how-tos: eight kinds of drawn articles and their sentences.
- **Made by** `python -m isi_core.training.step_encoders {name} --checkpoint DIR --steps {steps}` on {articles:,}
  generated articles, seed {seed}, bfloat16 products on one processor thread; {parameters:,} weights, stored in half
  precision.
- **Was never told** which step comes first: captions name what a picture shows, not its place.
- **On held-out pictures:** {checks}.
- **Not for** anything outside this world.
"""
_WHAT = {
    "tiny-clip": "A small CLIP, pre-trained contrastively: drawn steps against their captions.",
    "tiny-blip": "A small BLIP for image-text matching, pre-trained with its contrastive and matching losses.",
    "tiny-vit-roberta": "A small ViT and a small RoBERTa that never saw each other: one names what is drawn, the other "
    "fills masked words.",
}


def write_card(
    made: _Contrastive | _Separate, folder: Path, steps: int, articles: int, seed: int, checks: Mapping[str, float]
) -> None:
    """The model card, beside the weights."""
    text = _CARD.format(
        name=made.name,
        family=made.name.removeprefix("tiny-"),
        what=_WHAT[made.name],
        steps=steps,
        articles=articles,
        seed=seed,
        parameters=parameters(folder),
        checks=", ".join(f"{name} {value:.1%}" for name, value in checks.items()),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def build(name: str, seed: int) -> _Contrastive | _Separate:
    """The encoder of this name with random weights and its objectives."""
    torch.manual_seed(seed)
    return _Separate() if name == "tiny-vit-roberta" else _Contrastive(name)


def pretrain(
    name: str, folder: Path, steps: int, batch: int = 64, learning_rate: float = 1e-3, seed: int = 0,
    articles: int = 2500, minutes: float = math.inf, report_every: int = 200,
) -> _Contrastive | _Separate:  # fmt: skip
    """Train, or go on with a training whose state is in `folder`, until it is finished or the time is up."""
    torch.set_num_threads(1)
    made = build(name, seed)
    bank = draw_bank(folder, "step encoders", articles, made.sight.pixels)
    check = draw_bank(folder, "step encoders check", CHECKED, made.sight.pixels, held_out=True)
    parts = list(made.modules.values())
    optimizers = build_optimizers(parts[0], learning_rate)
    for part in parts[1:]:
        optimizers += build_optimizers(part, learning_rate)
    trained = [parameter for part in parts for parameter in part.parameters()]
    state_path, done = folder / f"{name}.pt", 0
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        for part, known in zip(parts, state["parts"], strict=True):
            part.load_state_dict(known)
        for optimizer, known in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(known)
        done = state["done"]

    def keep() -> None:
        made_state = {
            "parts": [part.state_dict() for part in parts],
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "done": done,
        }
        torch.save(made_state, state_path.with_suffix(".tmp"))
        state_path.with_suffix(".tmp").replace(state_path)

    start, deadline, watched = time.process_time(), time.monotonic() + 60 * minutes, dict[str, float]()
    while done < steps and time.monotonic() < deadline:
        set_pace(optimizers, min(1.0, (done + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done / steps))))
        # Seeding each step on its own makes a resumed run draw what an unbroken one would have drawn.
        rng = Random(f"{seed} {name} {done}")
        with torch.autocast("cpu", torch.bfloat16):
            losses = made.loss(bank, rng, rng.sample(range(len(bank)), batch))
        optimize(optimizers, torch.stack(list(losses.values())).sum(), trained)
        done += 1
        for key, value in losses.items():
            watched[key] = 0.95 * watched.get(key, value.item()) + 0.05 * value.item()
        if done % report_every == 0 or done == steps:
            keep()
            for part in parts:
                part.eval()
            told = {**watched, **made.check(check)}
            for part in parts:
                part.train()
            words = "  ".join(f"{key} {value:.3f}" for key, value in told.items())
            print(f"{name} {done}/{steps}  {words}  {time.process_time() - start:.0f} s CPU", flush=True)
    keep()
    return made


def main() -> None:
    """Pre-train one encoder and save it."""
    parser = argparse.ArgumentParser(description="Pre-train the tiny step-order encoders on the how-to world.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="folder of the pictures and the training's state"
    )
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--articles", type=int, default=2500)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=MODELS)
    arguments = parser.parse_args()
    made = pretrain(
        arguments.name,
        arguments.checkpoint,
        arguments.steps,
        arguments.batch,
        seed=arguments.seed,
        articles=arguments.articles,
        minutes=arguments.minutes,
    )
    for part in made.modules.values():
        part.eval()
    held_out = draw_bank(arguments.checkpoint, "step encoders check", CHECKED, made.sight.pixels, held_out=True)
    checks = made.check(held_out)
    folder = arguments.out / arguments.name
    made.save(folder)
    write_card(made, folder, arguments.steps, arguments.articles, arguments.seed, checks)


if __name__ == "__main__":
    main()
