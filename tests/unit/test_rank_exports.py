"""What rankings give by command and for several classes: tables, lists of other methods, what turns A into B."""

from __future__ import annotations

import argparse
import csv
import io
import json
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from isi_core.cli import main
from isi_core.commands.rank_classifier import open_reader
from isi_core.commands.rank_parts import EMBEDDED
from isi_core.domain.attributes import Edit
from isi_core.domain.errors import InputError
from isi_core.models.classifiers.rule import RuleClassifier
from isi_core.models.editors.protocol import Picture
from isi_core.models.editors.render import RenderEditor
from isi_core.reports.charts import figure_png
from isi_core.reports.counterfactual_classes import (
    best_turns,
    classes_csv,
    classes_figure,
    turned_csv,
    turned_figure,
    turned_rows,
)
from isi_core.studies.counterfactuals.corpora import find_corpus, world_corpus
from isi_core.studies.counterfactuals.results import Result
from isi_core.studies.counterfactuals.run import Settings, rank
from isi_core.worlds.attributed import world
from isi_core.worlds.rules import shipped_rule
from tests.rankings import result as binary_ranking

RULE = shipped_rule("birds-species")


def birds(count: int) -> list[Picture]:
    """Pictures that need no pixels: a rule looks at their subjects."""
    rng, blank = Random(2), Image.new("RGB", (32, 32))
    return [Picture.of(blank, f"bird {i}", world("birds").draw_subject(rng)) for i in range(count)]


@pytest.fixture(scope="module")
def species() -> Result:
    settings = Settings(search="exhaustive", joint=1)
    return rank(birds(30), world_corpus("birds"), RenderEditor("birds"), RuleClassifier(RULE), settings)


def test_turned_classes_are_those_that_the_rule_itself_changes(species: Result) -> None:
    best = best_turns(species)
    assert len(best) >= 4 and all(source != target for source, target in best)
    pictures = {p.digest: p for p in birds(30)}
    editor = RenderEditor("birds")
    for (source, target), turned in list(best.items())[:4]:
        [found] = [s for s in species.sets if s.edits == turned.edits]
        valid = [pictures[d.picture] for d in found.deltas if d.valid]
        before = [p for p in valid if RULE.classes[RULE.likeliest(p.subject)] == source]  # type: ignore[arg-type]
        after = [RULE.classes[RULE.likeliest(editor.subject_after(p, turned.edits, 0))] for p in before]
        assert (len(before), after.count(target)) == (turned.of, turned.count)
        # No other edit turns a larger share.
        rivals = [t for t in species.turned if (t.source, t.target) == (source, target)]
        assert turned.count / turned.of == max(t.count / t.of for t in rivals)


def test_each_class_has_a_ranking_and_both_matrices_name_their_axes(species: Result) -> None:
    rows = list(csv.DictReader(io.StringIO(classes_csv(species).decode())))
    assert {row["class"] for row in rows} == set(RULE.classes)
    for label in RULE.classes:
        sizes = [float(row["influence"]) for row in rows if row["class"] == label]
        assert sizes == sorted(sizes, reverse=True)
    turned, influences = turned_figure(species), classes_figure(species)
    told = json.dumps(turned.chart.to_dict())
    assert (
        "class without the edit" in told
        and "class with the edit" in told
        and "share of pictures turned (0 to 1)" in told
    )
    assert "signed mean change (log-odds, nats)" in json.dumps(influences.chart.to_dict())
    assert turned.reading.startswith("Each cell") and figure_png(influences)[:4] == b"\x89PNG"
    shares = [int(row["pictures"].split()[0]) / int(row["pictures"].split()[-1]) for row in turned_rows(species)]
    assert shares == sorted(shares, reverse=True)
    assert len(list(csv.DictReader(io.StringIO(turned_csv(species).decode())))) == len(species.turned)


def test_two_classes_have_no_matrix() -> None:
    made, _ = binary_ranking()
    with pytest.raises(InputError, match="No edit turned"):
        turned_figure(made)
    with pytest.raises(InputError, match="3 to 20 classes"):
        classes_figure(made)


def test_a_ranking_by_command_brings_its_tables_and_is_set_beside_a_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule = tmp_path / "rule.json"
    rule.write_text(json.dumps(shipped_rule("faces-age").to_json()))
    out = tmp_path / "out"
    given = ["rank", "--rule", str(rule), "--images", "3", "--search", "exhaustive", "--no-checks"]
    assert main([*given, "--out", str(out)]) == 0
    capsys.readouterr()
    table = list(csv.DictReader(io.StringIO((out / "table_a.csv").read_text())))
    whole = list(csv.DictReader(io.StringIO((out / "ranking.csv").read_text())))
    assert len(table) == 10 and len(whole) > 50 and table[0]["attribute"].split(" › ")[-1] in whole[0].values()
    result = Result.from_json(json.loads((out / "ranking.json").read_text()))
    leaves = [found.attribute for found in result.ranking if found.attribute.level == 3][:4]
    listed = tmp_path / "other.csv"
    lines = [f"{attribute.text},{4 - place}" for place, attribute in enumerate(leaves)]
    listed.write_text("attribute,score\n" + "\n".join(lines) + "\n")
    beside = tmp_path / "table_1.csv"
    compared = ["rank", "compare", str(out / "ranking.json"), str(listed)]
    assert main([*compared, "--csv", str(beside), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shared"] == 4 and found["spearman"] == pytest.approx(1.0)
    rows = list(csv.DictReader(io.StringIO(beside.read_text())))
    assert rows[0]["other.csv"].startswith(leaves[0].text) and len(rows) == 10
    assert main(compared) == 0
    assert "Spearman correlation of their places 1.000" in capsys.readouterr().out
    listed.write_bytes(b"\x00")
    assert main(compared) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_embedded_clip_is_ranked_by_command(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["rank", "--domain", "birds", "--images", "2", "--search", "greedy", "--json"]
    assert main([*given, "--classifier", "tiny-clip-worlds:species"]) == 0
    assert json.loads(capsys.readouterr().out)["ranking"]
    assert main([*given, "--classifier", "tiny-clip-worlds:age"]) == 2
    assert "age and gender of faces and species of birds" in capsys.readouterr().err


def test_edits_are_made_ahead_and_counted_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = tmp_path / "small.json"
    small.write_text(json.dumps({"domain": "faces", "categories": {"headwear": {"hat": ["cap"]}}}))
    built = ["edits", "build", "--corpus", str(small), "--images", "2", "--bank", str(tmp_path / "bank"), "--json"]
    for made, there in ((6, 0), (0, 6)):
        assert main(built) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["made"], told["there"]) == (made, there)
    entries = list((tmp_path / "bank" / "entries").rglob("*.json"))
    names = [json.loads(path.read_text())["edits"] for path in entries]
    assert len(entries) == 6 and [e.to_json() for e in (Edit.from_json(names_[0]) for names_ in names if names_)]


def test_edits_are_checked_by_what_is_named_or_at_hand() -> None:
    clip = EMBEDDED / "tiny-clip-worlds"

    def record_of(**given: str) -> tuple[str, bool] | None:
        usual = {"editor": "ledits", "reader": "", "classifier": "age", "rule": None, "labels": None, "pictures": None}
        asked = argparse.Namespace(**{**usual, **given})
        reader = open_reader(asked, find_corpus(asked.domain))
        return None if reader is None else (str(reader.record["name"]), reader.rough)

    assert record_of(domain="faces") == ("attributes", False)
    assert record_of(domain="birds", classifier="species") == ("tiny-clip-worlds", True)
    assert record_of(domain="pet", classifier=f"clip:cat or dog@{clip}") == (str(clip), True)
    assert record_of(domain="pet", reader=f"clip:{clip}") == (str(clip), True)
    assert record_of(domain="pet", classifier="python:some:function") is None
    assert record_of(domain="birds", editor="render") is None
    # The readers of the built-in worlds know drawn pictures alone.
    assert record_of(domain="faces", pictures="photos") is None
    assert record_of(domain="faces", pictures="photos", classifier=f"clip:age@{clip}") == (str(clip), True)
    assert record_of(domain="faces", pictures="photos", reader="attributes") == ("attributes", False)
