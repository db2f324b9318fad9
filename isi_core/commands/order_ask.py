"""`order ask`: a vision-language model on step pairs without training, both orders of each."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from isi_core.commands.parts import open_shelf, plain, tell, watched_progress

if TYPE_CHECKING:
    from isi_core.studies.step_order.zero_shot_rows import ZeroShotRow


def _ask(arguments: argparse.Namespace) -> None:
    from isi_core.studies.step_order.asked import AskPlan
    from isi_core.studies.step_order.zero_shot import ask_pairs
    from isi_core.studies.step_order.zero_shot_rows import zero_shot_rows

    plan = AskPlan(
        arguments.data,
        arguments.model,
        arguments.modality,
        arguments.pairs,
        max(arguments.test, arguments.pairs),
        arguments.seed,
        arguments.samples,
        not arguments.no_attention,
        arguments.entailment,
        arguments.quantization,
    )
    progress = watched_progress()
    with ExitStack() as stack:
        shelf = open_shelf()
        vlm = stack.enter_context(shelf.vlm(plan.model, plan.quantization, progress))
        entailment = stack.enter_context(shelf.entailment(plan.entailment, progress)) if plan.samples else None
        asked = ask_pairs(plan, vlm, entailment, progress)
    for problem in asked.problems:
        tell(problem)
    rows = zero_shot_rows(asked.answers)
    if arguments.json:
        told = {
            "plan": asdict(plan),
            "model": dict(asked.model),
            "layout": asked.layout,
            "complete": asked.complete,
            "problems": list(asked.problems),
            "rows": [row.to_json() for row in rows],
            "answers": [asdict(answer) for answer in asked.answers],
        }
        print(json.dumps(told, allow_nan=False))
        return
    print(f"{plain(plan.model)}, {asked.layout}, both orders of {len(asked.answers)} pairs, modality {plan.modality}")
    print(
        f"{'category':<16}{'kind':<9}{'n':>5}{'accuracy':>10}  {'95 % interval':<16}{'both right':>11}"
        f"{'contradicts':>12}{'says yes':>10}{'unclear':>9}{'SE (nats)':>11}"
    )
    for row in rows:
        _print(row)
    whole = rows[-1].attention if rows else None
    if whole:
        print("attention: " + ", ".join(f"{name} {share:.3f}" for name, share in whole.items()))


def _print(row: ZeroShotRow) -> None:
    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    print(
        f"{plain(row.category)[:15]:<16}{row.kind:<9}{row.n:>5}{row.accuracy:>10.3f}  "
        f"{f'[{row.low:.3f}, {row.high:.3f}]':<16}{row.both_right:>11.3f}{share(row.contradictions):>12}"
        f"{share(row.says_yes):>10}{row.unclear:>9.3f}{share(row.semantic_entropy):>11}"
    )


def add_ask(actions: Any) -> None:
    """Add `order ask` to the actions of `order`."""
    command = actions.add_parser("ask", help="a vision-language model on the same pairs, zero-shot, in both orders")
    command.add_argument(
        "--model", default="tiny-llava", metavar="NAME", help="catalogue name, hub id, folder (%(default)s)"
    )
    command.add_argument("--data", default="howto", metavar="NAME", help="how-tos; default: the built-in world")
    command.add_argument("--modality", default="vt", choices=("v", "t", "vt"), help="beside the title (vt)")
    command.add_argument("--pairs", type=int, default=10, metavar="N", help="test pairs of each category (10)")
    command.add_argument(
        "--test", type=int, default=1_000, metavar="N", help="size of the split they are first of (1,000)"
    )
    command.add_argument("--samples", type=int, default=5, metavar="N", help="for the semantic entropy; 0: none (5)")
    command.add_argument("--no-attention", action="store_true", help="do not measure where the model looks")
    command.add_argument(
        "--entailment", default="tiny-nli", metavar="NAME", help="for the semantic entropy (%(default)s)"
    )
    command.add_argument("--quantization", default="none", choices=("none", "4-bit", "8-bit"))
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of the pairs and the samples (0)")
    command.add_argument("--json", action="store_true", help="JSON instead of words")
    command.set_defaults(run=_ask)
