"""Answers of human studies, kept at once, and what they say: the paper's Tables 2 and 3 with intervals."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from isi_core.domain.errors import InputError
from isi_core.domain.home import home_folder
from isi_core.measures.statistics import Interval, bootstrap_interval, wilson_interval
from isi_core.store.database import explain_os_error
from isi_core.store.whole_file import write_whole
from isi_core.studies.counterfactuals.human_study import METHODS, Item

RATINGS = ("quality", "disentanglement")
_LARGEST = 50_000_000
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes
    ----------
    participant : the code that the person goes by.
    values : quality and disentanglement, 1 to 5 (a rating), or `choice`, the option (a choice).
    time : ISO 8601, UTC.
    """

    item: Item
    participant: str
    values: Mapping[str, int | str]
    time: str


def study_folder(ranking: str) -> Path:
    """Where the answers about a ranking are kept."""
    return home_folder() / "human studies" / ranking


def join(folder: Path, participant: str) -> int:
    """The participant's number, from 0 in the order in which they came; the same whenever they come back.

    Raises
    ------
    InputError : no participant, or a disk that is full.
    """
    name = _name(participant)
    path = folder / "participants.txt"
    if name not in _joined(path):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:  # a short line at the end is written whole, whoever else writes
                file.write(json.dumps(name, ensure_ascii=False).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(explain_os_error(error, folder)) from error
    return _joined(path).index(name)


def study_methods(folder: Path, methods: Sequence[str]) -> tuple[str, ...]:
    """The explanations that study 2 of this folder is made of: those of its first time, `methods` where this is it.

    Which explanation an attribute gets hangs on all of them, so a study that goes on needs those it began with.

    Raises
    ------
    InputError : a disk that is full.
    """
    path = folder / "explanations.json"
    try:
        stored = json.loads(path.read_bytes()) if path.stat().st_size < _LARGEST else None
    except (OSError, ValueError, RecursionError):
        stored = None
    if isinstance(stored, list) and stored and all(isinstance(name, str) and name in METHODS for name in stored):
        return tuple(dict.fromkeys(stored))
    write_whole(path, json.dumps(list(methods)))
    return tuple(methods)


def _joined(path: Path) -> list[str]:
    names = []
    try:
        for line in path.read_bytes().splitlines():
            try:
                names.append(str(json.loads(line)))
            except (ValueError, RecursionError):
                continue
    except OSError:
        return []
    return list(dict.fromkeys(names))


def _name(participant: str) -> str:
    name = " ".join(participant.split())[:_LONGEST_NAME]
    if not name:
        raise InputError("Type a code for yourself first: answers are kept under it.")
    return name


def keep_answer(folder: Path, item: Item, participant: str, values: Mapping[str, int | str]) -> Answer:
    """Write an answer down at once; a later one to the same question takes its place.

    Raises
    ------
    InputError : a value that the question does not have, no participant, or a disk that is full.
    """
    name = _name(participant)
    _check(item, values)
    answer = Answer(item, name, dict(values), datetime.now(UTC).isoformat(timespec="seconds"))
    line = {"item": item.to_json(), "participant": name, "values": answer.values, "time": answer.time}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _file(folder, name).open("ab") as file:
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(explain_os_error(error, folder)) from error
    return answer


def _file(folder: Path, participant: str) -> Path:
    # A name may hold anything, a file's name not.
    return folder / f"{hashlib.sha256(participant.encode()).hexdigest()[:24]}.jsonl"


def _check(item: Item, values: Mapping[str, int | str]) -> None:
    if item.kind == "choice":
        if set(values) != {"choice"} or values["choice"] not in item.options:
            raise InputError("Choose one of the four attributes.")
    elif set(values) != set(RATINGS) or not all(
        isinstance(v, int) and not isinstance(v, bool) and 1 <= v <= 5 for v in values.values()
    ):
        raise InputError("Give both, quality and disentanglement, 1 to 5.")


def read_answers(folder: Path, participant: str | None = None) -> list[Answer]:
    """The last answer to each question, of everybody or of one; a damaged line is left out."""
    files = sorted(folder.glob("*.jsonl")) if participant is None else [_file(folder, _name(participant))]
    found: dict[tuple[str, str], Answer] = {}
    for path in files:
        try:
            if path.stat().st_size > _LARGEST:
                continue
            lines = path.read_bytes().splitlines()
        except OSError:
            continue
        for line in lines:
            try:
                data = json.loads(line)
                item = Item.from_json(data["item"])
                answer = Answer(item, str(data["participant"]), dict(data["values"]), str(data["time"]))
                _check(item, answer.values)
            except (ValueError, KeyError, TypeError, RecursionError, InputError):
                continue
            found[answer.participant, item.id] = answer
    return list(found.values())


@dataclass(frozen=True)
class Rated:
    """Study 1 for one group of pairs.

    Attributes
    ----------
    ratings, raters : how many.
    quality, disentanglement : mean of 1 to 5, bootstrap interval over the ratings.
    """

    name: str
    ratings: int
    raters: int
    quality: Interval
    disentanglement: Interval


@dataclass(frozen=True)
class Chosen:
    """Study 2 for one explanation: the share that named the right attribute of four, Wilson's interval."""

    method: str
    raters: int
    right: Interval


EVERYTHING, CONTROLS = "all edits", "controls (named wrongly)"


def rated(answers: Sequence[Answer]) -> list[Rated]:
    """The paper's Table 2: all edits, then each level-1 group, then the controls."""
    groups: dict[str, list[Answer]] = {}
    for answer in answers:
        if answer.item.kind != "rating":
            continue
        if answer.item.control:
            groups.setdefault(CONTROLS, []).append(answer)
            continue
        groups.setdefault(EVERYTHING, []).append(answer)
        groups.setdefault(answer.item.edits[0].attribute.branch, []).append(answer)
    names = [EVERYTHING, *sorted(set(groups) - {EVERYTHING, CONTROLS}), CONTROLS]
    return [
        Rated(
            name,
            len(groups[name]),
            len({a.participant for a in groups[name]}),
            *(bootstrap_interval([int(a.values[what]) for a in groups[name]]) for what in RATINGS),
        )
        for name in names
        if name in groups
    ]


def chosen(answers: Sequence[Answer]) -> list[Chosen]:
    """The paper's Table 3: by explanation, how often the right attribute was named; by chance a quarter."""
    found = []
    for method in METHODS:
        own = [a for a in answers if a.item.kind == "choice" and a.item.method == method]
        if own:
            right = sum(a.values["choice"] == a.item.truth for a in own)
            found.append(Chosen(method, len({a.participant for a in own}), wilson_interval(right, len(own))))
    return found


def answer_rows(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """One row an answer, for a spreadsheet."""
    return [
        {
            "study": 1 if a.item.kind == "rating" else 2,
            "participant": a.participant,
            "time": a.time,
            "question": a.item.id,
            "picture_digest": a.item.picture,
            "edit": " and ".join(edit.attribute.text for edit in a.item.edits),
            "shown_as": a.item.words,
            "control": a.item.control,
            "explanation": a.item.method,
            "quality": a.values.get("quality"),
            "disentanglement": a.values.get("disentanglement"),
            "choice": a.values.get("choice"),
            "truth": a.item.truth,
            "right": a.values["choice"] == a.item.truth if a.item.kind == "choice" else None,
        }
        for a in answers
    ]
