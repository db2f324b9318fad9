"""Counterfactual Ranking: real rankings of drawn faces, the tree editor, what is kept, shown, refused and cancelled."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pypdf
import pytest
from PIL import Image
from scipy.special import logit
from streamlit.testing.v1 import AppTest

from isi_core.domain.attributes import Attribute
from isi_core.domain.errors import ModelError
from isi_core.models.classifiers.rule import RuleClassifier
from isi_core.models.editors.ledits_settings import DEFAULT_DIFFUSION
from isi_core.reports.wording import number
from isi_core.studies.counterfactuals.corpora import find_corpus
from isi_core.ui import resources
from isi_core.ui.counterfactuals import choices, exports, findings, kept, shown
from isi_core.ui.counterfactuals.desk import VIEWS, Desk
from isi_core.ui.wording import as_written
from isi_core.worlds.attributed import world
from tests.pages import visitor

PAGE = "pages/3_Counterfactual_Ranking.py"
SMALL = {"domain": "faces", "categories": {"hair": {"colour": ["grey", "red"]}, "skin": {"marks": ["mole"]}}}


def visit() -> AppTest:
    """A new visitor of Counterfactual Ranking, who looks at three pictures."""
    at = visitor.visit_home()
    at.switch_page(PAGE)
    visitor.run(at)
    return fill(at, "count", 3)


def desk(at: AppTest) -> Desk:
    """What lies on the visitor's desk of this page."""
    found: Desk = at.session_state["ranking_desk"]
    return found


def fill(at: AppTest, name: str, value: Any) -> AppTest:
    """Set a number."""
    at.number_input(key=f"ranking_{name}").set_value(value)
    return visitor.run(at)


def select(at: AppTest, name: str, value: Any) -> AppTest:
    """Choose from a list."""
    at.selectbox(key=f"ranking_{name}").set_value(value)
    return visitor.run(at)


def give(at: AppTest, key: str, name: str, raw: bytes, mime: str) -> AppTest:
    """Upload a file."""
    at.file_uploader(key=key).set_value((name, raw, mime))
    return visitor.run(at)


def small_corpus(at: AppTest) -> AppTest:
    """Import a corpus of seven attributes."""
    key = f"ranking_corpus_file_{desk(at).domain}_{len(desk(at).undone.get(desk(at).domain, []))}"
    return give(at, key, "small.json", json.dumps(SMALL).encode(), "application/json")


def settle(at: AppTest) -> AppTest:
    """Wait until the ranking has ended, and see what it made."""
    while (job := desk(at).job) is not None:
        assert not resources.jobs().wait(job, visitor.PATIENCE).live
        visitor.run(at)
    return at


def ranked() -> AppTest:
    """A visitor with a ranking of the small corpus."""
    at = settle(visitor.press(small_corpus(visit()), "ranking_start"))
    assert not at.error, [e.value for e in at.error]
    return at


def made(at: AppTest) -> kept.Kept:
    """The ranking that is shown."""
    return kept.load(desk(at).shown)


def png(size: tuple[int, int] = (40, 40), colour: str = "red") -> bytes:
    """A picture file."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


# -- coming here ---------------------------------------------------------------------------


def test_an_empty_page_teaches_and_one_button_is_enough() -> None:
    at = visit()
    assert visitor.shows(at, "What this page does") and visitor.shows(at, "No ranking yet")
    assert not at.error and not at.button(key="ranking_start").disabled
    assert visitor.shows(at, "At most 324 edits") and visitor.shows(at, "107 attribute sets × 3 pictures")
    at = settle(visitor.press(at, "ranking_start"))
    found = made(at)
    assert found.result.class_label == "old" and len(found.result.sets) == 107 and not found.result.stopped
    best = found.result.ranking[0]
    assert visitor.shows(at, best.attribute.text) and visitor.shows(at, number(abs(best.signed.estimate)))
    assert visitor.shows(at, f"digest {found.key[:8]}") and visitor.shows(at, "Spearman")


def test_every_view_draws_what_was_found() -> None:
    at = ranked()
    result = made(at).result
    assert {s.attribute.label for s in result.sets} == {"hair", "colour", "grey", "red", "skin", "marks", "mole"}
    for view in VIEWS:
        if view == "Classes":  # only where there are more than two
            continue
        visitor.choose(at, "ranking_view", view)
        assert not at.error, (view, [e.value for e in at.error])
    visitor.choose(at, "ranking_view", "Table")
    rows = at.dataframe[0].value
    assert list(rows["attribute"]) == [s.attribute.text for s in result.ranking]
    assert list(rows["influence"]) == [number(s.influence) for s in result.ranking]
    visitor.choose(at, "ranking_view", "Joint")
    assert visitor.shows(at, "Only single attributes were edited")


def test_pairs_are_edited_together_where_it_is_asked_for() -> None:
    at = small_corpus(visit())
    fill(at, "joint", 2)
    assert desk(at).preset == "custom"
    settle(visitor.press(at, "ranking_start"))
    visitor.choose(at, "ranking_view", "Joint")
    result = made(at).result
    assert len(result.joint) == 2 and not at.error
    assert at.selectbox(key="ranking_joint_chosen").options[1] == findings.joint_words(result.joint[1])
    assert visitor.shows(at, "each attribute alone")


def test_a_preset_sets_what_it_says() -> None:
    at = visit()
    visitor.choose(at, "ranking_preset", "paper")
    assert (desk(at).search, desk(at).beam, desk(at).joint, desk(at).count) == ("beam", 3, 2, 24)
    assert visitor.shows(at, "Algorithm 1")
    fill(at, "beam", 5)
    assert desk(at).preset == "custom" and visitor.shows(at, "Settings of your own")


def test_the_filters_show_what_they_say() -> None:
    at = ranked()
    select(at, "shown_level", "level 3")
    chosen = shown.chosen_sets(desk(at), made(at))
    assert chosen and all(s.attribute.level == 3 for s in chosen)
    select(at, "shown_level", "all levels")
    select(at, "flags", "flagged only")
    flagged = shown.chosen_sets(desk(at), made(at))
    assert all(s.valid < s.images for s in flagged)
    fill(at, "shown_top", 1)
    assert len(shown.chosen_sets(desk(at), made(at))) <= 1


# -- one counterfactual --------------------------------------------------------------------


def test_the_slider_blends_before_and_after() -> None:
    at = ranked()
    select(at, "chosen", "hair › colour › grey")
    find = shown.pictures_of(desk(at), made(at))
    digest, edits = desk(at).picture, made(at).result.of(Attribute(("hair", "colour", "grey"))).edits  # type: ignore[union-attr]
    before, after = find(digest, ()), find(digest, edits)
    assert before is not None and after is not None and not np.array_equal(np.asarray(before), np.asarray(after))
    at.slider(key="ranking_blend").set_value(0.5)
    visitor.run(at)
    captions = [
        c for e in visitor.elements(at) if e.type in ("imgs", "image") for c in [i.caption for i in e.proto.imgs]
    ]
    assert "50 % after" in captions and "before" in captions
    delta = next(d for d in made(at).result.of(Attribute(("hair", "colour", "grey"))).deltas if d.picture == digest)  # type: ignore[union-attr]
    assert [m.value for m in at.metric] == [f"{v:.2f}".replace("-", "−") for v in (delta.base, delta.score)]


def test_a_counterfactual_opens_as_a_picture_of_ones_own() -> None:
    at = ranked()
    select(at, "chosen", "skin › marks › mole")
    find = shown.pictures_of(desk(at), made(at))
    digest = desk(at).picture
    expected = find(digest, made(at).result.of(Attribute(("skin", "marks", "mole"))).edits)  # type: ignore[union-attr]
    visitor.press(at, "ranking_open")
    trial = visitor.desk(at).trial()
    assert trial.question == "Does the picture show mole marks?" and trial.truth is True
    assert np.array_equal(np.asarray(trial.image), np.asarray(expected))
    assert visitor.shows(at, "Does the picture show mole marks?")


# -- the corpus ----------------------------------------------------------------------------


def test_the_tree_is_edited_and_undone() -> None:
    at = small_corpus(visit())
    assert visitor.shows(at, "Imported small.json: 7 attributes") and visitor.shows(at, "At most 24 edits")
    select(at, "corpus_node", ("hair", "colour"))
    visitor.write(at, "ranking_corpus_label", "blond")
    visitor.press(at, "ranking_corpus_add")
    corpus = desk(at).corpora["faces"]
    assert Attribute(("hair", "colour", "blond")) in corpus and visitor.shows(at, "At most 27 edits")
    select(at, "corpus_node", ("skin",))
    visitor.press(at, "ranking_corpus_remove")
    assert "skin" not in desk(at).corpora["faces"].categories
    visitor.press(at, "ranking_corpus_undo")
    assert desk(at).corpora["faces"] == corpus
    select(at, "corpus_node", ("hair", "colour", "blond"))
    visitor.write(at, "ranking_corpus_label", "red")
    visitor.press(at, "ranking_corpus_rename")
    assert any("already" in text for text in visitor.messages(at)) and desk(at).corpora["faces"] == corpus


def test_what_the_exact_editor_cannot_draw_is_left_out_and_said() -> None:
    at = small_corpus(visit())
    visitor.write(at, "ranking_corpus_label", "<b>tattoo</b>")
    visitor.press(at, "ranking_corpus_add")
    assert any("cannot draw" in text and "<b>tattoo</b>" in text for text in visitor.messages(at))
    assert not any("<b>tattoo</b>" in e.value for e in visitor.elements(at) if e.type == "html")
    at = settle(visitor.press(at, "ranking_start"))
    assert len(made(at).result.sets) == 7


def test_ten_thousand_attributes_are_looked_at_in_good_time() -> None:
    at = visit()
    tree = {f"group {i}": {f"kind {j}": [f"leaf {i} {j} {k}" for k in range(110)] for j in range(9)} for i in range(10)}
    raw = json.dumps({"domain": "faces", "categories": tree}).encode()
    give(at, "ranking_corpus_file_faces_0", "large.json", raw, "application/json")
    assert (
        visitor.shows(at, "Imported large.json: 10,000 attributes") and len(desk(at).corpora["faces"].leaves()) > 9_000
    )
    # The exact editor can draw none of them: one sentence, and no way to begin.
    assert any("can draw none of these attributes" in text for text in visitor.messages(at))
    assert at.button(key="ranking_start").disabled
    # Another editor could: it is told what that takes, by each search.
    select(at, "editor", "ledits")
    visitor.choose(at, "ranking_preset", "paper")
    fill(at, "count", 3)
    assert visitor.shows(at, "Edits at most, by search – greedy: ") and not at.error
    assert not at.button(key="ranking_start").disabled
    # Every pair of 10,000 nobody could wait for: said before the button is pressed.
    visitor.choose(at, "ranking_preset", "exhaustive")
    assert any("use beam search" in text for text in visitor.messages(at)) and at.button(key="ranking_start").disabled


@pytest.mark.parametrize("raw", [b"", b'{"domain": "x", "categories": {}}', b"[" * 100_000])
def test_a_corpus_file_that_is_none_changes_nothing(raw: bytes) -> None:
    at = visit()
    before = desk(at).corpora["faces"]
    give(at, "ranking_corpus_file_faces_0", "bad.json", raw, "application/json")
    assert desk(at).corpora["faces"] == before and len(visitor.messages(at)) == 1


# -- pictures ------------------------------------------------------------------------------


def test_uploads_that_cannot_be_used_are_named() -> None:
    at = visit()
    visitor.choose(at, "ranking_source", "Upload")
    assert at.button(key="ranking_start").disabled and visitor.shows(at, "No picture is uploaded yet")
    at.file_uploader(key="ranking_upload_0").set_value(
        [("good.png", png(), "image/png"), ("bad.png", b"no picture", "image/png")]
    )
    visitor.run(at)
    assert any("bad.png is not a picture" in text for text in visitor.messages(at))
    assert [p.name for p in desk(at).uploads] == ["good.png"] and desk(at).editor == "ledits"
    # A rule is computed from built-in subjects: it is not offered for other pictures.
    assert not any("rule" in option for option in at.selectbox(key="ranking_classifier").options)


def test_a_folder_is_read_and_a_missing_one_is_said(tmp_path: Path) -> None:
    at = visit()
    visitor.choose(at, "ranking_source", "Folder")
    visitor.write(at, "ranking_folder", str(tmp_path / "nowhere"))
    assert any("check the path" in text for text in visitor.messages(at))
    for i, colour in enumerate(("red", "green", "blue", "black")):
        (tmp_path / f"{i}.png").write_bytes(png(colour=colour))
    (tmp_path / "4.png").write_bytes(b"broken")
    visitor.write(at, "ranking_folder", str(tmp_path))
    assert not visitor.messages(at) and visitor.shows(at, "3 pictures")
    visitor.choose(at, "ranking_source", "Built-in")
    assert visitor.shows(at, "3 pictures") and desk(at).editor == "render"


def test_another_domain_brings_its_own_classifiers() -> None:
    at = visit()
    select(at, "domain", "birds")
    assert desk(at).classifier.endswith("species") and len(at.selectbox(key="ranking_class_label").options) >= 6
    select(at, "classifier", "rule:birds-species")
    fill(at, "count", 2)
    settle(visitor.press(at, "ranking_start"))
    assert made(at).world == "birds" and made(at).result.per_class


def test_another_domain_brings_settings_of_its_own_for_a_slow_editor() -> None:
    """What fits tiny-diffusion or the exact editor would be wrong, or take days, with SDXL on leaves."""
    at = visit()
    select(at, "domain", "plant health")
    found = desk(at)
    assert (found.editor, found.search, found.joint) == ("ledits", "beam", 1)
    assert (found.edit_threshold, found.inversion_steps, found.skipped, found.edit_guidance) == (0.7, 50, 25, 10.0)
    select(at, "domain", "faces")
    assert (desk(at).editor, desk(at).search) == ("render", "exhaustive")
    select(at, "editor", "ledits")
    assert choices.diffusion_default(desk(at)) == "tiny-diffusion" and desk(at).skipped == 4
    # Photographs are for the paper's pipeline: the embedded one knows drawn portraits only.
    visitor.choose(at, "ranking_source", "Upload")
    assert choices.diffusion_default(desk(at)) == DEFAULT_DIFFUSION
    assert (desk(at).edit_threshold, desk(at).skipped) == (0.85, 25)
    choice = choices.chosen_classifier(desk(at))
    assert choices.load_reader(desk(at), choice, find_corpus("faces"))() is None


def test_the_embedded_clip_is_explained_by_its_label_prompts() -> None:
    at = visit()
    select(at, "classifier", "tiny-clip-worlds:faces-age")
    assert desk(at).class_label == "old" and visitor.shows(at, "knows no words but those of the built-in worlds")
    fill(small_corpus(at), "count", 2)
    settle(visitor.press(at, "ranking_start"))
    record = made(at).result.settings["classifier"]
    assert record["name"] == "tiny-clip-worlds" and record["classes"]["old"] == ["a photo of an old person"]


def test_label_prompts_of_ones_own_are_explained_and_kept() -> None:
    at, key = visit(), "ranking_labels_tiny-clip-worlds:faces-age"
    select(at, "classifier", "tiny-clip-worlds:faces-age")
    shipped = at.text_area(key=key).value
    assert shipped == "young: a photo of a young person\nold: a photo of an old person"
    typed = "other: a photo of a face\n<b>grey</b>: a photo of an old person | a photo of a person with grey hair"
    at.text_area(key=key).set_value(typed)
    visitor.run(at)
    assert at.selectbox(key="ranking_class_label").options == ["other", "<b>grey</b>"]
    # Kept while another classifier is looked at.
    select(at, "classifier", "tiny-age")
    assert at.selectbox(key="ranking_class_label").options == ["young", "old"]
    select(at, "classifier", "tiny-clip-worlds:faces-age")
    assert at.text_area(key=key).value == typed
    fill(small_corpus(at), "count", 2)
    settle(visitor.press(at, "ranking_start"))
    assert not at.error, [e.value for e in at.error]
    found = made(at)
    assert found.result.settings["classifier"]["classes"] == {
        "other": ["a photo of a face"],
        "<b>grey</b>": ["a photo of an old person", "a photo of a person with grey hair"],
    }
    assert found.result.class_label == "<b>grey</b>" and found.rule == ""  # no rule is known for such classes
    # What describes no classes is said where it is typed, and ranks nothing.
    at.text_area(key=key).set_value("old: a photo")
    visitor.run(at)
    assert visitor.shows(at, "at least two classes")
    visitor.press(at, "ranking_start")
    assert desk(at).job is None and "at least two classes" in desk(at).error
    at.text_area(key=key).set_value("  ")
    visitor.run(at)
    assert at.text_area(key=key).value == shipped and desk(at).class_label == "old" and not at.error


def test_a_clip_of_any_domain_takes_labels_of_ones_own(tmp_path: Path) -> None:
    at = visit()
    select(at, "domain", "birds")
    select(at, "classifier", "clip:own")
    assert at.text_area(key="ranking_labels_clip:own").value == ""
    at.text_input(key="ranking_clip_model").set_value(str(choices.MODELS / "tiny-clip-worlds"))
    visitor.run(at)
    visitor.press(at, "ranking_start")
    assert desk(at).job is None and "at least two classes" in desk(at).error
    at.text_area(key="ranking_labels_clip:own").set_value("jay: a photo of a crested jay\nrest: a photo of a bird")
    visitor.run(at)
    assert desk(at).class_label == "rest" and not at.error
    classifier = choices.load_classifier(desk(at), choices.chosen_classifier(desk(at)))()
    assert classifier.labels == ("jay", "rest") and classifier.record["name"] == "tiny-clip-worlds"


def test_edits_of_birds_by_a_network_are_read_by_the_embedded_clip() -> None:
    place, at = world("birds"), visit()
    select(at, "domain", "birds")
    desk(at).editor = "ledits"
    choice = choices.classifiers(desk(at))["tiny-species"]
    reader = choices.load_reader(desk(at), choice, find_corpus("birds"))()
    assert reader is not None and reader.rough and reader.record["name"] == "tiny-clip-worlds"
    subject = place.draw_subject(Random(4))
    path = ("head", "crest", "fan")
    pictures = [place.render(place.with_attribute(subject, path, on)) for on in (False, True)]
    read = reader.read(pictures)
    moved = {attribute: abs(logit(found[1]) - logit(found[0])) for attribute, found in read.items()}
    assert read[Attribute(path)][1] > read[Attribute(path)][0]
    assert sum(shift > moved[Attribute(path)] for shift in moved.values()) <= 3
    desk(at).editor = "render"
    assert choices.load_reader(desk(at), choice, find_corpus("birds"))() is None


# -- busy, cancelled, failed ---------------------------------------------------------------


class _Held(RuleClassifier):
    """A rule that waits before it answers for the third time."""

    asked = 0
    reached, go_on = threading.Event(), threading.Event()

    def subject_logits(self, subjects: Any) -> Any:
        _Held.asked += 1
        if _Held.asked > 12:
            _Held.reached.set()
            assert _Held.go_on.wait(visitor.PATIENCE)
        return super().subject_logits(subjects)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> type[_Held]:
    """The page's rule is held in the middle of its work."""
    _Held.asked = 0
    _Held.reached.clear()
    _Held.go_on.clear()
    monkeypatch.setattr("isi_core.ui.counterfactuals.choices.RuleClassifier", _Held)
    return _Held


def test_a_cancelled_ranking_keeps_what_was_finished_and_goes_on(held: type[_Held]) -> None:
    at = select(visit(), "classifier", "rule:faces-age")
    visitor.press(at, "ranking_start")
    assert held.reached.wait(visitor.PATIENCE)
    visitor.run(at)
    assert visitor.shows(at, "So far:") and at.button(key="ranking_start").disabled
    visitor.press(at, "ranking_cancel")
    held.go_on.set()
    settle(at)
    part = made(at)
    assert part.result.stopped and 0 < len(part.result.sets) < 107
    assert visitor.shows(at, "is kept and shown") and visitor.shows(at, "stopped before its end")
    settle(visitor.press(at, "ranking_start"))
    whole = made(at)
    assert whole.key == part.key and not whole.result.stopped and len(whole.result.sets) == 107


def test_a_classifier_that_fails_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: RuleClassifier, subjects: Any) -> Any:
        raise ModelError("The rule is broken: mend it.")

    at = select(visit(), "classifier", "rule:faces-age")
    with monkeypatch.context() as patch:
        patch.setattr(RuleClassifier, "subject_logits", broken)
        settle(visitor.press(at, "ranking_start"))
    assert visitor.messages(at) == ["The rule is broken: mend it."] and visitor.shows(at, "No ranking yet")


def test_a_classifier_that_is_not_there_is_said() -> None:
    at = visit()
    select(at, "classifier", "own")
    visitor.press(at, "ranking_start")
    assert any("No classifier is named yet" in text for text in visitor.messages(at))


# -- what is kept --------------------------------------------------------------------------


def test_the_same_again_is_found_and_others_are_kept_beside_it() -> None:
    at = ranked()
    first = made(at)
    settle(visitor.press(at, "ranking_start"))
    assert desk(at).shown == first.key and len(kept.entries()) == 1 and made(at).created == first.created
    select(at, "class_label", "young")
    settle(visitor.press(at, "ranking_start"))
    assert len(kept.entries()) == 2 and made(at).result.class_label == "young"
    visitor.choose(at, "ranking_view", "Compare")
    select(at, "other", first.key)
    assert "Spearman" in " ".join(visitor.texts(at)) and len(at.table[0].value) == len(first.result.ranking)
    # Another session finds them all.
    again = visit()
    assert len(again.selectbox(key="ranking_shown").options) == 2
    visitor.press(at, "ranking_delete")
    assert len(kept.entries()) == 1
    visitor.press(at, "ranking_undelete")
    assert len(kept.entries()) == 2


def test_a_ranked_list_of_another_method_is_set_beside() -> None:
    at = ranked()
    visitor.choose(at, "ranking_view", "Compare")
    give(at, "ranking_list_file", "other.csv", b"attribute,score\nmole,3\ngrey,2\nred,1\n", "text/csv")
    assert not at.error and desk(at).other == "list"
    assert as_written("skin › marks › mole (3.00)") in list(at.table[0].value[as_written("other.csv")])
    raw = exports.everything(desk(at), made(at), lambda: b"%PDF-", desk(at).listed)
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert "skin › marks › mole (3.00)" in archive.read("table_1.csv").decode()
    give(at, "ranking_list_file", "bad.csv", b"\x00", "text/csv")
    assert len(visitor.messages(at)) == 1


def test_everything_can_be_taken_along() -> None:
    at = ranked()
    found = made(at)
    pdf = exports.pdf(desk(at), found)
    text = " ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages)
    assert "Counterfactual ranking" in text and found.key[:8] in text and "Spearman" in " ".join(text.split())
    raw = exports.everything(desk(at), found, lambda: pdf)
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        names = set(archive.namelist())
        rows = list(csv.DictReader(io.StringIO(archive.read("ranking.csv").decode())))
    assert {"ranking.json", "report.pdf", "figures/counterfactuals.svg", "figures/planted_truth.png"} <= names
    assert len(rows) == len(found.result.sets)
    assert {d.key for d in visitor.elements(at) if d.type == "download_button"} >= {"ranking_download_picture_as_pdf"}


def test_a_choice_that_is_not_drawn_yet_counts_when_the_button_is_pressed() -> None:
    """Somebody quick chooses fewer pictures and presses before the page has answered."""
    at = small_corpus(visit())
    at.number_input(key="ranking_count").set_value(2)
    at.button(key="ranking_start").click()
    visitor.run(at)
    settle(at)
    assert len(made(at).result.pictures) == 2


def test_choosing_an_editor_loads_no_model_library() -> None:
    """The settings that fit it are known without: the page answers at once."""
    told = "import sys, isi_core.ui.counterfactuals.choices; print({'torch', 'diffusers'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
