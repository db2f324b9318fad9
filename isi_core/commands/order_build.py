"""`order build`: step pairs, or articles of the built-in world, written to a folder."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from isi_core.commands.parts import plain, tell, watched_progress
from isi_core.domain.errors import InputError


def _build(arguments: argparse.Namespace) -> None:
    from dataclasses import asdict

    from isi_core.datasets.howto_articles import BUILT_IN, write_howto_sample
    from isi_core.datasets.step_pairs import SIZES, PairSizes, load_pairs, write_pairs
    from isi_core.datasets.step_statistics import pair_statistics

    if arguments.articles is not None:
        if arguments.source != BUILT_IN:
            raise InputError(f"--articles writes articles of the built-in world: give {BUILT_IN} as the source.")
        count = write_howto_sample(arguments.out, arguments.articles, arguments.seed, arguments.side)
        print(f"{count} articles in {plain(str(arguments.out))}")
        return
    preset = SIZES[arguments.preset]
    sizes = PairSizes(
        preset.train if arguments.train is None else arguments.train,
        preset.validation if arguments.validation is None else arguments.validation,
        preset.test if arguments.test is None else arguments.test,
    )
    splits = load_pairs(
        arguments.source,
        arguments.seed,
        (sizes.train, sizes.validation, sizes.test),
        arguments.min_side,
        watched_progress(),
    )
    for problem in splits.problems:
        tell(problem)
    written = write_pairs(splits, arguments.out, watched_progress())
    rows = pair_statistics(splits)
    if arguments.json:
        print(json.dumps({"pairs": written, "problems": list(splits.problems), "table": [asdict(row) for row in rows]}))
        return
    print(f"{'category':<24}{'kind':<10}{'titles':>7}{'train':>8}{'valid.':>8}{'test':>8}{'words':>7}")
    for row in rows:
        name = plain(row.category)[:23]
        print(
            f"{name:<24}{row.kind:<10}{row.titles:>7}{row.train:>8}{row.validation:>8}{row.test:>8}"
            f"{row.headline_words:>7.1f}"
        )
    print(f"{written} pairs in {plain(str(arguments.out))}")


def add_build(actions: Any) -> None:
    """Add `build` to the actions of `order`."""
    command = actions.add_parser("build", help="make step pairs of articles: filters, split by article, half reversed")
    command.add_argument("source", metavar="SRC", help="howto (drawn), howto-sample, a folder or file of articles")
    command.add_argument("out", metavar="OUT", type=Path, help="a new or empty folder")
    command.add_argument("--preset", default="standard", choices=("quick look", "standard", "large"), help="sizes")
    command.add_argument("--train", type=int, metavar="N", help="pairs of each category for training")
    command.add_argument("--validation", type=int, metavar="N", help="pairs of each category for validation")
    command.add_argument("--test", type=int, metavar="N", help="pairs of each category for test")
    command.add_argument("--min-side", type=int, default=32, metavar="PIXELS", help="least side of a picture (32)")
    command.add_argument("--articles", type=int, metavar="N", help="write N articles of the built-in world instead")
    command.add_argument("--side", type=int, default=96, metavar="PIXELS", help="of the articles' pictures (96)")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="the same seed makes the same files (0)")
    command.add_argument("--json", action="store_true", help="one JSON object")
    command.set_defaults(run=_build)
