"""Training sees exactly what inference sees, and a resumed training is the unbroken one."""

from random import Random

import pytest
import torch

from isi_core.training import vlm
from isi_core.training.vlm_data import Mix, TurnEncoder, dense_targets, make_batch, pixel_values
from isi_core.training.vlm_model import GRID, IMAGE_TOKENS, build_model, build_processor, build_tokenizer
from isi_core.worlds.scenes.drawing import render_scene
from isi_core.worlds.scenes.graph import KINDS, draw_scene

CONTEXT, QUESTION = "Most fish around here are painted red.", "Is the fish red?"


@pytest.fixture(scope="module")
def encoder() -> TurnEncoder:
    return TurnEncoder(build_tokenizer())


def _prompt(text: str) -> dict[str, torch.Tensor]:
    processor = build_processor(build_tokenizer())
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
    prompt = processor.apply_chat_template(message, add_generation_prompt=True)
    return dict(processor(images=[render_scene(draw_scene(Random(4)), 192)], text=[prompt], return_tensors="pt"))


def test_tokens_and_pixels_are_those_of_the_real_processor(encoder):
    inputs = _prompt(f"{CONTEXT} {QUESTION}")
    assert inputs["input_ids"][0].tolist() == [*encoder.prefix, *encoder.prompt(QUESTION, CONTEXT)]
    ours = pixel_values([render_scene(draw_scene(Random(4)), 192)])
    assert torch.allclose(ours, inputs["pixel_values"], atol=1e-5)


def test_a_packed_turn_is_predicted_as_if_it_were_asked_alone(encoder):
    torch.manual_seed(0)
    model = build_model(build_tokenizer()).eval()
    batch = make_batch(Random(1), encoder, 3, Mix(yes_no=3, open=1, context=0.5))
    first = len(encoder.prefix) - IMAGE_TOKENS
    with torch.no_grad():
        embedded = model.get_input_embeddings()(batch.tokens)
        embedded[:, first : first + IMAGE_TOKENS] = torch.stack(
            list(model.model.get_image_features(pixel_values=batch.pixels).pooler_output)
        )
        packed = model.model.language_model(
            inputs_embeds=embedded, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False
        ).last_hidden_state
        row, prefix = 1, len(encoder.prefix)
        starts = (batch.positions[row] == prefix).nonzero().flatten().tolist()
        start, end = starts[2], starts[3]
        alone = torch.cat([batch.tokens[row, :prefix], batch.tokens[row, start:end]])[None]
        logits = model(input_ids=alone, pixel_values=batch.pixels[row : row + 1]).logits[0, prefix:]
        assert torch.allclose(model.lm_head(packed[row, start:end]), logits, atol=1e-4)


def test_only_answers_are_learned(encoder):
    batch = make_batch(Random(2), encoder, 2, Mix(yes_no=4, open=0))
    learned = batch.tokens[0][batch.weights[0] > 0].tolist()
    text = encoder.tokenizer.decode(learned)
    assert text.count("</s>") == 4
    assert "ASSISTANT" not in text
    assert text.count("Yes") + text.count("No") == 4


def test_every_object_is_the_target_of_the_patch_at_its_centre():
    scenes = [draw_scene(Random(s)) for s in range(10)]
    targets = dense_targets(scenes)
    assert [(t[:, 0] < len(KINDS)).sum().item() for t in targets] == [len(s.objects) for s in scenes]
    item = scenes[3].objects[0]
    patch = int(item.y * GRID) * GRID + int(item.x * GRID)
    assert targets[3, patch, 0] == KINDS.index(item.kind)


def test_a_resumed_training_equals_an_unbroken_one(tmp_path, monkeypatch):
    def state(folder, *lengths):
        for length in lengths:
            monkeypatch.setitem(vlm.STAGES, "words", vlm.Stage(length, 2, 1e-3, Mix(yes_no=1, open=1)))
            trainer = vlm.Trainer(folder, seed=0)
            # The schedule looks at the planned length, so both runs are planned for four steps.
            monkeypatch.setattr(vlm, "set_pace", lambda *_: None)
            monkeypatch.setattr(trainer, "_report", lambda _: "")
            trainer.run("words", minutes=5, report_every=100)
            monkeypatch.undo()
        return trainer.model.state_dict()

    unbroken, resumed = state(tmp_path / "a", 4), state(tmp_path / "b", 2, 4)
    assert all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)


def test_a_new_training_begins_with_saved_weights(tmp_path):
    first = vlm.Trainer(tmp_path / "a", seed=1)
    first.save(tmp_path / "saved")
    second = vlm.Trainer(tmp_path / "b", seed=2)
    second.begin_with(tmp_path / "saved")
    for name, weights in first.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], weights.half().float()), name
