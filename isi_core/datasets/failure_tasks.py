"""The four text tasks of *Why It Failed* from local files: BoolQ, PIQA, WinoGrande and Social IQa.

Read are the tasks' original JSON and JSON-lines files (labels beside them in `…-labels.lst` too) and the published
split format, an object with the classes `correct` and `incorrect`. Nothing is fetched.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from isi_core.domain.errors import InputError

MOST_BYTES = 500_000_000
CLASSES = {"correct": True, "incorrect": False}
ALIASES = {
    "boolq": ("boolq",),
    "piqa": ("piqa",),
    "winogrande": ("winogrande",),
    "social-iqa": ("social-iqa", "social_iqa", "socialiqa", "siqa"),
}
_SPLIT = re.compile(r"(?:^|[_.\-])(train|val|valid|validation|dev|test)(?=[_.\-]|$)", re.IGNORECASE)
_LAST_NUMBER = re.compile(r"(\d{1,15})\D*$", re.ASCII)
_SPLITS = {"val": "validation", "valid": "validation", "dev": "validation"}


@dataclass(frozen=True)
class TextItem:
    """One multiple-choice item of a text task.

    Attributes
    ----------
    task : boolq, piqa, winogrande or social-iqa.
    id : the file's own, or the file's name and its row.
    prompt : what the model reads before it chooses; its last token is where probes look.
    options : the choices, in words; `gold` is the index of the right one.
    continuations : (text before, text scored) of each option.
    question, passage : the item's words; "" where it has none. Items that share a passage are near-identical.
    label : a given label (True success); None where there is none.
    split : train, validation or test where the file's name says so, else "".
    likelihoods : given log p of the options in nats, NaN where one is missing; empty where the file has none.
    given_answer : index of the option a model chose when the labels were made; None where not known.
    number : the number in the file's own id, else the item's place in the file; None where it has no id and the file
        lists its items by class.
    given_prompt : the prompt the labels were made with, where the file tells it, else "".
    """

    task: str
    id: str
    prompt: str
    options: tuple[str, ...]
    gold: int
    continuations: tuple[tuple[str, str], ...]
    question: str
    passage: str = ""
    label: bool | None = None
    split: str = ""
    likelihoods: tuple[float, ...] = ()
    given_answer: int | None = None
    number: int | None = None
    given_prompt: str = ""

    @property
    def key(self) -> str:
        """The item's words without case, punctuation and gold: the same for the same item."""
        return plain_words(" | ".join((self.passage, self.question, *sorted(self.options))))


def plain_words(text: str) -> str:
    """Lower case words, single spaces, no punctuation."""
    return " ".join(re.findall(r"\w+", text.lower()))


def read_task(path: Path, task: str | None = None) -> list[TextItem]:
    """The items of a task's file, or of all its files in a folder, in their order.

    Parameters
    ----------
    task : refuses items of another; None finds out from the fields.

    Raises
    ------
    InputError : nothing to read, an unknown format, missing fields, a wrong number of options, or an unknown label.
    """
    if task is not None and task not in ALIASES:
        raise InputError(f"Task {task[:40]!r} is unknown: choose {', '.join(ALIASES)}.")
    items = [item for file in task_files(path, task) for item in read_task_file(file, task)]
    if not items:
        raise InputError(f"{path} holds no items: give a JSON or JSON-lines file of a text task.")
    return items


def task_files(path: Path, task: str | None = None) -> list[Path]:
    """The file itself, or a folder's JSON and JSON-lines files, those named after the task where there are some."""
    if not path.is_dir():
        return [path]
    files = sorted(f for f in path.iterdir() if f.suffix.lower() in (".json", ".jsonl") and f.is_file())
    if task is not None:
        named = [f for f in files if any(alias in f.name.lower() for alias in ALIASES[task])]
        # Samples repeat what complete splits hold.
        splits = [f for f in named if split_of(f)]
        files = splits or named or files
    if not files:
        raise InputError(f"There is no JSON or JSON-lines file in {path}: give the task's file.")
    return files


def split_of(path: Path) -> str:
    """train, validation or test where the file's name says so, else ""."""
    found = _SPLIT.search(path.stem)
    word = found.group(1).lower() if found else ""
    return _SPLITS.get(word, word)


def read_task_file(path: Path, task: str | None = None) -> list[TextItem]:
    """The items of one file; see `read_task`."""
    labels = _labels_beside(path)
    items: list[TextItem] = []
    for number, (found_record, label) in enumerate(_records(path)):
        record = found_record
        where = f"{path.name}, item {number + 1}"
        if labels is not None:
            if number >= len(labels):
                raise InputError(f"{path.name} has more items than its labels file has lines: give the matching one.")
            record = {"label": labels[number], **record}
        found = find_task(record)
        if found is None or (task is not None and found != task):
            wanted = f"an item of {task}" if task else "an item of a known text task"
            raise InputError(f"{where} is not {wanted}: it needs the fields {_needed(task)}.")
        item = _READERS[found](record, where)
        given = _words(record.get("id", ""))
        own = _LAST_NUMBER.search(given)
        items.append(
            replace(
                item,
                id=given or f"{path.stem}_{number:05d}",
                number=int(own.group(1)) if own else (number if label is None else None),
                label=_given_label(record, label),
                split=split_of(path),
                given_prompt=record["prompt"] if isinstance(record.get("prompt"), str) else "",
            )
        )
    return items


def find_task(record: dict[str, Any]) -> str | None:
    """Which task a record's fields are of; None where of none."""
    for task, fields in _FIELDS.items():
        if all(any(name in record for name in names) for names in fields):
            return task
    return None


_FIELDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "boolq": (("question",), ("passage",)),
    "piqa": (("goal",), ("sol1",), ("sol2",)),
    "winogrande": (("sentence", "question"), ("option1",), ("option2",)),
    "social-iqa": (("context",), ("question",), ("answerA",), ("answerB",), ("answerC",)),
}
_GOLD = {
    "boolq": ("answer", "correct_answer", "label"),
    "piqa": ("label", "correct_answer", "gold"),
    "winogrande": ("answer", "gold", "correct_answer", "label"),
    "social-iqa": ("label", "correct_answer", "gold"),
}


def _needed(task: str | None) -> str:
    tasks = [task] if task else list(_FIELDS)
    return "; or ".join(", ".join("/".join(names) for names in _FIELDS[t]) for t in tasks)


def _boolq(record: dict[str, Any], where: str) -> TextItem:
    question, passage = _text(record, "question", where), _text(record, "passage", where)
    asked = question.strip().rstrip("?") + "?"
    prompt = f"{passage.strip()}\nQuestion: {asked}\nAnswer:"
    gold = _gold(record, "boolq", where, {"yes": 0, "true": 0, "1": 0, "no": 1, "false": 1, "0": 1})
    options = ("yes", "no")
    return TextItem(
        task="boolq",
        id="",
        prompt=prompt,
        options=options,
        gold=gold,
        continuations=tuple((prompt, f" {option}") for option in options),
        question=question,
        passage=passage,
        likelihoods=_likelihoods(record, ("ll_yes", "ll_no")),
        given_answer=_given_answer(record, {"yes": 0, "true": 0, "no": 1, "false": 1}),
    )


def _piqa(record: dict[str, Any], where: str) -> TextItem:
    _refuse(record, ("sol3",), where, "two options")
    goal = _text(record, "goal", where)
    options = (_text(record, "sol1", where), _text(record, "sol2", where))
    prompt = f"Question: {goal.strip()}\nAnswer:"
    return TextItem(
        task="piqa",
        id="",
        prompt=prompt,
        options=options,
        gold=_gold(record, "piqa", where, {"0": 0, "1": 1, "a": 0, "b": 1}),
        continuations=tuple((prompt, f" {option.strip()}") for option in options),
        question=goal,
        likelihoods=_likelihoods(record, ("ll_option1", "ll_option2"), ("ll_sol1", "ll_sol2")),
        given_answer=_given_answer(record, {"0": 0, "1": 1, "a": 0, "b": 1}),
    )


def _winogrande(record: dict[str, Any], where: str) -> TextItem:
    _refuse(record, ("option3",), where, "two options")
    sentence = _text(record, "sentence" if "sentence" in record else "question", where)
    options = (_text(record, "option1", where), _text(record, "option2", where))
    if sentence.count("_") != 1:
        raise InputError(f"{where}: the sentence needs exactly one blank, written _.")
    before, after = sentence.split("_")
    return TextItem(
        task="winogrande",
        id="",
        prompt=f"{sentence.strip()}\nThe blank is {options[0]} or {options[1]}.\nAnswer:",
        options=options,
        gold=_gold(record, "winogrande", where, {"1": 0, "2": 1}),
        # Partial evaluation (Trinh & Le 2018): how likely the rest of the sentence is once the blank is filled.
        continuations=tuple((f"{before}{option}", after) for option in options),
        question=sentence,
        likelihoods=_likelihoods(record, ("ll_option1", "ll_option2")),
        given_answer=_given_answer(record, {"1": 0, "2": 1}),
    )


def _social_iqa(record: dict[str, Any], where: str) -> TextItem:
    _refuse(record, ("answerD",), where, "three options")
    context, question = _text(record, "context", where), _text(record, "question", where)
    options = tuple(_text(record, f"answer{letter}", where) for letter in "ABC")
    prompt = f"{context.strip()}\nQuestion: {question.strip()}\nAnswer:"
    names = {"1": 0, "2": 1, "3": 2, "a": 0, "b": 1, "c": 2}
    return TextItem(
        task="social-iqa",
        id="",
        prompt=prompt,
        options=options,
        gold=_gold(record, "social-iqa", where, names),
        continuations=tuple((prompt, f" {option.strip()}") for option in options),
        question=question,
        passage=context,
        likelihoods=_likelihoods(record, ("ll_answerA", "ll_answerB", "ll_answerC")),
        given_answer=_given_answer(record, names),
    )


_READERS: dict[str, Callable[[dict[str, Any], str], TextItem]] = {
    "boolq": _boolq,
    "piqa": _piqa,
    "winogrande": _winogrande,
    "social-iqa": _social_iqa,
}


def _records(path: Path) -> Iterator[tuple[dict[str, Any], bool | None]]:
    """Each record of a file with the class it stands in."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} is larger than {MOST_BYTES // 1_000_000} MB: give a part of it.")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text in UTF-8: give the task's JSON file.") from None
    try:
        data: Any = json.loads(text)
    except RecursionError:
        raise InputError(f"{path} is nested too deeply: give the task's JSON file.") from None
    except ValueError:
        data = list(_lines(text, path))
    if isinstance(data, dict) and data.keys() & CLASSES.keys():
        for name, label in CLASSES.items():
            yield from _of_class(data.get(name, []), label, path)
    elif isinstance(data, list):
        yield from _of_class(data, None, path)
    elif isinstance(data, dict):
        yield from _of_class([data], None, path)
    else:
        raise InputError(f"{path.name} holds no list of items: give a JSON list, JSON lines, or correct and incorrect.")


def _lines(text: str, path: Path) -> Iterable[Any]:
    for number, line in enumerate(text.splitlines()):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                raise InputError(
                    f"{path.name}, line {number + 1} is not JSON: give a JSON or JSON-lines file."
                ) from None


def _of_class(records: Any, label: bool | None, path: Path) -> Iterator[tuple[dict[str, Any], bool | None]]:
    if not isinstance(records, list):
        raise InputError(f"{path.name}: `correct` and `incorrect` must be lists of items.")
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise InputError(f"{path.name}, item {number + 1} is not an object with fields: check the file.")
        yield record, label


def _labels_beside(path: Path) -> list[str] | None:
    """The lines of `train-labels.lst` beside `train.jsonl`, as PIQA and Social IQa publish their labels."""
    beside = path.with_name(f"{path.stem}-labels.lst")
    if not beside.is_file():
        return None
    try:
        return beside.read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{beside} cannot be read: check the labels file.") from None


def _text(record: dict[str, Any], name: str, where: str) -> str:
    value = record.get(name)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where} has no {name}: fill it in or take the item out.")
    return value


def _refuse(record: dict[str, Any], names: Sequence[str], where: str, expected: str) -> None:
    for name in names:
        if record.get(name) is not None:
            raise InputError(f"{where} has {name}, where {expected} are expected: choose the task it belongs to.")


def _words(value: Any) -> str:
    return "" if value is None or isinstance(value, (dict, list)) else str(value).strip()


def _gold(record: dict[str, Any], task: str, where: str, names: dict[str, int]) -> int:
    for field in _GOLD[task]:
        if record.get(field) is not None:
            value = _words(record[field]).lower()
            if value in names:
                return names[value]
            raise InputError(f"{where}: {field} {value[:20]!r} is unknown: it must be one of {', '.join(names)}.")
    raise InputError(f"{where} has no right answer: it needs {' or '.join(_GOLD[task])}.")


def _given_answer(record: dict[str, Any], names: dict[str, int]) -> int | None:
    for field, value in record.items():
        if field in ("model_answer", "gemma_answer", "predicted", "prediction"):
            return names.get(_words(value).lower())
    return None


def _likelihoods(record: dict[str, Any], *choices: tuple[str, ...]) -> tuple[float, ...]:
    for names in choices:
        if any(name in record for name in names):
            return tuple(_number(record.get(name)) for name in names)
    return ()


def _number(value: Any) -> float:
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else math.nan


def _given_label(record: dict[str, Any], of_class: bool | None) -> bool | None:
    if of_class is not None:
        return of_class
    value = record.get("is_correct")
    return bool(value) if isinstance(value, (bool, int)) else None
