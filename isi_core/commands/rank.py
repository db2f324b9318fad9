"""The commands `rank`, `corpus` and `edits`: rank attributes by their effect on a classifier, as the page does."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isi_core.commands.parts import plain, read_json, tell, watched_progress
from isi_core.commands.rank_parts import (
    EDITORS,
    open_bank,
    open_classifier,
    open_corpus_named,
    open_editor,
    open_pictures,
    open_reader,
)
from isi_core.domain.errors import InputError

if TYPE_CHECKING:
    from isi_core.studies.counterfactuals.results import Result

SEARCHES = ("beam", "greedy", "exhaustive", "racing")
_SHOWN = 10


def _rank(arguments: argparse.Namespace) -> None:
    from isi_core.studies.counterfactuals.edit_checks import CheckSettings
    from isi_core.studies.counterfactuals.run import Settings, estimate, rank

    joint = arguments.joint if arguments.joint is not None else 2 if arguments.search in ("beam", "greedy") else 1
    settings = Settings(
        search=arguments.search,
        beam=arguments.beam,
        threshold=arguments.threshold,
        direction=arguments.direction,
        scale=arguments.scale,
        base=arguments.base,
        joint=joint,
        top=arguments.top,
        sign=-1 if arguments.remove else 1,
        class_label=arguments.target,
        seed=arguments.seed,
        checks=None if arguments.no_checks else CheckSettings(),
    )
    corpus = open_corpus_named(arguments.corpus or arguments.domain)
    pictures = open_pictures(arguments)
    if arguments.estimate:
        found = estimate(corpus, settings, len(pictures))
        print(f"At most {found.sets:,} edit sets, {found.edits:,} edits of {len(pictures)} pictures.")
        return
    out = arguments.out
    if out is not None:
        _ready_folder(out)
    classifier, editor = open_classifier(arguments), open_editor(arguments)
    result = rank(
        pictures,
        corpus,
        editor,
        classifier,
        settings,
        open_bank(arguments),
        None if arguments.no_checks else open_reader(arguments),
        watched_progress(),
    )
    if out is not None:
        _write(result, out / "ranking.json")
    if arguments.json:
        print(json.dumps(result.to_json(), allow_nan=False), flush=True)
    else:
        _print(result)


def _ready_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be made ({error.strerror}): choose another folder.") from None
    if (out / "ranking.json").exists():
        raise InputError(f"{out} holds a ranking already: choose another folder.")


def _write(result: Result, path: Path) -> None:
    try:
        path.write_text(json.dumps(result.to_json(), allow_nan=False), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): choose another folder.") from None


def _print(result: Result) -> None:
    print(f"effect on the {result.settings['scale']} of {plain(result.class_label)}, {len(result.pictures)} pictures")
    print(f"{'influence':>10}{'signed':>9}{'low':>9}{'high':>9}{'floor':>8}{'valid':>7}  attribute")
    for found in result.ranking[:_SHOWN]:
        s = found.signed
        print(
            f"{found.influence:>10.3f}{s.estimate:>+9.3f}{s.low:>+9.3f}{s.high:>+9.3f}{found.floor:>8.3f}"
            f"{found.valid:>4}/{found.images:<2}  {plain(found.attribute.text)}"
        )
    for found in result.apart:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in found.flagged.items())
        print(f"not ranked: {plain(found.attribute.text)}: {plain(reasons)}")
    for joint in result.joint[:_SHOWN]:
        words = " & ".join(edit.text for edit in joint.whole.edits)
        gap = joint.interaction
        print(f"together {joint.whole.signed.estimate:+.3f}, interaction {gap.estimate:+.3f}: {plain(words)}")
    for turned in result.turned[:_SHOWN] if len(result.per_class) else ():
        words = " & ".join(edit.text for edit in turned.edits)
        print(f"turns {turned.count} of {turned.of} {plain(turned.source)} into {plain(turned.target)}: {plain(words)}")
    cost = result.cost
    print(
        f"{cost.edits:,} edits, {cost.edits_made:,} of them made now, {cost.denoiser_evaluations:,} denoiser "
        f"evaluations, {cost.seconds:.1f} s"
    )
    sys.stdout.flush()


def _compare(arguments: argparse.Namespace) -> None:
    from isi_core.studies.counterfactuals.comparison import compare_rankings
    from isi_core.studies.counterfactuals.results import Result

    first, second = (Result.from_json(read_json(path)) for path in (arguments.first, arguments.second))
    found = compare_rankings(first, second, arguments.top)
    if arguments.json:
        print(json.dumps(found.to_json(), allow_nan=False))
        return
    rho = "not known" if found.spearman is None else f"{found.spearman:.3f}"
    print(f"{found.shared} attributes in both rankings, Spearman correlation of their influence {rho}")
    print(f"{len(found.top_shared)} of the first {arguments.top} are the same")
    for row in found.rows[:_SHOWN]:
        print(f"{row.first_place or '-':>5}{row.second_place or '-':>5}  {plain(row.attribute.text)}")


def _corpus_check(arguments: argparse.Namespace) -> None:
    from isi_core.studies.counterfactuals.corpora import open_corpus

    reading = open_corpus(arguments.file)
    for note in reading.notes:
        tell(note)
    corpus = reading.corpus
    if arguments.json:
        print(json.dumps(corpus.to_json(), ensure_ascii=False))
        return
    counts = ", ".join(f"{len(corpus.attributes(level))} of level {level}" for level in (1, 2, 3))
    print(f"{plain(corpus.domain)}: {counts}, {len(corpus.leaves())} leaves")


def _corpus_expand(arguments: argparse.Namespace) -> None:
    from isi_core.domain.corpus_reading import expand_corpus
    from isi_core.studies.counterfactuals.corpora import open_corpus

    corpus = open_corpus_named(arguments.corpus)
    for path in arguments.answers:
        more = open_corpus(path)
        merged = expand_corpus(corpus, more)
        for note in merged.notes:
            tell(f"{path.name}: {note}")
        corpus = merged.corpus
    text = json.dumps(corpus.to_json(), ensure_ascii=False, indent=1)
    if arguments.out is None:
        print(text)
        return
    try:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{arguments.out} cannot be written ({error.strerror}): choose another file.") from None
    print(f"{len(corpus.attributes())} attributes in {plain(str(arguments.out))}")


def _edits_build(arguments: argparse.Namespace) -> None:
    from isi_core.domain.attributes import Edit
    from isi_core.studies.counterfactuals.bank import EditBank, default_bank, fill_bank

    corpus = open_corpus_named(arguments.corpus or arguments.domain)
    attributes = corpus.attributes(arguments.level) if arguments.level else corpus.leaves()
    sets = [(Edit(attribute, -1 if arguments.remove else 1),) for attribute in attributes]
    bank = EditBank(arguments.bank or default_bank())
    made, there = fill_bank(
        bank, open_editor(arguments), open_pictures(arguments), sets, arguments.seed, watched_progress()
    )
    print(f"{made:,} edits made, {there:,} were there already, in {plain(str(bank.folder))}")


def _add_inputs(command: argparse.ArgumentParser) -> None:
    command.add_argument("--domain", default="faces", metavar="NAME", help="a built-in world or corpus (faces)")
    command.add_argument("--corpus", metavar="NAME|FILE", help="attributes; default: those of the domain")
    command.add_argument("--pictures", type=Path, metavar="DIR", help="a folder of pictures; default: drawn ones")
    command.add_argument("--images", type=int, default=24, metavar="N", help="how many pictures (24)")
    command.add_argument("--editor", default="render", choices=EDITORS, help="default: %(default)s")
    command.add_argument("--editor-model", default="", metavar="ID|DIR", help="pipeline of ledits")
    command.add_argument("--bank", type=Path, metavar="DIR", help="where edits are kept; default: below ISI_HOME")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of pictures, edits and resampling (0)")
    command.add_argument("--remove", action="store_true", help="remove attributes instead of adding them")


def _add_rank(commands: Any) -> None:
    command = commands.add_parser("rank", help="rank attributes by their effect on an image classifier")
    actions = command.add_subparsers(dest="action", metavar="[compare]")
    _add_inputs(command)
    command.add_argument(
        "--classifier",
        default="age",
        metavar="NAME",
        help="age, gender, species; hub id or folder; clip:PRESET[@MODEL]; python:MODULE:FUNCTION",
    )
    command.add_argument("--rule", type=Path, metavar="FILE.json", help="a world's rule in the classifier's place")
    command.add_argument("--class", dest="target", default="", metavar="LABEL", help="the class that is scored")
    command.add_argument("--search", default="beam", choices=SEARCHES, help="default: %(default)s")
    command.add_argument("--beam", type=int, default=3, metavar="B", help="beam width (3)")
    command.add_argument("--threshold", type=float, default=0.0, metavar="D", help="least effect of a group (0)")
    command.add_argument("--direction", default="both", choices=("up", "down", "both"))
    command.add_argument("--scale", default="log-odds", choices=("log-odds", "probability", "logit"))
    command.add_argument(
        "--base",
        default="reconstruction",
        choices=("reconstruction", "original"),
        help="what edits are compared with; original gives eq. 1 as printed",
    )
    command.add_argument("--joint", type=int, metavar="N", help="attributes edited together (beam, greedy: 2; else 1)")
    command.add_argument("--top", type=int, default=5, metavar="K", help="places that racing races for (5)")
    command.add_argument("--no-checks", action="store_true", help="do not check whether edits did what they say")
    command.add_argument("--reader", default="", metavar="ID|DIR", help="multi-label classifier that checks edits")
    command.add_argument("--estimate", action="store_true", help="only say how many edits it takes at most")
    command.add_argument("--out", type=Path, metavar="DIR", help="write ranking.json there")
    command.add_argument("--json", action="store_true", help="JSON instead of words")
    command.set_defaults(run=_rank)
    compare = actions.add_parser("compare", help="hold two rankings (ranking.json) against each other")
    compare.add_argument("first", type=Path)
    compare.add_argument("second", type=Path)
    compare.add_argument("--top", type=int, default=5, metavar="K")
    compare.add_argument("--json", action="store_true", help="JSON instead of words")
    compare.set_defaults(run=_compare)


def add(commands: Any) -> None:
    """Add `rank`, `corpus` and `edits` to the commands."""
    _add_rank(commands)
    corpus = commands.add_parser("corpus", help="check and expand attribute corpora")
    actions = corpus.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="read a corpus leniently, and say what was mended")
    check.add_argument("file", type=Path)
    check.add_argument("--json", action="store_true", help="print the corpus as it was understood")
    check.set_defaults(run=_corpus_check)
    expand = actions.add_parser("expand", help="merge lists or a model's answers into a corpus, without doubles")
    expand.add_argument("corpus", metavar="NAME|FILE")
    expand.add_argument("answers", type=Path, nargs="+", metavar="FILE")
    expand.add_argument("--out", type=Path, metavar="FILE", help="default: print it")
    expand.set_defaults(run=_corpus_expand)
    edits = commands.add_parser("edits", help="make edits ahead, into the edit bank")
    actions = edits.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser("build", help="make what is missing of every attribute's edits")
    _add_inputs(build)
    build.add_argument("--level", type=int, choices=(1, 2, 3), help="default: leaves")
    build.set_defaults(run=_edits_build)
