"""The command `failure causal`: does an explanation name a cause of failure?"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isi_core.commands.parts import open_shelf, plain, watched_progress
from isi_core.domain.errors import InputError

if TYPE_CHECKING:
    from isi_core.measures.statistics import Interval
    from isi_core.studies.failure.causal import CausalResult

_PARTS = ("steer", "inputs", "tune")


def _run(arguments: argparse.Namespace) -> None:
    from isi_core.studies.failure.causal import save_causal
    from isi_core.studies.failure.causal_conclusions import causal_sentences
    from isi_core.studies.failure.causal_run import causal_plan, run_causal
    from isi_core.studies.failure.results import load_result

    benchmark = load_result(arguments.folder)
    changes: dict[str, Any] = {
        name: value
        for name, value in {
            "explainer": arguments.explainer,
            "layer": arguments.layer,
            "parts": None if arguments.parts is None else _words(arguments.parts),
            "cases": arguments.cases,
            "directions": arguments.directions,
            "strengths": None if arguments.strengths is None else _numbers(arguments.strengths),
            "inputs": arguments.inputs,
            "slice_size": arguments.slice_size,
            "steps": arguments.steps,
            "seed": arguments.seed,
        }.items()
        if value is not None
    }
    plan = causal_plan(benchmark, **changes)
    result = run_causal(plan, benchmark, open_shelf(), arguments.folder, watched_progress())
    save_causal(result, arguments.folder / f"causal-{plan.digest[:8]}.json")
    if arguments.json:
        print(json.dumps({**result.to_json(), "conclusions": causal_sentences(result)}, allow_nan=False))
        return
    _print(result)


def _print(result: CausalResult) -> None:
    from isi_core.studies.failure.causal_conclusions import causal_sentences

    if result.steering:
        print(
            f"Steering {plain(result.plan.explainer)} at layer {result.layer}, {result.n} test cases, accuracy "
            f"{result.accuracy:.3f} as they are\n{'direction':<17}{'strength':>9}{'accuracy':>10}  "
            f"{'change':<26}{'answers changed':<26}{'beyond random':<26}"
        )
    for row in result.steering:
        beyond = "" if row.beyond_random is None else _interval(row.beyond_random)
        print(
            f"{row.direction:<17}{row.strength:>9g}{row.accuracy:>10.3f}  {_interval(row.change):<26}"
            f"{_interval(row.changed):<26}{beyond:<26}"
        )
    if result.risk:
        print(f"\n{'explainer':<22}{'layer':>6}{'risky':>8}{'any':>8}  {'rise in failures':<26}mostly")
    for risk in result.risk:
        layer = "" if risk.layer is None else str(risk.layer)
        print(
            f"{risk.explainer:<22}{layer:>6}{risk.risky:>8.3f}{risk.random:>8.3f}  {_interval(risk.rise):<26}"
            f"{next(iter(risk.ways), '')}"
        )
    print()
    for sentence in causal_sentences(result):
        print(plain(sentence))


def _interval(found: Interval) -> str:
    if not found.bounded:
        return f"{found.estimate:+.3f}"
    return f"{found.estimate:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in _words(text))
    except ValueError:
        raise InputError(f"Strengths {text[:40]!r} are unknown: give numbers such as 4,16.") from None


def add(kinds: Any) -> None:
    """Add `causal` to the subcommands of `failure`."""
    command = kinds.add_parser("causal", help="steer, change inputs, fine-tune: does an explanation name a cause?")
    command.add_argument("folder", type=Path, metavar="DIR", help="folder of a finished `failure run`")
    command.add_argument("--explainer", metavar="KEY", help="whose direction and score (the run's tuned probe)")
    command.add_argument("--layer", type=int, metavar="L", help="default: the one the validation cases chose")
    command.add_argument("--parts", metavar="LIST", help=f"some of {','.join(_PARTS)} (all)")
    command.add_argument("--cases", type=int, metavar="N", help="test cases that are steered (100)")
    command.add_argument("--directions", type=int, metavar="N", help="random directions beside the probe's (19)")
    command.add_argument("--strengths", metavar="LIST", help="in standard deviations along the direction (4,16)")
    command.add_argument("--inputs", type=int, metavar="N", help="new pictures, each shown in several ways (48)")
    command.add_argument("--slice-size", type=int, metavar="N", help="inputs that are trained on (48)")
    command.add_argument("--steps", type=int, metavar="N", help="steps of training (30)")
    command.add_argument("--seed", type=int, metavar="S", help="the same seed finds the same numbers (0)")
    command.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    command.set_defaults(run=_run)
