"""Counterfactual Ranking beyond the ranking: human studies, repair, a corpus by a model. Real work, small sizes."""

from __future__ import annotations

import json
import re
from typing import Any

from streamlit.testing.v1 import AppTest

from isi_core.studies.counterfactuals.human_answers import read_answers, study_folder
from isi_core.studies.counterfactuals.human_study import METHODS
from isi_core.ui import resources
from tests.openai_server import Fault, serve
from tests.pages import visitor
from tests.pages.test_counterfactual_ranking import desk, fill, give, made, ranked, select, settle, small_corpus, visit

SOME = {
    "domain": "faces",
    "categories": {
        "hair": {"colour": ["grey"]},
        "skin": {"wrinkles": ["forehead", "crow's feet"]},
        "jewellery": {"earrings": ["hoop", "stud"]},
        "eyes": {"iris": ["blue", "green"]},
        "makeup": {"cheeks": ["blush", "bronzer"]},
        "mouth": {"lip volume": ["thin"]},
    },
}
"""Three attributes that weigh much for age, and some that hardly do."""


def settle_panel(at: AppTest, key: str) -> AppTest:
    """Wait until a panel's own work has ended, and see what it made."""
    while (job := at.session_state[key].job) is not None:
        assert not resources.jobs().wait(job, visitor.PATIENCE).live
        visitor.run(at)
    return at


def view(at: AppTest, name: str) -> AppTest:
    """Look at another view of the ranking."""
    return visitor.choose(at, "ranking_view", name)


def type_in(at: AppTest, key: str, text: str) -> AppTest:
    """Type into a field of one line."""
    at.text_input(key=key).set_value(text)
    return visitor.run(at)


def count(at: AppTest, key: str, value: float) -> AppTest:
    """Set a number."""
    at.number_input(key=key).set_value(value)
    return visitor.run(at)


# -- human studies ---------------------------------------------------------------------------


def test_a_rater_sees_pairs_without_scores_and_goes_on_where_they_stopped() -> None:
    at = view(ranked(), "Human study")
    assert visitor.shows(at, "Type a code for yourself") and visitor.shows(at, "No answers yet")
    count(at, "study_count", 4)
    count(at, "study_controls", 1)
    type_in(at, "study_participant", "P1")
    assert visitor.shows(at, "What the edit is to do:")
    at.button(key="study_next").click()
    visitor.run(at)
    assert visitor.messages(at) == ["Give both, quality and disentanglement, 1 to 5."]
    for done in range(2):
        assert any(
            e.type == "progress" or f"{done} of 4 answered" in str(getattr(e, "text", "")) for e in visitor.elements(at)
        )
        visitor.choose(at, "study_quality", "4")
        visitor.choose(at, "study_disentanglement", "5 perfect")
        visitor.press(at, "study_next")
        assert not at.error
    folder = study_folder(made(at).key)
    assert [a.values for a in read_answers(folder)] == [{"quality": 4, "disentanglement": 5}] * 2
    # A new session under the same code has two questions left.
    again = view(visit(), "Human study")
    count(again, "study_count", 4)
    count(again, "study_controls", 1)
    type_in(again, "study_participant", "P1")
    seen = {a.item.id for a in read_answers(folder)}
    assert again.session_state["study_desk"].at not in seen
    for _ in range(2):
        visitor.choose(again, "study_quality", "1 poor")
        visitor.choose(again, "study_disentanglement", "2")
        visitor.press(again, "study_next")
    assert visitor.shows(again, "All questions of this study are answered")
    assert len(read_answers(folder)) == 4 and len({a.item.id for a in read_answers(folder)}) == 4
    assert [t.value.iloc[0]["edits"] for t in again.table] == ["all edits"]


def test_an_answer_can_be_taken_back() -> None:
    at = view(ranked(), "Human study")
    type_in(at, "study_participant", "P1")
    first = at.session_state["study_desk"].at
    visitor.choose(at, "study_quality", "4")
    visitor.choose(at, "study_disentanglement", "4")
    visitor.press(at, "study_next")
    visitor.press(at, "study_back")
    assert at.session_state["study_desk"].at == first
    visitor.choose(at, "study_quality", "2")
    visitor.choose(at, "study_disentanglement", "2")
    visitor.press(at, "study_next")
    [answer] = read_answers(study_folder(made(at).key))
    assert answer.values == {"quality": 2, "disentanglement": 2}


def test_which_attribute_is_asked_with_every_explanation_and_none_is_named() -> None:
    at = give(visit(), "ranking_corpus_file_faces_0", "some.json", json.dumps(SOME).encode(), "application/json")
    settle(visitor.press(at, "ranking_start"))
    view(at, "Human study")
    visitor.choose(at, "study_study", "Which attribute?")
    count(at, "study_count", 3)
    type_in(at, "study_participant", "P1")
    for _ in range(3):
        question = at.radio[0]
        assert len(question.options) == 4 and "listen to most" in question.label
        assert not any(method in text for method in METHODS for text in visitor.texts(at))
        at.button(key="study_next").click()
        visitor.run(at)
        assert visitor.messages(at) == ["Choose one of the four attributes."]
        at.radio[0].set_value(question.options[0])
        visitor.run(at)
        visitor.press(at, "study_next")
    answers = read_answers(study_folder(made(at).key))
    assert {a.item.method for a in answers} == set(METHODS)
    [table] = [t.value for t in at.table]
    assert set(table["explanation"]) == set(METHODS) and all(re.search(r"%.*to.*%", t) for t in table.iloc[:, 1])


def test_a_ranking_of_a_few_attributes_says_that_four_answers_need_more() -> None:
    at = view(ranked(), "Human study")
    visitor.choose(at, "study_study", "Which attribute?")
    type_in(at, "study_participant", "P1")
    assert visitor.shows(at, "too few attributes") and not at.error


# -- repair ----------------------------------------------------------------------------------


def test_a_network_is_repaired_in_the_background_and_the_result_is_kept() -> None:
    at = view(ranked(), "Repair")
    assert visitor.shows(at, "No repair yet") and at.selectbox(key="repair_attribute").value == "clothing/collar/shirt"
    for key, value in (("counterfactuals", 5), ("seeds", 1), ("pictures", 40), ("held_out", 20), ("steps", 2)):
        count(at, f"repair_{key}", value)
    settle_panel(visitor.press(at, "repair_start"), "repair_desk")
    assert not at.error and visitor.shows(at, "affected group goes from")
    [table] = [t.value for t in at.table]
    assert len(table) == 3 and "with further pictures" in table.columns
    assert {d.key for d in visitor.elements(at) if d.type == "download_button"} >= {"repair_text/csv", "PNG_repair"}
    assert visitor.shows(at, "40 training pictures")


def test_a_repair_without_a_known_rule_says_what_it_needs() -> None:
    at = ranked()
    from dataclasses import replace

    from isi_core.ui.counterfactuals import kept

    own = replace(made(at), rule="", key="a" * 64)
    kept.keep(own)
    visitor.run(at)
    select(at, "shown", own.key)
    view(at, "Repair")
    assert visitor.shows(at, "A repair needs labelled training pictures") and not at.error


# -- a corpus by a model ---------------------------------------------------------------------


def says(text: str) -> Fault:
    """A chat completion of this text."""
    message = {"role": "assistant", "content": text}
    return Fault(200, {"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


def test_a_model_is_asked_for_the_corpus_and_undo_brings_the_old_one_back() -> None:
    at = small_corpus(visit())
    before = desk(at).corpora["faces"]
    visitor.press(at, "extract_start")
    assert any("No model is named yet" in text for text in visitor.messages(at))
    nobody: Any = None
    answers = [
        "{'headwear': {'hat': {'cap', 'caps', 'tricorne',}}}",
        "no idea what that may be, I am really very sorry to say",
        "[",
        "['fedora', 'Caps']",
    ]
    with serve(nobody, model="m", faults=[says(answer) for answer in answers]) as server:
        type_in(at, "extract_model", server.name)
        settle_panel(visitor.press(at, "extract_start"), "extract_desk")
    assert not at.error, [e.value for e in at.error]
    assert desk(at).corpora["faces"].categories == {"headwear": {"hat": ("cap", "tricorne", "fedora")}}
    assert visitor.shows(at, "was asked 4 questions: 5 attributes")
    assert visitor.shows(at, "cannot draw headwear › hat › tricorne")
    visitor.press(at, "ranking_corpus_undo")
    assert desk(at).corpora["faces"] == before


def test_a_server_that_is_not_there_is_one_sentence() -> None:
    at = fill(visit(), "count", 2)
    type_in(at, "extract_model", "endpoint:m@http://127.0.0.1:9/v1")
    settle_panel(visitor.press(at, "extract_start"), "extract_desk")
    assert len(visitor.messages(at)) == 1


def test_the_instruct_editor_has_its_settings_and_a_missing_pipeline_is_said() -> None:
    at = small_corpus(visit())
    select(at, "editor", "instruct")
    assert at.number_input(key="ranking_image_guidance").value == 1.5
    at.text_input(key="ranking_editor_model").set_value("./nowhere at all")
    visitor.run(at)
    settle(visitor.press(at, "ranking_start"))
    assert len(visitor.messages(at)) >= 1 and any("nowhere" in text for text in visitor.messages(at))


# -- several classes -------------------------------------------------------------------------


def test_a_classifier_of_several_classes_shows_what_turns_one_into_another() -> None:
    at = visit()
    select(at, "domain", "birds")
    select(at, "classifier", "rule:birds-species")
    settle(visitor.press(at, "ranking_start"))
    assert not at.error
    view(at, "Classes")
    assert visitor.shows(at, "Which edit turns one class into another?") and not at.error
    assert visitor.shows(at, "Each row is an attribute, each column a class")
    assert {d.key for d in visitor.elements(at) if d.type == "download_button"} >= {"ranking_csv_classes"}
