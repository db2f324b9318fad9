"""The command `sweep`: plan, run, watch, stop and analyse sweeps, as the page does."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isi_core.commands.parts import open_dataset, open_shelf, plain, read_measures, watched_progress
from isi_core.domain.errors import InputError, ModelError

if TYPE_CHECKING:
    from isi_core.domain.observation import Dataset
    from isi_core.models.shelf import Shelf
    from isi_core.store.sweeps import SweepResult
    from isi_core.studies.sweep.control import Sweeps, SweepStatus
    from isi_core.studies.sweep.plan import SweepPlan
    from isi_core.studies.sweep.run import Engine

_POLL = 0.3  # seconds
_PATIENCE = 20.0  # seconds that a stopped evaluation has to end


def _sweeps(arguments: argparse.Namespace) -> Sweeps:
    from isi_core.store.runs import Store
    from isi_core.studies.jobs import Jobs
    from isi_core.studies.sweep.control import Sweeps

    store = Store(arguments.store)
    return Sweeps(store, Jobs(store, workers=1), _process_shelf)


@cache
def _process_shelf() -> Shelf:
    """Kept until the process ends: were the worker's the last hand on it, it could still be freeing models by then."""
    return open_shelf()


def _engine(arguments: argparse.Namespace) -> Engine | None:
    """The engine that was asked for; None for this process."""
    if arguments.engine == "local":
        if arguments.address is not None or arguments.workers is not None:
            raise InputError("--address and --workers are of the engine ray: add --engine ray.")
        return None
    from isi_core.studies.sweep.ray_engine import AUTO, Cluster, ray_engine

    return ray_engine(Cluster(arguments.address or AUTO, arguments.workers))


def _named(arguments: argparse.Namespace, sweeps: Sweeps) -> str:
    """The sweep that was named, by the start of its id too; without a name the newest."""
    if not arguments.sweep:
        return sweeps.latest()
    found = [status.id for status in sweeps.all() if status.id.startswith(arguments.sweep)]
    if len(found) != 1:
        raise InputError(f"{len(found)} sweeps fit {arguments.sweep[:40]!r}: give more of the id, see `sweep list`.")
    return found[0]


def _planned(arguments: argparse.Namespace, sweeps: Sweeps) -> tuple[str, SweepPlan, Dataset]:
    from isi_core.datasets.built_in import BUILT_IN
    from isi_core.domain.decoding import Decoding
    from isi_core.domain.uncertainty import UncertaintySettings
    from isi_core.studies.sweep.plan import ModelChoice, SweepPlan, dataset_digest, first_observations, grid

    name = _found_by(arguments.dataset) or BUILT_IN
    dataset = open_dataset(arguments.dataset)
    plan = SweepPlan(
        dataset=name,
        dataset_digest=dataset_digest(dataset),
        conditions=grid(_words(arguments.images), _words(arguments.contexts), _perturbations(arguments)),
        models=tuple(ModelChoice(m, arguments.quantization) for m in arguments.model or ["tiny-llava"]),
        decoding=Decoding(n_samples=arguments.samples, temperature=arguments.temperature, seed=arguments.seed),
        measures=tuple(read_measures(arguments.measure)),
        settings=UncertaintySettings(arguments.rule, arguments.likelihood, arguments.entailment),
        seed=arguments.seed,
        observations=_in_slice(arguments, dataset) or first_observations(dataset, arguments.limit),
    )
    return sweeps.create(plan, dataset, arguments.title), plan, dataset


def _in_slice(arguments: argparse.Namespace, dataset: Dataset) -> tuple[str, ...] | None:
    """Ids of the observations in the slice that was named; None without a name."""
    if not arguments.slice:
        return None
    from isi_core.store.runs import Store
    from isi_core.studies.slices import find_slice, slice_members

    found = slice_members(Store(arguments.store), dataset, find_slice(arguments.slice, dataset.name))
    limit = getattr(arguments, "limit", None)
    if not found or (limit is not None and limit < 1):
        raise InputError(f"The slice {arguments.slice[:80]!r} holds no observation: choose another, or all.")
    return tuple(o.id for o in found[:limit])


def _found_by(name: str | None) -> str | None:
    """What finds the dataset again from whichever folder a command is later run in."""
    return str(Path(name).absolute()) if name is not None and Path(name).is_dir() else name


def _words(text: str) -> list[str]:
    return [word for word in (part.strip() for part in text.split(",")) if word]


def _perturbations(arguments: argparse.Namespace) -> list[Any]:
    from isi_core.studies.sweep.plan import Perturbation

    made = []
    for kind in ("noise", "occlusion", "blur"):
        for word in _words(getattr(arguments, kind)):
            try:
                made.append(Perturbation(kind, float(word)))
            except ValueError:
                raise InputError(f"{word[:40]!r} is no strength of {kind}: give numbers such as 25,50.") from None
    return made


def _plan(arguments: argparse.Namespace) -> None:
    engine, sweeps = _engine(arguments), _sweeps(arguments)
    sweep, _, dataset = _planned(arguments, sweeps)
    if arguments.probe:
        sweeps.probe(sweep, dataset, engine)
        _follow(sweeps, sweep)
    _tell_status(sweeps.status(sweep), arguments.json)


def _run(arguments: argparse.Namespace) -> None:
    engine, sweeps = _engine(arguments), _sweeps(arguments)
    sweep, _, dataset = _planned(arguments, sweeps)
    _start(sweeps, sweep, arguments, dataset, engine)


def _resume(arguments: argparse.Namespace) -> None:
    engine, sweeps = _engine(arguments), _sweeps(arguments)
    sweep = _named(arguments, sweeps)
    if arguments.retry_failed:
        sweeps.retry_failures(sweep)
    _start(sweeps, sweep, arguments, None, engine)


def _start(
    sweeps: Sweeps, sweep: str, arguments: argparse.Namespace, dataset: Dataset | None, engine: Engine | None
) -> None:
    sweeps.start(sweep, dataset, engine)
    status = _follow(sweeps, sweep)
    _tell_status(status, arguments.json)
    if status.error:
        raise ModelError(status.error)


def _follow(sweeps: Sweeps, sweep: str) -> SweepStatus:
    """The status once nothing runs any more, also in another process; shows progress where a person watches."""
    # What Ray prints of a lost worker does not belong among the output that a program may read.
    with redirect_stdout(sys.stderr):
        return _followed(sweeps, sweep)


def _followed(sweeps: Sweeps, sweep: str) -> SweepStatus:
    show = watched_progress()
    try:
        while (status := sweeps.wait(sweep, _POLL)).running:
            if show is not None:
                share = (status.done + status.failed) / max(status.planned, 1)
                show(f"{status.message or status.state}{_left(status)}", min(share, 0.999))
    except KeyboardInterrupt:
        sweeps.pause(sweep, at_once=True)
        sweeps.wait(sweep, _PATIENCE)
        raise
    if show is not None:
        print("\x1b[2K", end="", file=sys.stderr, flush=True)
    return status


def _left(status: SweepStatus) -> str:
    from isi_core.reports.wording import duration

    left = f", {duration(status.seconds_left)} left" if status.seconds_left else ""
    return f", {status.failed} failed{left}" if status.failed else left


def _tell_status(status: SweepStatus, as_json: bool) -> None:
    from isi_core.reports.wording import duration, number

    if as_json:
        print(json.dumps(status.to_json(), allow_nan=False), flush=True)
        return
    print(f"{status.id}  {plain(status.title)}")
    rate = "not known yet" if status.rate is None else f"{number(status.rate)} evaluations a second"
    left = "not known yet" if status.seconds_left is None else duration(status.seconds_left)
    rows = [
        ("state", status.state),
        ("planned", f"{status.planned:,}"),
        ("done", f"{status.done:,}"),
        ("failed", f"{status.failed:,}"),
        ("rate", rate),
        ("time left", left),
    ]
    rows += [(f"  {count} ×", error) for error, count in status.failures]
    rows += [
        (f"  {g.condition}", f"{g.done} of {g.planned}, {g.failed} failed, {g.left_out} left out ({g.model})")
        for g in status.groups
    ]
    for title, text in rows:
        print(f"{title:<34}{plain(text)}")
    sys.stdout.flush()


def _status(arguments: argparse.Namespace) -> None:
    sweeps = _sweeps(arguments)
    _tell_status(sweeps.status(_named(arguments, sweeps)), arguments.json)


def _list(arguments: argparse.Namespace) -> None:
    for status in _sweeps(arguments).all():
        if arguments.json:
            print(json.dumps(status.to_json(), allow_nan=False))
        else:
            print(f"{status.id}  {status.state:<12}{status.done:>7,} of {status.planned:,}  {plain(status.title)}")


def _stop(arguments: argparse.Namespace) -> None:
    sweeps = _sweeps(arguments)
    sweep = _named(arguments, sweeps)
    if arguments.action == "pause":
        sweeps.pause(sweep)
    else:
        sweeps.cancel(sweep)
    _tell_status(sweeps.status(sweep), arguments.json)


def _analyse(arguments: argparse.Namespace) -> None:
    from isi_core.reports.published import published_note
    from isi_core.reports.sweep_tables import analysis_json, analysis_text

    sweeps = _sweeps(arguments)
    sweep = _named(arguments, sweeps)
    results, words, warning = _sliced(arguments, sweeps, sweep)
    analysis, found = _analysed(sweeps, sweep, arguments.reference, results)
    if arguments.pdf is not None:
        from isi_core.reports.sweep_report import sweep_report
        from isi_core.store.whole_file import write_whole

        plan, record = sweeps.plan(sweep), sweeps.records.get(sweep)
        write_whole(arguments.pdf, sweep_report(plan, record, results, analysis, found, words, warning))
    if arguments.json:
        print(json.dumps({"slice": words or None, **analysis_json(analysis, found)}, allow_nan=False), flush=True)
        return
    for line in filter(None, (words, warning)):
        print(plain(line))
    print(_plain_lines(analysis_text(analysis, found)))
    if note := published_note(analysis.models):
        print(f"\n{note}")


def _sliced(arguments: argparse.Namespace, sweeps: Sweeps, sweep: str) -> tuple[list[SweepResult], str, str]:
    """The results, of the slice alone where one was named; the slice in words, and what must be said beside them."""
    results = sweeps.results(sweep)
    if not arguments.slice:
        return results, "", ""
    from isi_core.datasets.built_in import load_dataset
    from isi_core.studies.slices import find_slice, slice_warning, slice_words

    dataset = load_dataset(sweeps.plan(sweep).dataset)
    wanted, members = find_slice(arguments.slice, dataset.name), set(_in_slice(arguments, dataset) or ())
    chosen = [r for r in results if r.observation in members]
    if not chosen:
        raise InputError("No evaluation of this sweep lies in this slice: choose another slice, or all.")
    return chosen, f"{arguments.slice}: {slice_words(wanted)}", slice_warning(wanted)


def _export(arguments: argparse.Namespace) -> None:
    from isi_core.reports.sweep_export import sweep_files, write_sweep

    sweeps = _sweeps(arguments)
    sweep = _named(arguments, sweeps)
    analysis, found = _analysed(sweeps, sweep, arguments.reference)
    files = sweep_files(
        sweeps.plan(sweep),
        sweeps.records.get(sweep),
        sweeps.results(sweep),
        sweeps.records.answers(sweep),
        analysis,
        found,
        not arguments.no_figures,
    )
    count = write_sweep(files, arguments.out)
    print(f"{count} files in {plain(str(arguments.out))}")


def _analysed(
    sweeps: Sweeps, sweep: str, reference: str | None, results: list[SweepResult] | None = None
) -> tuple[Any, Any]:
    from isi_core.studies.sweep.analysis import analyse
    from isi_core.studies.sweep.calibration import calibrations

    plan, chosen = sweeps.plan(sweep), sweeps.results(sweep) if results is None else results
    labels = plan.model_labels, plan.condition_keys
    return analyse(chosen, *labels, reference), calibrations(chosen, *labels)


def _plain_lines(text: str) -> str:
    return "\n".join(plain(line) for line in text.split("\n"))


def _add_plan_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dataset", metavar="NAME|DIR", help="default: the built-in one")
    command.add_argument(
        "--model", action="append", metavar="MODEL", help="catalogue name, hub id, folder or endpoint; may be repeated"
    )
    command.add_argument("--quantization", default="none", choices=("none", "4-bit", "8-bit"))
    command.add_argument("--images", default="natural,annotated,random", metavar="LIST", help="default: %(default)s")
    command.add_argument(
        "--contexts", default="none,complementary,contradictory", metavar="LIST", help="default: %(default)s"
    )
    for kind, help_ in (
        ("noise", "also with Gaussian noise of these standard deviations, in grey levels"),
        ("occlusion", "also with these shares of the picture hidden"),
        ("blur", "also blurred by these fractions of the shorter side"),
    ):
        command.add_argument(f"--{kind}", default="", metavar="LIST", help=help_)
    command.add_argument(
        "--measure", default="answer,uncertainty,attention", metavar="LIST", help="default: %(default)s"
    )
    command.add_argument("--slice", default="", metavar="NAME", help="only the observations of this saved slice")
    command.add_argument("--limit", type=int, metavar="N", help="only the first N observations")
    command.add_argument("--entailment", default="tiny-nli", metavar="MODEL", help="compares the sampled answers")
    command.add_argument("--rule", default="loose", choices=("loose", "strict"), help="when two answers mean the same")
    command.add_argument("--likelihood", default="sampling", choices=("sampling", "model"), help="what answers weigh")
    command.add_argument("--samples", type=int, default=10, metavar="N", help="sampled answers (10)")
    command.add_argument("--temperature", type=float, default=0.9, metavar="T", help="of the sampling (0.9)")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of the sampling and all that is random (0)")
    command.add_argument("--title", default="", metavar="TEXT", help="default: dataset, conditions and models")


def add(commands: Any) -> None:
    """Add `sweep` with its actions to the commands."""
    sweep = commands.add_parser("sweep", help="put a whole dataset to models under many conditions, and analyse it")
    actions = sweep.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, run: Any, help_: str, *, named: bool = True) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = actions.add_parser(name, help=help_)
        if named:
            command.add_argument("sweep", nargs="?", default="", metavar="SWEEP", help="its id; default: the newest")
        command.add_argument("--store", type=Path, metavar="DIR", help="default: ISI_HOME, else ~/.isi-studio")
        command.add_argument("--json", action="store_true", help="JSON instead of words")
        command.set_defaults(run=run)
        return command

    plan = action("plan", _plan, "say how many evaluations, and after a short probe how long", named=False)
    plan.add_argument("--no-probe", dest="probe", action="store_false", help="ask no model, do not tell the time")
    run = action("run", _run, "do it; the same plan again does what is missing", named=False)
    for command in (plan, run):
        _add_plan_options(command)
    resume = action("resume", _resume, "do what is missing of a sweep that was stopped or killed")
    resume.add_argument("--retry-failed", action="store_true", help="also try again what failed")
    for command in (plan, run, resume):
        command.add_argument(
            "--engine", default="local", choices=("local", "ray"), help="this process (local), or a Ray cluster (ray)"
        )
        command.add_argument(
            "--address",
            metavar="auto|local|HOST:PORT",
            help="which Ray: this machine's cluster (auto), or one of its own",
        )
        command.add_argument(
            "--workers", type=int, metavar="N", help="on Ray; default: one a GPU, or one a CPU where there is no GPU"
        )
    action("status", _status, "how far a sweep is")
    action("list", _list, "every sweep of the store", named=False)
    action("pause", _stop, "have it stop after the evaluation that is being made")
    action("cancel", _stop, "have it stop at once; what was made stays")
    analyse = action("analyse", _analyse, "intervals, paired effects, calibration, flips, families")
    export = action("export", _export, "write its tables and charts into a folder")
    for command in (analyse, export):
        command.add_argument(
            "--reference", metavar="CONDITION", help="what effects are taken against; default: the first"
        )
    analyse.add_argument("--slice", default="", metavar="NAME", help="only the observations of this saved slice")
    analyse.add_argument("--pdf", type=Path, metavar="FILE", help="also write the analysis as a PDF")
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    export.add_argument("--no-figures", action="store_true", help="tables only")
