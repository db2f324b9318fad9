"""Train tiny-nli from scratch on pairs of the scene world: `python -m isi_core.training.nli --help`."""

from __future__ import annotations

import argparse
import hashlib
import math
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from torch.nn import functional
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification, PreTrainedTokenizerFast

from isi_core.training.optimizers import build_optimizers, set_pace
from isi_core.training.optimizers import step as optimize
from isi_core.worlds.scenes.entailment import Pair, draw_pair

MODEL_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "models" / "tiny-nli"
LABELS = ("contradiction", "neutral", "entailment")
HELD_OUT_SEED = "tiny-nli held out"


def is_held_out(pair: Pair) -> bool:
    """One pair of texts in sixteen is kept from training, told by its digest alone."""
    return hashlib.sha256(f"{pair.premise}\n{pair.hypothesis}".encode()).hexdigest().startswith("0")


def draw_pairs(rng: Random, count: int, held_out: bool) -> list[Pair]:
    """Pairs by lot, all held out from training or none."""
    pairs: list[Pair] = []
    while len(pairs) < count:
        pair = draw_pair(rng)
        if is_held_out(pair) is held_out:
            pairs.append(pair)
    return pairs


def _corpus(pairs: int = 20_000) -> Iterable[str]:
    rng = Random("nli tokenizer")
    for _ in range(pairs):
        pair = draw_pair(rng)
        yield pair.premise
        yield pair.hypothesis


@cache
def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on the pairs' sentences; any text can be encoded."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        mask_token="[MASK]",
        model_max_length=256,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> DebertaV2ForSequenceClassification:
    """The classifier with random weights: DeBERTa-v2 of 4 blocks of 160."""
    # As a mapping: two of these are read by the model but not declared by the config class.
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 160,
        "num_hidden_layers": 4,
        "num_attention_heads": 5,
        "intermediate_size": 480,
        "max_position_embeddings": 256,
        "type_vocab_size": 2,
        # Absolute places: disentangled attention takes four fifths of a training step on a CPU.
        "relative_attention": False,
        "position_biased_input": True,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "pad_token_id": tokenizer.convert_tokens_to_ids("[PAD]"),
        "id2label": dict(enumerate(LABELS)),
        "label2id": {label: i for i, label in enumerate(LABELS)},
    }
    model = DebertaV2ForSequenceClassification(DebertaV2Config(**settings))
    _look_for_twins(model)
    return model


@torch.no_grad()
def _look_for_twins(model: DebertaV2ForSequenceClassification) -> None:
    """Begin with keys equal to queries, so that a word attends to the same word in the other text.

    Two answers that differ in one word ("No, it is red." and "No, it is blue.") are told apart by
    finding each word's twin; from random projections that is not found within a short training.
    """
    encoder: Any = model.deberta.encoder
    for block in encoder.layer:
        attention = block.attention.self
        nn.init.normal_(attention.query_proj.weight, std=0.06)
        attention.key_proj.weight.copy_(attention.query_proj.weight)


def _logits(
    model: DebertaV2ForSequenceClassification, tokenizer: PreTrainedTokenizerFast, pairs: list[Pair]
) -> torch.Tensor:
    inputs = tokenizer(
        [p.premise for p in pairs], [p.hypothesis for p in pairs], padding=True, truncation=True, return_tensors="pt"
    )
    logits: torch.Tensor = model(**inputs).logits
    return logits


@torch.no_grad()
def accuracy(
    model: DebertaV2ForSequenceClassification, tokenizer: PreTrainedTokenizerFast, count: int = 2000
) -> dict[str, float]:
    """Accuracy on held-out pairs, a class and over all."""
    model.eval()
    pairs = draw_pairs(Random(HELD_OUT_SEED), count, held_out=True)
    right: dict[str, list[bool]] = {label: [] for label in LABELS}
    for start in range(0, count, 100):
        part = pairs[start : start + 100]
        guesses = _logits(model, tokenizer, part).argmax(-1).tolist()
        for pair, guess in zip(part, guesses, strict=True):
            right[LABELS[pair.label]].append(guess == pair.label)
    model.train()
    result = {label: sum(values) / max(1, len(values)) for label, values in right.items()}
    result["all"] = sum(map(sum, right.values())) / count
    return result


def train(
    checkpoint: Path, steps: int, minutes: float, batch: int, seed: int, report_every: int, half: bool = False
) -> None:
    """Go on with the training until it is finished or the time is up."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    optimizers = build_optimizers(model, 1e-3)
    parameters = list(model.parameters())
    done = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, known in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(known)
        done = state["done"]

    def save() -> None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        temporary = checkpoint.with_suffix(".tmp")
        states = [optimizer.state_dict() for optimizer in optimizers]
        torch.save({"model": model.state_dict(), "optimizers": states, "done": done}, temporary)
        temporary.replace(checkpoint)

    deadline = time.monotonic() + 60 * minutes
    model.train()
    while done < steps and time.monotonic() < deadline:
        warm = min(1.0, (done + 1) / 200)
        set_pace(optimizers, warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done / steps))))
        pairs = draw_pairs(Random(f"{seed} nli {done}"), batch, held_out=False)
        labels = torch.tensor([pair.label for pair in pairs])
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = _logits(model, tokenizer, pairs)
        optimize(optimizers, functional.cross_entropy(logits.float(), labels), parameters)
        done += 1
        if done % report_every == 0:
            save()
            values = "  ".join(f"{name} {value:.3f}" for name, value in accuracy(model, tokenizer).items())
            print(f"nli {done}/{steps}  held out  {values}", flush=True)
    save()


def save_model(checkpoint: Path, out: Path) -> None:
    """The weights as float16 safetensors with the tokenizer, ready to be loaded."""
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["model"])
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)


def main() -> None:
    """Train, or save what was trained."""
    parser = argparse.ArgumentParser(description="Train tiny-nli on pairs of the scene world.")
    parser.add_argument("action", choices=["train", "save"])
    parser.add_argument("--checkpoint", type=Path, required=True, help="file of the running training's state")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bfloat16", action="store_true", help="compute in bfloat16: fast where the CPU has AMX")
    parser.add_argument("--report-every", type=int, default=500)
    parser.add_argument("--out", type=Path, default=MODEL_FOLDER)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.action == "save":
        save_model(arguments.checkpoint, arguments.out)
    else:
        train(
            arguments.checkpoint,
            arguments.steps,
            arguments.minutes,
            arguments.batch,
            arguments.seed,
            arguments.report_every,
            arguments.bfloat16,
        )


if __name__ == "__main__":
    main()
