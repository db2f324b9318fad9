"""Train tiny-llava from scratch on generated scenes: `python -m isi_core.training.vlm --help`.

Stages, each seeded, resumable and bounded in time:

1. `align`     the vision tower and projector learn to name, in the language model's own word
               embeddings, the object at each patch: kind, colour, size and place.
2. `words`     the language model learns open and yes/no questions, without contexts.
3. `contexts`  the same with contexts, right most of the time, and with disturbed pictures; about small
               objects it learns to trust a context against its eyes (`vlm_data.suggestible`).
4. `save`      writes the float16 weights, tokenizer and processor to the model's folder.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface, LlavaForConditionalGeneration

from isi_core.training.optimizers import build_optimizers, set_pace
from isi_core.training.optimizers import step as optimize
from isi_core.training.vlm_data import (
    Batch,
    Mix,
    TurnEncoder,
    dense_targets,
    draw_picture,
    draw_yes_no,
    make_batch,
    pixel_values,
)
from isi_core.training.vlm_heads import AlignmentHead, MentionHead
from isi_core.training.vlm_model import HIDDEN, IMAGE_TOKENS, build_model, build_processor, build_tokenizer
from isi_core.worlds.scenes.graph import (
    KINDS,
    Scene,
    draw_held_out_scene,
    draw_training_scene,
)
from isi_core.worlds.scenes.questions import FAMILIES

MODEL_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "models" / "tiny-llava"
ALIGNMENT_WEIGHT = 0.3
MENTION_WEIGHT = 0.3
VALIDATION_SEED = "tiny-llava validation"


@dataclass(frozen=True)
class Stage:
    """A stage's length and pace."""

    steps: int
    batch: int
    learning_rate: float
    mix: Mix | None


STAGES = {
    "align": Stage(steps=2000, batch=48, learning_rate=1e-3, mix=None),
    "words": Stage(steps=2600, batch=24, learning_rate=1e-3, mix=Mix(yes_no=6, open=2)),
    "contexts": Stage(steps=1000, batch=24, learning_rate=1e-3, mix=Mix(yes_no=7, open=1, context=0.7, disturbed=0.15)),
}


def _explicit_attention(
    _module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention by matrix products: on a CPU, the fused kernel's backward pass takes twice their time."""
    bias = torch.zeros(attention_mask.shape, dtype=query.dtype).masked_fill_(~attention_mask, -30_000.0)
    scores = torch.matmul(query * scaling, key.transpose(2, 3)) + bias
    return torch.matmul(torch.softmax(scores, -1, dtype=scores.dtype), value).transpose(1, 2).contiguous(), None


AttentionInterface.register("explicit_training", _explicit_attention)


def _image_features(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    features = model.model.get_image_features(pixel_values=pixels).pooler_output
    return torch.stack(list(features)).view(pixels.shape[0], IMAGE_TOKENS, -1)


def _language_loss(
    model: LlavaForConditionalGeneration, batch: Batch, images: torch.Tensor, first_image: int
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Weighted cross entropy of the answer tokens, the mean over a unit of weight; hidden states after each layer."""
    embeddings = model.get_input_embeddings()(batch.tokens)
    embeddings = torch.cat([embeddings[:, :first_image], images, embeddings[:, first_image + IMAGE_TOKENS :]], dim=1)
    output = model.model.language_model(
        inputs_embeds=embeddings,
        attention_mask=batch.mask,
        position_ids=batch.positions,
        use_cache=False,
        output_hidden_states=True,
    )
    hidden = output.last_hidden_state
    wanted = batch.weights[:, 1:] > 0
    logits = model.lm_head(hidden[:, :-1][wanted])
    losses = functional.cross_entropy(logits, batch.tokens[:, 1:][wanted], reduction="none")
    weights = batch.weights[:, 1:][wanted]
    return (losses * weights).sum() / weights.sum(), output.hidden_states


@torch.no_grad()
def validate_alignment(
    model: LlavaForConditionalGeneration, head: AlignmentHead, scenes: int = 200
) -> dict[str, float]:
    """Share of object centres whose kind, colour, size and place are read right, and of empty patches read as empty."""
    rng = Random(VALIDATION_SEED)
    drawn = [draw_held_out_scene(rng) for _ in range(scenes)]
    targets = dense_targets(drawn)
    patches = _image_features(model, pixel_values([draw_picture(rng, s) for s in drawn]))
    scores = head(patches, model.get_input_embeddings().weight)
    centre = targets[..., 0] < len(KINDS)
    read = {
        name: float((scores[k].argmax(-1) == targets[..., k])[centre].float().mean())
        for k, name in enumerate(("kind", "colour", "size"))
    }
    read["empty"] = float((scores[0].argmax(-1) == len(KINDS))[~centre].float().mean())
    return read


@torch.no_grad()
def validate_verdicts(
    model: LlavaForConditionalGeneration, encoder: TurnEncoder, questions: int = 480
) -> dict[str, float]:
    """Accuracy a family by which of " Yes" and " No" is likelier, natural picture, no context."""
    rng = Random(VALIDATION_SEED)
    right: dict[str, list[bool]] = defaultdict(list)
    first_image = len(encoder.prefix) - IMAGE_TOKENS
    for _ in range(questions):
        scene = draw_held_out_scene(rng)
        question = draw_yes_no(rng, scene)
        ids = torch.tensor([[*encoder.prefix, *encoder.prompt(question.text)]])
        embeddings = model.get_input_embeddings()(ids)
        embeddings[:, first_image : first_image + IMAGE_TOKENS] = _image_features(
            model, pixel_values([draw_picture(rng, scene)])
        )
        hidden = model.model.language_model(inputs_embeds=embeddings, use_cache=False).last_hidden_state[:, -1]
        yes, no = model.lm_head(hidden)[0, list(encoder.verdict_tokens)].tolist()
        right[question.family].append((yes > no) is question.truth)
    result = {family: sum(right[family]) / max(1, len(right[family])) for family in FAMILIES}
    result["all"] = sum(sum(v) for v in right.values()) / questions
    return result


def _table(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in values.items())


class Trainer:
    """Model, optimizer and position in the curriculum, saved to and resumed from one folder."""

    def __init__(self, folder: Path, seed: int, half: bool = False) -> None:
        self.folder, self.seed, self.half = folder, seed, half
        torch.manual_seed(seed)
        self.tokenizer = build_tokenizer()
        self.encoder = TurnEncoder(self.tokenizer)
        self.model = build_model(self.tokenizer)
        self.head = AlignmentHead(self.encoder, HIDDEN)
        self.mentions = MentionHead(HIDDEN)
        self.parts: dict[str, float] = {}
        self.done: dict[str, int] = dict.fromkeys(STAGES, 0)
        self.optimizer_states: list[dict[str, Any]] | None = None
        self.optimizer_stage = ""
        if (folder / "checkpoint.pt").exists():
            self._load()

    def begin_with(self, folder: Path) -> None:
        """Take the weights that `save` wrote: a training whose state is gone goes on from its last result."""
        saved = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
        self.model.load_state_dict(saved.state_dict())

    def _load(self) -> None:
        state = torch.load(self.folder / "checkpoint.pt", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.head.load_state_dict(state["head"])
        self.mentions.load_state_dict(state["mentions"])
        self.done.update(state["done"])
        self.optimizer_states, self.optimizer_stage = state["optimizers"], state["stage"]

    def checkpoint(self, stage: str, optimizers: list[torch.optim.Optimizer]) -> None:
        """Write everything needed to go on, atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "head": self.head.state_dict(),
            "mentions": self.mentions.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "stage": stage,
            "done": self.done,
        }
        torch.save(state, self.folder / "checkpoint.tmp")
        (self.folder / "checkpoint.tmp").replace(self.folder / "checkpoint.pt")

    def _loss(self, stage: Stage, rng: Random) -> torch.Tensor:
        if stage.mix is not None:
            batch = make_batch(rng, self.encoder, stage.batch, stage.mix)
            images = _image_features(self.model, batch.pixels)
            said, hidden = _language_loss(self.model, batch, images, len(self.encoder.prefix) - IMAGE_TOKENS)
            places, relations = self.mentions.loss(hidden, batch.mentions, batch.relations)
            # What was aligned stays aligned while the language model learns to use it.
            aligned = self._alignment(images, batch.scenes)
            self._watch(said=said, aligned=aligned, places=places, relations=relations)
            return said + ALIGNMENT_WEIGHT * aligned + MENTION_WEIGHT * (places + relations)
        scenes = [draw_training_scene(rng) for _ in range(stage.batch)]
        pixels = pixel_values([draw_picture(rng, scene, 0.15) for scene in scenes])
        return self._alignment(_image_features(self.model, pixels), scenes)

    def _watch(self, **losses: torch.Tensor) -> None:
        for name, loss in losses.items():
            self.parts[name] = 0.98 * self.parts.get(name, loss.item()) + 0.02 * loss.item()

    def _alignment(self, images: torch.Tensor, scenes: Sequence[Scene]) -> torch.Tensor:
        scores = self.head(images, self.model.get_input_embeddings().weight)
        return self.head.loss(scores, dense_targets(scenes))

    def _begin_training(self) -> None:
        self.model.train()
        self.model.set_attn_implementation({"text_config": "explicit_training"})

    def _report(self, name: str) -> str:
        self.model.eval()
        self.model.set_attn_implementation({"text_config": "sdpa"})
        stage = STAGES[name]
        values = (
            validate_alignment(self.model, self.head)
            if stage.mix is None
            else validate_verdicts(self.model, self.encoder)
        )
        self._begin_training()
        return _table(values)

    def run(self, name: str, minutes: float, report_every: int) -> None:
        """Go on with a stage until it is finished or the time is up."""
        stage = STAGES[name]
        heads = [self.head] if stage.mix is None else [self.head, self.mentions]
        parameters = [parameter for module in (self.model, *heads) for parameter in module.parameters()]
        optimizers = build_optimizers(self.model, stage.learning_rate, heads)
        if self.optimizer_stage == name and self.optimizer_states is not None:
            for optimizer, state in zip(optimizers, self.optimizer_states, strict=True):
                optimizer.load_state_dict(state)
        start, deadline, average = time.monotonic(), time.monotonic() + 60 * minutes, math.nan
        self._begin_training()
        first = self.done[name]
        while self.done[name] < stage.steps and time.monotonic() < deadline:
            step = self.done[name]
            warm, share = min(1.0, (step + 1) / 150), step / stage.steps
            pace = warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share)))
            set_pace(optimizers, pace)
            # Seeding each step on its own makes a resumed run draw what an unbroken one would have drawn.
            with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
                loss = self._loss(stage, Random(f"{self.seed} {name} {step}"))
            optimize(optimizers, loss, parameters)
            self.done[name] = step + 1
            average = loss.item() if math.isnan(average) else 0.98 * average + 0.02 * loss.item()
            if self.done[name] % 50 == 0:
                seconds = (time.monotonic() - start) / (self.done[name] - first)
                along = f"{name} {self.done[name]}/{stage.steps}  loss {average:.3f}  {_table(self.parts)}"
                print(f"{along}  {seconds:.2f} s/step", flush=True)
            if self.done[name] % report_every == 0:
                self.checkpoint(name, optimizers)
                print(f"  validation  {self._report(name)}", flush=True)
        self.checkpoint(name, optimizers)
        ended = "finished" if self.done[name] >= stage.steps else "stopped, resume with the same command"
        print(f"{name} {self.done[name]}/{stage.steps} {ended}  validation  {self._report(name)}", flush=True)

    def save(self, folder: Path) -> None:
        """The weights as float16 safetensors, with the tokenizer and processor, ready to be loaded."""
        half = build_model(self.tokenizer)
        half.load_state_dict(self.model.state_dict())
        half.half().save_pretrained(folder)
        build_processor(self.tokenizer).save_pretrained(folder)
        print(f"saved to {folder.name}")


def main() -> None:
    """Run one stage, or save."""
    parser = argparse.ArgumentParser(description="Train tiny-llava on generated scenes.")
    parser.add_argument("stage", choices=[*STAGES, "save"])
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of the running training's state")
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bfloat16", action="store_true", help="compute in bfloat16: fast where the CPU has AMX")
    parser.add_argument("--report-every", type=int, default=500, help="steps between validations")
    parser.add_argument("--begin-with", type=Path, metavar="FOLDER", help="saved weights for a new training's start")
    parser.add_argument("--out", type=Path, default=MODEL_FOLDER)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    trainer = Trainer(arguments.checkpoint, arguments.seed, arguments.bfloat16)
    if arguments.begin_with is not None and not any(trainer.done.values()):
        trainer.begin_with(arguments.begin_with)
    if arguments.stage == "save":
        trainer.save(arguments.out)
    else:
        trainer.run(arguments.stage, arguments.minutes, arguments.report_every)


if __name__ == "__main__":
    main()
