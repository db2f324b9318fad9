"""VQA Interventions, attention seen closely: by word and layer, on words, on a patch, against covering."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from isi_core.datasets.built_in import load_dataset
from isi_core.domain.attribution import AttentionRecord
from isi_core.domain.evaluation import Evaluation
from isi_core.measures import attention_views as views
from isi_core.measures.attribution import attribute
from isi_core.models.vlm.relevancy import relevancy as compute
from isi_core.reports.wording import number
from isi_core.studies.occlusion import attention_on_parts, occlude, rank_agreement
from isi_core.ui import resources
from isi_core.ui.vqa import attention_parts, attention_views, relevancy
from isi_core.ui.vqa.attention_jobs import OnDemand
from isi_core.ui.vqa.occlusion import Checks
from tests.pages import visitor

FIRST = load_dataset().observations[0]
WORD = views.WordShare


def measured(context: str = "contradictory") -> tuple[AppTest, Evaluation, AttentionRecord]:
    """A visitor who measured the attention and looks closer."""
    at = visitor.visit(context=context)
    made = visitor.measure(at, "vqa_measure_attention")
    assert made.attribution is not None and made.attribution.record is not None
    assert not at.button_group(key="vqa_shares").disabled
    assert "vqa_view_8" not in at.session_state  # folded, so nothing of it was computed
    at.session_state["vqa_closer"] = True
    visitor.run(at)
    return at, made, made.attribution.record


def choose_view(at: AppTest, name: str, of: int = 8) -> None:
    visitor.choose(at, f"vqa_view_{of}", name)


def charts(at: AppTest) -> dict[str, Any]:
    """The charts on the page by the names of their downloads."""
    return {
        e.key.removeprefix("PNG_"): e for e in visitor.elements(at) if (getattr(e, "key", "") or "").startswith("PNG_")
    }


def wait(at: AppTest, held: Checks | OnDemand) -> None:
    while held.job is not None:
        assert not resources.jobs().wait(held.job, visitor.PATIENCE).live
        visitor.run(at)


def settle(at: AppTest) -> Checks:
    checks: Checks = at.session_state["vqa_occlusion_checks"]
    wait(at, checks)
    return checks


def test_a_word_and_a_layer_have_a_heat_map_of_their_own() -> None:
    at, made, record = measured()
    assert made.attribution is not None
    words, layers = views.answer_words(made.attribution.tokens), len(made.attribution.by_layer)
    assert visitor.shows(
        at, f"while the model chose the whole answer, in all layers: {number(made.attribution.heat_map.sum())}"
    )
    at.button_group(key=f"vqa_word_{len(words)}").set_value(0)
    visitor.run(at)
    of_word = views.heat_map_of(record, words[0].tokens)
    assert visitor.shows(at, f"while the model chose “{words[0].text}”, in all layers: {number(of_word.sum())}")
    at.select_slider(key=f"vqa_layer_{layers}").set_value("2")
    visitor.run(at)
    of_layer = views.heat_map_of(record, words[0].tokens, 1)
    assert visitor.shows(at, f"in layer 2 of {layers}: {number(of_layer.sum())}")
    assert at.toggle(key="vqa_smooth").value is False
    at.toggle(key="vqa_smooth").set_value(True)
    visitor.run(at)


def test_sinks_are_named_where_there_are_some() -> None:
    at, _, record = measured()
    found = views.sinks(record)
    assert sum("looks like an attention sink:" in text for text in visitor.texts(at)) == len(found)
    assert visitor.shows(at, "No patch and no word looks like") == (not found)
    assert visitor.shows(at, f"holds {number(views.first_position(record))} of all attention")
    assert visitor.shows(at, "Xiao et al. 2023")


def test_a_sink_is_named_on_the_page() -> None:
    at, made, record = measured("none")
    columns = record.image_columns.copy()
    columns[..., 5] = 60 * np.median(columns, axis=-1)
    [entry] = visitor.desk(at).entries
    assert made.attribution is not None
    planted = replace(made.attribution, record=replace(record, image_columns=columns))
    changed = replace(made, attribution=planted, created="2026-01-01T00:00:00+00:00")
    visitor.desk(at).entries[0] = replace(entry, evaluation=changed)
    visitor.run(at)
    assert visitor.shows(at, "The patch in row 1, column 6 looks like an attention sink: typically 60.0 times")
    assert not visitor.shows(at, "No patch and no word looks like")


def test_the_words_that_were_attended_to_are_marked_in_the_text() -> None:
    at, made, record = measured()
    choose_view(at, "Words read")
    for name, text in (("context", made.trial.context), ("question", made.trial.question)):
        words = views.word_shares(record, name, text)  # type: ignore[arg-type]
        assert " ".join(word.text for word in words) == " ".join(text.split())
        top = max(words, key=lambda word: word.share)
        assert visitor.shows(at, f"background[**{top.text}**]")
        assert f"words_{name}" in charts(at)


def test_without_a_context_only_the_question_is_marked() -> None:
    at, _, _ = measured("none")
    choose_view(at, "Words read")
    assert visitor.shows(at, "There is no context.")
    assert {"words_question"} <= set(charts(at)) and "words_context" not in charts(at)


def test_a_patch_tells_which_words_attended_to_it() -> None:
    at, made, record = measured()
    choose_view(at, "One patch")
    rows, columns = record.image_grid
    assert made.attribution is not None
    row, column = divmod(int(made.attribution.heat_map.argmax()), columns)
    assert visitor.shows(at, f"on the patch in row {row + 1}, column {column + 1}")
    at.slider(key=f"vqa_patch_row_{rows}").set_value(1)
    at.slider(key=f"vqa_patch_column_{columns}").set_value(columns)
    visitor.run(at)
    assert visitor.shows(at, f"on the patch in row 1, column {columns}")


def test_every_word_is_in_one_chart_to_hover() -> None:
    at, _, _ = measured("none")
    choose_view(at, "Hover words")
    assert "hover" in charts(at)
    assert visitor.shows(at, "Move over a word's bar")


def test_shares_over_the_answer() -> None:
    at, _, _ = measured()
    choose_view(at, "Over the answer")
    assert "attention_area" in charts(at)


def test_the_occlusion_check_runs_as_a_job_and_is_held_against_attention() -> None:
    at, made, record = measured()
    choose_view(at, "Occlusion")
    visitor.press(at, "vqa_occlude")
    checks = settle(at)
    assert not checks.error and len(checks.found) == 1
    assert made.answer is not None and made.attribution is not None
    with resources.shelf().vlm(made.model.name, made.model.quantization) as vlm:
        alone = occlude(made.trial, made.answer, vlm, side=4)
    [found] = checks.found.values()
    np.testing.assert_allclose(found.covered, alone.covered, atol=1e-4)
    np.testing.assert_allclose(found.whole, made.answer.log_likelihoods, atol=1e-4)

    def metric() -> str:
        [value] = [m.value for m in at.metric if m.label.startswith("Spearman")]
        return str(value)

    assert metric() == number(rank_agreement(attention_on_parts(made.attribution.heat_map, 4), found.drops()))
    assert {"part_attention", "occlusion"} <= set(charts(at))
    words = views.answer_words(made.attribution.tokens)
    at.button_group(key=f"vqa_word_{len(words)}").set_value(len(words) - 1)
    visitor.run(at)
    tokens = words[-1].tokens
    attention = attention_on_parts(views.heat_map_of(record, tokens), 4)
    assert metric() == number(rank_agreement(attention, found.drops(tokens)))

    at.button_group(key="vqa_parts").set_value(6)  # another cut is another check
    visitor.run(at)
    assert not [m for m in at.metric if m.label.startswith("Spearman")]
    assert not at.button(key="vqa_occlude").disabled


def test_relevancy_runs_as_a_job_and_stands_beside_attention() -> None:
    at, made, record = measured()
    choose_view(at, "Relevancy")
    assert visitor.shows(at, "for one layer's attention matrices and gradients at a time")
    words = views.answer_words(made.attribution.tokens)  # type: ignore[union-attr]
    at.button_group(key=f"vqa_word_{len(words)}").set_value(0)
    visitor.run(at)
    visitor.press(at, "vqa_relevancy")
    held: OnDemand = at.session_state["vqa_on_demand"]
    wait(at, held)
    assert not held.error and len(held.found) == 1
    assert made.answer is not None and made.attribution is not None
    steps = words[0].tokens
    with resources.shelf().vlm(made.model.name, made.model.quantization) as vlm:
        alone = compute(vlm, made.trial, made.answer, steps)
    [found] = held.found.values()
    np.testing.assert_allclose(found.sums, alone.sums, atol=1e-5)
    relevant = attribute(found, [made.attribution.tokens[i] for i in steps])
    brightest = [
        "row {}, column {}".format(*(int(i) + 1 for i in np.unravel_index(m.argmax(), m.shape)))
        for m in (relevant.heat_map, views.heat_map_of(record, steps))
    ]
    told = "the same patch" if brightest[0] == brightest[1] else f"{brightest[0]} for relevancy, {brightest[1]} for"
    assert visitor.shows(at, f"Brightest: {told}")
    assert "relevancy" in charts(at)

    at.button_group(key=f"vqa_word_{len(words)}").set_value(-1)  # the whole answer is more than was computed
    visitor.run(at)
    visitor.press(at, "vqa_relevancy")
    wait(at, held)
    assert len(held.found) == 2  # from then on each of its words is known
    at.button_group(key=f"vqa_word_{len(words)}").set_value(len(words) - 1)
    visitor.run(at)
    assert "relevancy" in charts(at)


def test_one_layers_heads_are_recorded_on_demand() -> None:
    at, made, record = measured("none")
    assert made.attribution is not None
    layers, heads = made.attribution.by_head.shape[:2]
    at.select_slider(key=f"vqa_layer_{layers}").set_value("2")
    visitor.run(at)
    visitor.press(at, "vqa_heads")
    held: OnDemand = at.session_state["vqa_on_demand"]
    wait(at, held)
    [found] = held.found.values()
    assert found.sums.shape[:2] == (len(record.sums), heads)
    np.testing.assert_allclose(found.sums[:, :, 0], record.sums[:, 1], atol=1e-5)
    np.testing.assert_allclose(found.image_columns.mean(axis=1), record.image_columns[:, 1], atol=1e-3)
    at.select_slider(key=f"vqa_head_1_{heads}").set_value("3")
    visitor.run(at)
    of_head = views.heat_map_of(found, None, 2)
    assert visitor.shows(at, f"in head 3 of layer 2 of {layers}: {number(of_head.sum())}")


def test_relevancy_that_does_not_fit_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    at, _, _ = measured("none")
    monkeypatch.setattr(relevancy, "free_memory", lambda: 1 << 10)
    choose_view(at, "Relevancy")
    assert any("Gradient relevancy needs about" in text for text in visitor.messages(at))
    assert at.button(key="vqa_relevancy").disabled


def test_two_interventions_stand_side_by_side() -> None:
    at, first, _ = measured("none")
    choose_view(at, "Side by side")
    assert visitor.shows(at, "There is nothing to compare with yet")
    visitor.choose(at, "vqa_context_kind", "contradictory")
    second = visitor.measure(at, "vqa_measure_attention")
    visitor.run(at)
    assert first.attribution is not None and second.attribution is not None
    difference = second.attribution.heat_map - first.attribution.heat_map
    row, column = np.unravel_index(np.abs(difference).argmax(), difference.shape)
    sign = "+" if difference[row, column] >= 0 else "−"
    largest = number(abs(float(difference[row, column])))
    assert visitor.shows(at, f"it is largest at row {row + 1}, column {column + 1} ({sign}{largest})")
    assert visitor.shows(at, "equal colours are equal shares")
    assert "beside" in charts(at)
    [box] = [s for s in at.selectbox if s.key == "vqa_beside_2"]
    assert len(box.options) == 1 and box.options[0].startswith("1: ")


def test_a_run_without_its_record_says_so_and_keeps_the_rest() -> None:
    at, made, _ = measured()
    assert made.attribution is not None
    [entry] = visitor.desk(at).entries
    bare = replace(made, attribution=replace(made.attribution, record=None))
    visitor.desk(at).entries[0] = replace(entry, evaluation=bare)
    visitor.run(at)
    assert visitor.shows(at, "keeps averages only") and "attention_area" in charts(at)
    choose_view(at, "Occlusion", of=4)
    assert not at.button(key="vqa_occlude").disabled
    visitor.measure(at, "vqa_measure_attention")
    assert visitor.desk(at).entries[0].evaluation.attribution.record is not None  # type: ignore[union-attr]


def test_a_session_keeps_the_records_of_its_newest_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_views, "RECORD_BYTES", 1)
    at, _, _ = measured("none")
    visitor.choose(at, "vqa_context_kind", "contradictory")
    visitor.measure(at, "vqa_measure_attention")
    kept = [entry.evaluation.attribution for entry in visitor.desk(at).entries]
    assert [attribution is not None and attribution.record is not None for attribution in kept] == [False, True]


def test_foreign_words_stay_words() -> None:
    shares = {"[x](javascript:1)": 0.5, "<b>:red[z]</b>": 0.3, "$x$": 0.22, "a*b": 0.01, "b": 0.0}
    words = [WORD(text, share) for text, share in shares.items()]
    assert attention_parts.highlighted(words, "orange") == (
        r":orange-background[**\[x\]\(javascript\:1\)**] :orange-background[**\<b\>\:red\[z\]\</b\>**] "
        r":orange-background[\$x\$] a\*b b"
    )
