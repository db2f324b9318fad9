"""Pair encoders: random-weight checkpoints of the four families through the path that hub ids take."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from isi_core.domain.errors import ModelError
from isi_core.models.encoders.loading import load_encoder
from isi_core.models.encoders.rows import ENCODERS, TINY, find_encoder
from tests.step_encoders import FAMILIES, SIDE, WIDTH, save_random

TEXTS = ["Put the block down gently.", "Tie a ribbon."]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("encoders")
    return {family: save_random(family, base / family) for family in FAMILIES}


def pictures(count: int = 2) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)) for _ in range(count)]


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_texts_and_pictures_become_features_of_one_size(folders: dict[str, Path], family: str) -> None:
    encoder = load_encoder(str(folders[family]))
    encoder.module.eval()
    assert (encoder.family, encoder.name, encoder.width) == (family, family, WIDTH)
    assert len(encoder.revision) >= 64 and str(folders[family].parent) not in encoder.source
    text = encoder.text_features(encoder.tokens(TEXTS))
    pixels = encoder.pixels(pictures())
    assert (pixels.shape, pixels.dtype) == ((2, 3, SIDE, SIDE), torch.uint8)
    image = encoder.image_features(pixels)
    assert text.shape == image.shape == (2, WIDTH)
    for features in (text, image):
        assert torch.isfinite(features).all() and not torch.allclose(features[0], features[1])
    # A text's feature does not hang on its neighbours in the batch.
    assert torch.allclose(encoder.text_features(encoder.tokens(TEXTS[1:])), text[1:], atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_sizing_then_normalizing_is_what_the_processor_does(folders: dict[str, Path], family: str) -> None:
    encoder = load_encoder(str(folders[family]))
    sight = encoder.sight  # type: ignore[attr-defined]
    whole = sight.processor(pictures(), return_tensors="pt")["pixel_values"]
    ours = sight.normalized(encoder.pixels(pictures()))
    # Resizing rounds to whole grey levels, as Pillow does.
    assert (whole - ours).abs().max() < 1.01 / 255 / min(sight.spread)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_what_is_saved_loads_with_the_same_features(folders: dict[str, Path], family: str, tmp_path: Path) -> None:
    encoder = load_encoder(str(folders[family]))
    encoder.save(tmp_path / "again")
    again = load_encoder(str(tmp_path / "again"))
    for one in (encoder, again):
        one.module.eval()
    tokens, pixels = encoder.tokens(TEXTS), encoder.pixels(pictures())
    assert torch.equal(again.text_features(again.tokens(TEXTS)), encoder.text_features(tokens))
    assert torch.equal(again.image_features(again.pixels(pictures())), encoder.image_features(pixels))


def test_a_long_text_is_cut(folders: dict[str, Path]) -> None:
    for folder in folders.values():
        encoder = load_encoder(str(folder))
        tokens = encoder.tokens(["put the block down gently " * 100])
        assert tokens["input_ids"].shape[1] <= encoder.longest
        assert torch.isfinite(encoder.text_features(tokens)).all()


def test_a_checkpoint_without_some_weights_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    encoder = load_encoder(str(folders["clip"]))
    encoder.save(tmp_path / "clip")
    path = tmp_path / "clip" / "model.safetensors"
    weights = load_file(path)
    del weights["text_projection.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="Weights are missing in clip"):
        load_encoder(str(tmp_path / "clip"))
    path.write_bytes(b"no weights")
    with pytest.raises(ModelError, match="could not be loaded"):
        load_encoder(str(tmp_path / "clip"))


def test_models_of_other_kinds_and_unequal_towers_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ModelError, match="other is a bert"):
        load_encoder(str(other))
    with pytest.raises(ModelError, match="could not be loaded"):
        load_encoder(str(tmp_path))
    swapped = tmp_path / "swapped"
    swapped.mkdir()
    (swapped / "vision").symlink_to(folders["vit-roberta"] / "text")
    (swapped / "text").symlink_to(folders["vit-roberta"] / "vision")
    with pytest.raises(ModelError, match="is a roberta, not a vit"):
        load_encoder(str(swapped))


def test_names_ids_and_folders_are_found_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert TINY == ("tiny-clip", "tiny-blip", "tiny-vit-roberta")
    sources = {row.name: row.source for row in ENCODERS}
    assert sources["clip"] == "openai/clip-vit-base-patch32"
    assert sources["vit-roberta"] == ("google/vit-base-patch16-224", "roberta-base")
    assert find_encoder("Salesforce/blip-itm-base-coco").name == "blip"
    assert find_encoder("someone/some-clip").source == "someone/some-clip"
    assert find_encoder(str(tmp_path)).source == tmp_path.resolve()
    monkeypatch.chdir(tmp_path)  # "../x" is a folder beside some checkout
    for name in ("", "no such", "../x", "a/b/c"):
        with pytest.raises(ModelError, match="choose one of tiny-clip"):
            find_encoder(name)
    monkeypatch.setenv("ISI_MODELS_TYPED", "off")
    with pytest.raises(ModelError):
        find_encoder(str(tmp_path))
    with pytest.raises(ModelError):
        find_encoder("someone/some-clip")
