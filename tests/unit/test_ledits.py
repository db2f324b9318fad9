"""LEDITS++ on random-weight pipelines of both architectures: exact, reused, safe, and told where it fails."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from isi_core.domain.attributes import Attribute, Edit, edit_set
from isi_core.domain.errors import Cancelled, InputError, ModelError
from isi_core.models.editors.ledits import LeditsEditor, working_size
from isi_core.models.editors.ledits_inversion import Inversion, InversionStore
from isi_core.models.editors.ledits_loading import LeditsModel, LengthTokenizer, load_ledits_model
from isi_core.models.editors.ledits_settings import LeditsSettings
from isi_core.models.editors.protocol import ImageEditor, Picture
from isi_core.worlds.attributed import world
from tests.diffusion_checkpoints import SIDE, add_prompts, letter_tokenizer, picture, pixels, save_sd, save_sdxl

STEPS = 4
SETTINGS = LeditsSettings(steps=STEPS, skipped=1, guidance=5.0)
GOATEE = Attribute(("facial hair", "beard", "goatee"))
GLASSES = Attribute(("eyewear", "glasses"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pipelines")
    return {"sd": save_sd(root / "sd"), "sdxl": save_sdxl(root / "sdxl")}


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, LeditsModel]:
    return {name: load_ledits_model(folder, device="cpu") for name, folder in folders.items()}


@pytest.fixture(params=["sd", "sdxl"])
def model(request: pytest.FixtureRequest, models: dict[str, LeditsModel]) -> LeditsModel:
    return models[request.param]


def test_no_edit_gives_back_what_the_autoencoder_makes_of_the_picture(model: LeditsModel) -> None:
    editor: ImageEditor = LeditsEditor(model, SETTINGS)
    told = editor.reconstruct(picture())
    pipeline = model.pipeline
    with torch.no_grad():
        latents = pipeline.vae.encode(pipeline.image_processor.preprocess(picture().image)).latent_dist.mode()
        made = pipeline.vae.decode(latents).sample[0].div(2).add(0.5).clamp(0, 1).permute(1, 2, 0).numpy() * 255
    assert np.abs(pixels(told) - made).max() < 0.51  # rounding to whole pixel values
    assert told.denoiser_evaluations == 2 * STEPS
    assert told.mask is not None and not told.mask.any()


def test_a_second_edit_costs_no_second_inversion_and_is_bit_identical_to_a_fresh_one(model: LeditsModel) -> None:
    editor = LeditsEditor(model, SETTINGS)
    first = editor.edit(picture(), (Edit(GOATEE),), 0)
    again = editor.edit(picture(), (Edit(GOATEE),), 1)
    fresh = LeditsEditor(model, SETTINGS).edit(picture(), (Edit(GOATEE),), 0)
    assert first.denoiser_evaluations == fresh.denoiser_evaluations == STEPS + 2 * STEPS
    assert again.denoiser_evaluations == 2 * STEPS
    assert np.array_equal(pixels(first), pixels(again)) and np.array_equal(pixels(first), pixels(fresh))


def test_adding_removing_and_joining_attributes(model: LeditsModel) -> None:
    editor = LeditsEditor(model, SETTINGS)
    base = pixels(editor.reconstruct(picture()))
    plus = editor.edit(picture(), (Edit(GOATEE),), 0)
    joint = editor.edit(picture(), edit_set([Edit(GOATEE), Edit(GLASSES, -1, 2.0)]), 0)
    changes = [np.abs(pixels(edited) - base).mean() for edited in (plus, joint)]
    assert min(changes) > 1 and not np.array_equal(pixels(plus), pixels(joint))
    assert joint.denoiser_evaluations == 3 * STEPS  # the picture and two prompts in each batch
    assert joint.mask is not None and joint.mask.shape == (SIDE, SIDE) and 0 < joint.mask.mean() < 1


def test_sign_and_strength_turn_and_scale_the_guidance(model: LeditsModel) -> None:
    editor = LeditsEditor(model, SETTINGS)

    def guidance(*edits: Edit) -> torch.Tensor:
        """What is added to the first step's noise, where all edits still see the same latents."""
        editor.edit(picture(), edit_set(edits), 0)
        return torch.as_tensor(model.pipeline.sem_guidance[0]).clone()

    plus, glasses = guidance(Edit(GOATEE)), guidance(Edit(GLASSES))
    assert plus.abs().max() > 0
    assert torch.allclose(guidance(Edit(GOATEE, -1)), -plus, atol=1e-5)
    assert torch.allclose(guidance(Edit(GOATEE, 1, 2.5)), 2.5 * plus, atol=1e-5)
    both = guidance(Edit(GOATEE), Edit(GLASSES, -1))
    assert torch.allclose(both, plus - glasses, atol=1e-4)


def test_pictures_and_masked_edits_in_turn_do_not_disturb_each_other(model: LeditsModel) -> None:
    editor = LeditsEditor(model, SETTINGS)
    alone = [LeditsEditor(model, SETTINGS).edit(picture(seed), (Edit(GOATEE),), 0) for seed in (0, 1)]
    editor.reconstruct(picture(0))
    second = editor.edit(picture(1), (Edit(GOATEE),), 0)
    first = editor.edit(picture(0), (Edit(GOATEE),), 0)
    assert np.array_equal(pixels(first), pixels(alone[0])) and np.array_equal(pixels(second), pixels(alone[1]))


def test_threads_take_turns(models: dict[str, LeditsModel]) -> None:
    editor = LeditsEditor(models["sd"], SETTINGS)
    one_by_one = [pixels(editor.edit(picture(seed), (Edit(GOATEE),), 0)) for seed in (0, 1, 2)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda seed: editor.edit(picture(seed), (Edit(GOATEE),), 0), (0, 1, 2, 2, 1, 0)))
    for edited, seed in zip(found, (0, 1, 2, 2, 1, 0), strict=True):
        assert np.array_equal(pixels(edited), one_by_one[seed])
        assert edited.denoiser_evaluations == 2 * STEPS


def test_the_edited_region_is_where_the_guidance_acted(models: dict[str, LeditsModel]) -> None:
    shares = []
    for threshold in (0.5, 0.95):
        settings = LeditsSettings(steps=STEPS, skipped=1, masks="noise", threshold=threshold)
        edited = LeditsEditor(models["sd"], settings).edit(picture(), (Edit(GOATEE),), 0)
        assert edited.mask is not None and edited.mask.dtype == bool
        shares.append(edited.mask.mean())
    assert shares[1] < shares[0]


def test_the_words_of_a_prompt_are_counted_without_padding(models: dict[str, LeditsModel]) -> None:
    tokenizer = models["sd"].pipeline.tokenizer
    assert isinstance(tokenizer, LengthTokenizer)
    told = tokenizer(["ab", "abcd"], padding="max_length", max_length=77, return_length=True, return_tensors="pt")
    assert told.length.tolist() == [4, 6]  # with the tokens of beginning and end
    plain = letter_tokenizer()(["ab"], padding="max_length", max_length=77, return_length=True, return_tensors="pt")
    assert plain.input_ids.tolist() == told.input_ids[:1].tolist()


def test_prompts_carry_the_path_or_the_words_the_model_was_trained_with(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(folders["sd"], tmp_path / "words"))
    add_prompts(folder, {GOATEE.path: "a small beard"})
    editor = LeditsEditor(load_ledits_model(folder, device="cpu"), SETTINGS)
    assert (editor.words(GOATEE), editor.words(GLASSES)) == ("a small beard", GLASSES.phrase)
    (folder / "prompts.json").write_text('[["a"], 3')
    editor = LeditsEditor(load_ledits_model(folder, device="cpu"), SETTINGS)
    assert editor.words(GOATEE) == GOATEE.phrase == "goatee beard"


def test_of_a_model_with_words_of_its_own_a_leaf_that_the_picture_lacks_stands_for_a_group(
    folders: dict[str, Path], tmp_path: Path, models: dict[str, LeditsModel]
) -> None:
    folder = Path(shutil.copytree(folders["sd"], tmp_path / "words"))
    faces = world("faces")
    add_prompts(folder, {path: path[-1] for path in faces.leaves()} | {("hair", "colour"): "dyed hair"})
    editor = LeditsEditor(load_ledits_model(folder, device="cpu"), SETTINGS)
    group, drawn = (Edit(Attribute(("hair", "colour"))),), []
    for number in range(12):
        subject = faces.draw_subject(Random(number))
        portrait = Picture.of(faces.render(subject, SIDE), f"face {number}", subject)
        (made,) = editor.stand_ins(portrait, group)
        assert made.attribute.level == 3 and made.attribute.within(group[0].attribute)
        assert not faces.has(subject, made.attribute.path)
        # The same in every edit of the picture; a leaf and what is taken away stay as they are.
        other = Edit(Attribute(("headwear", "hat", "cap")))
        assert editor.stand_ins(portrait, edit_set([*group, other])) == edit_set([made, other])
        assert editor.stand_ins(portrait, (Edit(group[0].attribute, -1),)) == (Edit(group[0].attribute, -1),)
        drawn.append(made)
    assert len(set(drawn)) > 2
    assert LeditsEditor(models["sd"], SETTINGS).stand_ins(picture(), group) == group


def test_inversions_come_back_from_disk_and_damaged_files_are_made_anew(
    models: dict[str, LeditsModel], tmp_path: Path
) -> None:
    first = LeditsEditor(models["sd"], SETTINGS, InversionStore(tmp_path)).edit(picture(), (Edit(GOATEE),), 0)
    again = LeditsEditor(models["sd"], SETTINGS, InversionStore(tmp_path)).edit(picture(), (Edit(GOATEE),), 0)
    assert (first.denoiser_evaluations, again.denoiser_evaluations) == (3 * STEPS, 2 * STEPS)
    assert np.array_equal(pixels(first), pixels(again))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-200])
    anew = LeditsEditor(models["sd"], SETTINGS, InversionStore(tmp_path)).edit(picture(), (Edit(GOATEE),), 0)
    assert anew.denoiser_evaluations == 3 * STEPS and np.array_equal(pixels(anew), pixels(first))


def test_other_settings_of_inverting_do_not_share_an_inversion(models: dict[str, LeditsModel], tmp_path: Path) -> None:
    store = InversionStore(tmp_path)
    LeditsEditor(models["sd"], SETTINGS, store).reconstruct(picture())
    same = LeditsEditor(models["sd"], LeditsSettings(steps=STEPS, skipped=1, guidance=9.0, threshold=0.9), store)
    other = LeditsEditor(models["sd"], LeditsSettings(steps=STEPS, skipped=1, seed=7), store)
    assert same.is_inverted(picture()) and not other.is_inverted(picture())
    assert not same.is_inverted(picture(1))


def test_memory_holds_the_latest_inversions_and_a_full_disk_does_not_stop_an_edit(tmp_path: Path) -> None:
    def made(value: float) -> Inversion:
        return Inversion(torch.full((1, 4, 2, 2), value), torch.zeros(3, 1, 4, 2, 2), torch.arange(3), 4, (64, 64))

    blocked = tmp_path / "a file, not a folder"
    blocked.write_text("")
    store = InversionStore(blocked, memory_bytes=2 * made(0).bytes)
    for number in range(3):
        store.put(f"{number}", made(number))
    kept = store.get("2")
    assert store.get("0") is None and kept is not None and kept.latents[0, 0, 0, 0] == 2


def test_an_edit_can_be_stopped_in_the_middle_and_the_next_one_is_right(models: dict[str, LeditsModel]) -> None:
    editor = LeditsEditor(models["sd"], SETTINGS)
    wanted = LeditsEditor(models["sd"], SETTINGS).edit(picture(), (Edit(GOATEE),), 0)
    seen: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        if done == STEPS + 2:  # the inversion is done, the edit half so
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        editor.edit(picture(), (Edit(GOATEE),), 0, stop)
    assert seen == [(done, 2 * STEPS) for done in range(STEPS + 3)]
    after = editor.edit(picture(), (Edit(GOATEE),), 0)
    assert after.denoiser_evaluations == 2 * STEPS and np.array_equal(pixels(after), pixels(wanted))


def test_working_sizes_are_multiples_of_32_and_keep_the_shape(models: dict[str, LeditsModel]) -> None:
    assert working_size((8000, 8000), 64) == (64, 64)
    assert working_size((1000, 500), 512) == (736, 352)
    edited = LeditsEditor(models["sdxl"], SETTINGS).edit(picture(0, (200, 100)), (Edit(GOATEE),), 0)
    assert edited.image.size == (96, 64) and edited.mask is not None and edited.mask.shape == (64, 96)
    for size in ((1, 1), (400, 60)):
        with pytest.raises(InputError, match="picture"):
            working_size(size, 64)


def test_xl_is_told_height_before_width(models: dict[str, LeditsModel]) -> None:
    seen: list[list[float]] = []

    def note(_unet: object, _given: object, named: dict[str, dict[str, torch.Tensor]]) -> None:
        seen.append(named["added_cond_kwargs"]["time_ids"][0].tolist())

    hook = models["sdxl"].pipeline.unet.register_forward_pre_hook(note, with_kwargs=True)
    LeditsEditor(models["sdxl"], SETTINGS).edit(picture(0, (200, 100)), (Edit(GOATEE),), 0)
    hook.remove()
    assert len(seen) == 2 * STEPS and all(ids == [64, 96, 0, 0, 64, 96] for ids in seen)


@pytest.mark.parametrize("part", ["vae", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(folders: dict[str, Path], tmp_path: Path, part: str) -> None:
    folder = Path(shutil.copytree(folders["sd"], tmp_path / "part"))
    shutil.rmtree(folder / part)
    with pytest.raises(ModelError, match=f"incomplete, it has no {part}"):
        load_ledits_model(folder, device="cpu")


def test_missing_weights_are_named(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["sd"], tmp_path / "weights"))
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    del tensors["conv_in.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"unet .*conv_in.weight"):
        load_ledits_model(folder, device="cpu")
    file.unlink()
    with pytest.raises(ModelError, match="unet's weights"):
        load_ledits_model(folder, device="cpu")
    file.write_bytes(b"\x05" * 64)
    with pytest.raises(ModelError, match="could not be loaded"):
        load_ledits_model(folder, device="cpu")


def test_another_kind_of_pipeline_and_a_folder_that_is_none_are_refused(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(folders["sd"], tmp_path / "kind"))
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "text_encoder": ["transformers", "T5EncoderModel"]}))
    with pytest.raises(ModelError, match="T5EncoderModel as its text_encoder"):
        load_ledits_model(folder, device="cpu")
    (folder / "model_index.json").write_text(json.dumps({**index, "unet": ["their_code", "TheirUNet"]}))
    with pytest.raises(ModelError, match="TheirUNet as its unet"):
        load_ledits_model(folder, device="cpu")
    with pytest.raises(ModelError, match="no folder"):
        load_ledits_model(tmp_path / "nowhere", device="cpu")
    with pytest.raises(ModelError, match="could not be fetched from the hub"):
        load_ledits_model("../no hub id", device="cpu")
    with pytest.raises(ModelError, match=r"model_index\.json"):
        load_ledits_model(tmp_path, device="cpu")


def test_masks_need_cross_attention_at_the_third_level(tmp_path: Path) -> None:
    flat = load_ledits_model(save_sd(tmp_path / "flat", crossed=False), device="cpu")
    with pytest.raises(ModelError, match="masks `noise`"):
        LeditsEditor(flat, SETTINGS)
    edited = LeditsEditor(flat, LeditsSettings(steps=STEPS, skipped=1, masks="noise")).edit(
        picture(), (Edit(GOATEE),), 0
    )
    assert edited.denoiser_evaluations == 3 * STEPS


def test_running_out_of_memory_is_one_sentence_and_the_next_edit_works(
    models: dict[str, LeditsModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = LeditsEditor(models["sd"], SETTINGS)

    def full(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    with monkeypatch.context() as patch:
        patch.setattr(models["sd"].pipeline.vae, "encode", full)
        with pytest.raises(ModelError, match="ran out of memory"):
            editor.reconstruct(picture())
    assert editor.reconstruct(picture()).denoiser_evaluations == 2 * STEPS


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"steps": 1}, {"skipped": 60}, {"guidance": 0.0}, {"threshold": 1.5}, {"warmup": 50}, {"side": 8}):
        with pytest.raises(InputError):
            LeditsSettings(**wrong)  # type: ignore[arg-type]
