"""LEDITS++ with one inversion a picture against the published procedure, and how good tiny-diffusion's edits are.

`python -m benchmarks.ledits cost` runs both procedures with the same pipeline, pictures, attributes and classifier,
one after the other picture by picture, and prints ratios. The published procedure (DiffEx's code) inverts the picture
and scores the original again for every attribute and sample; here a picture is inverted once a sample, reconstructed
once, and scored once. A *call* runs the denoiser once; an *evaluation* is one picture and prompt in its batch.

`python -m benchmarks.ledits quality` edits held-out portraits by twelve main attributes and prints the share that the
reader finds afterwards, the share of other attributes that it reads as before, and the rank correlation of influence
on a classifier with that of the exact editor `render`. It needs the weights of tiny-diffusion, of the reader
(tiny-attributes) and of the classifier (tiny-age).

`--json FILE` also writes the numbers. Nothing passes or fails here.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from scipy import stats

from isi_core.domain.attributes import Attribute, Edit
from isi_core.measures.statistics import wilson_interval
from isi_core.models.classifiers.hugging_face import HuggingFaceClassifier
from isi_core.models.editors.ledits import TINY_SETTINGS, LeditsEditor, LeditsSettings
from isi_core.models.editors.ledits_loading import LeditsModel, load_ledits_model
from isi_core.models.editors.protocol import Picture
from isi_core.models.editors.render import RenderEditor
from isi_core.worlds.attributed import Subject, world

MODELS = Path(__file__).resolve().parents[1] / "assets" / "models"
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


@dataclass
class Spent:
    """What a procedure took."""

    calls: int = 0
    evaluations: int = 0
    scored: int = 0
    seconds: float = 0.0


def portraits(count: int, seed: int) -> list[Picture]:
    """Pictures of held-out subjects."""
    rng, found = Random(f"ledits benchmark {seed}"), []
    while len(found) < count:
        subject = FACES.draw_subject(rng)
        if subject.held_out:
            found.append(Picture.of(FACES.render(subject), f"face {len(found) + 1}", subject))
    return found


def published(
    model: LeditsModel, settings: LeditsSettings, pictures: list[Picture], attributes: list[Attribute], samples: int,
    classifier: Any,
) -> None:  # fmt: skip
    """Invert, score the original, edit and score the edit: for every attribute and sample anew."""
    pipeline = model.pipeline
    for picture in pictures:
        image = picture.image.resize((model.side, model.side))
        for attribute in attributes:
            for sample in range(samples):
                pipeline.invert(
                    image,
                    num_inversion_steps=settings.steps,
                    skip=(settings.skipped + 0.5) / settings.steps,
                    generator=torch.Generator().manual_seed(sample),
                )
                classifier([picture.image])
                edited = pipeline(
                    editing_prompt=[attribute.label],
                    edit_guidance_scale=settings.guidance,
                    edit_threshold=settings.threshold,
                    use_cross_attn_mask=settings.masks != "noise",
                    use_intersect_mask=settings.masks == "intersect",
                ).images
                classifier(edited)


def reused(
    model: LeditsModel, settings: LeditsSettings, pictures: list[Picture], attributes: list[Attribute], samples: int,
    classifier: Any,
) -> None:  # fmt: skip
    """The editor: one inversion a picture and sample, one reconstruction, each scored once."""
    for sample in range(samples):
        editor = LeditsEditor(model, replace(settings, seed=sample))
        for picture in pictures:
            classifier([editor.reconstruct(picture).image])
            for attribute in attributes:
                classifier([editor.edit(picture, (Edit(attribute),), 0).image])


def cost(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Both procedures, a picture at a time in turn; rows of the table."""
    with tempfile.TemporaryDirectory() as folder:
        source, about = arguments.model, arguments.model.name
        if not (source / "model_index.json").is_file():
            from tests.diffusion_checkpoints import save_sd

            source, about = save_sd(Path(folder)), "random weights, SD architecture"
        model = load_ledits_model(source, device=arguments.device)
    settings = replace(TINY_SETTINGS, steps=arguments.steps, skipped=arguments.steps // 3)
    attributes = [Attribute(path) for path in FACES.leaves()[: arguments.attributes]]
    spent = {"published": Spent(), "here": Spent()}
    now = spent["published"]

    def count(_unet: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        now.calls += 1
        now.evaluations += len(given[0] if given else named["sample"])

    def classify(images: list[Any]) -> None:
        now.scored += len(images)
        if scorer is not None:
            scorer.logits(images)

    scorer = HuggingFaceClassifier.load(arguments.classifier, "scorer") if arguments.classifier.is_dir() else None
    counting = model.pipeline.unet.register_forward_pre_hook(count, with_kwargs=True)
    # A first edit pays for what is built at first use.
    LeditsEditor(model, settings).edit(portraits(1, 99)[0], (Edit(attributes[0]),), 0)
    spent["published"] = Spent()
    for picture in portraits(arguments.pictures, arguments.seed):
        for name, procedure in (("published", published), ("here", reused)):
            now = spent[name]
            begun = time.perf_counter()
            procedure(model, settings, [picture], attributes, arguments.samples, classify)
            now.seconds += time.perf_counter() - begun
    counting.remove()
    before, after = spent["published"], spent["here"]
    print(
        f"{about}; {arguments.pictures} pictures, {len(attributes)} attributes, {arguments.samples} samples, "
        f"{settings.steps} steps, {settings.skipped} skipped; {'with' if scorer else 'without'} a classifier\n"
    )
    rows = [
        {"what": "denoiser calls", "published": before.calls, "here": after.calls, "target": ">= 1.8"},
        {"what": "denoiser evaluations", "published": before.evaluations, "here": after.evaluations, "target": ""},
        {"what": "pictures scored", "published": before.scored, "here": after.scored, "target": ""},
        {"what": "seconds", "published": before.seconds, "here": after.seconds, "target": ""},
    ]
    print("| | published | here | ratio | target |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        row["ratio"] = row["published"] / row["here"]
        print(f"| {row['what']} | {row['published']:.6g} | {row['here']:.6g} | {row['ratio']:.2f} | {row['target']} |")
    return rows


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


def main() -> None:
    """Run one action and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["cost", "quality"])
    parser.add_argument("--model", type=Path, default=MODELS / "tiny-diffusion", help="random weights where missing")
    parser.add_argument("--reader", type=Path, default=MODELS / "tiny-attributes")
    parser.add_argument("--classifier", type=Path, default=MODELS / "tiny-age")
    parser.add_argument("--pictures", type=int, default=2, help="for `quality`, an attribute")
    parser.add_argument("--attributes", type=int, default=24, help="`cost` only; `quality` takes the twelve main ones")
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--steps", type=int, default=TINY_SETTINGS.steps)
    parser.add_argument("--skipped", type=int, default=TINY_SETTINGS.skipped)
    parser.add_argument("--guidance", type=float, default=TINY_SETTINGS.guidance)
    parser.add_argument("--threshold", type=float, default=TINY_SETTINGS.threshold)
    parser.add_argument("--masks", choices=["intersect", "attention", "noise"], default=TINY_SETTINGS.masks)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default=None)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = cost(arguments) if arguments.action == "cost" else quality(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
