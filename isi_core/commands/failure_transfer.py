"""The command `failure transfer`: trained in one place, tested in another; and failures that models share."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isi_core.commands.parts import open_shelf, plain, watched_progress

if TYPE_CHECKING:
    from isi_core.studies.failure.transfer import TransferResult


def _run(arguments: argparse.Namespace) -> None:
    from isi_core.studies.failure.results import load_result
    from isi_core.studies.failure.transfer import Run, transfer

    runs = [Run(folder.resolve().name, load_result(folder), folder) for folder in arguments.folders]
    result = transfer(
        runs,
        open_shelf(),
        arguments.explainer,
        arguments.layer,
        arguments.by or ("run" if len(runs) > 1 else "context"),
        progress=watched_progress(),
    )
    if arguments.json:
        print(json.dumps(result.to_json(), allow_nan=False))
        return
    _print(result)


def _print(result: TransferResult) -> None:
    layer = "" if result.layer is None else f", layer {result.layer}"
    print(f"AUC of {plain(result.explainer)}{layer}: trained on the row, tested on the column\n")
    names = [plain(name)[:22] for name in result.domains]
    print(f"{'':<24}" + "".join(f"{name:>24}" for name in names))
    for train, name in zip(result.domains, names, strict=True):
        cells = []
        for test in result.domains:
            auc = result.cell(train, test).auc
            if auc is None:
                cells.append("-")
            elif not auc.bounded:
                cells.append(f"{auc.estimate:.3f}")
            else:
                cells.append(f"{auc.estimate:.3f} [{auc.low:.2f}, {auc.high:.2f}]")
        print(f"{name:<24}" + "".join(f"{cell:>24}" for cell in cells))
    for why in dict.fromkeys(cell.why for cell in result.cells if cell.why):
        print(f"-: {plain(why)}")
    for pair in result.shared:
        print(
            f"\n{plain(pair.first)} and {plain(pair.second)} were asked {pair.n:,} inputs in common: "
            f"{pair.first_failed:,} and {pair.second_failed:,} failures, {pair.both_failed:,} of them of both."
        )
        if pair.share is not None:
            bounds = f" [{pair.share.low:.1%}, {pair.share.high:.1%}]" if pair.share.bounded else ""
            print(f"Failures in common: {pair.share.estimate:.1%}{bounds} of either's; by chance {pair.by_chance:.1%}.")


def add(kinds: Any) -> None:
    """Add `transfer` to the subcommands of `failure`."""
    command = kinds.add_parser("transfer", help="train on one task, context kind or model, test on another")
    command.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="folders of finished `failure run`s")
    command.add_argument("--explainer", default="last-token-tuned", metavar="KEY", help="(%(default)s)")
    command.add_argument("--layer", type=int, metavar="L", help="default: the one the first run's validation chose")
    command.add_argument(
        "--by", choices=("run", "context"), help="domains: runs (of several), or context kinds (of one)"
    )
    command.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    command.set_defaults(run=_run)
