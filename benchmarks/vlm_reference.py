"""The published ISI procedure in plain transformers, the model loaded already: what the benchmark compares with.

Every click prepares the prompt and runs the model anew; samples come one by one; attention is eager and returned as
matrices; entailment is asked pair by pair, and every answer that opens a cluster is compared with all later ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from benchmarks.vlm_models import CONTEXT, QUESTION
from isi_core.domain.trial import Trial

Implementation = Literal["sdpa", "eager"]


@dataclass(frozen=True)
class Reference:
    """A model and what it is asked.

    Attributes
    ----------
    tokens : length of every answer.
    samples : how many are drawn.
    """

    model: Any
    processor: Any
    trial: Trial
    tokens: int
    samples: int

    def answer(self, attention: Implementation) -> None:
        """*Ask*: a greedy answer."""
        self._generate(attention, do_sample=False)

    def draw(self, attention: Implementation) -> None:
        """*Semantic uncertainty*: samples one by one, with their token log-likelihoods after warping."""
        for _ in range(self.samples):
            drawn = self._generate(attention, do_sample=True, temperature=0.9, top_k=50, output_scores=True)
            self.model.compute_transition_scores(drawn.sequences, drawn.scores, normalize_logits=True)

    def attend(self) -> torch.Tensor:
        """*Attention attribution*: (tokens,) shares of the prompt's tokens, summed over the answer's."""
        output = self._generate("eager", do_sample=False, output_attentions=True)
        prompt = output.attentions[0][0].shape[-1]
        total = torch.zeros(prompt)
        for step in output.attentions:
            layers = torch.stack([layer[0, :, -1, :prompt].float().mean(0) for layer in step])
            layers[:, 0] = 0.0
            total += (layers / layers.sum(-1, keepdim=True)).mean(0)
        return total

    def _generate(self, attention: Implementation, **options: Any) -> Any:
        self.model.set_attn_implementation(attention)
        message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": f"{CONTEXT} {QUESTION}"}]}]
        text = self.processor.apply_chat_template(message, add_generation_prompt=True)
        inputs = self.processor(images=[self.trial.image], text=[text], return_tensors="pt")
        return self.model.generate(**inputs, max_new_tokens=self.tokens, return_dict_in_generate=True, **options)


@torch.no_grad()
def compare_pairwise(model: Any, tokenizer: Any, texts: Sequence[str]) -> int:
    """Ask the entailment model pair by pair, as the published greedy clustering does; how often it was asked.

    Random weights know no meaning: the calls are made, and different texts count as different.
    """
    asked = 0
    assigned = [False] * len(texts)
    for i in range(len(texts)):
        if assigned[i]:
            continue
        assigned[i] = True
        for j in range(i + 1, len(texts)):
            for a, b in ((i, j), (j, i)):
                inputs = tokenizer(f"{QUESTION} {texts[a]}", f"{QUESTION} {texts[b]}", return_tensors="pt")
                inputs.pop("token_type_ids", None)
                int(model(**inputs).logits.argmax())
                asked += 1
            assigned[j] = assigned[j] or texts[i] == texts[j]
    return asked
