"""The text-only model on a random-weight Gemma 2 with a real tokenizer: likelihoods, states, batches, limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from isi_core.domain.errors import InputError, ModelError
from isi_core.models.language.hugging_face import HuggingFaceLanguageModel, open_language_model
from isi_core.models.language.protocol import LanguageModel
from tests.checkpoints import byte_level_tokenizer
from tests.language import gemma_settings, save_gemma

ITEMS = [
    [("Is there a red car? Answer:", " yes"), ("Is there a red car? Answer:", " no")],
    [("The picture shows", " a small blue cup."), ("The picture shows", " two boats and one fish, no less.")],
    [("People saw it. " * 20 + "Answer:", " yes"), ("People saw it. " * 20 + "Answer:", " certainly not")],
    [("Ann", " thanked Bea."), ("Bea", " thanked Bea.")],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_gemma(tmp_path_factory.mktemp("gemma") / "tiny-gemma")


@pytest.fixture(scope="module")
def model(folder: Path) -> HuggingFaceLanguageModel:
    return HuggingFaceLanguageModel.load(folder, "tiny-gemma")


def test_likelihoods_in_batches_are_those_of_each_text_alone(model: HuggingFaceLanguageModel, folder: Path) -> None:
    language: LanguageModel = model
    found = language.option_likelihoods(ITEMS)
    alone = Gemma2ForCausalLM.from_pretrained(folder).eval()
    tokenizer = byte_level_tokenizer()
    for item, values in zip(ITEMS, found, strict=True):
        for (before, after), value in zip(item, values, strict=True):
            encoded = tokenizer(before + after, return_offsets_mapping=True, return_tensors="pt")
            ids, ends = encoded["input_ids"], encoded["offset_mapping"][0, :, 1].tolist()
            with torch.inference_mode():
                likelihoods = alone(input_ids=ids).logits[0].log_softmax(-1)
            places = [i for i, end in enumerate(ends) if end > len(before)]
            wanted = sum(float(likelihoods[i - 1, ids[0, i]]) for i in places)
            assert value == pytest.approx(wanted, abs=1e-3)
    assert len({round(v, 6) for values in found for v in values}) == 8  # the model tells them apart


def test_the_order_of_asking_does_not_matter_and_progress_ends_at_one(model: HuggingFaceLanguageModel) -> None:
    told: list[float] = []
    forwards = model.option_likelihoods(ITEMS, lambda _message, fraction: told.append(fraction))
    backwards = model.option_likelihoods(ITEMS[::-1])[::-1]
    assert np.concatenate(forwards) == pytest.approx(np.concatenate(backwards), abs=1e-4)
    assert told[-1] == 1.0


def test_states_are_the_models_own(model: HuggingFaceLanguageModel, folder: Path) -> None:
    prompts = [before for item in ITEMS for before, _ in item]
    found = model.read_states(prompts, (1, 3))
    assert found.states.shape == (8, 2, 2, 32)
    assert not found.cut.any()
    alone = Gemma2ForCausalLM.from_pretrained(folder).eval()
    tokenizer = byte_level_tokenizer()
    for i, prompt in enumerate(prompts):
        encoded = tokenizer(prompt, return_tensors="pt")
        assert found.tokens[i] == encoded["input_ids"].shape[1]
        with torch.inference_mode():
            states = alone(input_ids=encoded["input_ids"], output_hidden_states=True).hidden_states
        for place, layer in enumerate((1, 3)):
            assert found.states[i, 0, place] == pytest.approx(states[layer][0, -1].numpy(), abs=1e-3)
            assert found.states[i, 1, place] == pytest.approx(states[layer][0].mean(dim=0).numpy(), abs=1e-3)
    assert model.read_states(prompts, ()).states.size == 0


def test_long_texts_lose_their_beginning_and_say_so(folder: Path) -> None:
    model = HuggingFaceLanguageModel.load(folder, "tiny-gemma")
    model.max_tokens = 24
    prompts = ["People saw something red in the middle of it. " * 6 + "Answer:", "Short."]
    found = model.read_states(prompts, (2,))
    assert found.cut.tolist() == [True, False]
    assert found.tokens[0] == 24
    ((kept,), (same,)) = model.option_likelihoods([[(prompts[0], " yes")], [("Noise. " * 9 + prompts[0], " yes")]])
    assert kept == pytest.approx(same, abs=1e-4)  # what is kept is the end


def test_what_cannot_be_asked_is_refused(model: HuggingFaceLanguageModel, tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match="option is empty"):
        model.option_likelihoods([[("Answer:", "")]])
    with pytest.raises(InputError, match="4 layers, no layer 5"):
        model.read_states(["x"], (5,))
    with pytest.raises(ModelError, match="No language model"):
        open_language_model("not a model")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="could not be loaded"):
        open_language_model(str(tmp_path / "empty"))
    opened = open_language_model(str(folder))
    assert opened.record.name == "tiny-gemma"
    assert len(opened.record.revision) == 64
    assert opened.layers == 4
    opened.close()
    with pytest.raises(ModelError, match="released"):
        opened.option_likelihoods(ITEMS)


def test_a_checkpoint_with_missing_weights_is_refused(tmp_path: Path) -> None:
    folder = save_gemma(tmp_path / "part", layers=2)
    Gemma2Config(**gemma_settings(layers=3)).save_pretrained(folder)
    with pytest.raises(ModelError, match="Weights are missing"):
        HuggingFaceLanguageModel.load(folder, "part")
