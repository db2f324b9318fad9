"""The command `failure`: can an explainer tell when a model will fail? Run the benchmark, lint data, score a table."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isi_core.commands import failure_causal, failure_transfer
from isi_core.commands.parts import open_shelf, plain, watched_progress
from isi_core.domain.errors import InputError

if TYPE_CHECKING:
    from isi_core.studies.failure.plan import FailurePlan
    from isi_core.studies.failure.results import BenchmarkResult, LintFinding

_TASKS = ("scenes", "dataset", "boolq", "piqa", "winogrande", "social-iqa")
_PRESETS = ("quick look", "paper", "all explainers")


def _run(arguments: argparse.Namespace) -> None:
    from isi_core.studies.failure.run import run

    plan = _plan(arguments)
    result = run(plan, open_shelf(), arguments.out, watched_progress())
    if arguments.json:
        print(json.dumps(_summary(result, arguments.out), allow_nan=False))
        return
    _print_result(result)
    print(f"\nEverything is in {plain(str(arguments.out))}: result.json, cases, pictures and activations.")


def _plan(arguments: argparse.Namespace) -> FailurePlan:
    from isi_core.studies.failure.explainers import EXPLAINERS, find_explainer
    from isi_core.studies.failure.plan import PRESETS

    changes: dict[str, Any] = {
        name: value
        for name, value in {
            "task": arguments.task,
            "source": arguments.source,
            "model": arguments.model,
            "quantization": arguments.quantization,
            "k": arguments.k,
            "layers": None if arguments.layers is None else _layers(arguments.layers),
            "contexts": None if arguments.contexts is None else _words(arguments.contexts),
            "labels": arguments.labels,
            "sampling_k": arguments.sampling_k,
            "samples": arguments.samples,
            "temperature": arguments.temperature,
            "entailment": arguments.entailment,
            "permuted": arguments.permuted,
            "permutations": arguments.permutations,
            "most_asked": arguments.most,
            "seed": arguments.seed,
        }.items()
        if value is not None
    }
    if arguments.explainers is not None:
        keys = _words(arguments.explainers)
        changes["explainers"] = tuple(EXPLAINERS) if keys == ("all",) else keys
        for key in changes["explainers"]:
            find_explainer(key)
    return PRESETS[arguments.preset](**changes)


def _layers(text: str) -> str | tuple[int, ...]:
    if text.strip() in ("five", "all"):
        return text.strip()
    try:
        return tuple(int(word) for word in _words(text))
    except ValueError:
        raise InputError(f"Layers {text[:40]!r} are unknown: give five, all, or numbers such as 1,2,4.") from None


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _summary(result: BenchmarkResult, folder: Path) -> dict[str, Any]:
    """What `run --json` prints: everything but the cases, which `result.json` holds."""
    data = result.to_json()
    keys = ("plan", "model", "pool", "findings", "layers", "comparisons", "permutation", "skipped", "seconds")
    return {
        "folder": str(folder),
        "digest": result.plan.digest,
        **{key: data[key] for key in keys},
        "scores": [_score(entry) for entry in data["scores"]],
        "control": [_score(entry) for entry in data["control"]],
        "conclusions": _conclusions(result),
    }


def _score(entry: dict[str, Any]) -> dict[str, Any]:
    keys = ("p_value", "p_holm", "validation_auc", "train_auc", "average_precision", "brier", "degenerate", "settings")
    return {
        "explainer": entry["explainer"],
        "layer": entry["layer"],
        "n": entry["n_test"],
        "auc": entry["auc"]["estimate"],
        "delong_low": entry["auc"]["low"],
        "delong_high": entry["auc"]["high"],
        "bootstrap_low": entry["bootstrap"]["low"],
        "bootstrap_high": entry["bootstrap"]["high"],
        **{key: entry[key] for key in keys},
    }


def _conclusions(result: BenchmarkResult) -> list[str]:
    from isi_core.studies.failure import conclusions

    bests = {s.explainer: result.best(s.explainer) for s in result.scores}
    said = [conclusions.severe_sentence(result), conclusions.best_sentence(result)]
    said += [conclusions.auc_sentence(best) for best in bests.values() if best is not None]
    if result.permutation is not None:
        said.append(conclusions.permutation_sentence(result.permutation))
    said.append(conclusions.control_sentence(result))
    return [sentence for sentence in said if sentence]


def _print_result(result: BenchmarkResult) -> None:
    pool = result.pool
    print(
        f"{plain(result.plan.model)} on {result.plan.task}: {pool.asked:,} asked, {pool.successes:,} right, "
        f"{pool.failures:,} wrong ({pool.unclear:,} unclear); {result.plan.k:,} + {result.plan.k:,} cases.\n"
    )
    _print_findings(list(result.findings))
    print(
        f"\n{'explainer':<22}{'layer':>6}{'n':>7}{'AUC':>8}  {'DeLong':<17}{'bootstrap':<17}"
        f"{'p (Holm)':>10}{'train':>8}"
    )
    for s in result.scores:
        layer = "" if s.layer is None else str(s.layer)
        delong = "degenerate" if s.degenerate else _bounds(s.auc.low, s.auc.high)
        boot = _bounds(s.bootstrap.low, s.bootstrap.high)
        p = "" if math.isnan(s.p_holm) else f"{s.p_holm:.2g}"
        print(
            f"{s.explainer:<22}{layer:>6}{s.n_test:>7,}{s.auc.estimate:>8.3f}  {delong:<17}{boot:<17}{p:>10}"
            f"{s.train_auc:>8.3f}"
        )
    for key, reason in result.skipped.items():
        print(f"{key}: left out. {plain(reason)}")
    print()
    for sentence in _conclusions(result):
        print(plain(sentence))


def _lint(arguments: argparse.Namespace) -> None:
    from isi_core.studies.failure.lint_files import lint_paths

    findings = lint_paths(arguments.paths)
    if arguments.json:
        print(json.dumps([finding.to_json() for finding in findings], allow_nan=False))
        return
    _print_findings(findings)


def _print_findings(findings: list[LintFinding]) -> None:
    if not findings:
        print("The linter found nothing wrong with the data.")
    for finding in findings:
        print(f"{finding.severity.upper()}  {finding.check} ({finding.count:,})\n    {plain(finding.advice)}")
        if finding.examples:
            print(f"    such as {plain('; '.join(finding.examples[:3]))}")


def _score_table(arguments: argparse.Namespace) -> None:
    from isi_core.studies.failure.score_table import score_table

    found = score_table(arguments.file, resamples=arguments.resamples, seed=arguments.seed)
    if arguments.json:
        print(json.dumps([entry.to_json() for entry in found], allow_nan=False))
        return
    print(f"{'task':<16}{'layer':>6}{'n':>8}{'AUC':>8}  {'DeLong 99.9 %':<18}{'bootstrap 99.9 %':<18}")
    for entry in found:
        interval = entry.bootstrap if entry.degenerate else entry.delong
        if entry.degenerate or not interval.bounded:
            said = f"DeLong is degenerate: {entry.degenerate}"
        elif interval.low > 0.5:
            said = "excludes 0.5: better than chance"
        elif interval.high < 0.5:
            said = "excludes 0.5: worse than chance"
        else:
            said = "includes 0.5: no evidence"
        print(
            f"{plain(entry.task)[:15]:<16}{plain(entry.layer)[:5]:>6}{entry.n:>8,}{entry.delong.estimate:>8.3f}  "
            f"{_bounds(entry.delong.low, entry.delong.high):<18}"
            f"{_bounds(entry.bootstrap.low, entry.bootstrap.high):<18}{said}"
        )


def _bounds(low: float, high: float) -> str:
    return "not known" if math.isnan(low) or math.isnan(high) else f"[{low:.3f}, {high:.3f}]"


def add(commands: Any) -> None:
    """Add `failure` with its subcommands."""
    command = commands.add_parser("failure", help="can an explainer tell when a model will fail?")
    kinds = command.add_subparsers(dest="failure_command", required=True, metavar="COMMAND")
    _add_run(kinds)
    failure_causal.add(kinds)
    failure_transfer.add(kinds)

    lint = kinds.add_parser("lint", help="check a data set of successes and failures for what would fool its user")
    lint.add_argument("paths", type=Path, nargs="+", metavar="DIR|FILE", help="task files, their folder, or a run's")
    lint.add_argument("--json", action="store_true", help="a list of {check, severity, count, examples, advice}")
    lint.set_defaults(run=_lint)

    score = kinds.add_parser("score", help="AUC with 99.9 %% intervals of a CSV file: task, layer, label, score")
    score.add_argument("file", type=Path, metavar="FILE.csv")
    score.add_argument("--resamples", type=_resamples, default=20_000, metavar="N", help="of the bootstrap (20,000)")
    score.add_argument("--seed", type=int, default=0, metavar="S", help="of the bootstrap (0)")
    score.add_argument("--json", action="store_true", help="a list, one entry a task and layer")
    score.set_defaults(run=_score_table)


def _resamples(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1_000 <= int(text) <= 10_000_000:
        raise argparse.ArgumentTypeError("resamples are a number from 1000 to 10000000")
    return int(text)


def _add_run(kinds: Any) -> None:
    command = kinds.add_parser("run", help="collect successes and failures, train explainers, score them")
    command.add_argument("--task", choices=_TASKS, help="default: scenes, generated ones")
    command.add_argument("--source", metavar="PATH", help="the dataset, or the text task's file or folder")
    command.add_argument("--model", help="default: tiny-llava; for text a folder or hub id of a causal language model")
    command.add_argument("--quantization", choices=("none", "4-bit", "8-bit"))
    command.add_argument("--preset", default="quick look", choices=_PRESETS, help="what is not given (%(default)s)")
    command.add_argument("-k", type=int, metavar="N", help="successes and failures, each")
    command.add_argument("--layers", metavar="LIST", help="five, all, or numbers such as 5,10,15")
    command.add_argument("--explainers", metavar="LIST", help="such as last-token,mean-token,semantic-entropy, or all")
    command.add_argument("--contexts", metavar="LIST", help="none,complementary,contradictory,random")
    command.add_argument("--labels", choices=("model", "given"), help="whose answer the labels are (model)")
    command.add_argument("--sampling-k", type=int, metavar="N", help="cases a class for sampled answers (200)")
    command.add_argument("--samples", type=int, metavar="N", help="sampled answers a case (10)")
    command.add_argument("--temperature", type=float, metavar="T", help="of the sampling (0.9)")
    command.add_argument("--entailment", metavar="MODEL", help="compares sampled answers (tiny-nli)")
    command.add_argument("--permuted", metavar="KEY", help="explainer of the permutation null (last-token)")
    command.add_argument("--permutations", type=int, metavar="N", help="shuffles of the permutation null")
    command.add_argument("--most", type=int, metavar="N", help="inputs asked at most (50 k)")
    command.add_argument("--seed", type=int, metavar="S", help="the same seed finds the same numbers (0)")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="new, empty, or a stopped run's folder")
    command.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    command.set_defaults(run=_run)
