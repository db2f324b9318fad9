"""Step Order: what the page teaches, its job with live curves, its results and files, what it refuses."""

from __future__ import annotations

import csv
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pypdf
import pytest
from streamlit.testing.v1 import AppTest

from isi_core.datasets import step_catalogue, step_pairs
from isi_core.datasets.howto_articles import SAMPLE_FOLDER
from isi_core.datasets.step_pairs import PairSizes
from isi_core.domain.errors import InputError
from isi_core.reports.order_ask_figures import asked_csv
from isi_core.reports.wording import number
from isi_core.studies.step_order import asked
from isi_core.studies.step_order import study as studies
from isi_core.studies.step_order.flips import HEADLINES_SWAPPED, PICTURES_SWAPPED
from isi_core.studies.step_order.results import ALL
from isi_core.studies.step_order.zero_shot_rows import zero_shot_rows
from isi_core.ui.step_order import cases, downloads, results, work
from isi_core.ui.step_order.desk import OWN, QUICK, Desk
from isi_core.worlds.howtos import CATEGORIES
from tests.pages import visitor
from tests.step_study import sample_of, save_small_clip

PAGE = visitor.ROOT / "pages" / "6_Step_Order.py"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_clip(tmp_path_factory.mktemp("encoders") / "small-clip")


@pytest.fixture(autouse=True)
def quick(clip: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The quick look is of a small encoder with random weights and few pairs."""
    monkeypatch.setattr(work, "TINY", (str(clip),))
    monkeypatch.setitem(step_pairs.SIZES, "quick look", PairSizes(4, 2, 4))
    yield
    for job in work.engine().list(work.KIND):
        work.engine().cancel(job.id)
        work.engine().wait(job.id, visitor.PATIENCE)


def visit() -> AppTest:
    at = visitor.visit_home()
    at.switch_page(str(PAGE.relative_to(visitor.ROOT)))
    return visitor.run(at)


def desk(at: AppTest) -> Desk:
    found: Desk = at.session_state["order_desk"]
    return found


def settle(at: AppTest) -> AppTest:
    """Wait until the running work has ended, and see what it made."""
    while (job := desk(at).job) is not None:
        assert not work.engine().wait(job, 3 * visitor.PATIENCE).live
        visitor.run(at)
    return at


@pytest.fixture
def done() -> AppTest:
    """A visitor whose quick look has ended."""
    at = settle(visitor.press(visit(), "order_start"))
    assert not at.error, [e.value for e in at.error]
    return at


def test_an_empty_page_teaches_and_shows_pairs_as_a_model_sees_them() -> None:
    at = visit()
    assert visitor.shows(at, "What this page does")
    pictures = [e for e in visitor.elements(at) if e.type in ("imgs", "image")]
    assert len(pictures) == 8  # two of four categories each
    assert sum("Truth: in order" in text or "Truth: reversed" in text for text in visitor.texts(at)) == 4
    assert [b.label for b in at.button if b.key == "order_start"] == ["Train and test"]
    assert not at.table and not at.error


def test_a_quick_look_ends_in_the_table_the_gap_cases_and_files(done: AppTest) -> None:
    (study_id,) = studies.study_ids()
    found = studies.read_study(study_id)
    assert found.complete
    table = done.table[0].value
    assert list(table.columns) == ["V", "T", r"V\+T"]
    assert len(table) == len(CATEGORIES) + 1
    shown = {row.modality: row for row in found.grid.accuracies if row.category == ALL}
    for column, modality in zip(table.columns, ("v", "t", "vt"), strict=True):
        row = shown[modality]
        assert f"{row.accuracy:.3f}" in table[column].iloc[-1]
        assert f"[{row.low:.2f}, {row.high:.2f}" in table[column].iloc[-1].replace("\\", "")
    best = max(row.accuracy for row in shown.values())
    marked = [("**" in table[c].iloc[-1]) for c in table.columns]
    assert marked == [shown[m].accuracy == best for m in ("v", "t", "vt")]
    assert len(done.table[1].value) == len(CATEGORIES) + 1  # paired tests
    for words in ("modality gap", "exact McNemar", "Pairs of each category", "half of them reversed"):
        assert visitor.shows(done, words), words
    assert done.button(key="order_start").label == "Train and test again"
    splits = results.pairs_of(desk(done), found.plan)
    by_kind = cases.find_cases(found, splits, "small-clip")
    right = {v.modality: {p.idx for p in v.verdicts if p.right} for v in found.verdicts}
    assert {c.pair.idx for c in by_kind[cases.IMAGE]} == (right["v"] & right["vt"]) - right["t"]
    assert {c.pair.idx for c in by_kind[cases.TEXT]} == (right["t"] & right["vt"]) - right["v"]
    assert {c.pair.idx for c in by_kind[cases.BOTH]} == right["vt"] - right["t"] - right["v"]
    visitor.choose(done, "order_found_by", cases.BY_TRAINING)
    for kind in by_kind:
        visitor.choose(done, "order_cases", kind)
        assert visitor.shows(done, f"{len(by_kind[kind]):,} of {len(splits.test):,} test pairs")


def test_the_files_hold_what_the_page_shows(done: AppTest) -> None:
    found = studies.read_study(studies.study_ids()[0])
    kept = desk(done)._computed
    rows, words = kept["rows", found.plan.id], kept["words", found.plan.id]
    splits = results.pairs_of(desk(done), found.plan)
    pages = pypdf.PdfReader(io.BytesIO(downloads.pdf(found, rows, words, splits))).pages
    text = "\n".join(page.extract_text() for page in pages)
    for words_ in ("moved towards each other along the gap", "asked again with both steps exchanged", "Effective rank"):
        assert words_ in " ".join(text.split()), words_
    told = downloads.cases_of(found, splits)
    assert [case.pair.title in " ".join(text.split()) for case in told] == [True] * len(told)
    assert ("Cases" in text.splitlines()) == bool(told)
    shift = list(csv.DictReader(io.StringIO(downloads.shift_csv(found.gaps).decode())))
    assert len(shift) == 26 and {line["moment"] for line in shift} == {"before", "after"}
    flips = list(csv.DictReader(io.StringIO(downloads.flips_csv(found.flips).decode())))
    assert len(flips) == sum(len(one.pairs) for one in found.flips) == 3 * 32
    for row in found.grid.accuracies:
        assert f"{row.accuracy:.3f}" in text
    assert "Step order" in text and "Settings" in text
    lines = list(csv.DictReader(io.StringIO(downloads.accuracies_csv(found.grid).decode())))
    assert [float(line["accuracy"]) for line in lines] == [row.accuracy for row in found.grid.accuracies]
    gaps = list(csv.DictReader(io.StringIO(downloads.gaps_csv(found.gaps).decode())))
    assert {line["moment"] for line in gaps} == {"before", "after"} and len(gaps) == 2 * (len(CATEGORIES) + 1)
    whole = json.loads(downloads.as_json(found.grid, found.gaps))
    assert len(whole["grid"]["accuracies"]) == len(found.grid.accuracies)


def test_a_case_is_changed_and_the_answer_changes_with_it(done: AppTest) -> None:
    """Whatever flips a random-weight model is a case; swapping its pictures on the page says what the study found."""
    found = studies.read_study(studies.study_ids()[0])
    by_kind = cases.found_by_flips(found, results.pairs_of(desk(done), found.plan), "small-clip")
    kind, chosen = next((kind, chosen) for kind, chosen in by_kind.items() if chosen)
    visitor.choose(done, "order_cases", kind)
    assert visitor.shows(done, f"{len(chosen):,} of 32 test pairs")
    button = next(b for b in done.button if str(b.key).startswith("order_open_"))
    idx = int(str(button.key).removeprefix("order_open_"))
    told = next(case.flips for case in chosen if case.pair.idx == idx)
    assert told is not None
    visitor.press(done, str(button.key))
    assert visitor.shows(done, f"Interventions on pair {idx}") and visitor.shows(done, "Nothing is changed yet")
    for swap, other, name in (
        ("swap_pictures", "swap_headlines", PICTURES_SWAPPED),
        ("swap_headlines", "swap_pictures", HEADLINES_SWAPPED),
    ):
        done.toggle(key=f"order_try_{swap}").set_value(True)
        done.toggle(key=f"order_try_{other}").set_value(False)
        visitor.run(done)
        row = _tried(done).iloc[-1]  # V+T
        assert ("flips" in row[""]) == told.flips(name)
        assert row["after the interventions"].startswith("in order" if told.changed[name] >= 0.5 else "reversed")
    before = _tried(done)
    done.text_input(key="order_try_first").set_value("a completely different step")
    done.slider(key="order_try_noise").set_value(200)
    visitor.run(done)
    assert visitor.shows(done, "a completely different step")
    assert (_tried(done)["after the interventions"] != before["after the interventions"]).any()
    visitor.press(done, "order_try_close")
    assert not visitor.shows(done, "Interventions on pair")


def _tried(at: AppTest) -> Any:
    """The table of answers before and after."""
    return next(table.value for table in at.table if "after the interventions" in table.value.columns)


def test_learning_curves_and_seeds_come_from_kept_studies(done: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    assert visitor.shows(done, "There is one number of training pairs so far")
    found = studies.read_study(studies.study_ids()[0])
    assert not [b for b in done.button if b.key == "order_smaller"]  # four pairs cannot be fewer
    for changed in (replace(found.plan, sizes=(2, 2, 4)), replace(found.plan, seed=1)):
        studies.run_study(changed)
    desk(done).study = found.plan.id
    visitor.run(done)
    assert visitor.shows(done, "after training on fewer pairs") and visitor.shows(done, "Over 2 seeds")
    spreads = next(t.value for t in done.table if any("±" in str(cell) for cell in t.value.iloc[0]))
    assert len(spreads) == len(CATEGORIES) + 1
    assert any("± standard deviation" in name for name, _ in downloads.notes_of(found))
    visitor.choose(done, "order_plan", OWN)
    done.number_input(key="order_seeds").set_value(2)
    visitor.run(done)
    assert [plan.seed for plan in work.with_seeds(work.plan_of(desk(done)), desk(done).seeds)] == [0, 1]


def test_a_vision_language_model_is_asked_both_orders_and_says_what_it_knows(tmp_path: Path) -> None:
    step_catalogue.import_howtos(sample_of({"kite", "dish"}, tmp_path), "two")
    at = visit()
    at.selectbox(key="order_data").set_value("two")
    at.number_input(key="order_asked_pairs").set_value(2)
    at.number_input(key="order_samples").set_value(1)
    visitor.run(at)
    assert visitor.shows(at, "Nothing was asked yet")
    assert visitor.shows(at, "knows only its drawn scenes")
    settle(visitor.press(at, "order_ask"))
    assert not at.error, [e.value for e in at.error]
    found = asked.read_asked(asked.asked_ids()[0])
    assert found.complete and len(found.answers) == 4
    shown = {metric.label: metric.value for metric in at.metric}
    whole = zero_shot_rows(found.answers)[-1]
    assert shown["Accuracy"] == number(whole.accuracy) and shown["Both orders right"] == number(whole.both_right)
    assert visitor.shows(at, "one stitched picture") and visitor.shows(at, "says the same to both orders")
    assert at.button(key="order_ask").label == "Ask again"
    lines = list(csv.DictReader(io.StringIO(asked_csv(found).decode())))
    assert len(lines) == 8 and {line["order"] for line in lines} == {"shown", "swapped"}
    desk(at).model = "no such model"
    visitor.run(at)
    assert any("no such model" in text for text in visitor.messages(at))
    assert not [b for b in at.button if b.key == "order_ask"]


def test_a_running_study_shows_its_curve_and_can_be_stopped_and_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits at the second modality until the page has been looked at."""
    reached, go_on = threading.Event(), threading.Event()
    test = studies._Work._test

    def held(self: studies._Work, *arguments: object) -> object:
        made = test(self, *arguments)  # type: ignore[arg-type]
        reached.set()
        go_on.wait(visitor.PATIENCE)
        return made

    monkeypatch.setattr(studies._Work, "_test", held)
    at = visitor.press(visit(), "order_start")
    assert reached.wait(3 * visitor.PATIENCE)
    visitor.run(at)
    assert at.button(key="order_start").disabled
    assert visitor.shows(at, "Training now")
    other = visit()  # another tab watches the same study
    assert desk(other).job == desk(at).job
    visitor.press(at, "order_cancel")
    go_on.set()
    settle(at)
    assert visitor.shows(at, "This study is not complete")
    assert at.button(key="order_start").label == "Go on"
    settle(visitor.press(at, "order_start"))
    assert studies.read_study(studies.study_ids()[0]).complete


def test_a_study_that_fails_says_why_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise InputError("The pairs are gone: import them again.")

    monkeypatch.setattr(studies, "load_study_pairs", broken)
    at = settle(visitor.press(visit(), "order_start"))
    assert "The pairs are gone: import them again." in visitor.messages(at)


def test_ones_own_choice_of_everything(clip: Path) -> None:
    at = visitor.choose(visit(), "order_plan", OWN)
    at.multiselect(key="order_encoders").set_value(["no/such-encoder"])
    at.button_group(key="order_modalities").set_value(["t"])
    at.number_input(key="order_epochs").set_value(1)
    at.number_input(key="order_seed").set_value(5)
    visitor.run(at)
    asked = work.plan_of(desk(at))
    assert (asked.encoders, asked.modalities, asked.epochs, asked.seed) == (("no/such-encoder",), ("t",), 1, 5)
    at.button_group(key="order_modalities").set_value([])
    visitor.run(at)
    assert at.button(key="order_start").disabled
    visitor.choose(at, "order_plan", QUICK)
    assert not at.button(key="order_start").disabled


def test_missing_embedded_weights_are_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from isi_core.models.encoders.rows import EncoderRow

    monkeypatch.setattr(work, "TINY", ("tiny-gone",))
    monkeypatch.setattr(work, "ENCODERS", (EncoderRow("tiny-gone", "clip", Path("nowhere"), embedded=True),))
    at = visit()
    assert any("tiny-gone" in text for text in visitor.messages(at))
    assert at.button(key="order_start").disabled


def test_imported_articles_can_be_studied_and_deleted(tmp_path: Path) -> None:
    packed = tmp_path / "mine.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in SAMPLE_FOLDER.rglob("*"):
            if path.is_file() and not path.name.startswith("0000_2"):
                archive.write(path, path.relative_to(SAMPLE_FOLDER))
    at = visit()
    at.text_input(key="order_path_0").set_value(str(packed))
    visitor.run(at)
    settle(visitor.press(at, "order_import"))
    assert desk(at).data == "mine"
    assert visitor.shows(at, "59 articles imported")
    assert visitor.shows(at, "0000_2.png, is missing")
    visitor.press(at, "order_forget")
    assert at.selectbox(key="order_data").options == ["built-in how-tos (drawn anew)", "built-in sample (60 articles)"]
