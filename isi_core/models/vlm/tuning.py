"""A copy of a small model, trained a few steps to answer yes/no questions right; the model itself stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.progress import Progress
from isi_core.domain.trial import Trial
from isi_core.models.threads import is_small, one_thread
from isi_core.models.vlm.prompt import Prompt
from isi_core.models.vlm.states import ROOM, alike, answer_logits, word_likelihoods, yes_and_no

if TYPE_CHECKING:
    from isi_core.models.vlm.hugging_face import HuggingFaceVLM

MOST_PARAMETERS = 100_000_000
"""Models larger than that are not trained here."""
BATCH = 8
_READ = 32


class TunedCopy:
    """A model's own weights, which `train` changes; `likelihoods` asks it.

    Raises
    ------
    ModelError : the model is too large, quantized, not in float32, or splits yes or no into several tokens.
    """

    def __init__(self, vlm: HuggingFaceVLM) -> None:
        if lacks := why_not(vlm):
            raise ModelError(lacks)
        self._model: Any = copy.deepcopy(vlm.network)
        self._words = yes_and_no(vlm)

    def train(
        self,
        prompts: Sequence[Prompt],
        truths: Sequence[bool],
        *,
        steps: int,
        learning_rate: float = 1e-4,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> list[float]:
        """Raise log p of the right word as first word of the answer, by AdamW; (steps,) loss in nats.

        Every step takes `BATCH` prompts, each of all before any again, in an order by `seed`.

        Raises
        ------
        InputError : no prompts, or not one truth a prompt.
        """
        if not prompts or len(prompts) != len(truths):
            raise InputError("Training needs prompts, and a truth for each.")
        rng, order, losses = np.random.default_rng(seed), list[int](), list[float]()
        optimizer = torch.optim.AdamW(self._model.parameters(), lr=learning_rate, weight_decay=0.0)
        with one_thread(is_small(self._model)):
            for step in range(steps):
                while len(order) < BATCH:
                    order += rng.permutation(len(prompts)).tolist()
                chosen, order = order[:BATCH], order[BATCH:]
                optimizer.zero_grad(set_to_none=True)
                loss = 0.0
                for places, part in alike([prompts[i] for i in chosen], BATCH):
                    said = word_likelihoods(answer_logits(self._model, part), self._words)
                    right = torch.tensor([0 if truths[chosen[i]] else 1 for i in places], device=said.device)
                    here = -said.gather(1, right[:, None]).sum() / len(chosen)
                    here.backward()
                    loss += float(here.detach())
                torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
                optimizer.step()
                losses.append(loss)
                if progress is not None:
                    progress(f"Trained {step + 1} of {steps} steps", (step + 1) / steps)
        return losses

    def likelihoods(self, prompts: Sequence[Prompt]) -> NDArray[np.float64]:
        """(n, 2) log p that the answer begins with yes, with no, in nats."""
        found = np.zeros((len(prompts), 2))
        with torch.inference_mode(), one_thread(is_small(self._model)):
            for places, part in alike(prompts, _READ):
                said = word_likelihoods(answer_logits(self._model, part), self._words)
                found[places] = said.cpu().double().numpy()
        return found


def why_not(vlm: HuggingFaceVLM) -> str:
    """Why a model cannot be trained here, in one sentence; "" where it can."""
    size = sum(parameter.numel() for parameter in vlm.network.parameters())
    if size > MOST_PARAMETERS:
        return (
            f"{vlm.record.name} has {size / 1e6:,.0f} million parameters: only models of up to "
            f"{MOST_PARAMETERS // 1_000_000} million are fine-tuned here."
        )
    if vlm.record.quantization != "none" or vlm.record.dtype != "float32":
        return f"{vlm.record.name} is loaded as {vlm.record.dtype}, {vlm.record.quantization}: load it in float32."
    if not all(len(word) for word in yes_and_no(vlm)):
        return f"{vlm.record.name} has no single token for yes and no: its answers cannot be trained here."
    return ""


def tuning_prompts(vlm: HuggingFaceVLM, trials: Sequence[Trial]) -> list[Prompt]:
    """The trials as `TunedCopy` reads them; they need the model no more."""
    return vlm.prompts(trials, ROOM)
