"""Human studies: which questions are asked, that nothing tells the method, that answers are kept, what they say."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from isi_core.domain.attributes import Attribute, Edit
from isi_core.domain.errors import InputError
from isi_core.reports.counterfactual_studies import answers_csv, chosen_rows, rated_rows
from isi_core.studies.counterfactuals.human_answers import (
    CONTROLS,
    EVERYTHING,
    chosen,
    join,
    keep_answer,
    rated,
    read_answers,
    study_methods,
)
from isi_core.studies.counterfactuals.human_study import METHODS, Item, choice_items, rating_items
from isi_core.studies.counterfactuals.results import Result
from tests.rankings import result as some_ranking


@pytest.fixture(scope="module")
def ranking() -> Result:
    return some_ranking()[0]


def test_pairs_are_valid_edits_of_many_attributes_each_once_and_the_controls_are_named_wrongly(ranking: Result) -> None:
    items = rating_items(ranking, "P1", 24, 3)
    assert len(items) == 24 and len({(i.picture, i.edits) for i in items}) == 24
    valid = {(s.edits, d.picture) for s in ranking.ranking for d in s.deltas if d.valid}
    assert all((i.edits, i.picture) in valid for i in items)
    uses = Counter(i.edits for i in items)
    assert len(uses) == len(ranking.ranking) and max(uses.values()) - min(uses.values()) <= 1
    controls = [i for i in items if i.control]
    assert len(controls) == 3
    for item in items:
        assert (item.words == " and ".join(e.text for e in item.edits)) is not item.control


def test_a_control_is_named_after_another_branch_for_a_name_of_its_own_may_be_right(ranking: Result) -> None:
    branch = {" and ".join(e.text for e in s.edits): s.attribute.branch for s in ranking.ranking}
    controls = [i for seed in range(30) for i in rating_items(ranking, "P1", 12, 5, seed) if i.control]
    assert len(controls) == 150
    assert all(branch[item.words] != item.edits[0].attribute.branch for item in controls)
    # The group's name is right for a leaf of it: with one branch alone there is nothing wrong to say.
    alone = replace(ranking, sets=tuple(s for s in ranking.sets if s.attribute.branch == "facial hair"))
    items = rating_items(alone, "P1", 12, 5)
    assert items and not any(item.control for item in items)
    # Two branches may have a name in common.
    same = [s for s in ranking.sets if s.attribute.path == ("facial hair", "beard", "goatee")]
    twin = replace(same[0], edits=(Edit(Attribute(("chin", "beard", "goatee"))),))
    assert twin.edits[0].text == same[0].edits[0].text
    assert not any(i.control for i in rating_items(replace(ranking, sets=(same[0], twin)), "P1", 6, 3))


def test_the_order_is_the_participants_own_and_the_same_when_they_come_back(ranking: Result) -> None:
    first, again, other = (rating_items(ranking, who, 20) for who in ("P1", "P1", "P2"))
    assert first == again and first != other and sorted(i.id for i in first) == sorted(i.id for i in other)
    assert rating_items(ranking, "P1", 20, seed=1) != first


def test_each_explanation_changes_places_from_participant_to_participant(ranking: Result) -> None:
    by_number = [{i.truth: i.method for i in choice_items(ranking, f"P{n}", n)} for n in range(3)]
    assert by_number[0].keys() == by_number[1].keys() == by_number[2].keys()
    for attribute in by_number[0]:
        assert {methods[attribute] for methods in by_number} == set(METHODS)


def test_a_choice_has_one_right_answer_that_stands_out(ranking: Result) -> None:
    known = {s.attribute.text: s for s in ranking.ranking}
    items = choice_items(ranking, "P1", 0)
    assert items
    for item in items:
        assert len(set(item.options)) == 4 and item.truth in item.options
        right = known[item.truth]
        assert right.edits == item.edits
        for option in set(item.options) - {item.truth}:
            assert known[option].influence <= 0.5 * right.influence
            assert known[option].attribute.branch != right.attribute.branch
    without = choice_items(ranking, "P1", 0, methods=("DiffEx", "unlabeled counterfactuals"))
    assert {i.method for i in without} <= {"DiffEx", "unlabeled counterfactuals"}


def test_studies_that_cannot_be_made_are_told(ranking: Result) -> None:
    for count, controls in ((0, 0), (201, 0), (5, 5), (5, -1)):
        with pytest.raises(InputError):
            rating_items(ranking, "P1", count, controls)
    with pytest.raises(InputError, match="No valid edit"):
        rating_items(replace(ranking, sets=()), "P1")
    with pytest.raises(InputError, match="too few attributes"):
        choice_items(replace(ranking, sets=ranking.sets[:2]), "P1", 0)


def test_answers_are_on_disk_at_once_and_the_last_one_counts(ranking: Result, tmp_path: Path) -> None:
    item, other = rating_items(ranking, "P1", 4, 0)[:2]
    keep_answer(tmp_path, item, "P1", {"quality": 2, "disentanglement": 3})
    keep_answer(tmp_path, other, "P1", {"quality": 4, "disentanglement": 4})
    keep_answer(tmp_path, item, " P1 ", {"quality": 5, "disentanglement": 1})
    keep_answer(tmp_path, item, "../P2", {"quality": 1, "disentanglement": 1})
    [found] = [a for a in read_answers(tmp_path, "P1") if a.item == item]
    assert found.values == {"quality": 5, "disentanglement": 1} and len(read_answers(tmp_path, "P1")) == 2
    assert len(read_answers(tmp_path)) == 3
    assert {a.participant for a in read_answers(tmp_path)} == {"P1", "../P2"}
    assert all(path.parent == tmp_path for path in tmp_path.rglob("*.jsonl"))


def test_participants_keep_their_number(tmp_path: Path) -> None:
    assert [join(tmp_path, who) for who in ("P1", "../P2", " P1 ", "P3", "../P2")] == [0, 1, 0, 2, 1]
    workers = [threading.Thread(target=join, args=(tmp_path, f"Q{n}")) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(join(tmp_path, f"Q{n}") for n in range(8)) == list(range(3, 11)) and join(tmp_path, "P3") == 2
    with pytest.raises(InputError, match="code for yourself"):
        join(tmp_path, " ")


def test_a_study_keeps_the_explanations_that_it_began_with(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "study"
    assert study_methods(folder, METHODS) == METHODS
    assert study_methods(folder, METHODS[:1]) == METHODS
    for damage in (b"", b"{", b"[]", b'["other"]', b"[[1]]", b"[" * 100_000, b"\xff"):
        (folder / "explanations.json").write_bytes(damage)
        assert study_methods(folder, METHODS[:2]) == METHODS[:2]
        assert study_methods(folder, METHODS) == METHODS[:2]
    assert not read_answers(folder)


def test_a_torn_line_loses_itself_alone(ranking: Result, tmp_path: Path) -> None:
    items = rating_items(ranking, "P1", 3, 0)
    for item in items:
        keep_answer(tmp_path, item, "P1", {"quality": 3, "disentanglement": 3})
    [path] = tmp_path.glob("*.jsonl")
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], lines[1][:30], b"[1, 2]", b"\xff\xfe", lines[2]]) + b"\n")
    assert {a.item.id for a in read_answers(tmp_path)} == {items[0].id, items[2].id}


def test_people_who_answer_at_the_same_time_lose_nothing(ranking: Result, tmp_path: Path) -> None:
    items = rating_items(ranking, "P", 20, 0)

    def answer(who: str) -> None:
        for item in items:
            keep_answer(tmp_path, item, who, {"quality": 3, "disentanglement": 3})

    workers = [threading.Thread(target=answer, args=(f"P{n}",)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(read_answers(tmp_path)) == 80


@pytest.mark.parametrize(
    "values",
    [
        {"quality": 6, "disentanglement": 3},
        {"quality": True, "disentanglement": 3},
        {"quality": 3},
        {"choice": "face"},
    ],
)
def test_an_answer_that_the_question_does_not_have_is_refused(
    ranking: Result, tmp_path: Path, values: dict[str, int | str]
) -> None:
    item = rating_items(ranking, "P1", 2, 0)[0]
    with pytest.raises(InputError):
        keep_answer(tmp_path, item, "P1", values)
    with pytest.raises(InputError, match="code for yourself"):
        keep_answer(tmp_path, item, "  ", {"quality": 3, "disentanglement": 3})
    with pytest.raises(InputError, match="four attributes"):
        keep_answer(tmp_path, choice_items(ranking, "P1", 0)[0], "P1", {"choice": "something else"})
    assert not read_answers(tmp_path)


def test_the_tables_say_what_was_answered(ranking: Result, tmp_path: Path) -> None:
    for who in ("P1", "P2"):
        for place, item in enumerate(rating_items(ranking, who, 12, 2)):
            high = 4 + place % 2
            keep_answer(tmp_path, item, who, {"quality": 1 if item.control else high, "disentanglement": 5})
        number = ("P1", "P2").index(who)
        for item in choice_items(ranking, who, number):
            wrong = next(o for o in item.options if o != item.truth)
            keep_answer(tmp_path, item, who, {"choice": item.truth if item.method == "DiffEx" else wrong})
    answers = read_answers(tmp_path)
    table = {row.name: row for row in rated(answers)}
    assert table[EVERYTHING].ratings == 20 and table[EVERYTHING].raters == 2
    assert (
        4 <= table[EVERYTHING].quality.low <= table[EVERYTHING].quality.estimate <= table[EVERYTHING].quality.high <= 5
    )
    assert table[CONTROLS].quality.estimate == 1 and table[CONTROLS].ratings == 4
    assert sum(row.ratings for name, row in table.items() if name not in (EVERYTHING, CONTROLS)) == 20
    shares = {row.method: row.right for row in chosen(answers)}
    assert shares["DiffEx"].estimate == 1 and shares["DiffEx"].low < 1
    assert all(right.estimate == 0 for method, right in shares.items() if method != "DiffEx")
    assert rated_rows(list(table.values()))[0]["edits"] == EVERYTHING
    assert {row["explanation"] for row in chosen_rows(chosen(answers))} == set(shares)
    rows = list(csv.DictReader(io.StringIO(answers_csv(answers).decode())))
    assert len(rows) == len(answers) and {row["study"] for row in rows} == {"1", "2"}


def test_a_question_goes_through_json(ranking: Result) -> None:
    for item in (*rating_items(ranking, "P1", 3, 1), *choice_items(ranking, "P1", 0)):
        again = Item.from_json(json.loads(json.dumps(item.to_json())))
        assert again == item and again.id == item.id
    with pytest.raises(InputError):
        Item.from_json({"kind": "other"})
