"""Evaluations to report: some with numbers that are known, some measured by real classes with random weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from isi_core.domain.answer import Answer
from isi_core.domain.attribution import INPUTS, Attribution
from isi_core.domain.decoding import Decoding
from isi_core.domain.evaluation import Evaluation, ModelRecord
from isi_core.domain.interventions import Intervention
from isi_core.domain.observation import Dataset, Observation
from isi_core.domain.trial import Trial
from isi_core.domain.uncertainty import Uncertainty, UncertaintySettings
from isi_core.worlds.scenes.drawing import render_annotated, render_scene
from isi_core.worlds.scenes.graph import draw_held_out_scene

SHARES = {"image": 0.4, "context": 0.2, "question": 0.2, "other": 0.2}


def scene(seed: int = 1, size: int = 128) -> Image.Image:
    """A drawn scene that no training has seen."""
    return render_scene(draw_held_out_scene(Random(seed)), size)


def answer(text: str, log_likelihood: float = -0.25) -> Answer:
    """An answer with one token a word, each of the same likelihood."""
    words = tuple(text.split())
    each = (log_likelihood,) * len(words)
    return Answer(text, tuple(range(len(words))), words, each, each)


def uncertainty(clusters: Sequence[Sequence[str]] = (("Yes.", "Yes.", "Yes, it is."), ("No.",))) -> Uncertainty:
    """Samples in clusters, equally likely each."""
    samples = [answer(text) for texts in clusters for text in texts]
    ids = tuple(i for i, texts in enumerate(clusters) for _ in texts)
    n = len(samples)
    probabilities = tuple(len(texts) / n for texts in clusters)
    entropy = -sum(p * math.log(p) for p in probabilities)
    return Uncertainty(
        samples=tuple(samples),
        implications=tuple(tuple(2 if a == b else 0 for b in ids) for a in ids),
        entailment_probabilities=tuple(tuple(float(a == b) for b in ids) for a in ids),
        semantic_ids=ids,
        cluster_probabilities=probabilities,
        semantic_entropy=entropy,
        cluster_assignment_entropy=entropy,
        predictive_entropy=0.25,
        rao_entropy=1 - sum(p * p for p in probabilities),
        settings=UncertaintySettings(),
    )


def attribution(tokens: Sequence[str] = ("Yes", "."), layers: int = 3, grid: tuple[int, int] = (4, 4)) -> Attribution:
    """`SHARES` in every layer and token; the heat map's last cell gets most."""
    row = np.array([SHARES[name] for name in INPUTS])
    heat = np.arange(1, grid[0] * grid[1] + 1, dtype=float).reshape(grid)
    return Attribution(
        absolute=dict(SHARES),
        relative={name: SHARES[name] / 0.8 for name in INPUTS[:-1]},
        by_layer=np.tile(row, (layers, 1)),
        by_head=np.tile(row, (layers, 2, 1)),
        by_token=np.tile(row, (len(tokens), 1)),
        heat_map=heat / heat.sum() * SHARES["image"],
        tokens=tuple(tokens),
    )


def evaluation(
    text: str = "Yes, it is.",
    *,
    question: str = "Is there a red car?",
    context: str = "",
    truth: bool | None = True,
    interventions: tuple[Intervention, ...] = (),
    image: Image.Image | None = None,
    measured: bool = True,
) -> Evaluation:
    """An evaluation whose numbers are known."""
    kind = "edited" if context else "none"
    trial = Trial("scene_007", image or scene(), context, question, truth, interventions, context_kind=kind)
    made = answer(text)
    return Evaluation(
        trial=trial,
        model=ModelRecord("tiny-llava", "tiny-llava", "0123456789abcdef", "float32", "4-bit"),
        decoding=Decoding(n_samples=4, seed=17, top_k=33, top_p=0.95, repetition_penalty=1.05, max_new_tokens=21),
        prompt=f"USER: <image>\n{context} {question} ASSISTANT:"[:5000],
        answer=made,
        uncertainty=uncertainty() if measured else None,
        attribution=attribution(made.tokens or ("x",)) if measured else None,
        created="2026-11-24T05:45:32+00:00",
        seconds={"model": 0.123},
        versions={"torch": "2.13.0", "numpy": "2.4.6"},
    )


def investigated(folder: Path, count: int = 6) -> tuple[list[Evaluation], list[str]]:
    """The example investigation on a drawn scene, measured by a LLaVA and a DeBERTa with random weights."""
    from isi_core.models.entailment.hugging_face import HuggingFaceEntailment
    from isi_core.models.vlm.hugging_face import HuggingFaceVLM
    from isi_core.studies.trials import build_trial, example_investigation
    from isi_core.studies.vqa import evaluate
    from isi_core.training import nli
    from tests.checkpoints import save_llava

    drawn = draw_held_out_scene(Random(3))
    render_scene(drawn, 128).save(folder / "scene.png")
    render_annotated(drawn, 128).save(folder / "annotated.png")
    observation = Observation(
        "scene",
        1,
        folder / "scene.png",
        folder / "annotated.png",
        "Is there a red car?",
        True,
        "People here like red cars.",
        "Nobody here has ever owned a car.",
    )
    dataset = Dataset("scenes", folder, (observation,))
    save_llava(folder / "llava")
    nli.train(folder / "nli.pt", steps=1, minutes=1, batch=2, seed=0, report_every=100)
    nli.save_model(folder / "nli.pt", folder / "nli")
    vlm = HuggingFaceVLM.load(folder / "llava", "llava")
    entailment = HuggingFaceEntailment.load(folder / "nli", name="nli")
    decoding = Decoding(n_samples=4, max_new_tokens=6)
    evaluations, labels = [], []
    for label, changes in example_investigation()[:count]:
        trial = build_trial(dataset, observation, changes)
        evaluations.append(evaluate(trial, vlm, decoding, ("answer", "uncertainty", "attention"), entailment))
        labels.append(label)
    return evaluations, labels


def reworded(made: Evaluation, **texts: str) -> Evaluation:
    """The same evaluation of a trial with another question or context."""
    return replace(made, trial=replace(made.trial, **texts))
