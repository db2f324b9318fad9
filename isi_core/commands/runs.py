"""`runs`: what Run History does, scriptable."""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isi_core.commands.parts import open_shelf, plain, tell, watched_progress
from isi_core.domain.errors import InputError

if TYPE_CHECKING:
    from isi_core.domain.evaluation import Evaluation
    from isi_core.store.runs import Store


def _open(arguments: argparse.Namespace) -> Store:
    from isi_core.store.runs import Store

    return Store(arguments.store)


def _list(arguments: argparse.Namespace) -> None:
    from dataclasses import asdict

    from isi_core.store.run_search import RunFilter, search_runs

    wanted = RunFilter(
        words=arguments.words,
        datasets=(arguments.dataset,) if arguments.dataset else (),
        models=(arguments.model,) if arguments.model else (),
        tag=arguments.tag,
    )
    found, count = search_runs(_open(arguments), wanted, limit=arguments.limit)
    if arguments.json:
        _print({"count": count, "runs": [asdict(run) for run in found]})
        return
    for run in found:
        parts = (run.id, run.created, run.model_name, run.image_kind, run.context_kind, run.verdict, run.question)
        print("  ".join(plain(str(part)) for part in parts))
    if count > len(found):
        tell(f"{count - len(found)} more: raise --limit.")


def _show(arguments: argparse.Namespace) -> None:
    from isi_core.studies.vqa import evaluation_summary

    summary = evaluation_summary(_open(arguments).load(arguments.run_id))
    if arguments.json:
        _print(summary)
        return
    for name, value in summary.items():
        print(f"{name}: {plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))}")


def _export(arguments: argparse.Namespace) -> None:
    from isi_core.datasets.isi_folder import require_empty
    from isi_core.reports.pdf import build_report
    from isi_core.reports.run_export import FOLDER, run_zip
    from isi_core.store.whole_file import write_whole

    out: Path = arguments.out
    single = out.suffix.lower() in (".zip", ".pdf")
    if single and out.exists():
        raise InputError(f"{out} is there already: choose another name.")
    if not single:
        require_empty(out)
    store = _open(arguments)
    made: list[Evaluation] = [store.load(run) for run in arguments.run_id]
    report = build_report(made)
    if single:
        write_whole(out, report if out.suffix.lower() == ".pdf" else run_zip(made, report=report))
    else:
        with zipfile.ZipFile(io.BytesIO(run_zip(made, report=report))) as archive:
            for name in archive.namelist():
                write_whole(out / name.removeprefix(f"{FOLDER}/"), archive.read(name))
    if arguments.json:
        _print({"runs": list(arguments.run_id), "out": str(out)})
        return
    print(f"{len(made)} runs in {plain(str(out))}")


def _rerun(arguments: argparse.Namespace) -> None:
    from dataclasses import asdict

    from isi_core.reports.run_export import read_run
    from isi_core.studies.rerun import repeat

    source: str = arguments.source
    made = [_open(arguments).load(int(source))] if source.isdecimal() else read_run(Path(source))
    shelf = open_shelf()
    same = True
    for before in made:
        again = repeat(before, shelf, watched_progress(), arguments.model)
        same = same and again.same
        if arguments.json:
            differences, circumstances = ([asdict(d) for d in ds] for ds in (again.differences, again.circumstances))
            _print(
                {
                    "digest": before.trial.digest,
                    "same": again.same,
                    "differences": differences,
                    "circumstances": circumstances,
                }
            )
            continue
        print(f"{before.trial.digest[:8]}: {'the same' if again.same else 'not the same'}")
        for difference in (*again.differences, *again.circumstances):
            print(f"  {difference.what}: {plain(difference.before)} -> {plain(difference.after)}")
    if not same:
        raise InputError("It did not come out the same: the lines above say in what.")


def _print(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False))


def add(commands: Any) -> None:
    """Add `runs` with its actions to the commands."""
    runs = commands.add_parser("runs", help="list, show, export and repeat stored runs")
    actions = runs.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, run: Any, help_: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = actions.add_parser(name, help=help_)
        command.add_argument("--store", type=Path, metavar="DIR", help="default: ISI_HOME, else ~/.isi-studio")
        command.set_defaults(run=run)
        return command

    listed = action("list", _list, "the newest runs first")
    listed.add_argument("--words", default="", metavar="TEXT", help="each must occur in question, answer, note or tags")
    for name in ("dataset", "model", "tag"):
        listed.add_argument(f"--{name}", default="", metavar="NAME", help="only runs with this one")
    listed.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (50)")
    shown = action("show", _show, "one run's answer and measures")
    exported = action("export", _export, "runs as a folder or zip file that repeats them, or as a PDF report")
    repeated = action("rerun", _rerun, "put the same trials to the same model again; exit code 2 where it differs")
    shown.add_argument("run_id", type=int, metavar="RUN", help="its number")
    exported.add_argument("run_id", type=int, nargs="+", metavar="RUN", help="their numbers")
    exported.add_argument("--out", type=Path, required=True, metavar="PATH", help="a new folder, .zip or .pdf")
    repeated.add_argument("source", metavar="RUN|PATH", help="a number, an exported zip, or its run.json's folder")
    repeated.add_argument("--model", default="", metavar="NAME", help="where the model lies now")
    for command in (listed, shown, exported, repeated):
        command.add_argument("--json", action="store_true", help="JSON instead of words")
