"""Dataset Browser: look, filter, slices, detail, import, author, the dataset card."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from isi_core.datasets import catalogue
from isi_core.datasets.authoring import as_row, copy_dataset, create_dataset, export_zip, save_observation
from isi_core.datasets.built_in import load_dataset
from isi_core.datasets.isi_folder import FolderRow, load_isi_folder, write_isi_folder
from isi_core.domain.answer import Answer
from isi_core.domain.interventions import ContextPreset, GaussianNoise
from isi_core.studies.slices import Slice, saved_slices, sliced
from isi_core.studies.trials import build_trial
from isi_core.ui import resources
from isi_core.ui.browser.desk import Desk
from tests.evaluations import evaluation, uncertainty
from tests.pages import visitor
from tests.unit.test_import import PUBLISHED, png

PAGE = "pages/4_Dataset_Browser.py"
BUILT_IN = load_dataset()


def visit(section: str | None = None, dataset: str | None = None) -> AppTest:
    at = visitor.visit_home()
    at.switch_page(PAGE)
    visitor.run(at)
    if dataset is not None:
        choose(at, "browser_dataset", dataset)
    return turn(at, section) if section else at


def turn(at: AppTest, section: str) -> AppTest:
    return visitor.choose(at, "browser_section", section)


def choose(at: AppTest, key: str, value: Any) -> AppTest:
    at.selectbox(key=key).set_value(value)
    return visitor.run(at)


def desk(at: AppTest) -> Desk:
    found: Desk = at.session_state["browser_desk"]
    return found


def shown(at: AppTest) -> list[str]:
    """Ids of the observations that pass the filter, in order."""
    return [o.id for o in desk(at).view().observations]


def store(context: str, answer: str, place: int = 0, dataset: str = "isi_scenes", **changes: Any) -> None:
    """A stored run of an observation under a preset."""
    o = resources.dataset(dataset).observations[place]
    noise = changes.pop("noise", ())
    trial = build_trial(resources.dataset(dataset), o, (ContextPreset(context), *noise))  # type: ignore[arg-type]
    made = replace(evaluation(), trial=trial, answer=Answer(answer), **changes)
    resources.store().save(made, dataset=dataset)


def settle(at: AppTest) -> AppTest:
    """Wait for the work that the page has begun."""
    limit = time.monotonic() + visitor.PATIENCE
    while (job := desk(at).importing.job or desk(at).job) is not None:
        assert not resources.jobs().wait(job, visitor.PATIENCE).live
        visitor.run(at)
        assert time.monotonic() < limit
    return at


def test_the_built_in_dataset_is_browsed_page_by_page() -> None:
    at = visit()
    assert [title.value for title in at.title] == ["Dataset Browser"]
    assert visitor.messages(at) == []
    assert visitor.shows(at, "**100** of 100 observations") and visitor.shows(at, "page 1 of 9")
    visitor.press(at, "browser_next")
    assert visitor.shows(at, "page 2 of 9") and visitor.shows(at, f"**13.** {BUILT_IN.observations[12].question}")
    visitor.press(at, "browser_last")
    assert visitor.shows(at, "page 9 of 9") and at.button(key="browser_next").disabled
    choose(at, "browser_by", "Question length")
    at.toggle(key="browser_descending").set_value(True)
    visitor.run(at)
    lengths = [len(BUILT_IN.find(key).question.split()) for key in shown(at)]
    assert lengths == sorted(lengths, reverse=True) and visitor.shows(at, "page 1 of 9")


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published dataset is not on this machine")
def test_the_published_dataset_is_imported_and_browsed_whole() -> None:
    at = visit("Import")
    at.text_input(key="browser_import_path_0").set_value(str(PUBLISHED))
    visitor.run(at)
    settle(visitor.press(at, "browser_import_look"))
    assert visitor.shows(at, "published ISI VQA format")
    at.text_input(key="browser_import_name_0").set_value("published")
    visitor.run(at)
    settle(visitor.press(at, "browser_import"))
    assert visitor.shows(at, "100 observations, 100 with an annotated picture") and visitor.messages(at) == []
    visitor.press(at, "browser_import_browse")
    assert visitor.shows(at, "**100** of 100 observations")
    visitor.press(at, "browser_look_1")
    first = load_isi_folder(PUBLISHED).observations[0]
    assert visitor.shows(at, first.question) and visitor.shows(at, " ".join(first.complementary.split())[:100])
    turn(at, "Dataset card")
    assert ("Annotated", "100") in {(metric.label, metric.value) for metric in at.metric}


def test_search_family_and_truth_narrow_down_together() -> None:
    at = visit()
    visitor.write(at, "browser_words", "red")
    words = set(shown(at))
    assert 0 < len(words) < 100
    family = BUILT_IN.find(next(iter(words))).family
    at.multiselect(key="browser_families").set_value([family])
    visitor.run(at)
    at.button_group(key="browser_truths").set_value(["yes"])
    visitor.run(at)
    found = [BUILT_IN.find(key) for key in shown(at)]
    assert {o.id for o in found} == {
        o.id for o in BUILT_IN.observations if o.id in words and o.family == family and o.truth
    }
    visitor.write(at, "browser_words", "no such words anywhere")
    assert visitor.shows(at, "No observation fits")
    visitor.press(at, "browser_clear")
    assert len(shown(at)) == 100


def test_what_stored_runs_say_filters_and_sorts() -> None:
    truth = [o.truth_word for o in BUILT_IN.observations]
    other = {"yes": "no", "no": "yes"}
    store("none", f"{truth[0]}.", 0)
    store("contradictory", f"{other[truth[0]]}.", 0)
    store("none", f"{other[truth[1]]}.", 1, uncertainty=uncertainty((("Yes.",),)))
    store("contradictory", f"{other[truth[1]]}.", 1)
    store("none", "Perhaps.", 2, uncertainty=None)
    store("none", f"{truth[3]}.", 3, noise=(GaussianNoise(40.0),))  # drawn on: no plain preset
    at = visit()
    ids = [o.id for o in BUILT_IN.observations]
    for outcome, expected in (("right", ids[:1]), ("wrong", ids[1:2]), ("unclear", ids[2:3]), ("not asked", ids[3:])):
        at.button_group(key="browser_outcomes").set_value([outcome])
        visitor.run(at)
        assert shown(at) == expected, outcome
    at.button_group(key="browser_outcomes").set_value([])
    visitor.run(at)
    for flips, expected in (("flips", ids[:1]), ("does not flip", ids[1:2])):
        choose(at, "browser_flips", flips)
        assert shown(at) == expected, flips
    choose(at, "browser_flips", "any")
    choose(at, "browser_by", "Semantic entropy")
    at.toggle(key="browser_descending").set_value(True)
    visitor.run(at)
    assert shown(at)[:2] == ids[:2] and len(shown(at)) == 100
    at.slider(key="browser_range_semantic_entropy").set_range(0.0, 0.1)
    visitor.run(at)
    assert shown(at) == ids[1:2]
    visitor.press(at, "browser_clear")
    visitor.press(at, f"browser_look_{BUILT_IN.observations[0].row}")
    assert visitor.shows(at, "The contradictory context turns the answer")
    choose(at, "browser_context", "contradictory")
    at.button_group(key="browser_outcomes").set_value(["wrong"])
    visitor.run(at)
    assert shown(at) == ids[1::-1] or shown(at) == ids[:2]


def test_observations_on_which_models_disagree_are_found() -> None:
    record = evaluation().model
    for place, answers in enumerate((("Yes.", "No."), ("Yes.", "Yes."), ("Yes.", "Who knows."))):
        for name, answer in zip(("tiny-llava", "other"), answers, strict=True):
            store("none", answer, place, model=replace(record, name=name))
    store("contradictory", "No.", 1, model=replace(record, name="other"))
    at = choose(visit(), "browser_agreement", "models disagree")
    assert shown(at) == [BUILT_IN.observations[0].id]
    assert visitor.shows(at, "models disagree")


def test_a_slice_is_kept_and_found_by_the_next_visitor() -> None:
    at = visitor.write(visit(), "browser_words", "fish")
    expected = shown(at)
    at.text_input(key="browser_slice_name").set_value("Only | fish")
    visitor.run(at)
    visitor.press(at, "browser_slice_save")
    later = visit()
    assert len(shown(later)) == 100
    visitor.press(later, "browser_slice_0")
    assert shown(later) == expected and visitor.shows(later, "Only | fish")
    [(dataset, wanted)] = saved_slices("isi_scenes").values()
    assert (dataset, [o.id for o in sliced(BUILT_IN, wanted, {})]) == ("isi_scenes", expected)
    visitor.press(later, "browser_slice_delete_0")
    assert saved_slices() == {}


@pytest.mark.parametrize("content", ["{broken", "[]", '{"slices": 3}'])
def test_a_damaged_file_of_slices_is_one_sentence(home: Path, content: str) -> None:
    home.mkdir(exist_ok=True)
    (home / "slices.json").write_text(content)
    at = visit()
    assert [m for m in visitor.messages(at) if "slices.json is damaged" in m]
    assert len(shown(at)) == 100


@pytest.mark.parametrize(
    "damage", [{"words": 3}, {"flips": "maybe"}, {"agreement": "never"}, {"ranges": [["x", 0, 1]]}, {"unknown": 1}, []]
)
def test_a_damaged_slice_is_refused(damage: Any) -> None:
    from isi_core.domain.errors import InputError

    whole = Slice("a", ("b",), ranges=(("n_clusters", 1.0, 2.0),))
    assert Slice.from_json(whole.to_json()) == whole
    with pytest.raises(InputError, match="no slice"):
        Slice.from_json({**whole.to_json(), **damage} if isinstance(damage, dict) else damage)


def test_an_observation_is_pinned_beside_another_and_opened() -> None:
    at = visitor.press(visitor.press(visit(), "browser_look_1"), "browser_pin")
    visitor.press(at, "browser_look_2")
    assert visitor.shows(at, "**Pinned**") and visitor.shows(at, "**Current**")
    first, second = BUILT_IN.observations[:2]
    assert visitor.shows(at, first.complementary) and visitor.shows(at, second.complementary)
    visitor.press(at, "browser_after")
    assert desk(at).current == BUILT_IN.observations[2].id and desk(at).pinned == first.id
    visitor.press(at, "browser_open")
    assert [title.value for title in at.title] == ["VQA Interventions"]
    assert visitor.desk(at).observation == BUILT_IN.observations[2]


def test_an_own_dataset_is_worked_on_from_the_picker_to_the_history() -> None:
    copy_dataset(BUILT_IN, "copy")
    row = as_row(BUILT_IN.observations[0])
    save_observation("copy", replace(row, question="Is it all mine?"), BUILT_IN.observations[0].id)
    at = visitor.press(visitor.press(visit(dataset="copy"), "browser_look_1"), "browser_open")
    assert visitor.desk(at).dataset_name == "copy" and visitor.shows(at, "Is it all mine?")
    assert at.query_params["dataset"] == "copy"
    at.switch_page("pages/1_VQA_Interventions.py")  # the testing frame would go on with the page it came from
    visitor.run(at)
    visitor.measure(at)
    [run] = resources.store().recent(1)
    assert (run.dataset, run.question) == ("copy", "Is it all mine?")

    at.selectbox(key="vqa_dataset").set_value("isi_scenes")
    visitor.run(at)
    assert visitor.desk(at).observation == BUILT_IN.observations[0]
    visitor.press(at, "vqa_restore_0")
    assert visitor.desk(at).dataset_name == "copy" and visitor.shows(at, "Is it all mine?")
    catalogue.remove_dataset("copy")
    visitor.run(at)
    assert visitor.desk(at).dataset_name == "isi_scenes"
    assert [m for m in visitor.messages(at) if "not there any more" in m]


def test_a_table_is_imported_by_its_columns(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    table = tmp_path / "t.csv"
    table.write_text("pic,ask,gold\na.png,Is it <b>red</b>?,yes\ngone.png,Is it?,no\n")
    at = visit("Import")
    at.text_input(key="browser_import_path_0").set_value(str(table))
    visitor.run(at)
    settle(visitor.press(at, "browser_import_look"))
    assert at.button(key="browser_import").disabled and visitor.shows(at, "table of 2 rows")
    for part, column in (("image", "pic"), ("question", "ask"), ("answer", "gold")):
        choose(at, f"browser_column_{part}", column)
    settle(visitor.press(at, "browser_import"))
    assert visitor.shows(at, "**t** is imported: 1 observations")
    assert catalogue.import_problems("t")[1][0].startswith("Row 2: 'gone.png' is missing")
    visitor.press(at, "browser_import_card")
    assert visitor.shows(at, "Imported from t") and desk(at).dataset_name == "t"


def test_an_uploaded_zip_is_imported_and_a_broken_one_told(home: Path) -> None:
    create_dataset("mine")
    save_observation("mine", FolderRow("a.png", png(), None, "Is it red?", True))
    raw = export_zip("mine")
    at = visit("Import")
    at.file_uploader(key="browser_import_file_0").set_value(("back.zip", raw[: len(raw) // 2], "application/zip"))
    visitor.run(at)
    settle(visitor.press(at, "browser_import_look"))
    assert [m for m in visitor.messages(at) if "not a zip file, or it is damaged" in m]
    at.file_uploader(key="browser_import_file_0").set_value(("back.zip", raw, "application/zip"))
    visitor.run(at)
    settle(visitor.press(at, "browser_import_look"))
    at.text_input(key="browser_import_name_0").set_value("mine")
    visitor.run(at)
    visitor.press(at, "browser_import")
    assert [m for m in visitor.messages(at) if "already" in m]
    at.text_input(key="browser_import_name_0").set_value("back")
    visitor.run(at)
    settle(visitor.press(at, "browser_import"))
    assert [o.question for o in load_dataset("back").observations] == ["Is it red?"]
    assert list((home / "imports").iterdir()) == []


def test_a_dataset_in_the_hubs_form_is_read_and_imported(tmp_path: Path) -> None:
    folder = tmp_path / "colours"
    folder.mkdir()
    (folder / "red.png").write_bytes(png())
    (folder / "metadata.csv").write_text("file_name,question,answer\nred.png,Is it red?,yes\n")
    at = visit("Import")
    assert at.button(key="browser_import_hub").disabled, "nothing was named yet"
    at.text_input(key="browser_hub_name_0").set_value("no dataset")
    visitor.run(at)
    settle(visitor.press(at, "browser_import_hub"))
    assert any("give it as owner/name" in message for message in visitor.messages(at))
    at.text_input(key="browser_hub_name_0").set_value(str(folder))
    visitor.run(at)
    settle(visitor.press(at, "browser_import_hub"))
    assert visitor.shows(at, "default · train · a local folder")
    settle(visitor.press(at, "browser_import"))
    assert visitor.shows(at, "**colours** is imported: 1 observations")


def test_an_observation_is_written_drawn_on_changed_and_deleted() -> None:
    at = visit("Author")
    assert visitor.shows(at, "The built-in dataset stays as it is")
    at.text_input(key="author_name").set_value("mine")
    visitor.run(at)
    visitor.press(at, "author_make")
    visitor.press(at, "author_save")
    assert [m for m in visitor.messages(at) if "no picture yet" in m]
    version = desk(at).form.version
    buffer = io.BytesIO()
    Image.new("RGB", (200, 100), (200, 200, 200)).save(buffer, "PNG")
    at.file_uploader(key=f"author_picture_{version}").set_value(("fish.png", buffer.getvalue(), "image/png"))
    visitor.run(at)
    at.text_area(key=f"author_question_{version}").set_value("Is it *red*?")
    at.text_area(key=f"author_contradictory_{version}").set_value("Nothing is red.")
    at.button_group(key=f"author_truth_{version}").set_value("no")
    at.button_group(key=f"author_marked_{version}").set_value("draw")
    visitor.run(at)
    visitor.press(at, "author_save")
    assert [m for m in visitor.messages(at) if "Nothing is drawn yet" in m]
    form = desk(at).form
    box = {**visitor.rectangle(0, 0, 0.5, 0.25), "fill": "rgba(255, 0, 0, 1)"}
    at.session_state[form.shown_canvas["key"]] = {
        "drawing": {"raw": {"version": "7.4.0", "objects": [box]}, "data": None}
    }
    visitor.run(at)
    visitor.press(at, "author_save")
    assert visitor.messages(at) == []
    (made,) = load_dataset("mine").observations
    assert (made.question, made.truth, made.contradictory) == ("Is it *red*?", False, "Nothing is red.")
    assert made.annotated is not None and made.image.read_bytes() == buffer.getvalue()
    with Image.open(made.annotated) as marked:
        assert marked.size == (200, 100)
        assert marked.getpixel((20, 20)) == (255, 0, 0) and marked.getpixel((190, 90)) == (200, 200, 200)

    choose(at, "author_which", made.id)
    version = desk(at).form.version
    assert at.text_area(key=f"author_question_{version}").value == "Is it *red*?"
    at.button_group(key=f"author_truth_{version}").set_value("yes")
    visitor.run(at)
    visitor.press(at, "author_save")
    (changed,) = load_dataset("mine").observations
    assert changed.truth is True and changed.annotated is not None
    visitor.press(at, "author_delete")
    assert load_dataset("mine").observations == () and visitor.shows(at, "This dataset is empty")


def test_the_card_counts_and_lints(tmp_path: Path) -> None:
    create_dataset("mine")
    scene = BUILT_IN.observations[0].image.read_bytes()
    with Image.open(io.BytesIO(scene)) as picture:
        smaller = io.BytesIO()
        picture.convert("RGB").resize((120, 120)).save(smaller, "PNG")
    save_observation(
        "mine", FolderRow("a.png", scene, None, "Is the fish red?", True, contradictory="The fish is red.")
    )
    save_observation("mine", FolderRow("b.png", smaller.getvalue(), None, "Is the boat blue?", None))
    at = visit("Dataset card", "mine")
    counts = {metric.label: metric.value for metric in at.metric}
    assert (counts["Observations"], counts["Truth yes"], counts["Truth unknown"]) == ("2", "1", "1")
    labels = [expander.label for expander in at.expander]
    assert any("that use every word of the question: 1" in label for label in labels)
    (leak,) = next(t.value for t in at.dataframe if "sentence" in t.value.columns).to_dict("records")
    assert (leak["observation"], leak["context"]) == ("a", "contradictory")
    assert leak["picture"].startswith("data:image/png;base64,")
    assert {"PNG", "SVG", "CSV"} <= {e.label for e in at.get("download_button")}
    settle(visitor.press(at, "browser_pairs"))
    assert any("Pictures that are nearly the same: 1" in expander.label for expander in at.expander)
    pictures = [element for element in visitor.elements(at) if element.type in ("imgs", "image")]
    assert visitor.shows(at, "a and b: ") and len(pictures) == 2, "both with their thumbnails"
    visitor.press(at, "browser_pair_0")
    assert visitor.shows(at, "**Pinned**") and {desk(at).current, desk(at).pinned} == {"a", "b"}
    turn(at, "Dataset card")
    visitor.press(at, "browser_dataset_delete")
    assert catalogue.dataset_names() == ["isi_scenes"] and desk(at).dataset_name == "isi_scenes"


def test_ten_thousand_rows_stay_smooth(home: Path) -> None:
    picture = png()
    rows = (
        FolderRow(f"{i}.png", picture, None, f"Is it number {i}?", i % 2 == 0, family=f"family {i % 7}")
        for i in range(10_000)
    )
    write_isi_folder(rows, home / "datasets" / "large")
    at = visit(dataset="large")
    assert visitor.shows(at, "**10,000** of 10,000 observations")
    began = time.process_time()
    visitor.press(at, "browser_next")
    assert time.process_time() - began < 2.5
    visitor.choose(at, "browser_layout", "Table")
    (table,) = at.dataframe
    assert len(table.value) == 10_000
    began = time.process_time()
    visitor.write(at, "browser_words", "number 77")
    assert time.process_time() - began < 4
    assert len(shown(at)) == sum("77" in str(i) for i in range(10_000))
