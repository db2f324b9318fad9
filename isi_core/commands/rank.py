"""The command `rank`: rank attributes by their effect on a classifier, as the page does."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isi_core.commands.parts import plain, read_json, watched_progress
from isi_core.commands.rank_classifier import add_classifier, known_rule, open_classifier, open_reader
from isi_core.commands.rank_editor import add_editor, open_bank, open_editor, refuse_idle
from isi_core.commands.rank_parts import add_inputs, open_corpus_named, open_pictures
from isi_core.commands.rank_truth import truth_behind, truth_json, truth_words
from isi_core.domain.errors import InputError

if TYPE_CHECKING:
    from isi_core.models.classifiers.protocol import AttributeReader
    from isi_core.reports.counterfactual_tables import RankedList
    from isi_core.studies.counterfactuals.results import Result, SetResult

SEARCHES = ("beam", "greedy", "exhaustive", "racing")
_SHOWN = 10
_LISTS = frozenset((".csv", ".tsv", ".txt"))


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
        both_signs=arguments.both_signs,
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
    refuse_idle(arguments)
    out = arguments.out
    if out is not None:
        _ready_folder(out)
    classifier, rule = open_classifier(arguments), known_rule(arguments)
    editor = open_editor(arguments, arguments.pictures is None)
    reader = None if arguments.no_checks else open_reader(arguments, corpus)
    result = rank(
        pictures,
        corpus,
        editor,
        classifier,
        settings,
        open_bank(arguments),
        reader,
        watched_progress(),
    )
    truth = truth_behind(result, rule, pictures)
    told = {
        **result.to_json(),
        "reader": result.settings["reader"],
        "truth": None if truth is None or rule is None else truth_json(truth, rule),
    }
    if out is not None:
        _write(result, told, out)
    if arguments.json:
        print(json.dumps(told, allow_nan=False), flush=True)
        return
    _print(result)
    if rule is not None:
        print(truth_words(truth, rule))
    if unread := _unread(arguments, reader):
        print(unread)
    sys.stdout.flush()


def _unread(arguments: argparse.Namespace, reader: AttributeReader | None) -> str:
    """What was not checked of the edits; "" where all was. Exact edits are known to be what they say."""
    if arguments.no_checks:
        return "edits were not checked (--no-checks)"
    if reader is None and arguments.editor != "render":
        return "presence of the attributes was not checked: name what reads them with --reader (clip:MODEL)"
    return ""


def _ready_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be made ({error.strerror}): choose another folder.") from None
    if (out / "ranking.json").exists():
        raise InputError(f"{out} holds a ranking already: choose another folder.")


def _write(result: Result, told: dict[str, Any], folder: Path) -> None:
    """The ranking, its table for a spreadsheet, and the paper's Table A."""
    from isi_core.reports.counterfactual_tables import ranking_csv, top_rows
    from isi_core.reports.run_tables import csv_bytes
    from isi_core.store.whole_file import write_whole

    write_whole(folder / "ranking.csv", ranking_csv(result))
    write_whole(folder / "table_a.csv", csv_bytes(top_rows(result)))
    write_whole(folder / "ranking.json", json.dumps(told, allow_nan=False))


def _print(result: Result) -> None:
    print(f"effect on the {result.settings['scale']} of {plain(result.class_label)}, {len(result.pictures)} pictures")
    print(f"{'influence':>10}{'signed':>9}{'low':>9}{'high':>9}{'floor':>8}{'valid':>7}  attribute")
    for found in result.ranking[:_SHOWN]:
        s = found.signed
        print(
            f"{found.influence:>10.3f}{_signed(s.estimate):>9}{_signed(s.low):>9}{_signed(s.high):>9}{found.floor:>8.3f}"
            f"{found.valid:>4}/{found.images:<2}  {plain(found.attribute.text)}"
        )
    for found in result.apart:
        print(f"not ranked: {plain(found.attribute.text)}: {_reasons(found)}")
    ranked = [joint for joint in result.joint if joint.whole.ranked]
    for joint in ranked[:_SHOWN]:
        whole, gap = joint.whole, joint.interaction
        words = " & ".join(edit.text for edit in whole.edits)
        print(
            f"together {_signed(whole.signed.estimate)}, interaction {_signed(gap.estimate)}, "
            f"{whole.valid}/{whole.images} edits valid: {plain(words)}"
        )
    for joint in [joint for joint in result.joint if not joint.whole.ranked][:_SHOWN]:
        words = " & ".join(edit.text for edit in joint.whole.edits)
        print(
            f"not ranked together, {joint.whole.valid}/{joint.whole.images} edits valid: {plain(words)}: "
            f"{_reasons(joint.whole)}"
        )
    for turned in result.turned[:_SHOWN] if len(result.per_class) else ():
        words = " & ".join(edit.text for edit in turned.edits)
        print(f"turns {turned.count} of {turned.of} {plain(turned.source)} into {plain(turned.target)}: {plain(words)}")
    cost = result.cost
    print(
        f"{cost.edits:,} edits, {cost.edits_made:,} of them made now, {cost.denoiser_evaluations:,} denoiser "
        f"evaluations, {cost.seconds:.1f} s"
    )


def _signed(value: float) -> str:
    """With its sign; "-" where it is not known, such as the interval of one picture."""
    return f"{value:+.3f}" if math.isfinite(value) else "-"


def _reasons(found: SetResult) -> str:
    """Why edits of a set were flagged, and how many for each reason."""
    return plain(", ".join(f"{reason} ({count})" for reason, count in found.flagged.items()))


def _compare(arguments: argparse.Namespace) -> None:
    if arguments.second.suffix.lower() in _LISTS:
        _compare_with_list(arguments)
        return
    from isi_core.reports.counterfactual_tables import RankedList
    from isi_core.studies.counterfactuals.comparison import compare_rankings
    from isi_core.studies.counterfactuals.results import Result

    first, second = (Result.from_json(read_json(path)) for path in (arguments.first, arguments.second))
    found = compare_rankings(first, second, arguments.top)
    names = [_name_of(result, path) for result, path in ((first, arguments.first), (second, arguments.second))]
    if names[0] == names[1]:
        names = [f"{names[0]} ({path.parent.name or path.stem})" for path in (arguments.first, arguments.second)]
    _write_table_1(arguments, RankedList.of(first, names[0]), RankedList.of(second, names[1]))
    if arguments.json:
        print(json.dumps(found.to_json(), allow_nan=False))
        return
    rho = "not known" if found.spearman is None else f"{found.spearman:.3f}"
    print(f"{found.shared} attributes in both rankings, Spearman correlation of their influence {rho}")
    print(f"{len(found.top_shared)} of the first {arguments.top} are the same")
    for row in found.rows[:_SHOWN]:
        print(f"{row.first_place or '-':>5}{row.second_place or '-':>5}  {plain(row.attribute.text)}")


def _compare_with_list(arguments: argparse.Namespace) -> None:
    """A ranking beside the list of another method: one attribute a line, best first."""
    from isi_core.reports.counterfactual_tables import RankedList, agreement, beside_rows, read_ranked_list
    from isi_core.studies.counterfactuals.results import Result

    result = Result.from_json(read_json(arguments.first))
    try:
        raw = arguments.second.read_bytes()
    except OSError as error:
        raise InputError(f"{arguments.second} cannot be read ({error.strerror}): check the path.") from None
    second = read_ranked_list(raw, arguments.second.name, result.corpus.attributes())
    first = RankedList.of(result, _name_of(result, arguments.first))
    found = agreement(first, second, arguments.top)
    _write_table_1(arguments, first, second)
    if arguments.json:
        told = {
            "shared": found.shared,
            "spearman": None if math.isnan(found.spearman) else found.spearman,
            "top_shared": found.top,
            "top": found.of,
            "rows": beside_rows(first, second, arguments.top),
        }
        print(json.dumps(told, ensure_ascii=False, allow_nan=False))
        return
    rho = "not known" if math.isnan(found.spearman) else f"{found.spearman:.3f}"
    print(f"{found.shared} attributes in both, Spearman correlation of their places {rho}")
    print(f"{found.top} of the first {found.of} are the same")
    for row in beside_rows(first, second, _SHOWN):
        print("  ".join(plain(cell) for cell in row.values()))


def _name_of(result: Result, path: Path) -> str:
    """What a ranking goes by in a table: its classifier."""
    record = result.settings.get("classifier", {})
    return str(record.get("name", "")) or path.stem


def _write_table_1(arguments: argparse.Namespace, first: RankedList, second: RankedList) -> None:
    if arguments.csv is not None:
        from isi_core.reports.counterfactual_tables import beside_rows
        from isi_core.reports.run_tables import csv_bytes
        from isi_core.store.whole_file import write_whole

        write_whole(arguments.csv, csv_bytes(beside_rows(first, second)))


def _add_rank(commands: Any) -> None:
    command = commands.add_parser("rank", help="rank attributes by their effect on an image classifier")
    actions = command.add_subparsers(dest="action", metavar="[compare]")
    add_inputs(command)
    add_classifier(command)
    add_editor(command)
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
    command.add_argument(
        "--both-signs", action="store_true", help="make the strongest joint edit with the other sign too (Figure 8)"
    )
    command.add_argument("--top", type=int, default=5, metavar="K", help="places that racing races for (5)")
    command.add_argument("--no-checks", action="store_true", help="do not check whether edits did what they say")
    command.add_argument("--estimate", action="store_true", help="only say how many edits it takes at most")
    command.add_argument("--out", type=Path, metavar="DIR", help="write ranking.json and its tables there")
    command.add_argument("--json", action="store_true", help="JSON instead of words")
    command.set_defaults(run=_rank)
    compare = actions.add_parser("compare", help="hold two rankings, or a ranking and a list, against each other")
    compare.add_argument("first", type=Path, help="ranking.json")
    compare.add_argument("second", type=Path, help="ranking.json, or .csv, .tsv, .txt: an attribute a line, best first")
    compare.add_argument("--top", type=int, default=5, metavar="K")
    compare.add_argument("--csv", type=Path, metavar="FILE", help="write the paper's Table 1 there")
    compare.add_argument("--json", action="store_true", help="JSON instead of words")
    compare.set_defaults(run=_compare)


def add(commands: Any) -> None:
    """Add `rank` to the commands."""
    _add_rank(commands)
