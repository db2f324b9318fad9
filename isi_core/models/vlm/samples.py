"""Many drawn answers to one prompt, decoded side by side in as few batches as memory allows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from isi_core.domain.decoding import Decoding
from isi_core.models.out_of_memory import give_back, is_out_of_memory
from isi_core.models.vlm.batches import decode_together
from isi_core.models.vlm.generation import Generated, decode
from isi_core.models.vlm.part import Part
from isi_core.models.vlm.prefill import Prefill
from isi_core.models.vlm.sampling import Draw

SAMPLE_BYTES = 2 << 30
"""What samples decoded side by side may hold; more samples come in several batches."""

_LOGIT_BYTES = 32
"""Of each token of the vocabulary and each row: logits, warped, as float64, and their sums."""


def draw_samples(
    model: Any,
    prefill: Prefill,
    decoding: Decoding,
    *,
    end_tokens: Collection[int],
    shared: bool,
    part: Part,
    make_room: Callable[[], None],
) -> list[Generated]:
    """`decoding.n_samples` answers, each from random numbers of its own, whatever batch it is in.

    A batch that runs out of memory is drawn again in halves, after `make_room` has let go of what it
    can. `shared` as for `decode`.

    Raises
    ------
    RuntimeError, MemoryError : there is no room even for one sample.
    """
    count = decoding.n_samples
    choose = Draw(decoding, [f"sample {i}" for i in range(count)])
    batch = min(count, _rows_that_fit(prefill, decoding.max_new_tokens, shared))
    little = ""
    drawn: list[Generated] = []
    while len(drawn) < count:
        rows = range(len(drawn), min(len(drawn) + batch, count))
        on_token = part.within(rows.start / count, rows.stop / count).counter(
            f"Drawing answers {rows.start + 1} to {rows.stop} of {count}{little}", decoding.max_new_tokens
        )
        try:
            drawn += decode(
                model,
                prefill,
                rows,
                choose,
                end_tokens=end_tokens,
                max_new_tokens=decoding.max_new_tokens,
                on_token=on_token,
                shared=shared,
            )
            continue
        except (RuntimeError, MemoryError) as error:
            if len(rows) == 1 or not is_out_of_memory(error):
                raise
        batch = len(rows) // 2
        little = f" ({batch} at a time, since memory ran out)"
        make_room()
        give_back()
    return drawn


def draw_together(
    model: Any,
    prefills: Sequence[Prefill],
    decoding: Decoding,
    *,
    end_tokens: Collection[int],
    shared: bool,
    part: Part,
    make_room: Callable[[], None],
) -> list[list[Generated]]:
    """`draw_samples` for several prompts, as many of them side by side as fit into memory."""
    count = decoding.n_samples
    choose = Draw(decoding, [f"sample {i}" for i in range(count)])
    at_once = _prompts_that_fit(prefills, count, decoding.max_new_tokens, shared)
    drawn: list[list[Generated]] = []
    while len(drawn) < len(prefills):
        here = prefills[len(drawn) : len(drawn) + at_once]
        stretch = part.within(len(drawn) / len(prefills), (len(drawn) + len(here)) / len(prefills))
        if len(here) == 1:
            drawn.append(
                draw_samples(
                    model,
                    here[0],
                    decoding,
                    end_tokens=end_tokens,
                    shared=shared,
                    part=stretch,
                    make_room=make_room,
                )
            )
            continue
        rows = decode_together(
            model,
            here,
            [row for row in range(len(here)) for _ in range(count)],
            [*range(count)] * len(here),
            choose,
            end_tokens=end_tokens,
            max_new_tokens=decoding.max_new_tokens,
            shared=shared,
            on_token=stretch.counter(f"Drawing {count} answers to each of {len(here)}", decoding.max_new_tokens),
        )
        drawn += [rows[i : i + count] for i in range(0, len(rows), count)]
    return drawn


def _prompts_that_fit(prefills: Sequence[Prefill], count: int, max_new_tokens: int, shared: bool) -> int:
    """How many prompts with `count` answers each keep within `SAMPLE_BYTES`; at least one."""
    longest = max(prefills, key=lambda prefill: prefill.nbytes)
    token = longest.nbytes / len(longest.prompt)
    row = token * max_new_tokens + _LOGIT_BYTES * longest.logits.numel() + (0 if shared else longest.nbytes)
    return max(1, int(SAMPLE_BYTES / (count * row + longest.nbytes)))


def _rows_that_fit(prefill: Prefill, max_new_tokens: int, shared: bool) -> int:
    """How many rows keep within `SAMPLE_BYTES`; at least one."""
    prompt = len(prefill.prompt)
    tokens = max_new_tokens if shared else prompt + max_new_tokens
    row_bytes = prefill.nbytes / prompt * tokens + _LOGIT_BYTES * prefill.logits.numel()
    return max(1, int(SAMPLE_BYTES / row_bytes))
