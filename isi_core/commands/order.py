"""`order`: which step comes first. Pairs, fine-tuning, accuracy a modality, the modality gap, and VLMs asked."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isi_core.commands.order_ask import add_ask
from isi_core.commands.order_build import add_build
from isi_core.commands.parts import plain, tell, watched_progress
from isi_core.domain.errors import InputError

if TYPE_CHECKING:
    from isi_core.domain.step_pairs import PairSplits
    from isi_core.models.encoders.protocol import PairEncoder
    from isi_core.studies.step_order.results import CategoryAccuracy, CurvePoint, GapMoment, ModalityComparison


def _quiet() -> None:
    """The model libraries draw progress bars only where a person watches."""
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        from transformers.utils import logging

        logging.disable_progress_bar()


def _pairs(arguments: argparse.Namespace) -> PairSplits:
    from isi_core.datasets.step_catalogue import howto_names, howto_source
    from isi_core.datasets.step_pairs import SIZES, load_pairs

    standard = SIZES["standard"]
    sizes = (
        getattr(arguments, "train", None) or standard.train,
        getattr(arguments, "validation", None) or standard.validation,
        arguments.test or standard.test,
    )
    named = arguments.data in howto_names()
    if not named and not Path(arguments.data).exists():
        raise InputError(f"There are no how-tos {arguments.data!r}: choose {', '.join(howto_names())}, or a folder.")
    source = howto_source(arguments.data) if named else Path(arguments.data)
    splits = load_pairs(source, arguments.seed, sizes, progress=watched_progress())
    for problem in splits.problems:
        tell(problem)
    return splits


def _train(arguments: argparse.Namespace) -> None:
    from dataclasses import replace

    from isi_core.studies.step_order.settings import default_settings
    from isi_core.studies.step_order.train import train
    from isi_core.studies.step_order.trained import training_folder

    _quiet()
    asked = {name: getattr(arguments, name) for name in ("epochs", "batch", "learning_rate", "patience", "precision")}
    settings = replace(
        default_settings(arguments.encoder),
        seed=arguments.seed,
        **{name: value for name, value in asked.items() if value is not None},
    )
    splits = _pairs(arguments)
    folder = arguments.out or training_folder(
        arguments.encoder, arguments.modality, splits, arguments.category, settings
    )

    def watch(point: CurvePoint) -> None:
        if point.validation_accuracy is not None:
            accuracy = f"validation accuracy {point.validation_accuracy:.3f}"
            tell(f"epoch {point.epoch:.2f}: loss {point.loss:.3f} nats, {accuracy}")

    curve = train(
        arguments.encoder, splits, arguments.modality, folder, settings, arguments.category, watched_progress(), watch
    )
    for problem in curve.skipped:
        tell(problem)
    if arguments.json:
        print(json.dumps({"folder": str(folder), **curve.to_json()}, allow_nan=False))
        return
    best = max(p.validation_accuracy or 0.0 for p in curve.points)
    left_out = f", {curve.skipped_pairs} pairs left out for their pictures" if curve.skipped_pairs else ""
    print(f"{curve.ended} after {curve.points[-1].step} steps, {curve.seconds:.0f} s{left_out}")
    print(f"best validation accuracy {best:.3f} at step {curve.best_step}; its weights are in {plain(str(folder))}")


def _evaluate(arguments: argparse.Namespace) -> None:
    from isi_core.datasets.step_pairs import pair_categories
    from isi_core.studies.step_order.batches import Pictures
    from isi_core.studies.step_order.classifier import load_classifier
    from isi_core.studies.step_order.evaluate import Tested, accuracies, compare_modalities, evaluate
    from isi_core.studies.step_order.trained import trained_on, weights_folder

    _quiet()
    splits = _pairs(arguments)
    folders = [weights_folder(path) for path in arguments.folder] or trained_on(splits.name)
    if not folders:
        raise InputError(
            f"Nothing has been fine-tuned on {splits.name} yet: run `order train` or `order grid --quick` first, "
            "or give a training's folder."
        )
    kinds = pair_categories(splits.test)
    tested: list[Tested] = []
    shared: tuple[str, Pictures] | None = None
    for folder in folders:
        classifier = load_classifier(folder)
        name = classifier.encoder.name
        # The pictures of one encoder are prepared once for its modalities.
        shared = shared if shared is not None and shared[0] == name else (name, Pictures(classifier.encoder))
        found = evaluate(classifier, splits.test, watched_progress(), shared[1])
        for problem in found.problems:
            tell(problem)
        if found.skipped:
            tell(f"{name}, {found.modality}: {found.skipped} pairs are left out for their pictures.")
        tested.append(found)
    rows = [row for one in tested for row in accuracies(one, kinds)]
    if arguments.json:
        print(json.dumps([row.to_json() for row in rows], allow_nan=False))
        return
    _print_rows(rows)
    _print_comparisons(compare_modalities(tested, ()))


def _print_rows(rows: Sequence[CategoryAccuracy]) -> None:
    print(f"{'encoder':<20}{'input':<6}{'category':<20}{'kind':<9}{'accuracy':>8}  {'95 % interval':<15}{'n':>7}")
    for row in rows:
        print(
            f"{plain(row.encoder)[:19]:<20}{row.modality:<6}{plain(row.category)[:19]:<20}{row.kind:<9}"
            f"{row.accuracy:>8.3f}  [{row.low:.3f}, {row.high:.3f}] {row.n:>7}"
        )


def _print_comparisons(rows: Sequence[ModalityComparison]) -> None:
    for row in rows:
        print(
            f"{plain(row.encoder)}, {plain(row.category)}: vt minus {row.other} = {row.difference:+.3f}, "
            f"only vt right {row.only_vt}, only {row.other} right {row.only_other}, McNemar p = {row.p:.3g}"
        )


def _gap(arguments: argparse.Namespace) -> None:
    from isi_core.models.encoders.loading import load_encoder
    from isi_core.studies.step_order.classifier import load_classifier
    from isi_core.studies.step_order.gap import measure_gap
    from isi_core.studies.step_order.gap_shift import SHIFTS
    from isi_core.studies.step_order.trained import weights_folder

    _quiet()
    before = load_encoder(arguments.encoder) if arguments.before is None else _encoder_in(arguments.before)
    after = None if arguments.after is None else load_classifier(weights_folder(arguments.after))
    arguments.train = arguments.validation = 2
    splits = _pairs(arguments)
    found = measure_gap(before, after, splits.test, arguments.steps, watched_progress(), SHIFTS)
    if arguments.json:
        print(json.dumps(found.to_json(), allow_nan=False))
        return
    for name, moment in (("before", found.before), ("after", found.after)):
        if moment is not None:
            _print_moment(name, moment)
    print(f"the two axes hold {found.explained[0]:.1%} and {found.explained[1]:.1%} of the variance of all clouds")
    if found.shift:
        print(
            f"{'shift':<8}{'λ':>7}{'gap':>8}{'matching':>10}{'retrieval':>11}{'true cos':>10}{'random':>8}{'head':>7}"
        )
    for point in found.shift:
        shares = (point.matching, point.retrieval, point.true_cosine, point.random_cosine, point.accuracy)
        words = ["–" if share is None else f"{share:.3f}" for share in shares]
        cells = "".join(f"{word:>{width}}" for word, width in zip(words, (10, 11, 10, 8, 7), strict=True))
        print(f"{point.moment:<8}{point.amount:>+7.3f}{point.distance:>8.3f}{cells}")


def _encoder_in(path: Path) -> PairEncoder:
    """The encoder in a folder: as it was pre-trained, or that of a training."""
    from isi_core.models.encoders.loading import load_encoder
    from isi_core.studies.step_order.classifier import load_classifier
    from isi_core.studies.step_order.trained import weights_folder

    try:
        folder = weights_folder(path)
    except InputError:
        return load_encoder(str(path))
    return load_classifier(folder).encoder


def _print_moment(name: str, moment: GapMoment) -> None:
    print(f"{name:<20}{'n':>6}{'gap':>8}{'true cos':>10}{'random':>8}{'text rank':>11}{'image rank':>12}")
    for row in (moment.whole, *moment.categories):
        print(
            f"{plain(row.category)[:19]:<20}{row.n:>6}{row.distance:>8.3f}{row.true_cosine:>10.3f}"
            f"{row.random_cosine:>8.3f}{row.text_rank:>11.1f}{row.image_rank:>12.1f}"
        )


def _grid(arguments: argparse.Namespace) -> None:
    from dataclasses import asdict

    from isi_core.studies.step_order.grid import grid_plans, over_seeds
    from isi_core.studies.step_order.results import ALL
    from isi_core.studies.step_order.study import read_study, run_study

    _quiet()
    if not 1 <= arguments.seeds <= 20:
        raise InputError("The grid runs with 1 to 20 seeds.")
    modalities = [name.strip() for name in arguments.modalities.split(",") if name.strip()]
    if not modalities or not set(modalities) <= {"v", "t", "vt"}:
        raise InputError("Unknown modality: choose from v, t, vt.")
    encoders = [name.strip() for name in arguments.encoders.split(",") if name.strip()]
    plans = grid_plans(
        arguments.data, arguments.quick, encoders, modalities, arguments.seeds, arguments.seed,
        arguments.epochs or 0, arguments.per_category,
    )  # fmt: skip
    began, processor = time.monotonic(), time.process_time()
    progress = watched_progress() or _Lines()
    grids = [read_study(run_study(plan, progress)).grid for plan in plans]
    tell(f"{time.monotonic() - began:.0f} s, of the processor {time.process_time() - processor:.0f} s.")
    spreads = over_seeds([grid.accuracies for grid in grids])
    if arguments.json:
        told: Any = [row.to_json() for row in grids[0].accuracies]
        if arguments.seeds > 1:
            told = {"grids": [grid.to_json() for grid in grids], "seeds": [asdict(row) for row in spreads]}
        print(json.dumps(told, allow_nan=False))
        return
    if arguments.seeds == 1:
        _print_rows(grids[0].accuracies)
        _print_comparisons([row for row in grids[0].comparisons if row.category == ALL])
        return
    for row in spreads:
        cell = f"{plain(row.encoder)[:19]:<20}{row.modality:<6}{plain(row.category)[:19]:<20}{row.kind:<9}"
        print(f"{cell}{row.mean:.3f} ± {row.deviation:.3f} ({row.seeds} seeds)")


class _Lines:
    """Progress where nobody watches: a line a training, for a log."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, message: str, fraction: float) -> None:
        part, colon, _ = message.partition(":")
        if colon and part != self._last:
            self._last = part
            tell(f"{fraction:4.0%} {part}")


def add(commands: Any) -> None:
    """Add `order` with its actions to the commands."""
    order = commands.add_parser("order", help="which step comes first: pairs, fine-tuning, modalities, modality gap")
    actions = order.add_subparsers(dest="action", required=True, metavar="ACTION")
    add_build(actions)
    add_ask(actions)

    def action(name: str, run: Any, help_: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = actions.add_parser(name, help=help_)
        command.add_argument("--data", default="howto", metavar="NAME|DIR", help="how-tos; default: the built-in world")
        command.add_argument("--seed", type=int, default=0, metavar="S", help="of the pairs and the training (0)")
        command.add_argument("--json", action="store_true", help="JSON instead of words")
        command.set_defaults(run=run)
        return command

    train = action("train", _train, "fine-tune an encoder with a linear head; the same again goes on where it stopped")
    train.add_argument("--encoder", default="tiny-clip", metavar="NAME", help="catalogue name, hub id or folder")
    train.add_argument("--modality", default="vt", choices=("v", "t", "vt"), help="beside the title (vt)")
    train.add_argument("--category", default="all", metavar="NAME", help="one category alone; default: all jointly")
    for split in ("train", "validation", "test"):
        train.add_argument(f"--{split}", type=int, metavar="N", help=f"pairs of each category for {split}")
    train.add_argument("--epochs", type=int, metavar="N", help="default: the paper's 5; tiny encoders have their own")
    train.add_argument("--batch", type=int, metavar="N", help="pairs a step; the paper's: 4")
    train.add_argument("--learning-rate", type=float, metavar="R", help="the paper's: 1e-5")
    train.add_argument("--patience", type=int, metavar="N", help="validations without improvement; 0: to the end")
    train.add_argument("--precision", choices=("auto", "no", "bf16", "fp16"), help="number format of the products")
    train.add_argument("--out", type=Path, metavar="DIR", help="default: a folder of its own in ISI_HOME")
    evaluate = action("evaluate", _evaluate, "accuracy of what was fine-tuned, a category and modality")
    evaluate.add_argument("folder", nargs="*", type=Path, metavar="DIR", help="trainings; default: all on the data")
    evaluate.add_argument("--test", type=int, metavar="N", help="test pairs of each category (1,000)")
    gap = action("gap", _gap, "the modality gap before and after fine-tuning")
    gap.add_argument("--encoder", default="tiny-clip", metavar="NAME", help="as it was pre-trained (tiny-clip)")
    gap.add_argument("--before", type=Path, metavar="DIR", help="another state to begin with")
    gap.add_argument("--after", type=Path, metavar="DIR", help="a training's folder")
    gap.add_argument("--steps", type=int, default=200, metavar="N", help="steps of each category (200)")
    gap.add_argument("--test", type=int, default=200, metavar="N", help="test pairs of each category to take them from")
    gap.add_argument("--shift", action="store_true", help="kept for older scripts: the shift is always measured")
    grid = action("grid", _grid, "encoders × modalities: train, test, compare, measure the gap; resumable")
    grid.add_argument("--quick", action="store_true", help="few pairs, for trying out")
    grid.add_argument("--encoders", default="tiny-clip,tiny-blip,tiny-vit-roberta", metavar="LIST", help="%(default)s")
    grid.add_argument("--modalities", default="v,t,vt", metavar="LIST", help="%(default)s")
    grid.add_argument("--seeds", type=int, default=1, metavar="N", help="repeat with N seeds: mean ± sd")
    grid.add_argument("--epochs", type=int, metavar="N", help="default: each encoder's own number")
    grid.add_argument("--per-category", action="store_true", help="one model a category instead of one of all")
