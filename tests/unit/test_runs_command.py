"""The command `runs` on a real store: list, show, export as folder, zip and PDF, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from isi_core.cli import main
from isi_core.reports.run_export import read_run
from isi_core.store.runs import Store
from tests.evaluations import evaluation


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with_runs = Store(tmp_path / "store")
    for _ in range(2):
        with_runs.save(evaluation(), dataset="isi_scenes")
    with_runs.close()
    return tmp_path / "store"


def run(store: Path, capsys: pytest.CaptureFixture[str], action: str, *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["runs", action, "--store", str(store), *arguments])
    return (code, *capsys.readouterr())


def read(found: tuple[int, str, str]) -> Any:
    code, out, err = found
    assert code == 0, err
    return json.loads(out)


def test_runs_are_listed_shown_and_exported(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert read(run(store, capsys, "list", "--json"))["count"] == 2
    shown = read(run(store, capsys, "show", "1", "--json"))
    assert shown["digest"] == evaluation().trial.digest
    for name in ("out", "out.zip", "out.pdf"):
        told = read(run(store, capsys, "export", "1", "2", "--out", str(tmp_path / name), "--json"))
        assert told == {"runs": [1, 2], "out": str(tmp_path / name)}
    for name in ("out", "out.zip"):
        again = read_run(tmp_path / name)
        assert [e.trial.digest for e in again] == [evaluation().trial.digest] * 2
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"run.json", "images", "results.csv", "report.pdf"}
    assert len(PdfReader(tmp_path / "out.pdf").pages) >= 2


def test_what_is_there_is_not_overwritten(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, words in (("out.zip", "is there already"), ("out", "not an empty folder")):
        path = tmp_path / name
        if path.suffix:
            path.write_text("mine")
        else:
            path.mkdir()
            (path / "mine.txt").write_text("mine")
        code, out, err = run(store, capsys, "export", "1", "--out", str(path))
        assert code == 2 and out == "" and words in err
    code, _, err = run(store, capsys, "export", "99", "--out", str(tmp_path / "new"))
    assert code == 2 and "99" in err and not (tmp_path / "new").exists()
    code, _, err = run(store, capsys, "export", "1", "--out", str(tmp_path / "out.zip" / "x.pdf"))
    assert code == 2 and err.count("\n") == 1


def test_a_newer_store_is_told_and_left_alone(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import sqlite3

    path = store / "studio.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    code, out, err = run(store, capsys, "list")
    assert (code, out) == (2, "") and "newer ISI Studio" in err and path.read_bytes() == before
