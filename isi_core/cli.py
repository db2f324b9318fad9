"""The command line: everything a page does, scriptable.

Heavy libraries are imported inside the commands that need them, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from isi_core.domain.errors import InputError, StudioError


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise InputError(f"{path} is not a JSON file: check its content.") from None


def _entropy(arguments: argparse.Namespace) -> None:
    from isi_core.measures.semantic_entropy import entropy_cases

    print(json.dumps(entropy_cases(_read_json(arguments.file))))


def build_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = argparse.ArgumentParser(prog="isi_core", description="ISI Studio: see why vision-language models fail.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    entropy = commands.add_parser(
        "entropy", help="entropies and clusters of cases given as token log-likelihoods and implications"
    )
    entropy.add_argument("file", type=Path, help="JSON: a list of {token_log_likelihoods, implications}")
    entropy.set_defaults(run=_entropy)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it worked, 2 with one line on standard error when it did not."""
    arguments = build_parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except StudioError as error:
        print(f"isi_core: {error}", file=sys.stderr)
        return 2
    return 0
