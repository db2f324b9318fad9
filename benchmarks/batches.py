"""How much faster trials are answered side by side than one by one: `python -m benchmarks.batches`.

The same trials, model and process, each way several times in turn; the ratio of the medians is what counts. Prompts are
read anew each time. `--conditions` asks about three pictures under three contexts each, as a sweep does, with a
LLaVA-1.5-shaped model of random weights (576 image tokens): every picture read once against nine prompts read whole.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from random import Random

import torch

from benchmarks.vlm_models import FULL, make_vlm
from isi_core.domain.decoding import Decoding
from isi_core.domain.evaluation import Measure
from isi_core.domain.trial import Trial
from isi_core.models.catalogue import DEFAULT_VLM, find_vlm
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.models.vlm.prompt import PromptBuilder
from isi_core.models.vlm.reading import read_once_a_picture, read_prompts
from isi_core.worlds.scenes.drawing import render_scene
from isi_core.worlds.scenes.graph import draw_held_out_scene
from isi_core.worlds.scenes.language import nudge
from isi_core.worlds.scenes.questions import FAMILIES, draw_question

WAYS: dict[str, tuple[Measure, ...]] = {
    "answer": ("answer",),
    "answer and attention": ("answer", "attention"),
    "answer, 10 samples, attention": ("answer", "samples", "attention"),
}


def draw_trials(count: int, seed: int) -> list[Trial]:
    """Questions about scenes that no training has seen, half of them with a context."""
    rng, trials = Random(seed), []
    while len(trials) < count:
        scene = draw_held_out_scene(rng)
        question = draw_question(rng, scene, rng.choice(FAMILIES), rng.random() < 0.5)
        if question is not None:
            context = nudge(rng, question.claim, rng.random() < 0.5) if rng.random() < 0.5 else ""
            name = f"scene {len(trials)}"
            trials.append(Trial(name, render_scene(scene, 256), context, question.text, question.truth))
    return trials


def _seconds(vlm: HuggingFaceVLM, work: Callable[[], object]) -> float:
    vlm.prefills.clear()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def time_conditions(rounds: int, pictures: int = 3) -> None:
    """Print how much faster prompts are read when those with one picture share its reading."""
    model, processor = make_vlm("llava", FULL)
    builder = PromptBuilder(processor, "random llava", None)
    contexts = ("", "Someone said that it is not there.", "Everybody saw that it stands on the left side.")
    trials = [
        Trial(f"scene {seed}", render_scene(draw_held_out_scene(Random(seed)), 336), context, "Is there a fish?", True)
        for seed in range(pictures)
        for context in contexts
    ]
    prompts = [builder.build(trial, 40) for trial in trials]
    seconds: dict[str, list[float]] = {"whole": [], "once": []}
    with torch.inference_mode():
        for _ in range(rounds):
            for name, read in (("whole", read_prompts), ("once", read_once_a_picture)):
                began = time.perf_counter()
                read(model, prompts, True, None, 0)
                seconds[name].append(time.perf_counter() - began)
    whole, once = (statistics.median(seconds[name]) for name in ("whole", "once"))
    print("| what | prompts read whole (s) | pictures read once (s) | ratio |\n| --- | ---: | ---: | ---: |")
    what = f"{len(prompts)} prompts, {pictures} pictures of {len(prompts[0].image)} tokens"
    print(f"| {what} | {whole:.2f} | {once:.2f} | {whole / once:.1f} |")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Side by side against one by one.")
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default=DEFAULT_VLM)
    parser.add_argument("--conditions", action="store_true", help="how much is won where trials share a picture")
    arguments = parser.parse_args()
    if arguments.conditions:
        time_conditions(arguments.rounds)
        return
    row = find_vlm(arguments.model)
    vlm = HuggingFaceVLM.load(row.source, row.name, chat_template=row.chat_template)
    trials, decoding = draw_trials(arguments.trials, seed=7), Decoding()
    vlm.evaluate(trials[:8], decoding, ("answer", "samples", "attention"))  # warm, and both ways compared
    print("| what | one by one (trials/s) | side by side (trials/s) | ratio | target |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, measures in WAYS.items():
        alone, together = [], []
        for _ in range(arguments.rounds):
            alone.append(_seconds(vlm, lambda: [vlm.evaluate([t], decoding, measures) for t in trials]))  # noqa: B023
            together.append(_seconds(vlm, lambda: vlm.evaluate(trials, decoding, measures)))  # noqa: B023
        slow, fast = statistics.median(alone), statistics.median(together)
        print(f"| {name} | {len(trials) / slow:.1f} | {len(trials) / fast:.1f} | {slow / fast:.1f} | ≥ 2 |")


if __name__ == "__main__":
    main()
