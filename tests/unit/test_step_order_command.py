"""`order train`, `evaluate`, `gap` and `grid` from the command line, and the embedded encoders' own files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from random import Random

import pytest
import torch

from isi_core.cli import main
from isi_core.domain.home import HOME_VARIABLE
from isi_core.models.catalogue import EMBEDDED
from isi_core.models.encoders.loading import load_encoder
from isi_core.models.encoders.rows import ENCODERS
from isi_core.training.step_bank import PROGRESS, caption, sight
from isi_core.training.step_encoders import NAMES, build, contrast
from isi_core.worlds.howtos import CATEGORIES, StepScene
from tests.step_encoders import save_random

FEW = ["--train", "2", "--validation", "2", "--test", "2"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random("clip", tmp_path_factory.mktemp("encoders") / "small")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


def test_train_evaluate_and_gap_build_on_each_other(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["order", "evaluate", "--test", "2"]) == 2
    assert "Nothing has been fine-tuned on howto yet" in capsys.readouterr().err
    folders = {}
    for modality in ("t", "vt"):
        asked = ["order", "train", "--encoder", str(clip), "--modality", modality, "--epochs", "1", *FEW, "--json"]
        assert main(asked) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["modality"], told["ended"], told["points"][-1]["step"]) == (modality, "finished", 4)
        folders[modality] = told["folder"]
    assert main(["order", "evaluate", "--data", "howto", "--test", "2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [set(row) for row in rows] == [
        {"encoder", "modality", "category", "kind", "accuracy", "low", "high", "n"}
    ] * 18
    assert {(row["modality"], row["category"]) for row in rows} == {
        (m, c) for m in ("t", "vt") for c in (*CATEGORIES, "all")
    }
    assert all(row["n"] == (16 if row["category"] == "all" else 2) for row in rows)
    assert main(["order", "evaluate", folders["t"], "--test", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [row for row in rows if row["modality"] == "t"]
    assert main(["order", "evaluate", "--test", "2"]) == 0
    assert "small, all: vt minus t" in capsys.readouterr().out
    asked = ["order", "gap", "--encoder", str(clip), "--after", folders["vt"], "--test", "2", "--shift", "--json"]
    assert main(asked) == 0
    gap = json.loads(capsys.readouterr().out)
    assert gap["after"]["whole"]["n"] == gap["before"]["whole"]["n"] > 0
    assert [point["amount"] for point in gap["shift"]] == 2 * [i / 8 for i in range(-4, 9)]
    assert {point["moment"] for point in gap["shift"] if point["accuracy"] is None} == {"before"}
    for point in gap["shift"]:
        assert 0 <= point["retrieval"] <= 1 and 0 <= point["matching"] <= 1
        assert -1 <= point["random_cosine"] <= 1 and -1 <= point["true_cosine"] <= 1
    assert main([*asked[:-2], "--before", folders["t"]]) == 0
    said = capsys.readouterr().out
    assert "text rank" in said and sum(line.startswith("after ") for line in said.splitlines()) == 14
    assert main(["order", "gap", "--encoder", str(clip), "--after", str(clip), "--test", "2"]) == 2
    assert "holds no fine-tuned encoder" in capsys.readouterr().err


def test_a_wrong_choice_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    for asked, said in (
        (["train", "--encoder", "no such"], "No encoder 'no such'"),
        (["train", "--data", "nowhere"], "There are no how-tos 'nowhere'"),
        (["train", "--epochs", "0"], "Epochs must be"),
        (["grid", "--modalities", "x"], "Unknown modality"),
        (["grid", "--seeds", "0"], "1 to 20 seeds"),
    ):
        assert main(["order", *asked]) == 2
        told = capsys.readouterr().err.strip().splitlines()
        assert said in told[-1]


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_embedded_encoders_say_what_a_picture_shows(name: str) -> None:
    """Held-out pictures of one level are nearer to each other than to those of other levels."""
    (row,) = (row for row in ENCODERS if row.name == name)
    encoder = load_encoder(name)
    encoder.module.eval()
    assert encoder.family == row.family
    folder = Path(str(row.source))
    assert (folder / "README.md").is_file()
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 4_000_000
    from isi_core.worlds.howtos import Step, render_step

    rng = Random(4)
    levels = [0, 3, 7] * 5
    pictures = [
        render_step(Step("", StepScene("lawn", level, rng.randrange(999), rng.randrange(999)))) for level in levels
    ]
    features = torch.nn.functional.normalize(encoder.image_features(encoder.pixels(pictures)), dim=-1)
    alike = (features @ features.T).fill_diagonal_(-1)
    assert sum(levels[int(j)] == levels[i] for i, j in enumerate(alike.argmax(-1))) >= 13


def test_captions_tell_what_is_seen_and_nothing_of_the_place() -> None:
    scenes = [StepScene(c, level, 0, 0) for c in CATEGORIES for level in (None, *range(len(PROGRESS)))]
    assert len({caption(s) for s in scenes}) == len({sight(s) for s in scenes}) == len(scenes)


def test_the_contrastive_loss_takes_every_right_caption() -> None:
    features = torch.eye(4)[[0, 0, 1, 2]]
    sights = torch.tensor([5, 5, 6, 7])
    # Equal sights share the answer: the least loss is that of a coin for the two, and none for the others.
    assert contrast(features, features, sights, 100.0) == pytest.approx(math.log(2) / 2, abs=1e-4)
    assert contrast(features, features.roll(1, 0), sights, 100.0) > 10


@pytest.mark.parametrize("name", NAMES)
def test_each_objective_goes_down(name: str) -> None:
    made = build(name, 0)
    from isi_core.training.optimizers import build_optimizers
    from isi_core.training.optimizers import step as optimize
    from isi_core.training.step_bank import StepBank

    n = 8
    bank = StepBank(
        torch.randint(0, 256, (n, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
        torch.arange(n),
        tuple(f"a {c}" for c in CATEGORIES),
        ("How to Build a Kite",) * n,
        tuple(f"put the {c} down" for c in CATEGORIES),
    )
    optimizers = [o for part in made.modules.values() for o in build_optimizers(part, 1e-3)]
    weights = [p for part in made.modules.values() for p in part.parameters()]
    first: dict[str, float] = {}
    for step in range(25):
        losses = made.loss(bank, Random(step), list(range(n)))
        first = first or {key: value.item() for key, value in losses.items()}
        optimize(optimizers, torch.stack(list(losses.values())).sum(), weights)
    assert sum(value.item() for value in losses.values()) < 0.8 * sum(first.values())


def test_a_tokenizer_trained_anew_is_the_one_that_is_shipped() -> None:
    """In another process than the one that wrote it: a training that is resumed must find its own words."""
    from transformers import AutoTokenizer

    from isi_core.training import step_models

    for folder, made in (
        ("tiny-clip", step_models.clip_tokenizer()),
        ("tiny-blip", step_models.blip_tokenizer()),
        ("tiny-vit-roberta/text", step_models.roberta_tokenizer()),
    ):
        shipped = AutoTokenizer.from_pretrained(EMBEDDED / folder)
        assert type(shipped) is type(made)
        assert shipped.get_vocab() == made.get_vocab()
        for text in ("Put the block down gently, if you like.", "Ünknown wörds: 42!"):
            assert shipped(text)["input_ids"] == made(text)["input_ids"]
    # No letter is CLIP's unknown token, for it pools at the first one.
    clip = step_models.clip_tokenizer()
    assert clip("~é☃z Q")["input_ids"].index(clip.eos_token_id) == len(clip("~é☃z Q")["input_ids"]) - 1
