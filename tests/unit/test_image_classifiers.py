"""Image classifiers: checkpoints of random weights, CLIP with label texts, Python functions, rules, readers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import expit
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)

from isi_core.domain.attributes import Attribute
from isi_core.domain.errors import InputError, ModelError
from isi_core.models.classifiers import loading
from isi_core.models.classifiers.attribute_reader import ClipReader, LabelReader
from isi_core.models.classifiers.clip import ClipClassifier
from isi_core.models.classifiers.hugging_face import HuggingFaceClassifier
from isi_core.models.classifiers.presets import PRESETS
from isi_core.models.classifiers.protocol import SubjectClassifier
from isi_core.models.classifiers.python_callable import CallableClassifier
from isi_core.models.classifiers.rule import RuleClassifier
from isi_core.studies.counterfactuals.corpora import corpus_names
from isi_core.worlds.attributed import world
from isi_core.worlds.rules import draw_rule

WORDS = ["a", "photo", "of", "old", "young", "person", "an", "man", "woman", "face", "with", "goatee", "beard"]


def pictures(count: int = 3) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (20 + i, 40, 3), dtype=np.uint8)) for i in range(count)]


def vit(folder: Path, labels: Sequence[str], **settings: object) -> Path:
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        **settings,
    )
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    letters = [c for word in WORDS for c in word]
    tokens = [*dict.fromkeys([*letters, *(f"{c}</w>" for c in letters), *(f"{word}</w>" for word in WORDS)])]
    vocabulary = {token: i for i, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    text = {
        "vocab_size": len(vocabulary),
        "eos_token_id": len(vocabulary) - 1,
        "bos_token_id": len(vocabulary) - 2,
        "max_position_embeddings": 24,
    }
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={**small, **text}, vision_config={**small, "image_size": 32, "patch_size": 8}, projection_dim=8
    )
    CLIPModel(config).save_pretrained(folder)
    CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=24).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_a_checkpoint_is_loaded_and_asked_in_batches_as_transformers_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = vit(tmp_path, ["wren", "tit", "owl"])
    classifier = HuggingFaceClassifier.load(folder, "birds")
    assert classifier.labels == ("wren", "tit", "owl") and classifier.exclusive
    assert classifier.record["name"] == "birds" and len(str(classifier.record["revision"])) == 64
    images = pictures(5)
    found = classifier.logits(images)
    model = ViTForImageClassification.from_pretrained(folder).eval()
    processor = ViTImageProcessorPil.from_pretrained(folder)
    with torch.inference_mode():
        wanted = np.vstack([model(**processor(images=[i], return_tensors="pt")).logits.numpy() for i in images])
    assert found.shape == (5, 3) and found.dtype == np.float64
    assert found == pytest.approx(wanted, abs=1e-5)
    assert classifier.logits([]).shape == (0, 3)


def test_a_convolutional_checkpoint_works_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic", id2label={0: "no", 1: "yes"}
    )
    ResNetForImageClassification(config).save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    found = HuggingFaceClassifier.load(tmp_path, "cnn").logits(pictures(2))
    assert found.shape == (2, 2) and np.isfinite(found).all()


def test_a_single_output_is_given_as_two_classes(tmp_path: Path) -> None:
    classifier = HuggingFaceClassifier.load(vit(tmp_path, ["smile"]), "one")
    assert classifier.labels == ("not smile", "smile") and classifier.exclusive
    found = classifier.logits(pictures(2))
    assert found.shape == (2, 2) and (found[:, 0] == 0).all() and (found[:, 1] != 0).all()


def test_multi_label_and_regression(tmp_path: Path) -> None:
    many = vit(tmp_path / "many", ["beard/goatee", "hat"], problem_type="multi_label_classification")
    classifier = HuggingFaceClassifier.load(many, "many")
    assert not classifier.exclusive
    reader = LabelReader(classifier)
    assert reader.attributes == (Attribute(("beard", "goatee")), Attribute(("hat",)))
    read = reader.read(pictures(3))
    assert read[reader.attributes[1]] == pytest.approx(expit(classifier.logits(pictures(3))[:, 1]))
    with pytest.raises(ModelError, match="a number"):
        HuggingFaceClassifier.load(vit(tmp_path / "number", ["age"], problem_type="regression"), "number")
    with pytest.raises(InputError, match="multi-label"):
        LabelReader(HuggingFaceClassifier.load(vit(tmp_path / "two", ["a", "b"]), "two"))


def test_checkpoints_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no folder"):
        HuggingFaceClassifier.load(tmp_path / "gone", "gone")
    folder = vit(tmp_path / "cut", ["a", "b"])
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match="could not be loaded"):
        HuggingFaceClassifier.load(folder, "cut")
    bare = vit(tmp_path / "bare", ["a", "b"])
    model = ViTForImageClassification.from_pretrained(bare)
    model.vit.save_pretrained(bare)
    with pytest.raises(ModelError):
        HuggingFaceClassifier.load(bare, "bare")


def test_a_batch_that_runs_out_of_memory_is_asked_in_halves() -> None:
    sizes: list[int] = []

    def run(images: list[Image.Image]) -> np.ndarray:
        sizes.append(len(images))
        if len(images) > 2:
            raise RuntimeError("CUDA out of memory")
        return np.full((len(images), 2), float(len(images)))

    assert loading.in_batches(pictures(7), 2, run, "x", 7).shape == (7, 2)
    assert sizes[0] == 7 and max(sizes[2:]) <= 2
    with pytest.raises(ModelError, match="ran out of memory"):
        loading.in_batches(pictures(1), 2, lambda _: run(pictures(3)), "x")


def test_clip_scores_each_class_by_the_mean_of_its_texts(clip_folder: Path) -> None:
    classes = {"young": ("a photo of a young person",), "old": ("an old man", "an old woman", "a photo of an old face")}
    classifier = ClipClassifier.load(clip_folder, "clip", classes)
    images = pictures(3)
    found = classifier.logits(images)
    model = CLIPModel.from_pretrained(clip_folder).eval()
    tokenizer = CLIPTokenizer.from_pretrained(clip_folder)
    processor = CLIPImageProcessorPil.from_pretrained(clip_folder)
    texts = [text for said in classes.values() for text in said]
    with torch.no_grad():
        out = model(
            **tokenizer(texts, padding=True, return_tensors="pt"), **processor(images=images, return_tensors="pt")
        )
    one, old = out.text_embeds[0], out.text_embeds[1:].mean(dim=0)
    wanted = model.logit_scale.exp() * out.image_embeds @ torch.stack([one, old / old.norm()]).T
    assert found == pytest.approx(wanted.detach().numpy(), abs=1e-4)
    assert found[:, 0] == pytest.approx(out.logits_per_image[:, 0].detach().numpy(), abs=1e-4)
    assert classifier.labels == ("young", "old") and classifier.record["classes"]["old"] == list(classes["old"])


def test_clip_reads_attributes_and_refuses_classes_without_text(clip_folder: Path) -> None:
    clip = ClipClassifier.load(clip_folder, "clip", PRESETS["age"].classes)
    beard = Attribute(("facial hair", "beard", "goatee"))
    read = ClipReader(clip, "face", [beard]).read(pictures(2))
    assert read[beard].shape == (2,) and ((read[beard] > 0) & (read[beard] < 1)).all()
    with pytest.raises(InputError, match="two classes"):
        ClipClassifier.load(clip_folder, "clip", {"old": ("old",)})
    with pytest.raises(InputError, match="no text"):
        clip.with_classes({"old": ("old",), "young": (" ",)})


def test_presets_have_two_classes_and_a_corpus() -> None:
    assert len(PRESETS) >= 10
    for preset in PRESETS.values():
        assert len(preset.classes) >= 2 and all(preset.classes.values()) and preset.corpus in corpus_names()


def test_a_python_function_is_a_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_classifier_of_the_test.py").write_text(
        "def good(images):\n    return [[0.0, i.width / 10] for i in images]\n"
        "good.labels = ['narrow', 'wide']\n"
        "def shapeless(images):\n    return [1.0 for _ in images]\nshapeless.labels = ['a', 'b']\n"
        "def broken(images):\n    raise KeyError('x')\nbroken.labels = ['a', 'b']\n"
        "def bare(images):\n    return []\nnumber = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    name = "own_classifier_of_the_test"
    good = CallableClassifier.load(f"{name}:good")
    assert good.labels == ("narrow", "wide")
    assert good.logits(pictures(2)).tolist() == [[0.0, 4.0], [0.0, 4.0]]
    with pytest.raises(ModelError, match="shape"):
        CallableClassifier.load(f"{name}:shapeless").logits(pictures(2))
    with pytest.raises(ModelError, match="KeyError"):
        CallableClassifier.load(f"{name}:broken").logits(pictures(2))
    for path in (f"{name}:bare", f"{name}:number", f"{name}:gone", "no path", "os:system; rm"):
        with pytest.raises(InputError):
            CallableClassifier.load(path)
    with pytest.raises(ModelError, match="cannot be imported"):
        CallableClassifier.load("no_such_module_of_the_test:f")
    sys.modules.pop(name, None)


def test_a_rule_is_a_classifier_of_subjects() -> None:
    place = world("faces")
    rule = draw_rule(Random(0), place)
    classifier = RuleClassifier(rule)
    assert isinstance(classifier, SubjectClassifier)
    subjects = [place.draw_subject(Random(i)) for i in range(5)]
    found = classifier.subject_logits(subjects)
    assert found[:, 1] - found[:, 0] == pytest.approx([rule.logit(subject) for subject in subjects])
    bird = world("birds").draw_subject(Random(0))
    with pytest.raises(InputError, match="about faces"):
        classifier.subject_logits([bird])
