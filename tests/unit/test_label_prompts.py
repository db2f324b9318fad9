"""Label prompts of one's own: what is read from files and lines, and what is refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isi_core.domain.errors import InputError
from isi_core.models.classifiers.label_prompts import (
    LONGEST_TEXT,
    MOST_CLASSES,
    MOST_TEXTS,
    labels_text,
    read_labels,
    typed_labels,
)
from isi_core.models.classifiers.presets import PRESETS, WORLD_PROMPTS


def test_one_text_or_several_a_class(tmp_path: Path) -> None:
    file = tmp_path / "labels.json"
    file.write_text(json.dumps({"old": ["a photo of an  old person", "a grandmother "], " young": "a child"}))
    read = read_labels(file)
    assert read == {"old": ("a photo of an old person", "a grandmother"), "young": ("a child",)}
    assert list(read) == ["old", "young"]  # the classes' order is the file's
    assert typed_labels(labels_text(read)) == read
    assert typed_labels("\nold: a: b | c\n\n  young :d\n") == {"old": ("a: b", "c"), "young": ("d",)}


@pytest.mark.parametrize("classes", [*(p.classes for p in PRESETS.values()), *WORLD_PROMPTS.values()])
def test_every_preset_is_read_back_from_its_lines(classes: dict[str, tuple[str, ...]]) -> None:
    assert typed_labels(labels_text(classes)) == classes


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not a JSON file"),
        ('["old", "young"]', "does not name classes"),
        ('{"old": "a"}', "at least two classes"),
        ("{}", "at least two classes"),
        ('{"old": "a", "old": "b"}', "there twice"),
        ('{"old": "a", " old ": "b"}', "there twice"),
        ('{"": "a", "young": "b"}', "needs a name"),
        (json.dumps({"o" * 101: "a", "young": "b"}), "1 to 100 characters"),
        ('{"old": [], "young": "b"}', "has 0"),
        ('{"old": ["a", " \\n"], "young": "b"}', "empty text"),
        ('{"old": "\\u0000", "young": "b"}', "empty text"),
        ('{"old": ["A ", "a"], "young": "b"}', "twice"),
        ('{"old": "a", "young": ["b", "A"]}', "both"),
        ('{"old": 3, "young": "b"}', "not described by texts"),
        ('{"old": ["a", 3], "young": "b"}', "not described by texts"),
        ('{"old": {"a": "b"}, "young": "b"}', "not described by texts"),
        ('{"old": {}, "young": "b"}', "not described by texts"),
        (json.dumps({"old": "x" * (LONGEST_TEXT + 1), "young": "b"}), "longer than 2,000"),
        (json.dumps({"old": [f"a {i}" for i in range(MOST_TEXTS + 1)], "young": "b"}), "1 to 100 texts"),
        (json.dumps({f"class {i}": f"a {i}" for i in range(MOST_CLASSES + 1)}), "more than 100 classes"),
        ("[" * 100_000, "not a JSON file"),
        (json.dumps({"old": "a" * 1_000_001, "young": "b"}), "larger than 1 MB"),
    ],
)
def test_what_is_no_set_of_classes_is_one_short_sentence(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "labels.json"
    file.write_text(content)
    with pytest.raises(InputError, match=said) as told:
        read_labels(file)
    assert len(str(told.value)) < 250 and "\n" not in str(told.value)


def test_lines_without_a_colon_and_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no colon in “young”"):
        typed_labels("old: a\nyoung")
    with pytest.raises(InputError, match="empty text"):
        typed_labels("old: a |\nyoung: b")
    with pytest.raises(InputError, match="at least two"):
        typed_labels("")
    with pytest.raises(InputError, match="cannot be read"):
        read_labels(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_labels(tmp_path)
    (tmp_path / "latin.json").write_bytes('{"ält": "a", "b": "c"}'.encode("latin-1"))
    with pytest.raises(InputError, match="not a JSON file"):
        read_labels(tmp_path / "latin.json")


def test_hostile_text_stays_text_on_one_line(tmp_path: Path) -> None:
    file = tmp_path / "labels.json"
    file.write_text(json.dumps({"<b>old</b>\n\x1b[2J": "a\x07\nb \ud800c", "young": "{{x}} $y$"}))
    read = read_labels(file)
    assert list(read) == ["<b>old</b> [2J", "young"] and read["<b>old</b> [2J"] == ("a b c",)
