"""Run History: find, compare, tag, note, delete and undo, take away, repeat."""

from __future__ import annotations

import io
import sqlite3
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader
from streamlit.testing.v1 import AppTest

from isi_core.datasets.built_in import load_dataset
from isi_core.domain.answer import Answer
from isi_core.domain.interventions import ContextPreset, GaussianNoise
from isi_core.models import catalogue
from isi_core.reports.run_export import read_run, run_zip
from isi_core.store.database import MIGRATIONS, Database
from isi_core.store.run_search import RunFilter, bin_runs, empty_bin, search_runs, tag_runs
from isi_core.store.runs import Store
from isi_core.studies.rerun import repeat
from isi_core.studies.trials import build_trial
from isi_core.ui import resources
from isi_core.ui.runs.comparison import differing
from isi_core.ui.runs.desk import Desk
from tests.evaluations import evaluation, scene
from tests.pages import visitor

PAGE = "pages/7_Run_History.py"
FIRST = load_dataset().observations[0]


def visit() -> AppTest:
    at = visitor.visit_home()
    at.switch_page(PAGE)
    return visitor.run(at)


def desk(at: AppTest) -> Desk:
    found: Desk = at.session_state["runs_desk"]
    return found


def tick(at: AppTest, *runs: int) -> AppTest:
    """Tick runs of the table; the testing frame cannot click into one, so this leaves what the click would leave."""
    desk(at).select(list(runs))
    return visitor.run(at)


def listed(at: AppTest) -> list[int]:
    return [int(run) for run in at.dataframe[0].value["run"]] if at.dataframe else []


def save(text: str = "Yes, it is.", dataset: str = "isi_scenes", label: str = "", **changes: Any) -> int:
    return resources.store().save(evaluation(text, **changes), dataset=dataset, label=label)


def measured() -> int:
    """A run that the built-in model really made."""
    at = visitor.visit(obs="1", context="contradictory")
    visitor.measure(at, "vqa_measure_all")
    return resources.store().recent(1)[0].id


def settle(at: AppTest) -> AppTest:
    limit = time.monotonic() + visitor.PATIENCE
    while (job := desk(at).job) is not None:
        assert not resources.jobs().wait(job, visitor.PATIENCE).live
        visitor.run(at)
        assert time.monotonic() < limit
    return at


def test_with_no_runs_it_says_where_they_come_from() -> None:
    at = visit()
    assert [title.value for title in at.title] == ["Run History"]
    assert visitor.shows(at, "No runs yet: press") and visitor.messages(at) == []


def test_runs_are_found_by_what_is_known_of_them() -> None:
    right, wrong = save(), save("No.", context="It is 100% blue_ish.", label="odd")
    unclear, other = save("Who knows.", measured=False), save(dataset="mine", question="Is it *green*?")
    at = visit()
    assert listed(at) == [other, unclear, wrong, right]
    for words, expected in (
        ("odd", [wrong]),
        ("GREEN", [other]),
        ("yes tiny-llava", [other, right]),
        ("%", []),
        ("_", []),
    ):
        visitor.write(at, "runs_words", words)
        # scene_007 has an underscore, a sign that must not stand for any letter.
        assert listed(at) == (expected if words != "_" else [other, unclear, wrong, right]), words
    visitor.write(at, "runs_words", "")
    for judged, expected in (("right", [other, right]), ("wrong", [wrong]), ("unclear", [unclear])):
        at.button_group(key="runs_judged").set_value([judged])
        visitor.run(at)
        assert listed(at) == expected, judged
    visitor.press(at, "runs_clear")
    at.multiselect(key="runs_datasets").set_value(["mine"])
    visitor.run(at)
    assert listed(at) == [other]
    visitor.press(at, "runs_clear")
    at.button_group(key="runs_measured").set_value(["uncertainty", "attention"])
    visitor.run(at)
    assert listed(at) == [other, wrong, right]
    visitor.press(at, "runs_clear")
    at.selectbox(key="runs_order").set_value("Oldest first")
    visitor.run(at)
    assert listed(at) == [right, wrong, unclear, other]


def test_one_run_is_shown_whole_and_opened() -> None:
    run = measured()
    at = tick(visit(), run)
    made = resources.store().load(run)
    assert made.answer is not None
    assert visitor.shows(at, made.answer.text) and visitor.shows(at, made.trial.context)
    assert visitor.shows(at, f"digest {made.trial.digest[:8]}")
    visitor.press(at, "runs_open")
    assert [title.value for title in at.title] == ["VQA Interventions"]
    assert visitor.desk(at).trial().digest == made.trial.digest


@pytest.mark.parametrize("name", ["llava-1.5-7b", "tiny-llava"])
def test_a_run_of_a_published_family_has_the_published_means_as_a_footnote(name: str) -> None:
    usual = evaluation()
    source = catalogue.find_vlm(name).source
    source = Path(source).name if isinstance(source, Path) else source
    model = replace(usual.model, name=name, source=source)
    made = replace(usual, model=model, trial=build_trial(load_dataset(), FIRST, (ContextPreset("none"),)))
    run = resources.store().save(made, dataset="isi_scenes")
    at = tick(visit(), run)
    visitor.press(at, "runs_open")
    assert [title.value for title in at.title] == ["VQA Interventions"]
    assert visitor.shows(at, "Published means") == (name != "tiny-llava")
    assert visitor.shows(at, "semantic entropy 1.21, clusters 4.90") == (name != "tiny-llava")


def test_two_to_six_runs_are_compared_with_their_inputs_diffed() -> None:
    trial = build_trial(load_dataset(), FIRST, (ContextPreset("none"), GaussianNoise(30.0)))
    first = save(context="People like red cars.")
    second = save("No.", context="People like :blue[cars] a lot.", image=scene(2))
    third = resources.store().save(replace(evaluation("Maybe."), trial=trial), dataset="isi_scenes")
    at = tick(visit(), first, second, third)
    assert visitor.shows(at, "same pixels") is False
    assert visitor.shows(at, "People like :orange-background[:blue[cars] a lot.]")
    assert visitor.shows(at, "Gaussian noise, standard deviation 30")
    assert visitor.shows(at, "All were made by the same model under the same settings.")
    assert [badge for badge in visitor.texts(at) if "wrong" in badge]
    tick(at, *[save() for _ in range(7)])
    assert visitor.shows(at, "tick at most 6")
    tick(at, first, save())
    assert visitor.shows(at, "the same pixels")


@pytest.mark.parametrize(
    ("text", "first", "expected"),
    [
        ("a b c", None, "a b c"),
        ("a b c", "a b c", "a b c"),
        ("a x c", "a b c", "a :orange-background[x] c"),
        ("a c", "a b c", "a :gray[(…)] c"),
        ("](x) **y**", "z", r":orange-background[\]\(x\) \*\*y\*\*]"),
    ],
)
def test_differing_words_are_marked_and_never_read_as_markup(text: str, first: str | None, expected: str) -> None:
    assert differing(text, first) == expected


def test_tags_and_notes_are_kept_and_found() -> None:
    first, second = save(), save("No.")
    at = tick(visit(), first, second)
    at.text_input(key=f"runs_tags_{first}_{second}").set_value("figure-3, #odd odd")
    visitor.run(at)
    visitor.press(at, "runs_marks_save")
    tick(at, first)
    at.text_area(key=f"runs_note_{first}").set_value("See <b>this</b>")
    visitor.run(at)
    visitor.press(at, "runs_marks_save")
    later = visit()
    stored = {run.id: run for run in resources.store().recent()}
    assert (stored[first].tags, stored[second].tags) == ("figure-3 odd", "figure-3 odd")
    assert (stored[first].note, stored[second].note) == ("See <b>this</b>", "")
    later.selectbox(key="runs_tag").set_value("odd")
    visitor.run(later)
    assert listed(later) == [second, first]
    visitor.write(later, "runs_words", "see")
    assert listed(later) == [first]
    tick(later, first)
    later.text_input(key=f"runs_tags_{first}").set_value("x" * 41)
    visitor.run(later)
    visitor.press(later, "runs_marks_save")
    assert [m for m in visitor.messages(later) if "at most 20 words" in m]


def test_deleted_runs_come_back_until_the_bin_is_emptied(home: Path) -> None:
    first, second, third = save(), save("No."), save("Yes.", image=scene(9))
    at = tick(visit(), second, third)
    visitor.press(at, "runs_delete")
    assert listed(at) == [first] and visitor.shows(at, "2 runs deleted.")
    store = resources.store()
    made = evaluation("No.")
    found = store.find(made.trial.digest, made.model, made.decoding)
    assert store.count() == 1 and found is not None and found.answer is not None and found.answer.text == "Yes, it is."
    visitor.press(at, "runs_undo")
    assert listed(at) == [third, second, first]
    tick(at, third)
    visitor.press(at, "runs_delete")
    picture = store.pictures.path(evaluation(image=scene(9)).trial.image_digest)
    assert picture.exists()
    visitor.press(at, f"runs_unbin_{third}")
    assert listed(at) == [third, second, first]
    tick(at, third)
    visitor.press(at, "runs_delete")
    visitor.press(at, "runs_empty")
    assert not picture.exists() and listed(at) == [second, first]
    assert empty_bin(store) == 0
    bin_runs(store, [first])
    assert empty_bin(store, older_than_days=7) == 0 and empty_bin(store) == 1


def test_a_selection_is_taken_away_as_zip_and_pdf(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = save(label="one"), save("No.", context="Blue.")
    at = tick(visit(), first, second)
    kept = {}
    for kind in ("pdf", "zip"):
        element = at.get("download_button")
        (button,) = [b for b in element if b.key == f"runs_{kind}"]
        assert button is not None
    from isi_core.ui.runs import actions

    def keep(label: str, data: Any, **_: Any) -> None:
        kept[label] = data()

    monkeypatch.setattr(actions.st, "download_button", keep)
    actions._downloads(desk(at), [resources.store().brief(i) for i in (first, second)])
    evaluations = read_run(kept["Zip"])
    assert [e.answer and e.answer.text for e in evaluations] == ["Yes, it is.", "No."]
    assert "isi_run/report.pdf" in zipfile.ZipFile(io.BytesIO(kept["Zip"])).namelist()
    assert len(PdfReader(io.BytesIO(kept["PDF"])).pages) >= 3


def test_a_run_that_is_repeated_comes_out_the_same() -> None:
    at = tick(visit(), measured())
    settle(visitor.press(at, "runs_repeat"))
    assert visitor.shows(at, "1 of 1 came out the same"), visitor.texts(at)
    (found,) = desk(at).repeated
    assert found.same and found.after.uncertainty is not None and found.after.attribution is not None
    visitor.press(at, "runs_repeated_close")
    assert not visitor.shows(at, "came out the same")


def test_a_run_is_repeated_from_its_file_and_what_differs_is_told() -> None:
    made = resources.store().load(measured())
    assert made.answer is not None and made.uncertainty is not None
    changed = replace(
        made,
        answer=Answer("Something else."),
        model=replace(made.model, revision="f" * 40),
        uncertainty=replace(made.uncertainty, semantic_entropy=made.uncertainty.semantic_entropy + 0.01),
    )
    at = visit()
    at.file_uploader(key="runs_file").set_value(("run.zip", run_zip([made, changed]), "application/zip"))
    visitor.run(at)
    settle(visitor.press(at, "runs_repeat_file"))
    assert visitor.shows(at, "1 of 2 came out the same")
    same, other = desk(at).repeated
    assert same.same and {d.what for d in other.differences} >= {"Answer", "Semantic entropy (nats)"}
    assert "Sample 1" not in {d.what for d in other.differences}
    assert [d.what for d in other.circumstances] == ["Model's revision"]
    at.file_uploader(key="runs_file").set_value(("run.zip", b"no zip", "application/zip"))
    visitor.run(at)
    visitor.press(at, "runs_repeat_file")
    assert [m for m in visitor.messages(at) if "not a run's zip file" in m]


def test_another_seed_is_found_out() -> None:
    made = resources.store().load(measured())
    with_other_seed = replace(made, decoding=replace(made.decoding, seed=made.decoding.seed + 1, temperature=2.0))
    found = repeat(with_other_seed, resources.shelf())
    assert not found.same and any(d.what.startswith("Sample") for d in found.differences)


def test_a_run_whose_model_is_gone_is_one_sentence() -> None:
    made = evaluation()
    run = resources.store().save(
        replace(made, model=replace(made.model, name="no such model", quantization="none")), dataset="x"
    )
    at = tick(visit(), run)
    visitor.press(at, "runs_repeat")
    settle(at)
    assert len(visitor.messages(at)) == 1 and desk(at).repeated == []


@pytest.mark.parametrize("damage", ["newer", "broken", "other"])
def test_a_store_that_cannot_be_read_is_one_sentence_and_left_alone(home: Path, damage: str) -> None:
    save()
    resources.store().close()
    resources.store.clear()  # type: ignore[attr-defined]
    path = home / "studio.db"
    for part in ("-wal", "-shm"):
        path.with_name(path.name + part).unlink(missing_ok=True)
    if damage == "broken":
        path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            pragma = "user_version = 99" if damage == "newer" else "application_id = 7"
            connection.execute(f"PRAGMA {pragma}")
    before = path.read_bytes()
    at = AppTest.from_file(str(visitor.ROOT / PAGE), default_timeout=visitor.PATIENCE)
    at.session_state["studio_frame"] = True
    visitor.run(at)
    words = {"newer": "newer ISI Studio", "broken": "is damaged", "other": "another program"}[damage]
    (message,) = visitor.messages(at)
    assert words in message and path.read_bytes() == before
    path.unlink()  # the next store begins anew


def test_on_a_full_disk_a_note_is_refused_in_one_sentence_and_the_page_goes_on() -> None:
    run = save()
    at = tick(visit(), run)
    with resources.store().database.reading() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
    at.text_area(key=f"runs_note_{run}").set_value("long " * 1_900)
    visitor.run(at)
    visitor.press(at, "runs_marks_save")
    (message,) = visitor.messages(at)
    assert "is full: free some space" in message
    assert resources.store().brief(run).note == ""
    with resources.store().database.reading() as connection:
        connection.execute("PRAGMA max_page_count = 100000")
    visitor.press(at, "runs_marks_save")
    assert visitor.messages(at) == [] and resources.store().brief(run).note.startswith("long long")


def test_a_damaged_run_is_one_sentence_and_the_others_are_still_there() -> None:
    broken, whole = save(), save("No.")
    with resources.store().database.transaction() as connection:
        connection.execute("UPDATE runs SET data = '{' WHERE id = ?", [broken])
    at = tick(visit(), broken)
    assert [m for m in visitor.messages(at) if f"Run {broken} is damaged" in m]
    tick(at, whole)
    assert visitor.messages(at) == [] and visitor.shows(at, "“No.”")


def test_an_older_store_is_brought_up_to_date(tmp_path: Path) -> None:
    drawn = replace(
        evaluation(), trial=build_trial(load_dataset(), FIRST, (ContextPreset("complementary"), GaussianNoise(5.0)))
    )
    store = Store(tmp_path)
    store.save(drawn, dataset="isi_scenes")
    store.save(evaluation(), dataset="isi_scenes")
    new = [str(row[1]) for row in store.database._connection.execute("PRAGMA table_info(runs)")][-4:]
    with store.database.transaction() as connection:
        connection.execute("DROP INDEX runs_by_observation")
        for column in new:
            connection.execute(f"ALTER TABLE runs DROP COLUMN {column}")
        tables = [str(r[0]) for r in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in set(tables) - {"runs", "jobs", "finished_items", "sqlite_sequence"}:
            connection.execute(f"DROP TABLE {table}")
        connection.execute("PRAGMA user_version = 1")
    store.close()
    Database(tmp_path).close()
    again = Store(tmp_path)
    assert sorted(new) == ["deleted", "drawn", "note", "tags"]
    assert again.database._connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert [(run.drawn, run.tags) for run in again.recent()] == [(0, ""), (1, "")]
    tag_runs(again, [1], "kept")
    assert search_runs(again, RunFilter(tag="kept"))[1] == 1
    again.close()
