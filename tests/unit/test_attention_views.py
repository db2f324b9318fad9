"""Attention seen closely, against the same things computed from whole rows of attention."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from isi_core.domain.attribution import INPUTS, AttentionRecord, Attribution
from isi_core.domain.errors import InputError
from isi_core.domain.palette import INPUT_COLOURS
from isi_core.measures import attention_views as views
from isi_core.measures.attribution import attribute, heat_map
from isi_core.reports import attention_figures as figures
from isi_core.reports.charts import figure_png
from tests.unit.test_attribution import GRID, LAYERS, PROMPT, STEPS, TOKENS, attention_rows, record_of

QUESTION = "defg? no"


def shares_of(rows: list[np.ndarray], name: str) -> np.ndarray:
    """(steps, layers, tokens of an input) shares, the published way: mean over heads, first zeroed, renormalized."""
    made = []
    for row in rows:
        mean = row.mean(axis=1)
        mean[:, 0] = 0.0
        mean /= mean.sum(axis=-1, keepdims=True)
        made.append(mean[:, [i for i, group in enumerate(PROMPT) if group == name]])
    return np.array(made)


def with_sink(strength: float, place: int = 4) -> AttentionRecord:
    """A record whose image token `place` gets `strength` times its attention in all layers but the last."""
    rows = attention_rows(1, sharpness=0.3)
    column = 1 + place
    for row in rows:
        row[:-1, :, column] *= strength
        row[:] = row / row.sum(axis=-1, keepdims=True)
    return record_of(rows)


def rows_in(chart: Any) -> list[dict[str, Any]]:
    """The rows of a chart that has one set of them."""
    return [dict(row) for row in chart.data.values]


@pytest.mark.parametrize("steps", [None, (0,), (1, 3)])
@pytest.mark.parametrize("layer", [None, 0, LAYERS - 1])
def test_heat_maps_of_words_and_layers_equal_whole_rows(steps: tuple[int, ...] | None, layer: int | None) -> None:
    rows = attention_rows(3)
    expected = shares_of(rows, "image")[list(range(STEPS) if steps is None else steps)]
    if layer is not None:
        expected = expected[:, [layer]]
    found = views.heat_map_of(record_of(rows), steps, layer)
    assert found.shape == GRID
    np.testing.assert_allclose(found.ravel(), expected.mean(axis=(0, 1)), atol=2e-4)


def test_every_token_and_layer_is_the_heat_map_itself() -> None:
    record = record_of(attention_rows(4))
    np.testing.assert_allclose(views.heat_map_of(record), heat_map(record), rtol=1e-12)
    single = [views.heat_map_of(record, [step], layer) for step in range(STEPS) for layer in range(LAYERS)]
    np.testing.assert_allclose(np.mean(single, axis=0), heat_map(record), rtol=1e-12)


def test_shares_of_words_add_up_to_the_inputs_share() -> None:
    rows = attention_rows(5)
    record, attribution = record_of(rows), attribute(record_of(rows), TOKENS)
    for name, text, words in (("context", "ab c", ["ab", "c"]), ("question", QUESTION, ["defg?"])):
        found = views.word_shares(record, name, text)  # type: ignore[arg-type]
        assert [word.text for word in found] == words
        assert sum(word.share for word in found) == pytest.approx(attribution.absolute[name], abs=1e-3)
    question = views.word_shares(record, "question", "d ef g", steps=[2], layer=1)
    expected = shares_of(rows, "question")[2, 1]
    assert [word.text for word in question] == ["d", "ef", "g"]
    np.testing.assert_allclose([w.share for w in question], [expected[0], expected[1:3].sum(), expected[3]], atol=1e-3)


def test_an_input_without_tokens_has_no_words() -> None:
    record = record_of(attention_rows(5))
    bare = replace(record, context_tokens=(), context_columns=record.context_columns[..., :0])
    assert views.word_shares(bare, "context", "") == ()
    assert views.sinks(bare) == ()


@pytest.mark.parametrize(
    ("text", "tokens", "expected"),
    [
        ("Is it red?", ("Is", " it", " red", "?"), [("Is", (0,)), ("it", (1,)), ("red?", (2, 3))]),
        ("  Is  it ", ("Is", "  ", "it"), [("Is", (0, 1)), ("it", (2,))]),
        ("no no no", ("no", "no", "no"), [("no", (0,)), ("no", (1,)), ("no", (2,))]),
        ("un\ufffd! red", ("un", "#", "!", " red"), [("un\ufffd!", (0, 1, 2)), ("red", (3,))]),
        ("a 🚗 b", ("a", " 🚗", "", "", " b"), [("a", (0,)), ("🚗", (1, 2, 3)), ("b", (4,))]),
        ("", (), []),
    ],
)
def test_words_hold_every_token_once(text: str, tokens: tuple[str, ...], expected: list[object]) -> None:
    assert [(word.text, word.tokens) for word in views.text_words(text, tokens)] == expected


def test_words_of_an_answer() -> None:
    words = views.answer_words(("Yes", ",", " there", " is", " a", " tri", "angle", "."))
    assert [(w.text, w.tokens) for w in words][:3] == [("Yes,", (0, 1)), ("there", (2,)), ("is", (3,))]
    assert words[-1] == views.Word("triangle.", (5, 6, 7))
    assert [w.text for w in views.answer_words(("是", "的", "。"))] == ["是", "的", "。"]
    assert [w.tokens for w in views.answer_words(("Yes",))] == [(0,)]
    assert [w.tokens for w in views.answer_words((" ", "\n"))] == [(0, 1)]


def test_a_patch_is_seen_by_each_word_as_its_heat_map_says() -> None:
    record = record_of(attention_rows(6))
    words = views.answer_words(TOKENS)
    for layer in (None, 1):
        found = views.patch_by_word(record, words, 1, 2, layer)
        expected = [views.heat_map_of(record, word.tokens, layer)[1, 2] for word in words]
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    for row, column in ((GRID[0], 0), (0, GRID[1]), (-1, 0)):
        with pytest.raises(InputError, match="2 by 3 patches"):
            views.patch_by_word(record, words, row, column)


def test_what_is_not_there_is_said() -> None:
    record = record_of(attention_rows(6))
    with pytest.raises(InputError, match="5 tokens"):
        views.heat_map_of(record, [STEPS])
    with pytest.raises(InputError, match="5 tokens"):
        views.heat_map_of(record, [])
    with pytest.raises(InputError, match="3 layers"):
        views.heat_map_of(record, None, LAYERS)


def test_a_sink_is_named_and_others_are_not() -> None:
    assert views.sinks(with_sink(1)) == ()
    [sink] = views.sinks(with_sink(60))
    assert (sink.input, sink.place, sink.text) == ("image", 4, "row 2, column 2")
    assert sink.times > views.SINK_TIMES
    assert sink.cells == pytest.approx((LAYERS - 1) / LAYERS)  # the last layer has none
    assert sink.share == pytest.approx(views.heat_map_of(with_sink(60))[1, 1])
    [strip] = views.sinks(replace(with_sink(60), image_grid=(1, 6)))
    assert strip.text == "image token 5"


def test_a_sink_in_one_layer_is_none() -> None:
    rows = attention_rows(1, sharpness=0.3)
    for row in rows:
        row[0, :, 3] *= 500
        row[:] = row / row.sum(axis=-1, keepdims=True)
    assert views.sinks(record_of(rows)) == ()


def test_a_word_can_be_a_sink() -> None:
    rows = attention_rows(1, sharpness=0.3)
    place = PROMPT.index("question") + 2
    for row in rows:
        row[..., place] *= 80
        row[:] = row / row.sum(axis=-1, keepdims=True)
    [sink] = views.sinks(record_of(rows))
    assert (sink.input, sink.place, sink.text) == ("question", 2, "f")


def test_the_first_position_is_told_apart() -> None:
    rows = attention_rows(2)
    assert views.first_position(record_of(rows)) == pytest.approx(np.mean([row[..., 0].mean() for row in rows]))


def test_the_record_stays_out_of_what_is_stored() -> None:
    record = record_of(attention_rows(2))
    made = attribute(record, TOKENS)
    assert made.record is record
    again = Attribution.from_json(json.loads(json.dumps(made.to_json())))
    assert again.record is None
    np.testing.assert_allclose(again.heat_map, made.heat_map)


def test_the_area_has_the_inputs_colours_and_shares() -> None:
    made = attribute(record_of(attention_rows(2)), TOKENS)
    figure = figures.area_figure(made)
    chart = figure.chart.to_dict()
    assert chart["mark"]["type"] == "area"
    assert chart["encoding"]["color"]["scale"]["range"] == [INPUT_COLOURS[name] for name in INPUTS]
    rows = rows_in(figure.chart)
    assert len(rows) == STEPS * len(INPUTS)
    for i, k in ((0, 0), (3, 2)):
        [row] = [r for r in rows if r["step"] == i + 1 and r["input"] == INPUTS[k]]
        assert row["share"] == pytest.approx(made.by_token[i, k])
    assert figure.reading.count(".") == 1
    assert figure_png(figure).startswith(b"\x89PNG")


def test_one_token_is_shown_as_a_column() -> None:
    rows = attention_rows(2)[:1]
    figure = figures.area_figure(attribute(record_of(rows), ("Yes",)))
    assert figure.chart.to_dict()["mark"]["type"] == "bar"
    assert "only" in figure.reading


def test_words_in_a_chart_are_text_and_never_markup() -> None:
    words = (views.WordShare("<b>red</b>", 0.2), views.WordShare("car", 0.1), views.WordShare("the", 0.0))
    figure = figures.words_figure(words, "context", most=2)
    rows = rows_in(figure.chart)
    assert [(row["word"], row["share"]) for row in rows] == [("1: <b>red</b>", 0.2), ("2: car", 0.1)]
    assert figure_png(figure).startswith(b"\x89PNG")


def test_a_framed_patch_is_where_it_should_be() -> None:
    from PIL import Image

    picture = Image.new("RGB", (120, 80), (10, 10, 10))
    framed = np.asarray(figures.framed(picture, (2, 3), 1, 2))
    changed = (framed != 10).any(axis=-1)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (40, 79, 80, 119)
    assert not changed[55:65, 95:105].any()


def test_two_maps_on_one_scale_have_equal_colours_for_equal_shares() -> None:
    from isi_core.reports.figures import colour_table, heat_map_picture

    low, high = np.array([[0.0, 0.1]]), np.array([[0.1, 0.2]])
    of_low = np.asarray(heat_map_picture(low, (2, 1), peak=0.2))
    of_high = np.asarray(heat_map_picture(high, (2, 1), peak=0.2))
    np.testing.assert_array_equal(of_low[0, 1], of_high[0, 0])
    np.testing.assert_array_equal(of_high[0, 1], colour_table()[-1])
    np.testing.assert_array_equal(np.asarray(heat_map_picture(low, (2, 1)))[0, 1], colour_table()[-1])


def test_a_difference_is_blue_above_and_pink_below_nothing() -> None:
    from PIL import Image, ImageColor

    picture = Image.new("RGB", (30, 10), (90, 90, 90))
    drawn = np.asarray(figures.difference_overlay(picture, np.array([[-0.2, 0.0, 0.1]]), 0.2, opacity=1.0))
    assert drawn.shape == (10, 30, 3)
    blue, middle = ImageColor.getrgb(INPUT_COLOURS["image"]), ImageColor.getrgb("#f2f2f2")
    pink = ImageColor.getrgb(figures.MEASURE)
    assert tuple(drawn[5, 2]) == pink
    np.testing.assert_allclose(drawn[5, 15], middle, atol=1)
    np.testing.assert_allclose(drawn[5, 27], (np.array(blue) + middle) / 2, atol=1)
    legend = np.asarray(figures.difference_legend(0.2, "difference"))
    assert tuple(legend[0, 0, :3]) == pink and tuple(legend[0, -1, :3]) == blue
    assert legend[-1, 0, 3] == 0  # transparent where nothing is written


def test_two_sets_of_shares_stand_below_each_other() -> None:
    shares = {
        "relevancy": dict(zip(INPUTS, (0.5, 0.2, 0.2, 0.1), strict=True)),
        "attention": dict(zip(INPUTS, (0.1, 0.3, 0.2, 0.4), strict=True)),
    }
    figure = figures.beside_figure(shares, "attention", "Read it so.", "beside")
    [bars, _] = figure.chart.to_dict()["layer"]
    rows = rows_in(figure.chart)
    assert {(row["of"], row["input"]): row["share"] for row in rows} == {
        (of, name): share for of, held in shares.items() for name, share in held.items()
    }
    assert bars["encoding"]["color"]["scale"]["range"] == [INPUT_COLOURS[name] for name in INPUTS]
    assert figure_png(figure).startswith(b"\x89PNG")


def test_the_chart_to_hover_holds_every_words_map() -> None:
    from PIL import Image

    from isi_core.reports.attention_hover import MOST_CELLS, hover_figure

    record = record_of(attention_rows(3))
    words = views.answer_words(TOKENS)
    maps = np.stack([views.heat_map_of(record, word.tokens) for word in words])
    picture = Image.new("RGB", (120, 80), (200, 30, 30))
    figure = hover_figure([f"<i>{word.text}" for word in words], maps, picture)
    rows = rows_in(figure.chart)
    assert len(rows) == len(words) * GRID[0] * GRID[1]
    for i in range(len(words)):
        of_word = [row["share"] for row in rows if row["word"].startswith(f"{i + 1}: <i>")]
        np.testing.assert_allclose(of_word, maps[i].ravel(), atol=1e-7)
    assert figure_png(figure).startswith(b"\x89PNG")
    with pytest.raises(InputError, match="one word at a time"):
        hover_figure(["a"] * 30, np.zeros((30, 24, 24)), picture)
    assert MOST_CELLS < 30 * 24 * 24
