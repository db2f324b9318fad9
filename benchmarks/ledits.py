"""LEDITS++ with one inversion a picture against the published procedure, and how good tiny-diffusion's edits are.

`python -m benchmarks.ledits cost` runs both procedures with the same pipeline, pictures, attributes and classifier,
one after the other picture by picture, and prints ratios. The published procedure (DiffEx's code) inverts the picture
and scores the original again for every attribute and sample; here a picture is inverted once a sample, reconstructed
once, and scored once; and the same with racing for the top five, where a classifier is there to race by (one sample).
A *call* runs the denoiser once; an *evaluation* is one picture and prompt in its batch. What a picture costs the two
procedures does not depend on the others: with `--timed 6` they run on six of the pictures, three before the race and
three after it, and count for all of them. The race's first five are held against those of every attribute on every
picture; `python -m benchmarks.ledits fill --bank FOLDER`, beside or before it, makes such edits for
`cost --bank FOLDER` from the last picture on. Neither the procedures nor the race read that bank.

`python -m benchmarks.ledits bank` ranks by one classifier into an empty edit bank and by a second one from it, and
prints how much faster the second is.

`python -m benchmarks.ledits quality` edits held-out portraits by twelve main attributes and prints the share that the
reader finds afterwards, the share of other attributes that it reads as before, and the rank correlation of influence
on a classifier with that of the exact editor `render`. It needs the weights of tiny-diffusion, of the reader
(tiny-attributes) and of the classifier (tiny-age).

`cost` and `bank` take a pipeline of random weights where there is no tiny-diffusion. `--json FILE` also writes the
numbers. Nothing passes or fails here.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.ledits_quality import FACES, portraits, quality
from benchmarks.ledits_reuse import TOP, Raced, mean_sizes, print_bank, raced, second_classifier
from isi_core.domain.attributes import Attribute, Edit
from isi_core.models.classifiers.hugging_face import HuggingFaceClassifier
from isi_core.models.editors.ledits import LeditsEditor
from isi_core.models.editors.ledits_loading import LeditsModel, load_ledits_model
from isi_core.models.editors.ledits_settings import TINY_SETTINGS, LeditsSettings
from isi_core.models.editors.protocol import Picture
from isi_core.studies.counterfactuals.bank import EditBank
from isi_core.studies.counterfactuals.effects import Effects

MODELS = Path(__file__).resolve().parents[1] / "assets" / "models"


@dataclass
class Spent:
    """What a procedure took."""

    calls: int = 0
    evaluations: int = 0
    scored: int = 0
    seconds: float = 0.0


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


def _open(arguments: argparse.Namespace) -> tuple[LeditsModel, str, LeditsSettings]:
    """The pipeline, what it is, and its settings; one of random weights where the named one is not there."""
    with tempfile.TemporaryDirectory() as folder:
        source, about = arguments.model, arguments.model.name
        if not (source / "model_index.json").is_file():
            from tests.diffusion_checkpoints import save_sd

            source, about = save_sd(Path(folder)), "random weights, SD architecture"
        model = load_ledits_model(source, device=arguments.device)
    settings = replace(
        TINY_SETTINGS,
        steps=arguments.steps,
        skipped=arguments.skipped,
        guidance=arguments.guidance,
        threshold=arguments.threshold,
        masks=arguments.masks if model.masks else "noise",
    )
    return model, about, settings


def bank(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A second classifier on a full edit bank; rows of the table."""
    model, about, settings = _open(arguments)
    folders = (arguments.classifier, arguments.second)
    classifiers = [HuggingFaceClassifier.load(folder, folder.name) for folder in folders]
    # A first edit and a first answer pay for what is built at first use.
    LeditsEditor(model, settings).edit(portraits(1, 99)[0], (Edit(Attribute(FACES.leaves()[0])),), 0)
    for classifier in classifiers:
        classifier.logits([portraits(1, 99)[0].image])
    pictures = portraits(arguments.pictures, arguments.seed)
    print(f"{about}; {len(pictures)} pictures, {arguments.attributes} leaves, {settings.steps} steps\n")
    rows = second_classifier(model, settings, pictures, classifiers, arguments.attributes)
    print_bank(rows)
    return rows


def fill(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Edits of every attribute into a bank, from the last picture on, for another process's `cost`."""
    if arguments.bank is None:
        raise SystemExit("`fill` needs --bank FOLDER.")
    model, _, settings = _open(arguments)
    pictures = portraits(arguments.pictures, arguments.seed)
    attributes = [Attribute(path) for path in FACES.leaves()[: arguments.attributes]]
    scorer = HuggingFaceClassifier.load(arguments.classifier, "scorer")
    effects = Effects(pictures, LeditsEditor(model, settings), scorer, 1, bank=EditBank(arguments.bank))
    for number in reversed(range(len(pictures))):
        for attribute in attributes:
            effects.edited(number, (Edit(attribute),))
    return [{"what": "edits made", "value": effects.edits_made}]


def cost(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Both procedures, a picture at a time in turn, and a race; rows of the table."""
    model, about, settings = _open(arguments)
    attributes = [Attribute(path) for path in FACES.leaves()[: arguments.attributes]]
    spent = {"published": Spent(), "here": Spent(), "racing": Spent()}
    now = Spent()

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
    pictures = portraits(arguments.pictures, arguments.seed)
    timed = pictures[: arguments.timed or len(pictures)]

    def both(some: list[Picture]) -> None:
        nonlocal now
        for picture in some:
            for name, procedure in (("published", published), ("here", reused)):
                now = spent[name]
                begun = time.perf_counter()
                procedure(model, settings, [picture], attributes, arguments.samples, classify)
                now.seconds += time.perf_counter() - begun

    both(timed[: (len(timed) + 1) // 2])
    found: Raced | None = None
    if scorer is not None and arguments.samples == 1:
        now = spent["racing"]
        begun = time.perf_counter()
        found = raced(model, settings, pictures, attributes, _Watched(scorer, now))
        now.seconds = time.perf_counter() - begun
        print(f"raced: {found.race.edits} edits in {now.seconds:.0f} s", flush=True)
    both(timed[(len(timed) + 1) // 2 :])
    counting.remove()
    told = ""
    if found is not None and scorer is not None:
        means = mean_sizes(found, LeditsEditor(model, settings), scorer, attributes, arguments.bank)
        strongest = np.argsort(-means)[: TOP + 1]
        same = len(set(found.top) & {attributes[i] for i in strongest[:TOP]})
        told = (
            f"racing: {found.race.edits} of {len(pictures) * len(attributes)} edits, {same} of its first {TOP} are "
            f"those of all pictures (mean |change of log-odds| {', '.join(f'{means[i]:.3f}' for i in strongest)} for "
            f"the first {len(strongest)}), {len(found.race.open)} attributes undecided at the end"
        )
    print(
        f"{about}; {len(pictures)} pictures, {len(attributes)} attributes, {arguments.samples} samples, "
        f"{settings.steps} steps, {settings.skipped} skipped, guidance {settings.guidance:g}, masks by "
        f"{settings.masks}; {'with' if scorer else 'without'} a classifier"
    )
    if len(timed) < len(pictures):
        print(
            f"`published` and `here`: taken on {len(timed)} of the pictures, times {len(pictures) / len(timed):.4g}; "
            "`racing`: all of it"
        )
    print()
    rows = _table(spent["published"], spent["here"], spent["racing"] if found else None, len(pictures) / len(timed))
    if told:
        print(f"\n{told}")
        rows.append({"what": "racing", "said": told})
    return rows


def _table(before: Spent, after: Spent, race: Spent | None, times: float) -> list[dict[str, Any]]:
    """Print what each took; `before` and `after` count `times` over."""
    rows: list[dict[str, Any]] = []
    print("| | published | here | ratio | target | racing | ratio | target |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for what, value, target, target_racing in (
        ("denoiser calls", lambda s: s.calls, ">= 1.8", ">= 3"),
        ("denoiser evaluations", lambda s: s.evaluations, "", ""),
        ("pictures scored", lambda s: s.scored, "", ""),
        ("seconds", lambda s: s.seconds, "", ">= 3"),
    ):
        row = {"what": what, "published": times * value(before), "here": times * value(after)}
        row |= {"ratio": value(before) / value(after), "target": target}
        told = f"| {what} | {row['published']:.6g} | {row['here']:.6g} | {row['ratio']:.2f} | {target} "
        if race is not None:
            row |= {"racing": value(race), "ratio_racing": row["published"] / value(race)}
            row |= {"target_racing": target_racing}
            told += f"| {row['racing']:.6g} | {row['ratio_racing']:.2f} | {target_racing} "
        print(f"{told}|")
        rows.append(row)
    return rows


@dataclass(frozen=True)
class _Watched:
    """A classifier whose pictures are counted."""

    scorer: HuggingFaceClassifier
    spent: Spent

    exclusive = True

    @property
    def record(self) -> Any:
        return self.scorer.record

    @property
    def labels(self) -> Any:
        return self.scorer.labels

    def logits(self, images: list[Any]) -> Any:
        self.spent.scored += len(images)
        return self.scorer.logits(images)


def main() -> None:
    """Run one action and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["cost", "fill", "bank", "quality"])
    parser.add_argument("--model", type=Path, default=MODELS / "tiny-diffusion", help="random weights where missing")
    parser.add_argument("--reader", type=Path, default=MODELS / "tiny-attributes")
    parser.add_argument("--classifier", type=Path, default=MODELS / "tiny-age")
    parser.add_argument("--second", type=Path, default=MODELS / "tiny-gender", help="`bank` only: the other classifier")
    parser.add_argument("--pictures", type=int, default=2, help="for `quality`, an attribute")
    parser.add_argument(
        "--attributes", type=int, default=24, help="`cost`, `bank`; `quality` takes the twelve main ones"
    )
    parser.add_argument("--timed", type=int, help="`cost`: pictures that both procedures run on; all of them without")
    parser.add_argument("--bank", type=Path, help="`fill`: folder for the edits; `cost`: where to look for them")
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
    rows = {"cost": cost, "fill": fill, "bank": bank, "quality": quality}[arguments.action](arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
