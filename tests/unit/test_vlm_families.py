"""The newer families through their real processors, from a saved folder to every measure: exact against `generate`
and eager attention.

Among them are loose patches with positions in three dimensions that the model remembers from its latest prompt
(Qwen-VL), sliding windows and two-way pictures (Gemma 3), tiles (Idefics3, SmolVLM, InternVL), and a text that attends
to itself both ways (PaliGemma).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LogitsProcessor, LogitsProcessorList

from isi_core.domain.answer import Answer
from isi_core.domain.attribution import GROUPS
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import ModelError
from isi_core.domain.trial import Trial
from isi_core.models.vlm import attention_rows
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.models.vlm.prefill import decoder_blocks
from isi_core.models.vlm.prompt import Prompt
from tests.checkpoints import make_trial
from tests.family_checkpoints import FAMILIES, save_gemma3

QUESTION = "Is there a red car?"
CONTEXT = f"They asked: {QUESTION} People saw something red."
STEPS = 6
DECODING = Decoding(max_new_tokens=STEPS, n_samples=3, temperature=1.3, top_k=40)

# Tokens a picture of 80 by 60 pixels makes, and the rectangle they fill; tiles fill none.
IMAGE_TOKENS = {
    "qwen2.5-vl": (4, 5),
    "qwen3-vl": (4, 5),
    "gemma-3": (4, 4),
    "idefics3": (1, 20),
    "smolvlm": (1, 20),
    "internvl": (1, 20),
    "paligemma": (4, 4),
}
SHARED = {"gemma-3": False}
"""Whether samples read one copy of the prompt; sliding windows do not."""


@dataclass
class Family:
    """A loaded model and a trial that it says a few words to."""

    name: str
    folder: Path
    vlm: HuggingFaceVLM
    trial: Trial

    @property
    def model(self) -> Any:
        return self.vlm.network

    def prompt(self, trial: Trial | None = None) -> Prompt:
        [prompt] = self.vlm.prompts([trial or self.trial], STEPS)
        return prompt

    def evaluate(self, *measures: Any, strategy: Any = "greedy", trial: Trial | None = None) -> Any:
        decoding = Decoding(**(DECODING.to_json() | {"strategy": strategy}))
        [output] = self.vlm.evaluate([trial or self.trial], decoding, measures)
        return output


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    name = request.param
    folder = FAMILIES[name](tmp_path_factory.mktemp("checkpoints") / name)
    vlm = HuggingFaceVLM.load(folder, name)
    loaded = Family(name, folder, vlm, make_trial())
    trials = (make_trial(CONTEXT, QUESTION, seed) for seed in range(50))
    loaded.trial = next(trial for trial in trials if len(loaded.evaluate("answer", trial=trial).answer.token_ids) > 3)
    vlm.prefills.clear()
    return loaded


class _Force(LogitsProcessor):
    """Lets `generate` say these tokens."""

    def __init__(self, tokens: Sequence[int], start: int) -> None:
        self._tokens, self._start = tokens, start

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        forced = torch.full_like(scores, float("-inf"))
        forced[:, self._tokens[input_ids.shape[1] - self._start]] = 0.0
        return forced


@torch.inference_mode()
def generate(family: Family, said: Sequence[int] | None = None, **options: Any) -> Any:
    """What transformers itself makes of the prompt with eager attention; of a given answer where it is `said`."""
    model, prompt = family.model, family.prompt()
    if said is not None:
        options["logits_processor"] = LogitsProcessorList([_Force(said, len(prompt))])
    try:
        model.set_attn_implementation("eager")
        return model.generate(
            **prompt.inputs,
            do_sample=False,
            max_new_tokens=STEPS if said is None else len(said),
            eos_token_id=sorted(family.vlm._end_tokens) if said is None else None,
            pad_token_id=0,
            output_logits=True,
            return_dict_in_generate=True,
            **options,
        )
    finally:
        model.set_attn_implementation("sdpa")
        assert attention_rows.install(model)


def test_the_prompts_parts_are_found(family: Family) -> None:
    prompt, ids = family.prompt(), family.prompt().inputs["input_ids"][0].tolist()
    tokenizer = family.vlm.tokenizer
    for span, text in ((prompt.context, CONTEXT), (prompt.question, QUESTION)):
        assert tokenizer.decode([ids[place] for place in span.positions]).strip() == text
        assert "".join(span.tokens) == text
    assert max(prompt.context.positions) < min(prompt.question.positions)
    image = family.model.config.image_token_id
    assert prompt.image == tuple(place for place, token in enumerate(ids) if token == image)
    assert prompt.image_grid == IMAGE_TOKENS[family.name]
    assert len(prompt.image) == np.prod(prompt.image_grid)
    assert prompt.text.count(QUESTION) == 2


def test_the_prompt_is_what_the_processor_makes_of_it(family: Family) -> None:
    prompt, processor = family.prompt(), family.vlm._processor
    beginning = family.vlm.tokenizer.bos_token
    expected = processor(
        images=[family.trial.image],
        text=[prompt.text],
        return_tensors="pt",
        add_special_tokens=beginning is None,
    )
    assert set(expected) - {"labels"} == set(prompt.inputs)
    for name, value in prompt.inputs.items():
        torch.testing.assert_close(value, expected[name])
    if beginning is not None:
        assert prompt.inputs["input_ids"][0].tolist().count(family.vlm.tokenizer.bos_token_id) == 1


def test_user_text_makes_no_control_tokens(family: Family) -> None:
    tokenizer = family.vlm.tokenizer
    controls = tokenizer.all_special_ids
    hostile = " ".join(tokenizer.decode([control]) for control in controls)

    def count(trial: Trial) -> list[int]:
        ids = family.prompt(trial).inputs["input_ids"][0].tolist()
        return [ids.count(control) for control in controls]

    assert count(make_trial(hostile, f"{QUESTION} {hostile}")) == count(make_trial("Red.", QUESTION))


def test_greedy_and_beam_answers_are_those_of_generate(family: Family) -> None:
    start = len(family.prompt())
    answer: Answer = family.evaluate("answer").answer
    reference = generate(family)
    assert list(answer.token_ids) == reference.sequences[0, start:].tolist()
    own = torch.stack(reference.logits, 1)[0].log_softmax(-1)[range(len(answer.token_ids)), list(answer.token_ids)]
    np.testing.assert_allclose(answer.log_likelihoods, own, atol=1e-4)

    beam: Answer = family.evaluate("answer", strategy="beam").answer
    found = generate(family, num_beams=DECODING.num_beams, length_penalty=1.0).sequences[0, start:].tolist()
    assert list(beam.token_ids) == found[: len(beam.token_ids)]
    assert set(found[len(beam.token_ids) :]) <= {0}


def test_attention_is_that_of_eager_attention(family: Family) -> None:
    output, prompt = family.evaluate("attention"), family.prompt()
    said = output.answer.token_ids
    attentions = generate(family, said, output_attentions=True).attentions
    record = output.attention
    steps = len(said) - output.answer.finished
    layers = family.model.config.get_text_config().num_hidden_layers
    heads = family.model.config.get_text_config().num_attention_heads
    assert record.sums.shape == (steps, layers, heads, len(GROUPS))
    columns = {
        "image": (record.image_columns, prompt.image),
        "context": (record.context_columns, prompt.context.positions),
        "question": (record.question_columns, prompt.question.positions),
    }
    assert steps > 2
    for step in range(steps):
        seen = len(prompt) + step
        for layer in range(layers):
            row = attentions[step][layer][0, :, -1]  # (heads, keys), a window's last ones only
            row = torch.nn.functional.pad(row, (seen - row.shape[-1], 0)) if row.shape[-1] < seen else row
            expected = group_sums(row, prompt, seen)
            np.testing.assert_allclose(record.sums[step, layer], expected, atol=1e-5)
            for kept, places in columns.values():
                shown = row.mean(0)[list(places)].clone()
                shown[[place == 0 for place in places]] = 0  # the first position is not shown
                np.testing.assert_allclose(kept[step, layer], shown, atol=1e-3)


def group_sums(row: torch.Tensor, prompt: Prompt, seen: int) -> torch.Tensor:
    """(heads, 6) sums of a row, (heads, tokens seen)."""
    generated = torch.full((seen - len(prompt),), GROUPS.index("generated"))
    groups = torch.cat([prompt.groups(), generated])
    return torch.stack([row[:, groups == group].sum(-1) for group in range(len(GROUPS))], dim=-1)


def test_samples_are_drawn_from_the_models_own_distribution(family: Family) -> None:
    samples: tuple[Answer, ...] = family.evaluate("samples").samples
    assert len({sample.token_ids for sample in samples}) > 1
    assert family.vlm._shares == SHARED.get(family.name, True)
    for sample in samples[:2]:
        logits = torch.stack(generate(family, sample.token_ids).logits, 1)[0]
        places = range(len(sample.token_ids)), list(sample.token_ids)
        np.testing.assert_allclose(sample.log_likelihoods, logits.log_softmax(-1)[places], atol=1e-4)
        warped = logits / DECODING.temperature
        least = warped.topk(DECODING.top_k).values[:, -1:]
        warped = warped.masked_fill(warped < least, float("-inf")).log_softmax(-1)
        np.testing.assert_allclose(sample.sampling_log_likelihoods, warped[places], atol=1e-4)


@torch.inference_mode()
def test_hidden_states_are_the_blocks_outputs(family: Family) -> None:
    states = family.evaluate("hidden_states").hidden_states
    blocks, outputs = decoder_blocks(family.model), []
    hooks = [block.register_forward_hook(lambda _m, _i, output: outputs.append(output)) for block in blocks]
    try:
        generate(family, [5])
    finally:
        for hook in hooks:
            hook.remove()
    assert len(states) == len(outputs) == len(blocks)
    for state, output in zip(states, outputs, strict=True):
        last = (output[0] if isinstance(output, tuple) else output)[0, -1]
        np.testing.assert_allclose(state, last, atol=2e-5 * max(1.0, float(last.abs().max())))


def test_several_trials_are_answered_as_each_alone(family: Family) -> None:
    trials = [
        family.trial,
        make_trial("A house.", QUESTION, seed=8, size=(60, 110)),
    ]
    family.vlm.prefills.clear()
    together = family.vlm.evaluate(trials, DECODING, ["attention", "samples"])
    for trial, output in zip(trials, together, strict=True):
        family.vlm.prefills.clear()
        [alone] = family.vlm.evaluate([trial], DECODING, ["attention", "samples"])
        assert output.answer.token_ids == alone.answer.token_ids
        np.testing.assert_allclose(output.attention.sums, alone.attention.sums, atol=1e-5)
        for one, other in zip(output.samples, alone.samples, strict=True):
            assert one.token_ids == other.token_ids
            np.testing.assert_allclose(one.log_likelihoods, other.log_likelihoods, atol=1e-4)


def test_an_earlier_prompt_is_continued_after_another(family: Family) -> None:
    """Qwen-VL remembers where text stands after the latest prompt's picture: it must not be taken for this one's."""
    first = family.evaluate("answer").answer
    family.vlm.evaluate([make_trial("Red.", QUESTION, size=(40, 160))], DECODING, ["answer"])
    assert family.trial.digest in family.vlm.prefills._prefills
    assert family.evaluate("answer").answer == first
    again = family.evaluate("attention").attention
    family.vlm.prefills.clear()
    np.testing.assert_allclose(again.sums, family.evaluate("attention").attention.sums, atol=1e-6)


def test_the_whole_picture_is_shown(family: Family) -> None:
    picture = Image.new("RGB", (80, 60), (200, 30, 30))
    picture.paste((30, 30, 200), (40, 0, 80, 60))
    seen = np.asarray(family.vlm.model_sees(picture)).astype(int)
    width = seen.shape[1]
    np.testing.assert_allclose(seen[:, : width // 4].mean((0, 1)), (200, 30, 30), atol=12)
    np.testing.assert_allclose(seen[:, -width // 4 :].mean((0, 1)), (30, 30, 200), atol=12)


def test_running_out_of_memory_halves_a_batch(family: Family) -> None:
    before = family.evaluate("samples").samples
    failed: list[int] = []

    def check(_module: torch.nn.Module, _args: Any, options: dict[str, Any]) -> None:
        if (size := options["inputs_embeds"].shape[0]) > 2:
            failed.append(size)
            raise torch.OutOfMemoryError("CUDA out of memory.")

    hook = family.model.get_decoder().register_forward_pre_hook(check, with_kwargs=True)
    try:
        samples = family.evaluate("samples").samples
    finally:
        hook.remove()
    assert failed
    assert max(failed) <= DECODING.n_samples
    assert [sample.token_ids for sample in samples] == [sample.token_ids for sample in before]


def test_the_language_model_alone_is_quantized(family: Family) -> None:
    vlm = HuggingFaceVLM.load(family.folder, family.name, quantization="4-bit", device="cpu")
    named = dict(vlm.network.named_modules())
    decoder = next(name for name, module in named.items() if module is vlm.network.get_decoder())
    quantized = {name for name, module in named.items() if type(module).__name__ == "Linear4bit"}
    products = {name for name, module in family.model.named_modules() if isinstance(module, torch.nn.Linear)}
    assert quantized == {name for name in products if name.startswith(f"{decoder}.")}
    assert quantized
    [output] = vlm.evaluate([family.trial], DECODING, ["attention", "samples"])
    np.testing.assert_allclose(output.attention.sums.sum(-1), 1, atol=1e-5)
    assert len(output.samples) == DECODING.n_samples


def test_a_template_that_does_not_suit_the_processor_is_told(tmp_path: Path) -> None:
    folder = save_gemma3(tmp_path / "gemma")
    template = "{% for part in messages[0]['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    vlm = HuggingFaceVLM.load(folder, "gemma", chat_template=template)
    with pytest.raises(ModelError, match="processor of gemma does not take this picture and text"):
        vlm.evaluate([make_trial()], DECODING, ["answer"])
