"""A ranking's figures, tables and files: what they show is what was found, and no text from outside is markup."""

from __future__ import annotations

import csv
import io
import json
import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pypdf
import pytest
from PIL import Image

from isi_core.domain.attributes import Attribute, Corpus, Edit
from isi_core.domain.errors import InputError
from isi_core.domain.palette import COUNTERFACTUAL_FRAME, ORIGINAL_FRAME
from isi_core.models.classifiers.rule import RuleClassifier
from isi_core.models.editors.protocol import Picture
from isi_core.models.editors.render import RenderEditor
from isi_core.reports import counterfactual_examples as examples
from isi_core.reports import counterfactual_figures as figures
from isi_core.reports import counterfactual_tables as tables
from isi_core.reports.charts import figure_png, figure_svg
from isi_core.reports.counterfactual_grid import zoom_area
from isi_core.reports.counterfactual_interactions import interaction_figure
from isi_core.reports.counterfactual_plate import Box, Plate, Words, plate_picture, plate_svg
from isi_core.reports.counterfactual_plate import Picture as Placed
from isi_core.reports.counterfactual_report import build_counterfactual_report, export_files
from isi_core.reports.counterfactual_truth import truth_figure, truth_of, truth_sentences
from isi_core.reports.run_tables import csv_bytes
from isi_core.studies.counterfactuals.results import Result, SetResult
from isi_core.studies.counterfactuals.run import Settings, rank
from isi_core.ui.counterfactuals import corpus_edits, kept
from isi_core.worlds.attributed import world
from isi_core.worlds.rules import shipped_rule
from tests import rankings


@pytest.fixture(scope="module")
def made() -> tuple[Result, rankings.Bank]:
    """A ranking and its counterfactuals."""
    return rankings.result()


def _words(plate: Plate) -> list[str]:
    return [part.text for part in plate.parts if isinstance(part, Words)]


def _rows(raw: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(raw.decode())))


def _values(chart: Any) -> list[list[dict[str, Any]]]:
    """The rows of every layer's data."""
    return list(chart.to_dict()["datasets"].values())


# -- Figure 4 ------------------------------------------------------------------------------


def test_the_plate_frames_originals_red_and_counterfactuals_black(made: tuple[Result, rankings.Bank]) -> None:
    result, bank = made
    plate = examples.counterfactual_plate(result, result.ranking[:3], bank, count=2)
    picture = plate_picture(plate, scale=1)
    frames = [p for p in plate.parts if isinstance(p, Box) and p.fill in (ORIGINAL_FRAME, COUNTERFACTUAL_FRAME)]
    assert [f.fill for f in frames] == [ORIGINAL_FRAME, COUNTERFACTUAL_FRAME] * 6
    for frame in frames:
        x, y = round(frame.x) + 1, round(frame.y + frame.height / 2)
        assert picture.getpixel((x, y)) == tuple(int(frame.fill[i : i + 2], 16) for i in (1, 3, 5))  # type: ignore[index]
    texts = _words(plate)
    best = result.ranking[0]
    assert f"1. {best.attribute.label}" in texts
    shown = examples.strongest_deltas(best, 1)[0]
    assert examples.score_words(shown.base) in texts and examples.score_words(shown.score) in texts
    assert "red frame" in plate.reading and "old" in plate.reading


def test_a_group_shows_the_tree_of_its_kinds(made: tuple[Result, rankings.Bank]) -> None:
    result, bank = made
    beard = result.of(Attribute(("facial hair", "beard")))
    assert beard is not None
    texts = _words(examples.counterfactual_plate(result, [beard], bank))
    assert {"full", "goatee", "+1.90", "+1.10"} <= set(texts)


def test_a_small_change_is_enlarged_and_a_large_one_is_not(made: tuple[Result, rankings.Bank]) -> None:
    result, bank = made
    mole, full = (result.of(Attribute(p)) for p in (("skin", "marks", "mole"), ("facial hair", "beard", "full")))
    assert mole is not None and full is not None
    digest = mole.deltas[0].picture
    area = zoom_area(bank(digest, ()), bank(digest, mole.edits))  # type: ignore[arg-type]
    assert area is not None and (area[2] - area[0]) * (area[3] - area[1]) < 0.1
    before, after = (np.asarray(bank(digest, e), dtype=int) for e in ((), mole.edits))
    rows, columns = np.nonzero(np.abs(before - after).max(axis=2) > 60)
    middle = columns.mean() / 64, rows.mean() / 64
    assert area[0] < middle[0] < area[2] and area[1] < middle[1] < area[3]
    assert zoom_area(bank(digest, ()), bank(digest, full.edits)) is None  # type: ignore[arg-type]
    same = bank(digest, ())
    assert same is not None and zoom_area(same, same) is None
    count = [
        sum(isinstance(p, Placed) for p in examples.counterfactual_plate(result, [s], bank, 1).parts)
        for s in (mole, full)
    ]
    assert count == [4, 2]


def test_flagged_edits_are_shown_only_where_asked_for_and_say_why(made: tuple[Result, rankings.Bank]) -> None:
    result, bank = made
    (hat,) = [found for found in result.apart if found.attribute.label == "fedora"]
    assert not any(isinstance(p, Placed) for p in examples.counterfactual_plate(result, [hat], bank).parts)
    texts = _words(examples.counterfactual_plate(result, [hat], bank, flagged=True))
    assert any(rankings.FLAG in text for text in texts)


def test_pictures_that_are_gone_leave_their_place_to_others(made: tuple[Result, rankings.Bank]) -> None:
    result, bank = made
    gone = examples.strongest_deltas(result.ranking[0], 1)[0].picture
    rows = examples.grid_rows(result, result.ranking[:1], lambda d, e: None if d == gone else bank(d, e), 6)
    assert len(rows[0].pairs) == 5
    with pytest.raises(InputError, match="not in the edit bank"):
        examples.joint_figure_plate(result.joint[0], result, lambda digest, edits: None)


def test_foreign_labels_are_text_in_every_form(made: tuple[Result, rankings.Bank]) -> None:
    result, bank = made
    nasty = '<script>alert("x")</script> & 😀 =1+1'
    first = result.sets[0]
    edits = (Edit(Attribute(("facial hair", nasty[:70]))),)
    odd = replace(result, class_label=nasty, sets=(replace(first, edits=edits), *result.sets[1:]))
    plate = examples.counterfactual_plate(odd, odd.ranking[:2], lambda d, e: bank(d, ()))
    root = ET.fromstring(plate_svg(plate))
    assert not root.findall(".//{*}script")
    assert any("<script>" in (node.text or "") for node in root.iter("{http://www.w3.org/2000/svg}text"))
    pdf = build_counterfactual_report(odd, [plate], [])
    text = "".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages)
    assert "<script>" in text
    cells = _rows(tables.ranking_csv(odd))
    assert all(not row["level_2"].startswith("=") for row in cells)


def test_the_joint_figure_has_the_original_each_alone_and_both(made: tuple[Result, rankings.Bank]) -> None:
    result, bank = made
    plate = examples.joint_figure_plate(result.joint[0], result, bank)
    texts = _words(plate)
    assert texts.count("original") == texts.count("+ both") == 2
    assert {"+ full beard", "+ round eyeglasses"} <= set(texts)
    assert "interaction of +1.50" in plate.reading


# -- charts --------------------------------------------------------------------------------


def test_the_influence_chart_has_every_number_and_the_floor(made: tuple[Result, rankings.Bank]) -> None:
    result, _ = made
    figure = figures.influence_figure(result, result.ranking)
    layers = _values(figure.chart)
    rows = {row["path"]: row for row in max(layers, key=len)}
    for found in result.ranking:
        row = rows[found.attribute.text]
        assert row["influence"] == found.influence and row["signed"] == found.signed.estimate
        assert (row["low"], row["high"]) == (found.signed.low, found.signed.high)
    assert [{"low": -0.05, "high": 0.05}] in layers
    assert "log-odds" in json.dumps(figure.chart.to_dict()) and "grey band" in figure.reading
    with pytest.raises(InputError):
        figures.influence_figure(result, [])


def test_the_hierarchy_holds_every_attribute_within_its_group(made: tuple[Result, rankings.Bank]) -> None:
    result, _ = made
    rows = {row["path"]: row for row in max(_values(figures.hierarchy_figure(result).chart), key=len)}
    assert set(rows) == {a.text for a in rankings.CORPUS.attributes()}
    for attribute in rankings.CORPUS.attributes():
        if attribute.parent is not None:
            inner, outer = rows[attribute.text], rows[attribute.parent.text]
            assert outer["top"] <= inner["top"] < inner["bottom"] <= outer["bottom"]
            assert inner["left"] == outer["right"]
    leaves = sorted((r["top"], r["bottom"]) for r in rows.values() if r["right"] == 3)
    assert leaves == [(i, i + 1) for i in range(len(rankings.CORPUS.leaves()))]
    # What was flagged throughout has no value: it is drawn grey instead of being left out.
    assert not rows["headwear › hat › fedora"]["measured"]


def test_every_chart_can_be_drawn_and_says_how_to_read_it(made: tuple[Result, rankings.Bank]) -> None:
    result, _ = made
    planted = {Attribute(path): weight for path, weight in rankings.WEIGHTS.items()}
    for figure in (
        figures.influence_figure(result, result.ranking),
        figures.hierarchy_figure(result),
        interaction_figure(result),
        figures.pictures_figure(result, result.ranking[:3]),
        truth_figure(result, planted, 1.0),
    ):
        assert Image.open(io.BytesIO(figure_png(figure, 1))).width > 150
        assert figure_svg(figure).startswith(b"<svg") and figure.reading.endswith(".")
    bare = replace(result, joint=())
    with pytest.raises(InputError, match="together"):
        interaction_figure(bare)


# -- tables --------------------------------------------------------------------------------


def test_table_a_lists_the_strongest_with_their_scores(made: tuple[Result, rankings.Bank]) -> None:
    result, _ = made
    rows = tables.top_rows(result)
    assert len(rows) == 10 and [row["rank"] for row in rows] == [str(i) for i in range(1, 11)]
    assert next(row for row in rows if row["attribute"] == "facial hair › beard › full") == {
        "rank": str(1 + [s.attribute.label for s in result.ranking].index("full")),
        "attribute": "facial hair › beard › full",
        "edit": "added",
        "influence": "1.90",
        "signed mean": "1.90",
        "95 % interval": "1.90 to 1.90",
        "valid edits": "6 of 6",
    }
    assert all("fedora" not in row["attribute"] for row in rows)


def test_the_csv_files_hold_every_attribute_and_every_edit(made: tuple[Result, rankings.Bank]) -> None:
    result, _ = made
    ranking = _rows(tables.ranking_csv(result))
    assert [row["level_3"] for row in ranking if row["rank"] == ""] == ["fedora"]
    assert ranking[-1]["flagged"] == f"{rankings.FLAG} (6)" and ranking[0]["classifier"] == "rule"
    assert float(ranking[0]["influence"]) == result.ranking[0].influence
    edits = _rows(tables.deltas_csv(result))
    assert len(edits) == 6 * (len(result.sets) + 1)
    for row in edits:
        change = float(row["score_after"]) - float(row["score_before"])
        assert float(row["change"]) == pytest.approx(change, abs=1e-12)
    (joint,) = _rows(tables.joint_csv(result))
    assert float(joint["interaction"]) == pytest.approx(1.5) and float(joint["signed"]) == pytest.approx(3.8)


def test_a_ranked_list_is_read_from_what_people_have(made: tuple[Result, rankings.Bank]) -> None:
    result, _ = made
    known = result.corpus.attributes()
    raw = b"rank,attribute,score\n1,full beard,0.9\n2,mole,0.8\n3,=cmd|' /C calc'!A0,0.1\n"
    found = tables.read_ranked_list(raw, "mine.csv", known)
    assert found.entries[:2] == (("facial hair › beard › full", 0.9), ("skin › marks › mole", 0.8))
    assert found.entries[2][0].startswith("=cmd")
    assert _rows(csv_bytes(tables.beside_rows(found, found)))[2]["mine.csv"].startswith("'=cmd")
    plain = tables.read_ranked_list(b"mole\ngoatee\nfull\n", "plain.txt", known)
    assert [text.split(" › ")[-1] for text, _ in plain.entries] == ["mole", "goatee", "full"]
    own = tables.read_ranked_list(json.dumps(result.to_json()).encode(), "ranking.json")
    assert own.entries == tables.RankedList.of(result, "ranking.json").entries
    for bad in (b"", b"\xff\xfe\x00", b"{not json", b'{"ranking": 3}', b"1,2\n3,4\n"):
        with pytest.raises(InputError):
            tables.read_ranked_list(bad, "bad")


def test_two_lists_agree_as_far_as_their_ranks_do(made: tuple[Result, rankings.Bank]) -> None:
    result, _ = made
    mine = tables.RankedList.of(result, "mine")
    same = tables.agreement(mine, mine)
    assert same.spearman == 1.0 and (same.top, same.of) == (10, 10)
    back = tables.RankedList("back", mine.entries[::-1])
    assert tables.agreement(mine, back).spearman == -1.0
    none = tables.agreement(mine, tables.RankedList("none", (("something else", None),)))
    assert none.shared == 0 and math.isnan(none.spearman)
    rows = tables.beside_rows(mine, replace(back, name="mine"))
    assert list(rows[0]) == ["rank", "mine", "mine (2)"]


# -- PDF and folder ------------------------------------------------------------------------


def test_the_pdf_tells_everything_and_what_was_left_out(made: tuple[Result, rankings.Bank]) -> None:
    result, bank = made
    chosen = list(result.ranking[:4])

    def one(sets: Any) -> Plate:
        return examples.counterfactual_plate(result, sets, bank, first=1 + chosen.index(sets[0]))

    plates = examples.in_parts(one, chosen)
    assert [bool(plate.reading) for plate in plates] == [False] * 3 + [True]
    mine = tables.RankedList.of(result, "mine")
    beside = (mine, tables.RankedList("other", mine.entries[::-1]), tables.agreement(mine, mine))
    stopped = replace(result, stopped=True)
    pdf = build_counterfactual_report(stopped, plates, [figures.hierarchy_figure(result)], [("Truth", "known")], beside)
    pages = [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages]
    text = " ".join(" ".join(pages).split())
    for words in (
        f"4. {chosen[3].attribute.label}",
        "facial hair › beard › full",
        "Side by side",
        "cancelled before its end",
        "Not ranked",
    ):
        assert words in text
    assert "log-odds" in text and "headwear › hat › fedora" in text and 2 <= len(pages) <= 6


def test_an_export_has_every_file_and_its_json_reads_back(made: tuple[Result, rankings.Bank]) -> None:
    result, bank = made
    plate = examples.counterfactual_plate(result, result.ranking[:2], bank)
    files = dict(export_files(result, [plate], [figures.influence_figure(result, result.ranking)], b"%PDF-"))
    assert {"ranking.json", "ranking.csv", "edits.csv", "joint.csv", "table_a.csv", "report.pdf"} <= set(files)
    assert {f"figures/{n}.{k}" for n in ("counterfactuals", "influence") for k in ("png", "svg")} <= set(files)
    again = Result.from_json(json.loads(files["ranking.json"]))
    assert [s.edits for s in again.sets] == [s.edits for s in result.sets] and again.joint[0].parts == result.joint[
        0
    ].parts


# -- the truth -----------------------------------------------------------------------------


def test_the_planted_truth_is_found_by_an_exact_ranking() -> None:
    rule, place, rng = shipped_rule("faces-age"), world("faces"), Random(5)
    subjects = [place.draw_subject(rng) for _ in range(6)]
    pictures = [Picture.of(place.render(s, 32), f"face {i}", s) for i, s in enumerate(subjects)]
    tree = {one: dict(groups) for one, groups in place.tree.items() if one in ("hair", "skin", "eyewear", "clothing")}
    settings = Settings(search="exhaustive", joint=1, class_label="old")
    result = rank(pictures, Corpus("faces", tree), RenderEditor("faces", 32), RuleClassifier(rule), settings)
    truth = truth_of(result, rule, subjects)
    assert truth is not None and truth.spearman > 0.95 and truth.auroc == 1.0
    grey = result.of(Attribute(("hair", "colour", "grey")))
    assert grey is not None and truth.planted[grey.attribute] == pytest.approx(grey.signed.estimate)
    told = " ".join(truth_sentences(truth, rule, exact=True))
    assert "was not looked at" in told and "clothing › collar › shirt" in told
    assert truth.spurious is not None and truth.spurious[0].influence == 0.0
    # The rule's weights are log-odds, whatever the ranking's own scale is.
    shares = replace(result, settings={**result.settings, "scale": "probability"})
    drawn = truth_figure(shares, truth.planted, 1.0).chart.to_dict()
    axes = [layer["encoding"][axis]["title"] for layer in drawn["layer"][:1] for axis in ("x", "y")]
    assert axes == ["planted influence (log-odds, nats)", "found influence (probability, 0 to 1)"]
    on_shares = truth_of(shares, rule, subjects)
    assert on_shares is not None
    assert "on another scale" in " ".join(truth_sentences(on_shares, rule, exact=True))
    young = truth_of(replace(result, class_label="young"), rule, subjects)
    assert young is not None and young.planted[grey.attribute] == pytest.approx(-truth.planted[grey.attribute])
    assert truth_of(result, rule, []) is None and truth_of(replace(result, class_label="cat"), rule, subjects) is None


# -- corpus edits and kept rankings --------------------------------------------------------


def test_a_tree_is_added_to_renamed_and_pruned() -> None:
    corpus = rankings.CORPUS
    grown = corpus_edits.added(corpus, None, "  tattoo  ")
    grown = corpus_edits.added(grown, Attribute(("tattoo",)), "on the neck")
    grown = corpus_edits.added(grown, Attribute(("tattoo", "on the neck")), "anchor")
    assert Attribute(("tattoo", "on the neck", "anchor")) in grown and corpus is not grown
    named = corpus_edits.renamed(grown, Attribute(("facial hair", "beard")), "whiskers")
    assert list(named.categories["facial hair"]) == ["whiskers", "mustache"]
    assert named.categories["facial hair"]["whiskers"] == ("goatee", "full")
    bare = corpus_edits.removed(named, Attribute(("facial hair",)))
    assert "facial hair" not in bare.categories and len(bare.attributes()) == len(named.attributes()) - 6
    for parent, label in ((None, " "), (None, "x" * 81), (None, "SKIN"), (Attribute(("skin", "marks", "mole")), "dot")):
        with pytest.raises(InputError):
            corpus_edits.added(corpus, parent, label)
    with pytest.raises(InputError, match="no attribute"):
        corpus_edits.removed(corpus, Attribute(("nowhere",)))
    with pytest.raises(InputError, match="one attribute at least"):
        corpus_edits.removed(Corpus("x", {"only": {}}), Attribute(("only",)))


def test_a_kept_ranking_comes_back_with_its_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISI_HOME", str(tmp_path))
    result, _ = rankings.result(2)
    drawn = rankings.pictures(2)
    own = Picture.of(Image.new("RGB", (20, 30), "red"), "mine.png")
    key = kept.ask_key(drawn, rankings.CORPUS, {"name": "render"}, {"name": "rule"}, Settings())
    assert key != kept.ask_key(drawn, rankings.CORPUS, {"name": "render"}, {"name": "rule"}, Settings(seed=1))
    assert kept.entries() == []
    kept.keep(kept.Kept(key, "a title", result, (*drawn, own), "faces", "faces-age"))
    (entry,) = kept.entries()
    assert entry.key == key and entry.title == "a title" and not entry.stopped
    again = kept.load(key)
    assert [p.digest for p in again.pictures] == [p.digest for p in (*drawn, own)]
    assert np.array_equal(np.asarray(again.pictures[2].image), np.asarray(own.image))
    assert isinstance(again.result.sets[0], SetResult) and again.result.sets[0].edits == result.sets[0].edits
    path = tmp_path / "rankings" / f"{key}.json"
    path.write_text(path.read_text()[:500])
    with pytest.raises(InputError, match="damaged"):
        kept.load(key)
    with pytest.raises(InputError):
        kept.load("../../etc/passwd")
    kept.delete(key)
    assert kept.entries() == []
