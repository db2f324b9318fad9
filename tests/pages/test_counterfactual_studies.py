"""Counterfactual Ranking beyond the ranking: human studies, repair, a corpus by a model. Real work, small sizes."""

from __future__ import annotations

import json
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from streamlit.testing.v1 import AppTest

from isi_core.domain.attributes import Attribute, Edit
from isi_core.studies.counterfactuals.human_answers import keep_answer, read_answers, study_folder
from isi_core.studies.counterfactuals.human_study import METHODS, Item
from isi_core.ui import resources
from isi_core.ui.counterfactuals import choices, human_study, kept
from isi_core.ui.counterfactuals.desk import Desk
from isi_core.ui.wording import as_written
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


def turn(at: AppTest, key: str, on: bool = True) -> AppTest:
    """Turn a switch."""
    at.toggle(key=key).set_value(on)
    return visitor.run(at)


# -- human studies ---------------------------------------------------------------------------


def some_ranked() -> AppTest:
    """A visitor with a ranking that gives questions of study 2."""
    at = give(visit(), "ranking_corpus_file_faces_0", "some.json", json.dumps(SOME).encode(), "application/json")
    return settle(visitor.press(at, "ranking_start"))


def asked(at: AppTest, who: str = "P1") -> AppTest:
    """The visitor sits down to three questions of study 2."""
    view(at, "Human study")
    visitor.choose(at, "study_study", "Which attribute?")
    count(at, "study_count", 3)
    return type_in(at, "study_participant", who)


def items(at: AppTest) -> list[Item]:
    """The visitor's questions."""
    return human_study.items_of(at.session_state["study_desk"], desk(at), made(at))


def question(at: AppTest) -> Item:
    """The question that stands on the page."""
    [found] = [item for item in items(at) if item.id == at.session_state["study_desk"].at]
    return found


def pick(at: AppTest, option: int = 0) -> AppTest:
    """Answer the question of study 2 that stands on the page."""
    at.radio[0].set_value(question(at).options[option])
    visitor.run(at)
    visitor.press(at, "study_next")
    assert not at.error
    return at


def keys(at: AppTest) -> set[str]:
    """The keys of all that can be pressed, chosen or downloaded."""
    return {str(e.key) for e in visitor.elements(at) if getattr(e, "key", None)}


def progress(at: AppTest) -> list[str]:
    """What stands at the bars of progress."""
    return [e.proto.text for e in visitor.elements(at) if e.type == "progress"]


def plain(text: str) -> str:
    """What Markdown of `as_written` shows."""
    return re.sub(r"\\(.)", r"\1", text)


def captions(at: AppTest) -> list[str]:
    """What stands below the pictures."""
    return [i.caption for e in visitor.elements(at) if e.type in ("imgs", "image") for i in e.proto.imgs]


def test_a_rater_sees_pairs_without_scores_and_goes_on_where_they_stopped() -> None:
    at = view(ranked(), "Human study")
    assert visitor.shows(at, "Type a code for yourself") and not visitor.shows(at, "No answers yet")
    assert visitor.shows(turn(at, "study_organiser"), "No answers yet")
    count(at, "study_count", 4)
    count(at, "study_controls", 1)
    type_in(at, "study_participant", "P1")
    assert visitor.shows(at, "What the edit is to do:")
    at.button(key="study_next").click()
    visitor.run(at)
    assert visitor.messages(at) == ["Give both, quality and disentanglement, 1 to 5."]
    for done in range(2):
        assert progress(at) == [f"{done} of 4 answered"]
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
    at = asked(some_ranked())
    for _ in range(3):
        radio, item = at.radio[0], question(at)
        assert len(radio.options) == 4 and "listen to most" in radio.label
        assert not any(method in text for method in METHODS for text in visitor.texts(at))
        # Foreign text is Markdown there: a "+" would make a list of the caption and lose itself.
        assert radio.options == [as_written(option) for option in item.options]
        if item.method == "DiffEx":
            assert any(c.startswith(as_written(f"{item.words}: score")) for c in captions(at)), captions(at)
            assert as_written(item.words).startswith("\\+ ")
        at.button(key="study_next").click()
        visitor.run(at)
        assert visitor.messages(at) == ["Choose one of the four attributes."]
        pick(at)
    answers = read_answers(study_folder(made(at).key))
    assert {a.item.method for a in answers} == set(METHODS)
    [table] = [t.value for t in at.table]
    assert set(map(plain, table["explanation"])) == set(METHODS) and all(
        re.search(r"%.*to.*%", t) for t in table.iloc[:, 1]
    )


def test_nothing_beside_the_question_tells_its_answer() -> None:
    at = some_ranked()
    best = made(at).result.ranking[0].attribute.text
    told = {"ranking_chosen", "ranking_open", "ranking_download_table", "ranking_download_folder_zip"}
    assert visitor.shows(at, f"depends most on *{best}*") and visitor.shows(at, "One counterfactual")
    assert told <= keys(at)
    asked(at)
    for done in range(3):
        item = question(at)
        assert not visitor.shows(at, "depends most on") and not visitor.shows(at, "One counterfactual")
        assert not any(key in told or key.startswith("ranking_download") for key in keys(at))
        assert not at.table and not at.metric and not visitor.shows(at, "Results so far")
        if item.method != "DiffEx":  # whose caption is the explanation itself
            assert not any(item.truth in plain(text) for text in visitor.texts(at))
            assert not any(item.edits[0].attribute.phrase in plain(c) for c in captions(at))
        # Whoever runs the study opens the results with a purpose; the next participant finds them closed.
        assert bool(turn(at, "study_organiser").table) is (done > 0)
        type_in(at, "study_participant", "P2")
        assert not at.toggle(key="study_organiser").value and not at.table
        type_in(at, "study_participant", "P1")
        pick(at)
    assert visitor.shows(at, "All questions of this study are answered") and len(at.table) == 1
    assert not any(key.startswith("study_answers") for key in keys(at))
    # The other study's results stay away until its own last question.
    visitor.choose(at, "study_study", "Rate the edits")
    assert not at.table and "study_answers" in keys(turn(at, "study_organiser"))
    view(at, "Counterfactuals")
    assert visitor.shows(at, f"depends most on *{best}*") and told <= keys(at)


def test_a_ranking_that_runs_meanwhile_tells_nothing_either() -> None:
    at = asked(some_ranked())
    found, go_on = made(at), threading.Event()

    def work(progress: Any) -> str:
        assert go_on.wait(visitor.PATIENCE)
        return found.key

    desk(at).live.take(found.result)
    desk(at).job = resources.jobs().submit("ranking", "Ranking attributes", work)
    try:
        assert not visitor.shows(visitor.run(at), "So far:")
        assert visitor.shows(view(at, "Counterfactuals"), "So far:")
    finally:
        go_on.set()
    settle(at)


def test_the_same_questions_come_back_whatever_is_chosen_on_the_page_by_then() -> None:
    at = asked(some_ranked(), "P2")
    first = items(at)
    assert first[0].method != "Grad-CAM"  # which is to come when the domain is another one
    pick(at)
    again = visit()
    select(again, "domain", "birds")
    asked(again, "P2")
    assert items(again) == first and progress(again) == ["1 of 3 answered"]
    for _ in range(2):
        pick(again)
    answers = read_answers(study_folder(made(again).key))
    assert {a.item.id for a in answers} == {item.id for item in first} and len(answers) == 3
    assert {a.item.method for a in answers} == set(METHODS) and not visitor.shows(again, "left out")


def test_a_classifier_that_is_not_known_any_more_loses_its_questions_alone(tmp_path: Path) -> None:
    folder = tmp_path / "my-network"
    shutil.copytree(choices.MODELS / "tiny-age", folder)
    at = select(visit(), "classifier", "own")
    type_in(at, "ranking_own_model", str(folder))
    give(at, "ranking_corpus_file_faces_0", "some.json", json.dumps(SOME).encode(), "application/json")
    asked(settle(visitor.press(at, "ranking_start")))
    first = items(at)
    assert {item.method for item in first} == set(METHODS) and not visitor.shows(at, "left out")
    # A new session does not know where the network is: the other two questions are the same.
    again = asked(visit())
    assert items(again) == first and progress(again) == ["0 of 2 answered"]
    assert visitor.shows(again, "1 question with Grad-CAM is left out: my-network is not known in this session")
    for _ in range(2):
        assert question(again).method != "Grad-CAM"
        pick(again)
    assert visitor.shows(again, "All questions of this study are answered")
    # Another network of that name is not the one that was ranked.
    other = tmp_path / "other" / "my-network"
    shutil.copytree(folder, other)
    weights = load_file(other / "model.safetensors")
    save_file({name: tensor * 0.5 for name, tensor in weights.items()}, other / "model.safetensors", {"format": "pt"})
    desk(again).own_model = str(other)
    assert visitor.shows(visitor.run(again), "my-network as it is here now is not the classifier that was ranked")
    # Once it is known again, its question comes, and all answers count.
    desk(again).own_model = str(folder)
    visitor.run(again)
    assert not visitor.shows(again, "left out") and progress(again) == ["2 of 3 answered"]
    assert question(again).method == "Grad-CAM" and "yellow: where the classifier looks" in captions(again)
    pick(again)
    # Without it once more: what was answered stays answered.
    last = asked(visit())
    assert progress(last) == ["3 of 3 answered"] and not visitor.shows(last, "left out")
    assert len(read_answers(study_folder(made(last).key))) == 3


@pytest.mark.parametrize("name", ["", ".", "..", "../models/tiny-age", "/etc", "no-such-network"])
def test_a_record_names_a_network_of_the_studio_or_none(name: str) -> None:
    assert choices.loaded_again(Desk(domain="birds"), {"name": "tiny-age", "source": "tiny-age"}) is not None
    assert choices.loaded_again(Desk(), {"name": name, "source": name}) is None


def test_groups_with_markup_are_shown_as_they_are_written() -> None:
    at = view(ranked(), "Human study")
    group = "*hair* [x](http://example.org)"
    item = Item("rating", "0" * 64, (Edit(Attribute((group, "grey"))),), "+ grey")
    keep_answer(study_folder(made(at).key), item, "P1", {"quality": 3, "disentanglement": 3})
    turn(at, "study_organiser")
    [table] = [t.value for t in at.table]
    assert list(table["edits"]) == ["all edits", as_written(group)]
    assert as_written("edit quality (1 to 5)") in table.columns


def test_an_imported_list_with_markup_is_shown_as_it_is_written() -> None:
    at = view(ranked(), "Compare")
    name = "_mine_ ![p](http:x.png).csv"
    lines = ["**bold** <b>x</b>", ":red[alarm] $x^2$", "[link](http://example.org)", "# head", "mole"]
    give(at, "ranking_list_file", name, "\n".join(lines).encode(), "text/csv")
    assert not at.error, [e.value for e in at.error]
    [table] = [t.value for t in at.table]
    assert as_written(name) in table.columns and as_written(made(at).title) in table.columns
    assert [plain(cell) for cell in table[as_written(name)]][:4] == lines[:4]
    for column in table.columns:
        assert all(cell == as_written(plain(cell)) for cell in (column, *table[column]))


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
