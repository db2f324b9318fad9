"""Datasets read by the real `datasets` library: local folders in its forms, what it saved, MMMU's form, refusals."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from PIL import Image

from isi_core.cli import main
from isi_core.datasets import hub
from isi_core.datasets.built_in import load_dataset
from isi_core.datasets.catalogue import dataset_path, import_problems
from isi_core.datasets.hub import HubChoice, is_hub_id, read_hub
from isi_core.datasets.importing import open_source
from isi_core.datasets.multiple_choice import yes_no_table
from isi_core.datasets.tables import Table
from isi_core.domain.errors import InputError
from isi_core.domain.home import HOME_VARIABLE
from tests.hub_server import COMMIT, serve_hub

datasets: Any = pytest.importorskip("datasets")

COLOURS = ("red", "blue", "green", "black")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    # Nothing here goes out to the hub.
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "home"


def png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(file, "PNG")
    return file.getvalue()


def made() -> Any:
    features = {"image": datasets.Image(), "question": datasets.Value("string"), "answer": datasets.Value("string")}
    rows = {
        "image": [{"bytes": png(colour), "path": f"{colour}.png"} for colour in COLOURS],
        "question": [f"Is number {i} red?" for i in range(len(COLOURS))],
        "answer": ["yes", "no", "no", "perhaps"],
    }
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A folder as a repository of the hub lays out its Parquet files, with two splits."""
    folder = tmp_path / "repository"
    (folder / "data").mkdir(parents=True)
    made().to_parquet(str(folder / "data" / "validation-00000-of-00001.parquet"))
    made().select(range(2)).to_parquet(str(folder / "data" / "test-00000-of-00001.parquet"))
    return folder


def command(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["datasets", *arguments])
    return (code, *capsys.readouterr())


def test_a_repositorys_folder_is_read_row_by_row_and_imported(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = command(
        "import",
        str(repository),
        "--hub",
        "--split",
        "validation",
        "--rows",
        "4",
        "--name",
        "mine",
        "--json",
        capsys=capsys,
    )
    assert code == 0, err
    told = json.loads(out)
    assert told["observations"] == 4 and told["origin"]["split"] == "validation" and told["origin"]["rows"] == "4"
    assert told["origin"]["library"] == f"datasets {datasets.__version__}" and "truth is unknown" in told["problems"][0]
    dataset = load_dataset("mine")
    assert [o.truth for o in dataset.observations] == [True, False, False, None]
    with Image.open(dataset.observations[1].image) as picture:
        assert picture.convert("RGB").getpixel((3, 3)) == (0, 0, 255)
    source, _ = import_problems("mine")
    assert "default, validation, a local folder" in source
    report = json.loads(next(dataset_path("mine").glob("*.json")).read_text())
    assert report["origin"] == told["origin"]


@pytest.mark.parametrize("form", ["parquet", "pictures"])
def test_a_dataset_of_the_hub_is_read_at_one_commit_and_that_is_kept(
    repository: Path, tmp_path: Path, form: str
) -> None:
    """The whole way over HTTP, in a process that takes this machine's own server for the hub."""
    if form == "pictures":
        repository = tmp_path / "pictures"
        (repository / "validation").mkdir(parents=True)
        for colour in COLOURS[:2]:
            (repository / "validation" / f"{colour}.png").write_bytes(png(colour))
        lines = [f"{colour}.png,Is it red?,{'yes' if colour == 'red' else 'no'}" for colour in COLOURS[:2]]
        (repository / "validation" / "metadata.csv").write_text("\n".join(["file_name,question,answer", *lines]))
    asked: list[str] = []
    with serve_hub(repository, "lab/colours", asked) as address:
        home = {"HF_HOME": str(tmp_path / "hf"), HOME_VARIABLE: str(tmp_path / "home")}
        options = ["--split", "validation", "--rows", "2", "--name", "mine", "--json"]
        environment = {**os.environ, **home, "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        command = [sys.executable, "-m", "isi_core", "datasets", "import", "lab/colours", *options]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=250, check=False)
    assert done.returncode == 0, (done.stderr, asked)
    told = json.loads(done.stdout)
    assert told["observations"] == 2 and told["problems"] == []
    assert told["origin"]["revision"] == COMMIT and told["origin"]["repository"] == "lab/colours"
    assert f"revision {COMMIT[:12]}" in import_problems("mine")[0]
    assert [o.truth for o in load_dataset("mine").observations] == [True, False]
    files = [one for one in asked if "/resolve/" in one]
    assert files and all(f"/resolve/{COMMIT}/" in one for one in files), "nothing but the pinned commit"


def test_only_so_many_rows_are_read_and_progress_is_told(repository: Path) -> None:
    said: list[float] = []
    found = read_hub(HubChoice(str(repository), split="validation", rows=2), lambda _, fraction: said.append(fraction))
    assert [number for number, _ in found.table.rows] == [1, 2] and said
    assert found.table.columns == ("image", "question", "answer") and found.folder == repository
    assert found.table.rows[0][1]["image"]["bytes"].startswith(b"\x89PNG"), "the file itself, nothing was decoded"


def test_a_folder_of_pictures_with_its_table_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for colour in COLOURS[:2]:
        (folder / f"{colour}.png").write_bytes(png(colour))
    (folder / "metadata.csv").write_text("file_name,question,answer\nred.png,Is it red?,yes\nblue.png,Is it red?,no\n")
    found = read_hub(HubChoice(str(folder)))
    assert [cells["image"] for _, cells in found.table.rows] == [
        {"path": f"{colour}.png", "bytes": png(colour)} for colour in COLOURS[:2]
    ]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({}, "has 2 splits: choose one of"),
        ({"split": "train"}, "has no split 'train'"),
        ({"config": "other"}, "has no config 'other': choose from default"),
    ],
)
def test_what_is_not_clear_is_asked_for(repository: Path, choice: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_hub(HubChoice(str(repository), **choice))


def test_what_cannot_be_had_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^no-one/nothing cannot be read: .*"):
        read_hub(HubChoice("no-one/nothing"))
    with pytest.raises(InputError, match="no dataset of the hub: give it as owner/name"):
        read_hub(HubChoice("https://example.org/x"))
    with pytest.raises(InputError, match="1 to 200,000 rows"):
        HubChoice("a/b", rows=0)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        read_hub(HubChoice(str(empty)))
    monkeypatch.setattr(datasets, "__version__", "3.6.0")
    with pytest.raises(InputError, match="may run code of a repository: pip install datasets=="):
        read_hub(HubChoice("a/b"))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"not installed: pip install datasets==.*as Parquet"):
        read_hub(HubChoice("a/b"))


def test_code_in_a_repository_is_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "repository.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    (folder / "data.csv").write_text("image,question\na.png,Is it?\n")
    with contextlib.suppress(InputError):
        read_hub(HubChoice(str(folder)))
    assert not (tmp_path / "ran").exists()


def test_a_picture_outside_of_the_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png("red"))
    cell = {"path": str(tmp_path / "secret.png"), "bytes": None}
    folder = tmp_path / "repository"
    folder.mkdir()
    assert hub._cell(cell, HubChoice("a/b"), folder, "") == {"path": "secret.png", "bytes": None}
    for path in ("hf://datasets/other/one@c/x.png", "hf://datasets/a/b@c/../../x.png", "https://example.org/x.png"):
        assert hub._cell({"path": path, "bytes": None}, HubChoice("a/b"), None, "c") == {"path": path, "bytes": None}


def test_what_is_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_hub_id("MMMU/MMMU") and not is_hub_id("/data/x") and not is_hub_id("one") and not is_hub_id("a/b/c")
    (tmp_path / "data" / "x").mkdir(parents=True)
    assert not is_hub_id("data/x"), "a folder that is here is meant"


def test_options_of_the_hub_need_a_hub_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = command("import", str(tmp_path), "--split", "test", capsys=capsys)
    assert code == 2 and "are of datasets of the hub" in err


def test_what_the_library_saved_is_read_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made().save_to_disk(str(tmp_path / "saved"), num_shards=2)
    datasets.DatasetDict({"a": made(), "b": made()}).save_to_disk(str(tmp_path / "several"))
    datasets.DatasetDict({"a": made()}).save_to_disk(str(tmp_path / "single"))
    monkeypatch.setitem(sys.modules, "datasets", None)
    for folder in ("saved", "single"):
        table = open_source(tmp_path / folder, tmp_path).table
        assert table is not None and [cells["image"]["bytes"] for _, cells in table.rows] == [png(c) for c in COLOURS]
    with pytest.raises(InputError, match="several splits: give the folder of a or b"):
        open_source(tmp_path / "several", tmp_path)


# --- multiple choice -----------------------------------------------------------------------------


def choice(number: int, **other: Any) -> dict[str, Any]:
    usual = {
        "id": f"validation_Art_Theory_{number}",
        "question": "<image 1> Which colour is it?",
        "options": "['red', 'blue', 'it\\'s green']",
        "answer": "B",
        "question_type": "multiple-choice",
        "image_1": {"bytes": png("blue"), "path": "1.png"},
        "image_2": None,
    }
    return {**usual, **other}


def test_multiple_choice_becomes_yes_no_questions_with_both_truths() -> None:
    rows = [choice(i) for i in range(200)]
    table = Table("m", tuple(rows[0]), tuple(enumerate(rows, 1)))
    found = yes_no_table(table)
    assert len(found.rows) == 200 and found.problems == () and found == yes_no_table(table)
    for _, cells in found.rows:
        assert cells["question"].startswith("Which colour is it? Is the answer “") and cells["family"] == "Art Theory"
        assert (cells["answer"] == "yes") == ("“blue”" in cells["question"])
    assert 70 < sum(cells["answer"] == "yes" for _, cells in found.rows) < 130
    assert {"red", "it's green"} == {c["question"].split("“")[1][:-2] for _, c in found.rows if c["answer"] == "no"}


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"question_type": "open"}, "open answer"),
        ({"image_2": {"bytes": b"", "path": ""}}, "several pictures"),
        ({"answer": "Z"}, "names none of its options"),
        ({"answer": "?"}, "names none of its options"),
        ({"options": "['<image 1>', 'b', 'c']"}, "options are pictures"),
        ({"options": "__import__('os')"}, "no list"),
        ({"options": "['a', 'a']"}, "the same one twice"),
        ({"options": "(" * 500}, "no list"),
        ({"question": "Compare it with <image 2>."}, "another picture"),
    ],
)
def test_what_cannot_be_converted_is_told_row_by_row(other: dict[str, Any], reason: str) -> None:
    rows = [choice(1), choice(2, **other)]
    found = yes_no_table(Table("m", tuple(rows[0]), tuple(enumerate(rows, 1))))
    assert len(found.rows) == 1 and found.problems[0].startswith("Row 2 ") and reason in found.problems[0]


def test_a_file_in_mmmus_form_is_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mmmu.parquet"
    pictures = {f"image_{i}": datasets.Image() for i in (1, 2)}
    texts = {name: datasets.Value("string") for name in ("id", "question", "options", "answer", "question_type")}
    rows = [choice(1), choice(2, question_type="open"), choice(3)]
    datasets.Dataset.from_list(rows, features=datasets.Features({**texts, **pictures})).to_parquet(str(path))
    code, out, err = command("import", str(path), "--name", "choices", "--json", capsys=capsys)
    assert code == 0, err
    told = json.loads(out)
    assert told["observations"] == 2 and "2 of 3 can be asked as yes/no" in told["note"]
    assert told["problems"] == ["Row 2 cannot be asked as a yes/no question: it has an open answer. It is left out."]
    assert {o.family for o in load_dataset("choices").observations} == {"Art Theory"}
