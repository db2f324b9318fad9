"""Train tiny-clip-worlds on pictures of the attribute worlds: `python -m isi_core.training.classifier_clip --help`.

A `CLIPModel` (Radford et al., 2021) that knows the words of both worlds' attributes and of the
classes of the shipped rules. Captions are true of several pictures of a batch, so the targets of
the contrastive loss are shared among all of them.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from isi_core.models.classifiers.presets import NOUNS, WORLD_PROMPTS
from isi_core.training.classifier_card import clip_card
from isi_core.training.classifier_data import SIDE, Bank, disturbed, draw_bank, kept_bank, leaves_on, pixel_values
from isi_core.training.classifiers import PICTURES
from isi_core.training.diffusion_model import build_tokenizer
from isi_core.training.optimizers import build_optimizers, set_pace
from isi_core.training.optimizers import step as optimize
from isi_core.training.regions import covered
from isi_core.worlds.attributed import WORLDS, world
from isi_core.worlds.rules import shipped_rule, shipped_rules

MODEL_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "models" / "tiny-clip-worlds"
HELD_OUT_SEED = "tiny-clip-worlds held out"
_WIDTH, _TEXT_WIDTH = 128, 96
_MOST_PHRASES = 4
"""Of a caption, so that it fits the tokenizer's length."""
_PATCH, _PLACED_LAYER = 8, 2
_PLAIN, _WITH = 0.05, 0.5
_OTHER_WORDS = ("a", "an", "the", "of", "and", "with", "without", "no", "portrait", "picture", "photo", "face", "bird")

Facts = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Corpus:
    """Pictures of both worlds, and what is true of each: (n, phrases)."""

    pictures: np.ndarray[Any, np.dtype[np.uint8]]
    facts: Facts

    def __len__(self) -> int:
        return len(self.pictures)


@cache
def phrases() -> tuple[str, ...]:
    """The leaves of all worlds in words, then the classes of the rules, then the worlds' own names."""
    leaves = [world(name).phrase(leaf) for name in WORLDS for leaf in world(name).leaves()]
    classes = [label for name in shipped_rules() for label in shipped_rule(name).classes]
    return (*leaves, *classes, *(NOUNS[name] for name in WORLDS))


def class_texts() -> dict[str, tuple[str, ...]]:
    """What a class of the rules is called: its name, and its label prompts ("a photo of an old person")."""
    return {label: (label, *texts) for prompts in WORLD_PROMPTS.values() for label, texts in prompts.items()}


def facts_of(name: str, leaves: np.ndarray[Any, np.dtype[np.uint8]], rng: Random) -> Facts:
    """(n, phrases) what is true of this world's subjects; classes by the rules with their noise."""
    columns = []
    for other in WORLDS:
        width = len(world(other).leaves())
        columns.append(leaves.astype(bool) if other == name else np.zeros((len(leaves), width), bool))
    subjects = [leaves_on(world(name), row) for row in leaves]
    for rule in map(shipped_rule, shipped_rules()):
        block = np.zeros((len(leaves), len(rule.classes)), bool)
        if rule.world == name:
            for row, on in enumerate(subjects):
                block[row, rule.draw_label_of(rng, on)] = True
        columns.append(block)
    columns += [np.full((len(leaves), 1), other == name) for other in WORLDS]
    return np.concatenate(columns, 1)


def build_corpus(folder: Path, counts: Mapping[str, int], seed: int) -> Corpus:
    """Training pictures of both worlds, kept in this folder."""
    banks = {name: kept_bank(folder / f"bank-{name}.npz", name, counts[name], seed) for name in WORLDS}
    return _corpus(banks, Random(f"{seed} clip facts"))


def _corpus(banks: dict[str, Bank], rng: Random) -> Corpus:
    pictures = np.concatenate([bank.pictures for bank in banks.values()])
    return Corpus(pictures, np.concatenate([facts_of(name, bank.leaves, rng) for name, bank in banks.items()]))


def make_tokenizer() -> CLIPTokenizer:
    """Every word of the worlds and of the label prompts is a token; other words are spelled out."""
    groups = [world(name).phrase(path) for name in WORLDS for path in world(name).paths()]
    prompts = [text for texts in class_texts().values() for text in texts]
    return build_tokenizer([*phrases(), *groups, *prompts, *_OTHER_WORDS])


def build_model(tokenizer: CLIPTokenizer) -> CLIPModel:
    """CLIP with random weights, below a million parameters."""
    config = CLIPConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": _TEXT_WIDTH,
            "intermediate_size": 4 * _TEXT_WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": tokenizer.model_max_length,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "hidden_size": _WIDTH,
            "intermediate_size": 3 * _WIDTH,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "image_size": SIDE,
            "patch_size": _PATCH,
        },
        projection_dim=_WIDTH,
    )
    model = CLIPModel(config)
    model.set_attn_implementation("eager")
    return model


def build_processor(tokenizer: CLIPTokenizer) -> CLIPProcessor:
    """Tokenizer and picture processor of 64 x 64 pixels."""
    pictures = CLIPImageProcessorPil(
        size={"height": SIDE, "width": SIDE},
        do_center_crop=False,
        resample=2,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return CLIPProcessor(image_processor=pictures, tokenizer=tokenizer)


def _text_features(model: CLIPModel, tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    features: Any = model.get_text_features(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
    return functional.normalize(features.pooler_output.float(), dim=-1)


def _image_features(model: CLIPModel, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, width) unit features, and the (n, patches, width) states of the patches after the second layer."""
    features: Any = model.get_image_features(pixel_values=pixels, output_hidden_states=True)
    patches = features.hidden_states[_PLACED_LAYER][:, 1:]
    return functional.normalize(features.pooler_output.float(), dim=-1), patches


def patches_of_phrases() -> torch.Tensor:
    """(patches, phrases) 1 where a patch can show a phrase's attribute; everywhere for the other phrases."""
    columns = [
        covered(place.regions[leaf[:2]], SIDE // _PATCH).flatten() > 0
        for place in map(world, WORLDS)
        for leaf in place.leaves()
    ]
    others = len(phrases()) - len(columns)
    return torch.stack([*columns, *[torch.ones_like(columns[0])] * others], 1).float()


def somewhere(logits: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """(n, phrases) a smooth maximum of (n, patches, phrases) logits over the patches where a phrase can be shown."""
    return torch.logsumexp(logits + where.log(), 1) - where.sum(0).log()


def draw_captions(rng: Random, facts: Facts) -> tuple[list[str], list[list[int]]]:
    """A caption of each row, of one true phrase or of two to four; and the phrases' columns.

    Half of them go as a label prompt goes ("a photo of a face with goatee beard"), and some say no
    more than that ("a photo of a face"): what a picture is compared with where CLIP reads attributes.
    """
    words, classes = phrases(), class_texts()
    first_subject = len(words) - len(WORLDS)
    texts, columns = [], []
    for row in facts:
        subject = first_subject + int(np.flatnonzero(row[first_subject:])[0])
        true = np.flatnonzero(row[:first_subject]).tolist()
        plain = f"a photo of a {words[subject]}"
        if rng.random() < _PLAIN or not true:
            texts.append(plain)
            columns.append([subject])
            continue
        count = 1 if rng.random() < 0.5 else rng.randint(2, _MOST_PHRASES)
        chosen = rng.sample(true, min(count, len(true)))
        if len(chosen) == 1 and words[chosen[0]] in classes:
            texts.append(rng.choice(classes[words[chosen[0]]]))
        elif rng.random() < _WITH:
            chosen = chosen[: _MOST_PHRASES - 1]
            texts.append(f"{plain} with {', '.join(words[column] for column in chosen)}")
        else:
            texts.append(", ".join(words[column] for column in chosen))
        columns.append(chosen)
    return texts, columns


def contrast(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Symmetric cross entropy of unit features (n, d), the target shared by all captions (pictures) that are true."""
    logits = scale * image @ text.T
    to_text, to_image = (true / true.sum(1, keepdim=True), true.T / true.T.sum(1, keepdim=True))
    return (functional.cross_entropy(logits, to_text) + functional.cross_entropy(logits.T, to_image)) / 2


def train(
    checkpoint: Path, steps: int, minutes: float, batch: int = 128, seed: int = 0,
    pictures: Mapping[str, int] = PICTURES, half: bool = True, report_every: int = 250,
) -> None:  # fmt: skip
    """Go on with the training until it is finished or the time is up."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    model = build_model(tokenizer)
    # Both name what is seen, the second one where it can be seen, and are thrown away afterwards: captions alone
    # teach small things slowly.
    head = nn.Linear(_WIDTH, len(phrases()))
    patch_head = nn.Sequential(nn.LayerNorm(_WIDTH), nn.Linear(_WIDTH, len(phrases())))
    where = patches_of_phrases()
    corpus = build_corpus(checkpoint.parent, pictures, seed)
    optimizers = build_optimizers(model, 1e-3, [head, patch_head])
    parts = [model, head, patch_head]
    done = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        for part, known in zip(parts, state["parts"], strict=True):
            part.load_state_dict(known)
        for optimizer, known in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(known)
        done = state["done"]

    def save() -> None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        states = {"parts": [p.state_dict() for p in parts], "optimizers": [o.state_dict() for o in optimizers]}
        torch.save(states | {"done": done}, checkpoint.with_suffix(".tmp"))
        checkpoint.with_suffix(".tmp").replace(checkpoint)

    parameters = [parameter for part in parts for parameter in part.parameters()]
    deadline, total = time.monotonic() + 60 * minutes, 0.0
    model.train()
    while done < steps and time.monotonic() < deadline:
        set_pace(optimizers, min(1.0, (done + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done / steps))))
        rng = Random(f"{seed} clip {done}")
        rows = rng.sample(range(len(corpus)), min(batch, len(corpus)))
        facts = corpus.facts[rows]
        texts, columns = draw_captions(rng, facts)
        true = torch.from_numpy(np.stack([facts[:, chosen].all(1) for chosen in columns], 1)).float()
        pixels = disturbed(corpus.pictures[rows], torch.Generator().manual_seed(done))
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            image, patches = _image_features(model, pixels)
            placed = somewhere(patch_head(patches).float(), where)
            text = _text_features(model, tokenizer, texts)
        told = torch.from_numpy(facts).float()
        named = sum(functional.binary_cross_entropy_with_logits(guess, told) for guess in (head(image * 10), placed))
        loss = contrast(image, text, model.logit_scale.exp().clamp(max=100), true) + 10 * named
        optimize(optimizers, loss, parameters)
        total += float(loss.detach())
        done += 1
        if done % report_every == 0:
            save()
            print(f"tiny-clip-worlds {done}/{steps}  loss {total / report_every:.4f}", flush=True)
            total = 0.0
    save()


@torch.no_grad()
def measure(model: CLIPModel, tokenizer: CLIPTokenizer, count: int = 600) -> dict[str, float]:
    """Figures on held-out pictures.

    "caption found" is how often, of a picture's caption of up to four phrases and 31 other
    pictures' of the same world, its own is nearest (others that are true as well count). Of each
    phrase of a leaf, the AUROC with which its similarity tells pictures of its world that show it.
    """
    model.eval()
    words, figures, found = phrases(), dict[str, float](), []
    at = 0
    for name in WORLDS:
        bank = draw_bank(Random(f"{HELD_OUT_SEED} {name}"), world(name), count, held_out=True)
        facts = facts_of(name, bank.leaves, Random(HELD_OUT_SEED))
        parts = pixel_values(bank.pictures).split(100)
        image = torch.cat([_image_features(model, part)[0] for part in parts])
        rng = Random(HELD_OUT_SEED)
        leaves = world(name).leaves()
        asked = [f"a photo of a {NOUNS[name]} with {phrase}" for phrase in words[at : at + len(leaves)]]
        similarity = (image @ _text_features(model, tokenizer, asked).T).numpy()
        for column, leaf in enumerate(leaves):
            on = bank.leaves[:, column].astype(bool)
            if on.any() and not on.all():
                figures["/".join((name, *leaf))] = float(roc_auc_score(on, similarity[:, column]))
        at += len(leaves)
        texts, columns = draw_captions(rng, facts)
        text = _text_features(model, tokenizer, texts)
        for start in range(0, count - 31, 32):
            nearest = (image[start : start + 32] @ text[start : start + 32].T).argmax(1).tolist()
            found += [bool(facts[start + row, columns[start + pick]].all()) for row, pick in enumerate(nearest)]
    return {"caption found": sum(found) / max(1, len(found)), **figures}


def save_model(checkpoint: Path, out: Path, count: int = 600) -> dict[str, float]:
    """The weights as float16 safetensors with the processor and a card; the card's figures."""
    tokenizer = make_tokenizer()
    model = build_model(tokenizer)
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["parts"][0])
    out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(out)
    build_processor(tokenizer).save_pretrained(out)
    saved = CLIPModel.from_pretrained(out, dtype=torch.float32, local_files_only=True)
    figures = measure(saved, tokenizer, count)
    (out / "README.md").write_text(clip_card(figures, sum(p.numel() for p in saved.parameters()), count))
    return figures


def main() -> None:
    """Train, or save what was trained."""
    parser = argparse.ArgumentParser(description="Train tiny-clip-worlds on pictures of the attribute worlds.")
    parser.add_argument("action", choices=["train", "save"])
    parser.add_argument("--checkpoint", type=Path, required=True, help="file of the running training's state")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--float32", action="store_true", help="for a CPU on which bfloat16 is slow")
    parser.add_argument("--out", type=Path, default=MODEL_FOLDER)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.action == "save":
        for name, value in save_model(arguments.checkpoint, arguments.out).items():
            print(f"{value:.3f}  {name}")
    else:
        train(arguments.checkpoint, arguments.steps, arguments.minutes, seed=arguments.seed, half=not arguments.float32)


if __name__ == "__main__":
    main()
