"""Attention attribution against the equations, computed from whole attention matrices the published way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isi_core.domain.attribution import GROUPS, INPUTS, AttentionRecord
from isi_core.domain.errors import InputError, ModelError
from isi_core.measures.attribution import attribute, heat_map

STEADY = settings(deadline=None, derandomize=True)

# One prompt: the first position, 6 image tokens, a template token, 3 of context, 4 of question, 2 of template.
PROMPT = ["first"] + ["image"] * 6 + ["other"] + ["context"] * 3 + ["question"] * 4 + ["other"] * 2
STEPS, LAYERS, HEADS, GRID = 5, 3, 4, (2, 3)


def attention_rows(seed: int, sharpness: float = 3.0) -> list[np.ndarray]:
    """For each step t, (layers, heads, prompt + t) softmax rows, the way a model makes them."""
    rng = np.random.default_rng(seed)
    rows = []
    for step in range(STEPS):
        logits = rng.normal(size=(LAYERS, HEADS, len(PROMPT) + step)) * sharpness
        logits[..., 0] += 2 * sharpness  # the sink
        weights = np.exp(logits)
        rows.append(weights / weights.sum(axis=-1, keepdims=True))
    return rows


def record_of(rows: list[np.ndarray]) -> AttentionRecord:
    """What a recorder keeps of the rows: sums over groups and head-averaged columns."""

    def groups(width: int) -> np.ndarray:
        return np.array(PROMPT + ["generated"] * (width - len(PROMPT)))

    def columns(name: str) -> np.ndarray:
        kept = [row[..., groups(row.shape[-1]) == name].mean(axis=1) for row in rows]
        return np.array(kept).astype(np.float16)

    sums = [
        np.stack([row[..., groups(row.shape[-1]) == g].sum(axis=-1) for g in GROUPS], axis=-1).astype(np.float32)
        for row in rows
    ]
    return AttentionRecord(
        sums=np.array(sums),
        image_columns=columns("image"),
        image_grid=GRID,
        context_columns=columns("context"),
        question_columns=columns("question"),
        context_tokens=("a", "b", "c"),
        question_tokens=("d", "e", "f", "g"),
    )


def shares_the_published_way(rows: list[np.ndarray]) -> tuple[dict[str, float], np.ndarray]:
    """Mean over heads, first position zeroed, renormalized, mean over layers, summed within each input."""
    totals = dict.fromkeys(INPUTS, 0.0)
    on_image = np.zeros(PROMPT.count("image"))
    for row in rows:
        mean = row.mean(axis=1)
        mean[:, 0] = 0.0
        mean = (mean / mean.sum(axis=-1, keepdims=True)).mean(axis=0)
        names = PROMPT + ["generated"] * (len(mean) - len(PROMPT))
        for name, weight in zip(names, mean, strict=True):
            if name != "first":
                totals["other" if name == "generated" else name] += weight
        on_image += mean[np.array(names) == "image"]
    return {name: total / len(rows) for name, total in totals.items()}, on_image / len(rows)


TOKENS = ("Yes", ",", " it", " is", ".")


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_equations_on_whole_rows(seed: int) -> None:
    rows = attention_rows(seed)
    expected, on_image = shares_the_published_way(rows)
    found = attribute(record_of(rows), TOKENS)
    assert found.absolute == pytest.approx(expected, abs=1e-6)
    inputs = {name: expected[name] for name in ("image", "context", "question")}
    assert found.relative == pytest.approx({n: v / sum(inputs.values()) for n, v in inputs.items()}, abs=1e-6)
    np.testing.assert_allclose(found.heat_map.ravel(), on_image, atol=1e-3)  # columns are kept in float16
    assert found.heat_map.shape == GRID


def test_the_views_agree_with_each_other() -> None:
    found = attribute(record_of(attention_rows(7)), TOKENS)
    absolute = np.array([found.absolute[name] for name in INPUTS])
    assert found.by_layer.shape == (LAYERS, 4) and found.by_token.shape == (STEPS, 4)
    assert found.by_head.shape == (LAYERS, HEADS, 4)
    np.testing.assert_allclose(found.by_layer.mean(axis=0), absolute)
    np.testing.assert_allclose(found.by_token.mean(axis=0), absolute)
    for view in (absolute, found.by_layer, found.by_token, found.by_head):
        np.testing.assert_allclose(view.sum(axis=-1), 1.0)
    assert found.heat_map.sum() == pytest.approx(found.absolute["image"], abs=2e-3)
    assert sum(found.relative.values()) == pytest.approx(1.0)
    assert found.tokens == TOKENS


def test_a_head_alone_equals_its_own_attribution() -> None:
    rows = attention_rows(3)
    found = attribute(record_of(rows), TOKENS)
    one_head = [row[:, 2:3] for row in rows]
    np.testing.assert_allclose(found.by_head[:, 2], attribute(record_of(one_head), TOKENS).by_layer, atol=1e-6)


def test_heads_are_averaged_before_the_first_position_is_dropped() -> None:
    """A head that stares at the first position must not count as much as one that looks around."""
    sums = np.zeros((1, 1, 2, 6))
    sums[0, 0, 0] = [0.9, 0.1, 0, 0, 0, 0]
    sums[0, 0, 1] = [0.0, 0, 1.0, 0, 0, 0]
    record = replace(record_of(attention_rows(0)), sums=sums, image_columns=np.full((1, 1, 6), 0.05 / 6))
    found = attribute(record, ("Yes",))
    assert found.absolute["image"] == pytest.approx(0.1 / 1.1)
    np.testing.assert_allclose(found.by_head[0], [[1, 0, 0, 0], [0, 1, 0, 0]])


def test_generated_tokens_count_as_other() -> None:
    sums = np.array([0.5, 0.1, 0.1, 0.1, 0.05, 0.15]).reshape(1, 1, 1, 6)
    record = replace(record_of(attention_rows(0)), sums=sums, image_columns=np.full((1, 1, 6), 0.1 / 6))
    found = attribute(record, ("Yes",))
    assert found.absolute == pytest.approx({"image": 0.2, "context": 0.2, "question": 0.2, "other": 0.4})
    np.testing.assert_allclose(found.heat_map, np.full(GRID, 0.2 / 6))


@STEADY
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_shares_do_not_grow_with_the_answer(seed: int, times: int) -> None:
    record = record_of(attention_rows(seed))
    longer = replace(
        record, sums=np.tile(record.sums, (times, 1, 1, 1)), image_columns=np.tile(record.image_columns, (times, 1, 1))
    )
    once, again = attribute(record, TOKENS), attribute(longer, TOKENS * times)
    assert again.absolute == pytest.approx(once.absolute)
    assert sum(again.absolute.values()) == pytest.approx(1.0)
    np.testing.assert_allclose(again.heat_map, once.heat_map)


def test_the_end_tokens_text_is_left_out() -> None:
    assert attribute(record_of(attention_rows(1)), (*TOKENS, "</s>")).tokens == TOKENS


def test_an_empty_answer_gets_a_sentence() -> None:
    record = record_of(attention_rows(1))
    empty = replace(record, sums=record.sums[:0], image_columns=record.image_columns[:0])
    for tokens in ((), ("</s>",)):
        with pytest.raises(InputError, match="answer is empty"):
            attribute(empty, tokens)


def test_an_empty_context_gets_no_share() -> None:
    rows = attention_rows(2)
    record = record_of(rows)
    sums = record.sums.copy()
    sums[..., GROUPS.index("other")] += sums[..., GROUPS.index("context")]
    sums[..., GROUPS.index("context")] = 0
    found = attribute(
        replace(record, sums=sums, context_columns=np.zeros((STEPS, LAYERS, 0)), context_tokens=()), TOKENS
    )
    assert found.absolute["context"] == found.relative["context"] == 0.0
    assert sum(found.relative.values()) == pytest.approx(1.0)


def test_all_on_the_first_position_is_neutral_not_nan() -> None:
    sums = np.zeros((2, 2, 2, 6))
    sums[..., 0] = 1.0
    record = replace(record_of(attention_rows(0)), sums=sums, image_columns=np.zeros((2, 2, 6)))
    found = attribute(record, ("a", "b"))
    assert found.absolute == {"image": 0.0, "context": 0.0, "question": 0.0, "other": 1.0}
    assert found.relative == {"image": 0.0, "context": 0.0, "question": 0.0}
    assert (found.heat_map == 0).all()


def test_records_that_do_not_fit_are_refused() -> None:
    record = record_of(attention_rows(1))
    with pytest.raises(ModelError, match="5 rows for 3"):
        attribute(record, TOKENS[:3])
    with pytest.raises(ModelError, match="shape"):
        attribute(replace(record, sums=record.sums[..., :5]), TOKENS)
    with pytest.raises(ModelError, match="not shares"):
        attribute(replace(record, sums=np.full_like(record.sums, np.nan)), TOKENS)
    with pytest.raises(ModelError, match="grid of 3 by 3"):
        heat_map(replace(record, image_grid=(3, 3)))
