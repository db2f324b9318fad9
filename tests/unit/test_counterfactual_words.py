"""What figures and files say of a ranking: added or taken away, of either sign, of many classes, beside another."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from isi_core.domain.attributes import Attribute, Corpus, Edit, edit_set
from isi_core.models.classifiers.rule import RuleClassifier
from isi_core.models.editors.protocol import Picture
from isi_core.models.editors.render import RenderEditor
from isi_core.reports import counterfactual_examples as examples
from isi_core.reports import counterfactual_figures as figures
from isi_core.reports.counterfactual_classes import classes_figure, classes_note
from isi_core.reports.counterfactual_plate import Plate, Words
from isi_core.reports.counterfactual_report import export_files
from isi_core.reports.counterfactual_tables import RankedList, beside_rows, deltas_csv, top_rows
from isi_core.studies.counterfactuals.results import Result
from isi_core.studies.counterfactuals.run import Settings, rank
from isi_core.worlds.attributed import world
from isi_core.worlds.rules import shipped_rule
from tests import rankings

Made = tuple[Result, rankings.Bank]


def _ranked(sign: int) -> Made:
    """A ranking of drawn portraits by the exact editor."""
    rule, place, rng = shipped_rule("faces-age"), world("faces"), Random(5)
    subjects = [place.draw_subject(rng) for _ in range(10)]
    pictures = [Picture.of(place.render(s, 64), f"face {i}", s) for i, s in enumerate(subjects)]
    tree = {one: dict(groups) for one, groups in place.tree.items() if one in ("hair", "skin")}
    settings = Settings(search="exhaustive", joint=1, class_label="old", sign=sign)
    result = rank(pictures, Corpus("faces", tree), RenderEditor("faces", 64), RuleClassifier(rule), settings)
    return result, rankings.Bank(pictures)


@pytest.fixture(scope="module")
def removed() -> Made:
    """A ranking of attributes that were taken away."""
    return _ranked(-1)


def _words(plate: Plate) -> list[str]:
    return [part.text for part in plate.parts if isinstance(part, Words)]


def _readings(made: Made) -> list[str]:
    result, bank = made
    per_class = replace(result, per_class={"old": result.ranking, "young": result.ranking, "other": result.ranking})
    return [
        examples.counterfactual_plate(result, result.ranking[:2], bank).reading,
        figures.influence_figure(result, result.ranking).reading,
        figures.hierarchy_figure(result).reading,
        figures.pictures_figure(result, result.ranking).reading,
        classes_figure(per_class).reading,
    ]


# -- added, or taken away ------------------------------------------------------------------


def test_captions_say_that_attributes_were_taken_away(removed: Made) -> None:
    for reading in _readings(removed):
        assert "taken away" in reading and "added" not in reading, reading
    for reading in _readings(rankings.result()):
        assert "added" in reading and "taken away" not in reading, reading


def test_rows_and_table_a_say_it_too(removed: Made) -> None:
    result, bank = removed
    texts = _words(examples.counterfactual_plate(result, result.ranking[:2], bank))
    assert f"1. − {result.ranking[0].attribute.label}" in texts
    assert {row["edit"] for row in top_rows(result)} == {"taken away"}
    assert {row["edit"] for row in top_rows(rankings.result()[0])} == {"added"}


def _first_path(result: Result, editor: Any, attribute: Attribute) -> str:
    found = result.of(attribute)
    assert found is not None
    told = replace(result, settings={**result.settings, "editor": editor})
    (row,) = examples.grid_rows(told, [found], lambda digest, edits: None)
    return row.path


def test_a_group_s_row_says_what_its_editor_does_with_a_group(removed: Made) -> None:
    added, _ = rankings.result()
    group, exact, ledits = (
        Attribute(("facial hair",)),
        {"name": "render"},
        {"name": "ledits", "model": {"name": "tiny"}},
    )
    assert _first_path(added, exact, group) == "whole group, kinds drawn by lot"
    assert _first_path(added, ledits, group) == _first_path(added, None, group) == "whole group, by its own words"
    assert _first_path(removed[0], exact, Attribute(("hair",))) == "whole group, every kind of it"
    assert _first_path(removed[0], ledits, Attribute(("hair",))) == "whole group, by its own words"
    # What has nothing below is no group.
    alone = replace(added, corpus=Corpus("face", {"facial hair": {}}))
    assert _first_path(alone, exact, group) == ""


# -- Figure 8 with both signs --------------------------------------------------------------


def test_the_joint_figure_shows_the_opposite_sign_below(removed: Made) -> None:
    result, bank = rankings.result()
    joint = result.joint[0]
    shown = rankings.pictures()
    taken = edit_set([Edit(edit.attribute, -1) for edit in joint.whole.edits])
    opposite = [rankings.set_result(shown, edits) for edits in (taken, *((edit,) for edit in taken))]
    both = replace(result, opposite=tuple(opposite))
    rows = examples.joint_rows(joint, both, bank, 2)
    titles = [[title for title, *_ in row.cells] for row in rows]
    plus = ["original", "+ round eyeglasses", "+ full beard", "+ both"]
    minus = ["original", "− round eyeglasses", "− full beard", "− both"]
    assert titles == [plus, minus, plus, minus]
    # The two signs stand on the same picture, one below the other, and say which is which.
    assert rows[0].title == rows[1].title != rows[2].title == rows[3].title
    assert rows[0].fact.startswith("added: together") and rows[1].fact.startswith("taken away: together")
    # Each picture has its own score: nothing is worn, so that nothing is lost.
    assert len({score for _, _, score in rows[0].cells}) == 4 and len({score for _, _, score in rows[1].cells}) == 1
    plate = examples.joint_figure_plate(joint, both, bank, 2)
    assert _words(plate).count("− both") == 2 and "Taken away, they change it by 0" in plate.reading
    edits = list(csv.DictReader(io.StringIO(deltas_csv(both).decode())))
    assert sum(row["edit"] == "− round eyeglasses and − full beard" for row in edits) == len(shown)
    alone = examples.joint_rows(joint, result, bank, 2)
    assert [row.fact for row in alone] == ["", ""] and len(alone) == 2
    # It is another combination's: this one has no second sign.
    other = replace(both, opposite=(opposite[1], *opposite[1:]))
    assert len(examples.joint_rows(joint, other, bank, 2)) == 2
    flagged = rankings.set_result(shown, taken, len(shown))
    nothing = replace(flagged, signed=replace(flagged.signed, estimate=math.nan))
    told = examples.joint_figure_plate(joint, replace(both, opposite=(nothing, *opposite[1:])), bank, 2)
    assert "Taken away, no edit of both was valid" in told.reading and "− both" not in _words(told)


def test_pictures_that_only_one_sign_can_edit_have_rows_of_their_own() -> None:
    result, bank = rankings.result()
    joint = result.joint[0]
    shown = rankings.pictures()
    taken = edit_set([Edit(edit.attribute, -1) for edit in joint.whole.edits])
    strongest = [delta.picture for delta in examples.strongest_deltas(joint.whole, 1)]
    # It is flagged on the picture that the ranking's own sign changes most.
    flagged = [p for p in shown if p.digest in strongest] + [p for p in shown if p.digest not in strongest]
    opposite = [rankings.set_result(flagged, taken, 1), *(rankings.set_result(flagged, (edit,), 1) for edit in taken)]
    rows = examples.joint_rows(joint, replace(result, opposite=tuple(opposite)), bank, 1)
    assert [row.cells[1][0][0] for row in rows] == ["+", "−"] and rows[0].title != rows[1].title


# -- many classes --------------------------------------------------------------------------


def test_a_classifier_of_many_classes_says_which_have_a_ranking(removed: Made) -> None:
    result = removed[0]
    assert classes_note(result) == "" and classes_note(replace(result, settings={})) == ""
    many = replace(result, settings={**result.settings, "classes": 1_000})
    note = classes_note(many)
    assert "1,000 classes" in note and "only “old”" in note
    assert classes_note(replace(many, per_class={"old": (), "young": ()})).count("“") == 2
    assert classes_note(replace(many, settings={"classes": 3}, per_class={"a": (), "b": (), "c": ()})) == ""
    # A ranking that was kept before it told how many there are: what its classifier's record says.
    records: list[dict[str, Any]] = [{"labels": ["x"] * 25}, {"classes": {f"c{i}": [] for i in range(25)}}]
    for record in records:
        assert "25 classes" in classes_note(replace(result, settings={"classifier": record}))
    files = dict(export_files(many, [], [], b"%PDF-"))
    assert note in files["figures/readings.txt"].decode()


# -- Table 1 -------------------------------------------------------------------------------


def test_table_1_is_among_the_files_where_there_is_another_list(removed: Made) -> None:
    result = removed[0]
    lists = RankedList.of(result, "age"), RankedList("another", (("skin › marks › mole", 3.0),))
    files = dict(export_files(result, [], [], b"%PDF-", lists))
    rows = list(csv.DictReader(io.StringIO(files["table_1.csv"].decode())))
    assert rows == beside_rows(*lists) and rows[0]["another"] == "skin › marks › mole (3.00)"
    assert "table_1.csv" not in dict(export_files(result, [], [], b"%PDF-"))
