"""`datasets`: what the Dataset Browser does with datasets, scriptable."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isi_core.commands.parts import plain, tell, watched_progress
from isi_core.domain.errors import InputError

if TYPE_CHECKING:
    from isi_core.datasets.importing import Source


_SHOWN = 20  # leaks and pairs that are named; --json has all


def _import(arguments: argparse.Namespace) -> None:
    from isi_core.datasets.catalogue import proposed_name
    from isi_core.datasets.column_mapping import Mapping, guess_mapping
    from isi_core.datasets.importing import import_source, staging_folder

    with staging_folder() as staging:
        source = _source(arguments, staging)
        mapping = None
        if source.table is not None:
            columns = guess_mapping(source.table.columns)
            for part, column in (_pair(text) for text in arguments.column):
                if part not in columns:
                    raise InputError(f"There is no part {part}: choose from {', '.join(columns)}.")
                if column and column not in source.table.columns:
                    raise InputError(
                        f"The table has no column {column}: it has {', '.join(source.table.columns[:30])}."
                    )
                columns[part] = column
            mapping = Mapping(**columns)
        name = arguments.name or proposed_name(source.name)
        imported = import_source(source, name, mapping, watched_progress())
    if arguments.json:
        _print(
            name=imported.name,
            observations=imported.observations,
            annotated=imported.annotated,
            problems=list(imported.problems),
            note=source.note,
            origin=source.origin or None,
        )
        return
    if source.note:
        tell(source.note)
    for problem in imported.problems:
        tell(problem)
    print(f"{imported.observations} observations in the dataset {plain(imported.name)}")


def _source(arguments: argparse.Namespace, staging: Path) -> Source:
    """What is to be imported: a path, or a dataset of the hub where the path is `owner/name` or --hub says so."""
    from isi_core.datasets.hub import ROWS, HubChoice, is_hub_id
    from isi_core.datasets.importing import open_hub, open_source

    options = arguments.config, arguments.split, arguments.revision
    if arguments.hub or is_hub_id(str(arguments.path)):
        rows = ROWS if arguments.rows is None else arguments.rows
        return open_hub(HubChoice(str(arguments.path), *options, rows), watched_progress())
    if any(options) or arguments.rows is not None:
        raise InputError(
            "--config, --split, --revision and --rows are of datasets of the hub: give owner/name or --hub."
        )
    return open_source(arguments.path, staging, progress=watched_progress())


def _pair(text: str) -> tuple[str, str]:
    part, equals, column = text.partition("=")
    if not equals:
        raise InputError(f"--column takes PART=COLUMN, such as question=Question, not {text}.")
    return part.strip(), column.strip()


def _list(arguments: argparse.Namespace) -> None:
    from isi_core.datasets.built_in import load_dataset
    from isi_core.datasets.catalogue import dataset_names

    counts = {name: len(load_dataset(name)) for name in dataset_names()}
    if arguments.json:
        _print_value([{"name": name, "observations": count} for name, count in counts.items()])
        return
    for name, count in counts.items():
        print(f"{plain(name)}  {count} observations")


def _show(arguments: argparse.Namespace) -> None:
    from dataclasses import asdict

    from isi_core.datasets.built_in import load_dataset
    from isi_core.datasets.card import dataset_card
    from isi_core.datasets.linter import find_leaks, near_duplicates
    from isi_core.studies.slices import saved_slices, slice_words

    dataset = load_dataset(arguments.name)
    card = dataset_card(dataset)
    facts: dict[str, Any] = {
        "name": dataset.name,
        "observations": len(dataset),
        "truths": card.truths,
        "families": {},
        "problems": list(dataset.problems),
        "leaks": [asdict(leak) for leak in find_leaks(dataset)],
        "near_duplicates": [asdict(pair) for pair in near_duplicates(dataset, watched_progress())],
        "slices": {name: slice_words(kept) for name, (_, kept) in saved_slices(dataset.name).items()},
    }
    for observation in dataset.observations:
        facts["families"][observation.family] = facts["families"].get(observation.family, 0) + 1
    if arguments.json:
        _print_value(facts)
        return
    print(f"{plain(dataset.name)}: {len(dataset)} observations")
    for name in ("truths", "families"):
        print(f"  {name}: " + ", ".join(f"{plain(str(k) or '-')} {v}" for k, v in facts[name].items()))
    for name in ("problems", "leaks", "near_duplicates"):
        print(f"  {name.replace('_', ' ')}: {len(facts[name])}")
    for leak in facts["leaks"][:_SHOWN]:
        print(f"  {plain(leak['observation'])}: the {leak['which']} context {leak['how']}: {plain(leak['sentence'])}")
    for pair in facts["near_duplicates"][:_SHOWN]:
        print(f"  {plain(pair['first'])} and {plain(pair['second'])}: {pair['bits']} bits of their hashes differ")
    for name, words in facts["slices"].items():
        print(f"  slice {plain(name)}: {plain(words)}")


def _export(arguments: argparse.Namespace) -> None:
    from isi_core.datasets.authoring import export_folder, export_zip
    from isi_core.datasets.built_in import load_dataset

    out: Path = arguments.out
    if out.suffix.lower() == ".zip":
        if out.exists():
            raise InputError(f"{out} is there already: choose another name.")
        try:
            out.write_bytes(export_zip(arguments.name))
        except OSError as error:
            raise InputError(f"{out} cannot be written ({error.strerror}): choose another place.") from None
    else:
        export_folder(load_dataset(arguments.name), out)
    if arguments.json:
        _print(name=arguments.name, out=str(out))
    else:
        print(f"{plain(arguments.name)} in {plain(str(out))}")


def _print(**values: Any) -> None:
    _print_value(values)


def _print_value(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False))


def add(commands: Any) -> None:
    """Add `datasets` with its actions to the commands."""
    datasets = commands.add_parser("datasets", help="import, list, describe and export datasets")
    actions = datasets.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, run: Any, help_: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = actions.add_parser(name, help=help_)
        command.add_argument("--json", action="store_true", help="JSON instead of words")
        command.set_defaults(run=run)
        return command

    taken = action("import", _import, "a folder, zip file or table becomes a dataset; what is left out is told")
    taken.add_argument(
        "path",
        type=Path,
        metavar="PATH",
        help="ISI folder, zip, CSV, JSONL, Parquet, saved dataset, or hub id owner/name",
    )
    taken.add_argument("--hub", action="store_true", help="read PATH by the `datasets` library, also a local folder")
    taken.add_argument("--config", default="", metavar="NAME", help="of the hub's dataset; default: the only one")
    taken.add_argument("--split", default="", metavar="NAME", help="of the hub's dataset; default: the only one")
    taken.add_argument("--revision", default="", metavar="REV", help="branch, tag or commit; default: the newest")
    taken.add_argument("--rows", type=int, metavar="N", help="read only the first N rows from the hub (1,000)")
    taken.add_argument("--name", default="", metavar="N", help="default: the file's")
    taken.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="PART=COLUMN",
        help="which column of a table is what; default: guessed by name",
    )
    action("list", _list, "the datasets there are")
    shown = action("show", _show, "counts, balance, contexts that leak the answer, near-duplicate pictures")
    exported = action("export", _export, "write a dataset as an ISI folder or a zip file")
    for command in (shown, exported):
        command.add_argument("name", metavar="NAME", help="of the dataset, or its folder")
    exported.add_argument("--out", type=Path, required=True, metavar="PATH", help="a new folder, or a new .zip")
