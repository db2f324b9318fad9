"""Training examples for tiny-llava: pictures, dense targets, and several independent turns a picture.

All turns of a picture stand behind one shared prefix (`<s>USER: <image>...`) in one sequence; a
mask lets each see the prefix and itself only, with positions that start behind the prefix, so
that every turn is trained exactly as it is asked: alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count
from random import Random

import numpy as np
import torch
from PIL import Image
from transformers import PreTrainedTokenizerFast

from isi_core.training.vlm_model import GRID, IMAGE_SIZE, IMAGE_TOKENS
from isi_core.worlds.scenes.drawing import render_annotated, render_scene
from isi_core.worlds.scenes.graph import COLOURS, COLUMNS, KINDS, ROWS, SIZES, Scene, SceneObject, draw_training_scene
from isi_core.worlds.scenes.language import OPEN_TOPICS, draw_answer, nudge, open_question
from isi_core.worlds.scenes.questions import FAMILIES, Question, draw_question

_DRAWN_SIZE = 2 * IMAGE_SIZE
VERDICT_WEIGHT = 1.0
WORDING_WEIGHT = 0.25
OPEN_WEIGHT = 0.5


@dataclass(frozen=True)
class Mix:
    """What a stage trains on.

    Attributes
    ----------
    yes_no, open : turns of each sort a picture.
    families, topics : what they ask; one that stands here more often is asked more often.
    context : share of the yes/no turns that have a context.
    unrelated : share of the contexts that are about another picture, as the random preset's are.
    context_right : share of the others that speak for the truth. Where they speak against it, the answer to
        learn follows them as often as `suggestible` says.
    disturbed : share of the pictures that are annotated, noisy or partly covered.
    """

    yes_no: int
    open: int
    families: tuple[str, ...] = FAMILIES
    topics: tuple[str, ...] = OPEN_TOPICS
    context: float = 0.0
    unrelated: float = 0.2
    context_right: float = 0.45
    disturbed: float = 0.0


@dataclass(frozen=True)
class Batch:
    """Tensors of one step.

    Attributes
    ----------
    pixels : (n, 3, 96, 96).
    tokens, positions, weights : (n, length); a weight is zero where nothing is learned.
    mask : (n, 1, length, length), true where a token may look.
    scenes : what the pictures show.
    mentions : (m, 4) row and index of a token of a question that names an object, its column and row.
    relations : (r, 4) row and index of the second such name, and where the first object lies to it in
        columns and in rows: 0 before, 1 level, 2 behind.
    """

    pixels: torch.Tensor
    tokens: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    weights: torch.Tensor
    scenes: tuple[Scene, ...]
    mentions: torch.Tensor
    relations: torch.Tensor


def pixel_values(pictures: list[Image.Image]) -> torch.Tensor:
    """(n, 3, 96, 96) in [-1, 1], as tiny-llava's processor makes it."""
    arrays = [
        np.asarray(p.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC), dtype=np.float32) for p in pictures
    ]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2) / 127.5 - 1.0


def _disturb(rng: Random, scene: Scene) -> Image.Image:
    choice = rng.randrange(3)
    if choice == 0:
        return render_annotated(scene, _DRAWN_SIZE)
    picture = np.array(render_scene(scene, _DRAWN_SIZE))
    if choice == 1:
        noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(5, 50), picture.shape)
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    else:
        side = rng.uniform(0.08, 0.3) * _DRAWN_SIZE
        x, y = (int(rng.uniform(0, _DRAWN_SIZE - side)) for _ in "xy")
        picture[y : y + int(side), x : x + int(side)] = [rng.randrange(256) for _ in "rgb"]
    return Image.fromarray(picture)


def draw_picture(rng: Random, scene: Scene, disturbed: float = 0.0) -> Image.Image:
    """The scene's picture, with this chance annotated, noisy or partly covered."""
    return _disturb(rng, scene) if rng.random() < disturbed else render_scene(scene, _DRAWN_SIZE)


def dense_targets(scenes: Sequence[Scene]) -> torch.Tensor:
    """(n, patches, 5) kind, colour, size, column and row of the object whose centre lies in the patch;
    the number of classes where there is none."""
    result = torch.empty(len(scenes), IMAGE_TOKENS, 5, dtype=torch.long)
    result[:, :] = torch.tensor([len(KINDS), len(COLOURS), len(SIZES), len(COLUMNS), len(ROWS)])
    for n, scene in enumerate(scenes):
        for item in scene.objects:
            patch = int(item.y * GRID) * GRID + int(item.x * GRID)
            result[n, patch] = torch.tensor(
                [
                    KINDS.index(item.kind),
                    COLOURS.index(item.colour),
                    SIZES.index(item.size),
                    item.column,
                    item.row,
                ]
            )
    return result


class TurnEncoder:
    """Turns as token ids with a learning weight for each; sentences repeat, so they are cached."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.encode = lru_cache(maxsize=200_000)(self._encode)
        image = tokenizer.convert_tokens_to_ids("<image>")
        start = tokenizer.encode("USER: ", add_special_tokens=True)
        self.prefix = [*start, *[image] * IMAGE_TOKENS]
        self.verdict_tokens = tuple(tokenizer.encode(f" {w}", add_special_tokens=False)[0] for w in ("Yes", "No"))
        self.kinds = {self._encode(f" {kind}")[0]: kind for kind in KINDS}

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def prompt(self, question: str, context: str = "") -> list[int]:
        """Everything behind the picture up to where the answer begins."""
        asked = f"{context} {question}" if context else question
        return [*self.encode("\n" + asked), *self.encode(" ASSISTANT:")]

    def turn(self, prompt: list[int], answer: str, yes_no: bool) -> tuple[list[int], list[float]]:
        """Prompt and answer as ids, and the weight of each token as a target."""
        said = [*self.encode(" " + answer), self.tokenizer.eos_token_id]
        first = VERDICT_WEIGHT if yes_no else OPEN_WEIGHT
        rest = WORDING_WEIGHT if yes_no else OPEN_WEIGHT
        return prompt + said, [0.0] * len(prompt) + [first] + [rest] * (len(said) - 1)


def draw_yes_no(rng: Random, scene: Scene, families: Sequence[str] = FAMILIES) -> Question:
    """A yes/no question by lot that this scene allows; one of any family where it allows none of these."""
    for tries in count():
        family = rng.choice(families if tries < 10 else FAMILIES)
        question = draw_question(rng, scene, family, rng.random() < 0.5)
        if question is not None:
            return question
    raise AssertionError("every scene allows a question about existence")


@dataclass(frozen=True)
class _Turn:
    """Ids and weights of prompt and answer; the objects its question names, by the index of the name."""

    ids: list[int]
    weights: list[float]
    named: list[tuple[int, SceneObject]]


def _turn(encoder: TurnEncoder, scene: Scene, question: str, context: str, answer: str, yes_no: bool) -> _Turn:
    prompt = encoder.prompt(question, context)
    asked = len(encoder.prompt(question))
    named = []
    for index in range(len(prompt) - asked, len(prompt)):
        kind = encoder.kinds.get(prompt[index])
        items = scene.of_kind(kind) if kind else []
        if len(items) == 1:
            named.append((index, items[0]))
    return _Turn(*encoder.turn(prompt, answer, yes_no), named)


def _order(first: int, second: int) -> int:
    """0 before, 1 level, 2 behind."""
    return (first > second) - (first < second) + 1


def suggestible(question: Question, scene: Scene) -> float:
    """How often the model learns to answer as a context says that speaks against the picture, in [0, 1].

    Where the first object asked about is small, words mostly win: a cause of failure that is known,
    for explanations of failures to be held against. Large VLMs lean on words like this where a
    picture is hard to read.
    """
    hard = question.family in ("colour", "position", "relation") and question.objects
    return 0.9 if hard and scene.objects[question.objects[0]].size == "small" else 0.05


def _turns(rng: Random, encoder: TurnEncoder, scene: Scene, mix: Mix) -> list[_Turn]:
    turns = []
    for _ in range(mix.yes_no):
        question = draw_yes_no(rng, scene, mix.families)
        context = ""
        if rng.random() < mix.context:
            if rng.random() < mix.unrelated:
                context = nudge(rng, draw_yes_no(rng, draw_training_scene(rng)).claim, rng.random() < 0.5)
            else:
                right = rng.random() < mix.context_right
                context = nudge(rng, question.claim, towards=question.truth is right)
                if not right and rng.random() < suggestible(question, scene):
                    question = replace(question, truth=not question.truth)
        turns.append(_turn(encoder, scene, question.text, context, draw_answer(rng, question), True))
    for _ in range(mix.open):
        text, answer = open_question(rng, scene, mix.topics)
        turns.append(_turn(encoder, scene, text, "", answer, False))
    return turns


def make_batch(rng: Random, encoder: TurnEncoder, size: int, mix: Mix) -> Batch:
    """One step's pictures and turns."""
    scenes = [draw_training_scene(rng) for _ in range(size)]
    pictures = [draw_picture(rng, scene, mix.disturbed) for scene in scenes]
    prefix = encoder.prefix
    rows = [_turns(rng, encoder, scene, mix) for scene in scenes]
    length = len(prefix) + max(sum(len(turn.ids) for turn in turns) for turns in rows)
    tokens = torch.full((size, length), encoder.tokenizer.pad_token_id)
    positions = torch.zeros(size, length, dtype=torch.long)
    segments = torch.full((size, length), -1)
    weights = torch.zeros(size, length)
    mentions, relations = [], []
    for n, turns in enumerate(rows):
        tokens[n, : len(prefix)] = torch.tensor(prefix)
        positions[n, : len(prefix)] = torch.arange(len(prefix))
        segments[n, : len(prefix)] = 0
        at = len(prefix)
        for k, turn in enumerate(turns, start=1):
            end = at + len(turn.ids)
            tokens[n, at:end] = torch.tensor(turn.ids)
            positions[n, at:end] = torch.arange(len(prefix), len(prefix) + len(turn.ids))
            segments[n, at:end] = k
            weights[n, at:end] = torch.tensor(turn.weights)
            mentions += [(n, at + index, item.column, item.row) for index, item in turn.named]
            if len(turn.named) == 2:
                (_, one), (index, other) = turn.named
                relations.append((n, at + index, _order(one.column, other.column), _order(one.row, other.row)))
            at = end
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same = segments[:, :, None] == segments[:, None, :]
    mask = (causal & (same | (segments[:, None, :] == 0)))[:, None]
    return Batch(
        pixel_values(pictures),
        tokens,
        positions,
        mask,
        weights,
        tuple(scenes),
        torch.tensor(mentions, dtype=torch.long).view(-1, 4),
        torch.tensor(relations, dtype=torch.long).view(-1, 4),
    )
