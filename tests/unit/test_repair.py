"""Fitting and repair: a small network learns, takes a shortcut, and is cured of it by counterfactuals."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil

from isi_core.cli import main
from isi_core.domain.attributes import Attribute
from isi_core.domain.errors import Cancelled, InputError, ModelError
from isi_core.models.classifiers.fitting import FitSettings, fitted, pixels_of
from isi_core.models.classifiers.hugging_face import HuggingFaceClassifier
from isi_core.models.editors.render import RenderEditor
from isi_core.reports.charts import figure_png
from isi_core.reports.counterfactual_repair import repair_csv, repair_figure, repair_sentence, repair_table
from isi_core.studies.counterfactuals.bank import EditBank
from isi_core.studies.counterfactuals.repair import RepairSettings, repair
from isi_core.studies.counterfactuals.repair_results import RepairResult
from isi_core.studies.counterfactuals.repair_task import AFFECTED, AS_TRAINED, SIDE, UNBIASED, WorldTask
from isi_core.worlds.attributed import world
from isi_core.worlds.rules import Rule

# A beard is the class, a hat that goes along with it the shortcut: larger, and so learned first.
RULE = Rule("bearded", "faces", ("shaven", "bearded"), {("facial hair", "beard"): (8.0,)}, bias=(-4.0,))
HAT = Attribute(("headwear", "hat", "fedora"))


def network(folder: Path, labels: tuple[str, ...] = RULE.classes, **settings: object) -> HuggingFaceClassifier:
    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 1],
        layer_type="basic",
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        **settings,
    )
    ResNetForImageClassification(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return HuggingFaceClassifier.load(folder, folder.name, device="cpu")


def coloured(count: int, seed: int = 0) -> tuple[list[Image.Image], list[int]]:
    """Noisy pictures, red (1) or blue (0)."""
    rng = np.random.default_rng(seed)
    labels = [int(rng.random() < 0.5) for _ in range(count)]
    made = []
    for label in labels:
        pixels = rng.integers(0, 120, (32, 32, 3))
        pixels[..., 0 if label else 2] += 100
        made.append(Image.fromarray(pixels.astype(np.uint8)))
    return made, labels


def test_fitting_learns_what_tells_the_classes_apart_and_leaves_the_first_network_alone(tmp_path: Path) -> None:
    classifier = network(tmp_path / "net")
    images, labels = coloured(64)
    before = classifier.logits(images)
    found = fitted(classifier, pixels_of(classifier, images), labels, FitSettings(steps=30, batch=16, rate=5e-3))
    tested, truth = coloured(40, seed=1)
    assert (found.logits(tested).argmax(axis=1) == truth).mean() >= 0.95
    assert np.array_equal(classifier.logits(images), before)
    assert found.record["fitted"]["steps"] == 30 and "fitted" not in classifier.record
    again = fitted(classifier, pixels_of(classifier, images), labels, FitSettings(steps=30, batch=16, rate=5e-3))
    assert np.array_equal(found.logits(tested), again.logits(tested))
    other = fitted(classifier, pixels_of(classifier, images), labels, FitSettings(steps=30, batch=16, rate=5e-3), 1)
    assert not np.array_equal(found.logits(tested), other.logits(tested))


def test_fresh_weights_do_not_depend_on_the_networks_own(tmp_path: Path) -> None:
    one, other = network(tmp_path / "one"), network(tmp_path / "other")
    with torch.no_grad():
        for parameter in other.module.parameters():
            parameter.mul_(3)
    images, labels = coloured(16)
    settings = FitSettings(steps=2, batch=8, fresh=True)
    first, second = (fitted(net, pixels_of(net, images), labels, settings, seed=4) for net in (one, other))
    assert np.array_equal(first.logits(images), second.logits(images))


def test_a_checkpoint_with_one_output_is_fitted_as_two_classes(tmp_path: Path) -> None:
    classifier = network(tmp_path / "single", ("red",))
    images, labels = coloured(64)
    found = fitted(classifier, pixels_of(classifier, images), labels, FitSettings(steps=30, batch=16, rate=5e-3))
    tested, truth = coloured(40, seed=1)
    assert (found.logits(tested).argmax(axis=1) == truth).mean() >= 0.95


def test_a_checkpoint_of_other_classes_gets_a_new_head_and_keeps_its_trunk(tmp_path: Path) -> None:
    three = network(tmp_path / "three", ("cat", "dog", "owl"))
    found = HuggingFaceClassifier.load_for(("blue", "red"), tmp_path / "three", "three", device="cpu")
    assert found.labels == ("blue", "red") and found.record["head"] == "new"
    for (name, one), (_, other) in zip(
        three.module.resnet.named_parameters(), found.module.resnet.named_parameters(), strict=True
    ):
        assert torch.equal(one, other), name
    images, labels = coloured(64)
    fit = fitted(found, pixels_of(found, images), labels, FitSettings(steps=30, batch=16, rate=5e-3))
    tested, truth = coloured(40, seed=1)
    assert (fit.logits(tested).argmax(axis=1) == truth).mean() >= 0.95


def test_what_cannot_be_fitted_is_told(tmp_path: Path) -> None:
    classifier = network(tmp_path / "net")
    images, labels = coloured(8)
    pixels = pixels_of(classifier, images)
    for wrong in ([0] * 7, [2] * 8, [-1] * 8):
        with pytest.raises(InputError, match="one of the classifier's classes"):
            fitted(classifier, pixels, wrong)
    many = network(tmp_path / "many", problem_type="multi_label_classification")
    with pytest.raises(InputError, match="do not exclude each other"):
        fitted(many, pixels, labels)
    with pytest.raises(ModelError, match="learning rate"):
        fitted(classifier, pixels * float("inf"), labels)
    with pytest.raises(InputError):
        FitSettings(steps=0)
    with pytest.raises(InputError, match="no picture"):
        pixels_of(classifier, [])

    def stop(done: int, _of: int) -> None:
        if done == 1:
            raise Cancelled

    with pytest.raises(Cancelled):
        fitted(classifier, pixels, labels, on_step=stop)


def task(**settings: object) -> WorldTask:
    return WorldTask(RULE, HAT, "bearded", **{"share": 1.0, "size": 120, "held_out": 60, **settings})  # type: ignore[arg-type]


def test_training_pictures_have_the_bias_and_counterfactuals_come_from_the_other_class() -> None:
    few = task(size=40)
    place, training = world("faces"), few.training(3)
    assert len(training.pictures) == 40 and training.pictures[0].image.size == (SIDE, SIDE)
    for picture, label in zip(training.pictures, training.labels, strict=True):
        assert picture.subject is not None and not picture.subject.held_out
        assert RULE.likeliest(picture.subject) == label
        assert place.has(picture.subject, HAT.path) is (label == 1)
    assert few.candidates(training) == [i for i, label in enumerate(training.labels) if label == 0]
    digests = [p.digest for p in training.pictures]
    assert [p.digest for p in few.training(3).pictures] == digests
    assert digests not in ([p.digest for p in m.pictures] for m in (few.training(4), few.training(3, part="control")))
    half = task(share=0.8, size=160).training(0)
    along = [place.has(p.subject, HAT.path) for p, label in zip(half.pictures, half.labels, strict=True) if label]  # type: ignore[arg-type]
    assert 0.6 < np.mean(along) < 0.96


def test_the_examination_weighs_every_held_out_subject_with_and_without_the_attribute() -> None:
    found = task(share=0.9).examination
    place, n = world("faces"), 60
    shown = [place.has(p.subject, HAT.path) for p in found.labelled.pictures]  # type: ignore[arg-type]
    labels = np.array(found.labelled.labels)
    assert shown == [True] * n + [False] * n and all(p.subject.held_out for p in found.labelled.pictures)  # type: ignore[union-attr]
    # A classifier that goes by the hat alone is right on the bearded with one and the shaven without.
    by_hat = found.accuracies(np.array(shown) == (labels == 1))
    assert by_hat[AFFECTED] == 0 and by_hat[AS_TRAINED] == pytest.approx(0.9) and by_hat[UNBIASED] == 0.5
    assert found.size(AFFECTED) == int((labels[:n] == 0).sum()) and found.size(AS_TRAINED) == 2 * n


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"attribute": Attribute(("facial hair", "beard", "full"))}, "changes the class itself"),
        ({"attribute": Attribute(("nose",))}, "no attribute"),
        ({"along": "tall"}, "name one"),
        ({"share": 0.2}, "share"),
        ({"size": 3}, "20 to"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        WorldTask(**{"rule": RULE, "attribute": HAT, "along": "bearded", **wrong})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RepairResult:
    """A repair that is really made: from random weights, a hat that always goes along with a beard."""
    classifier = network(tmp_path_factory.mktemp("repair") / "net")
    settings = RepairSettings(40, 2, fit=FitSettings(steps=60, batch=32, rate=5e-3, fresh=True))
    return repair(task(), classifier, RenderEditor("faces", SIDE), settings)


def test_counterfactuals_cure_a_shortcut_and_further_pictures_do_not(result: RepairResult) -> None:
    before, after, more = (result.accuracy(arm, AFFECTED).estimate for arm in result.arms)
    assert before < 0.6 and after > before + 0.2 and after > more + 0.1
    assert result.change("with counterfactuals", AFFECTED).estimate == pytest.approx(after - before)
    assert result.change("with counterfactuals", UNBIASED).estimate > 0
    assert [t.made for t in result.trials] == [40, 40] and result.start is None


def test_a_repair_is_written_read_and_shown(result: RepairResult) -> None:
    told = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert RepairResult.from_json(told) == result
    rows = list(csv.DictReader(io.StringIO(repair_csv(result).decode())))
    assert [row["group"] for row in rows] == list(result.sizes)
    assert float(rows[0]["with counterfactuals"]) == pytest.approx(
        result.accuracy("with counterfactuals", AFFECTED).estimate
    )
    assert figure_png(repair_figure(result))[:4] == b"\x89PNG"
    assert "accuracy (share of pictures" in json.dumps(repair_figure(result).chart.to_dict())
    assert "affected group goes from" in repair_sentence(result) and len(repair_table(result)) == 3
    for broken in ({}, [], {"trials": 3}, {**told, "trials": [{}]}):
        with pytest.raises(InputError, match="no result of a repair"):
            RepairResult.from_json(broken)


def test_a_repair_refuses_other_classes_keeps_edits_in_a_bank_and_can_be_cancelled(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="same classes"):
        repair(task(), network(tmp_path / "other", ("cat", "dog")), RenderEditor("faces", SIDE))
    bank, classifier = EditBank(tmp_path / "bank"), network(tmp_path / "net")
    settings = RepairSettings(5, 1, control=False, fit=FitSettings(steps=2, batch=8))
    small = task(size=30, held_out=20)
    found = repair(small, classifier, RenderEditor("faces", SIDE), settings, bank)
    assert found.arms == ("before", "with counterfactuals") and len(bank) == 5 and found.start is not None
    again = repair(small, classifier, RenderEditor("faces", SIDE), settings, bank)
    assert again.trials == found.trials

    def stop(message: str, fraction: float) -> None:
        if "fitting with counterfactuals" in message:
            assert 0.5 < fraction < 1
            raise Cancelled

    with pytest.raises(Cancelled):
        repair(small, classifier, RenderEditor("faces", SIDE), settings, progress=stop)


def test_the_command_repairs_an_embedded_classifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--pictures", "40", "--held-out", "20", "--seeds", "1", "--steps", "3", "--batch", "8"]
    given = ["repair", *few, "--counterfactuals", "6", "--csv", str(tmp_path / "c.csv")]
    assert main([*given, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"]["task"]["attribute"] == ["clothing", "collar", "shirt"] and found["trials"][0]["made"] == 6
    assert found["settings"]["task"]["along"] == "old" and found["start"] is not None
    assert (tmp_path / "c.csv").read_text().startswith("group,")
    assert main([*given, "--no-control"]) == 0
    assert "affected group" in capsys.readouterr().out
    assert main(["repair", "--attribute", "hair/colour/grey"]) == 2
    assert "choose an attribute without weight" in capsys.readouterr().err
    assert main(["repair", "--rule", "nothing"]) == 2
    assert "no rule" in capsys.readouterr().err
