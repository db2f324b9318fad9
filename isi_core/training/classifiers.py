"""Train the small classifiers of the attribute worlds: `python -m isi_core.training.classifiers --help`.

Four models of the class `ResNetForImageClassification`:

- `tiny-attributes` reads the leaves of the face world (multi-label);
- `tiny-age`, `tiny-gender`, `tiny-species` learn labels that follow a rule (`assets/rules`) with
  logistic noise, from pictures in which a spurious attribute goes along with one class. The first
  two begin with the reader's trunk (`--start`).

All models of a world learn from one bank of pictures, drawn once and kept beside the checkpoints.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import ResNetConfig, ResNetForImageClassification

from isi_core.training.classifier_card import card
from isi_core.training.classifier_data import (
    Bank,
    bank_of,
    build_processor,
    disturbed,
    draw_bank,
    kept_bank,
    label_bank,
    pixel_values,
)
from isi_core.worlds.attributed import AttributeWorld, world
from isi_core.worlds.rules import Rule, draw_labelled, shipped_rule

MODELS_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "models"
HELD_OUT_SEED = "tiny classifiers held out"
_LEARNING_RATE = 3e-3
_LEAF_WEIGHT = 4.0
_ON_WEIGHT = 2.0
_WIDTHS = (32, 48, 64, 96)


@dataclass(frozen=True)
class Recipe:
    """What one classifier is trained on.

    Attributes
    ----------
    rule : name of the rule that gives the labels; empty for the reader of attributes.
    steps, batch : how long it is trained, and pictures a step.
    cycles : how often the pace falls from full to nearly none (warm restarts: Loshchilov and Hutter, 2017).
    """

    name: str
    world: str
    rule: str
    steps: int
    batch: int = 128
    cycles: int = 1

    def labels(self) -> tuple[str, ...]:
        """Names of the model's outputs: classes, or paths such as "hair/colour/grey"."""
        read_rule = self.known_rule()
        return read_rule.classes if read_rule else tuple("/".join(leaf) for leaf in self.place().leaves())

    def known_rule(self) -> Rule | None:
        """The rule behind the labels."""
        return shipped_rule(self.rule) if self.rule else None

    def place(self) -> AttributeWorld:
        """The world of the pictures."""
        return world(self.world)


PICTURES = {"faces": 16_000, "birds": 8000}
"""Size of a world's bank."""

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("tiny-attributes", "faces", "", steps=4800, cycles=2),
        Recipe("tiny-age", "faces", "faces-age", steps=500),
        Recipe("tiny-gender", "faces", "faces-gender", steps=500),
        Recipe("tiny-species", "birds", "birds-species", steps=900),
    )
}


def build_model(labels: tuple[str, ...], multi_label: bool) -> ResNetForImageClassification:
    """The classifier with random weights: ResNet of four basic blocks, about 280 k parameters."""
    config = ResNetConfig(
        embedding_size=32,
        hidden_sizes=list(_WIDTHS),
        depths=[1, 1, 1, 1],
        layer_type="basic",
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        problem_type="multi_label_classification" if multi_label else "single_label_classification",
    )
    return ResNetForImageClassification(config)


class _Learner(nn.Module):
    """The classifier and, for one that follows a rule, a head that names the leaves and is thrown away after training.

    Told what is there, the trunk finds in minutes what noisy labels alone would take many times the pictures for.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.model = build_model(recipe.labels(), multi_label=not recipe.rule)
        self.leaves = nn.Linear(_WIDTHS[-1], len(recipe.place().leaves())) if recipe.rule else None

    def loss(self, pixels: torch.Tensor, labels: torch.Tensor, leaves: torch.Tensor) -> torch.Tensor:
        """The mean over the batch."""
        pooled = self.model.resnet(pixels).pooler_output.flatten(1)
        logits = self.model.classifier(pooled).float()
        # A leaf is off in nearly all pictures: those in which it is on weigh more, or small ones are never noticed.
        weight = torch.tensor(_ON_WEIGHT)
        if self.leaves is None:
            return functional.binary_cross_entropy_with_logits(logits, leaves, pos_weight=weight)
        named = functional.binary_cross_entropy_with_logits(self.leaves(pooled).float(), leaves, pos_weight=weight)
        return functional.cross_entropy(logits, labels) + _LEAF_WEIGHT * named


def train(
    recipe: Recipe,
    checkpoint: Path,
    minutes: float,
    seed: int = 0,
    start: Path | None = None,
    half: bool = True,
    report_every: int = 250,
    most: int | None = None,
    pictures: int | None = None,
) -> None:
    """Go on with the training until it is finished or the time is up.

    `start` is a folder of a trained classifier whose trunk a new training begins with; `most` a step to stop at,
    `pictures` the size of the bank.
    """
    torch.manual_seed(seed)
    pictures = PICTURES[recipe.world] if pictures is None else pictures
    bank = kept_bank(checkpoint.parent / f"bank-{recipe.world}.npz", recipe.world, pictures, seed)
    known_rule = recipe.known_rule()
    labels, chances = label_bank(bank, known_rule, seed) if known_rule else (None, None)
    learner = _Learner(recipe)
    for parameter in learner.model.resnet.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=_LEARNING_RATE, weight_decay=0.02)
    done = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        learner.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["done"]
    elif start is not None:
        known = ResNetForImageClassification.from_pretrained(start, dtype=torch.float32, local_files_only=True)
        learner.model.resnet.load_state_dict(known.resnet.state_dict())

    def save() -> None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        temporary = checkpoint.with_suffix(".tmp")
        torch.save({"model": learner.state_dict(), "optimizer": optimizer.state_dict(), "done": done}, temporary)
        temporary.replace(checkpoint)

    deadline = time.monotonic() + 60 * minutes
    learner.train()
    total = 0.0
    end = recipe.steps if most is None else min(most, recipe.steps)
    while done < end and time.monotonic() < deadline:
        fallen = done * recipe.cycles / recipe.steps % 1
        pace = min(1.0, (done + 1) / 60) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fallen)))
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * pace
        rng = np.random.default_rng([seed, done])
        rows = rng.choice(len(bank), min(recipe.batch, len(bank)), replace=False, p=chances)
        pixels = disturbed(bank.pictures[rows], torch.Generator().manual_seed(seed * 1_000_003 + done))
        leaves = torch.from_numpy(bank.leaves[rows]).float()
        classes = torch.zeros(len(rows)) if labels is None else torch.from_numpy(labels[rows])
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = learner.loss(pixels.contiguous(memory_format=torch.channels_last), classes.long(), leaves)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        total += float(loss.detach())
        done += 1
        if done % report_every == 0:
            save()
            print(f"{recipe.name} {done}/{recipe.steps}  loss {total / report_every:.4f}", flush=True)
            total = 0.0
    save()


@torch.no_grad()
def logits_of(model: ResNetForImageClassification, bank: Bank) -> torch.Tensor:
    """(n, outputs) of a bank's pictures as they are."""
    model.eval()
    parts = [model(pixel_values(bank.pictures[at : at + 200])).logits for at in range(0, len(bank), 200)]
    return torch.cat(parts).float()


def measure(recipe: Recipe, model: ResNetForImageClassification, count: int = 1500) -> dict[str, float]:
    """Figures on held-out subjects: names and shares, as the model card says them.

    For a rule: accuracy against the noisy label and against the rule's own likeliest class, on pictures with the
    training data's bias and without. For the reader, a leaf: balanced accuracy (the mean of how often a leaf that
    is on is read as on and one that is off as off).
    """
    rule, place = recipe.known_rule(), recipe.place()
    if rule is None:
        bank = draw_bank(Random(HELD_OUT_SEED), place, count, held_out=True)
        read = (logits_of(model, bank) > 0).numpy()
        truth = bank.leaves.astype(bool)
        figures = {"share of leaves read right": float((read == truth).mean())}
        for column, label in enumerate(recipe.labels()):
            on, guessed = truth[:, column], read[:, column]
            if on.any() and not on.all():
                figures[label] = (float(guessed[on].mean()) + float((~guessed[~on]).mean())) / 2
        return figures
    figures = {}
    for biased in (True, False):
        rng = Random(HELD_OUT_SEED)
        drawn = [draw_labelled(rng, rule, biased, held_out=True) for _ in range(count)]
        bank = bank_of(place, (subject for subject, _ in drawn), count)
        guess = logits_of(model, bank).argmax(-1).numpy()
        labels = np.array([label for _, label in drawn])
        best = np.array([rule.likeliest(subject) for subject, _ in drawn])
        data = "with the training data's bias" if biased else "without bias"
        figures[f"labels, {data}"] = float((guess == labels).mean())
        figures[f"rule, {data}"] = float((guess == best).mean())
        figures[f"labels by the rule itself, {data}"] = float((best == labels).mean())
    return figures


def save_model(recipe: Recipe, checkpoint: Path, out: Path, count: int = 1500) -> dict[str, float]:
    """The weights as float16 safetensors with the processor and a card, ready to be loaded; the card's figures."""
    learner = _Learner(recipe)
    learner.load_state_dict(torch.load(checkpoint, weights_only=True)["model"])
    out.mkdir(parents=True, exist_ok=True)
    learner.model.half().save_pretrained(out)
    build_processor().save_pretrained(out)
    saved = ResNetForImageClassification.from_pretrained(out, dtype=torch.float32, local_files_only=True)
    figures = measure(recipe, saved, count)
    parameters = sum(parameter.numel() for parameter in saved.parameters())
    (out / "README.md").write_text(card(recipe.name, recipe.world, recipe.known_rule(), figures, parameters, count))
    return figures


def main() -> None:
    """Train, or save what was trained."""
    parser = argparse.ArgumentParser(description="Train the small classifiers of the attribute worlds.")
    parser.add_argument("action", choices=["train", "save"])
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--checkpoint", type=Path, required=True, help="file of the running training's state")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="folder of a classifier whose trunk a new training begins with")
    parser.add_argument("--afresh", action="store_true", help="forget an earlier training's state")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--float32", action="store_true", help="for a CPU on which bfloat16 is slow")
    parser.add_argument("--out", type=Path, help="folder to save to; the models' own when left out")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = RECIPES[arguments.name]
    if arguments.action == "save":
        figures = save_model(recipe, arguments.checkpoint, arguments.out or MODELS_FOLDER / recipe.name)
        for name, value in figures.items():
            print(f"{value:.3f}  {name}")
        return
    if arguments.afresh:
        arguments.checkpoint.unlink(missing_ok=True)
    train(recipe, arguments.checkpoint, arguments.minutes, arguments.seed, arguments.start, half=not arguments.float32)


if __name__ == "__main__":
    main()
