"""The small classifiers: what they learn from, that training resumes and saves, and what the shipped weights know."""

import json
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoImageProcessor, AutoModelForImageClassification, CLIPModel, CLIPProcessor

from isi_core.models.classifiers.presets import WORLD_PROMPTS
from isi_core.training.classifier_clip import (
    class_texts,
    contrast,
    draw_captions,
    facts_of,
    patches_of_phrases,
    phrases,
    somewhere,
)
from isi_core.training.classifier_clip import save_model as save_clip
from isi_core.training.classifier_clip import train as train_clip
from isi_core.training.classifier_data import (
    Bank,
    build_processor,
    disturbed,
    draw_bank,
    draw_trained,
    kept_bank,
    label_bank,
    leaf_vector,
    leaves_on,
    pixel_values,
)
from isi_core.training.classifiers import MODELS_FOLDER, RECIPES, build_model, logits_of, save_model, train
from isi_core.worlds.attributed import Subject, world
from isi_core.worlds.rules import draw_labelled, shipped_rule, shipped_rules

SHORT = {name: replace(recipe, steps=4, batch=16) for name, recipe in RECIPES.items()}
FEW = 48


def test_a_bank_holds_what_its_subjects_show():
    faces, rng = world("faces"), Random(4)
    bank = draw_bank(Random(4), faces, 6, held_out=False)
    for row in range(6):
        subject = draw_trained(rng, faces, held_out=False)
        assert set(leaves_on(faces, bank.leaves[row])) == set(subject.leaves)
        by_processor = build_processor()(faces.render(subject), return_tensors="pt")["pixel_values"]
        assert torch.allclose(pixel_values(bank.pictures[row : row + 1]), by_processor, atol=0.01)


def test_a_kept_bank_is_read_again_and_drawn_anew_where_its_size_changed(tmp_path):
    file = tmp_path / "bank.npz"
    first = kept_bank(file, "birds", 5)
    written = file.stat().st_mtime_ns
    assert (kept_bank(file, "birds", 5).pictures == first.pictures).all()
    assert file.stat().st_mtime_ns == written
    assert len(kept_bank(file, "birds", 3)) == 3


def test_training_subjects_are_never_held_out_ones():
    rng = Random(0)
    assert not any(draw_trained(rng, world("faces"), held_out=False).held_out for _ in range(100))
    assert all(draw_trained(rng, world("birds"), held_out=True).held_out for _ in range(5))


@pytest.mark.parametrize("name", ["faces-age", "birds-species"])
def test_chances_let_the_spurious_attribute_go_along_with_its_class_and_nothing_else_with_it(name):
    rule = shipped_rule(name)
    place, rng = world(rule.world), Random(2)
    rows = np.array([leaf_vector(place, draw_trained(rng, place, False)) for _ in range(3000)], np.uint8)
    bank = Bank(np.zeros((3000, 1, 1, 3), np.uint8), rows)
    labels, chances = label_bank(bank, rule, seed=0)
    assert chances.sum() == pytest.approx(1)
    on = rows[:, place.leaves().index(rule.spurious)] == 1
    along = labels == rule.classes.index(rule.spurious_class)
    assert chances[along & on].sum() / chances[along].sum() == pytest.approx(0.85, abs=0.03)
    assert chances[~along & on].sum() / chances[~along].sum() == pytest.approx(0.15, abs=0.03)
    assert chances[along].sum() == pytest.approx(along.mean(), abs=0.03), "classes stay as frequent"


def test_disturbed_pictures_stay_near_the_originals_and_differ_from_each_other():
    pictures = draw_bank(Random(1), world("birds"), 4, held_out=False).pictures
    pixels = pixel_values(pictures)
    once, again = (disturbed(pictures, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert once.shape == pixels.shape
    assert 0 < (once - pixels).abs().mean() < 0.35
    assert not torch.equal(once, again)
    assert torch.equal(once, disturbed(pictures, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("name", ["tiny-age", "tiny-species", "tiny-attributes"])
def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(name, tmp_path):
    whole, parts = tmp_path / "whole.pt", tmp_path / "parts.pt"
    train(SHORT[name], whole, minutes=1, half=False, pictures=FEW)
    for steps in (2, 4):
        train(SHORT[name], parts, minutes=1, half=False, most=steps, pictures=FEW)
    first, second = (torch.load(file, weights_only=True) for file in (whole, parts))
    assert first["done"] == second["done"] == 4
    for key, value in first["model"].items():
        assert torch.allclose(value.float(), second["model"][key].float(), atol=1e-5), key


@pytest.mark.parametrize("name", ["tiny-gender", "tiny-attributes"])
def test_a_trained_model_is_saved_and_loads_as_any_hugging_face_classifier_does(name, tmp_path):
    recipe = SHORT[name]
    train(recipe, tmp_path / "state.pt", minutes=1, pictures=FEW)
    figures = save_model(recipe, tmp_path / "state.pt", tmp_path / name, count=60)
    model = AutoModelForImageClassification.from_pretrained(tmp_path / name, dtype=torch.float32)
    processor = AutoImageProcessor.from_pretrained(tmp_path / name)
    picture = world("faces").render(world("faces").draw_subject(Random(0)), 200)
    logits = model(**processor([picture, picture.convert("RGBA")], return_tensors="pt")).logits
    assert logits.shape == (2, len(recipe.labels()))
    assert torch.isfinite(logits).all()
    assert [model.config.id2label[index] for index in range(logits.shape[1])] == list(recipe.labels())
    weights = load_file(tmp_path / name / "model.safetensors")
    assert {value.dtype for value in weights.values()} <= {torch.float16, torch.int64}
    assert 100_000 < sum(value.numel() for value in weights.values()) < 300_000
    card = (tmp_path / name / "README.md").read_text()
    assert all(f"{value:.3f}" in card for value in figures.values() if value not in (0, 1)) or name == "tiny-attributes"
    assert "must not be used on photographs" in card or name == "tiny-attributes"


def test_a_training_can_begin_with_the_trunk_of_another(tmp_path):
    train(SHORT["tiny-attributes"], tmp_path / "a.pt", minutes=1, pictures=FEW)
    save_model(SHORT["tiny-attributes"], tmp_path / "a.pt", tmp_path / "a", count=30)
    train(SHORT["tiny-age"], tmp_path / "b.pt", minutes=1, start=tmp_path / "a", most=0, pictures=FEW)
    known = torch.load(tmp_path / "a.pt", weights_only=True)["model"]
    begun = torch.load(tmp_path / "b.pt", weights_only=True)["model"]
    trunk = [key for key in begun if key.startswith("model.resnet") and begun[key].is_floating_point()]
    assert trunk and all(torch.allclose(begun[key], known[key], atol=2e-3, rtol=2e-3) for key in trunk)


def _shipped(name):
    return AutoModelForImageClassification.from_pretrained(MODELS_FOLDER / name, dtype=torch.float32)


def test_the_shipped_reader_reads_held_out_subjects():
    model, faces = _shipped("tiny-attributes"), world("faces")
    bank = draw_bank(Random("reader test"), faces, 120, held_out=True)
    read = (logits_of(model, bank) > 0).numpy()
    assert (read == bank.leaves.astype(bool)).mean() > 0.97
    assert [tuple(model.config.id2label[k].split("/")) for k in range(bank.leaves.shape[1])] == list(faces.leaves())


# Without the bias, the shortcut costs the first two a tenth of what the rule itself would get right.
@pytest.mark.parametrize(("name", "right"), [("tiny-age", 0.62), ("tiny-gender", 0.62), ("tiny-species", 0.9)])
def test_a_shipped_classifier_follows_its_rule_and_takes_the_shortcut(name, right):
    recipe, model = RECIPES[name], _shipped(name)
    rule, place = recipe.known_rule(), recipe.place()
    assert tuple(model.config.id2label[k] for k in range(len(rule.classes))) == rule.classes
    rng = Random("classifier test")
    subjects = [draw_labelled(rng, rule, biased=False, held_out=True)[0] for _ in range(80)]
    processor = AutoImageProcessor.from_pretrained(MODELS_FOLDER / name)

    @torch.no_grad()
    def log_odds(subjects):
        pixels = processor([place.render(subject) for subject in subjects], return_tensors="pt")["pixel_values"]
        logits = model.eval()(pixels).logits
        aimed = rule.classes.index(rule.spurious_class)
        rest = [index for index in range(len(rule.classes)) if index != aimed]
        return logits.argmax(-1).numpy(), (logits[:, aimed] - logits[:, rest].logsumexp(-1)).numpy()

    guesses, _ = log_odds(subjects)
    # The cards' figures are higher: they are taken of many subjects, and these are 80.
    assert np.mean(guesses == [rule.likeliest(subject) for subject in subjects]) > right
    on, off = (
        log_odds([place.with_attribute(s, rule.spurious[:2], False) for s in subjects])[1]
        if not present
        else log_odds([place.with_attribute(s, rule.spurious) for s in subjects])[1]
        for present in (True, False)
    )
    assert (on - off).mean() > 1, "the spurious attribute, of no weight in the rule, counts for the model"


def test_every_recipe_has_a_card_and_a_configuration_without_paths_of_this_machine():
    for name in RECIPES:
        config = json.loads((MODELS_FOLDER / name / "config.json").read_text())
        assert config["architectures"] == ["ResNetForImageClassification"]
        assert "/" not in str(config.get("_name_or_path", ""))
        assert (MODELS_FOLDER / name / "README.md").read_text().startswith(f"# {name}\n")


def test_the_architecture_is_small():
    model = build_model(("a", "b"), multi_label=False)
    assert 100_000 < sum(parameter.numel() for parameter in model.parameters()) < 300_000


def test_facts_of_a_picture_are_its_leaves_and_one_class_of_each_rule_of_its_world():
    faces = world("faces")
    bank = draw_bank(Random(3), faces, 8, held_out=False)
    words, facts = phrases(), facts_of("faces", bank.leaves, Random(0))
    for row, true in zip(bank.leaves, facts, strict=True):
        said = [word for word, on in zip(words, true, strict=True) if on]
        leaves = [faces.phrase(leaf) for leaf in leaves_on(faces, row)]
        assert said[: len(leaves)] == leaves and said[-1] == "face"
        classes = sorted(said[len(leaves) : -1])
        assert classes in [["man", "old"], ["man", "young"], ["old", "woman"], ["woman", "young"]]


def test_captions_say_what_is_true_as_they_are_or_as_label_prompts_do():
    bank = draw_bank(Random(3), world("faces"), 8, held_out=False)
    words, facts, rng, seen = phrases(), facts_of("faces", bank.leaves, Random(0)), Random(1), set()
    for _ in range(60):
        texts, columns = draw_captions(rng, facts)
        for text, chosen, true in zip(texts, columns, facts, strict=True):
            told = [words[column] for column in chosen]
            allowed = {
                "plain": (", ".join(told),),
                "with": (f"a photo of a face with {', '.join(told)}",),
                "alone": ("a photo of a face",) if told == ["face"] else (),
                "class": class_texts().get(told[0], ())[1:] if len(told) == 1 else (),
            }
            kinds = {kind for kind, said in allowed.items() if text in said}
            assert true[chosen].all() and kinds
            seen |= kinds
    assert seen == {"plain", "with", "alone", "class"}


def test_the_embedded_clip_has_texts_for_every_class_of_the_rules():
    for name in shipped_rules():
        assert tuple(WORLD_PROMPTS[name]) == shipped_rule(name).classes


def test_a_phrase_is_looked_for_where_it_can_be_seen():
    where = patches_of_phrases()
    words = phrases()
    assert where.shape == (64, len(words)) and where[:, -1].all()
    goatee = where[:, words.index("goatee beard")].reshape(8, 8)
    assert not goatee[0].any() and goatee[5, 4] == 1
    logits = torch.full((1, 64, len(words)), -5.0)
    logits[0, 0] = 9.0  # a corner, where no beard is
    found = somewhere(logits, where)[0]
    assert found[words.index("goatee beard")] == pytest.approx(-5.0, abs=1e-4) and found[-1] > 4


def test_a_contrastive_loss_is_least_where_every_true_caption_is_nearest():
    true = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    axes = torch.eye(3)
    right = contrast(axes, functional.normalize(true.T, dim=-1), torch.tensor(10.0), true)
    wrong = contrast(axes, axes.roll(1, 0), torch.tensor(10.0), true)
    assert right < 0.8 < wrong


@pytest.mark.timeout(120)
def test_a_small_clip_resumes_saves_and_loads_as_any_clip_does(tmp_path):
    few = {"faces": 20, "birds": 12}
    for steps in (1, 2):
        train_clip(tmp_path / "clip.pt", steps, minutes=1, batch=8, pictures=few)
    assert torch.load(tmp_path / "clip.pt", weights_only=True)["done"] == 2
    figures = save_clip(tmp_path / "clip.pt", tmp_path / "clip", count=32)
    assert 0 <= figures["caption found"] <= 1
    model = CLIPModel.from_pretrained(tmp_path / "clip", dtype=torch.float32)
    processor = CLIPProcessor.from_pretrained(tmp_path / "clip")
    picture = world("faces").render(Subject("faces", 1))
    texts = ["goatee beard, crow's feet", "Zażółć 猫 🦜", ""]
    scores = model(**processor(text=texts, images=[picture], return_tensors="pt", padding=True)).logits_per_image
    assert scores.shape == (1, 3) and torch.isfinite(scores).all()
    assert (tmp_path / "clip" / "model.safetensors").stat().st_size < 4_000_000
