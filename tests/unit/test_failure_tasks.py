"""Text tasks from files: original and published formats, what is refused, what counts as the same item."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from isi_core.datasets.failure_tasks import TextItem, read_task, read_task_file, split_of
from isi_core.domain.errors import InputError
from isi_core.studies.failure.groups import text_groups

SHARED = Path(__file__).resolve().parents[3] / "shared" / "why_it_failed"

BOOLQ = {"question": "is the sky blue", "title": "Sky", "answer": True, "passage": "The sky is blue by day."}
PIQA = {"goal": "open a jar", "sol1": "turn the lid", "sol2": "turn the table", "label": 1}
WINOGRANDE = {"qID": "q-1", "sentence": "Ann thanked Bea because _ had helped.", "option1": "Ann", "option2": "Bea"}
SOCIAL = {"context": "Kim fell.", "question": "How does Kim feel?", "answerA": "hurt", "answerB": "old", "answerC": "x"}


def _write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_original_formats(tmp_path: Path) -> None:
    (boolq,) = read_task(_write(tmp_path / "dev.jsonl", [BOOLQ]))
    assert (boolq.task, boolq.gold, boolq.split, boolq.id) == ("boolq", 0, "validation", "dev_00000")
    assert boolq.continuations == ((boolq.prompt, " yes"), (boolq.prompt, " no"))
    assert boolq.prompt == "The sky is blue by day.\nQuestion: is the sky blue?\nAnswer:"

    (piqa,) = read_task(_write(tmp_path / "p.jsonl", [PIQA]), "piqa")
    assert (piqa.gold, piqa.continuations[1]) == (1, ("Question: open a jar\nAnswer:", " turn the table"))

    (wino,) = read_task(_write(tmp_path / "w.jsonl", [{**WINOGRANDE, "answer": "2"}]))
    assert wino.gold == 1
    assert wino.continuations == (
        ("Ann thanked Bea because Ann", " had helped."),
        ("Ann thanked Bea because Bea", " had helped."),
    )

    folder = tmp_path / "social"
    folder.mkdir()
    _write(folder / "train.jsonl", [SOCIAL, SOCIAL])
    (folder / "train-labels.lst").write_text("1\n3\n")
    assert [item.gold for item in read_task(folder, "social-iqa")] == [0, 2]
    assert [item.number for item in read_task(folder)] == [0, 1]


def test_the_published_form_brings_labels_and_splits(tmp_path: Path) -> None:
    path = tmp_path / "piqa_val_split.json"
    path.write_text(json.dumps({"correct": [PIQA], "incorrect": [{**PIQA, "label": 0}, {**PIQA, "id": "piqa_77"}]}))
    items = read_task_file(path)
    assert [(i.label, i.gold, i.split) for i in items] == [
        (True, 1, "validation"),
        (False, 0, "validation"),
        (False, 1, "validation"),
    ]
    assert [i.number for i in items] == [None, None, 77]  # places in a list by class would tell the class
    assert len({i.key for i in items}) == 1
    swapped = {**PIQA, "sol1": PIQA["sol2"], "sol2": PIQA["sol1"]}
    (other,) = read_task(_write(tmp_path / "o.jsonl", [swapped]))
    assert other.key == items[0].key


@pytest.mark.skipif(not SHARED.exists(), reason="the published data are not part of this repository")
@pytest.mark.parametrize("name", ["boolq", "piqa", "winogrande", "siqa"])
def test_the_published_samples_are_read(name: str) -> None:
    items = read_task(SHARED / f"{name}_sample.json")
    assert len(items) == 80
    assert sum(bool(item.label) for item in items) == 40
    assert {item.task for item in items} == {{"siqa": "social-iqa"}.get(name, name)}
    assert all(item.prompt.endswith("Answer:") and 0 <= item.gold < len(item.options) for item in items)
    if name == "winogrande":
        assert all(len(item.likelihoods) == 2 and not any(map(math.isnan, item.likelihoods)) for item in items)
    if name in ("boolq", "winogrande"):
        assert all((item.given_answer == item.gold) == item.label for item in items)


def test_a_tasks_complete_splits_stand_before_its_samples(tmp_path: Path) -> None:
    for name in ("piqa_sample.json", "piqa_train_split.json", "siqa_train_split.json"):
        (tmp_path / name).write_text(json.dumps({"correct": [PIQA if "piqa" in name else {**SOCIAL, "label": "1"}]}))
    assert [item.id for item in read_task(tmp_path, "piqa")] == ["piqa_train_split_00000"]
    assert split_of(Path("contest.json")) == ""


@pytest.mark.parametrize(
    ("record", "task", "problem"),
    [
        ({**PIQA, "sol3": "hit it"}, "piqa", "sol3, where two options are expected"),
        ({**WINOGRANDE, "answer": "1", "option3": "Cy"}, None, "option3, where two options are expected"),
        ({**SOCIAL, "label": "1", "answerD": "z"}, None, "answerD, where three options are expected"),
        ({"goal": "open a jar", "sol1": "turn the lid"}, "piqa", "not an item of piqa: it needs the fields goal"),
        ({**PIQA, "sol1": ""}, None, "has no sol1"),
        ({**PIQA, "sol1": None}, None, "has no sol1"),
        ({**PIQA, "label": 2}, None, "label '2' is unknown"),
        ({k: v for k, v in PIQA.items() if k != "label"}, None, "has no right answer"),
        ({**WINOGRANDE, "answer": "1", "sentence": "No blank."}, None, "exactly one blank"),
        (BOOLQ, "piqa", "not an item of piqa"),
        ({"a": 1}, None, "known text task"),
    ],
)
def test_bad_items_are_refused_by_place(tmp_path: Path, record: dict[str, Any], task: str | None, problem: str) -> None:
    path = _write(tmp_path / "items.jsonl", [record])
    with pytest.raises(InputError, match=problem) as refused:
        read_task(path, task)
    assert "items.jsonl, item 1" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", "holds no items"), ("nonsense", "line 1 is not JSON"), ("3", "no list"), ("[3]", "not an object")],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "items.json"
    path.write_text(text)
    with pytest.raises(InputError, match=problem):
        read_task(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_task(tmp_path / "missing.json")
    with pytest.raises(InputError, match="unknown"):
        read_task(path, "trivia")
    path.write_text("[" * 100_000)
    with pytest.raises(InputError):
        read_task(path)


def test_near_identical_items_share_a_group(tmp_path: Path) -> None:
    long = "how do you keep a wooden cutting board from drying out over many years"
    records = [
        {**PIQA, "goal": long},
        {**PIQA, "goal": f"{long} please"},
        {**PIQA, "goal": "whittle a spoon"},
        {**PIQA, "goal": long.upper(), "label": 0},
    ]
    groups = text_groups(read_task(_write(tmp_path / "p.jsonl", records)))
    assert groups[0] == groups[1] == groups[3] != groups[2]
    passages: list[TextItem] = read_task(
        _write(
            tmp_path / "b.jsonl", [BOOLQ, {**BOOLQ, "question": "is it night"}, {**BOOLQ, "passage": "Snow is white."}]
        )
    )
    first, second, third = text_groups(passages)
    assert first == second != third
