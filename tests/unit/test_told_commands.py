"""Every command that README and docs tell a reader to type is understood by the parser that would get it."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

from isi_core.cli import build_parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_COMMAND = re.compile(r"python -m (isi_core(?:\.training\.\w+)?)(?![\w.])((?:(?!&&)[^\n`])*)")


def told(text: str) -> list[tuple[str, list[str], str]]:
    """(module, words, what else the comment names) of each command; pipes end one, "..." stands for nothing."""
    found = []
    # A line that ends in a backslash goes on; so does code between backticks that a paragraph breaks.
    joined = re.sub(r"`[^`\n]*\n?[^`\n]*`", lambda m: m[0].replace("\n", " "), text.replace("\\\n", " "))
    for module, rest in _COMMAND.findall(joined):
        line, _, comment = rest.partition(" #")
        words = [word for word in shlex.split(re.split(r"\s[|;>]", line)[0]) if word not in ("...", "…")]
        also = re.search(r"also: ([\w, -]+)", comment)
        found.append((module, words, also[1] if also else ""))
    return found


COMMANDS = [(page.name, *command) for page in PAGES for command in told(page.read_text(encoding="utf-8"))]
OWN = [(page, words, also) for page, module, words, also in COMMANDS if module == "isi_core"]
TRAINING = [(module, words) for _, module, words, _ in COMMANDS if module != "isi_core"]


def understood(words: Sequence[str]) -> bool:
    """Whether the real parser takes the words; it ends with 0 where they ask for help."""
    try:
        build_parser().parse_args(words)
    except SystemExit as ended:
        return ended.code == 0
    return True


def test_the_pages_tell_commands_and_what_is_none_is_found() -> None:
    assert len(OWN) >= 20 and len(TRAINING) >= 6
    assert {"evaluate", "rank", "repair", "corpus", "failure", "order", "sweep"} <= {words[0] for _, words, _ in OWN}
    assert [words for _, words, _ in told("python -m isi_core runs list && python -m isi_core sweep status > x")] == [
        ["runs", "list"],
        ["sweep", "status"],
    ]
    [(_, words, also)] = told("    python -m isi_core corpus extract PICTURES --model MODEL   # also: expand, check\n")
    assert words == ["corpus", "extract", "PICTURES", "--model", "MODEL"] and also == "expand, check"
    assert not understood(words)
    assert told("`python -m isi_core repair\n--seeds 5`")[0][1] == ["repair", "--seeds", "5"]


@pytest.mark.parametrize(("page", "words"), [(page, words) for page, words, _ in OWN], ids=lambda v: str(v)[:60])
def test_a_told_command_is_understood(page: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert understood(words), f"{page}: {' '.join(words)}: {capsys.readouterr().err}"


def test_what_else_a_command_can_do_is_there_too(capsys: pytest.CaptureFixture[str]) -> None:
    named = [(words[0], name) for _, words, also in OWN for name in also.split(", ") if name]
    assert len(named) >= 10
    for command, action in named:
        assert understood([command, action, "--help"]), f"{command} {action}"
    assert not understood(["corpus", "mend", "--help"])
    capsys.readouterr()


class _Parsed(Exception):
    """The words were taken; nothing is to be trained now."""


@pytest.mark.parametrize(("module", "words"), TRAINING, ids=lambda v: str(v)[-60:])
def test_a_told_training_is_understood(module: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    parse = argparse.ArgumentParser.parse_args

    def parse_only(self: argparse.ArgumentParser) -> None:
        parse(self, words)
        raise _Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    monkeypatch.setattr(sys, "argv", [module, *words])
    with pytest.raises(_Parsed):
        import_module(module).main()
