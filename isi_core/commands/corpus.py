"""The command `corpus`: extract a corpus of attributes from pictures by a model, expand one, check one."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isi_core.commands.parts import open_shelf, plain, tell, watched_progress
from isi_core.commands.rank_parts import open_corpus_named, pictures_from
from isi_core.domain.errors import InputError

if TYPE_CHECKING:
    from isi_core.domain.attributes import Corpus
    from isi_core.studies.counterfactuals.extraction import Extraction


def _check(arguments: argparse.Namespace) -> None:
    from isi_core.studies.counterfactuals.corpora import open_corpus
    from isi_core.studies.counterfactuals.near_synonyms import merged_near_synonyms

    reading = open_corpus(arguments.file)
    merged = merged_near_synonyms(reading.corpus)
    _tell_all((*reading.notes, *merged.notes))
    corpus = merged.corpus
    if arguments.json:
        print(json.dumps(corpus.to_json(), ensure_ascii=False))
        return
    print(_counts(corpus))


def _expand(arguments: argparse.Namespace) -> None:
    from isi_core.domain.corpus_reading import expand_corpus
    from isi_core.studies.counterfactuals.corpora import open_corpus
    from isi_core.studies.counterfactuals.near_synonyms import merged_near_synonyms

    if not arguments.answers and not arguments.model:
        raise InputError("Name files whose attributes are merged in, or a model to be asked with --model.")
    corpus = open_corpus_named(arguments.corpus)
    for path in arguments.answers:
        merged = expand_corpus(corpus, open_corpus(path))
        alike = merged_near_synonyms(merged.corpus)
        _tell_all([f"{path.name}: {note}" for note in (*merged.notes, *alike.notes)])
        corpus = alike.corpus
    if arguments.model:
        from isi_core.studies.counterfactuals.extraction import expand_by_model

        pictures = _pictures(arguments)
        with open_shelf().vlm(arguments.model) as vlm:
            made = expand_by_model(corpus, vlm, pictures, progress=watched_progress())
        _tell_all(made.notes)
        corpus = made.corpus
    _write(corpus, arguments)


def _extract(arguments: argparse.Namespace) -> None:
    from isi_core.studies.counterfactuals.extraction import extract_corpus

    pictures = _pictures(arguments)
    examples = [open_corpus_named(name) for name in arguments.example] or None
    with open_shelf().vlm(arguments.model) as vlm:
        made = extract_corpus(
            pictures, arguments.domain, vlm, examples, not arguments.no_expand, progress=watched_progress()
        )
    _tell_all(made.notes)
    _write(made.corpus, arguments, made)


def _pictures(arguments: argparse.Namespace) -> list[Any]:
    if arguments.pictures is None:
        raise InputError("A vision-language model looks at pictures: name a folder of them with --pictures.")
    return [picture.image for picture in pictures_from(arguments.pictures, arguments.images)]


def _write(corpus: Corpus, arguments: argparse.Namespace, made: Extraction | None = None) -> None:
    """The corpus into a file or onto the screen; with --json all that is known of it."""
    if arguments.out is not None:
        from isi_core.store.whole_file import write_whole

        write_whole(arguments.out, json.dumps(corpus.to_json(), ensure_ascii=False, indent=1) + "\n")
    if arguments.json:
        found = made.to_json() if made is not None else {"corpus": corpus.to_json()}
        print(json.dumps(found, ensure_ascii=False))
    elif arguments.out is not None:
        print(f"{len(corpus.attributes())} attributes in {plain(str(arguments.out))}")
    else:
        print(json.dumps(corpus.to_json(), ensure_ascii=False, indent=1))


def _tell_all(notes: Sequence[str]) -> None:
    for note in notes:
        tell(note)


def _counts(corpus: Corpus) -> str:
    counts = ", ".join(f"{len(corpus.attributes(level))} of level {level}" for level in (1, 2, 3))
    return f"{plain(corpus.domain)}: {counts}, {len(corpus.leaves())} leaves"


def _add_asking(command: argparse.ArgumentParser) -> None:
    command.add_argument("--pictures", type=Path, metavar="DIR", help="a folder of pictures of the domain")
    command.add_argument("--images", type=int, default=6, metavar="N", help="how many of them, at most 20 (6)")
    command.add_argument("--out", type=Path, metavar="FILE", help="default: print it")
    command.add_argument("--json", action="store_true", help="JSON with notes and, where there are any, answers")


def add(commands: Any) -> None:
    """Add `corpus` to the commands."""
    corpus = commands.add_parser("corpus", help="extract, expand and check attribute corpora")
    actions = corpus.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="read a corpus leniently, and say what was mended")
    check.add_argument("file", type=Path)
    check.add_argument("--json", action="store_true", help="print the corpus as it was understood")
    check.set_defaults(run=_check)
    expand = actions.add_parser("expand", help="merge lists, or a model's sub-types, into a corpus, without doubles")
    expand.add_argument("corpus", metavar="NAME|FILE")
    expand.add_argument("answers", type=Path, nargs="*", metavar="FILE")
    expand.add_argument("--model", default="", metavar="MODEL", help="also ask it for the sub-types of each item")
    _add_asking(expand)
    expand.set_defaults(run=_expand)
    extract = actions.add_parser("extract", help="ask a vision-language model for the attributes of pictures")
    extract.add_argument("--domain", required=True, metavar="NAME", help="what the pictures are of: face, bird, …")
    extract.add_argument("--model", default="tiny-llava", metavar="MODEL", help="name, hub id, folder, endpoint")
    extract.add_argument("--example", action="append", default=[], metavar="NAME|FILE", help="a corpus shown as one")
    extract.add_argument("--no-expand", action="store_true", help="do not ask for the sub-types of each item")
    _add_asking(extract)
    extract.set_defaults(run=_extract)
