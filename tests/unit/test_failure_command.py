"""The command `failure`, run as a person would."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isi_core.cli import main
from tests.language import save_gemma

SHARED = Path(__file__).resolve().parents[3] / "shared" / "why_it_failed"
needs_published = pytest.mark.skipif(not SHARED.exists(), reason="the published data are not part of this repository")


def test_a_run_prints_its_numbers_and_what_they_allow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_gemma(tmp_path / "tiny-gemma", layers=2)
    source = tmp_path / "items.jsonl"
    records = [
        {"goal": f"open jar {i}", "sol1": f"turn {i * 3}", "sol2": f"hit {i * 7}", "label": i % 2} for i in range(60)
    ]
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    options = ["--task", "piqa", "--source", str(source), "--model", str(model), "-k", "8", "--layers", "all"]
    options += ["--explainers", "last-token,option-margin", "--permutations", "2", "--out", str(tmp_path / "run")]
    assert main(["failure", "run", *options, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [(s["explainer"], s["layer"], s["n"]) for s in data["scores"]] == [
        ("last-token", 1, 4),
        ("last-token", 2, 4),
        ("option-margin", None, 4),
    ]
    assert data["plan"]["k"] == 8
    assert data["conclusions"]
    assert "cases" not in data
    assert main(["failure", "run", *options]) == 0  # read from the finished run
    said = capsys.readouterr().out
    assert "option-margin" in said
    assert "more features than examples" in said
    assert main(["failure", "lint", str(tmp_path / "run"), "--json"]) == 0
    assert isinstance(json.loads(capsys.readouterr().out), list)


@needs_published
def test_lint_and_score_print_their_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = [str(SHARED / f"piqa_{split}_split.json") for split in ("train", "val", "test")]
    assert main(["failure", "lint", *splits, "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert {220, 51} <= {f["count"] for f in findings}
    assert all(list(f) == ["check", "severity", "count", "examples", "advice"] for f in findings)
    lines = (SHARED / "predictions.csv").read_text().splitlines()
    few = tmp_path / "few.csv"
    few.write_text("\n".join([lines[0], *(line for line in lines if line.startswith(("boolq,20,", "piqa,5,")))]) + "\n")
    assert main(["failure", "score", str(few)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "0.611" in said[1]
    assert said[1].endswith("excludes 0.5: better than chance")
    assert said[2].endswith("includes 0.5: no evidence")
    assert main(["failure", "score", str(few), "--json", "--resamples", "1000"]) == 0
    assert [entry["layer"] for entry in json.loads(capsys.readouterr().out)] == [20, 5]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["run", "--task", "piqa", "--out", "x"], "needs its data"),
        (["run", "--layers", "1,two", "--out", "x"], "Layers '1,two' are unknown"),
        (["run", "--explainers", "tarot", "--out", "x"], "Explainer 'tarot' is unknown"),
        (["run", "-k", "2", "--out", "x"], "k must be a whole number from 8"),
        (["score", "missing.csv"], "cannot be read"),
        (["lint", "missing.json"], "cannot be read"),
    ],
)
def test_mistakes_end_in_one_sentence(
    arguments: list[str],
    problem: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["failure", *arguments]) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
