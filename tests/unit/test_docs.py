"""What the docs pages tell a reader to type is typed here."""

from __future__ import annotations

import json
import os
import re
import shlex
import string
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from isi_core.cli import build_parser, main
from isi_core.models import catalogue
from isi_core.models.shelf import Shelf
from isi_core.studies.sweep.ray_engine import Cluster, is_installed
from tests.checkpoints import make_trial, save_llava

ROOT = Path(__file__).resolve().parents[2]


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_a_model_is_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [row_code, _] = blocks("add_a_model.md", "python")
    folder = save_llava(tmp_path / "my-llava-7b")
    names: dict = {}
    exec(row_code.replace('"my-lab/my-llava-7b"', repr(str(folder))), names)
    monkeypatch.setattr(catalogue, "ROWS", (*catalogue.ROWS, names["row"]))
    assert "My LLaVA" in catalogue.vlm_families()
    assert [r.name for r in catalogue.sizes("My LLaVA")] == ["my-llava"]
    assert catalogue.find_vlm("my-llava").source == str(folder)


def test_the_notebook_example_answers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    [_, notebook] = blocks("add_a_model.md", "python")
    monkeypatch.chdir(ROOT)
    exec(notebook, {})
    printed = capsys.readouterr().out
    assert re.match(r"(Yes|No)\b.*'image'", printed)


def test_the_tables_commands_work_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ISI_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    [table] = blocks("add_your_data.md", "csv")
    Path("my_table.csv").write_text(table, encoding="utf-8")
    Path("pictures").mkdir()
    for seed, name in enumerate(("first", "second")):
        make_trial(seed=seed).image.save(f"pictures/{name}.png")
    [script] = blocks("add_your_data.md", "sh")
    for line in script.splitlines():
        assert main(shlex.split(line)[3:]) == 0, line
    printed = capsys.readouterr().out
    assert "2 observations in the dataset mine" in printed
    assert '"truth": "yes"' in printed
    assert Path("mine.zip").exists()


def test_commands_of_datasets_speak_json_and_name_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ISI_HOME", str(tmp_path / "home"))
    table = tmp_path / "t.csv"
    table.write_text("image,question,answer\na.png,Is it red?,1\nmissing.png,Is it blue?,0\n", encoding="utf-8")
    Image.new("RGB", (40, 40), "red").save(tmp_path / "a.png")
    assert main(["datasets", "import", str(table), "--name", "mine", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], told["observations"]) == ("mine", 1)
    assert any("missing.png" in problem for problem in told["problems"])
    assert main(["datasets", "list", "--json"]) == 0
    assert {"name": "mine", "observations": 1} in json.loads(capsys.readouterr().out)
    assert main(["datasets", "show", "mine", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["truths"] == {"yes": 1}
    assert main(["datasets", "export", "mine", "--out", str(tmp_path / "folder")]) == 0
    assert (tmp_path / "folder" / "vlm_dataset.csv").exists()
    for wrong in (["--column", "colour=answer"], ["--column", "answer=truth"], ["--column", "answer"]):
        assert main(["datasets", "import", str(table), *wrong]) == 2


def test_commands_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from isi_core.domain.decoding import Decoding
    from isi_core.store.runs import Store
    from isi_core.studies.vqa import evaluate

    home = tmp_path / "home"
    monkeypatch.setenv("ISI_HOME", str(home))
    folder = save_llava(tmp_path / "llava")
    with Shelf().vlm(str(folder)) as vlm:
        made = evaluate(make_trial("Red."), vlm, Decoding(max_new_tokens=5), {"attention"})
    run = Store(home).save(made, dataset="noise")
    assert main(["runs", "list", "--words", "red", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["count"] == 1 and listed["runs"][0]["id"] == run
    assert main(["runs", "show", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answer"] == made.answer.text
    for name in ("run.zip", "run.pdf"):
        assert main(["runs", "export", str(run), "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / "run.pdf").read_bytes().startswith(b"%PDF")
    capsys.readouterr()
    for source in (str(run), str(tmp_path / "run.zip")):
        assert main(["runs", "rerun", source, "--model", str(folder), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["same"] is True
    save_llava(tmp_path / "other", seed=9)
    assert main(["runs", "rerun", str(run), "--model", str(tmp_path / "other")]) == 2
    assert main(["runs", "export", str(run), "--out", str(tmp_path / "run.zip")]) == 2
    assert main(["runs", "show", "999"]) == 2


def test_the_clusters_commands_are_understood(tmp_path: Path) -> None:
    page = "run_on_a_cluster.md"
    [install, local, lab, sweep] = blocks(page, "sh")
    [requirements] = re.findall(r"-r (\S+)", install)
    assert re.search(r"^ray==", (ROOT / requirements).read_text(encoding="utf-8"), re.MULTILINE)
    [batch] = blocks(page, "bash")
    script = tmp_path / "sweep.sbatch"
    script.write_text(batch, encoding="utf-8")
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    joined = batch.replace("\\\n", " ")
    sweeps = re.findall(r"^\s*(?:.* )?python -m isi_core (.*)$", f"{local}\n{sweep}\n{joined}", re.MULTILINE)
    assert len(sweeps) == 6
    for words in sweeps:
        arguments = build_parser().parse_args(shlex.split(words.replace('"$address"', "first-machine:6379")))
        if getattr(arguments, "engine", "local") == "ray":
            Cluster(arguments.address, arguments.workers)
    if not is_installed():
        return
    from ray.scripts.scripts import cli as ray_commands

    known = {**os.environ, "SLURM_CPUS_PER_TASK": "16", "SLURM_GPUS_ON_NODE": "4", "SLURM_JOB_NUM_NODES": "4"}
    for line in re.findall(r"\bray ((?:start|get-auth-token|symmetric-run) .*)$", f"{lab}\n{joined}", re.MULTILINE):
        name, *options = shlex.split(string.Template(line).safe_substitute(known).partition(" > ")[0])
        own = options[: options.index("--")] if "--" in options else options
        made = ray_commands.commands[name].make_context(name, own, resilient_parsing=False)
        if name == "symmetric-run":  # what is left is for `ray start`
            rest = list(made.params["ray_args_and_entrypoint"])
            assert len(rest) == 3 and made.params["min_nodes"] == 4
            ray_commands.commands["start"].make_context("start", rest)


def test_the_clusters_local_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command itself, but for its engine; `tests/kill/test_sweep_ray.py` has Ray."""
    monkeypatch.setenv("ISI_HOME", str(tmp_path / "home"))
    [line] = [text for text in blocks("run_on_a_cluster.md", "sh") if text.startswith("# local")]
    words = shlex.split(line.partition("--engine")[0].partition("isi_core ")[2])
    assert main([*words, "--measure", "answer", "--images", "natural", "--contexts", "none", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["done"]) == ("done", 4)
