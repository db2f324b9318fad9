"""How good tiny-diffusion's edits are: `python -m benchmarks.ledits quality`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
from scipy import stats

from isi_core.domain.attributes import Attribute, Edit
from isi_core.measures.statistics import wilson_interval
from isi_core.models.classifiers.hugging_face import HuggingFaceClassifier
from isi_core.models.editors.ledits import LeditsEditor
from isi_core.models.editors.ledits_loading import load_ledits_model
from isi_core.models.editors.ledits_settings import TINY_SETTINGS
from isi_core.models.editors.protocol import Picture
from isi_core.models.editors.render import RenderEditor
from isi_core.worlds.attributed import Subject, world

FACES = world("faces")
MAIN = (
    ("hair", "colour", "grey"),
    ("hair", "colour", "red"),
    ("hair", "length", "bald"),
    ("hair", "length", "long"),
    ("facial hair", "beard", "full"),
    ("facial hair", "beard", "goatee"),
    ("facial hair", "mustache", "handlebar"),
    ("eyewear", "eyeglasses", "round"),
    ("eyewear", "sunglasses", "aviator"),
    ("headwear", "hat", "beanie"),
    ("headwear", "hat", "fedora"),
    ("mouth", "expression", "grin"),
)


def portraits(count: int, seed: int) -> list[Picture]:
    """Pictures of held-out subjects."""
    rng, found = Random(f"ledits benchmark {seed}"), []
    while len(found) < count:
        subject = FACES.draw_subject(rng)
        if subject.held_out:
            found.append(Picture.of(FACES.render(subject), f"face {len(found) + 1}", subject))
    return found


def _with_nothing_over(subject: Subject, path: tuple[str, ...]) -> bool:
    """The portrait lacks the attribute, and nothing it wears would hide it."""
    hidden = {"hair": ("headwear",), "headwear": (), "eyewear": ("eyewear",)}.get(path[0], ())
    if path[:2] == ("hair", "colour") and subject.leaf_of("hair", "length") == "bald":
        return False
    return not FACES.has(subject, path) and not any(FACES.has(subject, (group,)) for group in hidden)


def quality(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Edits of held-out portraits, read and ranked; rows of the table."""
    editor = LeditsEditor(
        load_ledits_model(arguments.model, device=arguments.device),
        replace(
            TINY_SETTINGS,
            steps=arguments.steps,
            skipped=arguments.skipped,
            guidance=arguments.guidance,
            threshold=arguments.threshold,
            masks=arguments.masks,
        ),
    )
    reader = HuggingFaceClassifier.load(arguments.reader, "tiny-attributes")
    classifier = HuggingFaceClassifier.load(arguments.classifier, "tiny-age")
    leaves = [tuple(label.split("/")) for label in reader.labels]
    exact = RenderEditor("faces")
    rows = []
    for path in MAIN:
        attribute = Attribute(path)
        place = leaves.index(path)
        # What takes the attribute's place in its group has to go: it is no drift.
        others = [at for at, leaf in enumerate(leaves) if leaf[:2] != path[:2]]
        wanted = [
            picture
            for picture in portraits(8 * arguments.pictures, arguments.seed)
            if picture.subject is not None and _with_nothing_over(picture.subject, path)
        ][: arguments.pictures]
        base = [editor.reconstruct(picture).image for picture in wanted]
        made = [editor.edit(picture, (Edit(attribute),), 0).image for picture in wanted]
        drawn = [exact.edit(picture, (Edit(attribute),), 0).image for picture in wanted]
        before, after = reader.logits(base) > 0, reader.logits(made) > 0
        in_drawing = reader.logits(drawn) > 0
        shift = classifier.logits(made) - classifier.logits(base)
        true_shift = classifier.logits(drawn) - classifier.logits([picture.image for picture in wanted])
        rows.append(
            {
                "attribute": attribute.text,
                "n": len(wanted),
                "present_before": int(before[:, place].sum()),
                "present": int(after[:, place].sum()),
                "present_in_render": int(in_drawing[:, place].sum()),
                "others_same": float((before[:, others] == after[:, others]).mean()),
                # Log-odds of the second class.
                "influence": float(np.abs(shift[:, 1] - shift[:, 0]).mean()),
                "influence_render": float(np.abs(true_shift[:, 1] - true_shift[:, 0]).mean()),
            }
        )
        print(f"  {attribute.text}: {rows[-1]['present']}/{len(wanted)}", flush=True)
    _print_quality(rows)
    return rows


def _print_quality(rows: list[dict[str, Any]]) -> None:
    print("\n| attribute | read before | read after | read in render | others as before | influence | by render |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        print(
            f"| {row['attribute']} | {row['present_before']}/{row['n']} | {row['present']}/{row['n']} "
            f"| {row['present_in_render']}/{row['n']} | {row['others_same']:.3f} "
            f"| {row['influence']:.3f} | {row['influence_render']:.3f} |"
        )
    present, n = sum(row["present"] for row in rows), sum(row["n"] for row in rows)
    interval = wilson_interval(present, n)
    found = stats.spearmanr([row["influence"] for row in rows], [row["influence_render"] for row in rows])
    print(f"\nread as present: {interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}], target >= 0.70")
    print(f"other attributes unchanged: {np.mean([row['others_same'] for row in rows]):.3f}, target >= 0.80")
    print(f"rank correlation with render, {len(rows)} attributes: {found.statistic:.2f}, target >= 0.70")
