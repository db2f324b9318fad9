"""tiny-diffusion's training at its real size for a handful of steps: data, resuming, whitening, saving."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from isi_core.domain.attributes import Attribute, Edit
from isi_core.models.classifiers.hugging_face import HuggingFaceClassifier
from isi_core.models.editors.ledits import LeditsEditor
from isi_core.models.editors.ledits_loading import load_ledits_model
from isi_core.models.editors.ledits_settings import LeditsSettings
from isi_core.models.editors.protocol import Picture
from isi_core.training import diffusion, diffusion_data
from isi_core.training.diffusion import Stage, Trainer
from isi_core.training.diffusion_data import (
    MOST_PHRASES,
    WORLD,
    draw_portraits,
    draw_prompt,
    edge_weights,
    load_bank,
    place_weights,
    prompts_of,
    render,
    save_bank,
    to_unit,
)
from isi_core.training.diffusion_model import (
    LATENT_SIDE,
    PROMPT_TOKENS,
    SIDE,
    build_tokenizer,
    build_vae,
    whiten_latents,
)
from isi_core.worlds.attributed import world

FACES = world(WORLD)
MOST_BYTES = 60_000_000


def test_every_word_of_the_world_is_one_token_and_every_prompt_fits() -> None:
    prompts = prompts_of(FACES)
    tokenizer = build_tokenizer(prompts.values())
    for word in {word for phrase in prompts.values() for word in phrase.lower().split() if word.isalpha()}:
        assert tokenizer.tokenize(word) == [f"{word}</w>"]
    for subject in draw_portraits(Random(5), 500, held_out=False):
        phrases = [
            max((prompts[leaf], prompts[leaf[:2]]), key=lambda phrase: len(tokenizer.tokenize(phrase)))
            for leaf in subject.leaves
        ]
        longest = sorted(phrases, key=lambda phrase: -len(tokenizer.tokenize(phrase)))[:MOST_PHRASES]
        assert len(tokenizer(", ".join(longest)).input_ids) <= PROMPT_TOKENS
    assert tokenizer.tokenize("zebra")[0] == "z"  # spelled out, not lost


def test_a_word_has_the_same_place_in_every_process() -> None:
    script = (
        "from isi_core.training.diffusion_data import prompts_of; from isi_core.worlds.attributed import world; "
        "from isi_core.training.diffusion_model import build_tokenizer; "
        "print(sorted(build_tokenizer(prompts_of(world('faces')).values()).get_vocab().items()))"
    )
    told = {subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout for _ in range(3)}
    assert len(told) == 1 and b"cap</w>" in told.pop()


def test_prompts_name_what_is_there_in_any_order_and_sometimes_nothing() -> None:
    subject = max(draw_portraits(Random(0), 30, held_out=False), key=lambda drawn: len(drawn.leaves))
    allowed = set(subject.leaves) | {leaf[:2] for leaf in subject.leaves}
    rng = Random(1)
    drawn = [draw_prompt(rng, subject.leaves) for _ in range(2000)]
    counts = Counter(len(named) for named in drawn)
    assert 0.07 < counts[0] / 2000 < 0.13  # classifier-free guidance
    assert counts[1] / 2000 > 0.3 and max(counts) == min(MOST_PHRASES, len(subject.leaves))
    assert {path for named in drawn for path in named} <= allowed
    assert all(len({path[:2] for path in named}) == len(named) for named in drawn)
    assert len({tuple(named) for named in drawn}) > 500


def test_prompts_name_what_they_are_about() -> None:
    leaves = draw_portraits(Random(0), 1, held_out=False)[0].leaves
    rng = Random(2)
    for about in leaves:
        drawn = [named for named in (draw_prompt(rng, leaves, about) for _ in range(60)) if named]
        assert drawn and all(about in named or about[:2] in named for named in drawn)


def test_places_of_small_attributes_weigh_more() -> None:
    mustache, hair = ("facial hair", "mustache", "handlebar"), ("hair", "length", "long")
    small, large, both = (place_weights(named) for named in ([mustache], [hair], [mustache, hair]))
    for weights in (small, large, both):
        assert weights.shape == (16, 16) and weights.mean().item() == pytest.approx(1)
    assert small[9, 8] > 2 * large[9, 8] and small[9, 8] > both[9, 8] > large[9, 8]
    assert small[0, 0] < 1 and place_weights([]).unique().tolist() == [1.0]
    # Half of the whole goes to the place of the one attribute, however small it is.
    assert small[8:12, 4:12].sum().item() >= 0.5 * small.sum().item()


def test_training_never_sees_a_held_out_identity() -> None:
    assert not any(subject.held_out for subject in draw_portraits(Random(0), 60, held_out=False))
    assert all(subject.held_out for subject in draw_portraits(Random(0), 3, held_out=True))


def test_edges_weigh_more() -> None:
    pictures = torch.full((1, 3, SIDE, SIDE), -1.0)
    pictures[:, :, 20, 10:30] = 1.0  # a thin line
    weights = edge_weights(pictures)
    assert weights.shape == (1, 1, SIDE, SIDE) and weights.mean().item() == pytest.approx(1)
    assert weights[0, 0, 20, 20] > 3 * weights[0, 0, 50, 50]


def test_whitening_changes_the_latents_and_not_the_picture() -> None:
    torch.manual_seed(0)
    vae = build_vae().eval()
    pictures = to_unit(render(draw_portraits(Random(2), 4, held_out=False)))
    with torch.no_grad():
        before = vae.encode(pictures).latent_dist
        picture = vae.decode(before.mean).sample
        whiten_latents(vae, before.mean.mean((0, 2, 3)), before.mean.std((0, 2, 3)))
        after = vae.encode(pictures).latent_dist
        again = vae.decode(after.mean).sample
    assert torch.allclose(after.mean.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(after.mean.std((0, 2, 3)), torch.ones(4), atol=1e-4)
    assert torch.allclose(picture, again, atol=1e-4)
    ratio = before.std / after.std  # the noise of sampling shrinks or grows with them
    assert torch.allclose(ratio, ratio.mean((0, 2, 3), keepdim=True).expand_as(ratio), rtol=1e-3)


def test_a_bank_brings_back_latents_and_leaves_and_knows_its_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects = draw_portraits(Random(3), 5, held_out=False)
    latents = torch.randn(5, 4, LATENT_SIDE, LATENT_SIDE)
    save_bank(tmp_path / "bank.safetensors", latents, subjects)
    bank = load_bank(tmp_path / "bank.safetensors")
    assert torch.equal(bank.latents, latents)
    assert [sorted(leaves) for leaves in bank.leaves] == [list(subject.leaves) for subject in subjects]
    monkeypatch.setattr(diffusion_data, "_world_digest", lambda place: "another")
    with pytest.raises(ValueError, match="run `latents` again"):
        load_bank(tmp_path / "bank.safetensors")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real networks on few portraits for few steps."""
    monkeypatch.setattr(diffusion, "VALIDATION_PORTRAITS", 16)
    monkeypatch.setattr(diffusion, "SAMPLE_STEPS", 1)
    monkeypatch.setitem(diffusion.STAGES, "vae", Stage(steps=4, batch=2, learning_rate=1e-3, portraits=8))
    monkeypatch.setitem(diffusion.STAGES, "unet", Stage(steps=2, batch=2, learning_rate=5e-4, portraits=8))


def _steps(monkeypatch: pytest.MonkeyPatch, stage: str, steps: int) -> None:
    """Let a stage stop after so many steps, its pace still that of the whole."""
    loss = Trainer._reconstruction if stage == "vae" else Trainer._denoising
    clock = {"now": 0.0}
    monkeypatch.setattr(diffusion.time, "monotonic", lambda: clock["now"])
    counted = {"left": steps}

    def stepped(self: Trainer, *given: object) -> torch.Tensor:
        counted["left"] -= 1
        if counted["left"] == 0:
            clock["now"] = 1e9
        return loss(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, loss.__name__, stepped)


def test_a_resumed_training_is_the_unbroken_one(tmp_path: Path, short: None, monkeypatch: pytest.MonkeyPatch) -> None:
    unbroken = Trainer(tmp_path / "unbroken", 0)
    start = {name: value.clone() for name, value in unbroken.vae.state_dict().items()}
    unbroken.run("vae", 60, 100)
    with monkeypatch.context() as patch:
        _steps(patch, "vae", 2)
        Trainer(tmp_path / "broken", 0).run("vae", 60, 100)
    resumed = Trainer(tmp_path / "broken", 0)
    assert (unbroken.done["vae"], resumed.done["vae"]) == (4, 2)
    resumed.run("vae", 60, 100)
    wanted, got = unbroken.vae.state_dict(), resumed.vae.state_dict()
    assert all(torch.allclose(got[name], wanted[name], atol=1e-6) for name in wanted)
    assert any(not torch.allclose(start[name], wanted[name], atol=2e-5) for name in wanted)
    assert resumed.measured["psnr_db"] == pytest.approx(unbroken.measured["psnr_db"], abs=0.01)
    with Image.open(tmp_path / "unbroken" / "vae.png") as sheet:
        assert sheet.size == (8 * SIDE * 3, 4 * SIDE * 3)


def test_from_latents_to_an_editor_that_knows_the_words(tmp_path: Path, short: None) -> None:
    Trainer(tmp_path / "state", 0).fill_bank()
    Trainer(tmp_path / "state", 0).run("unet", 60, 100)
    trainer = Trainer(tmp_path / "state", 0)
    assert trainer.done == {"vae": 0, "unet": 2}
    folder = tmp_path / "model"
    trainer.save(folder)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= MOST_BYTES
    card = (folder / "README.md").read_text()
    assert "denoiser 2" in card and f"{trainer.measured['psnr_db']:.4g}" in card
    assert [["facial hair", "beard", "goatee"], "goatee beard"] in json.loads((folder / "prompts.json").read_text())
    model = load_ledits_model(folder, device="cpu")
    assert (model.side, model.factor, model.masks) == (SIDE, 4, True)
    editor = LeditsEditor(model, LeditsSettings(steps=3, skipped=1))
    subject = draw_portraits(Random(4), 1, held_out=True)[0]
    picture = Picture.of(FACES.render(subject, SIDE), "held out", subject)
    edited = editor.edit(picture, (Edit(Attribute(("facial hair", "beard", "goatee"))),), 0)
    assert edited.image.size == (SIDE, SIDE) and edited.denoiser_evaluations == 9


def test_the_shipped_pipeline_draws_what_its_words_say() -> None:
    """Not twelve good pictures, but words in their places: exchanged tokenizers passed every other test."""
    models = Path(__file__).resolve().parents[2] / "assets" / "models"
    pipeline = StableDiffusionPipeline.from_pretrained(models / "tiny-diffusion", torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    reader = HuggingFaceClassifier.load(models / "tiny-attributes", "tiny-attributes")
    asked = [
        ("headwear", "hat", "cap"),
        ("eyewear", "eyeglasses", "cat-eye"),
        ("headwear", "hat", "beanie"),
        ("hair", "colour", "red"),
    ]
    prompts = [FACES.phrase(path) for path in asked for _ in range(3)]
    drawn = pipeline(prompts, num_inference_steps=12, guidance_scale=6.0, generator=torch.Generator().manual_seed(3))
    columns = [reader.labels.index("/".join(path)) for path in asked]
    read = np.asarray(reader.logits(drawn.images)).reshape(len(asked), 3, -1)[range(len(asked)), :, columns] > 0
    assert (read.sum(axis=1) >= 2).all()
