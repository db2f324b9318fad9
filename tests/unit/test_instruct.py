"""Instruction editing on random-weight pipelines of both architectures: what is told, shared and refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from isi_core.domain.attributes import Attribute, Corpus, Edit, edit_set
from isi_core.domain.errors import Cancelled, InputError, ModelError
from isi_core.models.classifiers.python_callable import CallableClassifier
from isi_core.models.editors.instruct import InstructEditor, InstructModel, InstructSettings, load_instruct_model
from isi_core.models.editors.protocol import NEUTRAL, ImageEditor
from isi_core.studies.counterfactuals.bank import EditBank
from isi_core.studies.counterfactuals.run import Settings, rank
from tests.diffusion_checkpoints import SIDE, add_prompts, picture, pixels, save_instruct, save_instruct_xl, save_sd

STEPS = 3
SETTINGS = InstructSettings(steps=STEPS)
GOATEE = Attribute(("facial hair", "beard", "goatee"))
GLASSES = Attribute(("eyewear", "glasses"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pipelines")
    return {"sd": save_instruct(root / "sd"), "xl": save_instruct_xl(root / "xl")}


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, InstructModel]:
    return {name: load_instruct_model(folder, device="cpu") for name, folder in folders.items()}


@pytest.fixture(params=["sd", "xl"])
def model(request: pytest.FixtureRequest, models: dict[str, InstructModel]) -> InstructModel:
    return models[request.param]


def test_the_base_is_the_same_pipeline_with_an_empty_instruction_and_the_same_noise(model: InstructModel) -> None:
    editor: ImageEditor = InstructEditor(model, SETTINGS)
    base, edited = editor.reconstruct(picture()), editor.edit(picture(), (Edit(GOATEE),), 0)
    assert base.image.size == edited.image.size == (SIDE, SIDE) and base.mask is None
    # Text, picture and neither: three forward passes a step.
    assert base.denoiser_evaluations == edited.denoiser_evaluations == 3 * STEPS
    given: dict[str, object] = (
        {"width": SIDE, "height": SIDE} if model.side == 64 and hasattr(model.pipeline, "text_encoder_2") else {}
    )
    from hashlib import sha256

    noise = int(sha256(f"0 {picture().digest}".encode()).hexdigest()[:15], 16)
    alone = model.pipeline(
        prompt="",
        image=picture().image,
        num_inference_steps=STEPS,
        guidance_scale=7.5,
        image_guidance_scale=1.5,
        generator=torch.Generator().manual_seed(noise),
        output_type="np",
        **given,
    ).images[0]
    assert np.abs(pixels(base) - 255 * alone).max() <= 1
    assert np.abs(pixels(edited) - pixels(base)).max() > 0


def test_the_same_edit_gives_the_same_pixels_and_another_seed_others(model: InstructModel) -> None:
    editor = InstructEditor(model, SETTINGS)
    first = pixels(editor.edit(picture(), (Edit(GOATEE),), 0))
    editor.edit(picture(1), (Edit(GLASSES),), 0)
    assert np.array_equal(first, pixels(editor.edit(picture(), (Edit(GOATEE),), 5)))
    other = InstructEditor(model, InstructSettings(steps=STEPS, seed=1))
    assert not np.array_equal(first, pixels(other.edit(picture(), (Edit(GOATEE),), 0)))
    assert other.record != editor.record and editor.record["guidance"] == 7.5
    assert json.loads(json.dumps(dict(editor.record))) == editor.record


def test_an_instruction_names_every_attribute_and_what_happens_to_it(folders: dict[str, Path], tmp_path: Path) -> None:
    own = tmp_path / "worded"
    shutil.copytree(folders["sd"], own)
    add_prompts(own, {GLASSES.path: "round spectacles"})
    editor = InstructEditor(load_instruct_model(own, device="cpu"), SETTINGS)
    both = edit_set([Edit(GOATEE), Edit(GLASSES, -1)])
    assert editor.instruction(both) == "remove round spectacles and add goatee beard"
    assert editor.instruction(()) == "" and "leave the picture" in editor.instruction((NEUTRAL,))
    seen: list[str] = []
    encode = editor.model.pipeline._encode_prompt
    editor.model.pipeline._encode_prompt = lambda prompt, *rest, **more: (
        seen.append(prompt) or encode(prompt, *rest, **more)
    )
    editor.edit(picture(), both, 0)
    assert seen == [editor.instruction(both)]


def test_strength_scales_the_text_guidance(models: dict[str, InstructModel]) -> None:
    editor = InstructEditor(models["sd"], SETTINGS)
    base = pixels(editor.reconstruct(picture()))
    weak, strong = (pixels(editor.edit(picture(), (Edit(GOATEE, 1, s),), 0)) for s in (0.2, 3.0))
    assert np.abs(weak - base).mean() < np.abs(strong - base).mean()


def test_a_picture_of_another_shape_is_edited_in_its_own(model: InstructModel) -> None:
    assert InstructEditor(model, SETTINGS).edit(picture(0, (120, 64)), (Edit(GOATEE),), 0).image.size == (96, 64)
    with pytest.raises(InputError, match="at least 16"):
        InstructEditor(model, SETTINGS).reconstruct(picture(0, (8, 8)))


def test_an_edit_can_be_cancelled_and_the_next_one_runs(models: dict[str, InstructModel]) -> None:
    editor = InstructEditor(models["sd"], SETTINGS)

    def stop(done: int, _of: int) -> None:
        if done == 1:
            raise Cancelled

    with pytest.raises(Cancelled):
        editor.edit(picture(), (Edit(GOATEE),), 0, stop)
    assert editor.edit(picture(), (Edit(GOATEE),), 0).denoiser_evaluations == 3 * STEPS


def test_a_ranking_keeps_its_edits_in_the_bank_and_a_second_one_makes_none(
    models: dict[str, InstructModel], tmp_path: Path
) -> None:
    def bright(images: list[Image.Image]) -> np.ndarray:
        means = np.array([np.asarray(image, dtype=np.float64).mean() / 255 for image in images])
        return np.stack([np.zeros_like(means), means], axis=1)

    corpus = Corpus("face", {"beard": {"goatee": ()}, "glasses": {}})
    bank = EditBank(tmp_path / "bank")
    editor = InstructEditor(models["sd"], SETTINGS)
    classifier = CallableClassifier(bright, "bright", ["dark", "bright"])
    settings = Settings(search="exhaustive", joint=1, checks=None)
    first = rank([picture(0), picture(1)], corpus, editor, classifier, settings, bank)
    again = rank([picture(0), picture(1)], corpus, editor, classifier, settings, bank)
    # Three attributes, the edit that does nothing, and the base, of two pictures.
    assert first.cost.denoiser_evaluations == 5 * 2 * 3 * STEPS and again.cost.denoiser_evaluations == 0
    assert [s.influence for s in first.sets] == [s.influence for s in again.sets]


def test_other_pipelines_and_broken_ones_are_refused_with_the_way_out(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"StableDiffusionPipeline, no instruction.*choose one.*FLUX\.1-Kontext"):
        load_instruct_model(save_sd(tmp_path / "plain"), device="cpu")
    with pytest.raises(ModelError, match="4 latent channels"):
        load_instruct_model(save_instruct(tmp_path / "narrow", channels=4), device="cpu")
    with pytest.raises(ModelError, match="no folder"):
        load_instruct_model(tmp_path / "nowhere", device="cpu")
    broken = tmp_path / "broken"
    shutil.copytree(folders["sd"], broken)
    shutil.rmtree(broken / "vae")
    with pytest.raises(ModelError, match="no vae"):
        load_instruct_model(broken, device="cpu")
    foreign = tmp_path / "foreign"
    shutil.copytree(folders["sd"], foreign)
    index = json.loads((foreign / "model_index.json").read_text())
    index["scheduler"] = ["os", "system"]
    (foreign / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="no scheduler"):
        load_instruct_model(foreign, device="cpu")


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"guidance": 1.0}, {"image_guidance": 0.5}, {"side": 10}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        InstructSettings(**wrong)  # type: ignore[arg-type]
