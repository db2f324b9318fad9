"""The command line: everything a page does, scriptable.

Heavy libraries are imported inside the commands that need them, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isi_core.commands.parts import (
    MEASURES,
    open_dataset,
    open_shelf,
    plain,
    read_json,
    read_measures,
    tell,
    watched_progress,
)
from isi_core.domain.errors import InputError, StudioError
from isi_core.domain.progress import part_of

if TYPE_CHECKING:
    from isi_core.domain.evaluation import Evaluation
    from isi_core.domain.observation import Dataset, Observation


_COMMAND_FILES = ("sweep", "datasets", "runs", "failure", "rank", "repair", "corpus", "edits", "order")
"""Files of `isi_core/commands` whose function `add` adds a command to the parser."""


def _entropy(arguments: argparse.Namespace) -> None:
    from isi_core.measures.semantic_entropy import entropy_cases

    print(json.dumps(entropy_cases(read_json(arguments.file))))


def _scenes(arguments: argparse.Namespace) -> None:
    from isi_core.datasets.scene_dataset import write_scene_dataset

    write_scene_dataset(arguments.count, arguments.seed, arguments.out, watched_progress())
    print(f"{arguments.count} observations in {plain(str(arguments.out))}")


def _averages(arguments: argparse.Namespace) -> None:
    from isi_core.domain.decoding import Decoding
    from isi_core.studies.averages import averages_path, read_averages, save_averages
    from isi_core.studies.averaging import averages_table, measure_averages

    if arguments.read is not None:
        print(averages_table(read_averages(arguments.read)))
        return
    dataset = open_dataset(arguments.dataset)
    decoding = Decoding(n_samples=arguments.samples, temperature=arguments.temperature, seed=arguments.seed)
    shelf = open_shelf()
    with (
        shelf.vlm(arguments.model, quantization=arguments.quantization) as vlm,
        shelf.entailment(arguments.entailment) as entailment,
    ):
        found = measure_averages(dataset, vlm, entailment, decoding, watched_progress())
    path = arguments.out or averages_path(found.model["name"])
    save_averages(found, path)
    if arguments.table:
        print(averages_table(found))
    else:
        print(f"Averages over {len(dataset)} observations in {plain(str(path))}")


def _evaluate(arguments: argparse.Namespace) -> None:
    from isi_core.domain.decoding import Decoding
    from isi_core.domain.uncertainty import UncertaintySettings
    from isi_core.studies.selection import choose_trial, read_interventions
    from isi_core.studies.vqa import evaluate

    wanted = read_measures(arguments.measure)
    if arguments.report is not None and not arguments.report.absolute().parent.is_dir():
        raise InputError(f"There is no folder {arguments.report.parent}: the report cannot be written there.")
    interventions = read_interventions(read_json(arguments.interventions)) if arguments.interventions else ()
    decoding = Decoding(n_samples=arguments.samples, temperature=arguments.temperature, seed=arguments.seed)
    settings = UncertaintySettings(arguments.rule, arguments.likelihood, arguments.entailment)
    dataset = open_dataset(arguments.dataset)
    every = arguments.observation.strip() == "all"
    chosen = list(dataset.observations) if every else [dataset.find(arguments.observation)]

    def trial_of(observation: Observation) -> Any:
        return choose_trial(
            dataset,
            observation,
            arguments.image,
            arguments.context,
            arguments.question,
            interventions,
            arguments.seed,
        )

    if not every:
        trial_of(chosen[0])  # what cannot be shown is told before a model is loaded
    shelf, progress = open_shelf(), watched_progress()
    done: list[Evaluation] = []
    failed = 0
    with shelf.vlm(arguments.model, quantization=arguments.quantization) as vlm:
        if {"attention", "uncertainty"} <= wanted and not vlm.capabilities.attention:
            tell(f"{vlm.record.name} does not tell its attention: it is left out.")
        for i, observation in enumerate(chosen):
            part = part_of(progress, i / len(chosen), (i + 1) / len(chosen))
            try:
                trial = trial_of(observation)
                if "uncertainty" in wanted:
                    with shelf.entailment(arguments.entailment) as entailment:
                        evaluation = evaluate(trial, vlm, decoding, wanted, entailment, settings, part)
                else:
                    evaluation = evaluate(trial, vlm, decoding, wanted, progress=part)
            except InputError as error:
                if not every:
                    raise
                failed += 1
                tell(f"{observation.id}: {error}")
                continue
            _print_evaluation(evaluation, arguments.json)
            if arguments.report is not None:
                done.append(evaluation)
    if done:
        _write_report(done, arguments.report, dataset)
    if failed:
        raise InputError(f"{failed} of {len(chosen)} observations were left out, each for the reason above.")


def _print_evaluation(evaluation: Evaluation, as_json: bool) -> None:
    from isi_core.studies.vqa import evaluation_summary

    summary = {"observation": evaluation.trial.observation_id, **evaluation_summary(evaluation)}
    if as_json:
        print(json.dumps(summary, allow_nan=False), flush=True)
        return
    trial = evaluation.trial
    rows = [
        ("observation", f"{trial.observation_id} ({trial.image_kind} picture, {trial.context_kind} context)"),
        ("context", trial.context or "none"),
        ("question", trial.question),
        ("answer", summary["answer"] or "(no words)"),
        ("verdict", f"{summary['verdict']}, the truth is {summary['truth']}"),
    ]
    if evaluation.uncertainty is not None:
        predictive = summary["predictive_entropy"]
        by_count = "" if evaluation.uncertainty.likelihoods_available else ", from counts: there are no likelihoods"
        rows.append(("semantic entropy", f"{summary['semantic_entropy']:.3g} nats{by_count}"))
        rows.append(("predictive entropy", "not known" if predictive is None else f"{predictive:.3g} nats a token"))
        rows.append(("clusters", str(summary["n_clusters"])))
        for cluster in summary["clusters"]:
            said = "; ".join(f"{answer['count']} x {answer['text'] or '(no words)'}" for answer in cluster["answers"])
            rows.append(("", f"{cluster['probability']:.3f}  {said}"))
    if evaluation.attribution is not None:
        for title, key in (("attention", "attention"), ("absolute", "attention_absolute")):
            rows.append((title, ", ".join(f"{name} {share:.3f}" for name, share in summary[key].items())))
    record = evaluation.model
    rows.append(("model", f"{record.name}, revision {record.revision[:12]}, {record.dtype}, {record.quantization}"))
    rows.append(("digest", trial.digest[:8]))
    for title, text in rows:
        print(f"{title:<20}{plain(text)}")
    print(flush=True)


def _write_report(evaluations: list[Evaluation], path: Path, dataset: Dataset) -> None:
    from isi_core.reports.pdf import build_report
    from isi_core.studies.averages import load_averages

    report = build_report(evaluations, averages=load_averages(evaluations[0].model.name, dataset.name))
    try:
        path.write_bytes(report)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): choose another file.") from None


def _add_model_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dataset", metavar="DIR", help="a folder in the ISI VQA format; default: the built-in one")
    command.add_argument("--model", default="tiny-llava", help="catalogue name, hub id, folder or endpoint:MODEL@URL")
    command.add_argument("--quantization", default="none", choices=("none", "4-bit", "8-bit"))
    command.add_argument("--entailment", default="tiny-nli", metavar="MODEL", help="compares the sampled answers")
    command.add_argument("--samples", type=int, default=10, metavar="N", help="sampled answers (10)")
    command.add_argument("--temperature", type=float, default=0.9, metavar="T", help="of the sampling (0.9)")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of the sampling and the random presets (0)")


def _add_evaluate(commands: Any) -> None:
    command = commands.add_parser("evaluate", help="ask a model about an observation and measure its answer")
    command.add_argument("--observation", required=True, metavar="ID", help="row number, file stem, or all")
    command.add_argument("--image", metavar="KIND|PATH", help="natural (default), annotated, random, or a picture file")
    command.add_argument(
        "--context", metavar="KIND|TEXT", help="none (default), complementary, contradictory, random, or the words"
    )
    command.add_argument("--question", metavar="TEXT", help="another question; its truth is then unknown")
    command.add_argument("--interventions", type=Path, metavar="FILE.json", help="a JSON list of interventions")
    _add_model_options(command)
    command.add_argument("--rule", default="loose", choices=("loose", "strict"), help="when two answers mean the same")
    command.add_argument("--likelihood", default="sampling", choices=("sampling", "model"), help="what answers weigh")
    command.add_argument("--measure", default=",".join(MEASURES), metavar="LIST", help="default: %(default)s")
    command.add_argument("--json", action="store_true", help="one line of JSON an observation")
    command.add_argument("--report", type=Path, metavar="OUT.pdf", help="write a PDF report")
    command.set_defaults(run=_evaluate)


def build_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = argparse.ArgumentParser(prog="isi_core", description="ISI Studio: see why vision-language models fail.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_evaluate(commands)

    scenes = commands.add_parser("scenes", help="write a new dataset of generated scenes")
    scenes.add_argument("--count", type=int, default=100, metavar="N", help="observations (100)")
    scenes.add_argument("--seed", type=int, default=0, metavar="S", help="the same seed draws the same dataset (0)")
    scenes.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    scenes.set_defaults(run=_scenes)

    averages = commands.add_parser("averages", help="a model's averages over a dataset under every preset")
    _add_model_options(averages)
    averages.add_argument("--out", type=Path, metavar="FILE", help="default: the file that the pages read")
    averages.add_argument("--table", action="store_true", help="print the Markdown table of the README")
    averages.add_argument("--read", type=Path, metavar="FILE", help="print the table of averages made before")
    averages.set_defaults(run=_averages)

    for name in _COMMAND_FILES:
        import_module(f"isi_core.commands.{name}").add(commands)

    entropy = commands.add_parser(
        "entropy", help="entropies and clusters of cases given as token log-likelihoods and implications"
    )
    entropy.add_argument("file", type=Path, help="JSON: a list of {token_log_likelihoods, implications}")
    entropy.set_defaults(run=_entropy)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it worked, 2 with one line on standard error when it did not."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    arguments = build_parser().parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except StudioError as error:
        tell(str(error))
        return 2
    except KeyboardInterrupt:
        tell("Stopped.")
        return 130
    except BrokenPipeError:
        # Whoever read the output has seen enough; what is still buffered must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    return 0
