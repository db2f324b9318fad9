"""Instruction editing with the newer pipelines of diffusers, on random-weight checkpoints of the real classes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxKontextPipeline

from isi_core.domain.attributes import Attribute, Edit
from isi_core.domain.errors import Cancelled, ModelError
from isi_core.models.editors.instruct import InstructEditor, InstructModel, InstructSettings, load_instruct_model
from isi_core.models.editors.instruct_pipelines import PIPELINES
from tests.diffusion_checkpoints import picture, pixels
from tests.instruct_checkpoints import save_klein, save_kontext, save_qwen_edit

STEPS = 2
SETTINGS = InstructSettings(steps=STEPS, side=64)
GOATEE = Edit(Attribute(("facial hair", "beard", "goatee")))
_SAVED: dict[str, Callable[[Path], Path]] = {
    "kontext": save_kontext,
    "klein": save_klein,
    "distilled klein": lambda folder: save_klein(folder, distilled=True),
    "qwen": save_qwen_edit,
    "qwen plus": lambda folder: save_qwen_edit(folder, plus=True),
}
# One call of the transformer a step, and one more where the guidance is a difference of two.
_PASSES = {"kontext": 1, "klein": 2, "distilled klein": 1, "qwen": 2, "qwen plus": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pipelines")
    return {name: save(root / name) for name, save in _SAVED.items()}


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, InstructModel]:
    return {name: load_instruct_model(folder, device="cpu") for name, folder in folders.items()}


def test_every_row_of_the_table_is_tried_here_or_with_instruct_pix2pix(models: dict[str, InstructModel]) -> None:
    tried = {model.row.kind for model in models.values()}
    assert {row.kind for row in PIPELINES if row.denoiser != "unet"} == tried


@pytest.mark.parametrize("name", _SAVED)
def test_base_and_edit_share_the_noise_and_each_call_of_the_denoiser_is_counted(
    models: dict[str, InstructModel], name: str
) -> None:
    editor = InstructEditor(models[name], SETTINGS)
    told: list[tuple[int, int]] = []
    wide = picture(0, (120, 64))
    base = editor.reconstruct(wide, lambda done, total: told.append((done, total)))
    edited, again = (editor.edit(wide, (GOATEE,), seed) for seed in (0, 5))
    assert base.image.size == edited.image.size == (96, 64)
    total = STEPS * _PASSES[name]
    assert base.denoiser_evaluations == edited.denoiser_evaluations == total
    assert told == [(done, total) for done in range(total)]
    assert np.array_equal(pixels(edited), pixels(again))
    assert np.abs(pixels(edited) - pixels(base)).max() >= 3
    assert pixels(base).std() > 0


def test_kontext_draws_what_diffusers_own_loading_draws(
    folders: dict[str, Path], models: dict[str, InstructModel]
) -> None:
    own = FluxKontextPipeline.from_pretrained(folders["kontext"])
    own.set_progress_bar_config(disable=True)
    noise = int(sha256(f"0 {picture().digest}".encode()).hexdigest()[:15], 16)
    editor = InstructEditor(models["kontext"], SETTINGS)
    for prompt, made in (
        ("", editor.reconstruct(picture())),
        ("add goatee beard", editor.edit(picture(), (GOATEE,), 0)),
    ):
        drawn = own(
            prompt=prompt,
            image=picture().image,
            width=64,
            height=64,
            max_area=64 * 64,
            _auto_resize=False,
            num_inference_steps=STEPS,
            guidance_scale=2.5,
            generator=torch.Generator().manual_seed(noise),
            output_type="np",
        ).images[0]
        assert np.abs(pixels(made) - 255 * drawn).max() <= 1


def test_klein_is_given_no_more_than_it_reads_at_the_size_it_is_given(models: dict[str, InstructModel]) -> None:
    wide = picture(0, (400, 300))
    sizes = {
        name: InstructEditor(models[name], InstructSettings(side=1024)).size(wide) for name in ("kontext", "klein")
    }
    assert sizes["kontext"] == (1184, 896)  # above a million pixels, which klein would scale down for reading alone
    assert sizes["klein"] == (1184, 864)


@pytest.mark.parametrize("name", ["kontext", "klein", "distilled klein"])
def test_strength_and_guidance_act_where_the_model_listens_to_them(models: dict[str, InstructModel], name: str) -> None:
    listens = name != "distilled klein"
    usual = InstructEditor(models[name], SETTINGS)
    strong = InstructEditor(models[name], InstructSettings(steps=STEPS, side=64, guidance=20.0))
    first = pixels(usual.edit(picture(), (GOATEE,), 0))
    doubled = pixels(usual.edit(picture(), (Edit(GOATEE.attribute, 1, 2.0),), 0))
    guided = pixels(strong.edit(picture(), (GOATEE,), 0))
    assert np.array_equal(first, doubled) != listens and np.array_equal(first, guided) != listens
    assert usual.record["guidance"] == ({"kontext": 2.5, "klein": 4.0}[name] if listens else None)
    assert strong.record["guidance"] == (20.0 if listens else None)
    # No pipeline here has image guidance: that setting is not told as if it had been used.
    assert usual.record["image_guidance"] is None
    assert json.loads(json.dumps(dict(usual.record))) == usual.record


def test_a_kontext_that_is_not_distilled_by_guidance_listens_to_none(tmp_path: Path) -> None:
    model = load_instruct_model(save_kontext(tmp_path / "plain", guidance_embeds=False), device="cpu")
    editor = InstructEditor(model, SETTINGS)
    assert editor.record["guidance"] is None and editor.record["pipeline"] == "FluxKontextPipeline"
    assert editor.edit(picture(), (GOATEE,), 0).denoiser_evaluations == STEPS


@pytest.mark.parametrize("name", ["qwen", "qwen plus"])
def test_qwen_reads_the_pictures_tokens_in_height_and_width(models: dict[str, InstructModel], name: str) -> None:
    pipeline = models[name].pipeline
    shown = picture().image
    read = pipeline._get_qwen_prompt_embeds("add a hat", [shown] if name == "qwen plus" else shown)[0]
    place = "Picture 1: " if name == "qwen plus" else ""
    template = pipeline.prompt_template_encode
    if place:
        template = template.replace("{}", f"{place}<|vision_start|><|image_pad|><|vision_end|>{{}}")
    inputs = pipeline.processor(text=[template.format("add a hat")], images=shown, return_tensors="pt")
    assert (inputs["mm_token_type_ids"] == 1).sum() > 4
    right = pipeline.text_encoder(**inputs, output_hidden_states=True).hidden_states[-1][:, 64:]
    assert torch.allclose(read, right, atol=1e-5)
    # Without the kinds of its tokens the picture would be one long row.
    hooks = dict(pipeline.text_encoder._forward_pre_hooks)
    pipeline.text_encoder._forward_pre_hooks.clear()
    try:
        flat = pipeline._get_qwen_prompt_embeds("add a hat", [shown] if place else shown)[0]
    finally:
        pipeline.text_encoder._forward_pre_hooks.update(hooks)
    assert not torch.allclose(flat, right, atol=1e-3)


@pytest.mark.parametrize("name", ["kontext", "klein"])
def test_an_edit_can_be_cancelled_and_the_next_one_runs(models: dict[str, InstructModel], name: str) -> None:
    editor = InstructEditor(models[name], SETTINGS)

    def stop(done: int, _of: int) -> None:
        if done == 1:
            raise Cancelled

    with pytest.raises(Cancelled):
        editor.edit(picture(), (GOATEE,), 0, stop)
    assert editor.edit(picture(), (GOATEE,), 0).denoiser_evaluations == STEPS * _PASSES[name]


@pytest.mark.parametrize("name", ["kontext", "klein"])
def test_half_precision_draws_the_picture_and_an_overflow_is_said(folders: dict[str, Path], name: str) -> None:
    model = load_instruct_model(folders[name], device="cpu", dtype="bfloat16")
    editor = InstructEditor(model, SETTINGS)
    assert model.record.dtype == "bfloat16" and pixels(editor.reconstruct(picture())).std() > 0
    model.pipeline.transformer.proj_out.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        editor.reconstruct(picture())


def test_an_incomplete_or_mixed_up_pipeline_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    def copy(name: str, of: str = "kontext") -> Path:
        shutil.copytree(folders[of], tmp_path / name)
        return tmp_path / name

    def relabel(folder: Path, part: str, value: object) -> Path:
        index = json.loads((folder / "model_index.json").read_text()) | {part: value}
        (folder / "model_index.json").write_text(json.dumps(index))
        return folder

    for of, part in (("kontext", "transformer"), ("kontext", "tokenizer_2"), ("qwen", "processor")):
        folder = copy(f"{of} without {part}", of)
        shutil.rmtree(folder / part)
        with pytest.raises(ModelError, match=f"no {part}: fetch"):
            load_instruct_model(folder, device="cpu")
    pickled = copy("pickled")
    weights = pickled / "text_encoder_2" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(ModelError, match="no text_encoder_2's weights"):
        load_instruct_model(pickled, device="cpu")
    with pytest.raises(ModelError, match=r"DiTTransformer2DModel as its transformer.*needs a FluxTransformer2DModel"):
        load_instruct_model(relabel(copy("other"), "transformer", ["diffusers", "DiTTransformer2DModel"]), device="cpu")
    with pytest.raises(ModelError, match=r"is a FluxPipeline, no instruction.*choose one of these.*Qwen-Image-Edit"):
        load_instruct_model(relabel(copy("drawing"), "_class_name", "FluxPipeline"), device="cpu")
    with pytest.raises(ModelError, match="no instruction"):
        load_instruct_model(relabel(copy("code"), "_class_name", ["pipeline", "FluxKontextPipeline"]), device="cpu")
    (tmp_path / "code" / "model_index.json").write_text("[]")
    with pytest.raises(ModelError, match="unknown kind"):
        load_instruct_model(tmp_path / "code", device="cpu")
