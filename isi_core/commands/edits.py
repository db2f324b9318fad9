"""The command `edits`: make edits ahead, into the edit bank."""

from __future__ import annotations

import argparse
import json
from typing import Any

from isi_core.commands.parts import plain, watched_progress
from isi_core.commands.rank_editor import add_editor, open_editor
from isi_core.commands.rank_parts import add_inputs, open_corpus_named, open_pictures


def _edits_build(arguments: argparse.Namespace) -> None:
    from isi_core.domain.attributes import Edit
    from isi_core.studies.counterfactuals.bank import EditBank, default_bank, fill_bank

    corpus = open_corpus_named(arguments.corpus or arguments.domain)
    attributes = corpus.attributes(arguments.level) if arguments.level else corpus.leaves()
    sets = [(Edit(attribute, -1 if arguments.remove else 1),) for attribute in attributes]
    bank = EditBank(arguments.bank or default_bank())
    pictures, editor = open_pictures(arguments), open_editor(arguments, arguments.pictures is None)
    made, there = fill_bank(bank, editor, pictures, sets, arguments.seed, watched_progress())
    if arguments.json:
        print(json.dumps({"made": made, "there": there, "bank": str(bank.folder)}))
        return
    print(f"{made:,} edits made, {there:,} were there already, in {plain(str(bank.folder))}")


def add(commands: Any) -> None:
    """Add `edits` to the commands."""
    edits = commands.add_parser("edits", help="make edits ahead, into the edit bank")
    actions = edits.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser("build", help="make what is missing of every attribute's edits")
    add_inputs(build)
    add_editor(build)
    build.add_argument("--level", type=int, choices=(1, 2, 3), help="default: leaves")
    build.add_argument("--json", action="store_true", help="JSON instead of words")
    build.set_defaults(run=_edits_build)
