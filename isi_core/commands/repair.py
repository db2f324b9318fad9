"""The command `repair`: counterfactuals of an attribute join the training set, and the classifier is fitted again."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isi_core.commands.parts import plain, tell, watched_progress
from isi_core.commands.rank_classifier import open_rule
from isi_core.commands.rank_editor import add_editor, open_bank, open_editor, refuse_idle
from isi_core.commands.rank_parts import embedded
from isi_core.domain.errors import InputError

if TYPE_CHECKING:
    from isi_core.measures.statistics import Interval
    from isi_core.models.editors.protocol import ImageEditor
    from isi_core.studies.counterfactuals.repair_results import RepairResult
    from isi_core.worlds.rules import Rule


def _repair(arguments: argparse.Namespace) -> None:
    from isi_core.domain.attributes import Attribute
    from isi_core.models.classifiers.fitting import FitSettings
    from isi_core.models.classifiers.hugging_face import HuggingFaceClassifier
    from isi_core.reports.counterfactual_repair import repair_csv
    from isi_core.store.whole_file import write_whole
    from isi_core.studies.counterfactuals.repair import RepairSettings, repair
    from isi_core.studies.counterfactuals.repair_task import WorldTask

    rule = open_rule(arguments.rule)
    if arguments.attribute:
        attribute = Attribute(tuple(label.strip() for label in arguments.attribute.split("/")))
    elif rule.spurious is not None:
        attribute = Attribute(rule.spurious)
    else:
        raise InputError(f"The rule {rule.name} names no spurious attribute: name one with --attribute.")
    along = arguments.along or rule.spurious_class or rule.classes[-1]
    task = WorldTask(
        rule, attribute, along, arguments.share, arguments.pictures, arguments.held_out, margin=arguments.margin
    )
    settings = RepairSettings(
        arguments.counterfactuals,
        arguments.seeds,
        arguments.seed,
        not arguments.no_control,
        FitSettings(arguments.steps, arguments.batch, arguments.rate, fresh=arguments.fresh),
    )
    name = arguments.classifier or rule.name.removeprefix(f"{rule.world}-")
    source = embedded(name) or (Path(name) if Path(name).is_dir() else name)
    classifier = HuggingFaceClassifier.load(source, name)
    if classifier.labels != rule.classes:
        tell(f"{name} tells other classes than {', '.join(rule.classes)}: its head is made anew and fitted.")
        classifier = HuggingFaceClassifier.load_for(rule.classes, source, name)
    result = repair(task, classifier, _editor(arguments, rule), settings, open_bank(arguments), watched_progress())
    if arguments.csv is not None:
        write_whole(arguments.csv, repair_csv(result))
    if result.trials[0].made < settings.counterfactuals:
        tell(f"Only {result.trials[0].made} counterfactuals could be made of the training pictures.")
    if arguments.json:
        print(json.dumps(result.to_json(), allow_nan=False), flush=True)
    else:
        _print(result)


def _editor(arguments: argparse.Namespace, rule: Rule) -> ImageEditor:
    from isi_core.studies.counterfactuals.repair_task import SIDE

    arguments.domain = rule.world
    if arguments.editor == "render":
        from isi_core.models.editors.render import RenderEditor

        refuse_idle(arguments)
        return RenderEditor(rule.world, SIDE)
    return open_editor(arguments, built_in=True)


def _print(result: RepairResult) -> None:
    task = result.settings["task"]
    print(
        f"{plain(' › '.join(task['attribute']))} goes along with {plain(task['along'])} in {task['share']:.0%} of the "
        f"training pictures; {len(result.trials)} seeds, {result.settings['counterfactuals']} counterfactuals"
    )
    for group, size in result.sizes.items():
        print(f"{group} ({size} pictures)")
        if result.start is not None:
            print(f"  {'as it came':<24}{result.start[group]:.3f}")
        for arm in result.arms:
            change = "" if arm == "before" else f"   change {_interval(result.change(arm, group), '+')}"
            print(f"  {arm:<24}{_interval(result.accuracy(arm, group))}{change}")
    print(f"{result.seconds:.1f} s")


def _interval(found: Interval, sign: str = "") -> str:
    bounds = f" [{found.low:{sign}.3f}, {found.high:{sign}.3f}]" if found.bounded else ""
    return f"{found.estimate:{sign}.3f}{bounds}"


def add(commands: Any) -> None:
    """Add `repair` to the commands."""
    command = commands.add_parser(
        "repair", help="fit a biased classifier again with counterfactuals, and compare before and after"
    )
    command.add_argument("--rule", default="faces-age", metavar="NAME|FILE", help="labels the pictures (faces-age)")
    command.add_argument("--attribute", default="", metavar="A/B/C", help="default: the rule's spurious attribute")
    command.add_argument("--along", default="", metavar="CLASS", help="the class it goes along with in training")
    command.add_argument("--classifier", default="", metavar="NAME", help="default: the embedded one of the rule")
    command.add_argument("--counterfactuals", type=int, default=100, metavar="N", help="how many are added (100)")
    command.add_argument("--seeds", type=int, default=5, metavar="K", help="trials (5)")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="the first one (0)")
    command.add_argument("--pictures", type=int, default=400, metavar="N", help="training pictures (400)")
    command.add_argument("--held-out", type=int, default=300, metavar="N", help="subjects of the examination (300)")
    command.add_argument("--share", type=float, default=0.94, metavar="P", help="how far they go together (0.94)")
    command.add_argument("--margin", type=float, default=2.0, metavar="M", help="log-odds of a clear case (2)")
    command.add_argument("--steps", type=int, default=120, metavar="N", help="steps of a fit (120)")
    command.add_argument("--batch", type=int, default=64, metavar="N", help="pictures a step (64)")
    command.add_argument("--rate", type=float, default=1e-3, metavar="R", help="learning rate (0.001)")
    command.add_argument("--fresh", action="store_true", help="begin with random weights instead of the classifier's")
    command.add_argument("--no-control", action="store_true", help="do not fit with further pictures beside")
    add_editor(command)
    command.add_argument("--csv", type=Path, metavar="FILE", help="write Table C there")
    command.add_argument("--json", action="store_true", help="JSON instead of words")
    command.set_defaults(run=_repair)
