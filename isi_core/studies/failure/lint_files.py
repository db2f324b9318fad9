"""The linter on files: task files grouped into data sets by name, VQA datasets, the cases of finished runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from isi_core.datasets.built_in import load_dataset
from isi_core.datasets.failure_tasks import TextItem, read_task_file, split_of, task_files
from isi_core.domain.errors import InputError
from isi_core.studies.failure.linter import items_of_cases, items_of_dataset, items_of_task, lint
from isi_core.studies.failure.results import LintFinding, load_result

_SPLIT_WORDS = re.compile(r"[_.\-]*(?:train|val|valid|validation|dev|test)(?:[_.\-]?split)?", re.IGNORECASE)
_ORDER = {"severe": 0, "warning": 1, "note": 2}


def lint_paths(paths: Sequence[Path]) -> list[LintFinding]:
    """What is wrong with the data sets in these files and folders, severe findings first.

    Files whose names differ in the split alone (`piqa_train_split.json`, `piqa_test_split.json`) are one data set.
    Where there are several, each finding's advice begins with the data set's name.

    Raises
    ------
    InputError : a file cannot be read, or there is nothing to check.
    """
    found: list[LintFinding] = []
    groups: dict[str, list[TextItem]] = {}
    checked = False
    for path in paths:
        if (path / "result.json").is_file():
            found += lint(items_of_cases(load_result(path).cases))
            checked = True
            continue
        if (path / "vlm_dataset.csv").is_file():
            found += lint(items_of_dataset(load_dataset(str(path))))
            checked = True
            continue
        for file in task_files(path):
            try:
                items = read_task_file(file)
            except InputError as error:
                if not path.is_dir():
                    raise
                # One stray file in a folder does not hide what the others hold.
                found.append(LintFinding("file not read", "note", 1, (file.name,), str(error)))
                continue
            groups.setdefault(_data_set(file), []).extend(items)
    for name, items in groups.items():
        mine = lint(items_of_task(items))
        found += [replace(f, advice=f"{name}: {f.advice}") for f in mine] if len(groups) > 1 else mine
    if not groups and not checked:
        raise InputError(f"None of the files could be read: {found[0].advice}")
    return sorted(found, key=lambda finding: _ORDER[finding.severity])


def _data_set(file: Path) -> str:
    return _SPLIT_WORDS.sub("", file.stem, count=1) or file.stem if split_of(file) else file.stem
