"""Attention of generated tokens, recorded row by row while the model runs; no attention matrix ever exists.

An attention function of our own is registered with transformers. The output comes from scaled-dot-product
attention, as it always does; while a recorder is active, softmax(q·Kᵀ) is also computed for the *last* query
row alone, the one that predicts the next token, and reduced at once to sums over groups of tokens per head and
to head-averaged columns of the tokens a view may want to show.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from isi_core.domain.attribution import GROUPS, AttentionRecord
from isi_core.domain.errors import ModelError
from isi_core.models.vlm import shared_prefix
from isi_core.models.vlm.prompt import Prompt

# Neither "sdpa" nor "flash" in it: transformers takes branches on such names.
NAME = "isi_attention_rows"

# Of the thread that runs the model, so that models in other threads do not write into it.
_recorder: ContextVar[Recorder | None] = ContextVar("attention row recorder", default=None)


def install(model: Any) -> bool:
    """Send the language model's attention through this module, for good; False where that cannot be.

    Without an active recorder the function *is* scaled-dot-product attention. Left alone are models
    that cap their attention scores, which that function drops, and models with attention of their own.
    """
    config = model.get_decoder().config
    part = next((key for key in model.config.sub_configs if getattr(model.config, key) is config), None)
    capped = getattr(config, "attn_logit_softcapping", None) is not None
    if part is None or capped or config._attn_implementation != "sdpa" or not model._supports_attention_backend:
        return False
    model.set_attn_implementation({part: NAME})
    return bool(config._attn_implementation == NAME)


@contextmanager
def recording(recorder: Recorder | None) -> Iterator[None]:
    """Within it, this thread's forward passes add a row a layer to the recorder; None records nothing."""
    token = _recorder.set(recorder)
    try:
        yield
    finally:
        _recorder.reset(token)


@dataclass(frozen=True, eq=False)
class Rows:
    """Recorded rows of attention, reduced.

    Attributes
    ----------
    sums : (steps, layers, heads, 6) float32, attention on each of `GROUPS`.
    columns : (steps, layers, watched tokens) float16, head-averaged; 0 for the first position.
    """

    sums: torch.Tensor
    columns: torch.Tensor

    def __add__(self, later: Rows) -> Rows:
        return Rows(torch.cat([self.sums, later.sums]), torch.cat([self.columns, later.columns]))


def no_rows() -> Rows:
    """What is recorded of an answer that has no second token."""
    return Rows(torch.zeros(0, 0, 0, len(GROUPS)), torch.zeros(0, 0, 0))


class Recorder(Protocol):
    """Takes each layer's last row of attention while the model runs."""

    def keep(self, rows: Sequence[int]) -> None:
        """Only these rows of the batch, numbered from the beginning, go on."""
        ...

    def add(self, layer: int, shares: torch.Tensor, new: int) -> None:
        """Record a layer's last rows, (n, heads, keys) shares of attention, after `new` more tokens."""
        ...


class RowRecorder:
    """Collects rows of one prompt and its answer, batch 1.

    `seen` is the number of tokens already in the cache when the recording begins.
    """

    def __init__(self, prompt: Prompt, device: torch.device, seen: int = 0) -> None:
        self._weights = torch.nn.functional.one_hot(prompt.groups(), len(GROUPS)).float().to(device)
        self._watched = torch.tensor(watched(prompt), dtype=torch.long, device=device)
        # The first position soaks up attention that means nothing; it is dropped wherever columns are shown.
        self._shown = (self._watched != 0).float()
        self._start = seen
        self._seen: dict[int, int] = {}
        self._sums: dict[int, list[torch.Tensor]] = {}
        self._columns: dict[int, list[torch.Tensor]] = {}

    @property
    def layers(self) -> int:
        """Number of layers that have reported."""
        return len(self._sums)

    def keep(self, rows: Sequence[int]) -> None:
        """Nothing to do: the only row goes on."""

    def add(self, layer: int, shares: torch.Tensor, new: int) -> None:
        """Record a layer's last row, (1, heads, keys) shares of attention, after `new` more tokens."""
        shares = shares[0]
        seen = self._seen.get(layer, self._start) + new
        self._seen[layer] = seen
        first = seen - shares.shape[-1]  # a sliding window's cache holds the last keys only
        self._sums.setdefault(layer, []).append(shares @ self._group_weights(seen)[first:])
        means = torch.nn.functional.pad(shares.mean(dim=0), (first, 0))
        self._columns.setdefault(layer, []).append((means[self._watched] * self._shown).half())

    def rows(self) -> Rows:
        """What was recorded so far, layers in order."""
        order = sorted(self._sums)
        if not order:
            return no_rows()
        device = self._weights.device  # layers may lie on several devices
        return Rows(
            sums=torch.stack([torch.stack(self._sums[layer]).to(device) for layer in order], dim=1),
            columns=torch.stack([torch.stack(self._columns[layer]).to(device) for layer in order], dim=1),
        )

    def _group_weights(self, seen: int) -> torch.Tensor:
        """(seen, 6) one-hot groups; whatever follows the prompt is generated."""
        missing = seen - len(self._weights)
        if missing > 0:
            generated = torch.zeros(missing, len(GROUPS), device=self._weights.device)
            generated[:, GROUPS.index("generated")] = 1.0
            self._weights = torch.cat([self._weights, generated])
        return self._weights[:seen]


def watched(prompt: Prompt) -> list[int]:
    """Places of the tokens whose columns are kept: image, context, question."""
    return [*prompt.image, *prompt.context.positions, *prompt.question.positions]


def attention_record(prompt: Prompt, rows: Rows, layers: int) -> AttentionRecord:
    """The rows as the noun that is stored and measured; `layers` is how many there should be.

    Raises
    ------
    ModelError : some layers did not report, since their attention does not go through `install`'s function.
    """
    if rows.sums.shape[1] != layers:
        raise ModelError(
            f"Only {rows.sums.shape[1]} of the model's {layers} layers tell their attention: choose another model."
        )
    sums, columns = rows.sums.cpu().numpy(), rows.columns.cpu().numpy()
    image, context = len(prompt.image), len(prompt.context.positions)
    return AttentionRecord(
        sums=sums,
        image_columns=prompt.by_place(columns[..., :image]),
        image_grid=prompt.image_grid,
        context_columns=columns[..., image : image + context],
        question_columns=columns[..., image + context :],
        context_tokens=prompt.context.tokens,
        question_tokens=prompt.question.tokens,
    )


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled-dot-product attention, of a shared prompt too, that shows its last row to the thread's recorder."""
    recorder = _recorder.get()
    shared = shared_prefix.attend(module, query, key, value, attention_mask, scaling, **options)
    if shared is not None:
        output, shares = shared
        if recorder is not None:
            recorder.add(int(module.layer_idx), shares, 1)  # type: ignore[arg-type]
        return output, None
    result = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    if recorder is not None:
        shares = _last_rows(query, key, attention_mask, scaling)
        recorder.add(int(module.layer_idx), shares, query.shape[2])  # type: ignore[arg-type]
    return result


def _last_rows(
    query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, scaling: float | None
) -> torch.Tensor:
    """(n, heads, keys) float32 shares of the last query's attention.

    query (n, heads, new, d), key (n, key heads, keys, d) with grouped heads.
    """
    n, heads, _, size = query.shape
    key_heads, keys = key.shape[1], key.shape[2]
    grouped = query[:, :, -1].reshape(n, key_heads, heads // key_heads, size)
    scores = torch.matmul(grouped, key.transpose(2, 3)).float() * (size**-0.5 if scaling is None else scaling)
    scores = scores.view(n, heads, keys)
    if mask is not None:
        row = mask[:, :, -1, :keys]
        scores = scores.masked_fill(~row, float("-inf")) if row.dtype == torch.bool else scores + row.float()
    return scores.softmax(dim=-1)


AttentionInterface.register(NAME, _attend)
# Without a mask function of the same name, masks of padded or partly bidirectional prompts silently become None.
AttentionMaskInterface.register(NAME, sdpa_mask)
