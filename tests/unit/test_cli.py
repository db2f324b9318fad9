"""The command line, run as a person would, on real classes with random weights."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader

from isi_core.cli import main
from isi_core.datasets.isi_folder import load_isi_folder
from isi_core.domain.decoding import Decoding
from isi_core.domain.interventions import Box, ContextPreset, GaussianNoise, ImagePreset, to_json
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.studies.averages import read_averages
from isi_core.studies.trials import build_trial
from isi_core.studies.vqa import evaluate
from isi_core.training import nli
from tests.checkpoints import save_llava

KEYS = {
    "answer", "verdict", "truth", "semantic_entropy", "predictive_entropy", "n_clusters", "clusters", "attention",
    "attention_absolute", "model", "decoding", "digest",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Holds `data`, a dataset of three made by the command itself, and the models `llava` and `nli`."""
    folder = tmp_path_factory.mktemp("cli")
    assert main(["scenes", "--count", "3", "--seed", "4", "--out", str(folder / "data")]) == 0
    save_llava(folder / "llava")
    nli.train(folder / "nli.pt", steps=1, minutes=1, batch=2, seed=0, report_every=100)
    nli.save_model(folder / "nli.pt", folder / "nli")
    return folder


@pytest.fixture
def run(folder, capsys):
    """Runs `evaluate` on the dataset with the random models; returns exit code, output and errors."""

    def call(*arguments: str, observation: str = "1") -> tuple[int, str, str]:
        options = ["--dataset", folder / "data", "--model", folder / "llava", "--entailment", folder / "nli"]
        few = ["--samples", "3", "--observation", observation]
        capsys.readouterr()
        code = main(["evaluate", *map(str, options), *few, *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def summary(run):
    def call(*arguments: str, **options: str) -> dict:
        code, out, err = run("--json", *arguments, **options)
        assert (code, err) == (0, "")
        return json.loads(out)

    return call


def _digest(folder: Path, *changes, **options) -> str:
    dataset = load_isi_folder(folder / "data")
    return build_trial(dataset, dataset.observations[0], changes, **options).digest


def test_help_answers_without_a_heavy_library():
    code = (
        "import sys; from isi_core.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as done: assert done.code == 0\n"
        "heavy = {'torch', 'transformers', 'numpy', 'scipy', 'PIL', 'pandas', 'altair', 'reportlab', 'streamlit'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in ("evaluate", "scenes", "averages", "entropy"))


def test_evaluate_prints_every_number_as_json(folder, summary):
    found = summary()
    assert set(found) == KEYS | {"observation"}
    assert found["truth"] in ("yes", "no") and found["verdict"] in ("yes", "no", "unclear")
    assert found["n_clusters"] == len(found["clusters"]) >= 1
    assert sum(answer["count"] for cluster in found["clusters"] for answer in cluster["answers"]) == 3
    assert set(found["attention"]) == {"image", "context", "question"}
    assert set(found["attention_absolute"]) == {"image", "context", "question", "other"}
    assert sum(found["attention"].values()) == pytest.approx(1)
    assert sum(found["attention_absolute"].values()) == pytest.approx(1)
    assert found["model"]["name"] == "llava"
    assert (found["decoding"]["n_samples"], found["decoding"]["temperature"], found["decoding"]["seed"]) == (3, 0.9, 0)
    assert found["digest"] == _digest(folder)


def test_the_answer_is_the_one_of_the_library_and_the_seed_draws_the_samples(folder, summary):
    dataset = load_isi_folder(folder / "data")
    trial = build_trial(dataset, dataset.observations[0], [ContextPreset("contradictory")])
    vlm = HuggingFaceVLM.load(folder / "llava", "llava")
    expected = evaluate(trial, vlm, Decoding(n_samples=3)).answer
    first, same, other = (summary("--context", "contradictory", "--seed", seed) for seed in ("5", "5", "6"))
    assert expected is not None and first["answer"] == expected.text
    assert first == same
    assert first["clusters"] != other["clusters"] and first["answer"] == other["answer"]


def test_only_what_is_asked_for_is_measured(summary):
    found = summary("--measure", "answer")
    assert found["answer"] is not None
    assert found["semantic_entropy"] is found["clusters"] is found["attention"] is None
    assert summary("--measure", "attention")["attention"] and summary("--measure", "uncertainty")["clusters"]


def test_images_contexts_and_questions_are_chosen_by_name_or_in_own_words(folder, summary, tmp_path):
    def digest(*arguments: str) -> str:
        return summary("--measure", "answer", *arguments)["digest"]

    own = load_isi_folder(folder / "data").observations[0]
    assert digest("--image", "annotated") == _digest(folder, ImagePreset("annotated"))
    assert digest("--image", "random", "--seed", "3") == _digest(folder, ImagePreset("random", 3))
    assert digest("--context", "complementary") == _digest(folder, ContextPreset("complementary"))
    assert digest("--context", "random", "--seed", "3") == _digest(folder, ContextPreset("random", 3))
    assert digest("--context", own.contradictory) == digest("--context", "contradictory")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8))
    picture.save(tmp_path / "mine.png")
    found = summary("--measure", "answer", "--image", str(tmp_path / "mine.png"))
    assert found["digest"] == _digest(folder, picture=picture)
    assert found["truth"] == own.truth_word
    assert summary("--measure", "answer", "--question", "Is it a dog?")["truth"] == "unknown"
    assert summary("--measure", "answer", "--question", own.question)["truth"] == own.truth_word


def test_interventions_come_from_a_file_and_explicit_options_win_over_it(folder, summary, tmp_path):
    box, noise = Box(0.1, 0.1, 0.5, 0.5, filled=True), GaussianNoise(20, seed=1)
    changes = [ImagePreset("annotated"), box, noise, ContextPreset("contradictory")]
    file = tmp_path / "changes.json"
    file.write_text(json.dumps([to_json(c) for c in changes]))
    found = summary("--measure", "answer", "--interventions", str(file))
    assert found["digest"] == _digest(folder, *changes)
    other = summary("--measure", "answer", "--interventions", str(file), "--image", "natural", "--context", "none")
    assert other["digest"] == _digest(folder, box, noise)
    own = load_isi_folder(folder / "data").observations[0]
    file.write_text(json.dumps([{"type": "question_preset", "kind": "random"}]))
    assert summary("--measure", "answer", "--interventions", str(file))["truth"] == "unknown"
    back = summary("--measure", "answer", "--interventions", str(file), "--question", own.question)
    assert (back["digest"], back["truth"]) == (_digest(folder), own.truth_word)


def test_an_observation_is_named_by_row_or_stem_and_all_gives_a_line_each(folder, run, summary):
    observations = load_isi_folder(folder / "data").observations
    by_stem = summary("--measure", "answer", observation=observations[1].id)
    assert by_stem == summary("--measure", "answer", observation="2")
    code, out, _ = run("--json", "--measure", "answer", observation="all")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [line["observation"] for line in lines] == [o.id for o in observations]
    assert lines[1] == by_stem


def test_without_json_a_person_can_read_it(run):
    code, out, _ = run("--context", "Line one\nline \x1b[31mtwo")
    assert code == 0
    assert "semantic entropy" in out and "attention" in out and "the truth is" in out
    assert "Line one\\nline \\x1b[31mtwo" in out and "\x1b" not in out


def test_in_all_an_observation_that_cannot_be_shown_does_not_stop_the_others(folder, run):
    gone = folder / "data" / "annotated_images" / load_isi_folder(folder / "data").observations[1].image.name
    kept = gone.read_bytes()
    gone.unlink()
    try:
        code, out, err = run("--json", "--measure", "answer", "--image", "annotated", observation="all")
    finally:
        gone.write_bytes(kept)
    assert code == 2
    assert len(out.splitlines()) == 2
    assert f"{gone.stem}: {gone.stem} has no annotated picture" in err
    assert "1 of 3 observations were left out" in err


def test_the_report_is_a_pdf_of_what_was_measured(run, tmp_path):
    path = tmp_path / "report.pdf"
    code, out, _ = run("--json", "--report", str(path), observation="all")
    text = "".join(page.extract_text() for page in PdfReader(path).pages)
    assert code == 0
    for line in map(json.loads, out.splitlines()):
        assert line["digest"][:8] in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--observation", "99"], "row number"),
        (["--image", "nowhere.png"], "nowhere.png"),
        (["--image", "\0"], "not a path"),
        (["--image", "{here}"], "cannot be read"),
        (["--question", "  "], "question is empty"),
        (["--context", "x" * 200_000], "too long"),
        (["--interventions", "{here}/nowhere.json"], "cannot be read"),
        (["--interventions", "{here}/text.json"], "not a JSON file"),
        (["--interventions", "{here}/object.json"], "JSON list"),
        (["--interventions", "{here}/wrong.json"], "Intervention 2: box"),
        (["--measure", "beauty"], "Unknown measure beauty"),
        (["--measure", ","], "Nothing to measure"),
        (["--temperature", "0"], "temperature"),
        (["--samples", "0"], "samples"),
        (["--dataset", "{here}/nowhere"], "no folder"),
        (["--dataset", "{here}"], "vlm_dataset.csv"),
        (["--model", "no-such-model"], "no-such-model"),
        (["--report", "{here}/nowhere/report.pdf"], "report cannot be written"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(run, tmp_path, arguments, message):
    (tmp_path / "text.json").write_text("not json")
    (tmp_path / "object.json").write_text("{}")
    right = to_json(Box(0.1, 0.1, 0.2, 0.2))
    (tmp_path / "wrong.json").write_text(json.dumps([right, {**right, "left": "<b>"}]))
    code, out, err = run("--json", *(a.replace("{here}", str(tmp_path)) for a in arguments))
    assert (code, out) == (2, "")
    assert message in err and len(err.splitlines()) == 1 and err.startswith("isi_core: ")


def test_what_is_wrong_with_a_dataset_is_told_but_stops_nothing(folder, capsys, tmp_path):
    text = (folder / "data" / "vlm_dataset.csv").read_text().splitlines()
    for kind in ("natural_images", "annotated_images"):
        (tmp_path / kind).symlink_to(folder / "data" / kind)
    (tmp_path / "vlm_dataset.csv").write_text("\n".join(text))
    models = ["--model", str(folder / "llava"), "--measure", "answer", "--json"]
    assert main(["evaluate", "--dataset", str(tmp_path), "--observation", "1", *models]) == 2
    assert "natural_images" in capsys.readouterr().err  # a link to elsewhere is not followed
    broken = tmp_path / "broken"
    (broken / "natural_images").mkdir(parents=True)
    for picture in (folder / "data" / "natural_images").iterdir():
        (broken / "natural_images" / picture.name).write_bytes(picture.read_bytes())
    (broken / "vlm_dataset.csv").write_text("\n".join([*text, "../up.png,Q?,c,h,1,d,f"]))
    assert main(["evaluate", "--dataset", str(broken), "--observation", "1", *models]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["answer"] is not None
    assert "up.png" in err and "annotated_images" in err


def test_scenes_overwrites_nothing(folder, capsys):
    def state() -> str:
        files = sorted(p for p in (folder / "data").rglob("*") if p.is_file())
        return hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()

    before = state()
    assert main(["scenes", "--count", "2", "--seed", "9", "--out", str(folder / "data")]) == 2
    assert "nothing was overwritten" in capsys.readouterr().err
    assert state() == before


def test_averages_are_written_and_shown_as_a_table(folder, capsys, tmp_path):
    path = tmp_path / "new" / "averages.json"
    options = [
        "--dataset",
        folder / "data",
        "--model",
        folder / "llava",
        "--entailment",
        folder / "nli",
        "--samples",
        2,
    ]
    assert main(["averages", *map(str, options), "--out", str(path), "--table"]) == 0
    table = capsys.readouterr().out
    averages = read_averages(path)
    assert (averages.model["name"], averages.dataset) == ("llava", "data")
    assert len(averages.presets) == 12 and all(p.n == 3 for p in averages.presets.values())
    assert table.count("\n| natural |") == table.count("\n| random |") == 4
    assert main(["averages", "--read", str(path)]) == 0
    assert capsys.readouterr().out == table


def test_a_reader_that_leaves_early_gets_no_traceback(folder):
    root = Path(__file__).parents[2]
    cases = folder / "cases.json"
    case = {"token_log_likelihoods": [[-1.0]] * 40, "implications": [[2] * 40] * 40}
    cases.write_text(json.dumps([case] * 400))
    command = [sys.executable, "-m", "isi_core", "entropy", str(cases)]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)) as p:
        assert p.stdout is not None and p.stderr is not None
        p.stdout.read(10)
        p.stdout.close()
        assert p.stderr.read() == b""
    assert p.returncode == 141
